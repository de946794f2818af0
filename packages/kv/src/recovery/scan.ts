/**
 * Looks at the headers of all slots: which hold segments of the log, which may hold one although their header is harmed.
 *
 * ```
 *   slot │ header of the log, from before the start │   used; of no interest to the replay
 *        │ header of the log, from the start on     │   by the segment before it: what the chain is looked up in
 *        │ any other header of this store           │   an index segment, or free: its root knows
 *        │ none, zeros or harmed                    │   the first frame behind it says which segment this may be
 * ```
 *
 * SCAN-1. A read that went wrong looks like a free slot. So slots that seem to hold nothing are read twice; two answers
 *     that differ are an error.
 * SCAN-2. A slot whose header is harmed may be a segment all the same: its frames count as proof (TAIL-1), and it is not
 *     written over when they may be records from before the start. A segment that belongs elsewhere is never free space.
 *
 * SCAN-3. What cannot be read, in two attempts, is taken for what has a wrong checksum where that would be survived: the
 *     header of a slot that is not needed, what stands behind the end of the log, a proof that is missing. Such a slot is
 *     not used before the next opening. It is an error, with the byte, where it may hold what was acknowledged: a frame
 *     that would be the next of the log (replay.ts), and a slot without a readable header whose first frame says that it
 *     goes on behind the end of the log, or cannot be read either. A segment and its first frame come to the device in
 *     one write, so where no frame stands behind the header nothing of the log was acknowledged.
 *
 * It does not read what stands behind the headers, but for the first frame of a slot without one. A store may have
 * hundreds of thousands of slots: a slot costs a few bytes of memory here and one or two reads, an object only where a
 * replay may need it.
 */
import { alignDown, alignUp, xxh32 } from '@aiokv/core';
import type { AiokvError } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { corrupt, twoAnswers, unreadable } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, segmentNamedBy } from '../format/frame.ts';
import { SEGMENT_HEADER_BYTES, SegmentKind, readSegmentHeader, segmentHash } from '../format/segment.ts';
import type { ChainLink } from '../format/segment.ts';
import type { Superblock } from '../format/superblock.ts';
import { readOrCause } from './segment-reader.ts';
import type { SegmentReader } from './segment-reader.ts';

/** A segment of the log from the start of the replay on. */
export interface FoundSegment {
  readonly slot: number;
  readonly sequence: number;
  readonly predecessor: ChainLink;
  readonly hash: bigint;
}

/** A slot, or its beginning, in which frames may stand that prove something. */
export interface ProofPlace {
  readonly slot: number;
  readonly lengthBytes: number;
}

/** Why a slot cannot be read, and where. */
interface Unreadable {
  readonly fileOffset: number;
  readonly cause: Error;
  /** Whether the first frame cannot be read, or not either. */
  isFrameUnreadable: boolean;
}

const READS_AT_ONCE = 64;

/** Told what stands there, or why that cannot be read. */
type Visit = (slot: number, block: AlignedBuffer, cause: Error | null) => void;

/** What the header of a slot says. */
const Holds = { nothingYet: 0, logSegment: 1, otherSegment: 2, zeros: 3, noHeader: 4, unreadable: 5 } as const;

export class SlotScan {
  readonly #reader: SegmentReader;
  readonly #superblock: Superblock;
  readonly #indexSlots: ReadonlySet<number>;
  /** `Holds`, by slot. */
  #holds = new Uint8Array(0);
  /** SCAN-1. XXH32 of what was read of headers that are not of the log, by slot. */
  #sums = new Uint32Array(0);
  /** Slots without a header, each with the segment that its first frame names, or null. */
  readonly #headless = new Map<number, number | null>();
  /** SCAN-3. Slots of which the header, or the first frame in place of one, cannot be read, each with the first cause. */
  readonly #unreadable = new Map<number, Unreadable>();
  /** Slots of log segments from before the start. */
  readonly #before: number[] = [];
  /** Log segments from the start on, by the sequence of the segment that each continues. */
  readonly #successors = new Map<number, FoundSegment[]>();
  #start: FoundSegment | null = null;
  #countFromStart = 0;
  #highestSequence = 0;
  /** What the file has of a slot at its end. */
  #partial: ProofPlace | null = null;

  /** @param indexSlots slots that the checkpoint needs: nobody needs their headers */
  constructor(reader: SegmentReader, superblock: Superblock, indexSlots: ReadonlySet<number>) {
    this.#reader = reader;
    this.#superblock = superblock;
    this.#indexSlots = indexSlots;
  }

  get slotCount(): number {
    return this.#holds.length;
  }

  /** Log segments from the start on. */
  get countFromStart(): number {
    return this.#countFromStart;
  }

  /** A sequence that no segment of the log has. */
  get unusedSequence(): number {
    // SCAN-3. Those that cannot be read today have sequences near these, and may be read at the next opening.
    return this.#highestSequence + 1 + (this.#unreadable.size === 0 ? 0 : this.slotCount);
  }

  /** The segment that the superblock names, if it is there. */
  get start(): FoundSegment | null {
    return this.#start;
  }

  /** Slots of log segments from before the start: not replayed, but they hold records all the same. */
  get slotsBeforeStart(): readonly number[] {
    return this.#before;
  }

  /**
   * Looks at all slots.
   *
   * @param scratch a whole segment of memory
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
    // In the order of the slots, whatever the order in which the reads were done.
    for (const segments of this.#successors.values()) segments.sort(newestFirst);
    await this.#lookBehindHeaders();
  }

  /** SCAN-1. */
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
   * SCAN-3. Makes sure that no slot that cannot be read may be a segment behind the end of the log.
   *
   * @param lastSegmentSequence of the log as far as it is there, 0 when nothing of it is
   * @throws AiokvError ERR_AIOKV_IO
   */
  requireNoHiddenSegment(lastSegmentSequence: number): void {
    for (const [slot, { fileOffset, cause, isFrameUnreadable }] of this.#unreadable) {
      // The header could be read, and was none.
      if (this.#holds[slot] !== Holds.unreadable || this.#indexSlots.has(slot)) continue;
      const named = this.#headless.get(slot) ?? null;
      const mayGoOn = isFrameUnreadable || (named !== null && !(named <= lastSegmentSequence));
      const isStart = lastSegmentSequence === 0 && slot === this.#superblock.logStart.slot;
      if (mayGoOn || isStart) throw unreadable(this.#reader.file.path, fileOffset, cause);
    }
  }

  /** The segment that most likely continues a segment, before it is known where that one ends. */
  likelySuccessor(segmentSequence: number): FoundSegment | undefined {
    return this.#successors.get(segmentSequence)?.[0];
  }

  /** The segment that continues the log from here; asked for every frame. */
  successorOf(link: ChainLink): FoundSegment | undefined {
    const segments = this.#successors.get(link.segmentSequence);
    if (segments === undefined) return undefined;
    for (const segment of segments) if (sameLink(segment.predecessor, link)) return segment;
    return undefined;
  }

  /** Places behind the end of the log in which frames may stand that prove something. */
  *placesToProve(lastSegmentSequence: number): Generator<ProofPlace> {
    const lengthBytes = this.#superblock.geometry.segmentBytes;
    for (const segments of this.#successors.values()) {
      for (const { slot, sequence } of segments) if (sequence > lastSegmentSequence) yield { slot, lengthBytes };
    }
    for (const [slot, named] of this.#headless) if (named !== null) yield { slot, lengthBytes };
    if (this.#partial !== null) yield this.#partial;
  }

  /** SCAN-2, SCAN-3. Slots that are not to be used: records may lie there that the index leads to, or they cannot be read. */
  *slotsToSpare(): Generator<number> {
    const { segmentSequence } = this.#superblock.logStart;
    yield* this.#unreadable.keys();
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
    // A header that was read once is known to be one.
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
      this.#before.push(slot);
      return;
    }
    const found = { slot, sequence, predecessor, hash: segmentHash(block) };
    this.#countFromStart++;
    if (slot === logStart.slot && sequence === logStart.segmentSequence) this.#start = found;
    const others = this.#successors.get(predecessor.segmentSequence);
    if (others === undefined) this.#successors.set(predecessor.segmentSequence, [found]);
    else others.push(found);
  }

  /** Reads the headers of all slots that are not known to hold a segment of the log. */
  async #readHeaders(slotCount: number, visit: Visit): Promise<void> {
    const slots = function* (holds: Uint8Array): Generator<number> {
      for (let slot = 0; slot < slotCount; slot++) if (holds[slot] !== Holds.logSegment) yield slot;
    };
    await this.#readOfEach(slots(this.#holds), 0, SEGMENT_HEADER_BYTES, visit);
  }

  /** SCAN-2. */
  async #lookBehindHeaders(): Promise<void> {
    const { writeAlignment } = this.#superblock.geometry;
    await this.#readOfEach(this.#headless.keys(), writeAlignment, FRAME_HEADER_BYTES, (slot, block, cause) => {
      if (cause === null) this.#headless.set(slot, segmentNamedBy(block));
      else this.#noteUnreadable(slot, writeAlignment, cause);
    });
  }

  /** Reads a few bytes of each of these slots, many reads at a time, in no order. */
  async #readOfEach(slots: Iterable<number>, offset: number, leastBytes: number, visit: Visit): Promise<void> {
    const { queue, file } = this.#reader;
    const { geometry } = this.#superblock;
    const lengthBytes = alignUp(leastBytes, file.alignment.offset);
    const next = slots[Symbol.iterator]();
    let hasFailed = false;
    const reader = async (): Promise<void> => {
      const block = allocateAligned(lengthBytes);
      for (let step = next.next(); step.done !== true && !hasFailed; step = next.next()) {
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
   * SCAN-2. Part of a slot at the end of the file is what a growth that failed or a power cut has left, and is of no use, or
   * the file was cut off.
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

  /** SCAN-2. Its records would be taken for those that were there, if they are of the same keys. */
  #displaced(slot: number): AiokvError {
    return corrupt(`slot ${slot} of ${this.#reader.file.path} holds a segment of another slot or another store`);
  }
}

export function sameLink(a: ChainLink, b: ChainLink): boolean {
  return a.segmentSequence === b.segmentSequence && a.frameNumber === b.frameNumber && a.hash === b.hash;
}

/** Of segments that continue the same link all but the newest are of an abandoned line: it was written without seeing them. */
function newestFirst(a: FoundSegment, b: FoundSegment): number {
  return b.sequence - a.sequence || a.slot - b.slot;
}

function headerOf(block: AlignedBuffer): Uint8Array {
  return block.bytes.subarray(0, SEGMENT_HEADER_BYTES);
}
