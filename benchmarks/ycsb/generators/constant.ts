/** The same number for ever: the length of a field, unless a distribution was asked for. */
import type { NumberGenerator } from './number-generator.ts';

export class Constant implements NumberGenerator {
  readonly #value: number;

  constructor(value: number) {
    this.#value = value;
  }

  next(): number {
    return this.#value;
  }
}
