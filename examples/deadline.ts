/**
 * Reads that may not take longer than so many milliseconds, with another value where they do.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/deadline.ts [directory]
 *
 * A read over its deadline ends in one of two ways. One that still waits in the queue is withdrawn, at once. One that
 * the kernel has already cannot be called back: its promise settles when the kernel lets go of the buffer, for the
 * buffer is nobody else's until then. Either way the caller has its buffer back, and takes the fallback value.
 *
 * The file is made under the directory given (default: the working directory) and removed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB } from '@aiokv/core';
import { AbortedError, allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue, TransferOptions } from '@aiokv/aio';

const FILE_BYTES = 32 * MIB;
const BLOCK_BYTES = 4096;
const VALUE = 'from the disk';
const FALLBACK = 'the fallback';

/** The text at the start of what was read, or the fallback when it did not come in time. */
async function readText(
  queue: Queue,
  file: DirectFile,
  buffer: AlignedBuffer,
  options: TransferOptions,
): Promise<string> {
  try {
    const length = await queue.read(file, buffer, options);
    return `${Buffer.from(buffer.bytes.subarray(0, VALUE.length)).toString()} (${length} bytes)`;
  } catch (error) {
    if (!(error instanceof AbortedError && error.code === 'ERR_AIOKV_DEADLINE')) throw error;
    return `${FALLBACK} (${error.outcome}${error.result === null ? '' : `, ${error.result} bytes too late`})`;
  }
}

async function show(queue: Queue, file: DirectFile, large: AlignedBuffer): Promise<void> {
  const small = allocateAligned(BLOCK_BYTES);
  // Nothing else to do: it comes in time.
  const inTime = await readText(queue, file, small, { offset: 0, deadlineMs: 10_000 });
  console.log(`with time to spare: ${inTime}`);

  // One request at a time is in flight, and this one waits behind eight large ones.
  const backlog = Array.from({ length: 8 }, () => queue.read(file, large, { offset: 0 }));
  const waiting = await readText(queue, file, small, { offset: 0, deadlineMs: 1 });
  console.log(`behind a backlog: ${waiting}, ${queue.pending > 0 ? 'before' : 'after'} the backlog is done`);
  await Promise.all(backlog);

  // The first and only one: it is in flight when its time is up.
  const inFlight = await readText(queue, file, large, { offset: 0, deadlineMs: 1 });
  console.log(`in flight: ${inFlight}`);
}

const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-deadline-'));
const queue = openQueue({ depth: 1 });
try {
  const file = await openFile(join(directory, 'file.bin'), { create: true });
  try {
    const large = allocateAligned(FILE_BYTES);
    large.bytes.set(Buffer.from(VALUE));
    await file.preallocate(0, FILE_BYTES);
    await queue.write(file, large, { offset: 0 });
    await show(queue, file, large);
  } finally {
    await queue.close();
    await file.close();
  }
} finally {
  await queue.close();
  await rm(directory, { recursive: true, force: true });
}
