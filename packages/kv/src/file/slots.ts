/**
 * The slots of the data file: which ones are in use and which are ready to be written. The file grows ahead
 * of need, so that normally no write waits for the file system to allocate blocks.
 *
 * ```
 *   │ superblocks │ slot 0 │ slot 1 │ ... │ slot n-1 │       slot = segmentBytes, from headerBytes on
 *
 *   in use ─ giveBack ─► ready ─ take ─► in use         ready ─ many are free ─► hole ─ the file grows ─► ready
 *
 *   ready slots   │ a checkpoint │ a cleaning │ deletions │ puts                    │
 *                 │◄────────────── the reserve ──────────►│   few left: the file grows
 * ```
 *
 * SLOTS-1. While only the reserve is left, there is no room for a put, not even in a segment that a deletion has
 *     started. The reserve is the largest of 4 slots, 2 % of all slots, and three to five more than a checkpoint needs. It is at
 *     most half of all slots, so that a small store on a small device can be written to at all. While the file can still
 *     grow, and has 64 slots, what a checkpoint likely needs is enough; while victims are cleaned the reserve is that and three:
 *     it fills again when the victims are free (SLOTS-7).
 * SLOTS-2. A compaction leaves the reserve, too: it may end without having made room. A deletion may take slots of the
 *     reserve, but leaves those that a cleaning and a checkpoint need, as far as the
 *     reserve has them. A cleaning leaves those of the checkpoint, which may take any slot.
 * SLOTS-3. A failed growth is the answer to the calls from before it began, and to no later call. Many refused writes
 *     therefore cost one attempt, and a write after space was freed succeeds.
 * SLOTS-4. There is no room for a put if index and segments take nearly as many parts as the root of a checkpoint can
 *     reference. Deletions and their checkpoints can then still continue. The file never grows beyond what an index
 *     entry can address.
 * SLOTS-5. A file that is at its ceiling grows slowly for writes: by a slot at a time, and after a wait, unless slots are
 *     given back meanwhile. So writers become as slow as the cleaning when there is much garbage, and never stop.
 * SLOTS-7. Behind a cleaning there is a slot for a deletion, even if the file has met the end of the device meanwhile. Puts had
 *     left what the checkpoint needs, and three. Survivors take s slots, which leave what the checkpoint needs. The checkpoint
 *     takes no more, and gives back what it replaces. The victims give back s + 1 at least, for a plan that gains
 *     nothing is none. So what the checkpoint needs next and four are left, and a deletion leaves that and three at most. Not so if victims
 *     keep something that is damaged.
 * SLOTS-6. A free slot without blocks is a hole. It becomes ready when blocks were allocated, which may fail. A ready slot
 *     is in no set while its blocks are given back: a late hole would destroy what is written there.
 *
 * This file never reads or writes the content of a slot.
 */
import { KIB, MIB, Waiters, assert, systemClock } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import type { DirectFile } from '@aiokv/aio';
import { fileTooLarge, indexTooLarge } from '../failure/errors.ts';
import { systemFailure } from '../failure/system-failure.ts';
import { CHUNK_BYTES } from '../format/checkpoint.ts';
import { mostParts, partsOf } from '../format/checkpoint-root.ts';
import { MOST_FILE_BYTES } from '../format/index-entry.ts';
import type { Geometry } from '../format/superblock.ts';
import { ReadySlots } from './ready-slots.ts';
import { WrittenBlocks } from './written-blocks.ts';

/** What a slot is needed for; see SLOTS-1 and SLOTS-2. */
export type SlotUse = 'put' | 'compact' | 'delete' | 'clean' | 'checkpoint';

/** The space that checkpoints may need, as upper bounds unless it says otherwise. */
export interface CheckpointNeeds {
  /** Bytes of all pages of the index, each counted as 1 KiB or more: see `partsOf`. */
  readonly indexBytes: number;
  /** Bytes of pages that the next checkpoint, or the rest of the current one, may write. */
  readonly nextBytes: number;
  /** The same, as an estimate, no higher. */
  readonly likelyBytes: number;
  /** Bytes of the slots that it makes free, because it replaces all pages in them. */
  readonly replacedBytes: number;
}

/** How large the file should be at most, and whether victims of a cleaning are about to be free. */
export interface SpaceNeeds {
  readonly ceilingBytes: number;
  readonly isCleaning: boolean;
}

/** SLOTS-5. How fast the file grows at its ceiling; at twice the ceiling it is SLOWDOWN times slower, and so on. */
const CEILING_BYTES_PER_MS = 40 * KIB;
const SLOWDOWN = 20;
/** No growth waits longer. */
const MOST_WAIT_MS = 300;
/** SLOTS-4. There is no room for puts above this share of the parts that the root can reference. */
const FULL_ROOT_SHARE = 0.9;
/** The file grows by a sixteenth of its size, but by at most this much at a time, and not beyond its ceiling. */
const MAX_GROWTH_BYTES = 16 * MIB;
/** Of the end of the file, so much is cut off at once. */
const MAX_CUT_BYTES = 64 * MIB;
/** So many slots stay free, or a sixteenth of all, when others are given back to the device. */
const FEW_FREE = 4;
/** So many are given back at a time by a busy store whose file is above its ceiling. */
const MOST_PUNCHED = 4;
const LEAST_RESERVE = 4;
/** Of fewer slots, the reserve has what a checkpoint may need at most: an estimate that is a slot too low would count. */
const MANY_SLOTS = 64;
const RESERVED_PART = 0.02;
/** Slots of the reserve for deletions. */
const DELETION_SLOTS = 2;
/** SLOTS-7. Puts leave so many more than a checkpoint needs while victims are cleaned. */
const KEPT_IN_CLEANING = 3;
/**
 * Slots of the reserve for a cleaning: what fills three comes from four or more in which less than 0.65 lives, and what
 * fills one only from two in which less than 0.43 lives. A small file keeps less: one slot in so many.
 */
const CLEANING_SLOTS = 3;
const CLEANING_PART = 8;

export class Slots {
  /** Which blocks of the slots have been written to. */
  readonly blocks = new WrittenBlocks();
  readonly #file: DirectFile;
  readonly #geometry: Geometry;
  #slotCount: number;
  /** Allocated slots that hold nothing. */
  readonly #ready: ReadySlots;
  /** SLOTS-6. */
  readonly #holes = new ReadySlots(0, new Set());
  #holeCount = 0;
  #punching: Promise<void> | null = null;
  #mayPunch = true;
  #isReserveInUse = false;
  /** The fewest slots that were left for puts since the last `punchExcess`. */
  #leastLeft = Infinity;
  #growing: Promise<void> | null = null;
  /** Number of attempts to grow the file. */
  #growths = 0;
  /** The last failed attempt, by number, and its error. */
  #growthFailure: { readonly growth: number; readonly error: Error } | null = null;
  #isFull = false;
  #space: SpaceNeeds = { ceilingBytes: Infinity, isCleaning: false };
  #clock: Clock = systemClock;
  readonly #ceilingWaiters = new Waiters();
  #checkpoints: CheckpointNeeds = { indexBytes: 0, nextBytes: 0, likelyBytes: 0, replacedBytes: 0 };

  /** @param usedSlots slots that are in use, in a file of `slotCount` slots */
  constructor(file: DirectFile, geometry: Geometry, slotCount: number, usedSlots: ReadonlySet<number>) {
    this.#file = file;
    this.#geometry = geometry;
    this.#slotCount = slotCount;
    this.#ready = new ReadySlots(slotCount, usedSlots);
  }

  static slotCountOf(geometry: Geometry, fileBytes: number): number {
    return Math.max(0, Math.floor((fileBytes - geometry.headerBytes) / geometry.segmentBytes));
  }

  static offsetOf(geometry: Geometry, slot: number): number {
    return geometry.headerBytes + slot * geometry.segmentBytes;
  }

  /** Number of attempts to grow the file. A write passes the number at its call to `prepare`. */
  get growths(): number {
    return this.#growths;
  }

  /**
   * Slots that can be taken for this use at once. Below 0 if other uses have taken slots of the reserve.
   *
   * @param isCleaning as if a cleaning were under way; default: whether one is
   */
  availableFor(use: SlotUse, isCleaning = this.#space.isCleaning): number {
    const available = this.#ready.count - this.#keptFrom(use, this.count, isCleaning);
    return use === 'put' && this.#isRootFull ? Math.min(-1, available) : available;
  }

  /**
   * Whether slots of the reserve are in use, as of the last time when slots were taken, given back or added.
   * `availableFor` is exact.
   */
  get isReserveInUse(): boolean {
    return this.#isReserveInUse;
  }

  /** Whether the last attempt to grow the file has failed: there are no more slots than these. */
  get isStuck(): boolean {
    return this.#growthFailure !== null && this.#growthFailure.growth === this.#growths;
  }

  /** Whether the file could not grow, and was not extended since. Unlike `isStuck` it does not change when holes are filled. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Takes a slot. One must be available. Starts to grow the file if few are left. */
  take(): number {
    const slot = this.#ready.take();
    assert(slot !== undefined, 'a slot is taken only when one is ready');
    const left = this.#ready.count - this.#keptFrom('put', this.count);
    this.#isReserveInUse = this.availableFor('put') < 0;
    this.#leastLeft = Math.min(this.#leastLeft, left);
    if (left <= Math.min(this.count / 16, this.#mostAdded) && !this.#isAtCeiling) void this.#startGrowth();
    return slot;
  }

  /** Frees slots. Nothing on the device may refer to them any more. */
  giveBack(slots: Iterable<number>): void {
    for (const slot of slots) this.#ready.add(slot);
    this.#isReserveInUse = this.availableFor('put') < 0;
    this.#ceilingWaiters.wakeAll();
  }

  /** SLOTS-5. Sets the source of the ceiling. It is read whenever the file should grow. */
  expectSpace(space: SpaceNeeds, clock: Clock): void {
    this.#space = space;
    this.#clock = clock;
  }

  /** Number of slots with blocks. */
  get count(): number {
    return this.#slotCount - this.#holeCount;
  }

  /** Slots that hold nothing. */
  get freeCount(): number {
    return this.#ready.count;
  }

  /** SLOTS-1, SLOTS-2. Sets the source of the needs of checkpoints. It is read whenever slots are counted. */
  expectCheckpoints(needs: CheckpointNeeds): void {
    this.#checkpoints = needs;
  }

  /**
   * Waits until at least `count` slots are available for this use.
   *
   * @param since `growths` at the call of the write (SLOTS-3)
   * @throws AiokvError the `systemFailure` of the cause if the file cannot grow; ERR_AIOKV_STORE_TOO_LARGE
   */
  async prepare(count: number, use: SlotUse, since = this.#growths): Promise<void> {
    while (this.availableFor(use) < count) {
      // SLOTS-4.
      if (use === 'put' && this.#isRootFull) throw indexTooLarge(this.#file.path, this.#geometry.segmentBytes);
      // SLOTS-3.
      if (this.#growthFailure !== null && this.#growthFailure.growth > since) throw this.#growthFailure.error;
      if (use === 'put' && this.#isAtCeiling && this.#growing === null) {
        await this.#waitAtCeiling();
        if (this.availableFor(use) >= count) return;
      }
      await this.#startGrowth();
    }
  }

  get #isAtCeiling(): boolean {
    return this.count * this.#geometry.segmentBytes >= this.#space.ceilingBytes;
  }

  /** SLOTS-5. */
  async #waitAtCeiling(): Promise<void> {
    const { segmentBytes } = this.#geometry;
    const above = (this.count * segmentBytes) / this.#space.ceilingBytes - 1;
    const waitMs = (segmentBytes / CEILING_BYTES_PER_MS) * (1 + SLOWDOWN * above);
    const given = this.#ceilingWaiters.wait();
    const cancel = this.#clock.after(Math.min(MOST_WAIT_MS, waitMs), () => this.#ceilingWaiters.wakeAll());
    await given;
    cancel();
  }

  /** Waits until the current growth, if any, has ended. Never rejects. The file must not be closed before. */
  async settle(): Promise<void> {
    await this.#growing;
    await this.#punching;
  }

  /** SLOTS-1, SLOTS-2. Slots of a file with `slotCount` slots that this use must leave. */
  #keptFrom(use: SlotUse, slotCount: number, isCleaning = this.#space.isCleaning): number {
    if (use === 'checkpoint') return 0;
    const { nextBytes, likelyBytes, replacedBytes } = this.#checkpoints;
    const leavesReserve = use === 'put' || use === 'compact';
    const isBound = slotCount < MANY_SLOTS || (this.isStuck && leavesReserve);
    const checkpointBytes = isBound ? nextBytes : likelyBytes;
    const next = Math.max(1, this.indexSlotsOf(checkpointBytes));
    const lasting = this.indexSlotsOf(Math.max(0, checkpointBytes - replacedBytes));
    const cleaning = Math.min(CLEANING_SLOTS, Math.max(1, Math.floor(slotCount / CLEANING_PART)));
    const wanted = Math.max(
      LEAST_RESERVE,
      Math.ceil(slotCount * RESERVED_PART),
      next + lasting + DELETION_SLOTS + cleaning,
    );
    const reserve = Math.min(wanted, Math.floor(slotCount / 2));
    if (use === 'put' && isCleaning && !this.isStuck) {
      return Math.max(next + lasting, Math.min(reserve, next + lasting + KEPT_IN_CLEANING));
    }
    // Even a small reserve keeps its last slot for deletions, because they free space.
    const kept = use === 'clean' ? next : next + cleaning;
    return leavesReserve ? reserve : Math.max(0, Math.min(kept, reserve - 1));
  }

  /** SLOTS-4. */
  get #isRootFull(): boolean {
    const indexSlots = this.indexSlotsOf(this.#checkpoints.indexBytes);
    const usedSlots = this.count - this.#ready.count;
    const parts = partsOf(this.#geometry, indexSlots, Math.max(indexSlots, usedSlots));
    return parts > FULL_ROOT_SHARE * mostParts(this.#geometry);
  }

  /** An upper bound for the index segments of so many bytes of pages. A chunk ends where the next page does not fit. */
  indexSlotsOf(pageBytes: number): number {
    const { segmentBytes, writeAlignment, pageBytes: largest } = this.#geometry;
    return Math.ceil(pageBytes / (segmentBytes - writeAlignment - largest * Math.ceil(segmentBytes / CHUNK_BYTES)));
  }

  /** Never rejects: failures go to `prepare` (SLOTS-3), and growth ahead of need has no caller. */
  #startGrowth(): Promise<void> {
    this.#growing ??= this.#grow().finally(() => {
      this.#growing = null;
    });
    return this.#growing;
  }

  async #grow(): Promise<void> {
    const { segmentBytes } = this.#geometry;
    const growth = ++this.#growths;
    if (this.#holeCount > 0) {
      const error = await this.#fillHoles(this.#slotsToAdd());
      if (error !== null) this.#growthFailure = { growth, error };
      this.#isFull ||= error !== null;
      return;
    }
    const from = Slots.offsetOf(this.#geometry, this.#slotCount);
    // SLOTS-4.
    let added = Math.min(this.#slotsToAdd(), Math.floor((MOST_FILE_BYTES - from) / segmentBytes));
    if (added < 1) {
      this.#growthFailure = { growth, error: fileTooLarge(this.#file.path) };
      return;
    }
    for (;;) {
      try {
        await this.#file.preallocate(from, added * segmentBytes);
        break;
      } catch (cause) {
        const error = systemFailure(`${this.#file.path} cannot grow by ${added * segmentBytes} bytes`, cause);
        // The device may have room for fewer slots.
        if (added > 1 && error.code === 'ERR_AIOKV_NO_SPACE') {
          added = Math.floor(added / 2);
          continue;
        }
        this.#growthFailure = { growth, error };
        this.#isFull = true;
        return;
      }
    }
    this.#isFull = false;
    for (let slot = this.#slotCount; slot < this.#slotCount + added; slot++) this.#ready.add(slot);
    this.#slotCount += added;
    this.#isReserveInUse = this.availableFor('put') < 0;
  }

  /** SLOTS-6. Allocates blocks for so many holes. Returns why that failed for the first of them, or null. */
  async #fillHoles(count: number): Promise<Error | null> {
    const holes: number[] = [];
    for (let slot = this.#holes.take(); slot !== undefined; slot = this.#holes.take()) {
      holes.push(slot);
      if (holes.length === count) break;
    }
    let failure: Error | null = null;
    let filled = 0;
    for (const [first, last] of runsOf(holes)) {
      const bytes = (last - first + 1) * this.#geometry.segmentBytes;
      try {
        if (failure === null) await this.#file.preallocate(Slots.offsetOf(this.#geometry, first), bytes);
      } catch (cause) {
        failure = systemFailure(`${this.#file.path} cannot take ${bytes} bytes again`, cause);
      }
      for (let slot = first; slot <= last; slot++) {
        if (failure !== null) this.#holes.add(slot);
        else {
          this.#ready.add(slot);
          this.#holeCount--;
          filled++;
        }
      }
    }
    this.#isReserveInUse = this.availableFor('put') < 0;
    // The device may have room for fewer slots.
    if (filled === 0 && failure !== null && count > 1) return this.#fillHoles(Math.floor(count / 2));
    return filled === 0 ? failure : null;
  }

  /** Free slots that are kept when others are given back to the device. */
  get #wantedFree(): number {
    return this.#keptFrom('put', this.count) + Math.max(FEW_FREE, Math.floor(this.count / 16));
  }

  /**
   * Free slots may have no blocks, after an opening. Allocates blocks for as many as are wanted; the others are holes.
   * Never rejects: what cannot be allocated is a hole, too.
   */
  async distrustFree(): Promise<void> {
    const free = this.#ready.takeAbove(0);
    for (const slot of free) this.#holes.add(slot);
    this.#holeCount += free.length;
    if (free.length > 0) await this.#fillHoles(Math.min(free.length, Math.max(1, this.#wantedFree)));
  }

  /**
   * SLOTS-6. Gives blocks back to the device if many slots are free. Never rejects.
   *
   * @param isIdle a busy store keeps more: it may need them soon, and the file system lets no request pass meanwhile
   */
  async punchExcess(isIdle: boolean): Promise<void> {
    // What was left all the time since the last call is not needed. Above the ceiling it goes at once.
    let unneeded = Math.min(MOST_PUNCHED, this.#isAtCeiling ? this.#leastLeft - 1 : 0);
    this.#leastLeft = Infinity;
    do {
      let wanted = this.#wantedFree;
      const kept = wanted + Math.max(FEW_FREE, this.count / (isIdle ? 16 : 8));
      if (this.#ready.count <= kept) wanted = Math.max(wanted, this.#ready.count - Math.max(0, unneeded));
      if (!this.#mayPunch || this.#ready.count <= wanted) return;
      await this.#startPunching(wanted);
      unneeded = 0;
      // What is kept is a part of the file, which has become smaller.
    } while (isIdle);
  }

  /**
   * Gives the blocks of all free slots back to the device, and cuts the file off behind the last slot in use. The file
   * grows again when a slot is needed. Never rejects: what the device refuses is left as it is.
   */
  async shrink(): Promise<void> {
    await this.#startCut();
    if (this.#mayPunch) await this.#startPunching(0);
  }

  /** Gives the blocks of all but so many free slots back. */
  async #startPunching(keep: number): Promise<void> {
    // Slots that have become free since it began are left to the next one.
    while (this.#punching !== null) await this.#punching;
    this.#punching = this.#punch(this.#ready.takeAbove(keep)).finally(() => {
      this.#punching = null;
    });
    await this.#punching;
  }

  /** Growth waits for it, and it for growth. */
  async #startCut(): Promise<void> {
    while (this.#growing !== null) await this.#growing;
    this.#growing = this.#cut().finally(() => {
      this.#growing = null;
    });
    await this.#growing;
  }

  /**
   * SLOTS-6. Cuts the file off behind the last slot in use, piece by piece: the file system lets no request pass while it
   * cuts, 0.1 s for 600 MB. A late cut would destroy what is written there.
   */
  async #cut(): Promise<void> {
    const before = this.#slotCount;
    let end = before;
    while (end > 0 && (this.#holes.has(end - 1) || this.#ready.has(end - 1))) end--;
    if (end === before) return;
    const ready = this.#ready.takeFrom(end);
    const holes = this.#holes.takeFrom(end);
    for (let slot = end; slot < before; slot++) this.blocks.forget(slot);
    this.#slotCount = end;
    this.#holeCount -= holes.length;
    this.#isReserveInUse = this.availableFor('put') < 0;
    let length = before;
    try {
      while (length > end) {
        const next = Math.max(end, length - this.#mostCut);
        await this.#file.truncate(Slots.offsetOf(this.#geometry, next));
        length = next;
      }
    } catch {
      // It is as long as the last piece has left it.
      this.#slotCount = length;
      for (const slot of ready) if (slot < length) this.#ready.add(slot);
      for (const slot of holes) {
        if (slot >= length) continue;
        this.#holes.add(slot);
        this.#holeCount++;
      }
    }
  }

  async #punch(slots: readonly number[]): Promise<void> {
    // One by one: the file system lets no request pass while it punches.
    for (const slot of slots) {
      const isTried = this.#mayPunch;
      this.blocks.forget(slot);
      try {
        if (isTried) await this.#file.punchHole(Slots.offsetOf(this.#geometry, slot), this.#geometry.segmentBytes);
      } catch {
        // Not every file system can do it. Whether this slot has kept its blocks is not known.
        this.#mayPunch = false;
      }
      if (isTried) this.#holes.add(slot);
      else this.#ready.add(slot);
      if (isTried) this.#holeCount++;
    }
    this.#isReserveInUse = this.availableFor('put') < 0;
  }

  get #mostCut(): number {
    return Math.max(1, Math.floor(MAX_CUT_BYTES / this.#geometry.segmentBytes));
  }

  get #mostAdded(): number {
    return Math.max(1, Math.floor(MAX_GROWTH_BYTES / this.#geometry.segmentBytes));
  }

  /** A sixteenth of the slots, but at least enough for a put to take one; at the ceiling just that. */
  #slotsToAdd(): number {
    const most = this.#mostAdded;
    const belowCeiling = this.#space.ceilingBytes / this.#geometry.segmentBytes - this.count;
    let added = Math.max(1, Math.floor(Math.min(this.count / 16, belowCeiling)));
    const isEnough = (): boolean => this.#ready.count + added > this.#keptFrom('put', this.count + added);
    while (added < most && !isEnough()) added++;
    return Math.min(added, most);
  }
}

/** Runs of neighbours, as first and last, in ascending slots. */
function runsOf(slots: readonly number[]): [first: number, last: number][] {
  const runs: [number, number][] = [];
  for (const slot of slots) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === slot - 1) run[1] = slot;
    else runs.push([slot, slot]);
  }
  return runs;
}
