/**
 * Which walk of the store stands below an iterator of Level.
 *
 * ```
 *   values wanted, or store without keys() ─► store.iterator ─┐
 *   keys alone ─────────────────────────────► store.keys ─────┴─► has seek? ─ yes ─► as it is
 *                                                                   └─ no ─► SkippingWalk
 * ```
 */
import type { KeyValueIterator, KeyValueIteratorOptions, KeyValueStore } from '@aiokv/core';
import { SkippingWalk } from './skipping-walk.ts';
import type { Entry, Walk } from './walk.ts';

export function walkOver(store: KeyValueStore, options: KeyValueIteratorOptions, needsValues: boolean): Walk {
  const begin = (range: KeyValueIteratorOptions): KeyValueIterator<Entry> =>
    needsValues || store.keys === undefined ? store.iterator(range) : new KeyEntries(store.keys(range));
  const walk = begin(options);
  return canSeek(walk) ? walk : new SkippingWalk(walk, options, begin);
}

function canSeek(walk: KeyValueIterator<Entry>): walk is Walk {
  return walk.seek !== undefined;
}

/** Keys as entries without a value. */
class KeyEntries implements KeyValueIterator<Entry> {
  readonly #keys: KeyValueIterator<Buffer>;
  readonly seek?: (key: Buffer) => void;

  constructor(keys: KeyValueIterator<Buffer>) {
    this.#keys = keys;
    if (keys.seek !== undefined) this.seek = (key) => keys.seek?.(key);
  }

  async next(): Promise<IteratorResult<Entry>> {
    const { done, value } = await this.#keys.next();
    return done === true ? { done, value: undefined } : { done: false, value: [value, undefined] };
  }

  return(): Promise<unknown> {
    return this.#keys.return();
  }
}
