/**
 * The records in a segment that was read whole: in the frames of a log segment, or one behind the other in a cleaned one.
 *
 * ```
 *   log       │ header │ frame: record record … │ frame: record … │ what was there before
 *   cleaned   │ header │ record record … 0 │ record record … 0 │ …     until the used bytes end
 * ```
 *
 * What follows the end of a log segment in its slot may be frames of an older segment. They are passed over by their
 * segment sequence. A damaged frame ends the walk: the records behind it are not found, and so not moved.
 *
 * This file checks no record. Whoever moves one does.
 */
import { alignUp } from '@aiokv/core';
import type { AlignedBuffer } from '@aiokv/aio';
import { FRAME_HEADER_BYTES, readFrame, windowOf } from '../format/frame.ts';
import {
  MAX_KEY_BYTES,
  RECORD_ALIGNMENT,
  RECORD_HEADER_BYTES,
  RecordKind,
  isExtent,
  keyBytesOf,
  kindOf,
  recordBytesAt,
} from '../format/record.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';

/** A segment in memory. */
export interface SegmentInMemory {
  readonly buffer: AlignedBuffer;
  /** A `SegmentKind`: log or cleaned. */
  readonly kind: number;
  readonly sequence: number;
  /** End of what was written, from the start of the segment; for a cleaned one. */
  readonly endBytes: number;
}

export class SegmentRecords {
  /** Offset of the current record in the segment, and its bytes without padding. */
  at = 0;
  lengthBytes = 0;
  /** Whether it belongs to a long value: a fragment, or a put with a table of them. */
  isOfExtent = false;
  readonly #segment: SegmentInMemory;
  readonly #geometry: Geometry;
  /** Where the next record begins, and where the current frame, or all of a cleaned segment, ends. */
  #next: number;
  #end: number;
  /** Where the next frame begins. */
  #nextFrame: number;
  #frameNumber = 0;

  constructor(segment: SegmentInMemory, geometry: Geometry) {
    this.#segment = segment;
    this.#geometry = geometry;
    const isLog = segment.kind === SegmentKind.log;
    this.#next = geometry.writeAlignment;
    this.#nextFrame = geometry.writeAlignment;
    this.#end = isLog ? geometry.writeAlignment : Math.min(segment.endBytes, geometry.segmentBytes);
  }

  /** Goes to the next record that may be a put or a fragment. False: there is none. */
  next(): boolean {
    const { view } = this.#segment.buffer;
    for (;;) {
      if (this.#next + RECORD_HEADER_BYTES > this.#end) {
        if (!this.#openFrame()) return false;
        continue;
      }
      const at = this.#next;
      const kind = kindOf(view, at);
      if (kind === 0) {
        // Zeros at the end of a chunk.
        this.#next = at + RECORD_ALIGNMENT;
        continue;
      }
      const lengthBytes = recordBytesAt(view, at);
      if (keyBytesOf(view, at) > MAX_KEY_BYTES || at + lengthBytes > this.#end) return false;
      this.#next = at + alignUp(lengthBytes, RECORD_ALIGNMENT);
      if (kind !== RecordKind.put && kind !== RecordKind.fragment) continue;
      this.isOfExtent = kind === RecordKind.fragment || isExtent(view, at);
      this.at = at;
      this.lengthBytes = lengthBytes;
      return true;
    }
  }

  #openFrame(): boolean {
    const { buffer, kind, sequence } = this.#segment;
    const { segmentBytes, writeAlignment } = this.#geometry;
    if (kind !== SegmentKind.log || this.#nextFrame + FRAME_HEADER_BYTES > segmentBytes) return false;
    const header = readFrame(windowOf(buffer, this.#nextFrame));
    if (header === null || header.segmentSequence !== sequence || header.frameNumber !== this.#frameNumber + 1) {
      return false;
    }
    this.#frameNumber = header.frameNumber;
    this.#next = this.#nextFrame + FRAME_HEADER_BYTES;
    this.#end = this.#next + header.payloadBytes;
    this.#nextFrame += alignUp(FRAME_HEADER_BYTES + header.payloadBytes, writeAlignment);
    return true;
  }
}
