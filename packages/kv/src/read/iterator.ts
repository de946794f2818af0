/**
 * An ordered walk over keys and values, as the store was when the walk was asked for. The values of the
 * next keys are read ahead, many at a time, so that a scan keeps the device busy.
 *
 * ```
 *   next ─► entry that was read? ─ yes ─► answered
 *             └─ no: callers ─► load ─► cursor: keys, from the snapshot ─► values, all at once ─► callers in order
 *                                          └─ pinAhead, where a leaf is not in memory
 * ```
 *
 * ITERATOR-1. After its end it gives no entry: every `next` is answered with `done`, also one that was under way when
 *     `return` was called. The error of a read that failed is given once, and is an end.
 * ITERATOR-2. When the store is closed before the end, every `next` fails with ERR_AIOKV_CLOSED, also one under way:
 *     nobody takes half a range for the whole.
 * ITERATOR-3. What was read ahead fails nobody before its turn: the entries before one that cannot be read are given.
 */
import { Fifo, MIB } from '@aiokv/core';
import { valueBytesOfTable } from '../format/extent.ts';
import { isInFragments, lengthOf } from '../format/index-entry.ts';
import { Entry } from '../tree/index.ts';
import type { IndexCursor } from '../index/index-cursor.ts';
import type { IndexSnapshot } from '../index/key-index.ts';
import type { EncodedRange } from './range.ts';

/** What an iterator needs of the part of the store that made it: see range-reads.ts. */
export interface IteratorHost {
  /** Reads the values at these entries; answers in their order, each a value or why it cannot be read. */
  valuesAt(keys: readonly Buffer[], entries: readonly Entry[]): Promise<(Buffer | Error)[]>;
  /** The iterator is at its end. */
  forget(iterator: StoreIterator): void;
}

/** The first batch is small, so that a look at a few entries reads few; later ones fill the queue. */
const FIRST_AHEAD = 16;
const MOST_AHEAD = 128;
/** Leaves that are read together when the walk comes to one that is not in memory. */
const LEAVES_AHEAD = 8;
/** Values in fragments are read ahead up to about so many bytes, but one at least. */
const LONG_BYTES_AHEAD = 8 * MIB;

type Row = [Buffer, Buffer];

/** Entries that were read together, and why there are no more, if not because the range ends. */
interface Batch {
  readonly rows: Row[];
  readonly failure: Error | null;
}

/** A `next` that is not answered yet. */
interface Caller {
  resolve(answer: IteratorResult<Row>): void;
  reject(error: Error): void;
}

export class StoreIterator implements AsyncIterableIterator<Row>, AsyncDisposable {
  readonly #host: IteratorHost;
  readonly #snapshot: IndexSnapshot;
  readonly #range: EncodedRange;
  readonly #cursor: IndexCursor;
  /** What the walk has to do for its next key. */
  #move: 'start' | 'next' | 'resume' | 'none' = 'start';
  #taken = 0;
  #ahead = FIRST_AHEAD;
  /** Entries that were read, from `#head` on. */
  #ready: Row[] = [];
  #head = 0;
  /** The entries after those; null when nothing is being read. */
  #loading: Promise<Batch> | null = null;
  /** Why the entry after those that are ready cannot be read, or null. */
  #failure: Error | null = null;
  readonly #callers = new Fifo<Caller>();
  #isAnswering = false;
  /** See ITERATOR-1. */
  #isOver = false;
  /** Why it ended before the last entry, if the store was closed (ITERATOR-2). */
  #closed: Error | null = null;

  /** @internal Iterators are made by `Store.iterator`. */
  constructor(host: IteratorHost, snapshot: IndexSnapshot, range: EncodedRange) {
    this.#host = host;
    this.#snapshot = snapshot;
    this.#range = range;
    this.#cursor = snapshot.cursor(range.reverse);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next entry. Calls that overlap are answered in their order. */
  next(): Promise<IteratorResult<Row>> {
    const row = this.#callers.isEmpty ? this.#ready[this.#head] : undefined;
    if (row !== undefined) {
      this.#head++;
      return Promise.resolve({ done: false, value: row });
    }
    return new Promise((resolve, reject) => {
      this.#callers.push({ resolve, reject });
      if (this.#isOver) this.#answerRest();
      else if (!this.#isAnswering) void this.#answer();
    });
  }

  /** Ends the walk; settles when nothing is read for it any more. */
  async return(value?: unknown): Promise<IteratorResult<Row>> {
    this.#end();
    await this.#loading;
    return { done: true, value: await value };
  }

  /** Ends the walk, and fails with `error`. */
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
    this.#head = 0;
    this.#snapshot.release();
    this.#host.forget(this);
    this.#answerRest();
  }

  /** ITERATOR-1, ITERATOR-2. */
  #answerRest(): void {
    for (const caller of this.#callers.drain()) {
      if (this.#closed === null) caller.resolve({ done: true, value: undefined });
      else caller.reject(this.#closed);
    }
  }

  /** Answers all who call, reading what is needed for it. */
  async #answer(): Promise<void> {
    this.#isAnswering = true;
    while (!this.#callers.isEmpty) {
      const row = this.#ready[this.#head];
      if (row !== undefined) {
        this.#head++;
        this.#callers.shift()?.resolve({ done: false, value: row });
        continue;
      }
      if (this.#failure !== null) {
        this.#callers.shift()?.reject(this.#failure);
        this.#end();
        break;
      }
      const { rows, failure } = await (this.#loading ??= this.#load());
      // Whoever ended the walk meanwhile has answered everybody.
      if (this.#isOver) break;
      this.#ready = rows;
      this.#head = 0;
      this.#failure = failure;
      const isLast = rows.length === 0 || failure !== null;
      this.#loading = isLast ? null : this.#load();
      if (rows.length === 0 && failure === null) this.#end();
    }
    this.#isAnswering = false;
  }

  /** Collects the next entries from the snapshot and reads their values, all at once. Never rejects. */
  async #load(): Promise<Batch> {
    const keys: Buffer[] = [];
    const entries: Entry[] = [];
    let failure: Error | null = null;
    try {
      await this.#collect(keys, entries);
    } catch (error) {
      failure = error as Error;
    } finally {
      this.#cursor.unpin();
    }
    const rows: Row[] = [];
    if (keys.length === 0 || this.#isOver) return { rows, failure };
    const values = await this.#host.valuesAt(keys, entries);
    for (const [i, value] of values.entries()) {
      // See ITERATOR-3.
      if (value instanceof Error) return { rows, failure: value };
      rows.push([keys[i] as Buffer, value]);
    }
    return { rows, failure };
  }

  /** Fills in keys and entries of which the values are to be read next, also when it fails. */
  async #collect(keys: Buffer[], entries: Entry[]): Promise<void> {
    const most = Math.min(this.#ahead, this.#range.limit - this.#taken);
    this.#ahead = Math.min(MOST_AHEAD, this.#ahead * 2);
    let longBytes = 0;
    while (keys.length < most && longBytes < LONG_BYTES_AHEAD) {
      const moved = this.#advance();
      if (!(typeof moved === 'boolean' ? moved : await moved)) break;
      if (isInFragments(this.#cursor.entry)) longBytes += valueBytesOfTable(lengthOf(this.#cursor.entry));
      keys.push(copyOfKey(this.#cursor.key, this.#cursor.keyLength));
      entries.push(Object.assign(new Entry(), this.#cursor.entry));
    }
    this.#taken += keys.length;
  }

  /** Goes to the next key within the range. Waits only where a leaf has to be read first. */
  #advance(): boolean | Promise<boolean> {
    const isOnKey = this.#makeMove();
    return this.#cursor.isBlocked && !isOnKey ? this.#advanceLater() : isOnKey && this.#isInRange();
  }

  async #advanceLater(): Promise<boolean> {
    for (;;) {
      await this.#cursor.pinAhead(LEAVES_AHEAD);
      if (this.#isOver) return false;
      const isOnKey = this.#makeMove();
      if (isOnKey || !this.#cursor.isBlocked) return isOnKey && this.#isInRange();
    }
  }

  #makeMove(): boolean {
    const { lower, upper, reverse } = this.#range;
    const move = this.#move;
    if (move === 'none') return false;
    const cursor = this.#cursor;
    const isOnKey =
      move === 'start' ? cursor.start(reverse ? upper : lower) : move === 'next' ? cursor.next() : cursor.resume();
    if (isOnKey) this.#move = 'next';
    else if (!cursor.isBlocked) this.#move = 'none';
    else if (move !== 'start') this.#move = 'resume';
    return isOnKey;
  }

  #isInRange(): boolean {
    const { lower, upper, reverse } = this.#range;
    const stop = reverse ? lower : upper;
    if (stop === null) return true;
    const order = compare(this.#cursor.key, this.#cursor.keyLength, stop.key) * (reverse ? -1 : 1);
    const isInRange = order < 0 || (order === 0 && stop.inclusive);
    if (!isInRange) this.#move = 'none';
    return isInRange;
  }
}

/** In memory of its own, as values are: see `copyValue`. */
function copyOfKey(bytes: Uint8Array, keyBytes: number): Buffer {
  const key = Buffer.allocUnsafeSlow(keyBytes);
  for (let i = 0; i < keyBytes; i++) key[i] = bytes[i] as number;
  return key;
}

function compare(a: Uint8Array, aLength: number, b: Uint8Array): number {
  const length = Math.min(aLength, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return aLength - b.length;
}
