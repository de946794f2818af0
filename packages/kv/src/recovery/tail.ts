/**
 * Decides whether the end of the log is a torn tail, which is normal after a crash, or rot, which is an error.
 *
 * TAIL-1. If the chain breaks before data that is known to have been flushed, that is rot, not a torn tail. The proof
 *     is the clean end in the superblock, or `flushedThrough` of a later frame. A frame of an abandoned line of history
 *     never causes a false alarm: it names only data that was flushed before a recovery, and no recovery goes back
 *     before that. The sequences of a dropped batch are not used again.
 * TAIL-2. A wrong read looks like a torn tail. So the place where the log seems to end is read twice. If the results
 *     differ, that is an error, not an end.
 */
import { nextTurn } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import type { AlignedBuffer } from '@aiokv/aio';
import { corrupt, twoAnswers } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES, readFrame, windowOf } from '../format/frame.ts';
import type { Geometry } from '../format/superblock.ts';
import type { Replay } from './replay.ts';
import type { SlotScan } from './scan.ts';
import type { LoadedSlot, SegmentReader } from './segment-reader.ts';

/** Where the chain ends. */
export interface ChainEnd {
  /** The segment as it was read. */
  readonly loaded: LoadedSlot;
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
   * TAIL-1, TAIL-2. Makes sure that nothing after the end of the chain proves that the log continued. Unreadable blocks
   * prove nothing, except a block that may hold the next frame (SCAN-3).
   *
   * @param end null if the first segment of the log is missing
   * @param scratch memory of one segment; its content is overwritten
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async requireTorn({ lastSequence, passedEnd }: Replay, end: ChainEnd | null, scratch: AlignedBuffer): Promise<void> {
    const lastSegment = end?.segmentSequence ?? 0;
    this.#scan.requireNoHiddenSegment(lastSegment);
    const where = `sequence ${lastSequence + 1} of ${this.#reader.file.path}`;
    if (!passedEnd) throw corrupt(`the log breaks at ${where}, before the end that the last close recorded`);
    if (end !== null && this.#provesFlush(end.loaded.buffer, end.offset, lastSequence)) {
      throw corrupt(`the log breaks at ${where}, before what later frames prove to have been flushed`);
    }
    for (const { slot, lengthBytes } of this.#scan.placesToProve(lastSegment)) {
      await this.#reader.read(slot, scratch, lengthBytes);
      if (this.#provesFlush(scratch, this.#geometry.writeAlignment, lastSequence)) {
        throw corrupt(`the log breaks at ${where}, before what a later segment proves to have been flushed`);
      }
      await nextTurn();
    }
    if (end !== null) await this.#readAgain(end, scratch);
  }

  /** TAIL-2. Reads the place of the missing frame again and compares it, except for unreadable blocks. */
  async #readAgain({ loaded, offset }: ChainEnd, scratch: AlignedBuffer): Promise<void> {
    const { segmentBytes, writeAlignment } = this.#geometry;
    const end = Math.min(offset + MAX_FRAME_BYTES, segmentBytes);
    if (end === offset) return;
    const { slot, path, buffer } = loaded;
    const again = await this.#reader.read(slot, scratch, end);
    again.requireReadable(offset, FRAME_HEADER_BYTES);
    for (let at = offset; at < end; at += writeAlignment) {
      if (loaded.isHole(at) || again.isHole(at)) continue;
      const [before, now] = [buffer, scratch].map(({ bytes }) => bytes.subarray(at, at + writeAlignment));
      if (Buffer.compare(before as Uint8Array, now as Uint8Array) !== 0) {
        throw twoAnswers(path, Slots.offsetOf(this.#geometry, slot) + at);
      }
    }
  }

  /** Whether a frame from `offset` on proves that a record after `lastSequence` had been flushed. */
  #provesFlush(buffer: AlignedBuffer, offset: number, lastSequence: Sequence): boolean {
    const { segmentBytes, writeAlignment } = this.#geometry;
    for (let at = offset; at + FRAME_HEADER_BYTES <= segmentBytes; at += writeAlignment) {
      const header = readFrame(windowOf(buffer, at));
      if (header !== null && header.flushedThrough > lastSequence) return true;
    }
    return false;
  }
}
