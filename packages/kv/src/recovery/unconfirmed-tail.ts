/**
 * The unconfirmed tail is the end of the log that nothing proves to have been flushed. An opening makes it durable by
 * writing the same bytes again in the same place.
 *
 * A flush alone is not enough. After a failed write or flush a read may return data from a cache that no later flush
 * covers (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20) and that a power cut loses. Data
 * that is written again is covered by the next flush.
 *
 * ```
 *   │ … frame │ frame │ … │ frame │ end           proof: a later frame's flushedThrough, a checkpoint,
 *     confirmed ───────►│◄ unconfirmed ►│          the end that a clean close has recorded
 * ```
 *
 * CONFIRM-1. Only the bytes that recovery has accepted are written again, so a torn write does no harm.
 *
 * Recovery decides what belongs to the log, not this file.
 */
import { Fifo } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { requireFull, twoAnswers, unreadable } from '../failure/errors.ts';
import { frameHash, readFrame, windowOf } from '../format/frame.ts';
import { readSegmentHeader, segmentHash } from '../format/segment.ts';
import { readOrCause } from './segment-reader.ts';

/** A frame that recovery has accepted. */
export interface AcceptedFrame {
  /** The range of its write in the file. The write of a first frame starts with the header of the segment. */
  readonly fileOffset: number;
  readonly lengthBytes: number;
  /** Bytes of the write before the frame: 0, or those of the header. */
  readonly frameAt: number;
  readonly lastSequence: Sequence;
  readonly hash: bigint;
}

const WRITES_AT_ONCE = 4;

export class UnconfirmedTail {
  readonly #frames = new Fifo<AcceptedFrame>();

  /** Adds a frame. Frames must be added in the order of their sequences. */
  accept(frame: AcceptedFrame): void {
    this.#frames.push(frame);
  }

  /** Drops the frames up to `sequence`, which were flushed. */
  confirm(sequence: Sequence): void {
    for (let first = this.#frames.peek(); first !== undefined; first = this.#frames.peek()) {
      if (first.lastSequence > sequence) return;
      this.#frames.shift();
    }
  }

  /**
   * Writes the unconfirmed frames again. The caller must flush afterwards.
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
  // The header of the segment is written with the first frame, which names its hash.
  return frameAt === 0 || (readSegmentHeader(buffer) !== null && segmentHash(buffer) === header.previousHash);
}
