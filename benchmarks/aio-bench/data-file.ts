/**
 * The file under test: one of our own making, every block of which is written (the kernel answers reads of blocks
 * that are only allocated without the device), or one of the user's.
 *
 * DATAFILE-1. What was there before is opened for reading only, unless the user said that it may be overwritten.
 * DATAFILE-2. All refusals come before anything is touched.
 */
import { randomFillSync } from 'node:crypto';
import { constants, rmSync, promises as fs } from 'node:fs';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB, alignUp } from '@aiokv/core';
import { DEFAULT_ALIGNMENT, allocateAligned, openFile } from '@aiokv/aio';
import { UsageError, formatSize } from './options.ts';
import type { Options } from './options.ts';

export interface DataFile {
  readonly path: string;
  /** Removes what is temporary. At once, for the end of the process may be near. */
  remove(): void;
}

const WRITERS = 4;
const CHUNK_BYTES = MIB;

/**
 * @param tell is told of what takes long, and of doubts
 * @throws UsageError when the file will not do
 */
export async function provideFile(options: Options, tell: (line: string) => void): Promise<DataFile> {
  const { filename, sizeBytes } = options;
  const made = `${formatSize(sizeBytes)} of random bytes`;
  if (filename === undefined) {
    const directory = await fs.mkdtemp(resolve('.tmp-aio-bench-'));
    const path = join(directory, 'data');
    const remove = onExit(() => {
      rmSync(directory, { recursive: true, force: true });
    });
    tell(`writing ${made} to a temporary file`);
    await writeWhole(path, sizeBytes).catch(removing(remove));
    return { path, remove };
  }
  const path = resolve(filename);
  const stat = await statOf(path);
  if (stat !== null) {
    await checkExisting(filename, path, stat, options, tell);
    return { path, remove: () => {} };
  }
  const remove = onExit(() => {
    rmSync(path, { force: true });
  });
  tell(`${filename} is not there: writing ${made} to it`);
  await writeWhole(path, sizeBytes).catch(removing(remove));
  remove.forget();
  return { path, remove: () => {} };
}

async function statOf(path: string): Promise<Stats | null> {
  try {
    return await fs.stat(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw new UsageError(`--filename cannot be used: ${message}`);
  }
}

/** See DATAFILE-1 and DATAFILE-2. */
async function checkExisting(
  filename: string,
  path: string,
  stat: Stats,
  { rw, overwrite, sizeBytes }: Options,
  tell: (line: string) => void,
): Promise<void> {
  if (!stat.isFile() && !stat.isBlockDevice()) {
    throw new UsageError(`--filename takes a file or a block device, which ${filename} is not`);
  }
  const writing = rw.find((one) => one.includes('write') || one === 'randrw');
  if (writing !== undefined && !overwrite) {
    throw new UsageError(
      `${filename} exists, and --rw ${writing} would destroy what is in it: say --overwrite if it may`,
    );
  }
  const existingBytes = await sizeOf(path);
  if (existingBytes < sizeBytes) {
    throw new UsageError(`${filename} has ${existingBytes} bytes, fewer than --size ${formatSize(sizeBytes)}`);
  }
  if (stat.isBlockDevice()) {
    if (writing !== undefined) await checkUnused(filename, path);
  } else if (stat.blocks * 512 < sizeBytes) {
    tell(`${filename} has holes: the kernel answers reads of them without the device`);
  }
}

async function sizeOf(path: string): Promise<number> {
  const file = await openFile(path, { readOnly: true });
  try {
    return await file.sizeBytes();
  } finally {
    await file.close();
  }
}

/** A block device opens exclusively when it is not mounted, nor part of another device. */
async function checkUnused(filename: string, path: string): Promise<void> {
  try {
    await (await fs.open(path, constants.O_RDWR | constants.O_EXCL)).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    throw new UsageError(`${filename} is in use, probably mounted: it will not be overwritten`);
  }
}

/** Makes a file of `sizeBytes`, whole blocks at least, in which no two blocks are alike. */
async function writeWhole(path: string, sizeBytes: number): Promise<void> {
  const handle = await create(path);
  try {
    const endBytes = alignUp(sizeBytes, DEFAULT_ALIGNMENT);
    let cursor = 0;
    const writer = async (): Promise<void> => {
      const { bytes, view } = allocateAligned(CHUNK_BYTES);
      randomFillSync(bytes);
      while (cursor < endBytes) {
        const from = cursor;
        cursor = Math.min(endBytes, from + CHUNK_BYTES);
        for (let at = 0; at < CHUNK_BYTES; at += DEFAULT_ALIGNMENT) view.setFloat64(at, from + at);
        await writeChunk(handle, bytes.subarray(0, cursor - from), from);
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: WRITERS }, writer));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function create(path: string): Promise<FileHandle> {
  const { O_CREAT, O_DIRECT, O_EXCL, O_WRONLY } = constants;
  try {
    return await fs.open(path, O_CREAT | O_DIRECT | O_EXCL | O_WRONLY, 0o644);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EINVAL') throw new UsageError(`the file cannot be made: ${message}`);
    throw new UsageError(`the file system of ${path} refuses O_DIRECT: --filename takes a file on another`);
  }
}

async function writeChunk(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  const { bytesWritten } = await handle.write(bytes, 0, bytes.byteLength, offset);
  if (bytesWritten < bytes.byteLength) throw new UsageError('the file system is full: --size takes less');
}

interface Removal {
  (): void;
  /** What was made stays. */
  forget(): void;
}

/** What `remove` removes goes when it is called, or with the process. */
function onExit(remove: () => void): Removal {
  process.once('exit', remove);
  const forget = (): void => {
    process.removeListener('exit', remove);
  };
  return Object.assign(
    () => {
      forget();
      remove();
    },
    { forget },
  );
}

function removing(remove: () => void): (error: unknown) => never {
  return (error) => {
    remove();
    throw error;
  };
}
