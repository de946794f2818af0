/**
 * Opens what is measured: a file and a queue with one of its engines, or Node's own file handle. Each measurement
 * has its own, so that nothing of one is left in the next. A buffer for each request in flight, filled with
 * random bytes: there are devices that keep no zeros, and compress what repeats.
 */
import { randomFillSync } from 'node:crypto';
import { constants, promises as fs, read, write } from 'node:fs';
import { AiokvError } from '@aiokv/core';
import { BufferPool, Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Platform, UringOptions } from '@aiokv/aio';
import type { BenchEngine, Options, UringChoice } from './options.ts';

export interface Target {
  /** The promise form: transfers all of the buffer of `slot`, and returns the bytes. */
  transfer(isWrite: boolean, slot: number, offset: number): Promise<number>;
  /** The form without a promise; `handler` is told the bytes, or a negative error number. */
  start(isWrite: boolean, slot: number, offset: number, handler: CompletionHandler): void;
  /** Requires that nothing is in flight. */
  close(): Promise<void>;
}

export interface TargetFile {
  readonly path: string;
  /** Opened for reading only, if not. */
  readonly isWritten: boolean;
}

/** @throws Error of any kind when the engine, or the file with it, cannot be had here */
export async function openTarget(
  engine: BenchEngine,
  file: TargetFile,
  blockBytes: number,
  depth: number,
  options: Options,
): Promise<Target> {
  if (engine === 'fs') return openFs(file, blockBytes, depth);
  const platform = linuxPlatform(options.ffi === undefined ? {} : { ffi: options.ffi });
  const direct = await platform.open(file.path, { readOnly: !file.isWritten });
  try {
    return new QueueTarget(platform, direct, engine, blockBytes, depth, options);
  } catch (error) {
    await direct.close();
    throw error;
  }
}

class QueueTarget implements Target {
  readonly #file: DirectFile;
  readonly #queue: Queue;
  readonly #buffers: readonly AlignedBuffer[];
  readonly #blockBytes: number;

  constructor(
    platform: Platform,
    file: DirectFile,
    engine: Exclude<BenchEngine, 'fs'>,
    blockBytes: number,
    depth: number,
    { queue, uring }: Options,
  ) {
    // One pool is one piece of memory, which registers as one.
    const pool = new BufferPool(blockBytes, depth);
    const buffers = Array.from({ length: depth }, () => pool.lease() as AlignedBuffer);
    for (const { bytes } of buffers) randomFillSync(bytes);
    const setUp = engine === 'io_uring' ? { uring: uringOptions(uring, buffers, file.handle) } : {};
    this.#file = file;
    this.#buffers = buffers;
    this.#blockBytes = blockBytes;
    this.#queue = new Queue(platform, { ...queue, ...setUp, depth, engine });
  }

  transfer(isWrite: boolean, slot: number, offset: number): Promise<number> {
    const buffer = this.#buffers[slot] as AlignedBuffer;
    return isWrite
      ? this.#queue.write(this.#file, buffer, { offset })
      : this.#queue.read(this.#file, buffer, { offset });
  }

  start(isWrite: boolean, slot: number, offset: number, handler: CompletionHandler): void {
    const buffer = this.#buffers[slot] as AlignedBuffer;
    const isAccepted = isWrite
      ? this.#queue.submitWrite(this.#file, buffer, 0, this.#blockBytes, offset, handler, slot)
      : this.#queue.submitRead(this.#file, buffer, 0, this.#blockBytes, offset, handler, slot);
    if (!isAccepted) throw new AiokvError('ERR_AIOKV_QUEUE_FULL', 'the queue is full below its own depth');
  }

  async close(): Promise<void> {
    await this.#queue.close();
    await this.#file.close();
  }
}

function uringOptions(
  { sqpoll, iopoll, registered }: UringChoice,
  buffers: readonly AlignedBuffer[],
  handle: number,
): UringOptions {
  return { sqpoll, iopoll, ...(registered ? { buffers, handles: [handle] } : {}) };
}

/** `fs.promises`, or `fs` with callbacks, on a file with O_DIRECT: threads of libuv's pool, as many as it has. */
async function openFs({ path, isWritten }: TargetFile, blockBytes: number, depth: number): Promise<Target> {
  const buffers = Array.from({ length: depth }, () => randomFillSync(allocateAligned(blockBytes).bytes));
  const handle = await fs.open(path, constants.O_DIRECT | (isWritten ? constants.O_RDWR : constants.O_RDONLY));
  return {
    async transfer(isWrite, slot, offset) {
      const bytes = buffers[slot] as Uint8Array;
      if (isWrite) return (await handle.write(bytes, 0, blockBytes, offset)).bytesWritten;
      return (await handle.read(bytes, 0, blockBytes, offset)).bytesRead;
    },
    start(isWrite, slot, offset, handler) {
      const bytes = buffers[slot] as Uint8Array;
      const done = (error: NodeJS.ErrnoException | null, count: number): void => {
        handler.complete(slot, error === null ? count : (error.errno as number));
      };
      if (isWrite) write(handle.fd, bytes, 0, blockBytes, offset, done);
      else read(handle.fd, bytes, 0, blockBytes, offset, done);
    },
    close: () => handle.close(),
  };
}
