/**
 * What a database is to this benchmark: one object that all clients share. It never measures itself; that is
 * done around it. A method fails by rejecting, and says "there is no such record" with its result.
 */

/** A record or a part of one: field names and their values. */
export type Fields = Record<string, Uint8Array>;

export interface Row {
  readonly key: string;
  readonly fields: Fields;
}

export interface Db {
  /** Called once, before the first operation. */
  init(): Promise<void>;
  /** @param fields the names that are wanted; null for all. The result is only looked at. */
  read(table: string, key: string, fields: readonly string[] | null): Promise<Fields | null>;
  /** Up to `count` records from `startKey` on, in the order of their keys. */
  scan(table: string, startKey: string, count: number, fields: readonly string[] | null): Promise<readonly Row[]>;
  /** Sets some fields of a record and leaves the others; `values` belongs to the database from then on. */
  update(table: string, key: string, values: Fields): Promise<boolean>;
  insert(table: string, key: string, values: Fields): Promise<void>;
  delete(table: string, key: string): Promise<boolean>;
  /** Called once, after the last operation; what was written is safe when it settles. */
  cleanup(): Promise<void>;
}

/** A record's wanted fields; those that it lacks are left out. */
export function pick(record: Fields, fields: readonly string[] | null): Fields {
  if (fields === null) return record;
  const picked: Fields = {};
  for (const field of fields) {
    const value = record[field];
    if (value !== undefined) picked[field] = value;
  }
  return picked;
}
