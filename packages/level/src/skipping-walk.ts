/**
 * `seek` for stores whose iterators have none: entries are read and passed over until the target is reached. A way back
 * needs an iterator that has not passed the target, of the same state of the store. One is kept for that from the
 * beginning, unread, so a walk can go back once. Going back more often is refused: another state would be wrong.
 *
 * ```
 *   seek ─► is the walk before the target? ─ yes ─► pass over entries
 *            └─ no ─► the kept one, if there is one ─► pass over entries
 *                      └─ else LEVEL_NOT_SUPPORTED
 * ```
 *
 * SKIP-1. Both iterators are made in the same step, so they are of the same state.
 * SKIP-2. A walk with a limit counts what it passes over, so a seek leaves it for the kept one, which has none.
 */
import type { KeyValueIterator, KeyValueIteratorOptions } from '@aiokv/core';
import { LevelError } from './errors.ts';
import { nextEntries } from './walk.ts';
import type { Entry, Walk } from './walk.ts';

export class SkippingWalk implements Walk {
  readonly #order: 1 | -1;
  #current: KeyValueIterator<Entry>;
  #isLimited: boolean;
  /** Null when it is in use. */
  #kept: KeyValueIterator<Entry> | null;
  /** Of the entry that `#current` returned last. */
  #lastKey: Buffer | null = null;
  /** Where `next` is to go on; null: behind the last entry. */
  #target: Buffer | null = null;

  constructor(
    first: KeyValueIterator<Entry>,
    options: KeyValueIteratorOptions,
    begin: (options: KeyValueIteratorOptions) => KeyValueIterator<Entry>,
  ) {
    this.#order = options.reverse === true ? -1 : 1;
    this.#current = first;
    this.#isLimited = options.limit !== undefined && options.limit !== Infinity;
    // SKIP-1.
    this.#kept = begin({ ...options, limit: Infinity });
  }

  next(): Promise<IteratorResult<Entry>> {
    return this.#target === null ? this.#step() : this.#nextFrom(this.#target);
  }

  async nextMany(count: number): Promise<Entry[]> {
    if (this.#target !== null) {
      const { done, value } = await this.next();
      return done === true ? [] : [value];
    }
    const entries = await nextEntries(this.#current, count);
    const last = entries.at(-1);
    if (last !== undefined) this.#lastKey = last[0];
    return entries;
  }

  seek(key: Buffer): void {
    this.#target = key;
  }

  async return(): Promise<void> {
    await Promise.all([this.#current.return(), this.#kept?.return()]);
  }

  async #step(): Promise<IteratorResult<Entry>> {
    const answer = await this.#current.next();
    if (answer.done !== true) this.#lastKey = answer.value[0];
    return answer;
  }

  async #nextFrom(target: Buffer): Promise<IteratorResult<Entry>> {
    // SKIP-2.
    if (this.#isLimited || !this.#isBefore(this.#lastKey, target)) await this.#startAgain();
    this.#target = null;
    for (;;) {
      const answer = await this.#step();
      if (answer.done === true || !this.#isBefore(answer.value[0], target)) return answer;
    }
  }

  async #startAgain(): Promise<void> {
    const kept = this.#kept;
    if (kept === null) {
      throw new LevelError(
        'LEVEL_NOT_SUPPORTED',
        'Iterator of this store can seek backwards once: make another iterator',
      );
    }
    const left = this.#current;
    this.#current = kept;
    this.#kept = null;
    this.#isLimited = false;
    this.#lastKey = null;
    await left.return();
  }

  /** Null is before everything. */
  #isBefore(key: Buffer | null, target: Buffer): boolean {
    return key === null || key.compare(target) * this.#order < 0;
  }
}
