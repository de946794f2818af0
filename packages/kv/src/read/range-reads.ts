/**
 * The open iterators of a store. Supplies their values, and ends them when the store is closed.
 *
 * AHEAD-1. What all iterators together have read ahead takes no more than they are given, but for one entry of each. One
 *     takes its part of that at most, so that those that nobody goes on with leave something to the others.
 * AHEAD-2. One at a time may read a wide window, into memory that the nodes lend it: one that goes on with a range whose records lie
 *     far apart. The wider the window, the more of them are neighbours. It is handed out before the next one is read.
 */
import { MIB } from '@aiokv/core';
import type { Clock, Sequence, TurnBudget } from '@aiokv/core';
import type { SpanReader } from '../file/span-reader.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { Handles } from './handles.ts';
import { StoreIterator } from './iterator.ts';
import { RangeWalk } from './range-walk.ts';
import type { RowShape, WalkHost } from './range-walk.ts';
import { encodeRange } from './range.ts';
import type { RangeOptions } from './range.ts';
import type { RecordReader, UnwrittenRecords } from './record-reader.ts';
import { LentMemory } from './lent-memory.ts';
import type { Lender } from './lent-memory.ts';
import { Slabs } from './slabs.ts';
import { WindowRead } from './window-reader.ts';
import type { WindowReaderParts } from './window-reader.ts';

interface RangeReadsParts {
  /** For what is read ahead, and for what is handed out. */
  readonly budget: TurnBudget;
  readonly index: KeyIndex;
  readonly log: UnwrittenRecords;
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly maintenance: Maintenance;
  /** For what iterators read ahead, in bytes. */
  readonly mostAheadBytes: number;
  readonly clock: Clock;
}

/** AHEAD-2. A wide window takes so much, ... */
const WIDE_BYTES = 64 * MIB;
/** ... but at most this part of what memtables leave of the nodes' memory. */
const WIDE_PART = 1 / 2;

const ENTRIES: RowShape<[key: Buffer, value: Buffer]> = {
  needsValues: true,
  rowOf: (window, index, isShared) => [window.keyOf(index, isShared), window.valueOf(index, isShared)],
};
const KEYS: RowShape<Buffer> = {
  needsValues: false,
  rowOf: (window, index, isShared) => window.keyOf(index, isShared),
};
const VALUES: RowShape<Buffer> = {
  needsValues: true,
  rowOf: (window, index, isShared) => window.valueOf(index, isShared),
};

export class RangeReads implements WalkHost {
  readonly budget: TurnBudget;
  readonly #index: KeyIndex;
  readonly #maintenance: Maintenance;
  readonly #windowParts: WindowReaderParts;
  readonly #lender: Lender;
  readonly #mostAheadBytes: number;
  readonly #open: Handles<RangeWalk<unknown>>;
  /** Bytes that iterators have read ahead, or are reading, ... */
  aheadBytes = 0;
  /** ... and those of them that are in a wide window. */
  lentBytes = 0;
  /** AHEAD-2. */
  #widest: RangeWalk<unknown> | null = null;

  constructor(parts: RangeReadsParts) {
    const { budget, index, log, reader, spans, maintenance, mostAheadBytes, clock } = parts;
    this.#open = new Handles('an iterator was not ended (return(), for await, await using)', clock);
    this.#index = index;
    this.#maintenance = maintenance;
    this.#mostAheadBytes = mostAheadBytes;
    this.budget = budget;
    this.#lender = { memory: index.memory, pager: index.pager, lentUnits: 0 };
    this.#windowParts = { reader, spans, log, index };
  }

  /** Iterators that were not ended. */
  get count(): number {
    return this.#open.count;
  }

  /** Memory of the nodes that is lent, in bytes. */
  get lentUnitBytes(): number {
    return this.#lender.lentUnits * this.#lender.memory.nodeBytes;
  }

  /** Memory of what is read ahead, in bytes. */
  get readAheadBytes(): number {
    return this.aheadBytes - this.lentBytes + Math.max(this.lentBytes, this.lentUnitBytes);
  }

  /** @param of as of which moment; default: now. Throws as `encodeRange` */
  iterator(options: Partial<RangeOptions> | undefined, of?: IndexSnapshot): StoreIterator {
    return this.#begin(options, ENTRIES, of);
  }

  /** Throws as `encodeRange`. */
  keys(options: Partial<RangeOptions> | undefined, of?: IndexSnapshot): StoreIterator<Buffer> {
    return this.#begin(options, KEYS, of);
  }

  /** Throws as `encodeRange`. */
  values(options: Partial<RangeOptions> | undefined, of?: IndexSnapshot): StoreIterator<Buffer> {
    return this.#begin(options, VALUES, of);
  }

  #begin<Row>(
    options: Partial<RangeOptions> | undefined,
    shape: RowShape<Row>,
    of: IndexSnapshot | undefined,
  ): StoreIterator<Row> {
    const range = encodeRange(options);
    const walk = new RangeWalk(this, of?.retain() ?? this.#index.snapshot(), range, shape);
    const iterator = new StoreIterator(walk);
    this.#open.begin(walk, iterator);
    walk.obey();
    return iterator;
  }

  beginWindow(seenAt: Sequence | undefined, entries: number): WindowRead {
    return new WindowRead(this.#windowParts, new Slabs(), seenAt, entries);
  }

  beginWideWindow(entries: number): WindowRead {
    return new WindowRead(this.#windowParts, new LentMemory(this.#lender), undefined, entries);
  }

  mayLendTo(walk: RangeWalk<unknown>): boolean {
    return this.#widest === null || this.#widest === walk;
  }

  /** AHEAD-2. */
  lendTo(walk: RangeWalk<unknown>): number {
    const { pager, memtableBytes } = this.#index;
    const bytes = Math.min(WIDE_BYTES, Math.floor((pager.limitBytes - memtableBytes) * WIDE_PART));
    if (!this.mayLendTo(walk) || bytes < this.#mostAheadBytes) return 0;
    this.#widest = walk;
    return bytes;
  }

  takeBack(): void {
    this.#widest = null;
  }

  /** Ends all iterators with this error: the store is closed. */
  close(error: Error): void {
    for (const walk of this.#open) walk.close(error);
    this.#open.stop();
  }

  forget(walk: RangeWalk<unknown>): void {
    this.#open.end(walk);
  }

  scanned(read: WindowRead): void {
    this.#maintenance.scanned(read);
  }

  released(): void {
    void this.#maintenance.versionReleased();
  }

  /** AHEAD-1. */
  mayReadAhead(ownBytes: number): boolean {
    return (
      this.aheadBytes - this.lentBytes < this.#mostAheadBytes && ownBytes < this.#mostAheadBytes / this.#open.count
    );
  }
}
