/** LMDB by lmdb-js. Reads are synchronous there; a page that is not in memory is waited for in the thread of the loop. */
import { join } from 'node:path';
import { GIB } from '@aiokv/core';
import { load } from './install.ts';
import { visitInTurns } from './store.ts';
import type { BenchStore, DurabilityClass, OpenRequest } from './store.ts';

/** What is used of it. */
interface Lmdb {
  batch(run: () => void): Promise<unknown>;
  put(key: Buffer, value: Buffer): Promise<unknown>;
  remove(key: Buffer): Promise<unknown>;
  getBinary(key: Buffer): Buffer | undefined;
  getRange(range: object): Iterable<{ readonly key: Buffer; readonly value: Buffer }>;
  sync(callback: (error?: Error | null) => void): void;
  readonly flushed: PromiseLike<unknown>;
  close(): Promise<void>;
}

const OF_CLASS: Readonly<Record<DurabilityClass, object>> = {
  none: { noSync: true, useWritemap: true },
  written: { overlappingSync: true },
  flushed: { overlappingSync: false },
};

export async function openLmdb({ directory, durability, isForScans, options }: OpenRequest): Promise<BenchStore> {
  const { open } = load('lmdb') as { open: (options: object) => Lmdb };
  const db = open({
    path: join(directory, 'data.mdb'),
    keyEncoding: 'binary',
    encoding: 'binary',
    // Advised for random reads; a scan without it takes five times as long.
    noReadAhead: isForScans !== true,
    pageSize: 4096,
    mapSize: 64 * GIB,
    ...OF_CLASS[durability],
    ...options,
  });
  return {
    put: (key, value) => db.put(key, value),
    write: (puts) =>
      db.batch(() => {
        for (const { key, value } of puts) void db.put(key, value);
      }),
    delete: (key) => db.remove(key),
    async get(key) {
      return db.getBinary(key);
    },
    scan: ({ gte, limit, reverse }, visit) =>
      visitInTurns(db.getRange({ ...(gte && { start: gte }), limit, reverse }), ({ key, value }) => visit(key, value)),
    flush: () =>
      new Promise((resolve, reject) => {
        db.sync((error) => {
          if (error === undefined || error === null) resolve(undefined);
          else reject(error);
        });
      }),
    // Its tree is in order.
    compact: async () => undefined,
    close: () => db.close(),
  };
}
