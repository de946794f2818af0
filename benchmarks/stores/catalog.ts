/**
 * All stores by name: what opens each, which package it needs, and how it is set for each class of durability, with the
 * source that says so. README.md explains; a test holds both together.
 */
import { readFileSync } from 'node:fs';
import { openAioLevel, openClassicLevel } from './abstract-level.ts';
import { openAiokv, openAiokvPuts } from './aiokv.ts';
import { openBetterSqlite3 } from './better-sqlite3.ts';
import { installPackages, isPackageInstalled, versionOfPackage } from './install.ts';
import { openLmdb } from './lmdb.ts';
import { openMemory } from './memory.ts';
import { openRocksdbNative } from './rocksdb-native.ts';
import { openRocksdb } from './rocksdb.ts';
import type { BenchStore, DurabilityClass, OpenRequest } from './store.ts';

export const STORE_NAMES = [
  'aiokv',
  'aiokv-puts',
  'level',
  'lmdb',
  'classic-level',
  'rocksdb',
  'rocksdb-native',
  'better-sqlite3',
  'memory',
] as const;
export type StoreName = (typeof STORE_NAMES)[number];

/** How a store is set for a class. */
interface Setting {
  readonly text: string;
  /** Where that is documented. */
  readonly source: string;
}

/** Why a store has nothing for a class. */
interface Gap {
  readonly gap: string;
}

interface Entry {
  readonly open: (request: OpenRequest) => Promise<BenchStore>;
  /** Of the registry; undefined for those that are part of the project. */
  readonly package?: string;
  /** Whatever the class. */
  readonly settings: readonly Setting[];
  readonly classes: Readonly<Record<DurabilityClass, Setting | Gap>>;
}

const KV = 'packages/kv/README.md, Durability';
const KV_CLASSES = {
  none: { text: "durability: 'buffered'", source: KV },
  written: { text: "durability: 'written'", source: KV },
  flushed: { text: "durability: 'flushed'", source: KV },
} as const;
const LEVELDB = 'github.com/google/leveldb doc/index.md, Synchronous Writes';
const ROCKSDB_WAL = 'github.com/facebook/rocksdb/wiki/WAL-Performance';
const LMDB = 'lmdb README, LMDB Flags and Overlapping Sync Options';
const SQLITE = 'sqlite.org/pragma.html#pragma_synchronous';

const CATALOG: Readonly<Record<StoreName, Entry>> = {
  aiokv: { open: openAiokv, settings: [], classes: KV_CLASSES },
  'aiokv-puts': { open: openAiokvPuts, settings: [], classes: KV_CLASSES },
  level: { open: openAioLevel, settings: [], classes: KV_CLASSES },
  lmdb: {
    open: openLmdb,
    package: 'lmdb',
    settings: [
      { text: 'noReadAhead, except for long scans', source: 'lmdb README: for data larger than memory' },
      { text: 'pageSize: 4096', source: 'lmdb README: larger ones should not go with noReadAhead' },
      { text: "keyEncoding, encoding: 'binary'", source: 'lmdb README: keys and values are bytes here' },
    ],
    classes: {
      none: { text: 'noSync and useWritemap', source: LMDB },
      written: { text: 'overlappingSync: true, which is the default', source: LMDB },
      flushed: { text: 'overlappingSync: false: a commit ends with its flush', source: LMDB },
    },
  },
  'classic-level': {
    open: openClassicLevel,
    package: 'classic-level',
    settings: [
      { text: 'compression: false', source: 'classic-level README: off where data does not compress' },
      { text: 'writeBufferSize: 64 MiB', source: 'classic-level README: larger ones for bulk loads' },
      { text: 'maxFileSize: 32 MiB', source: 'classic-level README: larger ones for large loads' },
      { text: 'cacheSize: 64 MiB', source: 'classic-level README: the one memory budget for reads' },
    ],
    classes: {
      none: { text: 'sync: false: it has nothing weaker', source: LEVELDB },
      written: { text: 'sync: false', source: LEVELDB },
      flushed: { text: 'sync: true', source: LEVELDB },
    },
  },
  rocksdb: {
    open: openRocksdb,
    package: 'rocksdb',
    settings: [
      { text: 'compression: false', source: 'rocksdb README: off where data does not compress' },
      {
        text: 'writeBufferSize: 64 MiB',
        source: "RocksDB's own default, github.com/facebook/rocksdb/wiki/Setup-Options",
      },
      { text: 'cacheSize: 64 MiB', source: 'rocksdb README: the one memory budget for reads' },
    ],
    classes: {
      none: { text: 'sync: false: the package has nothing weaker', source: ROCKSDB_WAL },
      written: { text: 'sync: false', source: ROCKSDB_WAL },
      flushed: { text: 'sync: true', source: ROCKSDB_WAL },
    },
  },
  'rocksdb-native': {
    open: openRocksdbNative,
    package: 'rocksdb-native',
    settings: [
      { text: 'everything by default: write buffers of 64 MiB', source: 'rocksdb-native lib/column-family.js' },
    ],
    classes: {
      none: { text: 'the log is not synced: the package has nothing weaker', source: 'rocksdb-native lib/batch.js' },
      written: { text: 'the log is not synced', source: 'rocksdb-native lib/batch.js' },
      flushed: { gap: 'its writes cannot be synced: flush() writes a whole table' },
    },
  },
  'better-sqlite3': {
    open: openBetterSqlite3,
    package: 'better-sqlite3',
    settings: [
      { text: 'journal_mode=WAL', source: 'better-sqlite3 README and docs/performance.md' },
      { text: 'cache_size: 64 MiB', source: 'sqlite.org/pragma.html#pragma_cache_size: as much as the others have' },
      { text: 'without rowid, where values have 200 bytes at most', source: 'sqlite.org/withoutrowid.html' },
    ],
    classes: {
      none: { text: 'synchronous=OFF', source: SQLITE },
      written: { text: 'synchronous=NORMAL', source: SQLITE },
      flushed: { text: 'synchronous=FULL', source: SQLITE },
    },
  },
  memory: {
    open: openMemory,
    settings: [],
    classes: {
      none: { text: 'a map of the process', source: 'benchmarks/stores/memory.ts' },
      written: { gap: 'nothing is written' },
      flushed: { gap: 'nothing is written' },
    },
  },
};

/** @throws Error when it is not installed, does not open, or has nothing for the class */
export async function openStore(name: StoreName, request: OpenRequest): Promise<BenchStore> {
  const gap = gapOf(name, request.durability);
  if (gap !== null) throw new Error(`${name} has no durability class '${request.durability}': ${gap}`);
  return CATALOG[name].open(request);
}

/** Why a store cannot stand in the tables of a class; null where it can. */
export function gapOf(name: StoreName, durability: DurabilityClass): string | null {
  const setting = CATALOG[name].classes[durability];
  return 'gap' in setting ? setting.gap : null;
}

/** How a store is set in a class, each line with its source. */
export function settingsOf(name: StoreName, durability: DurabilityClass): Setting[] {
  const { classes, settings } = CATALOG[name];
  const setting = classes[durability];
  return 'gap' in setting ? [] : [setting, ...settings];
}

/** Installs what these need and is not there. */
export function installStores(names: readonly StoreName[], tell: (line: string) => void): void {
  installPackages(
    names.flatMap((name) => CATALOG[name].package ?? []),
    tell,
  );
}

export function isInstalled(name: StoreName): boolean {
  const needed = CATALOG[name].package;
  return needed === undefined || isPackageInstalled(needed);
}

/** Of the package, or of ours; null where it is not installed. */
export function versionOf(name: StoreName): string | null {
  const needed = CATALOG[name].package;
  if (needed !== undefined) return versionOfPackage(needed);
  if (name === 'memory') return process.version;
  const ours = new URL(`../../packages/${name === 'level' ? 'level' : 'kv'}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(ours, 'utf8')) as { version: string }).version;
}
