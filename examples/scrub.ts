/**
 * Finds damage in a file that should not have changed: reads all of it past the page cache, 64 blocks at a time, and
 * compares the xxHash of each with a list that a first run has made.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/scrub.ts FILE --write-list
 *   node --import=tsx --conditions=@aiokv/source examples/scrub.ts FILE
 *
 * The list is FILE.xxh64: the size of the file in 8 bytes, then XXH64 of each block of 64 KiB. Exits with 1 when a
 * block is damaged, with 2 when there is no list.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { BufferPool, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';

const DEPTH = 64;
const BLOCK_BYTES = 64 * KIB;
const HEADER_BYTES = 8;
const HASH_BYTES = 8;

/** Told of every block, in no particular order; `error` says why it could not be read, and then `bytes` is empty. */
type Visit = (block: number, bytes: Uint8Array, error: unknown) => void;

async function readBlocks(queue: Queue, file: DirectFile, blocks: number, visit: Visit): Promise<void> {
  const pool = new BufferPool(BLOCK_BYTES, DEPTH);
  let next = 0;
  const reader = async (buffer: AlignedBuffer): Promise<void> => {
    while (next < blocks) {
      const block = next++;
      let length = 0;
      let error: unknown;
      try {
        length = await queue.read(file, buffer, { offset: block * BLOCK_BYTES, onShort: 'continue' });
      } catch (failure) {
        error = failure;
      }
      visit(block, buffer.bytes.subarray(0, length), error);
    }
  };
  await Promise.all(Array.from({ length: DEPTH }, () => reader(pool.lease() as AlignedBuffer)));
}

async function writeList(queue: Queue, file: DirectFile, listPath: string): Promise<void> {
  const sizeBytes = await file.sizeBytes();
  const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
  const list = new DataView(new ArrayBuffer(HEADER_BYTES + blocks * HASH_BYTES));
  list.setFloat64(0, sizeBytes, true);
  let unreadable: unknown;
  await readBlocks(queue, file, blocks, (block, bytes, error) => {
    unreadable ??= error;
    writeXxh64(bytes, list, HEADER_BYTES + block * HASH_BYTES);
  });
  if (unreadable !== undefined) throw unreadable;
  await writeFile(listPath, list);
  console.log(`${blocks} blocks listed`);
}

/** Returns how many blocks are not what they were. */
async function compare(queue: Queue, file: DirectFile, list: DataView): Promise<number> {
  const sizeBytes = await file.sizeBytes();
  const expectedBytes = list.getFloat64(0, true);
  if (sizeBytes !== expectedBytes) console.log(`the file has ${sizeBytes} bytes and had ${expectedBytes}`);
  const blocks = (list.byteLength - HEADER_BYTES) / HASH_BYTES;
  const damaged: string[] = [];
  await readBlocks(queue, file, blocks, (block, bytes, error) => {
    if (error === undefined && matchesXxh64(bytes, list, HEADER_BYTES + block * HASH_BYTES)) return;
    const why = error instanceof Error ? error.message : 'other bytes than before';
    damaged[block] = `block ${block}, from byte ${block * BLOCK_BYTES}: ${why}`;
  });
  for (const line of damaged.filter((entry) => entry !== undefined)) console.log(line);
  const count = Object.keys(damaged).length;
  console.log(`${blocks} blocks read, ${count} damaged`);
  return count + (sizeBytes === expectedBytes ? 0 : 1);
}

async function readList(path: string): Promise<DataView | null> {
  try {
    const bytes = await readFile(path);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return null;
  }
}

const { values, positionals } = parseArgs({
  options: { 'write-list': { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [path] = positionals;
const list = path === undefined || values['write-list'] ? null : await readList(`${path}.xxh64`);
if (path === undefined || (list === null && !values['write-list'])) {
  console.error('usage: examples/scrub.ts FILE [--write-list]; the list is made first');
  process.exit(2);
}
const queue = openQueue({ depth: DEPTH });
const file = await openFile(path, { readOnly: true });
try {
  if (list === null) await writeList(queue, file, `${path}.xxh64`);
  else if ((await compare(queue, file, list)) > 0) process.exitCode = 1;
} finally {
  await queue.close();
  await file.close();
}
