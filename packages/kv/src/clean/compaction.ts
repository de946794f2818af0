/**
 * Puts all records into the order of their keys, and what lives into as little space as it takes: what `compact` does. It
 * is a series of steps, one in each run of the maintenance, so that everything that a run keeps holds for it, too, and a
 * compaction may end after any of them.
 *
 * ```
 *   begin ──► survey, sort, sort, … ──► order, order, … ──► settle, … ──► done
 *    │            │                        │                  └─ what lies behind the end of the file-to-be moves
 *    │            │                        └─ a range of keys from all segments, into segments in key order
 *    │            └─ some scattered segments, into segments that are sorted
 *    └─ everything written before is merged, and lies before the start of the log
 * ```
 *
 * This is an external merge sort. Sorted segments are its runs. Of these a range of keys takes neighbouring records only,
 * so that they die from front to back, and their slots come back as the second pass goes on. Of segments that are not
 * sorted, a range takes a few records each: none of them would die before the last range is done, and the file would be
 * twice as large. Index entries are the merge: a walk over them meets the records of all runs in order.
 *
 * COMPACT-1. A step moves as many records as the file may grow by, or as free slots take. What dies comes back when the
 *     run has ended. A step that sorts writes nearly all leaves of the index, whatever it moves, so that a small file may
 *     grow by more than its part: by what a store has that is too small to be cleaned.
 * COMPACT-3. Fragments of long values move in the second pass, with their keys. Those stay where they are that nearly fill
 *     what is used of their segment.
 * COMPACT-4. Leaves of the index are filled by the run that surveys. Those behind it have fewer of them to write.
 * COMPACT-2. Records that were written after the beginning stay where they are, unless a range meets them.
 */
import { TurnBudget } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import type { Planted } from '../failure/planted.ts';
import { SegmentWriter } from '../checkpoint/segment-writer.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { Slots } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LogWriter } from '../log/writer.ts';
import { findDisorder } from './disorder.ts';
import { KeyOrderMover } from './key-order-mover.ts';
import type { Moved, Wanted } from './key-order-mover.ts';

export interface CompactionParts {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly epoch: number;
  readonly superblocks: SuperblockKeeper;
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly clock: Clock;
  readonly planted: Planted;
  /** Copies of records take so much memory, in bytes. */
  readonly survivorBytes: number;
}

type Phase = 'begin' | 'survey' | 'sort' | 'order' | 'settle' | 'last' | 'done';

/** COMPACT-1. The file grows by at most this part in one step, or by so many segments. */
const GROWN_PART = 1 / 16;
const FEW_GROWN = 2;
/** ... and by so many, if they are needed, for records that are not sorted. */
const SORT_GROWN = 16;
/** Of free slots, this part is filled by records; the rest is what chunks leave. */
export const FILLED_PART = 7 / 8;
/** A segment is sorted if its records are further apart than this part of all, ... */
const SPREAD_PART = 1 / 16;
/** ... and than so many segments. */
const SPREAD_SEGMENTS = 4;
/** What is left of a segment at the end of a step is filled up if it is more than this part. */
export const LEFT_PART = 1 / 32;
const FILL_UPS = 2;
/** Steps that move records from the end of the file: some may stay there, such as damaged ones. */
const SETTLINGS = 16;
/** COMPACT-3. Fragments fill a segment if they take this part of what is in it, ... */
const FULL_PART = 7 / 8;
/** ... and if that is this part of the segment: the next fragment may not have found room. */
const USED_PART = 1 / 2;
const NOTHING: Pick<Moved, 'bytes' | 'noRoom'> = { bytes: 0, noRoom: null };
const ALL: Omit<Wanted, 'isLongWanted'> = {
  from: null,
  to: null,
  slots: null,
  mostBytes: Infinity,
  mostMetBytes: Infinity,
  mayExceed: true,
  stays: 'batch',
};

export class Compaction {
  readonly #parts: CompactionParts;
  readonly #budget: TurnBudget;
  readonly #mover: KeyOrderMover;
  #phase: Phase = 'begin';
  /** Scattered segments that are still to be sorted, as slot and segment sequence. */
  #scattered: { readonly slot: number; readonly sequence: number }[] = [];
  /** COMPACT-3. Slots of segments that fragments fill, with the segment sequence. */
  readonly #full = new Map<number, number>();
  /** Log segments from this one on were written after the beginning. */
  #newSequence = 0;
  /** Where the next range begins. */
  #next: Uint8Array | null = null;
  /** The ranges have come to the end of the index. */
  #isOrdered = false;
  #settlings = SETTLINGS;
  /** COMPACT-4. */
  #arePacked = false;
  #isCleaning = false;
  /** Free slots when there was no room for a step. */
  #freeBefore = -1;
  #isAborted = false;
  /** Whether the last step has moved anything, or has come further. */
  #hasMoved = true;
  /** Why it found no more room. */
  #noRoom: unknown = null;
  #doneBytes = 0;
  #totalBytes = 0;

  constructor(parts: CompactionParts) {
    this.#parts = parts;
    this.#budget = TurnBudget.ofBackground(parts.clock);
    this.#mover = new KeyOrderMover({ ...parts, budget: this.#budget });
  }

  get isDone(): boolean {
    return this.#phase === 'done';
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** Bytes of records that were moved or left in place for good. */
  get doneBytes(): number {
    return this.isDone ? this.#totalBytes : Math.min(this.#doneBytes, this.#totalBytes);
  }

  /** What `doneBytes` will be in the end; 0 until that is known. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Whether the next run cleans instead, to make room: there was none for a step. */
  get isCleaning(): boolean {
    return this.#isCleaning;
  }

  /** COMPACT-4. Whether the run under way should fill the leaves of the index. */
  get isPacking(): boolean {
    return !this.#arePacked && !this.#isCleaning && this.#phase !== 'begin';
  }

  /** Whether it should leave the index in as few segments as it takes. */
  get isTidying(): boolean {
    return this.#phase === 'settle' || this.#phase === 'last';
  }

  /** Why the last step could not go on: there is no space. Null if it could. */
  get failure(): unknown {
    return this.#hasMoved || this.#isCleaning ? null : this.#noRoom;
  }

  /** Has the step under way end soon. What it has moved so far is moved. */
  abort(): void {
    this.#isAborted = true;
  }

  /**
   * Does one step, between the freezing and the merge of a run.
   *
   * @param sequence that of the run
   * @param isStopped asked between two parts of the work: whether to give up
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read; ERR_AIOKV_LATCHED if a write failed
   */
  async run(sequence: number, isStopped: () => boolean): Promise<void> {
    const isOver = (): boolean => isStopped() || this.#isAborted;
    this.#hasMoved = true;
    this.#noRoom = null;
    if (this.#phase === 'survey') await this.#survey(isOver);
    if (isOver()) return;
    if (this.#phase === 'sort') await this.#sort(sequence, isOver);
    else if (this.#phase === 'order') await this.#order(sequence, isOver);
    else if (this.#phase === 'settle') await this.#settle(sequence, isOver);
  }

  /** The checkpoint of the step is durable. */
  stepEnded(): void {
    if (this.#isAborted) return;
    const { freeCount } = this.#parts.slots;
    this.#arePacked ||= this.isPacking;
    if (this.#isCleaning) this.#isCleaning = false;
    else if (this.failure !== null && freeCount > this.#freeBefore) {
      this.#freeBefore = freeCount;
      this.#isCleaning = true;
    }
    if (this.#phase === 'begin') this.#phase = 'survey';
    else if (this.#phase === 'sort' && this.#scattered.length === 0) this.#phase = 'order';
    else if (this.#phase === 'order' && this.#isOrdered) this.#phase = 'settle';
    else if (this.#phase === 'last') this.#phase = 'done';
  }

  /**
   * COMPACT-1. Makes room for records, and returns for how many bytes of them.
   *
   * @param most slots, even if more are free
   * @param wanted slots
   */
  async #makeRoom(most = Infinity, wanted = this.#fewSlots): Promise<number> {
    const { slots, geometry } = this.#parts;
    try {
      await slots.prepare(wanted, 'compact');
    } catch (error) {
      // With less room less is moved.
      this.#noRoom = error;
    }
    return FILLED_PART * geometry.segmentBytes * Math.max(0, Math.min(most, slots.availableFor('compact')));
  }

  /** COMPACT-1. By so many slots the file may grow in one step. */
  get #fewSlots(): number {
    return Math.max(FEW_GROWN, Math.floor(this.#parts.slots.count * GROWN_PART));
  }

  async #survey(isOver: () => boolean): Promise<void> {
    const { index, segments, geometry, survivorBytes } = this.#parts;
    const limits = { spreadPart: SPREAD_PART, spreadLeast: SPREAD_SEGMENTS * geometry.segmentBytes };
    const { bytes, scattered, recordBytes } = await findDisorder(index, segments, this.#budget, limits, isOver);
    if (isOver()) return;
    for (const [slot, inRecords] of recordBytes.entries()) {
      if (!segments.has(slot) || segments.kindOf(slot) === SegmentKind.index) continue;
      const usedBytes = segments.usedBytesOf(slot);
      const isShort = usedBytes < USED_PART * geometry.segmentBytes;
      if (isShort || segments.liveBytesOf(slot) - inRecords < FULL_PART * usedBytes) continue;
      this.#full.set(slot, segments.sequenceOf(slot));
    }
    this.#newSequence = this.#parts.superblocks.current.logStart.segmentSequence;
    // What one step can order at once need not be sorted first.
    const isFew = bytes <= Math.min(survivorBytes, await this.#makeRoom());
    const slots = isFew ? [] : scattered.filter((slot) => segments.kindOf(slot) !== SegmentKind.index);
    this.#scattered = slots.map((slot) => ({ slot, sequence: segments.sequenceOf(slot) }));
    this.#totalBytes = slots.reduce((sum, slot) => sum + segments.liveBytesOf(slot), bytes);
    this.#phase = slots.length === 0 ? 'order' : 'sort';
  }

  /** Sorts as many scattered segments as the step may. */
  async #sort(sequence: number, isOver: () => boolean): Promise<void> {
    const { segments, survivorBytes, index, geometry } = this.#parts;
    const writer = this.#writer(sequence);
    const scatteredBytes = this.#scattered.reduce((sum, { slot }) => sum + segments.liveBytesOf(slot), 0);
    const neededSlots = Math.ceil(scatteredBytes / (FILLED_PART * geometry.segmentBytes));
    const wantedSlots = Math.max(this.#fewSlots, Math.min(SORT_GROWN, neededSlots));
    let leftBytes = await this.#makeRoom(Infinity, wantedSlots);
    let at = 0;
    let movedBytes = 0;
    while (at < this.#scattered.length && leftBytes > 0 && index.hasRoomForMoved && !isOver()) {
      const wanted = new Uint8Array(segments.end);
      let batchBytes = 0;
      const first = at;
      for (; at < this.#scattered.length; at++) {
        const { slot, sequence: segment } = this.#scattered[at] as { slot: number; sequence: number };
        if (!segments.has(slot) || segments.sequenceOf(slot) !== segment) continue;
        const liveBytes = segments.liveBytesOf(slot);
        if (batchBytes > 0 && batchBytes + liveBytes > Math.min(survivorBytes, leftBytes)) break;
        wanted[slot] = 1;
        batchBytes += liveBytes;
      }
      const batch = { ...ALL, slots: wanted, isLongWanted: null };
      const outcome = await this.#move(batch, writer, isOver);
      if (isOver()) return;
      movedBytes += outcome.bytes;
      if (outcome.noRoom !== null) {
        this.#noRoom = outcome.noRoom;
        at = first;
        break;
      }
      leftBytes -= batchBytes;
      this.#doneBytes += batchBytes;
    }
    this.#scattered.splice(0, at);
    this.#hasMoved = at > 0 || movedBytes > 0;
  }

  /** Moves ranges of keys until the step has moved enough, and fills its last segment. */
  async #order(sequence: number, isOver: () => boolean): Promise<void> {
    const { survivorBytes, geometry, index } = this.#parts;
    const writer = this.#writer(sequence);
    // Small steps: what comes back after one takes the next but one, so that little has to settle in the end.
    let leftBytes = await this.#makeRoom(this.#fewSlots);
    let fillUps = FILL_UPS;
    let hasMoved = false;
    this.#hasMoved = false;
    while (!isOver()) {
      const isFull = leftBytes <= (hasMoved ? geometry.segmentBytes / 2 : 0) || !index.hasRoomForMoved;
      const isFilled = writer.leftBytes <= LEFT_PART * geometry.segmentBytes || fillUps === 0;
      if (isFull && (isFilled || !hasMoved)) return;
      if (isFull) fillUps--;
      const mostBytes = isFull ? writer.leftBytes : Math.min(survivorBytes, leftBytes);
      const isLongWanted = (slot: number): boolean => !this.#isFull(slot);
      const range = { ...ALL, from: this.#next, isLongWanted, mostBytes, mayExceed: !isFull };
      const outcome = await this.#move(range, writer, isOver);
      if (isOver()) return;
      hasMoved ||= outcome.bytes > 0;
      this.#hasMoved = hasMoved;
      if (outcome.noRoom !== null) {
        // The next step meets what this range has moved in order.
        this.#noRoom = outcome.noRoom;
        return;
      }
      leftBytes -= outcome.bytes;
      this.#doneBytes += outcome.metBytes;
      this.#next = outcome.next;
      this.#hasMoved = true;
      if (outcome.next !== null) continue;
      this.#isOrdered = true;
      return;
    }
  }

  /** COMPACT-3. */
  #isFull(slot: number): boolean {
    return this.#full.get(slot) === this.#parts.segments.sequenceOf(slot);
  }

  /** Whether what lives in the slot may be moved towards the front of the file. */
  #isMovable(slot: number): boolean {
    const { segments } = this.#parts;
    if (!segments.has(slot)) return false;
    const kind = segments.kindOf(slot);
    // CLEAN-1, COMPACT-2.
    return kind === SegmentKind.cleaned || (kind === SegmentKind.log && segments.sequenceOf(slot) < this.#newSequence);
  }

  /** Moves the records of segments that lie behind the place where the file could end. */
  async #settle(sequence: number, isOver: () => boolean): Promise<void> {
    const { segments, survivorBytes, log } = this.#parts;
    const mostBytes = Math.min(survivorBytes, await this.#makeRoom());
    const wanted = new Uint8Array(segments.end);
    let wantedBytes = 0;
    let isAll = true;
    // The last ones first: they are what the file cannot be cut off at.
    for (let slot = segments.end - 1; slot >= segments.size; slot--) {
      if (!this.#isMovable(slot)) continue;
      const liveBytes = segments.liveBytesOf(slot);
      isAll = wantedBytes + liveBytes <= mostBytes;
      if (!isAll) break;
      wanted[slot] = 1;
      wantedBytes += liveBytes;
    }
    const isLongWanted = (slot: number): boolean => wanted[slot] === 1;
    const batch = { ...ALL, slots: wanted, isLongWanted };
    const { noRoom, bytes } = wantedBytes === 0 ? NOTHING : await this.#move(batch, this.#writer(sequence), isOver);
    const isEnough = isAll || noRoom !== null || bytes === 0 || --this.#settlings === 0;
    if (!isEnough || isOver()) return;
    // Or the file could not be cut off behind it before the segment is full.
    log.leaveSegmentFrom(segments.size);
    this.#phase = 'last';
  }

  #move(batch: Wanted, writer: SegmentWriter, isOver: () => boolean): Promise<Moved> {
    return this.#mover.move(batch, writer, isOver);
  }

  #writer(sequence: number): SegmentWriter {
    const { uuid } = this.#parts.superblocks.current;
    return new SegmentWriter({ ...this.#parts, uuid, sequence, kind: SegmentKind.cleaned, use: 'compact' });
  }
}
