/**
 * The databases by their names on the command line: those of benchmarks/stores, and two of the benchmark's own. Each has
 * properties under its own name: `lmdb.path` is its directory, and every other `lmdb.<option>` goes to its opening.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { gapOf, installStores, isInstalled, openStore, settingsOf, versionOf } from '../stores/catalog.ts';
import type { StoreName } from '../stores/catalog.ts';
import { DURABILITY_CLASSES } from '../stores/store.ts';
import type { DurabilityClass } from '../stores/store.ts';
import { BasicDb } from './basic-db.ts';
import { DATABASE_NAMES } from './database-names.ts';
import type { DatabaseName } from './database-names.ts';
import type { Db } from './db.ts';
import { MemoryDb } from './memory-db.ts';
import { RecordDb } from './record-db.ts';
import { SetupError } from './setup-error.ts';

export type Phase = 'load' | 'run';

/** What a database is made of. */
interface Wanted {
  readonly properties: ReadonlyMap<string, string>;
  readonly phase: Phase;
  /** Takes lines for people: versions, settings, and what is installed. */
  readonly log: (line: string) => void;
}

interface Entry {
  readonly text: string;
  readonly make: (wanted: Wanted) => Db;
}

const DATABASES: Readonly<Record<DatabaseName, Entry>> = {
  kv: {
    text: "aiokv's store in the directory kv.path; every other kv.<option> goes to its open",
    make: (wanted) => makeStore('kv', 'aiokv', wanted),
  },
  level: entryOf('level', 'AioLevel, the same store by the interface of Level'),
  lmdb: entryOf('lmdb', 'LMDB'),
  'classic-level': entryOf('classic-level', 'LevelDB'),
  rocksdb: entryOf('rocksdb', 'RocksDB of 2021'),
  'rocksdb-native': entryOf('rocksdb-native', 'RocksDB of today'),
  'better-sqlite3': entryOf('better-sqlite3', 'SQLite'),
  memory: { text: 'a map in memory, empty at the start of each phase', make: () => new MemoryDb() },
  basic: { text: 'keeps nothing: what the benchmark itself costs', make: () => new BasicDb() },
};

const DEFAULT_PATH = './ycsb-data';

function entryOf(name: StoreName, text: string): Entry {
  return { text, make: (wanted) => makeStore(name, name, wanted) };
}

/** @throws SetupError */
export function makeDatabase(
  name: string,
  properties: ReadonlyMap<string, string>,
  phase: Phase,
  log: (line: string) => void,
): Db {
  const known = DATABASE_NAMES.find((one) => one === name);
  if (known === undefined) {
    throw new SetupError(`there is no database '${name}': it is one of ${DATABASE_NAMES.join(', ')}`);
  }
  return DATABASES[known].make({ properties, phase, log });
}

/** One line for each database, for --help. */
export function describeDatabases(): string[] {
  return Object.entries(DATABASES).map(([name, { text }]) => `  ${name.padEnd(16)} ${text}`);
}

/** @throws SetupError where it cannot be had, has nothing for the class, or a run finds nothing to run on */
function makeStore(name: string, store: StoreName, { properties, phase, log }: Wanted): Db {
  const durability = durabilityOf(properties.get('durability') ?? 'flushed');
  const gap = gapOf(store, durability);
  if (gap !== null) throw new SetupError(`${name} has no durability class '${durability}': ${gap}`);
  installStores([store], log);
  if (!isInstalled(store)) throw new SetupError(`${name} is not installed, and cannot be installed here`);
  const directory = properties.get(`${name}.path`) ?? DEFAULT_PATH;
  const options = { ...(isOurs(store) ? { createIfMissing: phase === 'load' } : {}), ...optionsOf(name, properties) };
  // Ours say themselves that there is no store.
  if (!isOurs(store)) provideDirectory(name, directory, phase);
  const settings = settingsOf(store, durability).map(({ text }) => text);
  log(`${name} ${versionOf(store)}, durability=${durability}: ${settings.join('; ')}`);
  const request = { directory, durability, options, valueBytes: recordBytesOf(properties) };
  return new RecordDb(() => openStore(store, request));
}

function isOurs(store: StoreName): boolean {
  return store === 'aiokv' || store === 'level';
}

/** A run on no store would measure nothing. */
function provideDirectory(name: string, directory: string, phase: Phase): void {
  if (phase === 'load') mkdirSync(directory, { recursive: true });
  else if (!existsSync(directory) || readdirSync(directory).length === 0) {
    throw new SetupError(`there is nothing in ${directory}: load ${name} first`);
  }
}

function durabilityOf(text: string): DurabilityClass {
  const found = DURABILITY_CLASSES.find((one) => one === text.trim());
  if (found === undefined) throw new SetupError(`durability=${text}: expected ${DURABILITY_CLASSES.join(', ')}`);
  return found;
}

/** About, for a store that has another table for small records; what makes no sense is told elsewhere. */
function recordBytesOf(properties: ReadonlyMap<string, string>): number {
  return Number(properties.get('fieldcount') ?? 10) * Number(properties.get('fieldlength') ?? 100);
}

/** Options from properties; the store itself says which there are and what they may be. */
function optionsOf(name: string, properties: ReadonlyMap<string, string>): Record<string, unknown> {
  const prefix = `${name}.`;
  const options: Record<string, unknown> = {};
  for (const [property, value] of properties) {
    if (property.startsWith(prefix) && property !== `${prefix}path`)
      options[property.slice(prefix.length)] = valueOf(value);
  }
  return options;
}

function valueOf(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d+$/.test(text) ? Number(text) : text;
}
