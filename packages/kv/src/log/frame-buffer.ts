/** The memory of one frame, and who waits for the frame. Its states are drawn in writer.ts. */
import { Waiters } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { MAX_FRAME_BYTES, windowOf } from '../format/frame.ts';
import type { Block } from '../format/words.ts';

/** A frame in memory, from its opening until it is written. Created on demand, reused. */
export class Frame {
  /** Room for a segment header, then the frame. The header is written only if the frame starts a segment. */
  readonly buffer: AlignedBuffer;
  readonly header: Block;
  readonly block: Block;
  startsSegment = false;
  fileOffset = 0;
  capacityBytes = 0;
  usedBytes = 0;
  recordCount = 0;
  firstSequence = 0 as Sequence;
  /** Zeros that are written behind the frame: see LOG-7. */
  zeroBytes = 0;
  /** LOG-8. Its write is its flush, too. */
  isThrough = false;
  written = false;
  readonly writtenWaiters = new Waiters();
  flushedWaiters = new Waiters();

  constructor(headerBytes: number) {
    this.buffer = allocateAligned(Frame.bytesWith(headerBytes));
    this.header = windowOf(this.buffer, 0, headerBytes);
    this.block = windowOf(this.buffer, headerBytes);
  }

  static bytesWith(headerBytes: number): number {
    return headerBytes + MAX_FRAME_BYTES;
  }

  get lastSequence(): Sequence {
    return (this.firstSequence + this.recordCount - 1) as Sequence;
  }
}

/** Whether the frame contains the byte of the file at `fileOffset`. */
export function holds(frame: Frame, fileOffset: number): boolean {
  return fileOffset >= frame.fileOffset && fileOffset < frame.fileOffset + frame.usedBytes;
}
