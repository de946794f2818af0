/**
 * Estimates how many frames and slots records would take if they were appended now. It is exact as long as nothing else
 * is appended.
 */
import { alignUp } from '@aiokv/core';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from '../format/frame.ts';
import type { Geometry } from '../format/superblock.ts';

export class SpaceEstimate {
  /** Frames to be opened. */
  frames = 0;
  /** Slots to be taken. */
  slots = 0;
  readonly #geometry: Geometry;
  #offset: number;
  #usedBytes: number;
  #capacityBytes: number;

  /**
   * @param offset of the open frame in its segment, or of the next frame if none is open
   * @param usedBytes of the open frame; 0 if none is open
   * @param capacityBytes of the open frame; 0 if none is open
   */
  constructor(geometry: Geometry, offset: number, usedBytes: number, capacityBytes: number) {
    this.#geometry = geometry;
    this.#offset = offset;
    this.#usedBytes = usedBytes;
    this.#capacityBytes = capacityBytes;
  }

  /** Adds the next record. */
  add(paddedBytes: number): void {
    if (this.#usedBytes + paddedBytes > this.#capacityBytes) {
      const { segmentBytes, writeAlignment } = this.#geometry;
      this.#offset += alignUp(this.#usedBytes, writeAlignment);
      if (segmentBytes - this.#offset < FRAME_HEADER_BYTES + paddedBytes) {
        this.slots++;
        this.#offset = writeAlignment;
      }
      this.frames++;
      this.#capacityBytes = Math.min(MAX_FRAME_BYTES, segmentBytes - this.#offset);
      this.#usedBytes = FRAME_HEADER_BYTES;
    }
    this.#usedBytes += paddedBytes;
  }
}
