/** RocksDB of today, by the package that follows it. */
import { load } from './install.ts';
import { ENTRIES_AT_ONCE } from './store.ts';
import type { BenchStore, OpenRequest } from './store.ts';

/** What is used of it. */
interface RocksdbNative {
  ready(): Promise<void>;
  write(): { put(key: Buffer, value: Buffer): unknown; flush(): Promise<void>; destroy(): void };
  read(): { get(key: Buffer): Promise<Buffer | null>; flush(): Promise<void>; destroy(): void };
  put(key: Buffer, value: Buffer): Promise<void>;
  delete(key: Buffer): Promise<void>;
  iterator(range: object): AsyncIterable<{ readonly key: Buffer; readonly value: Buffer }>;
  compactRange(): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

export async function openRocksdbNative({ directory, options }: OpenRequest): Promise<BenchStore> {
  const Native = load('rocksdb-native') as new (directory: string, options: object) => RocksdbNative;
  const db = new Native(directory, { ...options });
  await db.ready();
  return {
    put: (key, value) => db.put(key, value),
    async write(puts) {
      const batch = db.write();
      for (const { key, value } of puts) void batch.put(key, value);
      await batch.flush();
      batch.destroy();
    },
    delete: (key) => db.delete(key),
    async get(key) {
      const batch = db.read();
      const found = batch.get(key);
      await batch.flush();
      batch.destroy();
      return found;
    },
    async scan(range, visit) {
      const capacity = Math.min(ENTRIES_AT_ONCE, range.limit);
      for await (const { key, value } of db.iterator({ ...range, capacity })) visit(key, value);
    },
    flush: () => db.flush(),
    compact: () => db.compactRange(),
    close: () => db.close(),
  };
}
