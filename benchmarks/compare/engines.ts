/**
 * The engines that are compared, each behind the same calls and with the options that its documentation advises
 * for a bulk load of values that do not compress; README.md says why each is set. Those that are not ours are loaded
 * from `engines/node_modules`, where install.ts puts them; without them this file works for ours.
 */
import { createRequire } from 'node:module';
import { open as openFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GIB, MIB } from '@aiokv/core';
import { open as openStore } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import type { EngineName, Phase } from './options.ts';
import type { Put } from './records.ts';

export interface Engine {
  /** Settles when the engine takes the records as written, which may be before the device has them. */
  write(puts: readonly Put[]): Promise<unknown>;
  /** Settles when all that was written survives power loss. */
  flush(): Promise<unknown>;
  get(key: Buffer): Promise<Uint8Array | null | undefined>;
  /** Walks, by the fastest way that the engine has, and settles at the end. The caller sees each entry. */
  scan(range: ScanRange, visit: (key: Uint8Array, value: Uint8Array) => void): Promise<void>;
  /** Puts all into the order of the keys. */
  compact(): Promise<unknown>;
  close(): Promise<unknown>;
}

interface ScanRange {
  /** Where it begins; undefined: at the first key, in reverse at the last. */
  readonly gte?: Buffer;
  readonly limit: number;
  readonly reverse: boolean;
}

/** Entries that are taken together, where an engine can give many. */
const ENTRIES_AT_ONCE = 1000;
/** An engine whose walk does not wait would keep the loop from everything else. */
const LONGEST_TURN_MS = 1;

const load = createRequire(new URL('engines/package.json', import.meta.url));

/** Packages of the registry by the engine that needs them. */
export const PACKAGES: Readonly<Partial<Record<EngineName, string>>> = {
  rocksdb: 'rocksdb',
  'rocksdb-native': 'rocksdb-native',
  'classic-level': 'classic-level',
  lmdb: 'lmdb',
};

/** @throws Error when the engine is not installed, or does not open */
export function openEngine(name: EngineName, directory: string, phase: Phase): Promise<Engine> {
  return OPENERS[name](directory, phase);
}

const OPENERS: Readonly<Record<EngineName, (directory: string, phase: Phase) => Promise<Engine>>> = {
  aiokv: async (directory) => new Aiokv(await openStore(directory, { durability: 'buffered' })),
  'aiokv-puts': async (directory) => new AiokvPuts(await openStore(directory, { durability: 'buffered' })),
  rocksdb: openRocksdb,
  'rocksdb-native': openRocksdbNative,
  'classic-level': openClassicLevel,
  lmdb: openLmdb,
};

class Aiokv implements Engine {
  protected readonly store: Store;

  constructor(store: Store) {
    this.store = store;
  }

  write(puts: readonly Put[]): Promise<unknown> {
    return this.store.batch(puts);
  }

  flush(): Promise<unknown> {
    return this.store.flush();
  }

  get(key: Buffer): Promise<Uint8Array | undefined> {
    return this.store.get(key);
  }

  async scan(range: ScanRange, visit: (key: Uint8Array, value: Uint8Array) => void): Promise<void> {
    const iterator = this.store.iterator(range);
    for (let rows = await iterator.nextMany(ENTRIES_AT_ONCE); rows.length > 0;) {
      for (const [key, value] of rows) visit(key, value);
      rows = await iterator.nextMany(ENTRIES_AT_ONCE);
    }
  }

  compact(): Promise<unknown> {
    return this.store.compact();
  }

  close(): Promise<unknown> {
    return this.store.close();
  }
}

/** The records one by one, as many at a time as a server with so many clients would write. */
class AiokvPuts extends Aiokv {
  static readonly WRITERS = 128;

  override async write(puts: readonly Put[]): Promise<unknown> {
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < puts.length) {
        const { key, value } = puts[next++] as Put;
        await this.store.put(key, value);
      }
    };
    return Promise.all(Array.from({ length: AiokvPuts.WRITERS }, writer));
  }
}

/** What is used of rocksdb: the interface of abstract-leveldown. */
interface Leveldown {
  open(options: object, callback: (error?: Error) => void): void;
  batch(puts: readonly Put[], options: object, callback: (error?: Error) => void): void;
  get(key: Buffer, options: object, callback: (error: Error | undefined, value?: Buffer) => void): void;
  iterator(options: object): LeveldownIterator;
  compactRange(from: Buffer, to: Buffer, callback: (error?: Error) => void): void;
  close(callback: (error?: Error) => void): void;
}

interface LeveldownIterator {
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void;
  end(callback: (error?: Error) => void): void;
}

/** Behind every key. */
const LAST_KEY = Buffer.alloc(25, 0xff);

async function openRocksdb(directory: string): Promise<Engine> {
  const create = load('rocksdb') as (directory: string) => Leveldown;
  const db = create(directory);
  await promisify(db.open.bind(db))({ compression: false, writeBufferSize: 64 * MIB, cacheSize: 64 * MIB });
  const batch = promisify(db.batch.bind(db));
  return {
    write: (puts) => batch(puts, {}),
    async flush() {
      // A synced write makes the logs before it durable, too; tables are synced when they are made.
      await batch([], { sync: true });
      await syncFiles(directory);
    },
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
    compact: () => promisify(db.compactRange.bind(db))(Buffer.alloc(0), LAST_KEY),
    close: promisify(db.close.bind(db)),
  };
}

/** What is used of rocksdb-native. */
interface RocksdbNative {
  ready(): Promise<void>;
  write(): { put(key: Buffer, value: Buffer): unknown; flush(): Promise<void>; destroy(): void };
  read(): { get(key: Buffer): Promise<Buffer | null>; flush(): Promise<void>; destroy(): void };
  iterator(range: object): AsyncIterable<{ readonly key: Buffer; readonly value: Buffer }>;
  compactRange(): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

async function openRocksdbNative(directory: string): Promise<Engine> {
  const Native = load('rocksdb-native') as new (directory: string) => RocksdbNative;
  const db = new Native(join(directory, 'db'));
  await db.ready();
  return {
    async write(puts) {
      const batch = db.write();
      for (const { key, value } of puts) batch.put(key, value);
      await batch.flush();
      batch.destroy();
    },
    flush: () => db.flush(),
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
    compact: () => db.compactRange(),
    close: () => db.close(),
  };
}

/** What is used of classic-level: the interface of abstract-level. */
interface ClassicLevel {
  open(options: object): Promise<void>;
  batch(puts: readonly Put[], options: object): Promise<void>;
  get(key: Buffer): Promise<Buffer | undefined>;
  iterator(options: object): { nextv(size: number): Promise<[Buffer, Buffer][]>; close(): Promise<void> };
  compactRange(from: Buffer, to: Buffer, options: object): Promise<void>;
  close(): Promise<void>;
}

async function openClassicLevel(directory: string): Promise<Engine> {
  const { ClassicLevel } = load('classic-level') as {
    ClassicLevel: new (directory: string, options: object) => ClassicLevel;
  };
  const db = new ClassicLevel(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await db.open({ compression: false, writeBufferSize: 64 * MIB, maxFileSize: 32 * MIB, cacheSize: 64 * MIB });
  return {
    write: (puts) => db.batch(puts, {}),
    async flush() {
      await db.batch([], { sync: true });
      await syncFiles(directory);
    },
    get: (key) => db.get(key),
    async scan({ gte, limit, reverse }, visit) {
      const iterator = db.iterator({ ...(gte && { gte }), limit, reverse });
      for (let rows = await iterator.nextv(ENTRIES_AT_ONCE); rows.length > 0;) {
        for (const [key, value] of rows) visit(key, value);
        rows = await iterator.nextv(ENTRIES_AT_ONCE);
      }
      await iterator.close();
    },
    compact: () => db.compactRange(Buffer.alloc(0), LAST_KEY, { keyEncoding: 'buffer' }),
    close: () => db.close(),
  };
}

/** What is used of lmdb. */
interface Lmdb {
  batch(run: () => void): Promise<unknown>;
  put(key: Buffer, value: Buffer): Promise<unknown>;
  getBinary(key: Buffer): Buffer | undefined;
  getRange(range: object): Iterable<{ readonly key: Buffer; readonly value: Buffer }>;
  sync(callback: (error?: Error | null) => void): void;
  close(): Promise<void>;
}

async function openLmdb(directory: string, phase: Phase): Promise<Engine> {
  const { open } = load('lmdb') as { open: (options: object) => Lmdb };
  const db = open({
    path: join(directory, 'data.mdb'),
    keyEncoding: 'binary',
    encoding: 'binary',
    noSync: true,
    useWritemap: true,
    // Advised for random reads; a scan without it takes five times as long.
    noReadAhead: phase !== 'scan',
    pageSize: 4096,
    mapSize: 64 * GIB,
  });
  return {
    write: (puts) =>
      db.batch(() => {
        for (const { key, value } of puts) void db.put(key, value);
      }),
    flush: () =>
      new Promise((resolve, reject) => {
        db.sync((error) => {
          if (error === undefined || error === null) resolve(undefined);
          else reject(error);
        });
      }),
    async get(key) {
      return db.getBinary(key);
    },
    async scan({ gte, limit, reverse }, visit) {
      let turnMs = performance.now();
      for (const { key, value } of db.getRange({ ...(gte && { start: gte }), limit, reverse })) {
        visit(key, value);
        if (performance.now() - turnMs < LONGEST_TURN_MS) continue;
        await new Promise((resolve) => setImmediate(resolve));
        turnMs = performance.now();
      }
    },
    // Its tree is in order.
    compact: async () => undefined,
    close: () => db.close(),
  };
}

/** What a synced write leaves open: LevelDB syncs the log that it writes to, and not one that it left just before. */
async function syncFiles(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/\.log$|^MANIFEST/.test(name)) continue;
    const file = await openFile(join(directory, name), 'r').catch(() => null);
    await file?.datasync();
    await file?.close();
  }
}
