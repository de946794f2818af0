/**
 * What an iterator does: it walks over entries in key order, as they were when it was created. Entries are read ahead in
 * windows, so that a scan keeps the device busy: small ones at first, for callers that take only a few, then longer ones.
 * It never refers to the iterator that its caller has (iterator.ts), so that one which nobody refers to is found.
 *
 * ```
 *   next, nextMany ─► rows in the window? ─ yes ─► answered, unless the turn is used up
 *             └─ no: callers ─► load ─► cursor: keys, from the snapshot ─► values, in long reads ─► callers in order
 *                                          └─ unblock, if a leaf is not in memory, or after many deleted keys
 *
 *   windows      │ 16 │ 32  │ 64    │ 128        │ …        one is handed out while the next one is read
 *
 *   seek, when its turn has come: the window is dropped ─► a window is being read? ─ no ─► the cursor starts again
 *                                                             └─ yes: it is stale ─► stops early ─┘
 * ```
 *
 * ITERATOR-1. After the end every `next` is answered with `done`, also one that was pending when `return` was called. A
 *     failed read rejects one `next` and ends the iterator.
 * ITERATOR-2. If the store is closed before the end, every `next` fails with ERR_AIOKV_CLOSED, also a pending one: half
 *     a range must not be taken for the whole. So it is with ERR_AIOKV_ABORTED when the signal aborts.
 * ITERATOR-3. A read ahead that failed is reported in its turn: the entries before it are returned first.
 * ITERATOR-4. The snapshot is released when none of the iterator's reads is in flight. It keeps the places that they
 *     read from being used again.
 * ITERATOR-5. A window that was being read when the walk was sent elsewhere gives no entry, and counts none against `limit`.
 *     The cursor does not start again before that read has stopped to move it.
 *
 * A window has typed arrays, and no object for an entry before it is handed out.
 */
import { AiokvTypeError, Fifo, MIB, nextTurn } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import { valueBytesOfTable } from '../format/extent.ts';
import { INLINE_BYTES_MAX, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import { compareKeys } from '../format/keys.ts';
import { readAborted } from '../failure/errors.ts';
import type { IndexCursor } from '../index/index-cursor.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import { boundsFrom } from './range.ts';
import type { EncodedBounds, EncodedRange } from './range.ts';
import type { Held } from './handles.ts';
import { NOTE_BYTES } from './window.ts';
import type { Window } from './window.ts';
import type { WindowRead } from './window-reader.ts';

/** What a walk needs from its owner: see range-reads.ts. */
export interface WalkHost {
  /** For what is read ahead, and for what is handed out. */
  readonly budget: TurnBudget;
  /** An empty window. @param seenAt see `WindowRead` @param entries that it will have, about */
  beginWindow(seenAt: Sequence | undefined, entries: number): WindowRead;
  /** AHEAD-2. The same, in memory that was lent. @param entries that it will have, about */
  beginWideWindow(entries: number): WindowRead;
  /** AHEAD-2. Whether it would not be in vain to ask for memory for a wide window. */
  mayLendTo(walk: RangeWalk<unknown>): boolean;
  /** AHEAD-2. Lends memory until it is taken back, and returns how much; 0: none. */
  lendTo(walk: RangeWalk<unknown>): number;
  takeBack(): void;
  /** The walk has ended. */
  forget(walk: RangeWalk<unknown>): void;
  /** It has read a window. */
  scanned(read: WindowRead): void;
  /** It has released its snapshot. */
  released(): void;
  /** Bytes that all iterators have read ahead, or are reading. Each adds and takes away its own. */
  aheadBytes: number;
  /** The part of it that is in a wide window. */
  lentBytes: number;
  /** AHEAD-1. @param ownBytes that the iterator has read ahead already */
  mayReadAhead(ownBytes: number): boolean;
}

/** What an iterator returns of each entry. */
export interface RowShape<Row> {
  /** Whether it reads values. */
  readonly needsValues: boolean;
  /** @param isShared whether it may share memory with its neighbours (SLABS-1) */
  rowOf(window: Window, index: number, isShared: boolean): Row;
}

/** Entries of the first window, ... */
const FIRST_AHEAD = 16;
/** ... unless it is known that more will be taken: up to so many then. */
const FIRST_AHEAD_MOST = 256;
/** Ranges of so many entries are asked of the cache, and fill it (WINDOW-3). Longer ones would cost what others have in it. */
const CACHED_ENTRIES = 256;
/** Entries of the longest window. */
const MOST_AHEAD = 65_536;
/** Most rows that one call hands out: some 0.3 ms. */
const ROWS_AT_ONCE = 1024;
/** AHEAD-2. Records lie far apart if reading them costs so many times their bytes, ... */
const SCATTERED = 4;
/** ... and a wide window is worth its memory if it costs this part of that. */
const WORTH_PART = 0.9;
/** A wide window that costs no more than this is so wide that it covers all, or the records lie in order now: the next one tells. */
const ORDERED = 1.5;
/** A wide window has at most so many times the entries of the window before it, ... */
const WIDE_GROWTH = 4;
/** ... and never more than this. */
const MOST_WIDE = 1_048_576;
/** Leaves read together when the walk reaches one that is not in memory. */
const LEAVES_AHEAD = 8;
/** Values in fragments are read ahead up to about this many bytes, but always one. */
const LONG_BYTES_AHEAD = 8 * MIB;

/** A pending `next` or `nextMany`; or a `seek` behind them. */
interface Caller<Row> {
  readonly most: number;
  readonly isShared: boolean;
  /** Of a `seek`: where to. */
  readonly target: Uint8Array | null;
  /** @param rows none: the end */
  resolve(rows: Row[]): void;
  reject(error: Error): void;
}

/** The entries of a range, or its keys or values: see `StoreIterator`, whose calls these are. */
export class RangeWalk<Row> implements Held {
  readonly #host: WalkHost;
  readonly #snapshot: IndexSnapshot;
  readonly #range: EncodedRange;
  readonly #shape: RowShape<Row>;
  readonly #cursor: IndexCursor;
  /** What is left of the range since the last seek. */
  #bounds: EncodedBounds;
  /** The move that leads to the next key. */
  #move: 'start' | 'next' | 'resume' | 'none';
  /** Entries that were collected, ... */
  #taken = 0;
  /** ... and those of them that were handed out. */
  #given = 0;
  #ahead: number;
  /** Entries that were read, or null. Those before `#head` have been returned. */
  #window: Window | null = null;
  #head = 0;
  #end = 0;
  /** Bytes of the entries from `#head` on, and of those that are being read. */
  #aheadBytes = 0;
  /** A longer window was not read for want of memory. */
  #isHeldBack = false;
  /** AHEAD-2. How many times their bytes the records of the last window have cost that was not wide. */
  #scatter = 1;
  #isWideWorth = true;
  #lastCount = 0;
  /** AHEAD-2. What was lent for the window that is handed out, or read, last. */
  #lentBytes = 0;
  /** The read of the window behind this one, or null. Never rejects. */
  #loading: Promise<Window> | null = null;
  readonly #callers = new Fifo<Caller<Row>>();
  #isAnswering = false;
  /** ITERATOR-1. */
  #isOver = false;
  /** ITERATOR-2. Set if the store was closed, or the signal has aborted, before the end. */
  #closed: Error | null = null;
  /** ITERATOR-5. What is being read is not wanted any more. */
  #isStale = false;
  /** Nobody refers to the iterator: it ends when its callers were answered. */
  #isAbandoned = false;
  readonly #isStopped = (): boolean => this.#isOver || this.#isStale;
  readonly #abort = (): void => this.close(readAborted(this.#range.signal?.reason));

  constructor(host: WalkHost, snapshot: IndexSnapshot, range: EncodedRange, shape: RowShape<Row>) {
    this.#host = host;
    this.#shape = shape;
    this.#snapshot = snapshot;
    this.#range = range;
    this.#cursor = snapshot.cursor(range.reverse);
    this.#cursor.endAt(range.reverse ? range.from : range.to);
    this.#bounds = range;
    this.#move = range.isEmpty ? 'none' : 'start';
    this.#ahead = firstAheadOf(range);
  }

  /** Has the signal of the range end it. Call it once the host knows the walk. */
  obey(): void {
    const { signal } = this.#range;
    if (signal?.aborted === true) this.#abort();
    else signal?.addEventListener('abort', this.#abort, { once: true });
  }

  next(): Promise<IteratorResult<Row>> {
    if (this.#head < this.#end && this.#callers.isEmpty && !this.#host.budget.isSpent()) {
      return Promise.resolve({ done: false, value: this.#take(false) });
    }
    return new Promise((resolve, reject) => {
      this.#wait({
        most: 1,
        isShared: false,
        target: null,
        resolve: (rows) => resolve(rows.length === 0 ? END : { done: false, value: rows[0] as Row }),
        reject,
      });
    });
  }

  nextMany(count: number): Promise<Row[]> {
    if (!Number.isSafeInteger(count) || count < 1) {
      const problem = `nextMany takes a whole number from 1, not ${String(count)}`;
      return Promise.reject(new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', problem));
    }
    const most = Math.min(count, ROWS_AT_ONCE);
    if (this.#head < this.#end && this.#callers.isEmpty && !this.#host.budget.isSpent(most)) {
      return Promise.resolve(this.#takeMany(most, true));
    }
    return new Promise((resolve, reject) => {
      this.#ahead = Math.max(this.#ahead, Math.min(most, FIRST_AHEAD_MOST));
      this.#wait({ most, isShared: true, target: null, resolve, reject });
    });
  }

  /** Takes its turn behind the calls before it. Has no effect after the end. @param key is kept */
  seek(key: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#callers.isEmpty) this.#goTo(key);
    else this.#callers.push({ most: 0, isShared: false, target: key, resolve: ignore, reject: ignore });
  }

  /** Ends the walk. Settles when none of its reads is in flight. */
  async end(): Promise<void> {
    this.#finish();
    await this.#loading;
  }

  /** Nobody refers to the iterator. Returns whether it had not ended. */
  abandon(): boolean {
    if (this.#isOver) return false;
    this.#isAbandoned = true;
    if (this.#callers.isEmpty) this.#finish();
    return true;
  }

  /** Ends it with an error: the store is closed, or the signal has aborted. */
  close(error: Error): void {
    if (!this.#isOver) this.#closed = error;
    this.#finish();
  }

  #wait(caller: Caller<Row>): void {
    this.#callers.push(caller);
    if (this.#isOver) this.#answerRest();
    else if (!this.#isAnswering) void this.#answer();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#range.signal?.removeEventListener('abort', this.#abort);
    this.#dropWindow();
    this.#host.forget(this);
    // ITERATOR-4.
    if (this.#loading === null) this.#release();
    else {
      void this.#loading.then((window) => {
        window.free();
        this.#release();
      });
    }
    this.#answerRest();
  }

  #dropWindow(): void {
    this.#window?.free();
    this.#window = null;
    this.#head = 0;
    this.#end = 0;
  }

  /** ITERATOR-5. */
  #goTo(key: Uint8Array): void {
    this.#dropWindow();
    this.#bounds = boundsFrom(this.#range, key);
    if (this.#loading === null) this.#startAgain();
    else if (!this.#isStale) {
      this.#isStale = true;
      void this.#loading.then((window) => {
        // Else `#finish` does it.
        if (this.#isOver) return;
        window.free();
        this.#loading = null;
        this.#isStale = false;
        this.#startAgain();
      });
    }
  }

  /** Requires that nothing is being read. */
  #startAgain(): void {
    this.#countAhead(-this.#aheadBytes);
    this.#giveBack();
    this.#taken = this.#given;
    this.#ahead = firstAheadOf(this.#range);
    this.#isHeldBack = false;
    this.#move = this.#bounds.isEmpty ? 'none' : 'start';
  }

  #release(): void {
    this.#countAhead(-this.#aheadBytes);
    this.#giveBack();
    this.#snapshot.release();
    this.#host.released();
  }

  /** ITERATOR-1, ITERATOR-2. */
  #answerRest(): void {
    for (const caller of this.#callers.drain()) {
      if (this.#closed === null) caller.resolve([]);
      else caller.reject(this.#closed);
    }
  }

  /** Requires a row. */
  #take(isShared: boolean): Row {
    const window = this.#window as Window;
    const index = this.#head++;
    this.#given++;
    this.#countAhead(-window.countedBytesOf(index));
    window.passed(index);
    return this.#shape.rowOf(window, index, isShared);
  }

  #takeMany(most: number, isShared: boolean): Row[] {
    const count = Math.min(most, this.#end - this.#head);
    const rows: Row[] = [];
    for (let i = 0; i < count; i++) rows.push(this.#take(isShared));
    return rows;
  }

  #countAhead(bytes: number): void {
    this.#aheadBytes += bytes;
    this.#host.aheadBytes += bytes;
    if (this.#lentBytes > 0) this.#host.lentBytes += bytes;
  }

  /** AHEAD-2. Requires that nothing is read ahead. */
  #giveBack(): void {
    if (this.#lentBytes > 0) this.#host.takeBack();
    this.#lentBytes = 0;
  }

  /** AHEAD-2. Whether the next window should be wide. */
  get #wantsWide(): boolean {
    const isLong = this.#isHeldBack || this.#lentBytes > 0;
    return isLong && this.#isWideWorth && this.#scatter > SCATTERED && this.#host.mayLendTo(this);
  }

  /** Entries that a window has room for at first: all, of a short range. */
  get #firstEntries(): number {
    return Math.max(1, Math.min(FIRST_AHEAD_MOST, this.#ahead, this.#range.limit - this.#taken));
  }

  /** WINDOW-3. Of a range without a limit, the first entries may be all. */
  get #seenAt(): Sequence | undefined {
    const { limit } = this.#range;
    const isShort = limit === Infinity ? this.#taken + this.#ahead < CACHED_ENTRIES : limit <= CACHED_ENTRIES;
    return isShort ? this.#snapshot.sequence : undefined;
  }

  /** No entry is behind those that were collected: a short range is one window, and none is read to find out. */
  get #isAtEnd(): boolean {
    return this.#move === 'none' || this.#taken >= this.#range.limit;
  }

  /** Answers pending callers until none is left, and reads what they need. */
  async #answer(): Promise<void> {
    this.#isAnswering = true;
    for (let caller = this.#callers.peek(); caller !== undefined && !this.#isOver; caller = this.#callers.peek()) {
      if (caller.target !== null) {
        this.#callers.shift();
        this.#goTo(caller.target);
        continue;
      }
      if (this.#isStale) {
        // What `#goTo` does behind the read comes first.
        await this.#loading;
        continue;
      }
      if (this.#head < this.#end) {
        // Otherwise a loop over rows that are there would keep the event loop from everything else.
        if (this.#host.budget.isSpent(Math.min(caller.most, this.#end - this.#head))) await nextTurn();
        // `#finish` has answered all callers.
        if (this.#isOver) break;
        this.#callers.shift();
        caller.resolve(this.#takeMany(caller.most, caller.isShared));
        continue;
      }
      const failure = this.#window?.failure ?? null;
      if (failure !== null) {
        this.#callers.shift();
        caller.reject(failure);
        this.#finish();
        break;
      }
      if (this.#loading === null && this.#isAtEnd) {
        if (!this.#range.stayOpen) {
          this.#finish();
          break;
        }
        this.#callers.shift();
        caller.resolve([]);
        continue;
      }
      const window = await (this.#loading ??= this.#load());
      if (this.#isOver) break;
      this.#window?.free();
      this.#window = window;
      this.#head = 0;
      this.#end = window.end;
      const isLast = window.count === 0 || window.failure !== null || this.#isAtEnd;
      // AHEAD-1, AHEAD-2. Otherwise the next entries are read when somebody asks for them.
      const mayReadAhead = this.#lentBytes === 0 && !this.#wantsWide && this.#host.mayReadAhead(this.#aheadBytes);
      this.#loading = isLast || !mayReadAhead ? null : this.#load();
    }
    this.#isAnswering = false;
    if (this.#isAbandoned) this.#finish();
  }

  /** Collects the next entries from the snapshot and reads their values. Never rejects. */
  async #load(): Promise<Window> {
    const isFirst = this.#aheadBytes === 0;
    const wantsWide = isFirst && this.#wantsWide;
    if (isFirst) this.#giveBack();
    if (wantsWide) this.#lentBytes = this.#host.lendTo(this);
    const isWide = this.#lentBytes > 0;
    const wide = Math.min(MOST_WIDE, this.#lastCount * WIDE_GROWTH);
    const read = isWide ? this.#host.beginWideWindow(wide) : this.#host.beginWindow(this.#seenAt, this.#firstEntries);
    try {
      await this.#collect(read, isWide ? wide : this.#ahead);
    } catch (error) {
      read.window.failBehind(error as Error);
    } finally {
      this.#cursor.unpin();
    }
    if (!this.#isStopped()) await read.finish(this.#isStopped);
    if (this.#isStopped()) return read.window;
    this.#host.scanned(read);
    this.#lastCount = read.window.count;
    if (!isWide || read.scatter < ORDERED) this.#scatter = read.scatter;
    else if (read.scatter > WORTH_PART * this.#scatter) this.#isWideWorth = false;
    return read.window;
  }

  /** Adds the next entries. If it fails, those before the failure have been added. */
  async #collect(read: WindowRead, entries: number): Promise<void> {
    const { window } = read;
    const most = Math.min(entries, this.#range.limit - this.#taken);
    this.#ahead = Math.min(MOST_AHEAD, this.#ahead * 2);
    const { needsValues } = this.#shape;
    const cursor = this.#cursor;
    let longBytes = 0;
    let windowBytes = 0;
    const lentBytes = this.#lentBytes;
    // Twice: the next window is read while this one is handed out.
    const mayReadAhead = (): boolean =>
      lentBytes > 0 ? windowBytes < lentBytes : this.#host.mayReadAhead(Math.max(this.#aheadBytes, 2 * windowBytes));
    while (window.count < most && longBytes < LONG_BYTES_AHEAD) {
      this.#isHeldBack = window.count > 0 && !mayReadAhead();
      if (this.#isHeldBack) break;
      if (this.#host.budget.isSpent()) await nextTurn();
      if (this.#isStopped()) break;
      const moved = this.#advance();
      if (!(typeof moved === 'boolean' ? moved : await moved)) break;
      const { entry, key, keyLength } = cursor;
      const hasRecord = needsValues && !isInline(entry);
      const valueBytes = hasRecord && isInFragments(entry) ? valueBytesOfTable(lengthOf(entry)) : 0;
      longBytes += valueBytes;
      const entryBytes = hasRecord ? lengthOf(entry) : keyLength + INLINE_BYTES_MAX;
      const countedBytes = NOTE_BYTES + entryBytes + valueBytes;
      windowBytes += countedBytes;
      this.#countAhead(countedBytes);
      this.#taken++;
      if (needsValues) read.meet(key, keyLength, entry, countedBytes);
      else read.meetKey(key, keyLength, entry, countedBytes);
    }
  }

  /** Moves to the next key in the range. Waits only if the cursor is blocked. */
  #advance(): boolean | Promise<boolean> {
    const isOnKey = this.#makeMove();
    return this.#cursor.isBlocked && !isOnKey ? this.#advanceLater() : isOnKey && this.#isInRange();
  }

  async #advanceLater(): Promise<boolean> {
    for (;;) {
      await this.#cursor.unblock(LEAVES_AHEAD);
      if (this.#isStopped()) return false;
      const isOnKey = this.#makeMove();
      if (isOnKey || !this.#cursor.isBlocked) return isOnKey && this.#isInRange();
    }
  }

  #makeMove(): boolean {
    const { from, to } = this.#bounds;
    const { reverse } = this.#range;
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

function firstAheadOf({ limit }: EncodedRange): number {
  return limit === Infinity ? FIRST_AHEAD : FIRST_AHEAD_MOST;
}

/** A seek has no answer. */
function ignore(): void {}

/** The answer after the last entry. */
const END: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });
