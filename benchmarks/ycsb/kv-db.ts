/**
 * aiokv's own store as a database. A record is one value: its fields, encoded with the codec of `@aiokv/core`.
 *
 * A store holds one table and has no names for tables, so keys are stored as they are and the table's name is
 * not looked at; give another table another `kv.path`.
 *
 * An update of some fields reads the record, merges and writes it whole. Updates of one key that overlap must
 * not lose each other's fields:
 *
 * ```
 *   update 1    get ─── merge, put ·········· settled        one get for all that overlap;
 *   update 2      └ wait ── merge, put ·········· settled    merge and put are one step, so the
 *   update 3                   merge, put ·········· settled  last put holds what all of them set
 * ```
 *
 * The store admits writes in the order in which they are called, and so the merged record is right as long as
 * it is kept here while any of them is under way. Rejected: an update that begins when the one before it has
 * settled. With flushed writes the most popular key would then take one flush an update, and the benchmark
 * would measure that queue.
 *
 * Options: `kv.path`, the directory; `kv.<option>` for each option of `open`, such as `kv.durability`, which
 * is the store's default `flushed` in both phases unless given.
 */
import { createCodec } from '@aiokv/core';
import type { Codec } from '@aiokv/core';
import { pick } from './db.ts';
import type { Db, Fields, Row } from './db.ts';

const PREFIX = 'kv.';
const DEFAULT_PATH = './ycsb-data';

/** What is used of a store; the package is loaded when the database is opened. */
interface Store {
  get(key: string): Promise<Buffer | undefined>;
  put(key: string, value: Uint8Array): Promise<void>;
  del(key: string): Promise<void>;
  iterator(range: { gte: string; limit: number }): AsyncIterable<[Buffer, Buffer]>;
  close(): Promise<void>;
}

/** Updates of one key that are under way. */
interface Overlap {
  /** The record as the latest of them leaves it; null when there is no such record. */
  readonly record: Promise<Fields | null>;
  updates: number;
}

export class KvDb implements Db {
  readonly #directory: string;
  readonly #options: Readonly<Record<string, unknown>>;
  readonly #codec: Codec<Fields> = createCodec<Fields>();
  readonly #overlaps = new Map<string, Overlap>();
  #store: Store | null = null;

  /** @param createIfMissing whether a store may be made; a run on none would measure nothing */
  constructor(properties: ReadonlyMap<string, string>, createIfMissing: boolean) {
    this.#directory = properties.get(`${PREFIX}path`) ?? DEFAULT_PATH;
    this.#options = { createIfMissing, ...optionsOf(properties) };
  }

  async init(): Promise<void> {
    const { open } = await import('@aiokv/kv');
    this.#store = await open(this.#directory, this.#options);
  }

  async read(_table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
    const bytes = await this.#opened.get(key);
    return bytes === undefined ? null : pick(this.#codec.decode(bytes), fields);
  }

  async scan(_table: string, startKey: string, count: number, fields: readonly string[] | null): Promise<Row[]> {
    const rows: Row[] = [];
    for await (const [key, bytes] of this.#opened.iterator({ gte: startKey, limit: count })) {
      rows.push({ key: key.toString('latin1'), fields: pick(this.#codec.decode(bytes), fields) });
    }
    return rows;
  }

  async update(_table: string, key: string, values: Fields): Promise<boolean> {
    const overlap = this.#overlapOf(key);
    overlap.updates++;
    try {
      const record = await overlap.record;
      if (record === null) return false;
      // From here to the call of put nothing else runs.
      Object.assign(record, values);
      await this.#opened.put(key, this.#codec.encode(record));
      return true;
    } finally {
      overlap.updates--;
      if (overlap.updates === 0) this.#overlaps.delete(key);
    }
  }

  insert(_table: string, key: string, values: Fields): Promise<void> {
    return this.#opened.put(key, this.#codec.encode(values));
  }

  async delete(_table: string, key: string): Promise<boolean> {
    await this.#opened.del(key);
    return true;
  }

  /** Closing a store flushes it, so that buffered writes count as well. */
  async cleanup(): Promise<void> {
    await this.#opened.close();
    this.#store = null;
  }

  get #opened(): Store {
    if (this.#store === null) throw new Error('the store is not open: call init first');
    return this.#store;
  }

  #overlapOf(key: string): Overlap {
    let overlap = this.#overlaps.get(key);
    if (overlap === undefined) {
      overlap = { record: this.read('', key, null), updates: 0 };
      this.#overlaps.set(key, overlap);
    }
    return overlap;
  }
}

/** Options of `open` from properties; the store itself says which there are and what they may be. */
function optionsOf(properties: ReadonlyMap<string, string>): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [name, value] of properties) {
    if (name.startsWith(PREFIX) && name !== `${PREFIX}path`) options[name.slice(PREFIX.length)] = valueOf(value);
  }
  return options;
}

function valueOf(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d+$/.test(text) ? Number(text) : text;
}
