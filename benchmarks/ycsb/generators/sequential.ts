/** The numbers from `min` to `max`, both included, in turn, and then again from `min`. */
import type { NumberGenerator } from './number-generator.ts';

export class Sequential implements NumberGenerator {
  readonly #min: number;
  readonly #max: number;
  #following: number;

  constructor(min: number, max: number) {
    this.#min = min;
    this.#max = max;
    this.#following = min;
  }

  next(): number {
    const value = this.#following;
    this.#following = value === this.#max ? this.#min : value + 1;
    return value;
  }
}
