/**
 * The end of the log: whether it is a torn tail, which is normal after a crash, or rot, which is not.
 *
 * R3. A chain that breaks before something which is known to have been flushed is rot, not a torn tail:
 *     the clean end in the superblock knows it, and so does a later frame's `flushedThrough`. A frame of
 *     an abandoned line of history accuses nobody falsely: it names only what had been flushed before a
 *     recovery, which no recovery goes back behind, and the sequences of a dropped batch stay taken.
 * R5. A read that went wrong looks like a torn tail. So where the log seems to end is read twice; two answers that
 *     differ are an error, not an end.
 */
import { nextTurn } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { corrupt, requireFull } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES, readFrame, windowOf } from '../format/frame.ts';
import type { Geometry } from '../format/superblock.ts';
import type { Replay } from './replay.ts';
import type { SlotScan } from './scan.ts';
import type { SegmentReader } from './segment-reader.ts';

/** Where the chain has ended. */
export interface ChainEnd {
  /** Holds the segment, as it was read. */
  readonly buffer: AlignedBuffer;
  readonly slot: number;
  readonly offset: number;
  readonly segmentSequence: number;
}

export class LogTail {
  readonly #reader: SegmentReader;
  readonly #scan: SlotScan;
  readonly #geometry: Geometry;

  constructor(reader: SegmentReader, scan: SlotScan, geometry: Geometry) {
    this.#reader = reader;
    this.#scan = scan;
    this.#geometry = geometry;
  }

  /**
   * R3, R5. Makes sure that nothing behind the end of the chain says that it should not have ended.
   *
   * @param end null when nothing of the log is there
   * @param scratch a whole segment of memory
   * @throws AiokvError ERR_AIOKV_CORRUPT
   */
  async requireTorn({ lastSequence, passedEnd }: Replay, end: ChainEnd | null, scratch: AlignedBuffer): Promise<void> {
    const where = `sequence ${lastSequence + 1} of ${this.#reader.file.path}`;
    if (!passedEnd) throw corrupt(`the log breaks at ${where}, before the end that the last close recorded`);
    if (end !== null && this.#provesFlush(end.buffer, end.offset, lastSequence)) {
      throw corrupt(`the log breaks at ${where}, before what later frames prove to have been flushed`);
    }
    for (const { slot, lengthBytes } of this.#scan.placesToProve(end?.segmentSequence ?? 0)) {
      await this.#reader.read(slot, scratch, lengthBytes);
      if (this.#provesFlush(scratch, this.#geometry.writeAlignment, lastSequence)) {
        throw corrupt(`the log breaks at ${where}, before what a later segment proves to have been flushed`);
      }
      await nextTurn();
    }
    if (end !== null) await this.#readAgain(end);
  }

  /** R5. Compares the place of the frame that is not there. */
  async #readAgain({ buffer, slot, offset }: ChainEnd): Promise<void> {
    const { file, queue } = this.#reader;
    const geometry = this.#geometry;
    const length = Math.min(MAX_FRAME_BYTES, geometry.segmentBytes - offset);
    if (length === 0) return;
    const fileOffset = Slots.offsetOf(geometry, slot) + offset;
    const again = allocateAligned(length);
    requireFull('read', await queue.read(file, again, { offset: fileOffset }), length, file.path);
    if (Buffer.compare(again.bytes, buffer.bytes.subarray(offset, offset + length)) !== 0) {
      throw this.#reader.twoAnswers(fileOffset);
    }
  }

  /** Whether a frame from `offset` on says that the record at which the chain broke had been flushed. */
  #provesFlush(buffer: AlignedBuffer, offset: number, lastSequence: Sequence): boolean {
    const { segmentBytes, writeAlignment } = this.#geometry;
    for (let at = offset; at + FRAME_HEADER_BYTES <= segmentBytes; at += writeAlignment) {
      const header = readFrame(windowOf(buffer, at));
      if (header !== null && header.flushedThrough > lastSequence) return true;
    }
    return false;
  }
}
