/**
 * Limits how long one turn of the event loop is busy with the store. Promises that are settled already continue as
 * microtasks and would starve timers and I/O. Code that could go on without waiting asks here first, and waits for the
 * next turn when its time is used up.
 */
import type { Clock } from './clock.ts';
import { setImmediate } from './timers.ts';

/**
 * Time that one piece of work takes of a turn: of background work, or of answers from memory. A read waits for up to two turns, and a turn may have several
 * such slices: at half a millisecond, reads beside a cleaning took 2.8 ms (p99) instead of 2.0 ms. While answers
 * from memory had a millisecond, eight callers that read again at once left 64 writers 8,600 puts a second instead of 14,500.
 */
export const SLICE_MS = 0.25;
/** Reading the clock costs some 40 ns, so it is read once in so many operations. */
const ASK_CLOCK_EVERY = 16;

export class TurnBudget {
  readonly #clock: Clock;
  readonly #budgetMs: number;
  #turnStartMs = -1;
  #operations = 0;
  #spent = false;

  /** @param budgetMs how much of each turn may be used */
  constructor(clock: Clock, budgetMs = SLICE_MS) {
    this.#clock = clock;
    this.#budgetMs = budgetMs;
  }

  /** Says that work begins, so that its time counts. Without it a turn begins with the first question. */
  begin(): void {
    if (this.#turnStartMs >= 0) return;
    this.#turnStartMs = this.#clock.nowMs();
    setImmediate(startNextTurn, this);
  }

  /**
   * Whether this turn has used up its time.
   *
   * @param operations how many were done since the last question
   */
  isSpent(operations = 1): boolean {
    this.begin();
    if (this.#spent) return true;
    this.#operations += operations;
    if (this.#operations >= ASK_CLOCK_EVERY) {
      this.#operations = 0;
      this.#spent = this.#clock.nowMs() - this.#turnStartMs > this.#budgetMs;
    }
    return this.#spent;
  }

  /** @internal */
  startTurn(): void {
    this.#turnStartMs = -1;
    this.#spent = false;
  }
}

function startNextTurn(budget: TurnBudget): void {
  budget.startTurn();
}

/** Settles in the next turn of the event loop, after timers and I/O. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
