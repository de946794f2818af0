/**
 * Finds the end of the log and replays it: from the segment that the superblock names, frame by frame
 * along the chain, to the first frame that is not there.
 *
 * ```
 *   header ─► frame 1 ─► frame 2 ─► … ─► frame n ─► header of the successor ─► frame 1 ─► … ─► end
 *     each link: the hash of what is before it, and sequences without a gap
 * ```
 *
 * R1. What is replayed is a prefix of what was written, in the order of the sequences.
 * R2. The records of a batch are applied together, at its last record, or not at all. A batch that a
 *     crash cut off is dropped when a frame of another epoch follows, or the log ends.
 * R3. A chain that breaks before something which is known to have been flushed is rot, not a torn tail:
 *     the clean end in the superblock knows it, and so does a later frame's `flushedThrough`. A frame of
 *     an abandoned line of history accuses nobody falsely: it names only what had been flushed before a
 *     recovery, which no recovery goes back behind, and the sequences of a dropped batch stay taken.
 * R4. Records that the checkpoint covers are not replayed, but they must be there: a checkpoint never ends
 *     inside a batch, and never covers what is not flushed.
 * R5. A read that went wrong looks like a torn tail. So where the log seems to end is read twice, and so are the
 *     slots that seem to hold nothing; two answers that differ are an error, not an end.
 * R6. A slot whose header is harmed may be a segment all the same: its frames count as proof (R3), and it is not
 *     written over when they may be records from before the start. A segment that belongs elsewhere is never free space.
 *
 * R7. A segment that continues the log from a link proves that it went on there: what follows the link in its own
 *     segment is what a failed write has left, even if it looks whole.
 *
 * R8. A log of which nothing is there begins where the superblock says, whatever later segments of it a failed write
 *     has left: the next opening looks there.
 *
 * It writes nothing but what it has accepted, again (unconfirmed-tail.ts). docs/durability.md tells the cases apart for users.
 */
import { AiokvError, alignDown, alignUp, assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { corrupt, requireFull } from '../failure/errors.ts';
import {
  FRAME_HEADER_BYTES,
  MAX_FRAME_BYTES,
  frameHash,
  readFrame,
  segmentNamedBy,
  windowOf,
} from '../format/frame.ts';
import type { FrameHeader } from '../format/frame.ts';
import {
  FLAG_BATCH_CONTINUES,
  MAX_KEY_BYTES,
  RecordKind,
  RECORD_HEADER_BYTES,
  flagsOf,
  isExtent,
  isKnownRecord,
  keyBytesOf,
  kindOf,
  paddedRecordBytes,
  recordBytes,
  valueBytesOf,
} from '../format/record.ts';
import {
  NO_PREDECESSOR,
  SEGMENT_HEADER_BYTES,
  SegmentKind,
  readSegmentHeader,
  segmentHash,
} from '../format/segment.ts';
import type { ChainLink, SegmentHeader } from '../format/segment.ts';
import type { LogStart, Superblock } from '../format/superblock.ts';
import type { Block } from '../format/words.ts';
import { lengthWordOf } from '../format/index-entry.ts';
import type { LogPosition } from '../log/chain.ts';
import { Slots } from '../file/slots.ts';
import { UnconfirmedTail } from './unconfirmed-tail.ts';
import { PendingBatch } from './pending-batch.ts';
import type { ReplayTarget } from './pending-batch.ts';
import type { ProgressReporter } from './progress.ts';
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';

export interface Recovered {
  readonly position: LogPosition;
  readonly usedSlots: ReadonlySet<number>;
  readonly slotCount: number;
}

interface FoundSegment {
  readonly header: SegmentHeader;
  readonly hash: bigint;
}

const READ_BYTES = 256 * 1024;
const HEADERS_AT_ONCE = 64;

export class Recovery {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #superblock: Superblock;
  readonly #target: ReplayTarget;
  readonly #budget: TurnBudget;
  readonly #progress: ProgressReporter;
  /** A whole segment; the next one is read while this one is replayed. */
  readonly #buffers: [AlignedBuffer, AlignedBuffer];
  #found: FoundSegment[] = [];
  /** What was read of the headers of slots that hold no segment of the log. */
  readonly #others = new Map<number, Uint8Array>();
  /** Slots without a header of this store, each with the segment that its first frame names, or null. */
  readonly #headless = new Map<number, number | null>();
  /** What the file has of a slot at its end. */
  #partial: { readonly slot: number; readonly lengthBytes: number } | null = null;
  #link: ChainLink = NO_PREDECESSOR;
  #lastSequence: Sequence;
  /** Segments that were replayed, oldest first. */
  readonly #replayed: LogStart[] = [];
  #epoch = 0;
  readonly #pending = new PendingBatch();
  #passedEnd: boolean;
  readonly #unconfirmed = new UnconfirmedTail();
  /** For tests only: see `Planted`. */
  readonly #plantedTornBatches: boolean;

  constructor(
    queue: Queue,
    file: DirectFile,
    superblock: Superblock,
    target: ReplayTarget,
    budget: TurnBudget,
    progress: ProgressReporter,
    plantedTornBatches: boolean,
  ) {
    this.#plantedTornBatches = plantedTornBatches;
    this.#queue = queue;
    this.#file = file;
    this.#superblock = superblock;
    this.#target = target;
    this.#budget = budget;
    this.#progress = progress;
    const { segmentBytes } = superblock.geometry;
    this.#buffers = [allocateAligned(segmentBytes), allocateAligned(segmentBytes)];
    this.#lastSequence = superblock.logStart.lastSequenceBefore;
    this.#passedEnd = superblock.logEnd === null || superblock.logEnd.lastSequence === 0;
  }

  /**
   * Replays the log.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT when something that had been flushed is missing or damaged,
   *   ERR_AIOKV_FORMAT_NEWER for records of a kind this version does not know; SystemCallError
   */
  async run(): Promise<Recovered> {
    const { geometry, logStart } = this.#superblock;
    const fileBytes = await this.#file.sizeBytes();
    const slotCount = Slots.slotCountOf(geometry, fileBytes);
    await this.#requireUncut(slotCount, fileBytes);
    this.#found = await this.#readHeaders(Array.from({ length: slotCount }, (_, slot) => slot));
    await this.#lookBehindHeaders();
    const toReplay = this.#found.filter(({ header }) => header.sequence >= logStart.segmentSequence);
    this.#progress.begin('log', toReplay.length * geometry.segmentBytes);
    const usedSlots = new Set<number>();
    let current = this.#found.find(
      ({ header }) => header.slot === logStart.slot && header.sequence === logStart.segmentSequence,
    );
    let offset = geometry.segmentBytes;
    let slot = 0;
    let which = 0;
    let loading = current === undefined ? null : this.#readSegment(current.header.slot, this.#buffers[0]);
    while (current !== undefined) {
      const { header, hash } = current;
      usedSlots.add(header.slot);
      slot = header.slot;
      this.#replayed.push({
        segmentSequence: header.sequence,
        slot,
        lastSequenceBefore: this.#lastSequence,
      });
      const buffer = this.#buffers[which] as AlignedBuffer;
      which = 1 - which;
      await loading;
      const likely = this.#found.find((other) => other.header.predecessor.segmentSequence === header.sequence);
      loading =
        likely === undefined ? null : this.#readSegment(likely.header.slot, this.#buffers[which] as AlignedBuffer);
      // An error is met where the segment is needed, if it is.
      loading?.catch(() => undefined);
      this.#link = { segmentSequence: header.sequence, frameNumber: 0, hash };
      this.#noteLink();
      offset = await this.#replaySegment(buffer, header);
      this.#progress.advance(offset);
      const successor = this.#successor();
      if (successor === undefined) {
        await loading?.catch(() => undefined);
        await this.#requireTornTail(buffer, offset, header.sequence);
        await this.#readAgain(buffer, slot, offset);
      } else if (successor !== likely) {
        await loading?.catch(() => undefined);
        loading = this.#readSegment(successor.header.slot, this.#buffers[which] as AlignedBuffer);
      }
      current = successor;
    }
    this.#progress.end();
    if (usedSlots.size === 0) await this.#requireTornTail(null, 0, 0);
    await this.#readHeaders([...this.#others.keys()]);
    this.#requireCheckpointed();
    // What lies before the start is not replayed, and holds records all the same.
    for (const { header } of this.#found) if (header.sequence < logStart.segmentSequence) usedSlots.add(header.slot);
    for (const slot of this.#harmedBeforeStart()) usedSlots.add(slot);
    if (this.#isNothingThere) usedSlots.delete(logStart.slot);
    return { position: this.#position(slot, offset), usedSlots, slotCount };
  }

  /**
   * Makes sure that what was accepted is not lost to a second crash.
   *
   * @throws AiokvError ERR_AIOKV_IO; SystemCallError
   */
  async secure(): Promise<void> {
    if (this.#isClean()) return;
    this.#unconfirmed.confirm(this.#superblock.checkpointSequence);
    await this.#unconfirmed.writeAgain(this.#queue, this.#file);
    await this.#queue.fdatasync(this.#file);
  }

  /** R8. */
  get #isNothingThere(): boolean {
    return this.#replayed.length === 0;
  }

  /** R4. */
  #requireCheckpointed(): void {
    const { checkpointRoot, checkpointSequence, logStart } = this.#superblock;
    const isStartThere = this.#lastSequence > logStart.lastSequenceBefore;
    if (checkpointRoot === 0 || (isStartThere && this.#lastSequence >= checkpointSequence)) return;
    throw corrupt(
      `the log breaks at sequence ${this.#lastSequence + 1} of ${this.#file.path}, before its checkpoint at ${checkpointSequence}`,
    );
  }

  #position(slot: number, offset: number): LogPosition {
    const { logStart } = this.#superblock;
    const sequences = this.#found.map(({ header }) => header.sequence);
    const resumable = this.#isClean() && this.#link.segmentSequence !== 0;
    return {
      link: this.#link,
      lastSequence: this.#lastSequence,
      segment: resumable ? { slot, nextOffset: offset } : null,
      nextSegmentSequence: this.#isNothingThere ? logStart.segmentSequence : Math.max(0, ...sequences) + 1,
      segments: this.#replayed,
    };
  }

  #isClean(): boolean {
    const end = this.#superblock.logEnd;
    if (end === null) return false;
    return sameLink(end.link, this.#link) && end.lastSequence === this.#lastSequence;
  }

  async #readHeaders(wanted: readonly number[]): Promise<FoundSegment[]> {
    const { geometry, uuid } = this.#superblock;
    const blockBytes = alignUp(SEGMENT_HEADER_BYTES, this.#file.alignment.offset);
    const blocks = Array.from({ length: Math.min(HEADERS_AT_ONCE, wanted.length) }, () => allocateAligned(blockBytes));
    const found: FoundSegment[] = [];
    for (let first = 0; first < wanted.length; first += HEADERS_AT_ONCE) {
      await Promise.all(
        wanted.slice(first, first + HEADERS_AT_ONCE).map(async (slot, i) => {
          const block = blocks[i] as AlignedBuffer;
          const offset = Slots.offsetOf(geometry, slot);
          requireFull('read', await this.#queue.read(this.#file, block, { offset }), blockBytes, this.#file.path);
          const header = readSegmentHeader(block);
          const isOurs = header !== null && header.slot === slot && Buffer.compare(header.uuid, uuid) === 0;
          if (header !== null && !isOurs) throw this.#displaced(slot);
          if (header === null && !this.#headless.has(slot)) this.#headless.set(slot, null);
          const isFound = isOurs && header.kind === SegmentKind.log;
          if (isFound) found.push({ header, hash: segmentHash(block) });
          if (!isFound || this.#others.has(slot)) this.#noteOther(slot, block.bytes.slice(0, SEGMENT_HEADER_BYTES));
        }),
      );
    }
    return found;
  }

  /** R6. */
  async #lookBehindHeaders(): Promise<void> {
    const { geometry } = this.#superblock;
    const block = allocateAligned(alignUp(FRAME_HEADER_BYTES, this.#file.alignment.offset));
    for (const slot of this.#headless.keys()) {
      const offset = Slots.offsetOf(geometry, slot) + geometry.writeAlignment;
      const result = await this.#queue.read(this.#file, block, { offset });
      requireFull('read', result, block.byteLength, this.#file.path);
      this.#headless.set(slot, segmentNamedBy(block));
    }
  }

  /** R6. Slots in which records may lie that the index leads to, although their header is harmed. */
  #harmedBeforeStart(): number[] {
    const { segmentSequence } = this.#superblock.logStart;
    const isHarmed = (slot: number, named: number | null): boolean =>
      named === null ? this.#others.get(slot)?.some((byte) => byte !== 0) === true : !(named >= segmentSequence);
    return [...this.#headless].filter(([slot, named]) => isHarmed(slot, named)).map(([slot]) => slot);
  }

  /** R5. */
  #noteOther(slot: number, header: Uint8Array): void {
    const before = this.#others.get(slot);
    if (before === undefined) this.#others.set(slot, header);
    else if (Buffer.compare(before, header) !== 0)
      throw this.#twoAnswers(Slots.offsetOf(this.#superblock.geometry, slot));
  }

  /**
   * R6. Part of a slot at the end of the file is what a growth that failed or a power cut has left, and is of no use, or
   * the file was cut off.
   */
  async #requireUncut(slotCount: number, fileBytes: number): Promise<void> {
    const { geometry, logStart } = this.#superblock;
    const offset = Slots.offsetOf(geometry, slotCount);
    const lengthBytes = alignDown(Math.max(0, fileBytes - offset), this.#file.alignment.offset);
    if (lengthBytes < SEGMENT_HEADER_BYTES) return;
    this.#partial = { slot: slotCount, lengthBytes };
    await this.#readSegment(slotCount, this.#buffers[0], lengthBytes);
    const header = readSegmentHeader(this.#buffers[0]);
    if (header?.kind === SegmentKind.log && header.sequence < logStart.segmentSequence) {
      throw corrupt(`${this.#file.path} was cut off inside a segment`);
    }
  }

  /** R6. Its records would be taken for those that were there, if they are of the same keys. */
  #displaced(slot: number): AiokvError {
    return corrupt(`slot ${slot} of ${this.#file.path} holds a segment of another slot or another store`);
  }

  #twoAnswers(fileOffset: number): AiokvError {
    return new AiokvError(
      'ERR_AIOKV_IO',
      `byte ${fileOffset} of ${this.#file.path} was read twice and differed: check the device, then open the store again`,
    );
  }

  async #readSegment(
    slot: number,
    buffer: AlignedBuffer,
    lengthBytes = this.#superblock.geometry.segmentBytes,
  ): Promise<void> {
    const base = Slots.offsetOf(this.#superblock.geometry, slot);
    const reads: Promise<void>[] = [];
    buffer.bytes.fill(0, lengthBytes);
    for (let at = 0; at < lengthBytes; at += READ_BYTES) {
      const length = Math.min(READ_BYTES, lengthBytes - at);
      reads.push(
        this.#queue
          .read(this.#file, buffer, { offset: base + at, bufferOffset: at, length })
          .then((result) => requireFull('read', result, length, this.#file.path)),
      );
    }
    await Promise.all(reads);
  }

  /** Replays the frames of a segment that continue the chain; returns the offset behind the last one. */
  async #replaySegment(buffer: AlignedBuffer, segment: SegmentHeader): Promise<number> {
    const { geometry } = this.#superblock;
    const base = Slots.offsetOf(geometry, segment.slot);
    let offset = geometry.writeAlignment;
    while (offset + FRAME_HEADER_BYTES <= geometry.segmentBytes) {
      // R7.
      if (this.#successor() !== undefined) break;
      const frame = windowOf(buffer, offset);
      const header = readFrame(frame);
      if (header === null || !this.#continues(header)) break;
      await this.#replayFrame(frame, header, base + offset);
      this.#link = {
        segmentSequence: segment.sequence,
        frameNumber: header.frameNumber,
        hash: frameHash(frame),
      };
      this.#lastSequence = header.lastSequence;
      const lengthBytes = alignUp(FRAME_HEADER_BYTES + header.payloadBytes, geometry.writeAlignment);
      const frameAt = header.frameNumber === 1 ? geometry.writeAlignment : 0;
      this.#unconfirmed.accept({
        fileOffset: base + offset - frameAt,
        lengthBytes: frameAt + lengthBytes,
        frameAt,
        lastSequence: header.lastSequence,
        hash: this.#link.hash,
      });
      this.#unconfirmed.confirm(header.flushedThrough);
      this.#noteLink();
      if (this.#pending.isEmpty) this.#target.admitted(this.#lastSequence);
      offset += lengthBytes;
      while (!this.#target.hasRoomFor(1)) await this.#target.whenRoom();
      if (this.#budget.isSpent()) await nextTurn();
    }
    return offset;
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
      this.#epoch = header.epoch;
    }
    const { bytes, view } = frame;
    const end = FRAME_HEADER_BYTES + header.payloadBytes;
    let records = 0;
    for (let at = FRAME_HEADER_BYTES; at < end; records++) {
      if (end - at < RECORD_HEADER_BYTES) throw corrupt(`a frame of ${this.#file.path} ends inside a record`);
      const keyBytes = keyBytesOf(view, at);
      const valueBytes = valueBytesOf(view, at);
      if (keyBytes > MAX_KEY_BYTES || recordBytes(keyBytes, valueBytes) > end - at) {
        throw corrupt(`a frame of ${this.#file.path} ends inside a record`);
      }
      if (!isKnownRecord(view, at)) {
        throw new AiokvError(
          'ERR_AIOKV_FORMAT_NEWER',
          `${this.#file.path} holds records of kind ${kindOf(view, at)}, flags ${flagsOf(view, at)}: open it with a newer aiokv`,
        );
      }
      // The index has what the checkpoint covers, which never ends inside a batch. A piece of a value counts by the put.
      const isCovered = header.firstSequence + records <= this.#superblock.checkpointSequence;
      if (!isCovered && kindOf(view, at) !== RecordKind.piece) {
        const keyAt = at + RECORD_HEADER_BYTES;
        const fileOffset = frameOffset + at;
        const isPut = kindOf(view, at) === RecordKind.put;
        const length = lengthWordOf(recordBytes(keyBytes, valueBytes), isExtent(view, at));
        const goesOn = (flagsOf(view, at) & FLAG_BATCH_CONTINUES) !== 0;
        if ((goesOn || !this.#pending.isEmpty) && !this.#plantedTornBatches) {
          if (isPut) this.#pending.put(bytes, keyAt, keyBytes, fileOffset, length);
          else this.#pending.delete(bytes, keyAt, keyBytes);
          if (!goesOn) await this.#pending.apply(this.#target, this.#budget);
        } else if (isPut) this.#target.replayPut(bytes, keyAt, keyBytes, fileOffset, length);
        else this.#target.replayDelete(bytes, keyAt, keyBytes);
      }
      at += paddedRecordBytes(keyBytes, valueBytes);
    }
    if (records !== header.recordCount)
      throw corrupt(`a frame of ${this.#file.path} holds ${records} records, not ${header.recordCount}`);
  }

  #successor(): FoundSegment | undefined {
    return this.#found.find(({ header }) => sameLink(header.predecessor, this.#link));
  }

  #noteLink(): void {
    const end = this.#superblock.logEnd;
    if (end !== null && sameLink(end.link, this.#link)) this.#passedEnd = true;
  }

  /** R3. The chain has ended; makes sure that nothing behind its end says it should not have. */
  async #requireTornTail(buffer: AlignedBuffer | null, offset: number, segmentSequence: number): Promise<void> {
    const where = `sequence ${this.#lastSequence + 1} of ${this.#file.path}`;
    if (!this.#passedEnd) throw corrupt(`the log breaks at ${where}, before the end that the last close recorded`);
    if (buffer !== null && this.#provesFlush(buffer, offset)) {
      throw corrupt(`the log breaks at ${where}, before what later frames prove to have been flushed`);
    }
    const scratch = this.#buffers.find((other) => other !== buffer);
    assert(scratch !== undefined, 'there are two segment buffers');
    const later = this.#found
      .filter(({ header }) => header.sequence > segmentSequence)
      .map(({ header }) => header.slot);
    const harmed = [...this.#headless].filter(([, named]) => named !== null).map(([slot]) => slot);
    const partial = this.#partial === null ? [] : [this.#partial.slot];
    for (const slot of [...later, ...harmed, ...partial]) {
      await this.#readSegment(slot, scratch, slot === this.#partial?.slot ? this.#partial.lengthBytes : undefined);
      if (this.#provesFlush(scratch, this.#superblock.geometry.writeAlignment)) {
        throw corrupt(`the log breaks at ${where}, before what a later segment proves to have been flushed`);
      }
      await nextTurn();
    }
  }

  /** R5. Compares the place of the frame that is not there. `buffer` holds its segment. */
  async #readAgain(buffer: AlignedBuffer, slot: number, offset: number): Promise<void> {
    const { geometry } = this.#superblock;
    const length = Math.min(MAX_FRAME_BYTES, geometry.segmentBytes - offset);
    if (length === 0) return;
    const fileOffset = Slots.offsetOf(geometry, slot) + offset;
    const again = allocateAligned(length);
    requireFull('read', await this.#queue.read(this.#file, again, { offset: fileOffset }), length, this.#file.path);
    if (Buffer.compare(again.bytes, buffer.bytes.subarray(offset, offset + length)) !== 0) {
      throw this.#twoAnswers(fileOffset);
    }
  }

  /** Whether a frame from `offset` on says that the record at which the chain broke had been flushed. */
  #provesFlush(buffer: AlignedBuffer, offset: number): boolean {
    const { segmentBytes, writeAlignment } = this.#superblock.geometry;
    for (let at = offset; at + FRAME_HEADER_BYTES <= segmentBytes; at += writeAlignment) {
      const header = readFrame(windowOf(buffer, at));
      if (header !== null && header.flushedThrough > this.#lastSequence) return true;
    }
    return false;
  }
}

function sameLink(a: ChainLink, b: ChainLink): boolean {
  return a.segmentSequence === b.segmentSequence && a.frameNumber === b.frameNumber && a.hash === b.hash;
}
