/**
 * Transfers and flushes on a thread of libuv's pool, for the `threads` engine and for requests that would block the
 * submitting call. They need no foreign functions and work wherever Node runs.
 *
 * The functions take a callback of Node's kind, which a caller with many requests makes once with `callbackOf`.
 *
 * An offset below 0 means "the current position" to Node; callers refuse it.
 */
import {
  fdatasync,
  fdatasyncSync,
  fsync,
  fsyncSync,
  read,
  readSync,
  readv,
  readvSync,
  write,
  writeSync,
  writev,
  writevSync,
} from 'node:fs';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import type { AlignedBuffer } from './buffers.ts';
import { Opcode } from './engine.ts';

const { EIO } = constants.errno;

/** Called once, from the event loop, with bytes transferred or a negative error number. */
export type ThreadResult = (result: number) => void;

/** What `node:fs` calls. */
export type ThreadCallback = (error: NodeJS.ErrnoException | null, count?: number) => void;

/** A callback that passes on what the kernel would have returned. */
export function callbackOf(done: ThreadResult): ThreadCallback {
  return (error, count) => done(resultOf(error, count ?? 0));
}

/** Begins a read or a write of one buffer. The buffer belongs to the thread until the callback is called. */
export function transferOnThread(
  opcode: Opcode,
  descriptor: number,
  buffer: AlignedBuffer,
  bufferOffset: number,
  lengthBytes: number,
  fileOffset: number,
  callback: ThreadCallback,
): void {
  if (opcode === Opcode.read) read(descriptor, buffer.bytes, bufferOffset, lengthBytes, fileOffset, callback);
  else write(descriptor, buffer.bytes, bufferOffset, lengthBytes, fileOffset, callback);
}

/** Begins a `readv` or `writev` of whole buffers, which belong to the thread until the callback is called. */
export function transferVectorOnThread(
  opcode: Opcode,
  descriptor: number,
  buffers: readonly AlignedBuffer[],
  fileOffset: number,
  callback: ThreadCallback,
): void {
  const pieces = buffers.map(({ bytes }) => bytes);
  if (opcode === Opcode.readv) readv(descriptor, pieces, fileOffset, callback);
  else writev(descriptor, pieces, fileOffset, callback);
}

/** By descriptor: under Yarn's Plug'n'Play, which puts handles of its own in front of Node's, these have no `sync`. */
export const syncDescriptor = promisify(fsync);

/** Begins an `fsync` or `fdatasync`. */
export function flushOnThread(opcode: Opcode, descriptor: number, callback: ThreadCallback): void {
  if (opcode === Opcode.fsync) fsync(descriptor, callback);
  else fdatasync(descriptor, callback);
}

/** As `transferOnThread`, but on this thread, which waits. Returns bytes transferred, or a negative error number. */
export function transferNow(
  opcode: Opcode,
  descriptor: number,
  buffer: AlignedBuffer,
  bufferOffset: number,
  lengthBytes: number,
  fileOffset: number,
): number {
  const { bytes } = buffer;
  return resultNow(() =>
    opcode === Opcode.read
      ? readSync(descriptor, bytes, bufferOffset, lengthBytes, fileOffset)
      : writeSync(descriptor, bytes, bufferOffset, lengthBytes, fileOffset),
  );
}

/** As `transferVectorOnThread`, but on this thread, which waits. */
export function transferVectorNow(
  opcode: Opcode,
  descriptor: number,
  buffers: readonly AlignedBuffer[],
  fileOffset: number,
): number {
  const transfer = opcode === Opcode.readv ? readvSync : writevSync;
  const pieces = buffers.map(({ bytes }) => bytes);
  return resultNow(() => transfer(descriptor, pieces, fileOffset));
}

/** As `flushOnThread`, but on this thread, which waits. */
export function flushNow(opcode: Opcode, descriptor: number): number {
  const flush = opcode === Opcode.fsync ? fsyncSync : fdatasyncSync;
  return resultNow(() => {
    flush(descriptor);
    return 0;
  });
}

function resultNow(call: () => number): number {
  try {
    return call();
  } catch (error) {
    // Anything but a failed system call is a defect of ours, not a result.
    if ((error as NodeJS.ErrnoException).errno === undefined) throw error;
    return resultOf(error as NodeJS.ErrnoException, 0);
  }
}

/** What the kernel would have returned; Node's errors carry it. */
export function resultOf(error: NodeJS.ErrnoException | null, count: number): number {
  if (error === null || error === undefined) return count;
  return error.errno === undefined ? -EIO : -Math.abs(error.errno);
}
