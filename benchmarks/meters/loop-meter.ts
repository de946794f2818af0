/**
 * How late a timer of 1 ms fires while an engine works, and how much of that is the engine's: on a busy machine the
 * thread also waits for a CPU, and the kernel says how long.
 *
 * ```
 *   tick │ due ┄┄┄┄┄┄┄ late ┄┄┄┄┄┄┄│ tick        own = late, less the time in which the thread could run and had no CPU
 * ```
 */
import { closeSync, openSync, readSync } from 'node:fs';

export interface LoopFigures {
  readonly driftP99Ms: number;
  readonly driftMaxMs: number;
  /** As those, without waiting for a CPU; the same where the kernel does not tell. */
  readonly ownP99Ms: number;
  readonly ownMaxMs: number;
}

const PERIOD_MS = 1;
const NS_PER_MS = 1e6;

export class LoopMeter {
  readonly #lateMs: number[] = [];
  readonly #ownMs: number[] = [];
  readonly #waiting = new WaitingTime();
  #lastMs = performance.now();
  #lastWaitedMs = this.#waiting.totalMs();
  readonly #timer = setInterval(() => {
    this.#note();
  }, PERIOD_MS);

  /** The time since the last tick counts as well: a loop that never came to its timers has one long wait. */
  stop(): LoopFigures {
    clearInterval(this.#timer);
    this.#note();
    this.#waiting.close();
    const [driftP99Ms, driftMaxMs] = highest(this.#lateMs);
    const [ownP99Ms, ownMaxMs] = highest(this.#ownMs);
    return { driftP99Ms, driftMaxMs, ownP99Ms, ownMaxMs };
  }

  #note(): void {
    const nowMs = performance.now();
    const waitedMs = this.#waiting.totalMs();
    const lateMs = Math.max(0, nowMs - this.#lastMs - PERIOD_MS);
    this.#lateMs.push(lateMs);
    this.#ownMs.push(Math.max(0, lateMs - (waitedMs - this.#lastWaitedMs)));
    this.#lastMs = nowMs;
    this.#lastWaitedMs = waitedMs;
  }
}

/** Time that the main thread could have run and was not let, from /proc; reading it takes some 3 us. */
class WaitingTime {
  readonly #bytes = Buffer.alloc(128);
  readonly #fd = WaitingTime.#open();

  static #open(): number | null {
    try {
      return openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
    } catch {
      return null;
    }
  }

  totalMs(): number {
    if (this.#fd === null) return 0;
    const length = readSync(this.#fd, this.#bytes, 0, this.#bytes.length, 0);
    return Number(this.#bytes.toString('latin1', 0, length).split(' ')[1]) / NS_PER_MS;
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
  }
}

/** What 99 of 100 do not exceed, and none. */
function highest(values: number[]): [number, number] {
  const sorted = values.sort((a, b) => a - b);
  return [sorted[Math.ceil(sorted.length * 0.99) - 1] as number, sorted[sorted.length - 1] as number];
}
