/**
 * How much space the segments of a store should take, and which of them give some back: the victims of a cleaning. Numbers
 * only, from the segment table. It reads and writes nothing.
 *
 * ```
 *   live bytes L       wanted                 ceiling = spaceAmplificationMax x L
 *   ├──────────────────┼──────────────────────┼────────►  bytes of segments
 *                      │ excess: cleaned away │ the file grows slowly for writers (SLOTS-5)
 *
 *   victims: most benefit first, until they free the excess; the fuller the file, the more may live in them
 * ```
 *
 * PLAN-1. The survivors of a run fit below the ceiling, or into a few segments. So fuller victims, which give little for
 *     much that is written, cannot drive the file up.
 * PLAN-2. While a run is under way writers may write what is left below the ceiling, and at least half of what the
 *     victims free: each run leaves less garbage than it has found, and no writer waits for its end.
 * PLAN-3. What is moved for its order takes no room from writers: it stops where cleaning begins.
 * PLAN-4. On a device that is full no more garbage is left than at 1.5, whatever the store may take elsewhere: else writes would
 *     be refused for want of room while most of the file is garbage.
 *
 * The benefit of a victim is that of Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File
 * System" (1992): free space times age, over the cost of reading it and of writing what lives.
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { Checkpointer } from '../checkpoint/checkpointer.ts';
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { Slots, SpaceNeeds } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { CHUNK_BYTES } from '../format/checkpoint.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { BestFirst } from './best-first.ts';

export interface SpacePlanParts {
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly superblocks: SuperblockKeeper;
  readonly checkpointer: Pick<Checkpointer, 'recordBytes' | 'uncoveredBytes' | 'imagesBytes'>;
  readonly index: Pick<KeyIndex, 'newKeysPart'>;
  readonly planted: Planted;
  /** Most bytes of the file over what lives: see `StoreOptions`. */
  readonly spaceAmplificationMax: number;
}

/** Segments should take this part of the way from what lives to the ceiling. */
const WANTED_PART = 0.8;
/** PLAN-4. */
const MOST_ON_FULL = 1.5;
/** A store of so few segments is not cleaned, unless there are no more. */
const FEW_SEGMENTS = 16;
/** What is not merged yet takes more than its records: frames have headers and padding. */
const NEW_BYTES_FACTOR = 1.25;
/** A run frees this part of what is above the wanted size: what is left is worth more in one of the next runs. */
const FREED_PART = 0.6;
/**
 * A run begins when so much was written since the last one: as a part of what lives, and as a multiple of the pages of the
 * index, nearly all of which it may write anew.
 */
const NEW_PART = 0.08;
const PAGES_FACTOR = 3;
/** A run that is larger by so much needs more room: for its survivors, and for what it leaves to the next one. */
const LARGER_FACTOR = 2;
/**
 * So much of the segments of the log do new records take at least; more where small frames are flushed, each of which ends a
 * block. Survivors leave their last segment half empty.
 */
const PADDED_FACTOR = 1.1;
/** PLAN-1. Survivors may always fill so many segments. */
const FEW_GROWN = 4;
/** Of a victim so much may live: less when there is room (from NEAR_PART of the way to the ceiling), more at the ceiling. */
const LIVE_PART = 0.65;
const LIVE_PART_AT_CEILING = 0.75;
/** More where room is asked for: what is moved for its order leaves a little garbage in every segment. */
const LIVE_PART_ASKED = 0.8;
const NEAR_PART = 0.6;
/** Survivors leave at most this part of a chunk empty, and less when they are short. */
const WASTED_PART = 1 / 8;

export class SpacePlan implements SpaceNeeds {
  readonly #parts: SpacePlanParts;
  /** Of the last choice. */
  #writersBytes = Infinity;
  #isCleaning = false;
  /** By so much more the next choice is to free. */
  #askedBytes = 0;
  #lastSurvivorBytes = 0;
  #lastFreedBytes = 0;
  /** Between the last two choices. */
  #paddedFactor = PADDED_FACTOR;
  /** At the last choice: bytes of records, and what of the log they have filled. */
  #recordBytes = 0;
  #filledBytes = 0;

  constructor(parts: SpacePlanParts) {
    this.#parts = parts;
  }

  /**
   * @internal What is not merged yet has room, and takes further room as far as it lives. Pages that a run replaces come on
   * top, and so does the room for runs that are larger for the sake of their pages.
   */
  get ceilingBytes(): number {
    const { checkpointer, index, spaceAmplificationMax } = this.#parts;
    const newBytes = Math.max(checkpointer.uncoveredBytes, this.#usualBytes);
    const addedBytes = index.newKeysPart * checkpointer.uncoveredBytes;
    const forNewBytes = NEW_BYTES_FACTOR * newBytes + (spaceAmplificationMax - 1) * addedBytes;
    const forPagesBytes = checkpointer.imagesBytes + LARGER_FACTOR * this.#largerBytes;
    return spaceAmplificationMax * this.#liveBytes + forNewBytes + forPagesBytes;
  }

  /** @internal Whether a run with victims is under way. */
  get isCleaning(): boolean {
    return this.#isCleaning;
  }

  /** PLAN-2. Bytes of the log that may be written while the run of the last choice is under way. */
  get writersBytes(): number {
    return this.#writersBytes;
  }

  /**
   * Whether there is so much garbage that a run should begin after so many new bytes of the log. A load has none.
   */
  isDue(newBytes: number): boolean {
    const { geometry, index, planted } = this.#parts;
    if (newBytes < geometry.segmentBytes) return false;
    if (planted.eagerCleaning === true) return true;
    if (this.#excessBytesWith(index.newKeysPart * newBytes) <= 0) return false;
    if (newBytes >= this.#usualBytes) return true;
    // While there is room to free as much again.
    if (this.#lastFreedBytes === 0) return false;
    const wantedBytes = this.#paddedFactor * newBytes + geometry.segmentBytes / 2;
    return !this.#hasRoomFor((wantedBytes * this.#lastSurvivorBytes) / this.#lastFreedBytes, wantedBytes);
  }

  /**
   * The victims with the most benefit, until they free what is too much. Works in slices.
   *
   * @param sequence that of the run
   * @param roomBytes for survivors, on a full device; null: as much as the ceiling allows
   * @param isLeft whether to leave a segment alone
   */
  async choose(
    sequence: number,
    roomBytes: number | null,
    isLeft: (slot: number) => boolean,
    budget: TurnBudget,
  ): Promise<number[]> {
    const { segments, geometry, superblocks, planted } = this.#parts;
    const { segmentBytes } = geometry;
    const { logStart } = superblocks.current;
    const isEager = planted.eagerCleaning === true;
    this.#measurePadding();
    const askedBytes = this.#askedBytes;
    this.#askedBytes = 0;
    let excessBytes = isEager ? Infinity : this.#excessBytesWith(0) + askedBytes;
    this.#lastFreedBytes = 0;
    this.#writersBytes = Infinity;
    if (excessBytes <= 0) return [];
    const mostLivePart = isEager ? 1 : askedBytes > 0 ? LIVE_PART_ASKED : this.#mostLivePart;
    const candidates = new BestFirst();
    for (let slot = 0; slot < segments.end; slot++) {
      if (budget.isSpent()) await nextTurn();
      if (!segments.has(slot)) continue;
      const kind = segments.kindOf(slot);
      const isLog = kind === SegmentKind.log;
      // CLEAN-1.
      if (kind === SegmentKind.index || (isLog && segments.sequenceOf(slot) >= logStart.segmentSequence)) continue;
      const part = segments.liveBytesOf(slot) / segmentBytes;
      if (part === 0) excessBytes -= segmentBytes;
      if (part === 0 || part > mostLivePart || isLeft(slot)) continue;
      const age = sequence - (isLog ? segments.lastSequenceOf(slot) : segments.sequenceOf(slot));
      // With little room, those that are emptied with the least of it.
      candidates.add(slot, roomBytes === null ? ((1 - part) * (age + 1)) / (1 + part) : -part);
    }
    let survivorBytes = 0;
    let freedBytes = 0;
    const victims: number[] = [];
    for (let slot = candidates.take(); slot >= 0; slot = candidates.take()) {
      if (budget.isSpent()) await nextTurn();
      const liveBytes = segments.liveBytesOf(slot);
      const moreBytes = survivorBytes + this.#packed(liveBytes, segments.liveRecordsOf(slot));
      const moreFreedBytes = freedBytes + segmentBytes - liveBytes;
      if (freedBytes >= FREED_PART * excessBytes) break;
      const fits =
        roomBytes === null
          ? moreBytes <= FEW_GROWN * segmentBytes || this.#hasRoomFor(moreBytes, moreFreedBytes)
          : moreBytes <= roomBytes;
      if (!fits) break;
      survivorBytes = moreBytes;
      freedBytes = moreFreedBytes;
      victims.push(slot);
    }
    // A single victim would make room for nothing but itself.
    if (victims.length <= this.slotsFor(victims) && (!isEager || roomBytes !== null)) return [];
    this.#lastSurvivorBytes = survivorBytes;
    this.#lastFreedBytes = freedBytes;
    this.#writersBytes = Math.max(this.#leastForWriters(freedBytes), this.#roomBytes - survivorBytes);
    this.#isCleaning = true;
    return victims;
  }

  /**
   * PLAN-3. Bytes of records that may be moved for the sake of their order: with them the segments, and those that only older
   * versions need, take what they should. None on a full device.
   */
  get roomForOrderBytes(): number {
    const { slots, geometry } = this.#parts;
    if (slots.isFull) return 0;
    const takenBytes = (slots.count - slots.freeCount) * geometry.segmentBytes;
    return Math.max(0, this.#levelBytes(WANTED_PART) + this.#largerBytes - takenBytes);
  }

  /** There is no cleaning in the run that begins. */
  leaveOut(): void {
    this.#writersBytes = Infinity;
  }

  /** Has the next choice free so much more, if there are victims. */
  askFor(bytes: number): void {
    this.#askedBytes = bytes;
  }

  /** The victims of the last choice are free, if they ever will be. */
  endRun(): void {
    this.#isCleaning = false;
  }

  /** Slots that the survivors of these victims fill, as good as they can be packed. */
  slotsFor(victims: readonly number[]): number {
    const { segments } = this.#parts;
    let liveBytes = 0;
    let records = 0;
    for (const slot of victims) {
      liveBytes += segments.liveBytesOf(slot);
      records += segments.liveRecordsOf(slot);
    }
    return Math.ceil(this.#packed(liveBytes, records) / this.#segmentBytes);
  }

  /** Bytes of survivors for which so many slots have room, with what they leave empty (`#packed`). */
  survivorsIn(slots: number): number {
    return slots * this.#segmentBytes;
  }

  #measurePadding(): void {
    const { checkpointer, segments, geometry } = this.#parts;
    const recordBytes = checkpointer.recordBytes - this.#recordBytes;
    const filledBytes = segments.filledBytesOfKind(SegmentKind.log) - this.#filledBytes;
    // Of a few blocks it says nothing.
    if (recordBytes < geometry.segmentBytes) return;
    this.#paddedFactor = Math.max(PADDED_FACTOR, filledBytes / recordBytes);
    this.#recordBytes += recordBytes;
    this.#filledBytes += filledBytes;
  }

  /** Bytes that survivors take in their segments. */
  #packed(liveBytes: number, records: number): number {
    const longBytes = (2 * liveBytes) / Math.max(1, records);
    return liveBytes / (1 - Math.min(WASTED_PART, longBytes / CHUNK_BYTES));
  }

  /** What fits into a segment. */
  get #segmentBytes(): number {
    const { geometry } = this.#parts;
    return geometry.segmentBytes - geometry.writeAlignment;
  }

  get #liveBytes(): number {
    return this.#liveBytesWith(0);
  }

  /** What lives, with so much that is not merged; or what a store has in which that little lives that it is not cleaned. */
  #liveBytesWith(addedBytes: number): number {
    const { segments, geometry, spaceAmplificationMax } = this.#parts;
    return Math.max(segments.liveBytes + addedBytes, (FEW_SEGMENTS * geometry.segmentBytes) / spaceAmplificationMax);
  }

  /** A run begins when so much of the log is new. */
  get #usualBytes(): number {
    return Math.max(NEW_PART * this.#liveBytes, PAGES_FACTOR * this.#parts.checkpointer.imagesBytes);
  }

  /** By so much a run is larger for the sake of its pages; not on a full device, where all room counts. */
  get #largerBytes(): number {
    return this.#parts.slots.isStuck ? 0 : this.#usualBytes - NEW_PART * this.#liveBytes;
  }

  get #usedBytes(): number {
    return this.#parts.segments.size * this.#parts.geometry.segmentBytes;
  }

  /** The way from what lives to the ceiling, in bytes, up to a part of it. */
  #levelBytes(part: number, addedBytes = 0): number {
    const { slots, segments, spaceAmplificationMax } = this.#parts;
    // PLAN-4. Nor does a store of few segments become larger.
    const most = slots.isStuck ? Math.min(MOST_ON_FULL, spaceAmplificationMax) : spaceAmplificationMax;
    const liveBytes = slots.isStuck ? segments.liveBytes + addedBytes : this.#liveBytesWith(addedBytes);
    return (1 + part * (most - 1)) * liveBytes;
  }

  /** Bytes of segments above what they should take if so much that is not merged yet lives. */
  #excessBytesWith(addedBytes: number): number {
    return this.#usedBytes - this.#levelBytes(WANTED_PART, addedBytes) - this.#largerBytes;
  }

  get #mostLivePart(): number {
    const from = this.#levelBytes(NEAR_PART);
    const nearness = (this.#usedBytes - from) / (this.#levelBytes(1) - from);
    return LIVE_PART + (LIVE_PART_AT_CEILING - LIVE_PART) * Math.max(0, Math.min(1, nearness));
  }

  /** Bytes of slots that survivors and writers may take during a run, below the ceiling. */
  get #roomBytes(): number {
    const { slots, geometry } = this.#parts;
    const freeBytes = Math.max(0, slots.availableFor('put', true)) * geometry.segmentBytes;
    return freeBytes + Math.max(0, this.ceilingBytes - slots.count * geometry.segmentBytes);
  }

  /** PLAN-1, PLAN-2. */
  #hasRoomFor(survivorBytes: number, freedBytes: number): boolean {
    return survivorBytes + this.#leastForWriters(freedBytes) <= this.#roomBytes;
  }

  /** PLAN-2. */
  #leastForWriters(freedBytes: number): number {
    return Math.max(this.#parts.geometry.segmentBytes, freedBytes / 2);
  }
}
