/**
 * Files that a command reads or writes; `-` or none is stdin or stdout. What is written is flushed before the command says
 * that it is done.
 *
 * FILE-1. A file that was not finished is removed: half of it would look like the whole.
 * FILE-2. A file that is replaced is there until the new one is whole. A pipe or a device is written to, and neither replaced nor removed.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import type { Stats } from 'node:fs';
import { realpath, rename, rm, stat } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { MIB } from '@aiokv/core';
import { CliError, usageError } from '../errors.ts';
import type { Source } from './environment.ts';
import { Output } from './output.ts';

export interface Target {
  /** Undefined or `-`: stdout. */
  readonly path: string | undefined;
  readonly isForced: boolean;
  /** Whether it is nothing that a terminal can show. */
  readonly isBinary: boolean;
}

export async function writeTo(
  stdout: Output,
  { path, isForced, isBinary }: Target,
  work: (output: Output) => Promise<void>,
): Promise<void> {
  if (path === undefined || path === '-') {
    if (isBinary && stdout.isTerminal) {
      throw usageError('a dump is nothing for a terminal', 'name a file, or use a pipe: aiokv dump DIRECTORY > FILE');
    }
    await work(stdout);
    await stdout.flush();
    return;
  }
  const before = isForced ? await foundAt(path) : null;
  if (before === null) await writeFile(path, 'wx', work);
  else if (!before.isFile()) await writeFile(path, 'w', work);
  else {
    // FILE-2. Beside what a link leads to, which is what stands for the name.
    const whole = await realpath(path);
    const unfinished = `${whole}.unfinished-${process.pid}`;
    await writeFile(unfinished, 'wx', work);
    await rename(unfinished, whole);
  }
}

async function foundAt(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw fileError(error as NodeJS.ErrnoException, path);
  }
}

/** @param flags `wx`: a new file (FILE-1) */
async function writeFile(path: string, flags: 'w' | 'wx', work: (output: Output) => Promise<void>): Promise<void> {
  const stream = createWriteStream(path, { flags, flush: flags === 'wx' });
  const output = new Output(stream);
  await opened(stream, path);
  try {
    await work(output);
    await output.flush();
    output.release();
    await closed(stream);
  } catch (error) {
    output.release();
    stream.destroy();
    if (flags === 'wx') await rm(path, { force: true });
    throw error;
  }
}

async function opened(stream: Writable, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.once('ready', resolve);
    stream.once('error', (error: NodeJS.ErrnoException) => reject(fileError(error, path)));
  });
}

async function closed(stream: Writable): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.once('error', reject);
    stream.once('close', resolve);
    stream.end();
  });
}

function fileError(error: NodeJS.ErrnoException, path: string): CliError {
  const remedies: Readonly<Record<string, string>> = {
    EEXIST: 'name another file, or replace it with --force',
    ENOENT: 'look at the path',
    EISDIR: 'name a file, not a directory',
    EACCES: 'look at the permissions of the file',
  };
  const remedy = remedies[error.code ?? ''] ?? 'look at the path and the device';
  return new CliError('ERR_AIOKV_CLI_FILE', `${path}: ${error.message}`, remedy, { cause: error });
}

export interface InputFile {
  readonly chunks: AsyncIterable<Buffer>;
  /** 0: it is not known. */
  readonly bytes: number;
  readonly name: string;
}

/** @param path undefined or `-`: stdin. A signal ends the reading, also where nothing comes */
export async function readFrom<T>(
  { stdin, signal }: { readonly stdin: Source; readonly signal: AbortSignal },
  path: string | undefined,
  work: (input: InputFile) => Promise<T>,
): Promise<T> {
  if (path === undefined || path === '-') {
    if (stdin.isTTY === true) throw usageError('there is no input', 'name a file, or use a pipe: … < FILE');
    return endedBy(signal, stdin, () => work({ chunks: stdin as AsyncIterable<Buffer>, bytes: 0, name: 'stdin' }));
  }
  let bytes: number;
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw Object.assign(new Error('it is a directory'), { code: 'EISDIR' });
    bytes = found.size;
  } catch (error) {
    throw fileError(error as NodeJS.ErrnoException, path);
  }
  const stream = createReadStream(path, { highWaterMark: MIB });
  try {
    return await endedBy(signal, stream, () => work({ chunks: stream, bytes, name: path }));
  } finally {
    stream.destroy();
  }
}

/** Work on a stream that a signal destroys: who waits for it gets the reason of the signal. */
async function endedBy<T>(signal: AbortSignal, stream: Readable, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const end = (): void => {
    stream.destroy(signal.reason as Error);
  };
  signal.addEventListener('abort', end, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener('abort', end);
  }
}
