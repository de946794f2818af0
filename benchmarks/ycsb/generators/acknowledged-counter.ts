/**
 * Numbers in turn, of which the reader of `last` sees only those whose use was acknowledged, without gaps:
 * a record that is still being inserted must not be chosen for a read.
 *
 * ```
 *   handed out      5 6 7 8 9
 *   acknowledged    5 6   8          last = 6, and 8 once 7 is acknowledged
 * ```
 */
import type { NumberGenerator } from './number-generator.ts';

const WINDOW = 2 ** 20;
const MASK = WINDOW - 1;

export class AcknowledgedCounter implements NumberGenerator {
  /** One flag a number, for the numbers after `#last`; a ring. */
  readonly #acknowledged = new Uint8Array(WINDOW);
  #following: number;
  #last: number;

  constructor(start: number) {
    this.#following = start;
    this.#last = start - 1;
  }

  next(): number {
    return this.#following++;
  }

  /** The highest number up to which all are acknowledged; one less than the start in the beginning. */
  get last(): number {
    return this.#last;
  }

  acknowledge(value: number): void {
    if (value - this.#last > WINDOW) {
      throw new RangeError(`more than ${WINDOW} inserts wait for the one before them: use fewer clients`);
    }
    this.#acknowledged[value & MASK] = 1;
    while (this.#acknowledged[(this.#last + 1) & MASK] === 1) {
      this.#last++;
      this.#acknowledged[this.#last & MASK] = 0;
    }
  }
}
