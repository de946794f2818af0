/** How late a timer of 1 ms fires: what the rest of a program would feel of the load on its event loop. */

export interface Drift {
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Ticks seen of those that were due; 1 is an idle loop. */
  readonly ticksRatio: number;
}

const PERIOD_MS = 1;

export class DriftMeter {
  readonly #startMs = performance.now();
  readonly #lateMs: number[] = [];
  #lastMs = this.#startMs;
  readonly #timer = setInterval(() => {
    this.#note();
  }, PERIOD_MS);

  /** The time since the last tick counts as well: a loop that never came to its timers has one long wait. */
  stop(): Drift {
    clearInterval(this.#timer);
    const ticks = this.#lateMs.length;
    this.#note();
    const late = this.#lateMs.sort((a, b) => a - b);
    return {
      p99Ms: late[Math.ceil(late.length * 0.99) - 1] as number,
      maxMs: late[late.length - 1] as number,
      ticksRatio: ticks / ((this.#lastMs - this.#startMs) / PERIOD_MS),
    };
  }

  #note(): void {
    const nowMs = performance.now();
    this.#lateMs.push(Math.max(0, nowMs - this.#lastMs - PERIOD_MS));
    this.#lastMs = nowMs;
  }
}
