/**
 * Any store of benchmarks/stores as a database. A record is one value: its fields, encoded with the codec of
 * `@aiokv/core`, under the bytes of its key. All stores have the same keys, the same values and the same calls.
 *
 * A store holds one table and has no names for tables, so the table's name is not looked at; give another table
 * another directory.
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
 * The stores admit writes in the order in which they are called, and so the merged record is right as long as
 * it is kept here while any of them is under way. Rejected: an update that begins when the one before it has
 * settled. With flushed writes the most popular key would then take one flush an update, and the benchmark
 * would measure that queue.
 */
import { createCodec } from '@aiokv/core';
import type { Codec } from '@aiokv/core';
import type { BenchStore } from '../stores/store.ts';
import { pick } from './db.ts';
import type { Db, Fields, Row } from './db.ts';

/** Updates of one key that are under way. */
interface Overlap {
  /** The record as the latest of them leaves it; null when there is no such record. */
  readonly record: Promise<Fields | null>;
  updates: number;
}

export class RecordDb implements Db {
  readonly #open: () => Promise<BenchStore>;
  readonly #codec: Codec<Fields> = createCodec<Fields>();
  readonly #overlaps = new Map<string, Overlap>();
  #store: BenchStore | null = null;

  /** @param open called by `init` */
  constructor(open: () => Promise<BenchStore>) {
    this.#open = open;
  }

  async init(): Promise<void> {
    this.#store = await this.#open();
  }

  async read(_table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
    const bytes = await this.#opened.get(bytesOf(key));
    return bytes === undefined || bytes === null ? null : pick(this.#codec.decode(bytes), fields);
  }

  async scan(_table: string, startKey: string, count: number, fields: readonly string[] | null): Promise<Row[]> {
    const rows: Row[] = [];
    await this.#opened.scan({ gte: bytesOf(startKey), limit: count, reverse: false }, (key, bytes) => {
      rows.push({ key: textOf(key), fields: pick(this.#codec.decode(bytes), fields) });
    });
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
      await this.#opened.put(bytesOf(key), bufferOf(this.#codec.encode(record)));
      return true;
    } finally {
      overlap.updates--;
      if (overlap.updates === 0) this.#overlaps.delete(key);
    }
  }

  async insert(_table: string, key: string, values: Fields): Promise<void> {
    await this.#opened.put(bytesOf(key), bufferOf(this.#codec.encode(values)));
  }

  async delete(_table: string, key: string): Promise<boolean> {
    await this.#opened.delete(bytesOf(key));
    return true;
  }

  /** Flushed before it is closed, so that what was not synced write by write counts as well. */
  async cleanup(): Promise<void> {
    await this.#opened.flush();
    await this.#opened.close();
    this.#store = null;
  }

  get #opened(): BenchStore {
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

/** Keys are of one byte a character. */
function bytesOf(key: string): Buffer {
  return Buffer.from(key, 'latin1');
}

function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
