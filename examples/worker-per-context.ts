/**
 * More than one core on one file: a worker thread for each quarter of it, each with its own queue, and so with its own
 * context of the kernel and its own event loop. They add up the checksums of their blocks; the main thread compares.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/worker-per-context.ts [directory]
 *
 * The file is made under the directory given (default: the working directory) and removed.
 */
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { MIB, xxh32 } from '@aiokv/core';
import { BufferPool, allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';

const WORKERS = 4;
const DEPTH = 32;
const BLOCK_BYTES = 4096;
const FILE_BYTES = 16 * MIB;

/** What a worker is told: its part of the file. */
interface Range {
  readonly path: string;
  readonly startBytes: number;
  readonly endBytes: number;
}

/** The sum of the checksums of the blocks of a range, read by 32 readers that share an offset. */
async function sumOf({ path, startBytes, endBytes }: Range): Promise<number> {
  const queue = openQueue({ depth: DEPTH });
  const file = await openFile(path, { readOnly: true });
  const pool = new BufferPool(BLOCK_BYTES, DEPTH);
  let next = startBytes;
  let sum = 0;
  const reader = async (buffer: AlignedBuffer): Promise<void> => {
    while (next < endBytes) {
      const offset = next;
      next += BLOCK_BYTES;
      const length = await queue.read(file, buffer, { offset });
      sum += xxh32(buffer.bytes.subarray(0, length));
    }
  };
  try {
    await Promise.all(Array.from({ length: DEPTH }, () => reader(pool.lease() as AlignedBuffer)));
    return sum;
  } finally {
    await queue.close();
    await file.close();
  }
}

/** Fills the file with random bytes and returns the sum of the checksums of its blocks. */
async function fill(path: string): Promise<number> {
  const queue = openQueue();
  const file = await openFile(path, { create: true });
  const buffer = allocateAligned(MIB);
  let sum = 0;
  try {
    await file.preallocate(0, FILE_BYTES);
    for (let offset = 0; offset < FILE_BYTES; offset += MIB) {
      randomFillSync(buffer.bytes);
      for (let at = 0; at < MIB; at += BLOCK_BYTES) sum += xxh32(buffer.bytes.subarray(at, at + BLOCK_BYTES));
      await queue.write(file, buffer, { offset });
    }
    return sum;
  } finally {
    await queue.close();
    await file.close();
  }
}

async function sumInWorker(range: Range): Promise<number> {
  // A worker does not inherit tsx. A program in JavaScript would say `new Worker(new URL(import.meta.url), …)`.
  const code = `import('tsx/esm/api').then(({ register }) => (register(), import('${import.meta.url}')))`;
  const worker = new Worker(code, { eval: true, workerData: range });
  const [sum] = (await once(worker, 'message')) as [number];
  return sum;
}

async function main(): Promise<void> {
  const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-workers-'));
  const path = join(directory, 'blocks.bin');
  try {
    const expected = await fill(path);
    const rangeBytes = FILE_BYTES / WORKERS;
    const ranges = Array.from({ length: WORKERS }, (_, i) => ({
      path,
      startBytes: i * rangeBytes,
      endBytes: (i + 1) * rangeBytes,
    }));
    const sums = await Promise.all(ranges.map(sumInWorker));
    const total = sums.reduce((sum, part) => sum + part, 0);
    console.log(`${WORKERS} workers, ${FILE_BYTES / BLOCK_BYTES} blocks: the checksums add up to ${total}`);
    console.log(total === expected ? 'as they should' : `and should add up to ${expected}`);
    if (total !== expected) process.exitCode = 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

if (isMainThread) await main();
else parentPort?.postMessage(await sumOf(workerData as Range));
