/** The options of `open` and of writes, with units, limits and defaults. */
import { totalmem } from 'node:os';
import {
  AiokvTypeError,
  GIB,
  KIB,
  MIB,
  abortSignal,
  boolean,
  calendarMs,
  instance,
  integer,
  oneOf,
  powerOfTwo,
  refuseUnknown,
  resolveOptions,
  systemClock,
} from '@aiokv/core';
import type { Clock, OptionShape } from '@aiokv/core';
import { linuxPlatform, localPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { MAX_FRAME_BYTES } from './format/frame.ts';
import { DIRECT_IO } from './file/direct-io.ts';
import type { DirectIo } from './file/direct-io.ts';
import type { ConditionOptions, ExpiryOptions } from './write/write-batch.ts';
import type { Durability } from './log/writer.ts';
import { MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST, defaultMemoryBytes, mostWriteBytes } from './memory/budget.ts';
import type { OpenProgress } from './recovery/progress.ts';

export interface StoreOptions {
  /** Create the directory and the store if they do not exist; default true. False: fail with ERR_AIOKV_NOT_FOUND. */
  createIfMissing: boolean;
  /** Fail with ERR_AIOKV_EXISTS if the store exists; default false: open it. */
  errorIfExists: boolean;
  /** Most reads and writes in flight at once, 1 to 2048; default 128. More for a fast device, fewer to wait less. */
  queueDepth: number;
  /** How safe a write is before it settles; a write may say otherwise. Default 'flushed': it survives power loss. */
  durability: Durability;
  /** Longest time that a buffered write stays in memory only, in milliseconds, 1 to 3,600,000; default 1000. */
  flushIntervalMs: number;
  /**
   * Memory for writes on their way to the device, in bytes, 1 MiB to 1 GiB, at most a quarter of `memoryBytes` or 1 MiB.
   * Default 4 MiB, which is 16 device writes of 256 KiB, or the most allowed. Writes wait when it is full.
   */
  writeBufferBytes: number;
  /**
   * Largest batch in bytes, 64 KiB to 1 GiB, at most a quarter of `memoryBytes` or 1 MiB: 24 for each operation, and its
   * key and value. Default 64 MiB, or the most allowed. A batch that waits is copied, so this bounds memory.
   */
  maxBatchBytes: number;
  /**
   * Size of a segment, the unit in which a store takes space, in bytes, a power of two from 64 KiB to 32 MiB; default
   * 4 MiB. Only for a store that is created: an existing one keeps its own.
   */
  segmentBytes: number;
  /**
   * Size of an index page in bytes, a power of two from 4 KiB to 64 KiB and at most half a segment. Default 0: the page
   * size of an existing store, 4 KiB for a new one. With any other value an existing store must have that size, or the
   * opening fails with ERR_AIOKV_PAGE_SIZE.
   */
  pageBytes: number;
  /**
   * An opening after a crash replays at most about so many bytes of log, from 4 KiB; default 512 MiB, some seconds. A
   * merge of recent writes into the index begins when so much is written since the last one, or earlier: when the part
   * of the memory for recent writes is full, when there is garbage to remove, or after some idle seconds.
   */
  checkpointBytes: number;
  /**
   * How large the file may become, as a multiple of what lives in it (records with their headers, and the index), 1.2 to
   * 10; default 1.5. Segments with much garbage are cleaned in the background. Less means less space and more writing.
   * When cleaning cannot keep up, writers become slower, and the file may grow beyond. Stores below 16 segments are
   * not cleaned.
   */
  spaceAmplificationMax: number;
  /**
   * How long a read of a record should take at most while segments are cleaned, in milliseconds, 1 to 1000; default 2.
   * When more than one read in a hundred takes longer, the cleaning works less hard, down to an eighth of the turns of the event
   * loop, and writers become as slow as it. It cannot make reads faster than they are without a cleaning.
   */
  readLatencyTargetMs: number;
  /**
   * The one memory budget of the store in bytes, 32 KiB to 1 TiB: for the index, for new writes that are not merged
   * into it yet, and for buffers. Default: a quarter of the memory that the process may use, at most 4 GiB. 1 GiB holds
   * the index of some 20 million keys of 24 bytes. Leaves that do not fit are read when needed: a get then takes two
   * reads instead of one. Inner nodes, about a hundredth of the index, stay in memory and may exceed it. Budgets below 16
   * MiB are for tests: the buffers alone take several MiB.
   */
  memoryBytes: number;
  /**
   * Which part of the memory for the index cached values keep when the index wants it, too, 0 to 0.75; default 0.25. What the index
   * does not use is theirs in any case. 0: values are not cached.
   */
  valueCachePart: number;
  /**
   * Whether a store starts warm; default true. Which keys were hot is noted when it is closed, in a small file beside the data, and
   * their values are read back after the opening, in the background. False: they are not, and a note that is there is removed.
   */
  warmRestart: boolean;
  /**
   * Whether records are moved into the order of their keys where scans find them scattered, in the background; default true. It
   * reads and writes at most half as much as these scans have read in vain. False: only cleaning and `compact` put them in order.
   */
  orderForScans: boolean;
  /**
   * Called during an opening with its progress: when a phase begins and ends, and at most five times a second between.
   * If it throws, `open` fails with that error and the store stays as it was. Default null: no calls.
   */
  onProgress: ((progress: OpenProgress) => void) | null;
  /**
   * Whether the store goes past the page cache, with O_DIRECT and Linux AIO. `'auto'`: where it can; where it cannot, through the
   * page cache and on libuv's threads, with a warning; the default. `'require'`: where it cannot, the opening fails. `'off'`: never.
   * `statistics().io` tells what it is.
   */
  directIo: DirectIo;
  /**
   * The system that the store is on: `linuxPlatform(...)`, `portablePlatform()` or a `SimulatedDisk`. Default null: this one,
   * which is the Linux platform where that works and the portable platform elsewhere.
   */
  platform: Platform | null;
  /** Source of time; default the system's. Tests pass a `ManualClock`. */
  clock: Clock;
  /**
   * What time it is, in milliseconds since 1970, for `ttlMs` and `expiresAt`; default the system's calendar. `clock` counts from
   * an arbitrary moment, and cannot say. This one may jump: what was over stays over when it is set back: see "Expiry" in the README.
   */
  calendarMs: () => number;
}

export interface WriteOptions extends ConditionOptions, ExpiryOptions {
  /**
   * When the write settles. `'flushed'`: it survives power loss. `'written'`: it survives kill -9. `'buffered'`: at
   * once; it stays in memory for at most `flushIntervalMs`. Default: the `durability` of the store.
   */
  durability: Durability;
}

/** Options of `touch`. */
export type TouchOptions = ExpiryOptions & Pick<WriteOptions, 'durability'>;

/** How far a compaction is. */
export interface CompactProgress {
  /** Bytes of records that were put in order, ... */
  readonly doneBytes: number;
  /** ... and of all that have to be, at most; 0 until that is known. Most records count twice. */
  readonly totalBytes: number;
}

export interface CompactOptions {
  /** Ends the compaction early, with ERR_AIOKV_ABORTED. What is in order by then stays so. Default null. */
  signal: AbortSignal | null;
  /** Called after each step with its progress. If it throws, the compaction ends with that error. Default null. */
  onProgress: ((progress: CompactProgress) => void) | null;
}

const DURABILITIES = ['flushed', 'written', 'buffered'] as const;

/** Options of `put`, `del` and `batch`. */
const WRITE_OPTION_NAMES = { durability: true, ifAbsent: true, ifVersion: true, ttlMs: true, expiresAt: true };

/** Stands for a default that depends on the machine or on other options. No such option may be 0. */
const LATER = 0;

const storeShape: OptionShape<StoreOptions> = {
  createIfMissing: boolean(true),
  errorIfExists: boolean(false),
  queueDepth: integer(1, 2048, 128),
  durability: oneOf(DURABILITIES, 'flushed'),
  flushIntervalMs: integer(1, 3_600_000, 1000),
  writeBufferBytes: integer(4 * MAX_FRAME_BYTES, GIB, LATER),
  maxBatchBytes: integer(64 * KIB, GIB, LATER),
  segmentBytes: powerOfTwo(64 * KIB, 32 * MIB, 4 * MIB),
  pageBytes: instance('0 or a power of two from 4096 to 65536', 0, isPageSize),
  checkpointBytes: integer(4 * KIB, 1024 * GIB, 512 * MIB),
  spaceAmplificationMax: instance('a number from 1.2 to 10', 1.5, isAmplification),
  readLatencyTargetMs: integer(1, 1000, 2),
  memoryBytes: integer(MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST, LATER),
  valueCachePart: instance('a number from 0 to 0.75', 0.25, isPart),
  warmRestart: boolean(true),
  orderForScans: boolean(true),
  onProgress: instance<StoreOptions['onProgress']>('a function', null, isFunctionOrNull),
  directIo: oneOf(DIRECT_IO, 'auto'),
  platform: instance<Platform | null>('a platform', null, (value) => typeof value === 'object'),
  clock: instance('a clock', systemClock, (value) => typeof value === 'object' && value !== null),
  calendarMs: instance<StoreOptions['calendarMs']>('a function', calendarMs, (value) => typeof value === 'function'),
};

const compactShape: OptionShape<CompactOptions> = {
  signal: abortSignal(),
  onProgress: instance<CompactOptions['onProgress']>('a function', null, isFunctionOrNull),
};

export function resolveCompactOptions(options: Partial<CompactOptions> | undefined): CompactOptions {
  return resolveOptions('compact', compactShape, options);
}

export function resolveStoreOptions(options: Partial<StoreOptions> | undefined): StoreOptions & { platform: Platform } {
  const resolved = resolveOptions('open', storeShape, options);
  if (2 * resolved.pageBytes > resolved.segmentBytes) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `open: segmentBytes must be at least twice pageBytes, ${2 * resolved.pageBytes}, not ${resolved.segmentBytes}`,
    );
  }
  const memoryBytes = resolved.memoryBytes || defaultMemoryBytes(totalmem(), process.constrainedMemory());
  const writeBufferBytes = withinMemory('writeBufferBytes', resolved, memoryBytes, 4 * MIB);
  const maxBatchBytes = withinMemory('maxBatchBytes', resolved, memoryBytes, 64 * MIB);
  const platform = resolved.platform ?? (resolved.directIo === 'require' ? linuxPlatform() : localPlatform());
  return { ...resolved, memoryBytes, writeBufferBytes, maxBatchBytes, platform };
}

/** An option that the budget bounds: as it was given, else the default or less. */
function withinMemory(
  name: 'writeBufferBytes' | 'maxBatchBytes',
  { [name]: given }: StoreOptions,
  memoryBytes: number,
  fallback: number,
): number {
  const most = mostWriteBytes(memoryBytes);
  if (given > most) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `open: ${name} must be at most a quarter of memoryBytes, ${most} of ${memoryBytes}, not ${given}: ` +
        `raise memoryBytes to ${4 * given}, or lower ${name}`,
    );
  }
  return given === LATER ? Math.min(fallback, most) : given;
}

function isFunctionOrNull(value: unknown): boolean {
  return value === null || typeof value === 'function';
}

function isPageSize(value: unknown): boolean {
  return value === 0 || [4, 8, 16, 32, 64].includes((value as number) / KIB);
}

function isPart(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value <= 0.75;
}

function isAmplification(value: unknown): boolean {
  return typeof value === 'number' && value >= 1.2 && value <= 10;
}

/**
 * The durability of a write, or the usual one.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 */
export function durabilityOf(call: string, options: Partial<WriteOptions> | undefined, usual: Durability): Durability {
  if (options === undefined) return usual;
  refuseUnknown(call, WRITE_OPTION_NAMES, options);
  const level = options.durability;
  if (level === undefined || DURABILITIES.includes(level)) return level ?? usual;
  throw new AiokvTypeError(
    'ERR_AIOKV_INVALID_OPTION',
    `${call}: durability must be one of ${DURABILITIES.join(', ')}, not ${level as string}`,
  );
}
