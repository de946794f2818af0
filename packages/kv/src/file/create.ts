/**
 * Opens and locks the data file of a store, or creates it. docs/format.md, "The directory".
 *
 * ```
 *   list ─► data.aiokv there? ─yes─► open ─► lock ─► remove leftovers ─► done
 *    ▲             │ no
 *    │             ▼
 *    │      remove abandoned ─► data.aiokv.new-<random>: make, lock, write, flush
 *    │                                     ▼
 *    └──── another was faster ◄── link it to data.aiokv ─► flush directory ─► remove the temporary name ─► done
 * ```
 *
 * CREATE-1. Nothing is ever replaced: `linkTo` fails if data.aiokv exists. So the file that one opener has locked under
 *     this name is the file that every later opener finds.
 * CREATE-2. Only its creator writes to a temporary file: it has a random name and is created exclusively.
 * CREATE-3. The creator locks the file before linking it to its final name, and keeps the lock. No other opener can
 *     take it in between.
 * CREATE-4. The file gets its final name only when it is complete and flushed.
 * CREATE-5. The temporary name is removed only after the final name is durable. An opener that finds both must flush
 *     the directory before it acknowledges anything.
 *
 * A creator that is killed leaves a temporary file. The next opener that locks the store removes it, or the next
 * creator if the lock of that file is free. A live creator starts again if its file was removed just before it took the
 * lock.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { AiokvError } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { LOCK_FILE_PREFIX, Queue } from '@aiokv/aio';
import type { DirectFile, Platform } from '@aiokv/aio';
import { maxValueBytes } from '../format/extent.ts';
import { MAX_FRAME_BYTES } from '../format/frame.ts';
import { MAX_KEY_BYTES } from '../format/record.ts';
import { COMPARATOR_BYTEWISE, FEATURE_COPY_NUMBERS, FEATURE_EXTENTS, FORMAT_VERSION } from '../format/superblock.ts';
import type { Geometry, Superblock } from '../format/superblock.ts';
import { attempt, hasCode } from '../failure/system-failure.ts';
import { FailureGate } from '../failure/failure-gate.ts';
import { Flusher } from './flusher.ts';
import { HOT_FILE, HOT_FILE_TEMPORARY } from './hot-file.ts';
import { HEADER_BYTES, saveSuperblock } from './superblocks.ts';

const DATA_FILE = 'data.aiokv';
/** Version 0.1 uses the name without digits and renames the file over whatever is there. */
const TEMPORARY = /^data\.aiokv\.new(-[0-9a-f]{16})?$/u;
const OLD_TEMPORARY = 'data.aiokv.new';
/** Files that do not keep a store from being created in their directory: systems and tools make them for themselves. */
const HARMLESS = new Set([
  'lost+found',
  '.gitkeep',
  '.gitignore',
  '.keep',
  '.DS_Store',
  'Thumbs.db',
  'desktop.ini',
  '.snapshot',
  // Of a store whose data file was removed: says which keys were hot.
  HOT_FILE,
  HOT_FILE_TEMPORARY,
]);
/** `.nfs`: removed files that are still open, on NFS. `._`: resource forks of macOS. The locks of the portable platform on Windows. */
const HARMLESS_PREFIXES = ['.nfs', '._', LOCK_FILE_PREFIX];
const MOST_NAMES_TOLD = 3;
/** In the worst case every opener makes every other opener start again once. */
const MOST_ATTEMPTS = 20;
const DEFAULT_PAGE_BYTES = 4096;

export interface CreationOptions {
  readonly platform: Platform;
  readonly createIfMissing: boolean;
  readonly errorIfExists: boolean;
  /** For a new store, a power of two from 4096 to 65536. 0: the default of 4096, or that of the existing store. */
  readonly pageBytes: number;
  readonly segmentBytes: number;
}

/**
 * Opens and locks the data file of the store in `directory`. Creates the store first if it is missing and
 * `createIfMissing` is set.
 *
 * @param directory an absolute path
 * @throws AiokvError ERR_AIOKV_LOCKED, ERR_AIOKV_NOT_FOUND, ERR_AIOKV_EXISTS, ERR_AIOKV_NOT_A_STORE,
 *   ERR_AIOKV_PAGE_SIZE, ERR_AIOKV_NO_DIRECT_IO, and those of `systemFailure`
 */
export async function openDataFile(directory: string, options: CreationOptions): Promise<DirectFile> {
  const { platform } = options;
  for (let attempts = 0; attempts < MOST_ATTEMPTS; attempts++) {
    const names = await attempt(`${directory} cannot be listed`, () => platform.list(directory));
    if (names?.includes(DATA_FILE) === true) {
      const file = await openExisting(directory, names, options);
      if (file !== null) return file;
      continue;
    }
    refuseStrangers(directory, names ?? []);
    if (!options.createIfMissing) {
      throw new AiokvError('ERR_AIOKV_NOT_FOUND', `there is no store in ${directory}: open with createIfMissing`);
    }
    // Only once: otherwise two creators could remove each other's files forever.
    if (attempts === 0) await removeAbandoned(platform, directory, names ?? []);
    const file = await make(directory, options);
    if (file !== null) return file;
  }
  throw new AiokvError(
    'ERR_AIOKV_LOCKED',
    `other processes are creating or removing the store in ${directory}: open it once they are done`,
  );
}

/** Opens and locks the file; null if it was removed meanwhile. */
async function openExisting(
  directory: string,
  names: readonly string[],
  { platform, errorIfExists }: CreationOptions,
): Promise<DirectFile | null> {
  const path = join(directory, DATA_FILE);
  if (errorIfExists) {
    throw new AiokvError(
      'ERR_AIOKV_EXISTS',
      `${directory} already holds a store: open another directory, or open without errorIfExists`,
    );
  }
  let file: DirectFile;
  try {
    file = await attempt(`${path} cannot be opened`, () => platform.open(path));
  } catch (error) {
    // A broken link also gives ENOENT, but its name is still there.
    if (hasCode(error, 'ENOENT') && (await platform.list(directory))?.includes(DATA_FILE) !== true) return null;
    throw error;
  }
  return orClose(file, async () => {
    await requireLock(file);
    await removeLeftovers(platform, directory, names);
    return file;
  });
}

/** CREATE-5. */
async function removeLeftovers(platform: Platform, directory: string, names: readonly string[]): Promise<void> {
  if (names.includes(HOT_FILE_TEMPORARY)) {
    await platform.remove(join(directory, HOT_FILE_TEMPORARY)).catch(() => undefined);
  }
  const leftovers = names.filter((name) => TEMPORARY.test(name));
  if (leftovers.length === 0) return;
  await attempt(`${directory} cannot be flushed`, () => platform.syncDirectory(directory));
  // The store is locked by us: a creator that has one of these open will find that data.aiokv exists.
  for (const name of leftovers) await platform.remove(join(directory, name)).catch(() => undefined);
}

/** Removes the temporary files of dead creators. Live creators hold the lock of theirs. */
async function removeAbandoned(platform: Platform, directory: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    if (!TEMPORARY.test(name)) continue;
    const path = join(directory, name);
    let file: DirectFile;
    try {
      file = await platform.open(path);
    } catch (error) {
      if (hasCode(error, 'EISDIR')) throw notAStore(directory, [name]);
      continue;
    }
    const isDead = await orClose(file, async () => {
      const holder = await attempt(`${path} cannot be locked`, () => file.lock());
      if (holder !== undefined && name === OLD_TEMPORARY) throw locked(path, holder);
      return holder === undefined && !(await isRemoved(platform, path));
    });
    await file.close();
    // Where no file that is open can be removed. Its creator may have taken the lock meanwhile, and begins again then.
    if (isDead) await isRemoved(platform, path);
  }
}

async function isRemoved(platform: Platform, path: string): Promise<boolean> {
  return platform.remove(path).then(
    () => true,
    () => false,
  );
}

/** Creates an empty store and returns its file, locked. Returns null if another creator was faster. */
async function make(directory: string, options: CreationOptions): Promise<DirectFile | null> {
  const { platform } = options;
  await attempt(`${directory} cannot be created`, () => platform.makeDirectory(directory));
  const temporary = join(directory, `${DATA_FILE}.new-${randomBytes(8).toString('hex')}`);
  let file: DirectFile;
  try {
    file = await attempt(`a store cannot be created in ${directory}`, () =>
      platform.open(temporary, { create: true, exclusive: true }),
    );
  } catch (error) {
    // The directory was removed after it was created.
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
  // If the final name may not be durable, keep the temporary name as a sign of that (CREATE-5).
  let isNamed = false;
  const made = orClose(file, async () => {
    try {
      if ((await attempt(`${temporary} cannot be locked`, () => file.lock())) !== undefined) return giveUp(file);
      await fill(file, directory, options);
      if (!(await nameStore(file, directory))) return giveUp(file);
      isNamed = true;
      await attempt(`${directory} cannot be flushed`, () => platform.syncDirectory(directory));
      isNamed = false;
      return file;
    } finally {
      if (!isNamed) await isRemoved(platform, temporary);
    }
  });
  return made.catch(async (error: unknown) => {
    // Where no file that is open can be removed.
    if (!isNamed) await isRemoved(platform, temporary);
    throw error;
  });
}

async function giveUp(file: DirectFile): Promise<null> {
  await file.close();
  return null;
}

/** CREATE-1, CREATE-4. Links the file to its final name. Returns false if another creator was faster. */
async function nameStore(file: DirectFile, directory: string): Promise<boolean> {
  try {
    await attempt(`a store cannot be created in ${directory}`, () => file.linkTo(join(directory, DATA_FILE)));
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST') || hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Writes an empty store and flushes it. */
async function fill(file: DirectFile, directory: string, options: CreationOptions): Promise<void> {
  if (file.alignment.write > HEADER_BYTES / 4) {
    throw new AiokvError(
      'ERR_AIOKV_PAGE_SIZE',
      `${directory} is on a device with blocks of ${file.alignment.write} bytes, too large for a store: use another device`,
    );
  }
  const geometry: Geometry = {
    pageBytes: options.pageBytes === 0 ? DEFAULT_PAGE_BYTES : options.pageBytes,
    writeAlignment: file.alignment.write,
    segmentBytes: options.segmentBytes,
    headerBytes: HEADER_BYTES,
  };
  await attempt(`there is no room for a store in ${directory}`, () =>
    file.preallocate(0, HEADER_BYTES + geometry.segmentBytes),
  );
  const queue = new Queue(options.platform, { depth: 4 });
  try {
    await attempt(`a store cannot be written to ${directory}`, () =>
      saveSuperblock(queue, file, firstSuperblock(geometry), new Flusher(queue, file, new FailureGate())),
    );
  } finally {
    await queue.close();
  }
  await attempt(`${file.path} cannot be flushed`, () => file.sync());
}

function firstSuperblock(geometry: Geometry): Superblock {
  return {
    formatVersion: FORMAT_VERSION,
    compatibleFeatures: 0n,
    readOnlyCompatibleFeatures: 0n,
    incompatibleFeatures: FEATURE_EXTENTS | FEATURE_COPY_NUMBERS,
    uuid: randomBytes(16),
    geometry,
    maxKeyBytes: MAX_KEY_BYTES,
    maxFrameBytes: MAX_FRAME_BYTES,
    comparator: COMPARATOR_BYTEWISE,
    maxValueBytes: maxValueBytes(geometry),
    sequence: 1,
    previousHash: 0n,
    expiryHorizonMs: 0,
    checkpointRoot: 0,
    checkpointSequence: 0 as Sequence,
    logStart: { segmentSequence: 1, slot: 0, lastSequenceBefore: 0 as Sequence },
    logEnd: null,
  };
}

function refuseStrangers(directory: string, names: readonly string[]): void {
  const strangers = names.filter((name) => !TEMPORARY.test(name) && !isHarmless(name));
  if (strangers.length > 0) throw notAStore(directory, strangers);
}

function isHarmless(name: string): boolean {
  return HARMLESS.has(name) || HARMLESS_PREFIXES.some((prefix) => name.startsWith(prefix));
}

function notAStore(directory: string, strangers: readonly string[]): AiokvError {
  const told = strangers.slice(0, MOST_NAMES_TOLD).map((name) => `'${name}'`);
  if (strangers.length > MOST_NAMES_TOLD) told.push(`${strangers.length - MOST_NAMES_TOLD} more`);
  return new AiokvError(
    'ERR_AIOKV_NOT_A_STORE',
    `${directory} holds no ${DATA_FILE}, but ${told.join(', ')}: open an empty directory or a new one`,
  );
}

async function requireLock(file: DirectFile): Promise<void> {
  const holder = await attempt(`${file.path} cannot be locked`, () => file.lock());
  if (holder !== undefined) throw locked(file.path, holder);
}

function locked(path: string, holder: string): AiokvError {
  return new AiokvError('ERR_AIOKV_LOCKED', `${path} is open already, by ${holder}: close it there first`);
}

/** Closes the file when `work` fails. */
async function orClose<T>(file: DirectFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}
