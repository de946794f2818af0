/**
 * Code that waits or measures takes a `Clock`, so that a test can move time by hand.
 */
import { clearTimeout, nowMs, setTimeout } from './timers.ts';

export interface Clock {
  /** Monotonic milliseconds, with a fraction; the zero is arbitrary. */
  nowMs(): number;
  /**
   * Calls back once after `delayMs`. Returns a function that cancels.
   *
   * @param keepsAlive whether the process stays alive until then; default true
   */
  after(delayMs: number, callback: () => void, keepsAlive?: boolean): () => void;
}

export const systemClock: Clock = {
  nowMs,
  after(delayMs, callback, keepsAlive = true) {
    const timer = setTimeout(callback, delayMs);
    if (!keepsAlive) timer.unref();
    return () => clearTimeout(timer);
  },
};

/** A clock for tests: time stands still until `advance` is called. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; callback: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Moves time forward and calls what has become due, earliest first. */
  advance(durationMs: number): void {
    const untilMs = this.#nowMs + durationMs;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.callback();
    }
    this.#nowMs = untilMs;
  }
}
