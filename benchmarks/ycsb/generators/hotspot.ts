/**
 * A hot part and a cold part of the range from `min` to `max`, both included: the lowest `dataFraction` of
 * the numbers gets `operationFraction` of the draws. Within a part all numbers are as likely.
 */
import type { Random } from '@aiokv/core';
import type { NumberGenerator } from './number-generator.ts';

export class Hotspot implements NumberGenerator {
  readonly #random: Random;
  readonly #min: number;
  readonly #hotCount: number;
  readonly #coldCount: number;
  readonly #hotShare: number;

  constructor(random: Random, min: number, max: number, dataFraction: number, operationFraction: number) {
    const count = max - min + 1;
    this.#random = random;
    this.#min = min;
    this.#hotCount = Math.floor(count * dataFraction);
    this.#coldCount = count - this.#hotCount;
    // A part without numbers cannot be drawn from, whatever its share.
    this.#hotShare = this.#hotCount === 0 ? 0 : this.#coldCount === 0 ? 1 : operationFraction;
  }

  next(): number {
    if (this.#random.float() < this.#hotShare) return this.#min + this.#random.below(this.#hotCount);
    return this.#min + this.#hotCount + this.#random.below(this.#coldCount);
  }
}
