/**
 * Writes images of pages, or records that are moved, one behind the other into new segments. Nothing of it counts
 * before a superblock leads to it, so the segments are not chained and the order of the writes does not matter.
 *
 * ```
 *   slot │ header │ image image image … 0 │ image image … 0 │ …          a chunk is one write
 * ```
 *
 * SEGW-1. A chunk lies in one segment, and an image in one chunk.
 * SEGW-2. A call that finds no free slot changes nothing, and can be made again.
 * SEGW-3. After a failed write every call fails.
 */
import { alignUp, assert, calendarMs } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { requireFull } from '../failure/errors.ts';
import { CHUNK_BYTES } from '../format/checkpoint.ts';
import { NO_PREDECESSOR, encodeSegmentHeader } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { Slots } from '../file/slots.ts';
import type { SlotUse } from '../file/slots.ts';

export interface SegmentWriterOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly uuid: Uint8Array;
  readonly epoch: number;
  /** A `SegmentKind`. */
  readonly kind: number;
  /** What its slots are used for. */
  readonly use: SlotUse;
  /** Sequence of the checkpoint. */
  readonly sequence: number;
}

/** Where an image goes: `block.bytes[at]` in memory, `fileOffset` on the device. */
export interface Place {
  readonly block: AlignedBuffer;
  readonly at: number;
  readonly fileOffset: number;
  /** Number of the chunk: see `writtenChunks`. */
  readonly chunk: number;
}

export class SegmentWriter {
  /** Slots taken so far. */
  readonly slots: number[] = [];
  readonly #options: SegmentWriterOptions;
  readonly #buffers: [AlignedBuffer, AlignedBuffer];
  readonly #writes: [Promise<void>, Promise<void>] = [Promise.resolve(), Promise.resolve()];
  /** Why a write failed; null while none has. */
  #failure: unknown = null;
  /** Chunks 1 to this number are on the device. */
  #writtenChunks = 0;
  /** Number of the open chunk, or of the last one. */
  #chunk = 0;
  #which = 0;
  #used = 0;
  #capacity = 0;
  /** File offset of the open chunk. */
  #chunkOffset = 0;
  /** Bytes used in the current segment. */
  #segmentUsed: number;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    const chunkBytes = SegmentWriter.bufferBytes(options.geometry) / 2;
    this.#buffers = [allocateAligned(chunkBytes), allocateAligned(chunkBytes)];
    this.#segmentUsed = options.geometry.segmentBytes;
  }

  /** Memory of the chunks, in bytes. */
  static bufferBytes({ segmentBytes, writeAlignment }: Geometry): number {
    // The first chunk begins with the header of the segment, and takes the longest record behind it.
    return 2 * Math.min(CHUNK_BYTES + writeAlignment, segmentBytes);
  }

  /** Chunks 1 to this number are on the device, not flushed. */
  get writtenChunks(): number {
    return this.#writtenChunks;
  }

  /** Why a write failed; null while none has. */
  get failure(): unknown {
    return this.#failure;
  }

  /**
   * Returns a zeroed place for this many bytes, a multiple of 8. Fill it before the next call.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE; SystemCallError of an earlier write
   */
  async place(bytes: number): Promise<Place> {
    const { writeAlignment } = this.#options.geometry;
    assert(bytes <= this.#buffers[0].byteLength - writeAlignment, 'an image or a record fits into a chunk');
    if (this.#used + bytes > this.#capacity) {
      this.#send();
      await this.#openChunk(bytes);
    }
    return this.#take(bytes);
  }

  /**
   * As `place`, but a lack of space is no failure: what was to be moved stays where it is.
   *
   * @returns why there is no space, or the place
   */
  async placeIfRoom(bytes: number): Promise<Place | { readonly noRoom: unknown }> {
    try {
      return await this.place(bytes);
    } catch (error) {
      if (this.#failure !== null || (error as { code?: unknown }).code === 'ERR_AIOKV_INTERNAL') throw error;
      return { noRoom: error };
    }
  }

  /** As `place`, if the open chunk has room: nobody waits, and nothing can fail. Else null. */
  placeHere(bytes: number): Place | null {
    return this.#used + bytes > this.#capacity ? null : this.#take(bytes);
  }

  #take(bytes: number): Place {
    const at = this.#used;
    this.#used += bytes;
    const block = this.#buffers[this.#which] as AlignedBuffer;
    return { block, at, fileOffset: this.#chunkOffset + at, chunk: this.#chunk };
  }

  /** Bytes that the current segment still has room for, but for what chunks cannot fill. */
  get leftBytes(): number {
    return this.#options.geometry.segmentBytes - this.#segmentUsed - this.#used;
  }

  /** Sends the open chunk and waits for all writes. The caller flushes. */
  async finish(): Promise<void> {
    this.#send();
    await Promise.all(this.#writes);
    if (this.#failure !== null) throw this.#failure;
    this.#writtenChunks = this.#chunk;
  }

  async #openChunk(firstBytes: number): Promise<void> {
    const { geometry, slots, segments, uuid, epoch, kind, use, sequence } = this.#options;
    const needsSegment = this.#segmentUsed + firstBytes > geometry.segmentBytes;
    const which = 1 - this.#which;
    // The buffer may still be in flight.
    await this.#writes[which];
    // SEGW-2. Whoever else takes slots may have taken it since `prepare` settled: nothing is waited for behind this.
    while (needsSegment && slots.availableFor(use) <= 0) await slots.prepare(1, use);
    if (this.#failure !== null) throw this.#failure;
    // All chunks but the last one, which is in the other buffer.
    this.#writtenChunks = Math.max(this.#writtenChunks, this.#chunk - 1);
    const buffer = this.#buffers[which] as AlignedBuffer;
    buffer.bytes.fill(0);
    this.#which = which;
    this.#chunk++;
    this.#used = 0;
    if (needsSegment) {
      const slot = slots.take();
      this.slots.push(slot);
      segments.begin(slot, kind, sequence, calendarMs());
      encodeSegmentHeader(buffer, { kind, uuid, sequence, epoch, slot, predecessor: NO_PREDECESSOR });
      this.#used = geometry.writeAlignment;
      this.#segmentUsed = 0;
    }
    const slot = this.slots.at(-1) as number;
    this.#chunkOffset = Slots.offsetOf(geometry, slot) + this.#segmentUsed;
    this.#capacity = Math.min(buffer.byteLength, geometry.segmentBytes - this.#segmentUsed);
  }

  #send(): void {
    if (this.#used === 0) return;
    const { queue, file, geometry, segments, slots } = this.#options;
    const length = alignUp(this.#used, geometry.writeAlignment);
    const buffer = this.#buffers[this.#which] as AlignedBuffer;
    this.#writes[this.#which] = queue.write(file, buffer, { offset: this.#chunkOffset, length }).then(
      (result) => {
        try {
          requireFull('write', result, length, file.path);
        } catch (error) {
          this.#failure ??= error;
        }
      },
      (error: unknown) => {
        this.#failure ??= error;
      },
    );
    this.#segmentUsed += length;
    segments.wrote(this.slots.at(-1) as number, length, 0, 0);
    slots.blocks.wrote(this.slots.at(-1) as number, this.#segmentUsed);
    this.#used = 0;
    this.#capacity = 0;
  }
}
