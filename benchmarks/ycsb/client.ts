/**
 * One client, a "thread" of the reference: does one operation after the other, never two at a time, until its
 * share is done or it is told to stop. With a target, operation n is not begun before
 *
 * ```
 *   start + n * tick        tick = clients / target
 * ```
 *
 * which is its intended start, however late the client is: a slow operation delays those after it, and the
 * latency from the intended start shows by how much (Tene's "coordinated omission").
 */
import type { Alarm } from './alarm.ts';
import type { Breather } from './breather.ts';
import type { MeasuredDb } from './measured-db.ts';

/** Operations between two looks at the clock of the event loop. */
const OPERATIONS_PER_LOOK = 32;

export interface ClientParts {
  readonly db: MeasuredDb;
  /** One operation; false ends the client. */
  readonly operation: (db: MeasuredDb) => Promise<boolean>;
  /** Infinity for as many as there is time for. */
  readonly operationCount: number;
  /** 0 for no target. */
  readonly tickMs: number;
  /** When the first operation may begin, so that clients do not all begin at once. */
  readonly firstDelayMs: number;
  readonly alarm: Alarm;
  readonly breather: Breather;
  readonly stop: AbortSignal;
}

export class Client {
  readonly #parts: ClientParts;
  #done = 0;

  constructor(parts: ClientParts) {
    this.#parts = parts;
  }

  get operationsDone(): number {
    return this.#done;
  }

  get operationsToDo(): number {
    return this.#parts.operationCount === Infinity ? 0 : this.#parts.operationCount - this.#done;
  }

  async run(): Promise<void> {
    const { db, operation, operationCount, tickMs, firstDelayMs, alarm, breather, stop } = this.#parts;
    if (firstDelayMs > 0) await alarm.sleepUntil(performance.now() + firstDelayMs);
    const startMs = performance.now();
    while (this.#done < operationCount && !stop.aborted) {
      if (!(await operation(db))) break;
      this.#done++;
      if (tickMs > 0) {
        const intendedMs = startMs + this.#done * tickMs;
        await alarm.sleepUntil(intendedMs);
        db.scheduleAt(intendedMs);
      }
      if (this.#done % OPERATIONS_PER_LOOK === 0 && breather.due()) await breather.turn();
    }
  }
}
