/**
 * A line about the progress at once, every so often, and at the end, as the reference writes it:
 *
 * ```
 *   2024-05-01 12:00:10:003 10 sec: 52310 operations; 5231.4 current ops/sec; est completion in 9 seconds [READ: Count=…]
 * ```
 */
import type { Client } from './client.ts';
import type { Measurements } from './measurements/measurements.ts';
import { short } from './measurements/series.ts';

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const;

export interface StatusParts {
  readonly clients: readonly Client[];
  readonly measurements: Measurements;
  readonly label: string;
  readonly intervalSeconds: number;
  readonly log: (line: string) => void;
}

export class StatusReporter {
  readonly #parts: StatusParts;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #beforeMs = this.#startMs;
  #beforeOperations = 0;

  constructor(parts: StatusParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#report(), parts.intervalSeconds * 1000);
    this.#report();
  }

  /** The last line. */
  end(): void {
    clearInterval(this.#timer);
    this.#report();
  }

  #report(): void {
    const { clients, measurements, label, log } = this.#parts;
    const nowMs = performance.now();
    const done = clients.reduce((sum, client) => sum + client.operationsDone, 0);
    const toDo = clients.reduce((sum, client) => sum + client.operationsToDo, 0);
    const elapsedMs = nowMs - this.#startMs;
    const parts = [`${label}${timestamp(new Date())} ${Math.floor(elapsedMs / 1000)} sec: ${done} operations;`];
    if (done > 0) {
      const currentRate = (1000 * (done - this.#beforeOperations)) / Math.max(1, nowMs - this.#beforeMs);
      parts.push(`${short(currentRate)} current ops/sec;`);
      if (toDo > 0) parts.push(`est completion in ${duration(Math.ceil((toDo * elapsedMs) / done / 1000))}`);
    }
    log([...parts, measurements.summary()].join(' ').trimEnd());
    this.#beforeMs = nowMs;
    this.#beforeOperations = done;
  }
}

/** Days and hours, or hours and minutes, or minutes alone, or seconds. */
export function duration(seconds: number): string {
  let left = seconds;
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size);
    const tooFine = (unit === 'minute' && seconds >= 86_400) || (unit === 'second' && parts.length > 0);
    if (tooFine || (count === 0 && unit !== 'second')) continue;
    left -= count * size;
    parts.push(`${count} ${unit}${count === 1 ? '' : 's'}`);
  }
  return parts.join(' ');
}

/** Local time, with milliseconds after a colon. */
function timestamp(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}:${String(date.getMilliseconds()).padStart(3, '0')}`;
}
