/**
 * Distances that follow an exponential distribution, such that `percentile` per cent of them are shorter
 * than `range`. They are not bounded and not whole numbers; the key chooser cuts them.
 */
import type { Random } from '@aiokv/core';
import type { NumberGenerator } from './number-generator.ts';

export class Exponential implements NumberGenerator {
  readonly #random: Random;
  readonly #rate: number;

  constructor(random: Random, percentile: number, range: number) {
    this.#random = random;
    this.#rate = -Math.log(1 - percentile / 100) / range;
  }

  next(): number {
    // 1 - u is uniform too, and never 0, whose logarithm would be infinite.
    return -Math.log(1 - this.#random.float()) / this.#rate;
  }
}
