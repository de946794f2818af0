/**
 * Looks at the headers of all slots: which hold segments of the log, which may hold one although their header is harmed.
 *
 * R5. A read that went wrong looks like a free slot. So slots that seem to hold nothing are read twice; two answers
 *     that differ are an error.
 * R6. A slot whose header is harmed may be a segment all the same: its frames count as proof (R3), and it is not
 *     written over when they may be records from before the start. A segment that belongs elsewhere is never free space.
 *
 * It does not read what stands behind the headers, but for the first frame of a slot without one.
 */
import { alignDown, alignUp } from '@aiokv/core';
import type { AiokvError } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { corrupt, requireFull } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import { FRAME_HEADER_BYTES, segmentNamedBy } from '../format/frame.ts';
import { SEGMENT_HEADER_BYTES, SegmentKind, readSegmentHeader, segmentHash } from '../format/segment.ts';
import type { ChainLink, SegmentHeader } from '../format/segment.ts';
import type { Superblock } from '../format/superblock.ts';
import type { SegmentReader } from './segment-reader.ts';

export interface FoundSegment {
  readonly header: SegmentHeader;
  readonly hash: bigint;
}

const HEADERS_AT_ONCE = 64;

export class SlotScan {
  readonly #reader: SegmentReader;
  readonly #superblock: Superblock;
  /** Segments of the log. */
  found: readonly FoundSegment[] = [];
  slotCount = 0;
  /** What was read of the headers of slots that hold no segment of the log. */
  readonly #others = new Map<number, Uint8Array>();
  /** Slots without a header of this store, each with the segment that its first frame names, or null. */
  readonly #headless = new Map<number, number | null>();
  /** What the file has of a slot at its end. */
  #partial: { readonly slot: number; readonly lengthBytes: number } | null = null;

  constructor(reader: SegmentReader, superblock: Superblock) {
    this.#reader = reader;
    this.#superblock = superblock;
  }

  /**
   * Looks at all slots.
   *
   * @param scratch a whole segment of memory
   */
  async run(scratch: AlignedBuffer): Promise<void> {
    const fileBytes = await this.#reader.file.sizeBytes();
    this.slotCount = Slots.slotCountOf(this.#superblock.geometry, fileBytes);
    await this.#requireUncut(this.slotCount, fileBytes, scratch);
    this.found = await this.#readHeaders(Array.from({ length: this.slotCount }, (_, slot) => slot));
    await this.#lookBehindHeaders();
  }

  /** R5. */
  async lookAgain(): Promise<void> {
    await this.#readHeaders([...this.#others.keys()]);
  }

  /** The segment that continues the log from here. */
  successorOf(link: ChainLink): FoundSegment | undefined {
    return this.found.find(({ header }) => sameLink(header.predecessor, link));
  }

  /** Slots behind the end of the log in which frames may stand that prove something. */
  slotsToProve(segmentSequence: number): { readonly slot: number; readonly lengthBytes: number | undefined }[] {
    const later = this.found.filter(({ header }) => header.sequence > segmentSequence).map(({ header }) => header.slot);
    const harmed = [...this.#headless].filter(([, named]) => named !== null).map(([slot]) => slot);
    const whole = [...later, ...harmed].map((slot) => ({ slot, lengthBytes: undefined }));
    return this.#partial === null ? whole : [...whole, this.#partial];
  }

  /** R6. Slots in which records may lie that the index leads to, although their header is harmed. */
  harmedBeforeStart(): number[] {
    const { segmentSequence } = this.#superblock.logStart;
    const isHarmed = (slot: number, named: number | null): boolean =>
      named === null ? this.#others.get(slot)?.some((byte) => byte !== 0) === true : !(named >= segmentSequence);
    return [...this.#headless].filter(([slot, named]) => isHarmed(slot, named)).map(([slot]) => slot);
  }

  async #readHeaders(wanted: readonly number[]): Promise<FoundSegment[]> {
    const { geometry, uuid } = this.#superblock;
    const blockBytes = alignUp(SEGMENT_HEADER_BYTES, this.#reader.file.alignment.offset);
    const blocks = Array.from({ length: Math.min(HEADERS_AT_ONCE, wanted.length) }, () => allocateAligned(blockBytes));
    const found: FoundSegment[] = [];
    for (let first = 0; first < wanted.length; first += HEADERS_AT_ONCE) {
      await Promise.all(
        wanted.slice(first, first + HEADERS_AT_ONCE).map(async (slot, i) => {
          const block = blocks[i] as AlignedBuffer;
          const offset = Slots.offsetOf(geometry, slot);
          requireFull(
            'read',
            await this.#reader.queue.read(this.#reader.file, block, { offset }),
            blockBytes,
            this.#reader.file.path,
          );
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
    const block = allocateAligned(alignUp(FRAME_HEADER_BYTES, this.#reader.file.alignment.offset));
    for (const slot of this.#headless.keys()) {
      const offset = Slots.offsetOf(geometry, slot) + geometry.writeAlignment;
      const result = await this.#reader.queue.read(this.#reader.file, block, { offset });
      requireFull('read', result, block.byteLength, this.#reader.file.path);
      this.#headless.set(slot, segmentNamedBy(block));
    }
  }

  /** R5. */
  #noteOther(slot: number, header: Uint8Array): void {
    const before = this.#others.get(slot);
    if (before === undefined) this.#others.set(slot, header);
    else if (Buffer.compare(before, header) !== 0)
      throw this.#reader.twoAnswers(Slots.offsetOf(this.#superblock.geometry, slot));
  }

  /**
   * R6. Part of a slot at the end of the file is what a growth that failed or a power cut has left, and is of no use, or
   * the file was cut off.
   */
  async #requireUncut(slotCount: number, fileBytes: number, scratch: AlignedBuffer): Promise<void> {
    const { geometry, logStart } = this.#superblock;
    const offset = Slots.offsetOf(geometry, slotCount);
    const lengthBytes = alignDown(Math.max(0, fileBytes - offset), this.#reader.file.alignment.offset);
    if (lengthBytes < SEGMENT_HEADER_BYTES) return;
    this.#partial = { slot: slotCount, lengthBytes };
    await this.#reader.read(slotCount, scratch, lengthBytes);
    const header = readSegmentHeader(scratch);
    if (header?.kind === SegmentKind.log && header.sequence < logStart.segmentSequence) {
      throw corrupt(`${this.#reader.file.path} was cut off inside a segment`);
    }
  }

  /** R6. Its records would be taken for those that were there, if they are of the same keys. */
  #displaced(slot: number): AiokvError {
    return corrupt(`slot ${slot} of ${this.#reader.file.path} holds a segment of another slot or another store`);
  }
}

export function sameLink(a: ChainLink, b: ChainLink): boolean {
  return a.segmentSequence === b.segmentSequence && a.frameNumber === b.frameNumber && a.hash === b.hash;
}
