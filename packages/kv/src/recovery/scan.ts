/**
 * Reads the headers of all slots, and finds the slots that hold a segment of the log or may hold one whose header is
 * damaged.
 *
 * ```
 *   slot │ header of the log, from before the start │   in use; not needed for the replay
 *        │ header of the log, from the start on     │   kept by predecessor, for the lookup along the chain
 *        │ any other header of this store           │   an index segment or free; the root of the checkpoint knows
 *        │ no header, zeros or damaged              │   the first frame after it says which segment this may be
 * ```
 *
 * SCAN-1. A wrong read looks like a free slot. So slots that seem to hold nothing are read twice. If the results
 *     differ, that is an error.
 * SCAN-2. A slot with a damaged header may still be a segment. Its frames count as proof (TAIL-1), and it is not
 *     overwritten if they may be records from before the start, unless a segment table says that they are not. A
 *     segment that belongs elsewhere is never free space.
 * SCAN-3. Data that cannot be read in two attempts is treated like data with a wrong checksum wherever recovery can do
 *     without it: the header of a slot that is not needed, data after the end of the log, a missing proof. Such a slot
 *     is not used until the next opening. It is an error, with the byte, if the data may have been acknowledged: a
 *     frame that would be the next of the log (replay.ts), or a slot without a readable header whose first frame either
 *     belongs to a segment after the end of the log or cannot be read. A segment header and its first frame reach the
 *     device in one write, so without a frame after the header nothing in the slot was acknowledged.
 *
 * The scan reads only the headers, and the first frame of slots without a header. A store may have hundreds of
 * thousands of slots. A slot therefore costs one or two reads and a few bytes of memory; only slots that a replay may
 * need get an object.
 */
import { alignDown, alignUp, xxh32 } from '@aiokv/core';
import type { AiokvError } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { corrupt, twoAnswers, unreadable } from '../failure/errors.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, segmentNamedBy } from '../format/frame.ts';
import { SEGMENT_HEADER_BYTES, SegmentKind, readSegmentHeader, segmentHash } from '../format/segment.ts';
import type { ChainLink } from '../format/segment.ts';
import type { LogStart, Superblock } from '../format/superblock.ts';
import { readOrCause } from './segment-reader.ts';
import type { SegmentReader } from './segment-reader.ts';

/** A segment of the log, from the start of the replay on. */
export interface FoundSegment {
  readonly slot: number;
  readonly sequence: number;
  readonly predecessor: ChainLink;
  readonly hash: bigint;
}

/** A slot, or the start of one, whose frames may prove that data was flushed (TAIL-1). */
export interface ProofPlace {
  readonly slot: number;
  readonly lengthBytes: number;
}

/** Where a slot cannot be read, and why. */
interface Unreadable {
  readonly fileOffset: number;
  readonly cause: Error;
  /** Whether the first frame cannot be read. */
  isFrameUnreadable: boolean;
}

const READS_AT_ONCE = 64;

/** Gets the bytes of a slot, or the cause why they cannot be read. */
type Visit = (slot: number, block: AlignedBuffer, cause: Error | null) => void;

/** What a slot holds, according to its header. */
const Holds = { nothingYet: 0, logSegment: 1, otherSegment: 2, zeros: 3, noHeader: 4, unreadable: 5 } as const;

export class SlotScan {
  readonly #reader: SegmentReader;
  readonly #superblock: Superblock;
  /** What the checkpoint says is in use, before anything is replayed. */
  readonly #segments: SegmentTable;
  /** `Holds`, by slot. */
  #holds = new Uint8Array(0);
  /** SCAN-1. XXH32 of the bytes of headers that are not of the log, by slot. */
  #sums = new Uint32Array(0);
  /** Slots without a header, with the segment that the first frame names; null if there is no frame. */
  readonly #headless = new Map<number, number | null>();
  /** SCAN-3. Slots whose header, or first frame if there is no header, cannot be read, with the first cause. */
  readonly #unreadable = new Map<number, Unreadable>();
  /** Slots of log segments from before the start. */
  readonly #before: Pick<LogStart, 'slot' | 'segmentSequence'>[] = [];
  /** Log segments from the start on, by the sequence of their predecessor. */
  readonly #successors = new Map<number, FoundSegment[]>();
  #start: FoundSegment | null = null;
  #countFromStart = 0;
  #highestSequence = 0;
  /** The part of a slot at the end of the file, if any. */
  #partial: ProofPlace | null = null;

  /** @param segments those of the checkpoint; the headers need not be readable of those that are not replayed */
  constructor(reader: SegmentReader, superblock: Superblock, segments: SegmentTable) {
    this.#reader = reader;
    this.#superblock = superblock;
    this.#segments = segments;
  }

  get slotCount(): number {
    return this.#holds.length;
  }

  /** Number of log segments from the start on. */
  get countFromStart(): number {
    return this.#countFromStart;
  }

  /** A sequence that no segment of the log has. */
  get unusedSequence(): number {
    // SCAN-3. Unreadable segments have sequences near these, and may be readable at the next opening.
    return this.#highestSequence + 1 + (this.#unreadable.size === 0 ? 0 : this.slotCount);
  }

  /** The segment that the superblock names as the start of the log; null if it is missing. */
  get start(): FoundSegment | null {
    return this.#start;
  }

  /** Log segments from before the start. They are not replayed, but hold records. */
  get segmentsBeforeStart(): readonly Pick<LogStart, 'slot' | 'segmentSequence'>[] {
    return this.#before;
  }

  /**
   * Scans all slots.
   *
   * @param scratch memory of one segment; its content is overwritten
   * @throws AiokvError ERR_AIOKV_CORRUPT if a segment is displaced or cut off, ERR_AIOKV_IO; SystemCallError
   */
  async run(scratch: AlignedBuffer): Promise<void> {
    const fileBytes = await this.#reader.file.sizeBytes();
    const slotCount = Slots.slotCountOf(this.#superblock.geometry, fileBytes);
    await this.#requireUncut(slotCount, fileBytes, scratch);
    this.#holds = new Uint8Array(slotCount);
    this.#sums = new Uint32Array(slotCount);
    await this.#readHeaders(slotCount, (slot, block, cause) => {
      if (cause === null) this.#noteHeader(slot, block);
      else this.#noteUnreadable(slot, 0, cause);
    });
    // The reads complete in any order; this makes the result independent of it.
    for (const segments of this.#successors.values()) segments.sort(newestFirst);
    await this.#lookBehindHeaders();
  }

  /** SCAN-1. @throws AiokvError ERR_AIOKV_IO if a second read of a header differs from the first */
  async lookAgain(): Promise<void> {
    await this.#readHeaders(this.slotCount, (slot, block, cause) => {
      if (cause !== null) this.#noteUnreadable(slot, 0, cause);
      else if (this.#holds[slot] === Holds.unreadable) return;
      else if (xxh32(headerOf(block)) !== this.#sums[slot]) {
        throw twoAnswers(this.#reader.file.path, Slots.offsetOf(this.#superblock.geometry, slot));
      }
    });
  }

  /**
   * SCAN-3. Makes sure that no unreadable slot can be a segment after the end of the log.
   *
   * @param lastSegmentSequence the last replayed segment; 0 if there is none
   * @throws AiokvError ERR_AIOKV_IO
   */
  requireNoHiddenSegment(lastSegmentSequence: number): void {
    for (const [slot, { fileOffset, cause, isFrameUnreadable }] of this.#unreadable) {
      // The header could be read, and is not one of the log.
      if (this.#holds[slot] !== Holds.unreadable || this.#isKnownBefore(slot)) continue;
      const named = this.#headless.get(slot) ?? null;
      const mayGoOn = isFrameUnreadable || (named !== null && !(named <= lastSegmentSequence));
      const isStart = lastSegmentSequence === 0 && slot === this.#superblock.logStart.slot;
      if (mayGoOn || isStart) throw unreadable(this.#reader.file.path, fileOffset, cause);
    }
  }

  /** Whether the checkpoint says that the slot holds something that no replay needs. */
  #isKnownBefore(slot: number): boolean {
    const segments = this.#segments;
    if (!segments.has(slot)) return false;
    const { segmentSequence } = this.#superblock.logStart;
    return segments.kindOf(slot) === SegmentKind.index || segments.sequenceOf(slot) < segmentSequence;
  }

  /** The most likely successor of a segment, before the end of that segment is known. */
  likelySuccessor(segmentSequence: number): FoundSegment | undefined {
    return this.#successors.get(segmentSequence)?.[0];
  }

  /** The segment that continues the log from this link. Called for every frame. */
  successorOf(link: ChainLink): FoundSegment | undefined {
    const segments = this.#successors.get(link.segmentSequence);
    if (segments === undefined) return undefined;
    for (const segment of segments) if (sameLink(segment.predecessor, link)) return segment;
    return undefined;
  }

  /** Places after the end of the log whose frames may prove that data was flushed (TAIL-1). */
  *placesToProve(lastSegmentSequence: number): Generator<ProofPlace> {
    const lengthBytes = this.#superblock.geometry.segmentBytes;
    for (const segments of this.#successors.values()) {
      for (const { slot, sequence } of segments) if (sequence > lastSegmentSequence) yield { slot, lengthBytes };
    }
    for (const [slot, named] of this.#headless) if (named !== null) yield { slot, lengthBytes };
    if (this.#partial !== null) yield this.#partial;
  }

  /**
   * SCAN-2, SCAN-3. Slots that must not be reused: they may hold records of the index, or cannot be read.
   *
   * @param hasTable whether a segment table names all slots with records from before the start
   */
  *slotsToSpare(hasTable: boolean): Generator<number> {
    const { segmentSequence } = this.#superblock.logStart;
    yield* this.#unreadable.keys();
    if (hasTable) return;
    for (const [slot, named] of this.#headless) {
      if (this.#unreadable.has(slot)) continue;
      if (named === null ? this.#holds[slot] !== Holds.zeros : !(named >= segmentSequence)) yield slot;
    }
  }

  #noteUnreadable(slot: number, offset: number, cause: Error): void {
    const known = this.#unreadable.get(slot);
    const isFrameUnreadable = offset > 0;
    if (known !== undefined) known.isFrameUnreadable ||= isFrameUnreadable;
    else {
      const fileOffset = Slots.offsetOf(this.#superblock.geometry, slot) + offset;
      this.#unreadable.set(slot, { fileOffset, cause, isFrameUnreadable });
    }
    // In both cases it is known already what the slot holds.
    if (isFrameUnreadable || this.#holds[slot] === Holds.otherSegment) return;
    this.#holds[slot] = Holds.unreadable;
    if (!this.#headless.has(slot)) this.#headless.set(slot, null);
  }

  #noteHeader(slot: number, block: AlignedBuffer): void {
    const { uuid, logStart } = this.#superblock;
    const header = readSegmentHeader(block);
    if (header !== null && (header.slot !== slot || Buffer.compare(header.uuid, uuid) !== 0)) {
      throw this.#displaced(slot);
    }
    if (header?.kind !== SegmentKind.log) {
      const bytes = headerOf(block);
      this.#sums[slot] = xxh32(bytes);
      if (header !== null) this.#holds[slot] = Holds.otherSegment;
      else {
        this.#holds[slot] = bytes.some((byte) => byte !== 0) ? Holds.noHeader : Holds.zeros;
        this.#headless.set(slot, null);
      }
      return;
    }
    const { sequence, predecessor } = header;
    this.#holds[slot] = Holds.logSegment;
    this.#highestSequence = Math.max(this.#highestSequence, sequence);
    if (sequence < logStart.segmentSequence) {
      this.#before.push({ slot, segmentSequence: sequence });
      return;
    }
    const found = { slot, sequence, predecessor, hash: segmentHash(block) };
    this.#countFromStart++;
    if (slot === logStart.slot && sequence === logStart.segmentSequence) this.#start = found;
    const others = this.#successors.get(predecessor.segmentSequence);
    if (others === undefined) this.#successors.set(predecessor.segmentSequence, [found]);
    else others.push(found);
  }

  /** Reads the headers of all slots, except those that are known to hold a segment of the log. */
  async #readHeaders(slotCount: number, visit: Visit): Promise<void> {
    const slots = function* (holds: Uint8Array): Generator<number> {
      for (let slot = 0; slot < slotCount; slot++) if (holds[slot] !== Holds.logSegment) yield slot;
    };
    await this.#readOfEach(slots(this.#holds), 0, SEGMENT_HEADER_BYTES, visit);
  }

  /** SCAN-2. Reads the first frames of the slots without a header. */
  async #lookBehindHeaders(): Promise<void> {
    const { writeAlignment } = this.#superblock.geometry;
    await this.#readOfEach(this.#headless.keys(), writeAlignment, FRAME_HEADER_BYTES, (slot, block, cause) => {
      if (cause === null) this.#headless.set(slot, segmentNamedBy(block));
      else this.#noteUnreadable(slot, writeAlignment, cause);
    });
  }

  /** Reads `leastBytes` bytes or more at `offset` of each of these slots, many reads at a time, in any order. */
  async #readOfEach(slots: Iterable<number>, offset: number, leastBytes: number, visit: Visit): Promise<void> {
    const { queue, file } = this.#reader;
    const { geometry } = this.#superblock;
    const lengthBytes = alignUp(leastBytes, file.alignment.offset);
    const next = slots[Symbol.iterator]();
    let hasFailed = false;
    const reader = async (): Promise<void> => {
      let block: AlignedBuffer | null = null;
      for (let step = next.next(); step.done !== true && !hasFailed; step = next.next()) {
        // Of a store with fewer slots than there are readers, most readers need none.
        block ??= allocateAligned(lengthBytes);
        try {
          const range = { offset: Slots.offsetOf(geometry, step.value) + offset, bufferOffset: 0, length: lengthBytes };
          visit(step.value, block, await readOrCause(queue, file, block, range));
        } catch (error) {
          hasFailed = true;
          throw error;
        }
      }
    };
    const results = await Promise.allSettled(Array.from({ length: READS_AT_ONCE }, reader));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /**
   * SCAN-2. A partial slot at the end of the file is left from a failed growth or a power cut and holds nothing, or the
   * file was cut off. Throws ERR_AIOKV_CORRUPT in the second case.
   */
  async #requireUncut(slotCount: number, fileBytes: number, scratch: AlignedBuffer): Promise<void> {
    const { geometry, logStart } = this.#superblock;
    const offset = Slots.offsetOf(geometry, slotCount);
    const lengthBytes = alignDown(Math.max(0, fileBytes - offset), this.#reader.file.alignment.offset);
    if (lengthBytes < SEGMENT_HEADER_BYTES) return;
    this.#partial = { slot: slotCount, lengthBytes };
    const loaded = await this.#reader.read(slotCount, scratch, lengthBytes);
    loaded.requireReadable(0, SEGMENT_HEADER_BYTES);
    const header = readSegmentHeader(scratch);
    if (header?.kind === SegmentKind.log && header.sequence < logStart.segmentSequence) {
      throw corrupt(`${this.#reader.file.path} was cut off inside a segment`);
    }
  }

  /** SCAN-2. Records of the same keys in such a segment could be mistaken for those that belong there. */
  #displaced(slot: number): AiokvError {
    return corrupt(`slot ${slot} of ${this.#reader.file.path} holds a segment of another slot or another store`);
  }
}

export function sameLink(a: ChainLink, b: ChainLink): boolean {
  return a.segmentSequence === b.segmentSequence && a.frameNumber === b.frameNumber && a.hash === b.hash;
}

/**
 * If several segments continue the same link, only the newest counts. Its writer did not see the others, which are
 * abandoned.
 */
function newestFirst(a: FoundSegment, b: FoundSegment): number {
  return b.sequence - a.sequence || a.slot - b.slot;
}

function headerOf(block: AlignedBuffer): Uint8Array {
  return block.bytes.subarray(0, SEGMENT_HEADER_BYTES);
}
