/**
 * The open iterators of a store. Supplies their values, and ends them when the store is closed.
 *
 * AHEAD-1. What all iterators together have read ahead takes no more than they are given, but for one entry of each. One
 *     takes its part of that at most, so that those that nobody goes on with leave something to the others.
 */
import type { Maintenance } from '../maintenance/maintenance.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { StoreIterator } from './iterator.ts';
import type { IteratorHost, RowSource } from './iterator.ts';
import type { PointReads } from './point-reads.ts';
import { encodeRange } from './range.ts';
import type { RangeOptions } from './range.ts';

interface RangeReadsParts {
  readonly index: KeyIndex;
  readonly points: PointReads;
  readonly maintenance: Maintenance;
  /** For what iterators read ahead, in bytes. */
  readonly mostAheadBytes: number;
}

export class RangeReads implements IteratorHost {
  readonly #index: KeyIndex;
  readonly #points: PointReads;
  readonly #maintenance: Maintenance;
  readonly #mostAheadBytes: number;
  readonly #open = new Set<StoreIterator<unknown>>();
  /** Bytes that iterators have read ahead, or are reading. */
  aheadBytes = 0;

  constructor({ index, points, maintenance, mostAheadBytes }: RangeReadsParts) {
    this.#index = index;
    this.#points = points;
    this.#maintenance = maintenance;
    this.#mostAheadBytes = mostAheadBytes;
  }

  /** Iterators that were not ended. */
  get count(): number {
    return this.#open.size;
  }

  /** Throws as `encodeRange`. */
  iterator(options: Partial<RangeOptions> | undefined): StoreIterator {
    return this.#begin(options, {
      needsValues: true,
      rowsOf: async (keys, entries) => {
        const values = await this.#points.valuesAt(keys, entries);
        return values.map((value, i) => (value instanceof Error ? value : [keys[i] as Buffer, value]));
      },
    });
  }

  /** Throws as `encodeRange`. */
  keys(options: Partial<RangeOptions> | undefined): StoreIterator<Buffer> {
    return this.#begin(options, {
      needsValues: false,
      rowsOf: (keys, entries) => Promise.resolve(this.#points.shownKeys(keys, entries)),
    });
  }

  #begin<Row>(options: Partial<RangeOptions> | undefined, rows: RowSource<Row>): StoreIterator<Row> {
    const range = encodeRange(options);
    const iterator = new StoreIterator(this, this.#index.snapshot(), range, rows);
    this.#open.add(iterator);
    return iterator;
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
