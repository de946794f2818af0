/**
 * Replays the frames of a segment along the chain and applies their records to the index.
 *
 * REPLAY-1. The replayed records are a prefix of the written ones, in the order of their sequences.
 * REPLAY-2. The records of a batch are applied together, when its last record is there, or not at all. A batch that a
 *     crash cut off is dropped when a frame of another epoch follows or the log ends.
 * REPLAY-3. Records that the checkpoint covers are not replayed, but they must be there: a checkpoint never ends
 *     inside a batch and covers only flushed records.
 * REPLAY-4. A segment that continues the log from a link proves that the log left the previous segment there. Frames
 *     after the link in the previous segment are left from a failed write, even if they look intact.
 * REPLAY-5. When the target has taken as much as it should, the replay goes on without it, at the end of a batch. What is
 *     left out is replayed again when it is decided what belongs to the log and the store can merge: `Recovery.replayRest`.
 *
 * Replay reads nothing from the device.
 */
import { AiokvError, alignUp, nextTurn } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, frameHash, readFrame, readUncheckedFrame, windowOf } from '../format/frame.ts';
import type { FrameHeader } from '../format/frame.ts';
import { lengthWordOf } from '../format/index-entry.ts';
import { compareKeys } from '../format/keys.ts';
import {
  FLAG_BATCH_CONTINUES,
  MAX_KEY_BYTES,
  RECORD_ALIGNMENT,
  RecordKind,
  RECORD_HEADER_BYTES,
  expiresAtOf,
  flagsOf,
  isExtent,
  isKnownRecord,
  keyBytesOf,
  kindOf,
  recordBytesAt,
  valueBytesOf,
} from '../format/record.ts';
import { NO_PREDECESSOR } from '../format/segment.ts';
import type { ChainLink } from '../format/segment.ts';
import type { Superblock } from '../format/superblock.ts';
import type { Block } from '../format/words.ts';
import { PendingBatch } from './pending-batch.ts';
import type { ReplayTarget } from '../index/replay-target.ts';
import { sameLink } from './scan.ts';
import type { FoundSegment, SlotScan } from './scan.ts';
import type { LoadedSlot } from './segment-reader.ts';
import { UnconfirmedTail } from './unconfirmed-tail.ts';

export interface ReplayOptions {
  readonly path: string;
  readonly superblock: Superblock;
  readonly target: ReplayTarget;
  readonly budget: TurnBudget;
  readonly scan: SlotScan;
  readonly planted: Planted;
  /** Where the first segment follows. */
  readonly lastSequenceBefore: Sequence;
  /** Records up to this one are in the target already. */
  readonly coveredThrough: Sequence;
  /** Makes room in the target; null if that cannot be done yet (REPLAY-5). */
  readonly makeRoom: (() => Promise<void>) | null;
}

export class Replay {
  readonly unconfirmed = new UnconfirmedTail();
  readonly #options: ReplayOptions;
  #link: ChainLink = NO_PREDECESSOR;
  #lastSequence: Sequence;
  #epoch = 0;
  readonly #pending = new PendingBatch();
  /** Whether the last record has others of its batch behind it. Fragments of values are not in `#pending`. */
  #isInsideBatch = false;
  #passedEnd: boolean;
  /** Bytes of replayed records, which the checkpoint does not cover. */
  replayedBytes = 0;
  /** REPLAY-5. The first record that was left out follows this one; null if none was. */
  leftOutAfter: Sequence | null = null;
  /** Of `replayedBytes`, those of records that were left out. */
  leftOutBytes = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    const { logEnd } = options.superblock;
    this.#lastSequence = options.lastSequenceBefore;
    this.#passedEnd = logEnd === null || logEnd.lastSequence === 0;
  }

  /** The position in the chain after the last replayed frame. */
  get link(): ChainLink {
    return this.#link;
  }

  get lastSequence(): Sequence {
    return this.#lastSequence;
  }

  /** Whether the replay has reached the end that the last close recorded; true if none is recorded. */
  get passedEnd(): boolean {
    return this.#passedEnd;
  }

  /** Whether the log ends where the last close recorded. */
  get isClean(): boolean {
    const end = this.#options.superblock.logEnd;
    if (end === null) return false;
    return sameLink(end.link, this.#link) && end.lastSequence === this.#lastSequence;
  }

  /**
   * Replays the frames of a segment that continue the chain. Returns the offset after the last one, within the segment.
   */
  async segment(loaded: LoadedSlot, segment: FoundSegment): Promise<number> {
    const { superblock, budget, scan } = this.#options;
    const { geometry } = superblock;
    this.#link = { segmentSequence: segment.sequence, frameNumber: 0, hash: segment.hash };
    this.#noteLink();
    const base = Slots.offsetOf(geometry, segment.slot);
    let offset = geometry.writeAlignment;
    while (offset + FRAME_HEADER_BYTES <= geometry.segmentBytes) {
      // REPLAY-4.
      if (scan.successorOf(this.#link) !== undefined) break;
      const frame = windowOf(loaded.buffer, offset);
      const header = readFrame(frame);
      if (header === null || !this.#continues(header)) {
        this.#requireNoHole(loaded, offset, frame);
        break;
      }
      await this.#replayFrame(frame, header, base + offset);
      this.#link = {
        segmentSequence: segment.sequence,
        frameNumber: header.frameNumber,
        hash: frameHash(frame),
      };
      this.#lastSequence = header.lastSequence;
      const lengthBytes = alignUp(FRAME_HEADER_BYTES + header.payloadBytes, geometry.writeAlignment);
      const frameAt = header.frameNumber === 1 ? geometry.writeAlignment : 0;
      this.unconfirmed.accept({
        fileOffset: base + offset - frameAt,
        lengthBytes: frameAt + lengthBytes,
        frameAt,
        lastSequence: header.lastSequence,
        hash: this.#link.hash,
      });
      this.unconfirmed.confirm(header.flushedThrough);
      this.#noteLink();
      if (!this.#isInsideBatch && this.leftOutAfter === null) await this.#admitted();
      offset += lengthBytes;
      if (budget.isSpent()) await nextTurn();
    }
    return offset;
  }

  /** REPLAY-5. */
  async #admitted(): Promise<void> {
    const { target, makeRoom } = this.#options;
    target.admitted(this.#lastSequence);
    if (!target.hasMany) return;
    if (makeRoom === null) this.leftOutAfter = this.#lastSequence;
    else await makeRoom();
  }

  /** SCAN-3. Throws if an unreadable block may be part of the frame that continues the log here. */
  #requireNoHole(loaded: LoadedSlot, offset: number, frame: Block): void {
    if (!loaded.hasHoles) return;
    loaded.requireReadable(offset, FRAME_HEADER_BYTES);
    const header = readUncheckedFrame(frame);
    if (header === null || !this.#continues(header)) return;
    loaded.requireReadable(offset, FRAME_HEADER_BYTES + header.payloadBytes);
  }

  #continues(header: FrameHeader): boolean {
    return (
      header.previousHash === this.#link.hash &&
      header.segmentSequence === this.#link.segmentSequence &&
      header.frameNumber === this.#link.frameNumber + 1 &&
      header.firstSequence === this.#lastSequence + 1 &&
      header.lastSequence === this.#lastSequence + header.recordCount
    );
  }

  async #replayFrame(frame: Block, header: FrameHeader, frameOffset: number): Promise<void> {
    if (header.epoch !== this.#epoch) {
      this.#pending.drop();
      this.#isInsideBatch = false;
      this.#epoch = header.epoch;
    }
    const { path, coveredThrough, target, budget } = this.#options;
    const isLeftOut = this.leftOutAfter !== null;
    const { view } = frame;
    const end = FRAME_HEADER_BYTES + header.payloadBytes;
    let records = 0;
    for (let at = FRAME_HEADER_BYTES; at < end; records++) {
      if (end - at < RECORD_HEADER_BYTES) throw corrupt(`a frame of ${path} ends inside a record`);
      const lengthBytes = recordBytesAt(view, at);
      if (keyBytesOf(view, at) > MAX_KEY_BYTES || lengthBytes > end - at) {
        throw corrupt(`a frame of ${path} ends inside a record`);
      }
      if (!isKnownRecord(view, at)) {
        throw new AiokvError(
          'ERR_AIOKV_FORMAT_NEWER',
          `${path} holds records of kind ${kindOf(view, at)}, flags ${flagsOf(view, at)}: open it with a newer aiokv`,
        );
      }
      const goesOn = (flagsOf(view, at) & FLAG_BATCH_CONTINUES) !== 0;
      this.#isInsideBatch = goesOn;
      // REPLAY-3. Fragments of a value count with their put.
      const sequence = (header.firstSequence + records) as Sequence;
      const isCovered = sequence <= coveredThrough;
      if (!isCovered && !isLeftOut && kindOf(view, at) !== RecordKind.fragment) {
        // No promise for each record: there may be millions of them.
        if (this.#apply(frame, at, frameOffset + at, sequence)) await this.#pending.apply(target, budget);
      }
      const paddedBytes = alignUp(lengthBytes, RECORD_ALIGNMENT);
      if (!isCovered) this.replayedBytes += paddedBytes;
      if (isLeftOut) this.leftOutBytes += paddedBytes;
      at += paddedBytes;
    }
    if (records !== header.recordCount)
      throw corrupt(`a frame of ${path} holds ${records} records, not ${header.recordCount}`);
  }

  /** REPLAY-2. Hands a record over, or keeps it for its batch. Returns whether the batch is complete. */
  #apply({ bytes, view }: Block, at: number, fileOffset: number, sequence: Sequence): boolean {
    const { path, target, planted } = this.#options;
    const keyBytes = keyBytesOf(view, at);
    const valueBytes = valueBytesOf(view, at);
    const keyAt = at + RECORD_HEADER_BYTES;
    const goesOn = (flagsOf(view, at) & FLAG_BATCH_CONTINUES) !== 0;
    const isOfBatch = (goesOn || !this.#pending.isEmpty) && planted.tornBatches !== true;
    switch (kindOf(view, at)) {
      case RecordKind.put: {
        const length = lengthWordOf(recordBytesAt(view, at), isExtent(view, at));
        const expiresAtMs = expiresAtOf(view, at);
        if (isOfBatch) this.#pending.put(bytes, keyAt, keyBytes, fileOffset, length, sequence, expiresAtMs);
        else target.replayPut(bytes, keyAt, keyBytes, fileOffset, length, sequence, expiresAtMs);
        break;
      }
      case RecordKind.deleteRange:
        if (!isRange(bytes, keyAt, keyBytes, valueBytes)) throw corrupt(`a range delete of ${path} is no range`);
        if (isOfBatch) this.#pending.deleteRange(bytes, keyAt, keyBytes, valueBytes, sequence);
        else target.replayDeleteRange(bytes, keyAt, keyBytes, valueBytes, sequence);
        break;
      default:
        if (isOfBatch) this.#pending.delete(bytes, keyAt, keyBytes, sequence);
        else target.replayDelete(bytes, keyAt, keyBytes, sequence);
    }
    return isOfBatch && !goesOn;
  }

  #noteLink(): void {
    const end = this.#options.superblock.logEnd;
    if (end !== null && sameLink(end.link, this.#link)) this.#passedEnd = true;
  }
}

/** Whether the upper bound of a range delete, if there is one, is a key behind the lower one. */
function isRange(bytes: Uint8Array, at: number, fromBytes: number, toBytes: number): boolean {
  if (toBytes > MAX_KEY_BYTES) return false;
  const toAt = at + fromBytes;
  const to = bytes.subarray(toAt, toAt + toBytes);
  return toBytes === 0 || compareKeys(bytes.subarray(at, toAt), fromBytes, to, toBytes) < 0;
}
