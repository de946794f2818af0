/**
 * Reads slots of the data file, whole or in part, with several reads at a time. It does not interpret their content.
 *
 * ```
 *   slot │ header │ frame │ frame │  hole  │ … │          a hole: could not be read in two attempts, reads as zeros
 * ```
 *
 * HOLE-1. A failed read is tried a second time, then block by block, so that a bad sector does not hide its
 *     neighbours. Only code that needs the content of a hole fails, with the byte and the cause (SCAN-3).
 */
import { SystemCallError } from '@aiokv/core';
import type { AiokvError } from '@aiokv/core';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { requireFull, unreadable } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import type { Geometry } from '../format/superblock.ts';

const READ_BYTES = 256 * 1024;

/** A range of the file, in bytes, and its place in the buffer. */
interface Range {
  readonly offset: number;
  readonly bufferOffset: number;
  readonly length: number;
}

/** Reads a range, in up to two attempts. Returns why the second attempt failed, or null. */
export async function readOrCause(
  queue: Queue,
  file: DirectFile,
  buffer: AlignedBuffer,
  range: Range,
): Promise<Error | null> {
  let cause: Error | null = null;
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      requireFull('read', await queue.read(file, buffer, range), range.length, file.path);
      return null;
    } catch (error) {
      const isOfDevice = error instanceof SystemCallError || (error as AiokvError).code === 'ERR_AIOKV_IO';
      if (!isOfDevice) throw error;
      cause = error as Error;
    }
  }
  return cause;
}

interface Hole {
  /** Offset within the slot. */
  readonly offset: number;
  readonly cause: Error;
}

/** A slot, or its start, in memory. */
export class LoadedSlot {
  readonly path: string;
  readonly slot: number;
  readonly buffer: AlignedBuffer;
  readonly #geometry: Geometry;
  readonly #holes: Hole[] = [];

  constructor(path: string, geometry: Geometry, slot: number, buffer: AlignedBuffer) {
    this.path = path;
    this.slot = slot;
    this.buffer = buffer;
    this.#geometry = geometry;
  }

  get hasHoles(): boolean {
    return this.#holes.length > 0;
  }

  /** Records that the block at this offset could not be read. */
  addHole(offset: number, cause: Error): void {
    this.#holes.push({ offset, cause });
  }

  isHole(offset: number): boolean {
    return this.#holes.some((hole) => hole.offset === offset);
  }

  /** @throws AiokvError ERR_AIOKV_IO if any of these bytes of the slot could not be read */
  requireReadable(offset: number, lengthBytes: number): void {
    if (this.#holes.length === 0) return;
    const hole = this.#holes.find(
      (other) => other.offset < offset + lengthBytes && other.offset + this.#geometry.writeAlignment > offset,
    );
    if (hole === undefined) return;
    throw unreadable(this.path, Slots.offsetOf(this.#geometry, this.slot) + hole.offset, hole.cause);
  }
}

export class SegmentReader {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly #geometry: Geometry;

  constructor(queue: Queue, file: DirectFile, geometry: Geometry) {
    this.queue = queue;
    this.file = file;
    this.#geometry = geometry;
  }

  /**
   * Reads a slot, or its first `lengthBytes` bytes, to the start of `buffer`. Fills the rest of `buffer` with zeros.
   */
  async read(slot: number, buffer: AlignedBuffer, lengthBytes = this.#geometry.segmentBytes): Promise<LoadedSlot> {
    const loaded = new LoadedSlot(this.file.path, this.#geometry, slot, buffer);
    buffer.bytes.fill(0, lengthBytes);
    const reads: Promise<void>[] = [];
    for (let at = 0; at < lengthBytes; at += READ_BYTES) {
      reads.push(this.#readPart(loaded, at, Math.min(READ_BYTES, lengthBytes - at)));
    }
    await Promise.all(reads);
    return loaded;
  }

  async #readPart(loaded: LoadedSlot, from: number, lengthBytes: number): Promise<void> {
    const { queue, file } = this;
    const { buffer, slot } = loaded;
    const base = Slots.offsetOf(this.#geometry, slot);
    const whole = { offset: base + from, bufferOffset: from, length: lengthBytes };
    if ((await readOrCause(queue, file, buffer, whole)) === null) return;
    // HOLE-1.
    const { writeAlignment } = this.#geometry;
    for (let at = from; at < from + lengthBytes; at += writeAlignment) {
      const length = Math.min(writeAlignment, from + lengthBytes - at);
      const cause = await readOrCause(queue, file, buffer, { offset: base + at, bufferOffset: at, length });
      if (cause === null) continue;
      buffer.bytes.fill(0, at, at + length);
      loaded.addHole(at, cause);
    }
  }
}
