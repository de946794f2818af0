/**
 * A database as one client sees it: each operation is timed, and its return code counted. What failed is
 * measured apart, as READ-FAILED, so that a quick failure makes no latency look better.
 *
 * The intended start of an operation is when the schedule of `target` wanted it; without a schedule it is the
 * start. The client says it before each operation.
 */
import type { Db, Fields, Row } from './db.ts';
import type { Measurements, Status } from './measurements/measurements.ts';
import type { Troubles } from './troubles.ts';

type Operation = 'READ' | 'SCAN' | 'UPDATE' | 'INSERT';

const FAILED = {
  READ: 'READ-FAILED',
  SCAN: 'SCAN-FAILED',
  UPDATE: 'UPDATE-FAILED',
  INSERT: 'INSERT-FAILED',
} as const satisfies Record<Operation, string>;

const NO_ROWS: readonly Row[] = [];

export class MeasuredDb {
  readonly #db: Db;
  readonly #measurements: Measurements;
  readonly #troubles: Troubles;
  #scheduledMs = Number.NaN;

  constructor(db: Db, measurements: Measurements, troubles: Troubles) {
    this.#db = db;
    this.#measurements = measurements;
    this.#troubles = troubles;
  }

  /** When the next operation was meant to start. */
  scheduleAt(timeMs: number): void {
    this.#scheduledMs = timeMs;
  }

  intendedStartOr(startMs: number): number {
    return Number.isNaN(this.#scheduledMs) ? startMs : this.#scheduledMs;
  }

  /** The record's fields, or null when there is none or the read failed. */
  async read(table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
    const startMs = performance.now();
    try {
      const found = await this.#db.read(table, key, fields);
      this.#took('READ', startMs, found === null ? 'NOT_FOUND' : 'OK');
      return found;
    } catch (error) {
      this.#failed('READ', startMs, error);
      return null;
    }
  }

  async scan(
    table: string,
    startKey: string,
    count: number,
    fields: readonly string[] | null,
  ): Promise<readonly Row[]> {
    const startMs = performance.now();
    try {
      const rows = await this.#db.scan(table, startKey, count, fields);
      this.#took('SCAN', startMs, 'OK');
      return rows;
    } catch (error) {
      this.#failed('SCAN', startMs, error);
      return NO_ROWS;
    }
  }

  async update(table: string, key: string, values: Fields): Promise<void> {
    const startMs = performance.now();
    try {
      const found = await this.#db.update(table, key, values);
      this.#took('UPDATE', startMs, found ? 'OK' : 'NOT_FOUND');
    } catch (error) {
      this.#failed('UPDATE', startMs, error);
    }
  }

  /** Whether it succeeded. */
  async insert(table: string, key: string, values: Fields): Promise<boolean> {
    const startMs = performance.now();
    try {
      await this.#db.insert(table, key, values);
      this.#took('INSERT', startMs, 'OK');
      return true;
    } catch (error) {
      this.#failed('INSERT', startMs, error);
      return false;
    }
  }

  #took(operation: Operation, startMs: number, status: Status): void {
    const name = status === 'OK' ? operation : FAILED[operation];
    this.#measurements.measure(name, startMs, this.intendedStartOr(startMs), performance.now());
    this.#measurements.reportStatus(operation, status);
  }

  #failed(operation: Operation, startMs: number, error: unknown): void {
    this.#took(operation, startMs, 'ERROR');
    this.#troubles.failure(operation, error);
  }
}
