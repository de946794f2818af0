/**
 * An ordered walk over keys and values, as the store was when the walk was asked for. The values of the
 * next keys are read ahead, many at a time, so that a scan keeps the device busy.
 */
import { MIB } from '@aiokv/core';
import { valueBytesOfTable } from '../format/extent.ts';
import { isInPieces, lengthOf } from '../format/index-entry.ts';
import { Entry } from '../tree/index.ts';
import type { IndexCursor } from '../index/index-cursor.ts';
import type { IndexSnapshot } from '../index/key-index.ts';

/** What an iterator needs of the part of the store that made it: see range-reads.ts. */
export interface IteratorHost {
  /** Reads the values at these entries; answers in their order. */
  valuesAt(keys: readonly Buffer[], entries: readonly Entry[]): Promise<Buffer[]>;
  /** Throws when the store is closed. */
  requireOpen(): void;
  forget(iterator: StoreIterator): void;
}

/** A range with its bounds as bytes; at most one of each pair is set. */
export interface EncodedRange {
  readonly lower: { readonly key: Uint8Array; readonly inclusive: boolean } | null;
  readonly upper: { readonly key: Uint8Array; readonly inclusive: boolean } | null;
  readonly reverse: boolean;
  readonly limit: number;
}

/** The first batch is small, so that a look at a few entries reads few; later ones fill the queue. */
const FIRST_AHEAD = 16;
const MOST_AHEAD = 128;
/** Leaves that are read together when the walk comes to one that is not in memory. */
const LEAVES_AHEAD = 8;
/** Values in pieces are read ahead up to about so many bytes, but one at least. */
const LONG_BYTES_AHEAD = 8 * MIB;

export class StoreIterator implements AsyncIterableIterator<[Buffer, Buffer]> {
  readonly #host: IteratorHost;
  readonly #snapshot: IndexSnapshot;
  readonly #range: EncodedRange;
  readonly #cursor: IndexCursor;
  /** What the walk has to do for its next key. */
  #move: 'start' | 'next' | 'resume' | 'none' = 'start';
  #taken = 0;
  #ahead = FIRST_AHEAD;
  #ready: [Buffer, Buffer][] = [];
  #readyHead = 0;
  #loading: Promise<[Buffer, Buffer][]> | null = null;
  #released = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(host: IteratorHost, snapshot: IndexSnapshot, range: EncodedRange) {
    this.#host = host;
    this.#snapshot = snapshot;
    this.#range = range;
    this.#cursor = snapshot.cursor(range.reverse);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Calls that overlap are answered in order. */
  next(): Promise<IteratorResult<[Buffer, Buffer]>> {
    const result = this.#turn.then(() => this.#next());
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async return(): Promise<IteratorResult<[Buffer, Buffer]>> {
    await this.#loading?.catch(() => undefined);
    this.release();
    return { done: true, value: undefined };
  }

  /** Ends the walk; calls under way are answered with its end. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#snapshot.release();
    this.#host.forget(this);
  }

  async #next(): Promise<IteratorResult<[Buffer, Buffer]>> {
    if (this.#readyHead === this.#ready.length) {
      if (this.#released) {
        this.#host.requireOpen();
        return { done: true, value: undefined };
      }
      try {
        this.#ready = await (this.#loading ?? this.#load());
      } catch (error) {
        this.#loading = null;
        this.release();
        throw error;
      }
      this.#readyHead = 0;
      this.#loading = null;
      if (this.#ready.length === 0 || this.#released) {
        this.#ready = [];
        this.release();
        this.#host.requireOpen();
        return { done: true, value: undefined };
      }
      this.#loading = this.#load();
      // A failure is met by the call that needs these entries.
      this.#loading.catch(() => undefined);
    }
    const value = this.#ready[this.#readyHead++] as [Buffer, Buffer];
    return { done: false, value };
  }

  /** Collects the next entries from the snapshot and reads their values, all at once. */
  async #load(): Promise<[Buffer, Buffer][]> {
    this.#host.requireOpen();
    try {
      return await this.#collect();
    } finally {
      this.#cursor.unpin();
    }
  }

  async #collect(): Promise<[Buffer, Buffer][]> {
    const keys: Buffer[] = [];
    const entries: Entry[] = [];
    const most = Math.min(this.#ahead, this.#range.limit - this.#taken);
    this.#ahead = Math.min(MOST_AHEAD, this.#ahead * 2);
    let longBytes = 0;
    while (keys.length < most && longBytes < LONG_BYTES_AHEAD) {
      const moved = this.#advance();
      if (!(typeof moved === 'boolean' ? moved : await moved)) break;
      if (isInPieces(this.#cursor.entry)) longBytes += valueBytesOfTable(lengthOf(this.#cursor.entry));
      keys.push(Buffer.from(this.#cursor.key.subarray(0, this.#cursor.keyLength)));
      entries.push(Object.assign(new Entry(), this.#cursor.entry));
    }
    this.#taken += keys.length;
    if (keys.length === 0) return [];
    const values = await this.#host.valuesAt(keys, entries);
    return keys.map((key, i) => [key, values[i] as Buffer]);
  }

  /** Goes to the next key within the range. Waits only where a leaf has to be read first. */
  #advance(): boolean | Promise<boolean> {
    const isOnKey = this.#makeMove();
    return this.#cursor.isBlocked && !isOnKey ? this.#advanceLater() : isOnKey && this.#isInRange();
  }

  async #advanceLater(): Promise<boolean> {
    for (;;) {
      await this.#cursor.pinAhead(LEAVES_AHEAD);
      if (this.#released) return false;
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

function compare(a: Uint8Array, aLength: number, b: Uint8Array): number {
  const length = Math.min(aLength, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return aLength - b.length;
}
