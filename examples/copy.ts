/**
 * Copies a file past the page cache on both sides: 64 pieces at a time, each read and then written.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/copy.ts SOURCE TARGET
 *
 * The target must not be there yet. Direct I/O knows whole blocks only: the last piece is written up to the end of
 * its block, with zeros, and the file is cut to size afterwards.
 */
import { rm, truncate } from 'node:fs/promises';
import { KIB, alignUp } from '@aiokv/core';
import { BufferPool, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile } from '@aiokv/aio';

const DEPTH = 64;
/** A multiple of every block that direct I/O asks for. */
const PIECE_BYTES = 256 * KIB;

const [sourcePath, targetPath] = process.argv.slice(2);
if (sourcePath === undefined || targetPath === undefined) {
  console.error('usage: examples/copy.ts SOURCE TARGET');
  process.exit(2);
}

const queue = openQueue({ depth: DEPTH });

/** Copies the pieces that `offsets` gives to it, one after the other; 64 of these run at once and share it. */
async function copyPieces(
  source: DirectFile,
  target: DirectFile,
  sizeBytes: number,
  offsets: Iterator<number, undefined>,
  buffer: AlignedBuffer,
): Promise<void> {
  const blockBytes = Math.max(source.alignment.offset, target.alignment.write);
  for (let next = offsets.next(); next.done !== true; next = offsets.next()) {
    const offset = next.value;
    const expected = Math.min(PIECE_BYTES, sizeBytes - offset);
    const length = alignUp(expected, blockBytes);
    const read = await queue.read(source, buffer, { offset, length, onShort: 'continue' });
    if (read < expected) throw new Error(`${source.path} has become shorter: ${read} bytes at ${offset}`);
    // What is behind the end of the file would be an older piece otherwise.
    buffer.bytes.fill(0, expected, length);
    const written = await queue.write(target, buffer, { offset, length, onShort: 'continue' });
    if (written < length) throw new Error(`${target.path} took only ${written} bytes at ${offset}`);
  }
}

function* offsetsOf(sizeBytes: number): Generator<number, undefined> {
  for (let offset = 0; offset < sizeBytes; offset += PIECE_BYTES) yield offset;
}

async function copy(source: DirectFile, target: DirectFile): Promise<number> {
  const sizeBytes = await source.sizeBytes();
  // Blocks that are allocated already need no waiting inside of io_submit.
  if (sizeBytes > 0) await target.preallocate(0, sizeBytes);
  const pool = new BufferPool(PIECE_BYTES, DEPTH);
  const offsets = offsetsOf(sizeBytes);
  const copiers = Array.from({ length: DEPTH }, () =>
    copyPieces(source, target, sizeBytes, offsets, pool.lease() as AlignedBuffer),
  );
  // All of them, also when one fails: the files must stay open until nothing is in flight.
  for (const outcome of await Promise.allSettled(copiers)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
  await truncate(target.path, sizeBytes);
  await queue.fdatasync(target);
  return sizeBytes;
}

try {
  const source = await openFile(sourcePath, { readOnly: true });
  try {
    const target = await openFile(targetPath, { create: true, exclusive: true });
    let isWhole = false;
    try {
      const startMs = performance.now();
      const sizeBytes = await copy(source, target);
      isWhole = true;
      const seconds = (performance.now() - startMs) / 1000;
      console.log(`${sizeBytes} bytes copied, ${(sizeBytes / 1e6 / seconds).toFixed(1)} MB/s`);
    } finally {
      await target.close();
      if (!isWhole) await rm(targetPath);
    }
  } finally {
    await source.close();
  }
} finally {
  await queue.close();
}
