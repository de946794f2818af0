/**
 * Who is loaded: a store, or another engine with the same memory. Both are awaited batch by batch.
 *
 * rocksdb-native takes what it is given as aiokv does while it loads: two write buffers of 7/16 of the memory each. Its block cache
 * stays what it is by default, and it writes its log without a flush, as `buffered` does. It is in a folder of its own, where
 * benchmarks/stores/install.ts puts it.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { open } from '@aiokv/kv';
import type { Durability, StoreOptions } from '@aiokv/kv';
import { flatNumbers } from '../common/statistics.ts';
import type { Put } from '../stores/store.ts';

/** Of the memory. */
const WRITE_BUFFER_PART = 7 / 16;

export interface Target {
  write(puts: readonly Put[]): Promise<unknown>;
  /** Settles when all that was written survives power loss. */
  flush(): Promise<unknown>;
  close(): Promise<unknown>;
  statistics(): Readonly<Record<string, number>>;
}

export async function openStore(
  directory: string,
  options: Partial<StoreOptions>,
  durability: Durability,
): Promise<Target> {
  const store = await open(directory, options);
  return {
    write: (puts) => store.batch(puts, { durability }),
    flush: () => store.flush(),
    close: () => store.close(),
    statistics: () => flatNumbers(store.statistics()),
  };
}

/** What is used of it. */
interface RocksdbNative {
  ready(): Promise<void>;
  write(): { put(key: Buffer, value: Buffer): unknown; flush(): Promise<void>; destroy(): void };
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** @param packages the folder with the package.json that it is installed for */
export async function openRocksdbNative(directory: string, memoryBytes: number, packages: string): Promise<Target> {
  const Native = createRequire(join(packages, 'package.json'))('rocksdb-native') as new (
    directory: string,
    options: object,
  ) => RocksdbNative;
  const db = new Native(directory, { writeBufferSize: Math.floor(memoryBytes * WRITE_BUFFER_PART) });
  await db.ready();
  return {
    async write(puts) {
      const batch = db.write();
      for (const { key, value } of puts) void batch.put(key, value);
      await batch.flush();
      batch.destroy();
    },
    flush: () => db.flush(),
    close: () => db.close(),
    statistics: () => ({}),
  };
}
