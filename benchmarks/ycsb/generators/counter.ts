/** Numbers in turn, from `start`: the records of the load phase. */
import type { NumberGenerator } from './number-generator.ts';

export class Counter implements NumberGenerator {
  #following: number;

  constructor(start: number) {
    this.#following = start;
  }

  next(): number {
    return this.#following++;
  }
}
