/** Whole numbers from `min` to `max`, both included, each as likely as the other. */
import type { Random } from '@aiokv/core';
import type { NumberGenerator } from './number-generator.ts';

export class Uniform implements NumberGenerator {
  readonly #random: Random;
  readonly #min: number;
  readonly #count: number;

  constructor(random: Random, min: number, max: number) {
    this.#random = random;
    this.#min = min;
    this.#count = max - min + 1;
  }

  next(): number {
    return this.#min + this.#random.below(this.#count);
  }
}
