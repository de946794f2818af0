/**
 * Options of the database and of its writes. Those that other databases of Level have are understood or do nothing: a
 * program that changes its database need not change its calls.
 */
import type { KeyValueStore, KeyValueWriteOptions } from '@aiokv/core';
import type { StoreOptions } from '@aiokv/kv';
import type { AbstractDatabaseOptions } from 'abstract-level';

/** Options of abstract-level, and those of `open` of @aiokv/kv, which a database in a directory is opened with. */
export interface AioLevelOptions<K, V>
  extends
    Omit<AbstractDatabaseOptions<K, V>, 'createIfMissing' | 'errorIfExists'>,
    Partial<Omit<StoreOptions, 'createIfMissing' | 'errorIfExists'>> {
  createIfMissing?: boolean;
  errorIfExists?: boolean;
}

/** What a store is opened with: of the options that the database was given, those that a store of @aiokv/kv has. */
export type OpenRequest = Partial<StoreOptions> & {
  readonly createIfMissing: boolean;
  readonly errorIfExists: boolean;
};

/** Opens a store of any kind. Called for each opening of the database, which closes what it was given. */
export type StoreOpener = (request: OpenRequest) => KeyValueStore | Promise<KeyValueStore>;

/** Options of `put`, `del`, `batch`, `clear` and of the `write` of a chained batch, beside those of abstract-level. */
export interface AioWriteOptions {
  /** As in @aiokv/kv. Default: the `durability` of the database. */
  durability?: 'flushed' | 'written' | 'buffered';
  /** As classic-level's: true is `'flushed'`, false is `'written'`. */
  sync?: boolean;
}

/** Each option of the store, so that the compiler finds a new one. */
const STORE_OPTIONS: Readonly<Record<keyof StoreOptions, true>> = {
  createIfMissing: true,
  errorIfExists: true,
  queueDepth: true,
  durability: true,
  flushIntervalMs: true,
  writeBufferBytes: true,
  maxBatchBytes: true,
  segmentBytes: true,
  pageBytes: true,
  checkpointBytes: true,
  spaceAmplificationMax: true,
  readLatencyTargetMs: true,
  valueCachePart: true,
  warmRestart: true,
  orderForScans: true,
  memoryBytes: true,
  onProgress: true,
  directIo: true,
  platform: true,
  clock: true,
  calendarMs: true,
};

/** Others are left out: hooks of abstract-level may be given any, and LevelDB's tuning has nothing to tune here. */
export function openRequestOf(options: object): OpenRequest {
  const known = Object.entries(options).filter(([name]) => Object.hasOwn(STORE_OPTIONS, name));
  return Object.fromEntries(known) as unknown as OpenRequest;
}

/** Undefined where nothing is asked for, which is the usual case and makes no object. */
export function writeOptionsOf({ durability, sync }: AioWriteOptions): KeyValueWriteOptions | undefined {
  if (durability !== undefined) return { durability };
  return typeof sync === 'boolean' ? { durability: sync ? 'flushed' : 'written' } : undefined;
}
