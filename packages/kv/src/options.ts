/** What can be set when a store is opened or written to, with units and defaults. */
import {
  AiokvTypeError,
  GIB,
  KIB,
  MIB,
  boolean,
  instance,
  integer,
  oneOf,
  powerOfTwo,
  resolveOptions,
  systemClock,
} from '@aiokv/core';
import type { Clock, OptionShape } from '@aiokv/core';
import { linuxPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { MAX_FRAME_BYTES } from './format/frame.ts';
import type { ConditionOptions } from './write/write-batch.ts';
import type { Durability } from './log/writer.ts';
import type { OpenProgress } from './recovery/progress.ts';

export interface StoreOptions {
  /** Make the directory and the store when they are not there; default true. */
  createIfMissing: boolean;
  /** Refuse to open a store that is there; default false. */
  errorIfExists: boolean;
  /** Most requests in flight at once; default 128. */
  queueDepth: number;
  /** How safe a write is before it is acknowledged, unless the write says otherwise; default 'flushed'. */
  durability: Durability;
  /** Longest time that a buffered write stays in memory only, in milliseconds; default 1000. */
  flushIntervalMs: number;
  /** Memory for writes on their way to the device, in bytes; default 4 MiB, at least 1 MiB. */
  writeBufferBytes: number;
  /** The most that a batch may take, in bytes: of each operation 24, key and value; default 64 MiB, at most 1 GiB. */
  maxBatchBytes: number;
  /** Size of a segment of a store that is made, in bytes, a power of two; default 4 MiB. */
  segmentBytes: number;
  /**
   * Size of an index page of a store that is made, in bytes, a power of two from 4 KiB to 64 KiB, at most half of a
   * segment; default 4 KiB. A store that is there must have this size; 0, the default, takes what it has.
   */
  pageBytes: number;
  /**
   * Bytes of the log behind a checkpoint before the next is written, at least; default 64 MiB, and as many as the
   * last checkpoint took (three times as many up to 384 MiB). What lies behind it is replayed when the store is opened after a crash.
   */
  checkpointBytes: number;
  /**
   * Memory for the index, in bytes; default 1 GiB, at least 16 KiB. A key takes some 45 bytes. What does not fit
   * is read when it is needed: a get then costs two reads instead of one. Inner nodes of the tree, some hundredth
   * of it, are always in memory.
   */
  indexBytes: number;
  /**
   * Told how far the opening is, when a phase begins and ends and at most five times a second between; default: nobody.
   * What it throws ends the opening, which fails with just that and leaves the store as it was.
   */
  onProgress: ((progress: OpenProgress) => void) | null;
  /** Where the store lies and how it is reached; default: this Linux. The simulated disk is one, too. */
  platform: Platform | null;
  /** Time, for tests. */
  clock: Clock;
}

export interface WriteOptions extends ConditionOptions {
  /**
   * `'flushed'` survives power loss, `'written'` survives kill -9, `'buffered'` is in memory for at
   * most the flush interval. Default: the store's.
   */
  durability: Durability;
}

export const DURABILITIES = ['flushed', 'written', 'buffered'] as const;

/** What `put`, `del` and `batch` take. */
export const WRITE_OPTION_NAMES = { durability: true, ifAbsent: true, ifVersion: true };

const storeShape: OptionShape<StoreOptions> = {
  createIfMissing: boolean(true),
  errorIfExists: boolean(false),
  queueDepth: integer(1, 2048, 128),
  durability: oneOf(DURABILITIES, 'flushed'),
  flushIntervalMs: integer(1, 3_600_000, 1000),
  writeBufferBytes: integer(4 * MAX_FRAME_BYTES, 1024 * MIB, 4 * MIB),
  maxBatchBytes: integer(64 * KIB, GIB, 64 * MIB),
  segmentBytes: powerOfTwo(64 * KIB, 32 * MIB, 4 * MIB),
  pageBytes: instance('0 or a power of two from 4096 to 65536', 0, isPageSize),
  checkpointBytes: integer(4 * KIB, 1024 * GIB, 64 * MIB),
  indexBytes: integer(16 * KIB, 1024 * GIB, 1 * GIB),
  onProgress: instance<StoreOptions['onProgress']>(
    'a function',
    null,
    (value) => value === null || typeof value === 'function',
  ),
  platform: instance<Platform | null>('a platform', null, (value) => typeof value === 'object'),
  clock: instance('a clock', systemClock, (value) => typeof value === 'object' && value !== null),
};

export function resolveStoreOptions(options: Partial<StoreOptions> | undefined): StoreOptions & { platform: Platform } {
  const resolved = resolveOptions('open', storeShape, options);
  if (2 * resolved.pageBytes > resolved.segmentBytes) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `open: segmentBytes must be at least twice pageBytes, ${2 * resolved.pageBytes}, not ${resolved.segmentBytes}`,
    );
  }
  return { ...resolved, platform: resolved.platform ?? linuxPlatform() };
}

function isPageSize(value: unknown): boolean {
  return value === 0 || [4, 8, 16, 32, 64].includes((value as number) / KIB);
}
