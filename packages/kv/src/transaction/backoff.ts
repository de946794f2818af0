/**
 * How long a transaction waits before it runs again after a conflict: not at all at first, then a random time below a bound that
 * doubles, so that those that were in one another's way are not so again.
 */
import { nextTurn } from '@aiokv/core';
import type { Clock, Random } from '@aiokv/core';

const FIRST_MOST_MS = 1;
/** As many as 64 callers of the same few keys have passed then, also where a turn of the event loop takes tens of milliseconds. */
const MOST_MS = 256;

export class Backoff {
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** @param conflicts that it has had, from 1 */
  wait(conflicts: number): Promise<void> {
    if (conflicts === 1) return nextTurn();
    const mostMs = Math.min(MOST_MS, FIRST_MOST_MS * 2 ** (conflicts - 2));
    const delayMs = this.#random.float() * mostMs;
    return new Promise((resolve) => {
      this.#clock.after(delayMs, resolve);
    });
  }
}
