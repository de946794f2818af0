/**
 * Limits how long one turn of the event loop is busy with the store. Promises that are settled already continue as
 * microtasks and would starve timers and I/O. Code that could go on without waiting asks here first, and waits for the
 * next turn when its time is used up.
 */
import type { Clock } from './clock.ts';
import { setImmediate } from './timers.ts';

/**
 * Time that one piece of work takes of a turn: of background work, or of answers from memory. A read waits for up to two
 * turns, and a turn may have several such slices: at half a millisecond, reads beside a cleaning took 2.8 ms (p99) instead of
 * 2.0 ms. While answers from memory had a millisecond, eight callers that read again at once left 64 writers 8,600 puts a
 * second instead of 14,500.
 */
export const SLICE_MS = 0.25;
/** Reading the clock costs some 40 ns, so it is read once in so many operations. */
const ASK_CLOCK_EVERY = 16;

/** Most that a slice of background work takes. */
const MOST_SLICE_MS = 2;
/** Background work may take one part in so many of what everything else takes of a turn. */
const OTHERS_PART = 4;

export class TurnBudget {
  readonly #clock: Clock;
  readonly #leastMs: number;
  readonly #mostMs: number;
  #budgetMs: number;
  #turnStartMs = -1;
  #operations = 0;
  #spent = false;

  /**
   * @param leastMs how much of each turn may be used
   * @param mostMs up to which it may be more: a part of what other work takes of the turn
   */
  constructor(clock: Clock, leastMs = SLICE_MS, mostMs = leastMs) {
    this.#clock = clock;
    this.#leastMs = leastMs;
    this.#mostMs = mostMs;
    this.#budgetMs = leastMs;
  }

  /**
   * For work in the background. In a process whose own turns take 10 ms, slices of a quarter of a millisecond are 2 % of the
   * time, and writers wait for that work: 512 writers came from 20,000 puts/s to some 100. So slices grow with the turns of
   * others, which become longer by a quarter, and by 2 ms at most.
   */
  static ofBackground(clock: Clock): TurnBudget {
    return new TurnBudget(clock, SLICE_MS, MOST_SLICE_MS);
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
    if (this.#mostMs > this.#leastMs) {
      // An immediate was due, so the loop did not wait for anything.
      const othersMs = this.#clock.nowMs() - this.#turnStartMs - this.#budgetMs;
      this.#budgetMs = Math.min(this.#mostMs, Math.max(this.#leastMs, othersMs / OTHERS_PART));
    }
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
