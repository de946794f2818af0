/**
 * The open iterators of a store. Supplies their values, and ends them when the store is closed.
 *
 * AHEAD-1. What all iterators together have read ahead takes no more than they are given, but for one entry of each. One
 *     takes its part of that at most, so that those that nobody goes on with leave something to the others.
 */
import type { TurnBudget } from '@aiokv/core';
import type { SpanReader } from '../file/span-reader.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { StoreIterator } from './iterator.ts';
import type { IteratorHost, RowShape } from './iterator.ts';
import { encodeRange } from './range.ts';
import type { RangeOptions } from './range.ts';
import type { RecordReader, UnwrittenRecords } from './record-reader.ts';
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
}

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

export class RangeReads implements IteratorHost {
  readonly budget: TurnBudget;
  readonly #index: KeyIndex;
  readonly #maintenance: Maintenance;
  readonly #windowParts: WindowReaderParts;
  readonly #mostAheadBytes: number;
  readonly #open = new Set<StoreIterator<unknown>>();
  /** Bytes that iterators have read ahead, or are reading. */
  aheadBytes = 0;

  constructor(parts: RangeReadsParts) {
    const { budget, index, log, reader, spans, maintenance, mostAheadBytes } = parts;
    this.#index = index;
    this.#maintenance = maintenance;
    this.#mostAheadBytes = mostAheadBytes;
    this.budget = budget;
    this.#windowParts = { reader, spans, log };
  }

  /** Iterators that were not ended. */
  get count(): number {
    return this.#open.size;
  }

  /** Throws as `encodeRange`. */
  iterator(options: Partial<RangeOptions> | undefined): StoreIterator {
    return this.#begin(options, ENTRIES);
  }

  /** Throws as `encodeRange`. */
  keys(options: Partial<RangeOptions> | undefined): StoreIterator<Buffer> {
    return this.#begin(options, KEYS);
  }

  /** Throws as `encodeRange`. */
  values(options: Partial<RangeOptions> | undefined): StoreIterator<Buffer> {
    return this.#begin(options, VALUES);
  }

  #begin<Row>(options: Partial<RangeOptions> | undefined, shape: RowShape<Row>): StoreIterator<Row> {
    const range = encodeRange(options);
    const iterator = new StoreIterator(this, this.#index.snapshot(), range, shape);
    this.#open.add(iterator);
    return iterator;
  }

  beginWindow(): WindowRead {
    return new WindowRead(this.#windowParts);
  }

  /** Ends all iterators with this error: the store is closed. */
  close(error: Error): void {
    // Each call deletes its iterator from the set; that is allowed during the walk.
    for (const iterator of this.#open) iterator.close(error);
  }

  forget(iterator: StoreIterator<unknown>): void {
    this.#open.delete(iterator);
  }

  released(): void {
    void this.#maintenance.versionReleased();
  }

  /** AHEAD-1. */
  mayReadAhead(ownBytes: number): boolean {
    return this.aheadBytes < this.#mostAheadBytes && ownBytes < this.#mostAheadBytes / this.#open.size;
  }
}
