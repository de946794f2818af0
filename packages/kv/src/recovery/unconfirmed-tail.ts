/**
 * The end of the log that nothing proves to have been flushed, and how an opening makes it safe: it is written again,
 * byte by byte the same, in its place.
 *
 * A flush alone is not enough. After a write or a flush has failed, what is read may come from a cache that no later
 * flush covers (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20), and is gone after a power
 * cut. What is written anew is covered by the next flush.
 *
 * ```
 *   │ … frame │ frame │ … │ frame │ end           proof: a later frame's flushedThrough, a checkpoint,
 *     confirmed ───────►│◄ unconfirmed ►│          the end that a clean close has recorded
 * ```
 *
 * CONFIRM-1. A place that is written again gets the bytes that recovery has accepted, so a write that is torn does no harm.
 *
 * It decides nothing about what belongs to the log: recovery does.
 */
import { Fifo } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { requireFull, twoAnswers, unreadable } from '../failure/errors.ts';
import { frameHash, readFrame, windowOf } from '../format/frame.ts';
import { readSegmentHeader, segmentHash } from '../format/segment.ts';
import { readOrCause } from './segment-reader.ts';

/** A frame as recovery has accepted it. */
export interface AcceptedFrame {
  /** Where its write began, and how long it was: the header of the segment is in front of the first frame. */
  readonly fileOffset: number;
  readonly lengthBytes: number;
  /** Bytes of the write in front of the frame. */
  readonly frameAt: number;
  readonly lastSequence: Sequence;
  readonly hash: bigint;
}

const WRITES_AT_ONCE = 4;

export class UnconfirmedTail {
  readonly #frames = new Fifo<AcceptedFrame>();

  /** Frames come in the order of their sequences. */
  accept(frame: AcceptedFrame): void {
    this.#frames.push(frame);
  }

  /** Everything through `sequence` was flushed. */
  confirm(sequence: Sequence): void {
    for (let first = this.#frames.peek(); first !== undefined; first = this.#frames.peek()) {
      if (first.lastSequence > sequence) return;
      this.#frames.shift();
    }
  }

  /**
   * Writes what is unconfirmed again; the flush is the caller's.
   *
   * @throws AiokvError ERR_AIOKV_IO; SystemCallError
   */
  async writeAgain(queue: Queue, file: DirectFile): Promise<void> {
    const writer = async (): Promise<void> => {
      for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
        const { fileOffset, lengthBytes } = frame;
        const buffer = allocateAligned(lengthBytes);
        const range = { offset: fileOffset, bufferOffset: 0, length: lengthBytes };
        const cause = await readOrCause(queue, file, buffer, range);
        if (cause !== null) throw unreadable(file.path, fileOffset, cause);
        // CONFIRM-1.
        if (!isSame(buffer, frame)) throw twoAnswers(file.path, fileOffset);
        requireFull('write', await queue.write(file, buffer, { offset: fileOffset }), lengthBytes, file.path);
      }
    };
    const results = await Promise.allSettled(Array.from({ length: WRITES_AT_ONCE }, writer));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

function isSame(buffer: AlignedBuffer, { frameAt, hash }: AcceptedFrame): boolean {
  const frame = windowOf(buffer, frameAt);
  const header = readFrame(frame);
  if (header === null || frameHash(frame) !== hash) return false;
  // The first frame of a segment names the header that is written with it.
  return frameAt === 0 || (readSegmentHeader(buffer) !== null && segmentHash(buffer) === header.previousHash);
}
