/** One of some values, each in proportion to its weight: the operation to do next. */
import type { Random } from '@aiokv/core';

export class Discrete<T> {
  readonly #random: Random;
  readonly #values: readonly T[];
  /** The sum of the weights up to each value, that value included. */
  readonly #sums: readonly number[];
  readonly #total: number;

  /** @param choices values with their weights, of which at least one is more than 0 */
  constructor(random: Random, choices: readonly (readonly [value: T, weight: number])[]) {
    const chosen = choices.filter(([, weight]) => weight > 0);
    let total = 0;
    this.#random = random;
    this.#values = chosen.map(([value]) => value);
    this.#sums = chosen.map(([, weight]) => (total += weight));
    this.#total = total;
  }

  next(): T {
    const drawn = this.#random.float() * this.#total;
    let at = 0;
    // The last value needs no comparison: rounding must not lead past it.
    while (at < this.#values.length - 1 && drawn >= (this.#sums[at] as number)) at++;
    return this.#values[at] as T;
  }
}
