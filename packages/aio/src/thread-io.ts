/**
 * A transfer or a flush on a thread of libuv's pool: what the `threads` engine consists of, and where a
 * request goes that would have blocked the submitting call. It needs no foreign functions and works on any
 * system that Node runs on.
 */
import { fdatasync, fsync, read, readv, write, writev } from 'node:fs';
import { constants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import { Opcode } from './engine.ts';

const { EIO } = constants.errno;

/** Told once, from the event loop: bytes transferred, or a negative error number. */
export type ThreadResult = (result: number) => void;

/** Begins a read or a write of one buffer. The buffer belongs to the thread until `done` is called. */
export function transferOnThread(
  opcode: Opcode,
  descriptor: number,
  buffer: AlignedBuffer,
  bufferOffset: number,
  lengthBytes: number,
  fileOffset: number,
  done: ThreadResult,
): void {
  const tell = (error: NodeJS.ErrnoException | null, count: number): void => done(resultOf(error, count));
  if (opcode === Opcode.read) read(descriptor, buffer.bytes, bufferOffset, lengthBytes, fileOffset, tell);
  else write(descriptor, buffer.bytes, bufferOffset, lengthBytes, fileOffset, tell);
}

/** Begins a `readv` or `writev` of whole buffers, which belong to the thread until `done` is called. */
export function transferVectorOnThread(
  opcode: Opcode,
  descriptor: number,
  buffers: readonly AlignedBuffer[],
  fileOffset: number,
  done: ThreadResult,
): void {
  const pieces = buffers.map(({ bytes }) => bytes);
  const tell = (error: NodeJS.ErrnoException | null, count: number): void => done(resultOf(error, count));
  if (opcode === Opcode.readv) readv(descriptor, pieces, fileOffset, tell);
  else writev(descriptor, pieces, fileOffset, tell);
}

/** Begins an `fsync` or `fdatasync`. */
export function flushOnThread(opcode: Opcode, descriptor: number, done: ThreadResult): void {
  const flush = opcode === Opcode.fsync ? fsync : fdatasync;
  flush(descriptor, (error) => done(resultOf(error, 0)));
}

/** What the kernel would have returned; Node's errors carry it. */
export function resultOf(error: NodeJS.ErrnoException | null, count: number): number {
  if (error === null || error === undefined) return count;
  return error.errno === undefined ? -EIO : -Math.abs(error.errno);
}
