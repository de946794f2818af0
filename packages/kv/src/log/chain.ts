/**
 * Where the log continues: the segment, the offset of the next frame in it, and the link to the frame before, which the
 * next frame will contain. It starts segments, and reserves slots for a long batch. It does no I/O and has no waiters:
 * those are in writer.ts.
 *
 * ```
 *   segment 7 │ header │ frame 1 │ frame 2 │ next frame                segment 8 │ header: behind 7, frame 2, hash │ ...
 *                                └─ link: 7, 2, hash ┘
 * ```
 */
import { Fifo, alignUp, assert, calendarMs } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES, sealFrame } from '../format/frame.ts';
import { SegmentKind, encodeSegmentHeader } from '../format/segment.ts';
import type { ChainLink } from '../format/segment.ts';
import type { Geometry, LogStart } from '../format/superblock.ts';
import type { Frame } from './frame-buffer.ts';
import { Slots } from '../file/slots.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { SlotUse } from '../file/slots.ts';

/** Where the log continues after an opening. */
export interface LogPosition {
  readonly link: ChainLink;
  readonly lastSequence: Sequence;
  /** The segment to continue in, or null to start a new one. */
  readonly segment: { readonly slot: number; readonly nextOffset: number } | null;
  readonly nextSegmentSequence: number;
  /** Segments of the log from the one where a replay starts, oldest first. */
  readonly segments: readonly LogStart[];
}

export interface ChainOptions {
  readonly slots: Slots;
  readonly segments: SegmentTable;
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
  /** Segments of the log, oldest first. Those before the start of the last checkpoint are dropped. */
  #starts: LogStart[];
  /** Slots reserved for the next segments, in order. */
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

  /** The link of the next frame: it names the frame before. */
  get link(): ChainLink {
    return { segmentSequence: this.#segmentSequence, frameNumber: this.#frameNumber, hash: this.#lastHash };
  }

  /** Offset in its segment of the frame that is placed and not sealed, else of the next frame. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Gives an empty frame its place. Starts a new segment if the first record does not fit into this one. */
  place(frame: Frame, firstRecordBytes: number, lastSequenceBefore: Sequence): void {
    const { geometry } = this.#options;
    const needed = FRAME_HEADER_BYTES + firstRecordBytes;
    frame.startsSegment = geometry.segmentBytes - this.#nextOffset < needed;
    if (frame.startsSegment) this.#beginSegment(frame, lastSequenceBefore);
    frame.fileOffset = Slots.offsetOf(geometry, this.#slot) + this.#nextOffset;
    frame.capacityBytes = Math.min(MAX_FRAME_BYTES, geometry.segmentBytes - this.#nextOffset);
    assert(needed <= frame.capacityBytes, 'the first record fits');
  }

  /**
   * Writes the header of the frame that was placed last. Returns the frame's bytes on the device.
   *
   * @param mostZeroBytes of zeros to be written behind it, if its blocks have never been written to; a multiple of the
   *   write alignment
   */
  seal(frame: Frame, flushedThrough: Sequence, mostZeroBytes: number): number {
    const { geometry, epoch, segments, slots } = this.#options;
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
    this.#nextOffset += frameBytes;
    frame.zeroBytes = this.#zerosBehind(frameBytes, mostZeroBytes);
    segments.wrote(this.#slot, frameBytes, frame.firstSequence, frame.lastSequence, frame.zeroBytes);
    frame.block.bytes.fill(0, frame.usedBytes, frameBytes + frame.zeroBytes);
    slots.blocks.wrote(this.#slot, this.#nextOffset + frame.zeroBytes);
    return frameBytes;
  }

  /** How many zeros should be written behind the frame that ends at the next offset. */
  #zerosBehind(frameBytes: number, most: number): number {
    const { geometry, slots } = this.#options;
    // Its blocks were written to before, so those behind it were, too, or will soon be.
    if (slots.blocks.endOf(this.#slot) >= this.#nextOffset) return 0;
    return Math.max(0, Math.min(most, MAX_FRAME_BYTES - frameBytes, geometry.segmentBytes - this.#nextOffset));
  }

  /** See `LogWriter.startAfter`. */
  startAfter(sequence: Sequence, flushedThrough: Sequence): LogStart {
    // After a crash a segment may be missing if its first frame was not flushed.
    const isThere = (start: LogStart): boolean =>
      start.lastSequenceBefore <= sequence && start.lastSequenceBefore < flushedThrough;
    let at = this.#starts.length - 1;
    while (at > 0 && !isThere(this.#starts[at] as LogStart)) at--;
    this.#starts = this.#starts.slice(Math.max(0, at));
    const [start] = this.#starts;
    assert(start !== undefined && isThere(start), 'a flushed segment starts at or before the sequence');
    return start;
  }

  /** How many slots are reserved for the next segments. */
  get reservedSlots(): number {
    return this.#reserved.length;
  }

  /** Leaves the rest of the segment empty if it is at this slot or behind: the next frame begins another one. */
  leaveSegmentFrom(slot: number): void {
    if (this.#slot >= slot) this.#nextOffset = this.#options.geometry.segmentBytes;
  }

  /** Whether this many segments can start without waiting. */
  hasSlots(count: number, use: SlotUse): boolean {
    return count <= this.#reserved.length + this.#options.slots.availableFor(use);
  }

  /** Reserves this many slots for the next segments. Requires `hasSlots`. */
  reserveSlots(count: number): void {
    while (this.#reserved.length < count) this.#reserved.push(this.#options.slots.take());
  }

  /**
   * Waits until this many slots may be ready. Ask `hasSlots` again.
   *
   * @param since `Slots.growths` at the time of the write's call
   * @throws AiokvError ERR_AIOKV_NO_SPACE
   */
  prepareSlots(count: number, use: SlotUse, since: number): Promise<void> {
    return this.#options.slots.prepare(count - this.#reserved.length, use, since);
  }

  /** Gives back the reserved slots that were not used. */
  returnSlots(): void {
    this.#options.slots.giveBack(this.#reserved.drain());
  }

  #beginSegment(frame: Frame, lastSequenceBefore: Sequence): void {
    const { geometry, slots, segments, uuid, epoch } = this.#options;
    const predecessor = this.link;
    this.#slot = this.#reserved.shift() ?? slots.take();
    this.#nextOffset = geometry.writeAlignment;
    this.#segmentSequence = this.#nextSegmentSequence++;
    this.#frameNumber = 0;
    segments.begin(this.#slot, SegmentKind.log, this.#segmentSequence, calendarMs());
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
