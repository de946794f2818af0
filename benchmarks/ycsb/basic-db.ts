/** A database that keeps nothing and finds nothing: it counts its calls, and shows what the benchmark itself costs. */
import type { Db, Fields, Row } from './db.ts';

const NO_FIELDS: Fields = {};
const NO_ROWS: readonly Row[] = [];

export class BasicDb implements Db {
  readonly calls = { init: 0, read: 0, scan: 0, update: 0, insert: 0, delete: 0, cleanup: 0 };

  async init(): Promise<void> {
    this.calls.init++;
  }

  async read(): Promise<Fields> {
    this.calls.read++;
    return NO_FIELDS;
  }

  async scan(): Promise<readonly Row[]> {
    this.calls.scan++;
    return NO_ROWS;
  }

  async update(): Promise<boolean> {
    this.calls.update++;
    return true;
  }

  async insert(): Promise<void> {
    this.calls.insert++;
  }

  async delete(): Promise<boolean> {
    this.calls.delete++;
    return true;
  }

  async cleanup(): Promise<void> {
    this.calls.cleanup++;
  }
}
