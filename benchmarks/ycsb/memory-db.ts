/**
 * A database in memory, for tests of the benchmark: it does what a database must, as plainly as can be, and
 * forgets all with its process. The keys of a table are sorted when a scan needs them and were not.
 */
import { placeOf } from '../common/sorted.ts';
import { pick } from './db.ts';
import type { Db, Fields, Row } from './db.ts';

interface Table {
  readonly records: Map<string, Fields>;
  /** The keys in order; null when one came or went since. */
  sortedKeys: string[] | null;
}

export class MemoryDb implements Db {
  readonly #tables = new Map<string, Table>();

  async init(): Promise<void> {}

  async read(table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
    const record = this.#table(table).records.get(key);
    return record === undefined ? null : pick(record, fields);
  }

  async scan(table: string, startKey: string, count: number, fields: readonly string[] | null): Promise<Row[]> {
    const { records } = this.#table(table);
    const keys = this.#sortedKeys(table);
    const start = placeOf(keys, startKey);
    return keys.slice(start, start + count).map((key) => ({ key, fields: pick(records.get(key) as Fields, fields) }));
  }

  async update(table: string, key: string, values: Fields): Promise<boolean> {
    const { records } = this.#table(table);
    const record = records.get(key);
    if (record === undefined) return false;
    records.set(key, { ...record, ...values });
    return true;
  }

  async insert(table: string, key: string, values: Fields): Promise<void> {
    const known = this.#table(table);
    known.records.set(key, values);
    known.sortedKeys = null;
  }

  async delete(table: string, key: string): Promise<boolean> {
    const known = this.#table(table);
    known.sortedKeys = null;
    return known.records.delete(key);
  }

  async cleanup(): Promise<void> {}

  #table(name: string): Table {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = { records: new Map(), sortedKeys: null };
      this.#tables.set(name, table);
    }
    return table;
  }

  #sortedKeys(name: string): string[] {
    const table = this.#table(name);
    table.sortedKeys ??= [...table.records.keys()].sort();
    return table.sortedKeys;
  }
}
