/** Databases of the interface of abstract-level: AioLevel, which is ours, and classic-level, which is LevelDB. */
import { MIB } from '@aiokv/core';
import { AioLevel } from '@aiokv/level';
import { DURABILITY } from './aiokv.ts';
import { load } from './install.ts';
import { ENTRIES_AT_ONCE, LAST_KEY } from './store.ts';
import type { BenchStore, OpenRequest, Put } from './store.ts';
import { syncFiles } from './sync-files.ts';

/** What is used of either. */
interface Level {
  open(options: object): Promise<void>;
  put(key: Buffer, value: Buffer, options: object): Promise<void>;
  batch(puts: readonly Put[], options: object): Promise<void>;
  del(key: Buffer, options: object): Promise<void>;
  get(key: Buffer): Promise<Buffer | undefined>;
  iterator(options: object): { nextv(size: number): Promise<[Buffer, Buffer][]>; close(): Promise<void> };
  compactRange(from: Buffer, to: Buffer, options: object): Promise<void>;
  close(): Promise<void>;
}

const BYTES = { keyEncoding: 'buffer', valueEncoding: 'buffer' };

export async function openAioLevel({ directory, durability, options }: OpenRequest): Promise<BenchStore> {
  const db = new AioLevel(directory, {
    ...BYTES,
    durability: DURABILITY[durability],
    ...options,
  }) as unknown as Level;
  await db.open({});
  return storeOf(db, {}, () => db.del(LAST_KEY, { durability: 'flushed' }));
}

export async function openClassicLevel({ directory, durability, options }: OpenRequest): Promise<BenchStore> {
  const { ClassicLevel } = load('classic-level') as { ClassicLevel: new (path: string, options: object) => Level };
  const db = new ClassicLevel(directory, BYTES);
  await db.open({
    compression: false,
    writeBufferSize: 64 * MIB,
    maxFileSize: 32 * MIB,
    cacheSize: 64 * MIB,
    ...options,
  });
  return storeOf(db, { sync: durability === 'flushed' }, async () => {
    // An empty batch would not reach LevelDB.
    await db.del(LAST_KEY, { sync: true });
    await syncFiles(directory);
  });
}

function storeOf(db: Level, writeOptions: object, flush: () => Promise<unknown>): BenchStore {
  return {
    put: (key, value) => db.put(key, value, writeOptions),
    write: (puts) => db.batch(puts, writeOptions),
    delete: (key) => db.del(key, writeOptions),
    get: (key) => db.get(key),
    async scan({ gte, limit, reverse }, visit) {
      const iterator = db.iterator({ ...(gte && { gte }), limit, reverse });
      for (let rows = await iterator.nextv(ENTRIES_AT_ONCE); rows.length > 0;) {
        for (const [key, value] of rows) visit(key, value);
        rows = await iterator.nextv(ENTRIES_AT_ONCE);
      }
      await iterator.close();
    },
    flush,
    compact: () => db.compactRange(Buffer.alloc(0), LAST_KEY, { keyEncoding: 'buffer' }),
    close: () => db.close(),
  };
}
