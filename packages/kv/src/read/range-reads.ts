/**
 * The iterators of a store that are not at their end, and what they have in common: where their values come from, and
 * that they end with the store.
 */
import type { KeyIndex } from '../index/key-index.ts';
import type { Entry } from '../tree/index.ts';
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

  /** Throws what is wrong with the options: see `encodeRange`. */
  iterator(options: Partial<RangeOptions> | undefined): StoreIterator {
    const range = encodeRange(options);
    const iterator = new StoreIterator(this, this.#index.snapshot(), range);
    this.#open.add(iterator);
    return iterator;
  }

  /** Ends all iterators: the store is closed. */
  close(error: Error): void {
    // One that ends is forgotten, which a set allows while it is walked.
    for (const iterator of this.#open) iterator.close(error);
  }

  forget(iterator: StoreIterator): void {
    this.#open.delete(iterator);
  }

  valuesAt(keys: readonly Buffer[], entries: readonly Entry[]): Promise<(Buffer | Error)[]> {
    return this.#points.valuesAt(keys, entries);
  }
}
