/**
 * Walks over entries in key order, as they were when the iterator was created. Values are read ahead, many at a time,
 * so that a scan keeps the device busy.
 *
 * ```
 *   next ─► entry read already? ─ yes ─► answered
 *             └─ no: callers ─► load ─► cursor: keys, from the snapshot ─► values, all at once ─► callers in order
 *                                          └─ unblock, if a leaf is not in memory, or after many deleted keys
 * ```
 *
 * ITERATOR-1. After the end every `next` is answered with `done`, also one that was pending when `return` was called. A
 *     failed read rejects one `next` and ends the iterator.
 * ITERATOR-2. If the store is closed before the end, every `next` fails with ERR_AIOKV_CLOSED, also a pending one: half
 *     a range must not be taken for the whole.
 * ITERATOR-3. A read ahead that failed is reported in its turn: the entries before it are returned first.
 * ITERATOR-4. The snapshot is released when none of the iterator's reads is in flight. It keeps the places that they
 *     read from being used again.
 */
import { Fifo, MIB } from '@aiokv/core';
import { valueBytesOfTable } from '../format/extent.ts';
import { INLINE_BYTES_MAX, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import type { LeafEntry } from '../format/index-entry.ts';
import { compareKeys } from '../format/keys.ts';
import { NO_WORDS } from '../tree/index.ts';
import type { Entry } from '../tree/index.ts';
import type { IndexCursor } from '../index/index-cursor.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import type { EncodedRange } from './range.ts';

/** What an iterator needs from its owner: see range-reads.ts. */
export interface IteratorHost {
  /** The iterator has ended. */
  forget(iterator: StoreIterator<unknown>): void;
  /** It has released its snapshot. */
  released(): void;
  /** Bytes that all iterators have read ahead, or are reading. Each adds and takes away its own. */
  aheadBytes: number;
  /** AHEAD-1. @param ownBytes that the iterator has read ahead already */
  mayReadAhead(ownBytes: number): boolean;
}

/** What an iterator returns of each entry. */
export interface RowSource<Row> {
  /** Whether it reads values. */
  readonly needsValues: boolean;
  /** Returns, in order, what belongs to each entry, or why it cannot be read. Never rejects. */
  rowsOf(keys: readonly Buffer[], entries: readonly LeafEntry[]): Promise<(Row | Error)[]>;
}

/** Entries read ahead: few at first, for callers that take only a few, then twice as many each time. */
const FIRST_AHEAD = 16;
const MOST_AHEAD = 128;
/** Leaves read together when the walk reaches one that is not in memory. */
const LEAVES_AHEAD = 8;
/** Values in fragments are read ahead up to about this many bytes, but always one. */
const LONG_BYTES_AHEAD = 8 * MIB;

/** Memory that an entry takes beside its record. */
const ROW_BYTES = 300;

/** Entries that were read together, and the error that stopped the read after them, or null. */
interface Batch<Row> {
  readonly rows: Row[];
  /** What each row takes. */
  readonly bytes: readonly number[];
  readonly failure: Error | null;
}

/** A pending `next`. */
interface Caller<Row> {
  resolve(answer: IteratorResult<Row>): void;
  reject(error: Error): void;
}

/**
 * The entries of a range as `[key, value]`, or its keys: see `Store.iterator`, `Store.keys`. Keys and values are copies that belong to the caller.
 * Use `for await`, or end it with `return()`: until its end it keeps parts of the index in memory.
 */
export class StoreIterator<Row = [key: Buffer, value: Buffer]> implements AsyncIterableIterator<Row>, AsyncDisposable {
  readonly #host: IteratorHost;
  readonly #snapshot: IndexSnapshot;
  readonly #range: EncodedRange;
  readonly #rows: RowSource<Row>;
  readonly #cursor: IndexCursor;
  /** The move that leads to the next key. */
  #move: 'start' | 'next' | 'resume' | 'none';
  #taken = 0;
  #ahead = FIRST_AHEAD;
  /** Entries that were read. Those before `#head` have been returned. */
  #ready: Row[] = [];
  #head = 0;
  /** What each of `#ready` takes. */
  #readyBytes: readonly number[] = [];
  /** Bytes of the entries from `#head` on, and of those that are being read. */
  #aheadBytes = 0;
  /** The read of the entries after `#ready`, or null. */
  #loading: Promise<Batch<Row>> | null = null;
  /** Why the entry after `#ready` cannot be read, or null. */
  #failure: Error | null = null;
  readonly #callers = new Fifo<Caller<Row>>();
  #isAnswering = false;
  /** ITERATOR-1. */
  #isOver = false;
  /** ITERATOR-2. Set if the store was closed before the end. */
  #closed: Error | null = null;

  /** @internal Use `Store.iterator`. */
  constructor(host: IteratorHost, snapshot: IndexSnapshot, range: EncodedRange, rows: RowSource<Row>) {
    this.#host = host;
    this.#rows = rows;
    this.#snapshot = snapshot;
    this.#range = range;
    this.#cursor = snapshot.cursor(range.reverse);
    this.#move = range.isEmpty ? 'none' : 'start';
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The next entry. Overlapping calls are answered in call order.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO, ERR_AIOKV_LATCHED if the entry cannot be read, which ends the
   *   iterator; ERR_AIOKV_CLOSED if the store is closed before the end
   */
  next(): Promise<IteratorResult<Row>> {
    const row = this.#callers.isEmpty ? this.#ready[this.#head] : undefined;
    if (row !== undefined) {
      this.#handOut();
      return Promise.resolve({ done: false, value: row });
    }
    return new Promise((resolve, reject) => {
      this.#callers.push({ resolve, reject });
      if (this.#isOver) this.#answerRest();
      else if (!this.#isAnswering) void this.#answer();
    });
  }

  /** Ends the iterator. Settles when none of its reads is in flight. */
  async return(value?: unknown): Promise<IteratorResult<Row>> {
    this.#end();
    await this.#loading;
    return { done: true, value: await value };
  }

  /** Ends the iterator and rejects with `error`. */
  async throw(error?: unknown): Promise<IteratorResult<Row>> {
    await this.return();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** @internal The store is closed. */
  close(error: Error): void {
    if (!this.#isOver) this.#closed = error;
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ready = [];
    this.#readyBytes = [];
    this.#head = 0;
    this.#host.forget(this);
    // ITERATOR-4.
    if (this.#loading === null) this.#release();
    else void this.#loading.then(() => this.#release());
    this.#answerRest();
  }

  #release(): void {
    this.#countAhead(-this.#aheadBytes);
    this.#snapshot.release();
    this.#host.released();
  }

  /** ITERATOR-1, ITERATOR-2. */
  #answerRest(): void {
    for (const caller of this.#callers.drain()) {
      if (this.#closed === null) caller.resolve({ done: true, value: undefined });
      else caller.reject(this.#closed);
    }
  }

  #handOut(): void {
    this.#countAhead(-(this.#readyBytes[this.#head++] as number));
  }

  #countAhead(bytes: number): void {
    this.#aheadBytes += bytes;
    this.#host.aheadBytes += bytes;
  }

  /** Answers pending callers until none is left, and reads what they need. */
  async #answer(): Promise<void> {
    this.#isAnswering = true;
    while (!this.#callers.isEmpty) {
      const row = this.#ready[this.#head];
      if (row !== undefined) {
        this.#handOut();
        this.#callers.shift()?.resolve({ done: false, value: row });
        continue;
      }
      if (this.#failure !== null) {
        this.#callers.shift()?.reject(this.#failure);
        this.#end();
        break;
      }
      const { rows, bytes, failure } = await (this.#loading ??= this.#load());
      // `#end` has answered all callers.
      if (this.#isOver) break;
      this.#ready = rows;
      this.#readyBytes = bytes;
      this.#head = 0;
      this.#failure = failure;
      const isLast = rows.length === 0 || failure !== null;
      // AHEAD-1. Otherwise the next entries are read when somebody asks for them.
      this.#loading = isLast || !this.#host.mayReadAhead(this.#aheadBytes) ? null : this.#load();
      if (rows.length === 0 && failure === null) this.#end();
    }
    this.#isAnswering = false;
  }

  /** Collects the next entries from the snapshot and reads their values at once. Never rejects. */
  async #load(): Promise<Batch<Row>> {
    const keys: Buffer[] = [];
    const entries: LeafEntry[] = [];
    const bytes: number[] = [];
    let failure: Error | null = null;
    try {
      await this.#collect(keys, entries, bytes);
    } catch (error) {
      failure = error as Error;
    } finally {
      this.#cursor.unpin();
    }
    const rows: Row[] = [];
    if (keys.length === 0 || this.#isOver) return { rows, bytes, failure };
    for (const row of await this.#rows.rowsOf(keys, entries)) {
      // ITERATOR-3.
      if (row instanceof Error) return { rows, bytes, failure: row };
      rows.push(row);
    }
    return { rows, bytes, failure };
  }

  /** Adds the next keys and entries. If it fails, those before the failure have been added. */
  async #collect(keys: Buffer[], entries: LeafEntry[], bytes: number[]): Promise<void> {
    const most = Math.min(this.#ahead, this.#range.limit - this.#taken);
    this.#ahead = Math.min(MOST_AHEAD, this.#ahead * 2);
    let longBytes = 0;
    let batchBytes = 0;
    while (keys.length < most && longBytes < LONG_BYTES_AHEAD) {
      // Twice: the next batch is read while this one is handed out.
      if (keys.length > 0 && !this.#host.mayReadAhead(Math.max(this.#aheadBytes, 2 * batchBytes))) break;
      const moved = this.#advance();
      if (!(typeof moved === 'boolean' ? moved : await moved)) break;
      const { entry } = this.#cursor;
      const hasRecord = this.#rows.needsValues && !isInline(entry);
      const valueBytes = hasRecord && isInFragments(entry) ? valueBytesOfTable(lengthOf(entry)) : 0;
      longBytes += valueBytes;
      const entryBytes = hasRecord ? lengthOf(entry) : this.#cursor.keyLength + INLINE_BYTES_MAX;
      const rowBytes = ROW_BYTES + entryBytes + valueBytes;
      bytes.push(rowBytes);
      batchBytes += rowBytes;
      this.#countAhead(rowBytes);
      keys.push(copyOfKey(this.#cursor.key, this.#cursor.keyLength));
      entries.push(copyOfEntry(entry));
    }
    this.#taken += keys.length;
  }

  /** Moves to the next key in the range. Waits only if the cursor is blocked. */
  #advance(): boolean | Promise<boolean> {
    const isOnKey = this.#makeMove();
    return this.#cursor.isBlocked && !isOnKey ? this.#advanceLater() : isOnKey && this.#isInRange();
  }

  async #advanceLater(): Promise<boolean> {
    for (;;) {
      await this.#cursor.unblock(LEAVES_AHEAD);
      if (this.#isOver) return false;
      const isOnKey = this.#makeMove();
      if (isOnKey || !this.#cursor.isBlocked) return isOnKey && this.#isInRange();
    }
  }

  #makeMove(): boolean {
    const { from, to, reverse } = this.#range;
    const move = this.#move;
    if (move === 'none') return false;
    const cursor = this.#cursor;
    const isOnKey =
      move === 'start' ? cursor.start(reverse ? to : from) : move === 'next' ? cursor.next() : cursor.resume();
    if (isOnKey) this.#move = 'next';
    else this.#move = cursor.isBlocked ? 'resume' : 'none';
    return isOnKey;
  }

  #isInRange(): boolean {
    const { from, to, reverse } = this.#range;
    const { key, keyLength } = this.#cursor;
    const isInRange = reverse
      ? compareKeys(key, keyLength, from, from.length) >= 0
      : to === null || compareKeys(key, keyLength, to, to.length) < 0;
    if (!isInRange) this.#move = 'none';
    return isInRange;
  }
}

/** The words of an entry. Those of a record have no extra words that matter here. */
function copyOfEntry({ word0, word1, extra, extraWords }: Entry): LeafEntry {
  const words = { word0, word1, extra: NO_WORDS };
  return isInline(words) ? { word0, word1, extra: extra.slice(0, extraWords) } : words;
}

/** A copy in memory of its own, like values: see `copyValue`. */
function copyOfKey(bytes: Uint8Array, keyBytes: number): Buffer {
  const key = Buffer.allocUnsafeSlow(keyBytes);
  for (let i = 0; i < keyBytes; i++) key[i] = bytes[i] as number;
  return key;
}
