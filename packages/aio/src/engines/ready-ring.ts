/**
 * Completions between the callback that brought them and the `reap` that hands them out: a ring of two
 * parallel arrays, in the order in which they came.
 *
 * ```
 *            head            head + count
 *   │ free  │ ready │ ready │ free …            wraps at the capacity
 * ```
 */
import { assert } from '@aiokv/core';
import type { Completions } from '../engine.ts';

export class ReadyRing {
  count = 0;
  readonly #capacity: number;
  #head = 0;
  readonly #slots: Uint32Array;
  readonly #results: Int32Array;

  /** @param capacity the most requests that are in flight at once: each is ready once */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#slots = new Uint32Array(capacity);
    this.#results = new Int32Array(capacity);
  }

  put(slot: number, result: number): void {
    assert(this.count < this.#capacity, 'no more requests are ready than were in flight');
    let at = this.#head + this.count;
    if (at >= this.#capacity) at -= this.#capacity;
    this.#slots[at] = slot;
    this.#results[at] = result;
    this.count++;
  }

  clear(): void {
    this.count = 0;
  }

  /** Appends what is ready to `completions`, as far as there is room. */
  take(completions: Completions): void {
    const { slots, results } = completions;
    let { count } = completions;
    while (this.count > 0 && count < slots.length) {
      slots[count] = this.#slots[this.#head] as number;
      results[count] = this.#results[this.#head] as number;
      count++;
      this.count--;
      if (++this.#head === this.#capacity) this.#head = 0;
    }
    completions.count = count;
  }
}
