/**
 * Which walk of the store stands below an iterator of Level.
 *
 * ```
 *   values wanted, or store without keys() ─► store.iterator ─┐
 *   keys alone ─────────────────────────────► store.keys ─────┴─► has seek? ─ yes ─► as it is
 *                                                                   └─ no ─► SkippingWalk
 * ```
 */
import type { KeyValueIterator, KeyValueIteratorOptions, KeyValueReads } from '@aiokv/core';
import { SkippingWalk } from './skipping-walk.ts';
import type { Entry, Walk } from './walk.ts';

/** A walk that nobody seeks in. */
export function entriesOf(
  store: KeyValueReads,
  options: KeyValueIteratorOptions,
  needsValues: boolean,
): KeyValueIterator<Entry> {
  if (needsValues || store.keys === undefined) return store.iterator(options);
  return new KeyEntries(store.keys(options));
}

export function walkOver(store: KeyValueReads, options: KeyValueIteratorOptions, needsValues: boolean): Walk {
  // abstract-level ends each iterator, also one that has come to its end, and may seek in it there.
  const walk = entriesOf(store, { ...options, stayOpen: true }, needsValues);
  return canSeek(walk) ? walk : new SkippingWalk(walk, options, (range) => entriesOf(store, range, needsValues));
}

function canSeek(walk: KeyValueIterator<Entry>): walk is Walk {
  return walk.seek !== undefined;
}

/** Keys as entries without a value. */
class KeyEntries implements KeyValueIterator<Entry> {
  readonly #keys: KeyValueIterator<Buffer>;
  readonly seek?: (key: Buffer) => void;
  readonly nextMany?: (count: number) => Promise<Entry[]>;

  constructor(keys: KeyValueIterator<Buffer>) {
    this.#keys = keys;
    if (keys.seek !== undefined) this.seek = (key) => keys.seek?.(key);
    if (keys.nextMany !== undefined) {
      this.nextMany = async (count) => ((await keys.nextMany?.(count)) ?? []).map((key) => [key, undefined]);
    }
  }

  async next(): Promise<IteratorResult<Entry>> {
    const { done, value } = await this.#keys.next();
    return done === true ? { done, value: undefined } : { done: false, value: [value, undefined] };
  }

  return(): Promise<unknown> {
    return this.#keys.return();
  }
}
