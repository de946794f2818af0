/**
 * The open iterators of a store. Supplies their values, and ends them when the store is closed.
 */
import type { KeyIndex } from '../index/key-index.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { StoreIterator } from './iterator.ts';
import type { IteratorHost } from './iterator.ts';
import type { PointReads } from './point-reads.ts';
import { encodeRange } from './range.ts';
import type { RangeOptions } from './range.ts';

export class RangeReads implements IteratorHost {
  readonly #index: KeyIndex;
  readonly #points: PointReads;
  readonly #open = new Set<StoreIterator>();

  constructor(index: KeyIndex, points: PointReads) {
    this.#index = index;
    this.#points = points;
  }

  /** Throws as `encodeRange`. */
  iterator(options: Partial<RangeOptions> | undefined): StoreIterator {
    const range = encodeRange(options);
    const iterator = new StoreIterator(this, this.#index.snapshot(), range);
    this.#open.add(iterator);
    return iterator;
  }

  /** Ends all iterators with this error: the store is closed. */
  close(error: Error): void {
    // Each call deletes its iterator from the set; that is allowed during the walk.
    for (const iterator of this.#open) iterator.close(error);
  }

  forget(iterator: StoreIterator): void {
    this.#open.delete(iterator);
  }

  valuesAt(keys: readonly Buffer[], entries: readonly EntryWords[]): Promise<(Buffer | Error)[]> {
    return this.#points.valuesAt(keys, entries);
  }
}
