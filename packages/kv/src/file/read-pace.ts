/**
 * How hard a cleaning, or a warm restart, works beside reads. It goes by how long reads of records take while it is under way: a little
 * harder after each hundred that are in time, half as hard when some are late. So much for one knob, `readLatencyTargetMs`.
 *
 * ```
 *   level      1/8 … 1/2            1          2 … 16
 *   turns      8 … 2 for a slice    1          1              turns of the event loop for one slice of the cleaning
 *   depth      1                    1          2 … 16         long reads of victims in flight
 * ```
 *
 * PACE-1. A cleaning never stops for reads: at the lowest level it still has an eighth of the time. Eight turns may take much
 * longer than eight slices, by work that is not the cleaning's.
 *
 * The rule is that of Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance" (1989). What
 * reads wait for most is the event loop, and then the device, so both are paced by one number. While nothing is paced no
 * read is timed.
 */
import { SLICE_MS, nextTurn } from '@aiokv/core';
import type { Clock } from '@aiokv/core';

const LEAST_LEVEL = 1 / 8;
const MOST_LEVEL = 16;
/** So many reads are judged at once, ... */
const READS = 100;
/** ... of which so many may be late. */
const MOST_LATE = 1;
const STEP = 1;
/** Between two slices. */
const MOST_REST_MS = (1 / LEAST_LEVEL - 1) * SLICE_MS;

export class ReadPace {
  /** Pieces of work that are paced. */
  #watching = 0;
  readonly #clock: Clock;
  readonly #targetMs: number;
  #level = MOST_LEVEL / 2;
  #reads = 0;
  #late = 0;

  constructor(clock: Clock, targetMs: number) {
    this.#clock = clock;
    this.#targetMs = targetMs;
  }

  /** Whether something is paced, so that reads are timed. */
  get isWatching(): boolean {
    return this.#watching > 0;
  }

  /** Work begins that is paced. */
  watch(): void {
    this.#watching++;
  }

  unwatch(): void {
    this.#watching--;
  }

  /** A read of a record has taken so long. */
  took(latencyMs: number): void {
    this.#reads++;
    if (latencyMs > this.#targetMs) this.#late++;
    const isLate = this.#late > MOST_LATE;
    if (!isLate && this.#reads < READS) return;
    this.#level = isLate
      ? Math.max(LEAST_LEVEL, this.#level / 2)
      : Math.min(MOST_LEVEL, this.#level < 1 ? 2 * this.#level : this.#level + STEP);
    this.#reads = 0;
    this.#late = 0;
  }

  /** Most long reads in flight. */
  get depth(): number {
    return Math.max(1, Math.floor(this.#level));
  }

  /** Turns of the event loop from one slice of the cleaning to the next. */
  get turns(): number {
    return Math.max(1, Math.round(1 / this.#level));
  }

  /** Settles when the next slice of the cleaning may begin. */
  async rest(): Promise<void> {
    const untilMs = this.#clock.nowMs() + MOST_REST_MS;
    for (let turns = this.turns; turns > 0; turns--) {
      await nextTurn();
      if (this.#clock.nowMs() >= untilMs) return;
    }
  }
}
