/** RocksDB by the package of Level, which is of 2021 (RocksDB 6.17). */
import { promisify } from 'node:util';
import { MIB } from '@aiokv/core';
import { load } from './install.ts';
import { LAST_KEY } from './store.ts';
import type { BenchStore, OpenRequest, Put } from './store.ts';
import { syncFiles } from './sync-files.ts';

type Done = (error?: Error | null) => void;

/** What is used of it: the interface of abstract-leveldown. */
interface Leveldown {
  open(options: object, callback: Done): void;
  put(key: Buffer, value: Buffer, options: object, callback: Done): void;
  del(key: Buffer, options: object, callback: Done): void;
  batch(puts: readonly Put[], options: object, callback: Done): void;
  get(key: Buffer, options: object, callback: (error: Error | null | undefined, value?: Buffer) => void): void;
  iterator(options: object): LeveldownIterator;
  compactRange(from: Buffer, to: Buffer, callback: Done): void;
  close(callback: Done): void;
}

interface LeveldownIterator {
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void;
  end(callback: Done): void;
}

export async function openRocksdb({ directory, durability, options }: OpenRequest): Promise<BenchStore> {
  const create = load('rocksdb') as (directory: string) => Leveldown;
  const db = create(directory);
  await promisify(db.open.bind(db))({
    compression: false,
    writeBufferSize: 64 * MIB,
    cacheSize: 64 * MIB,
    ...options,
  });
  const [put, del, batch] = [promisify(db.put.bind(db)), promisify(db.del.bind(db)), promisify(db.batch.bind(db))];
  const write = { sync: durability === 'flushed' };
  return {
    put: (key, value) => put(key, value, write),
    write: (puts) => batch(puts, write),
    delete: (key) => del(key, write),
    get: (key) =>
      new Promise((resolve, reject) => {
        db.get(key, {}, (error, value) => {
          if (error === undefined || error === null) resolve(value);
          else if (/not ?found/i.test(error.message)) resolve(undefined);
          else reject(error);
        });
      }),
    async scan({ gte, limit, reverse }, visit) {
      // Without a limit it is -1 here.
      const iterator = db.iterator({ ...(gte && { gte }), limit: limit === Infinity ? -1 : limit, reverse });
      await new Promise<void>((resolve, reject) => {
        const take = (error: Error | null | undefined, key?: Buffer, value?: Buffer): void => {
          if (error !== null && error !== undefined) reject(error);
          else if (key === undefined || value === undefined) resolve();
          else {
            visit(key, value);
            iterator.next(take);
          }
        };
        iterator.next(take);
      });
      await promisify(iterator.end.bind(iterator))();
    },
    async flush() {
      // A synced write makes the logs before it durable, too; tables are synced when they are made. An empty batch is none.
      await del(LAST_KEY, { sync: true });
      await syncFiles(directory);
    },
    compact: () => promisify(db.compactRange.bind(db))(Buffer.alloc(0), LAST_KEY),
    close: promisify(db.close.bind(db)),
  };
}
