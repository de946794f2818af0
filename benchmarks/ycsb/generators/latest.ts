/** Zipfian from the newest record backwards: the newest that was acknowledged is the most popular. */
import type { Random } from '@aiokv/core';
import type { AcknowledgedCounter } from './acknowledged-counter.ts';
import type { NumberGenerator } from './number-generator.ts';
import { Zipfian } from './zipfian.ts';

export class Latest implements NumberGenerator {
  readonly #counter: AcknowledgedCounter;
  readonly #ages: Zipfian;

  constructor(random: Random, counter: AcknowledgedCounter) {
    this.#counter = counter;
    this.#ages = new Zipfian(random, 0, Math.max(1, counter.last) - 1);
  }

  next(): number {
    const newest = this.#counter.last;
    return newest - this.#ages.nextOf(Math.max(1, newest));
  }
}
