/**
 * Order on demand: moves records into the order of their keys where scans find them scattered, without being told to. It
 * is one kind of step of a run of the maintenance, in the place of a cleaning.
 *
 * ```
 *   a scan: 50 records, 50 reads ──► meet ─┬─► scattered-ranges.ts: where
 *                                          └─► budget: a part of what the reads have cost in vain
 *                                                 │ is due: enough for a segment
 *                                                 ▼
 *   run:   memtable frozen ─► room? ─ yes ─► key-order-mover.ts, over the heaviest ranges ─► merge ─► commit
 *                               └─ no ──► cleaner.ts: the old places of what was moved are garbage
 * ```
 *
 * DEMAND-1. It reads and writes no more than half of what scans have read in vain since the opening, but for what one step is
 *     wrong about its cost. A cleaning that it asks for is paid in advance. So a load without scans pays nothing, and neither does
 *     one whose scans meet their records in order.
 * DEMAND-2. What it moves has room below the size at which garbage is cleaned away, with what older versions hold. It takes
 *     nothing from writers, and nothing on a device that is full.
 * DEMAND-3. What lies in order stays where it is (ORDER-3): records are moved again only when they are scattered anew.
 * DEMAND-4. It gives up at once when a writer waits for room, and when the store is closed. What it has moved by then is moved.
 *
 * Long values stay where they are: a read of one fragment is long enough.
 */
import { TurnBudget } from '@aiokv/core';
import { SegmentWriter } from '../checkpoint/segment-writer.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import { GAP_BYTES } from '../file/span-reader.ts';
import { compareKeys } from '../format/keys.ts';
import { SegmentKind } from '../format/segment.ts';
import { FILLED_PART, LEFT_PART } from './compaction.ts';
import type { CompactionParts } from './compaction.ts';
import { KeyOrderMover } from './key-order-mover.ts';
import { ScatteredRanges } from './scattered-ranges.ts';
import type { SpacePlan } from './space-plan.ts';

export interface ScanOrderParts extends CompactionParts {
  readonly gate: FailureGate;
  readonly plan: Pick<SpacePlan, 'roomForOrderBytes' | 'askFor' | 'leaveOut'>;
  /** False: nothing is moved. */
  readonly isOn: boolean;
}

/** Records next to one another that a scan has read together. */
export interface Scan {
  /** Bytes of the records that were read from the device. */
  readonly recordBytes: number;
  /** What it has cost to read them (`SpanReader.read`). */
  readonly costBytes: number;
  /** The first and the last key, in either order. @returns memory of its own */
  endKeys(): readonly [Uint8Array, Uint8Array];
}

/** See `StoreStatistics`. */
export interface OrderStatistics {
  /** Ranges of keys in which records were moved, ... */
  readonly ranges: number;
  /** ... these records, ... */
  readonly records: number;
  /** ... and their bytes. */
  readonly bytes: number;
}

/** A scan that begins somewhere costs two reads even where all lies in order: one may end at the end of a segment. */
const FREE_BYTES = 2 * GAP_BYTES;
/** DEMAND-1. */
const SHARE = 1 / 2;
/** What one byte that is moved costs at first, and so many bytes more for its writing: here, and in a cleaning. */
const FIRST_COST_PART = 16;
const WRITES = 2;
/** Where nearly all lies in order already it may be any number. */
const MOST_COST_PART = 256;
/** To walk over records that stay where they are costs this part of their bytes. */
const MET_PART = 1 / 16;
/** A step moves so many segments at most, ... */
const STEP_SEGMENTS = 4;
/** ... and walks over so many. */
const MET_SEGMENTS = 64;
/** A step leaves this part of the file free. */
const FREE_PART = 1 / 16;
/** The budget holds so many steps at most: what is left over in a busy hour is no debt. */
const MOST_STEPS = 8;
/** A cleaning is asked to free so many segments. It reads some three victims for each, and writes what lives in them. */
const ASKED_SEGMENTS = 8;
const ASKED_COST_PART = 4;

export class ScanOrder {
  readonly #parts: ScanOrderParts;
  readonly #budget: TurnBudget;
  readonly #ranges = new ScatteredRanges();
  /** DEMAND-1. In bytes. */
  #leftBytes = 0;
  /** What one byte that is moved costs. */
  #costPart = FIRST_COST_PART;
  #isEnded = false;
  #movedRanges = 0;
  #movedRecords = 0;
  #movedBytes = 0;

  constructor(parts: ScanOrderParts) {
    this.#parts = parts;
    this.#budget = TurnBudget.ofBackground(parts.clock);
  }

  get statistics(): OrderStatistics {
    return { ranges: this.#movedRanges, records: this.#movedRecords, bytes: this.#movedBytes };
  }

  /** Notes what a scan has met. Returns whether that was scattered. */
  meet(scan: Scan): boolean {
    const { isOn, planted, geometry } = this.#parts;
    const { recordBytes, costBytes } = scan;
    const vainBytes = costBytes - recordBytes - FREE_BYTES;
    const isScattered = vainBytes > recordBytes || (planted.eagerOrder === true && recordBytes > 0);
    if (!isOn || this.#isEnded || !isScattered) return false;
    const [one, other] = scan.endKeys();
    const isForward = compareKeys(one, one.length, other, other.length) <= 0;
    this.#ranges.add({ from: isForward ? one : other, to: isForward ? other : one, weight: Math.max(1, vainBytes) });
    const most = MOST_STEPS * STEP_SEGMENTS * geometry.segmentBytes * this.#costPart;
    this.#leftBytes = Math.min(most, this.#leftBytes + SHARE * Math.max(0, vainBytes));
    return true;
  }

  /** Whether a run should begin. */
  get isDue(): boolean {
    return !this.#isEnded && !this.#ranges.isEmpty && this.#affordable >= 1 && !this.#parts.slots.isFull;
  }

  /** Segments that the budget has enough for. */
  get #affordable(): number {
    const { planted, geometry } = this.#parts;
    if (planted.eagerOrder === true) return STEP_SEGMENTS;
    return Math.floor(this.#leftBytes / (this.#costPart * geometry.segmentBytes));
  }

  /** DEMAND-2. Segments that a step may fill. */
  get #stepSegments(): number {
    const { planted, plan, geometry } = this.#parts;
    const room =
      planted.eagerOrder === true ? STEP_SEGMENTS : Math.floor(plan.roomForOrderBytes / geometry.segmentBytes);
    return Math.max(0, Math.min(STEP_SEGMENTS, this.#affordable, room));
  }

  /** Whether the run that begins is to do a step. If there is no room for one, the cleaning is asked for it. */
  takesRun(): boolean {
    if (!this.isDue) return false;
    if (this.#stepSegments > 0) return true;
    const askedBytes = ASKED_SEGMENTS * this.#parts.geometry.segmentBytes;
    this.#parts.plan.askFor(askedBytes);
    this.#pay(ASKED_COST_PART * askedBytes);
    return false;
  }

  /** DEMAND-4. The store is about to be closed. */
  end(): void {
    this.#isEnded = true;
  }

  /**
   * Does one step, between the freezing and the merge of a run.
   *
   * @param sequence that of the run
   * @param isStopped asked between two parts of the work: whether to give up
   * @throws AiokvError ERR_AIOKV_LATCHED if a write failed
   */
  async run(sequence: number, isStopped: () => boolean): Promise<void> {
    const { gate, slots } = this.#parts;
    const segments = this.#stepSegments;
    this.#parts.plan.leaveOut();
    try {
      // DEMAND-2. Some slots stay free: what a step leaves behind comes back only when it was cleaned away.
      await slots.prepare(segments + Math.ceil(slots.count * FREE_PART), 'compact');
      await this.#step(sequence, segments, () => this.#isEnded || isStopped());
    } catch (error) {
      if (gate.log !== null || (error as { code?: unknown }).code === 'ERR_AIOKV_INTERNAL') throw error;
      // There is no space, or a leaf cannot be read: the records stay where they are, and whoever needs the leaf is told why.
      this.#ranges.clear();
    }
  }

  async #step(sequence: number, segments: number, isStopped: () => boolean): Promise<void> {
    const { superblocks, geometry, index, survivorBytes, planted } = this.#parts;
    const { segmentBytes } = geometry;
    const { uuid } = superblocks.current;
    const writer = new SegmentWriter({ ...this.#parts, uuid, sequence, kind: SegmentKind.cleaned, use: 'compact' });
    const mover = new KeyOrderMover({ ...this.#parts, budget: this.#budget });
    let [costBytes, movedBytes, records, metBytes] = [0, 0, 0, 0];
    try {
      for (;;) {
        const range = isStopped() ? null : this.#ranges.take();
        if (range === null) break;
        const outcome = await mover.move(
          {
            from: range.from,
            to: range.to,
            slots: null,
            isLongWanted: null,
            mostBytes: Math.min(survivorBytes, this.#roomIn(writer, segments)),
            mostMetBytes: MET_SEGMENTS * segmentBytes - metBytes,
            mayExceed: false,
            stays: planted.eagerOrder === true ? 'nothing' : 'pieces',
          },
          writer,
          isStopped,
        );
        costBytes += outcome.costBytes + WRITES * outcome.bytes + MET_PART * outcome.metBytes;
        movedBytes += outcome.bytes;
        records += outcome.records;
        metBytes += outcome.metBytes;
        if (outcome.records > 0) this.#movedRanges++;
        const { next } = outcome;
        if (outcome.noRoom !== null) break;
        // Of a range that was given up nobody knows how far it was moved: what lies in order by then stays.
        if (isStopped()) this.#ranges.add(range);
        else if (next !== null && compareKeys(next, next.length, range.to, range.to.length) <= 0) {
          this.#ranges.add({ ...range, from: next });
        }
        const isFull = this.#roomIn(writer, segments) < LEFT_PART * segmentBytes;
        if (isFull || metBytes >= MET_SEGMENTS * segmentBytes || !index.hasRoomForMoved) break;
      }
    } finally {
      this.#movedRecords += records;
      this.#movedBytes += movedBytes;
      if (movedBytes >= segmentBytes / 2) this.#costPart = Math.min(MOST_COST_PART, costBytes / movedBytes);
      // A step that has moved nothing is not for nothing, either: the run has its price.
      this.#pay(Math.max(costBytes, segmentBytes));
      planted.onOrdered?.(records);
    }
  }

  /** Bytes of records for which the segments of a step have room. */
  #roomIn(writer: SegmentWriter, segments: number): number {
    const begun = writer.slots.length;
    const leftBytes = begun === 0 ? 0 : writer.leftBytes;
    return FILLED_PART * (leftBytes + (segments - begun) * this.#parts.geometry.segmentBytes);
  }

  #pay(bytes: number): void {
    this.#leftBytes = Math.max(0, this.#leftBytes - bytes);
  }
}
