/**
 * Where the log goes on: the segment, the offset of the next frame in it, and the link by which that frame will name
 * the one before it. It begins segments, and keeps slots for those that a long batch needs. It does no I/O, and knows
 * nothing of who waits for what (writer.ts).
 *
 * ```
 *   segment 7 │ header │ frame 1 │ frame 2 │ next frame                segment 8 │ header: behind 7, frame 2, hash │ ...
 *                                └─ link: 7, 2, hash ┘
 * ```
 */
import { Fifo, alignUp, assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES, sealFrame } from '../format/frame.ts';
import { SegmentKind, encodeSegmentHeader } from '../format/segment.ts';
import type { ChainLink } from '../format/segment.ts';
import type { Geometry, LogStart } from '../format/superblock.ts';
import type { Frame } from './frame-buffer.ts';
import { Slots } from '../file/slots.ts';
import type { SlotUse } from '../file/slots.ts';

/** Where the log goes on after an opening. */
export interface LogPosition {
  readonly link: ChainLink;
  readonly lastSequence: Sequence;
  /** The segment to go on in, or null to start a new one. */
  readonly segment: { readonly slot: number; readonly nextOffset: number } | null;
  readonly nextSegmentSequence: number;
  /** Segments of the log from the one at which a replay starts, oldest first. */
  readonly segments: readonly LogStart[];
}

export interface ChainOptions {
  readonly slots: Slots;
  readonly geometry: Geometry;
  readonly uuid: Uint8Array;
  readonly epoch: number;
  readonly position: LogPosition;
}

export class Chain {
  readonly #options: ChainOptions;
  #slot: number;
  #nextOffset: number;
  #segmentSequence: number;
  #nextSegmentSequence: number;
  #frameNumber: number;
  #lastHash: bigint;
  /** Oldest first; those before the last checkpoint's start are forgotten. */
  #starts: LogStart[];
  /** Slots that are kept for the next segments, the next one first. */
  readonly #reserved = new Fifo<number>();

  constructor(options: ChainOptions) {
    this.#options = options;
    const { position, geometry } = options;
    this.#slot = position.segment?.slot ?? 0;
    this.#nextOffset = position.segment?.nextOffset ?? geometry.segmentBytes;
    this.#segmentSequence = position.link.segmentSequence;
    this.#nextSegmentSequence = position.nextSegmentSequence;
    this.#frameNumber = position.link.frameNumber;
    this.#lastHash = position.link.hash;
    this.#starts = [...position.segments];
  }

  /** By which the next frame names its predecessor. */
  get link(): ChainLink {
    return { segmentSequence: this.#segmentSequence, frameNumber: this.#frameNumber, hash: this.#lastHash };
  }

  /** Of the next frame, in its segment; or of the one that was placed and is not sealed. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Gives an empty frame its place, in a new segment if the first record would not fit into this one. */
  place(frame: Frame, firstRecordBytes: number, lastSequenceBefore: Sequence): void {
    const { geometry } = this.#options;
    const needed = FRAME_HEADER_BYTES + firstRecordBytes;
    frame.startsSegment = geometry.segmentBytes - this.#nextOffset < needed;
    if (frame.startsSegment) this.#beginSegment(frame, lastSequenceBefore);
    frame.fileOffset = Slots.offsetOf(geometry, this.#slot) + this.#nextOffset;
    frame.capacityBytes = Math.min(MAX_FRAME_BYTES, geometry.segmentBytes - this.#nextOffset);
    assert(needed <= frame.capacityBytes, 'the first record fits');
  }

  /** Writes the header of the frame that was placed last, which is the next of the chain; returns its bytes on the device. */
  seal(frame: Frame, flushedThrough: Sequence): number {
    const { geometry, epoch } = this.#options;
    this.#lastHash = sealFrame(frame.block, {
      payloadBytes: frame.usedBytes - FRAME_HEADER_BYTES,
      epoch,
      segmentSequence: this.#segmentSequence,
      frameNumber: ++this.#frameNumber,
      recordCount: frame.recordCount,
      firstSequence: frame.firstSequence,
      lastSequence: frame.lastSequence,
      flushedThrough,
      previousHash: this.#lastHash,
    });
    const frameBytes = alignUp(frame.usedBytes, geometry.writeAlignment);
    frame.block.bytes.fill(0, frame.usedBytes, frameBytes);
    this.#nextOffset += frameBytes;
    return frameBytes;
  }

  /** See `LogWriter.startAfter`. */
  startAfter(sequence: Sequence, flushedThrough: Sequence): LogStart {
    // A segment whose first frame is not flushed may not be there after a crash.
    const isThere = (start: LogStart): boolean =>
      start.lastSequenceBefore <= sequence && start.lastSequenceBefore < flushedThrough;
    let at = this.#starts.length - 1;
    while (at > 0 && !isThere(this.#starts[at] as LogStart)) at--;
    this.#starts = this.#starts.slice(Math.max(0, at));
    const [start] = this.#starts;
    assert(start !== undefined && isThere(start), 'there is a segment for what is flushed');
    return start;
  }

  /** Slots that are kept for the segments that come next. */
  get reservedSlots(): number {
    return this.#reserved.length;
  }

  /** Whether so many segments can be begun without waiting. */
  hasSlots(count: number, use: SlotUse): boolean {
    return count <= this.#reserved.length + this.#options.slots.availableFor(use);
  }

  /** Keeps so many slots for the segments that come next; they are ready. */
  reserveSlots(count: number): void {
    while (this.#reserved.length < count) this.#reserved.push(this.#options.slots.take());
  }

  /**
   * Waits until there may be so many slots; ask `hasSlots` again.
   *
   * @param since `Slots.growths` when the write was called
   * @throws AiokvError ERR_AIOKV_NO_SPACE
   */
  prepareSlots(count: number, use: SlotUse, since: number): Promise<void> {
    return this.#options.slots.prepare(count - this.#reserved.length, use, since);
  }

  /** Lets go of the slots that are left of those that were kept. */
  returnSlots(): void {
    this.#options.slots.giveBack(this.#reserved.drain());
  }

  #beginSegment(frame: Frame, lastSequenceBefore: Sequence): void {
    const { geometry, slots, uuid, epoch } = this.#options;
    const predecessor = this.link;
    this.#slot = this.#reserved.shift() ?? slots.take();
    this.#nextOffset = geometry.writeAlignment;
    this.#segmentSequence = this.#nextSegmentSequence++;
    this.#frameNumber = 0;
    this.#starts.push({ segmentSequence: this.#segmentSequence, slot: this.#slot, lastSequenceBefore });
    frame.header.bytes.fill(0);
    this.#lastHash = encodeSegmentHeader(frame.header, {
      kind: SegmentKind.log,
      uuid,
      sequence: this.#segmentSequence,
      epoch,
      slot: this.#slot,
      predecessor,
    });
  }
}
