/**
 * The slots of the data file: which ones are in use and which are ready to be written. The file grows ahead
 * of need, so that normally no write waits for the file system to allocate blocks.
 *
 * ```
 *   │ superblocks │ slot 0 │ slot 1 │ ... │ slot n-1 │       slot = segmentBytes, from headerBytes on
 *
 *   ready slots   │ a checkpoint │ deletions │ puts                    │
 *                 │◄────── the reserve ─────►│   few left: the file grows
 * ```
 *
 * SLOTS-1. While only the reserve is left, there is no room for a put, not even in a segment that a deletion has
 *     started. The reserve is the largest of 3 slots, 2 % of all slots, and two more than a checkpoint needs. It is at
 *     most half of all slots, so that a small store on a small device can be written to at all.
 * SLOTS-2. A deletion may take slots of the reserve, but leaves those that a checkpoint needs, as far as the reserve
 *     has them. A checkpoint may take any slot.
 * SLOTS-3. A failed growth is the answer to the calls from before it began, and to no later call. Many refused writes
 *     therefore cost one attempt, and a write after space was freed succeeds.
 * SLOTS-4. There is no room for a put if index and segments take nearly as many parts as the root of a checkpoint can
 *     reference. Deletions and their checkpoints can then still continue. The file never grows beyond what an index
 *     entry can address.
 *
 * This file never reads or writes the content of a slot.
 */
import { MIB, assert } from '@aiokv/core';
import type { DirectFile } from '@aiokv/aio';
import { fileTooLarge, indexTooLarge } from '../failure/errors.ts';
import { systemFailure } from '../failure/system-failure.ts';
import { CHUNK_BYTES } from '../format/checkpoint.ts';
import { mostParts, partsOf } from '../format/checkpoint-root.ts';
import { MOST_FILE_BYTES } from '../format/index-entry.ts';
import type { Geometry } from '../format/superblock.ts';
import { ReadySlots } from './ready-slots.ts';

/** What a slot is needed for; see SLOTS-1 and SLOTS-2. */
export type SlotUse = 'put' | 'delete' | 'checkpoint';

/** The space that checkpoints may need, as upper bounds. */
export interface CheckpointNeeds {
  /** Bytes of all pages of the index. */
  readonly indexBytes: number;
  /** Bytes of pages that the next checkpoint, or the rest of the current one, may write. */
  readonly nextBytes: number;
  /** The part of `nextBytes` that does not replace older pages, whose slots would become free. */
  readonly lastingBytes: number;
}

/** SLOTS-4. There is no room for puts above this share of the parts that the root can reference. */
const FULL_ROOT_SHARE = 0.9;
/** The file grows by a quarter of its size, but by at most this much at a time. */
const MAX_GROWTH_BYTES = 64 * MIB;
const LEAST_RESERVE = 3;
const RESERVED_PART = 0.02;
/** Slots of the reserve for deletions. */
const DELETION_SLOTS = 2;

export class Slots {
  readonly #file: DirectFile;
  readonly #geometry: Geometry;
  #slotCount: number;
  /** Allocated slots that hold nothing. */
  readonly #ready: ReadySlots;
  #isReserveInUse = false;
  #growing: Promise<void> | null = null;
  /** Number of attempts to grow the file. */
  #growths = 0;
  /** The last failed attempt, by number, and its error. */
  #growthFailure: { readonly growth: number; readonly error: Error } | null = null;
  #checkpoints: CheckpointNeeds = { indexBytes: 0, nextBytes: 0, lastingBytes: 0 };

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

  /** The slot that contains this byte of the file. */
  slotOf(fileOffset: number): number {
    return Math.floor((fileOffset - this.#geometry.headerBytes) / this.#geometry.segmentBytes);
  }

  /** Number of attempts to grow the file. A write passes the number at its call to `prepare`. */
  get growths(): number {
    return this.#growths;
  }

  /** Slots that can be taken for this use at once. Below 0 if other uses have taken slots of the reserve. */
  availableFor(use: SlotUse): number {
    const available = this.#ready.count - this.#keptFrom(use, this.#slotCount);
    return use === 'put' && this.#isRootFull ? Math.min(-1, available) : available;
  }

  /**
   * Whether slots of the reserve are in use, as of the last time when slots were taken, given back or added.
   * `availableFor` is exact.
   */
  get isReserveInUse(): boolean {
    return this.#isReserveInUse;
  }

  /** Takes a slot. One must be available. Starts to grow the file if few are left. */
  take(): number {
    const slot = this.#ready.take();
    assert(slot !== undefined, 'a slot is taken only when one is ready');
    this.#isReserveInUse = this.availableFor('put') < 0;
    const left = this.#ready.count - this.#keptFrom('put', this.#slotCount);
    if (left <= this.#slotCount / 16) void this.#startGrowth();
    return slot;
  }

  /** Frees slots. Nothing on the device may refer to them any more. */
  giveBack(slots: Iterable<number>): void {
    for (const slot of slots) this.#ready.add(slot);
    this.#isReserveInUse = this.availableFor('put') < 0;
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
      await this.#startGrowth();
    }
  }

  /** Waits until the current growth, if any, has ended. Never rejects. The file must not be closed before. */
  async settle(): Promise<void> {
    await this.#growing;
  }

  /** SLOTS-1, SLOTS-2. Slots of a file with `slotCount` slots that this use must leave. */
  #keptFrom(use: SlotUse, slotCount: number): number {
    if (use === 'checkpoint') return 0;
    const { nextBytes, lastingBytes } = this.#checkpoints;
    const next = Math.max(1, this.indexSlotsOf(nextBytes));
    const wanted = Math.max(
      LEAST_RESERVE,
      Math.ceil(slotCount * RESERVED_PART),
      next + this.indexSlotsOf(lastingBytes) + DELETION_SLOTS,
    );
    const reserve = Math.min(wanted, Math.floor(slotCount / 2));
    // Even a small reserve keeps its last slot for deletions, because they free space.
    return use === 'put' ? reserve : Math.max(0, Math.min(next, reserve - 1));
  }

  /** SLOTS-4. */
  get #isRootFull(): boolean {
    const indexSlots = this.indexSlotsOf(this.#checkpoints.indexBytes);
    const usedSlots = this.#slotCount - this.#ready.count;
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
        return;
      }
    }
    for (let slot = this.#slotCount; slot < this.#slotCount + added; slot++) this.#ready.add(slot);
    this.#slotCount += added;
    this.#isReserveInUse = this.availableFor('put') < 0;
  }

  /** A quarter of the slots, but at least enough for a put to take one. */
  #slotsToAdd(): number {
    const most = Math.max(1, Math.floor(MAX_GROWTH_BYTES / this.#geometry.segmentBytes));
    let added = Math.max(1, Math.floor(this.#slotCount / 4));
    const isEnough = (): boolean => this.#ready.count + added > this.#keptFrom('put', this.#slotCount + added);
    while (added < most && !isEnough()) added++;
    return Math.min(added, most);
  }
}
