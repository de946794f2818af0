/**
 * The iterators of a store that are not at their end, and what they have in common: where their values come from, and
 * that they end with the store.
 */
import { AiokvTypeError } from '@aiokv/core';
import { createKeyScratch, encodeKey } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { RangeOptions } from '../options.ts';
import type { Entry } from '../tree/index.ts';
import { StoreIterator } from './iterator.ts';
import type { EncodedRange, IteratorHost } from './iterator.ts';
import type { PointReads } from './point-reads.ts';

export class RangeReads implements IteratorHost {
  readonly #index: KeyIndex;
  readonly #points: PointReads;
  readonly #open = new Set<StoreIterator>();

  constructor(index: KeyIndex, points: PointReads) {
    this.#index = index;
    this.#points = points;
  }

  /** @param range as the options were checked */
  iterator(range: RangeOptions): StoreIterator {
    const encoded = encodeRange(range);
    const iterator = new StoreIterator(this, this.#index.snapshot(), encoded);
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

  valuesAt(keys: readonly Buffer[], entries: readonly Entry[]): Promise<Buffer[]> {
    return this.#points.valuesAt(keys, entries);
  }
}

function encodeRange(options: RangeOptions): EncodedRange {
  const scratch = createKeyScratch();
  const toBound = (key: Bytes | undefined, inclusive: boolean): EncodedRange['lower'] =>
    key === undefined ? null : { key: scratch.slice(0, encodeKey(key, scratch)), inclusive };
  for (const [one, other] of [
    ['gt', 'gte'],
    ['lt', 'lte'],
  ] as const) {
    if (options[one] !== undefined && options[other] !== undefined) {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `iterator: give ${one} or ${other}, not both`);
    }
  }
  return {
    lower: toBound(options.gt, false) ?? toBound(options.gte, true),
    upper: toBound(options.lt, false) ?? toBound(options.lte, true),
    reverse: options.reverse,
    limit: options.limit,
  };
}
