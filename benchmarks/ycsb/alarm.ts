/**
 * Wakes sleepers at moments that a timer is too coarse for. Timers have a grain of a millisecond or two, which
 * a latency counted from the intended start would show; so an alarm sleeps by timer until shortly before the
 * earliest moment, and then looks at the clock at each turn of the event loop.
 *
 * One look serves all sleepers: they lie in order, the earliest at the end of the array.
 */
const TIMER_GRAIN_MS = 2;
const LONGEST_TIMER_MS = 1_000_000;

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

export class Alarm {
  readonly #sleepers: Sleeper[] = [];
  #timer: NodeJS.Timeout | null = null;
  #looking = false;
  #closed = false;

  /** Settles at the given moment of `performance.now()`, or at once when that is over. */
  sleepUntil(atMs: number): Promise<void> {
    if (this.#closed || atMs <= performance.now()) return Promise.resolve();
    return new Promise((wake) => {
      this.#insert({ atMs, wake });
      this.#arm();
    });
  }

  /** Wakes everybody now; nobody sleeps from then on. */
  close(): void {
    this.#closed = true;
    for (const sleeper of this.#sleepers.splice(0)) sleeper.wake();
    this.#arm();
  }

  #insert(sleeper: Sleeper): void {
    let at = this.#sleepers.length;
    while (at > 0 && (this.#sleepers[at - 1] as Sleeper).atMs < sleeper.atMs) at--;
    this.#sleepers.splice(at, 0, sleeper);
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const earliest = this.#sleepers.at(-1);
    if (earliest === undefined || this.#looking) return;
    const leftMs = earliest.atMs - performance.now() - TIMER_GRAIN_MS;
    if (leftMs > 0) {
      this.#timer = setTimeout(() => this.#arm(), Math.min(leftMs, LONGEST_TIMER_MS));
    } else {
      this.#looking = true;
      setImmediate(() => this.#look());
    }
  }

  #look(): void {
    this.#looking = false;
    const nowMs = performance.now();
    for (let last = this.#sleepers.at(-1); last !== undefined && last.atMs <= nowMs; last = this.#sleepers.at(-1)) {
      this.#sleepers.pop();
      last.wake();
    }
    this.#arm();
  }
}
