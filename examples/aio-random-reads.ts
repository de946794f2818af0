/**
 * The queue without the store: random reads of 4 KiB, 64 of them in flight, on a file that this program makes.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/aio-random-reads.ts [directory]
 *
 * The file is made under the directory given (default: the working directory) and removed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB, Random } from '@aiokv/core';
import { allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';

const DEPTH = 64;
const BLOCK_BYTES = 4096;
const BLOCKS = 4096;
const READS_OF_EACH = 300;

/** Every block holds its own number. A file is written before it is read: unwritten blocks never reach the device. */
async function fill(queue: Queue, file: DirectFile): Promise<void> {
  const bytes = BLOCKS * BLOCK_BYTES;
  await file.preallocate(0, bytes);
  const buffer = allocateAligned(MIB);
  for (let offset = 0; offset < bytes; offset += MIB) {
    for (let at = 0; at < MIB; at += BLOCK_BYTES) buffer.view.setUint32(at, (offset + at) / BLOCK_BYTES, true);
    await queue.write(file, buffer, { offset });
  }
  await queue.fdatasync(file);
}

/** One of the readers: its own buffer, one read in flight. Returns how many blocks were not what they should be. */
async function read(queue: Queue, file: DirectFile, buffer: AlignedBuffer, random: Random): Promise<number> {
  let wrong = 0;
  for (let n = 0; n < READS_OF_EACH; n++) {
    const block = random.below(BLOCKS);
    const length = await queue.read(file, buffer, { offset: block * BLOCK_BYTES });
    if (length !== BLOCK_BYTES || buffer.view.getUint32(0, true) !== block) wrong++;
  }
  return wrong;
}

const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-reads-'));
const queue = openQueue({ depth: DEPTH });
try {
  const file = await openFile(join(directory, 'blocks.bin'), { create: true });
  try {
    await fill(queue, file);
    const before = queue.statistics();
    const startMs = performance.now();
    const readers = Array.from({ length: DEPTH }, (_, i) =>
      read(queue, file, allocateAligned(BLOCK_BYTES), new Random(i)),
    );
    const wrong = (await Promise.all(readers)).reduce((sum, count) => sum + count, 0);
    const seconds = (performance.now() - startMs) / 1000;
    const after = queue.statistics();
    const reads = after.completed - before.completed;
    console.log(`${reads} reads at depth ${DEPTH}, ${wrong} wrong`);
    console.log(`${Math.round(reads / seconds)} reads/s`);
    console.log(`${(reads / (after.submitCalls - before.submitCalls)).toFixed(1)} reads in a submission`);
  } finally {
    await queue.close();
    await file.close();
  }
} finally {
  await queue.close();
  await rm(directory, { recursive: true, force: true });
}
