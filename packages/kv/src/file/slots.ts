/**
 * The slots of the data file: which are in use, which are ready to be written, and the growth of the
 * file ahead of need, so that no write ever waits for the file system to find blocks.
 *
 * ```
 *   │ superblocks │ slot 0 │ slot 1 │ ... │ slot n-1 │       slot = segmentBytes, from headerBytes on
 *
 *   ready slots   │ a checkpoint │ deletions │ puts                    │
 *                 │◄────── the reserve ─────►│   few left: the file grows
 * ```
 *
 * SLOTS-1. While only the reserve is left there is no room for a put, not even in a segment that a deletion has begun. The
 *     reserve is 3 slots, or 2 % of all if that is more, or what a checkpoint needs and two, but at most half of all
 *     slots, so that a small store on a small device can be written to at all.
 * SLOTS-2. A deletion takes slots of the reserve, but leaves those that a checkpoint needs, as far as the reserve has them.
 *     A checkpoint takes any.
 * SLOTS-3. A failed growth answers whoever asked before it began, and nobody who asks later: many refused writes cost one
 *     attempt, and a write after space was freed finds it.
 *
 * SLOTS-4. There is no room for a put either when the index comes near to what the root of a checkpoint can name: deletions
 *     and their checkpoints still can go on then. The file never grows beyond what an index entry can lead to.
 *
 * It never reads or writes what is in a slot.
 */
import { MIB, assert } from '@aiokv/core';
import type { DirectFile } from '@aiokv/aio';
import { fileTooLarge, indexTooLarge } from '../failure/errors.ts';
import { systemFailure } from '../failure/system-failure.ts';
import { CHUNK_BYTES, mostIndexSlots } from '../format/checkpoint.ts';
import { MOST_FILE_BYTES } from '../format/index-entry.ts';
import type { Geometry } from '../format/superblock.ts';
import { ReadySlots } from './ready-slots.ts';

/** What a slot is wanted for; see SLOTS-1 and SLOTS-2. */
export type SlotUse = 'put' | 'delete' | 'checkpoint';

/** What checkpoints may take of the file: upper bounds, which need not be tight. */
export interface CheckpointNeeds {
  /** Bytes of all pages of the index. */
  readonly indexBytes: number;
  /** Bytes of pages that the next one, or what is left of the one under way, may write. */
  readonly nextBytes: number;
  /** ... and of which no older ones are given back. */
  readonly lastingBytes: number;
}

/** SLOTS-4. Puts end when so much of what the root can name is in use. */
const FULL_INDEX_PART = 0.9;
/** The file grows by a quarter of itself, but by at most this much at a time. */
const MAX_GROWTH_BYTES = 64 * MIB;
const LEAST_RESERVE = 3;
const RESERVED_PART = 0.02;
/** Of the reserve, for deletions. */
const DELETION_SLOTS = 2;

export class Slots {
  readonly #file: DirectFile;
  readonly #geometry: Geometry;
  #slotCount: number;
  /** Slots with blocks behind them that hold nothing. */
  readonly #ready: ReadySlots;
  #isReserveInUse = false;
  #growing: Promise<void> | null = null;
  /** Attempts to grow the file that have begun. */
  #growths = 0;
  /** How the attempt with this number failed. */
  #growthFailure: { readonly growth: number; readonly error: Error } | null = null;
  #checkpoints: CheckpointNeeds = { indexBytes: 0, nextBytes: 0, lastingBytes: 0 };

  /** @param usedSlots slots that hold segments of the log */
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

  /** The slot in which a byte of the file lies. */
  slotOf(fileOffset: number): number {
    return Math.floor((fileOffset - this.#geometry.headerBytes) / this.#geometry.segmentBytes);
  }

  /** How often a growth has been tried; `prepare` is told what it was when a write was called. */
  get growths(): number {
    return this.#growths;
  }

  /** Slots that can be taken for this use without waiting; below 0 when others have taken of what is kept from it. */
  availableFor(use: SlotUse): number {
    const available = this.#ready.count - this.#keptFrom(use, this.#slotCount);
    return use === 'put' && this.#isIndexFull ? Math.min(-1, available) : available;
  }

  /** Whether slots of the reserve were in use when slots were last taken, given back or added; `availableFor` is exact. */
  get isReserveInUse(): boolean {
    return this.#isReserveInUse;
  }

  /** Takes a slot; requires that one is available. Starts to grow the file when few are left. */
  take(): number {
    const slot = this.#ready.take();
    assert(slot !== undefined, 'a slot is taken only when one is ready');
    this.#isReserveInUse = this.availableFor('put') < 0;
    const left = this.#ready.count - this.#keptFrom('put', this.#slotCount);
    if (left <= this.#slotCount / 16) void this.#startGrowth();
    return slot;
  }

  /** Slots hold nothing any more, and nothing on the device leads to them. */
  giveBack(slots: Iterable<number>): void {
    for (const slot of slots) this.#ready.add(slot);
    this.#isReserveInUse = this.availableFor('put') < 0;
  }

  /** SLOTS-1, SLOTS-2. Who is asked for the needs of checkpoints whenever slots are counted. */
  expectCheckpoints(needs: CheckpointNeeds): void {
    this.#checkpoints = needs;
  }

  /**
   * Waits until at least `count` slots are available for this use.
   *
   * @param since `growths` when the write was called
   * @throws AiokvError when the file cannot grow: what `systemFailure` makes of the cause; ERR_AIOKV_STORE_TOO_LARGE
   */
  async prepare(count: number, use: SlotUse, since = this.#growths): Promise<void> {
    while (this.availableFor(use) < count) {
      // SLOTS-4.
      if (use === 'put' && this.#isIndexFull) throw indexTooLarge(this.#file.path, this.#geometry.segmentBytes);
      // SLOTS-3.
      if (this.#growthFailure !== null && this.#growthFailure.growth > since) throw this.#growthFailure.error;
      await this.#startGrowth();
    }
  }

  /** Waits for a growth under way, whatever comes of it; the file may be closed then. */
  async settle(): Promise<void> {
    await this.#growing;
  }

  /** SLOTS-1, SLOTS-2. Slots that must be left when one is taken for this use, of a file with so many slots. */
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
    // The last of a small reserve is for deletions: they are what makes room.
    return use === 'put' ? reserve : Math.max(0, Math.min(next, reserve - 1));
  }

  /** SLOTS-4. */
  get #isIndexFull(): boolean {
    return this.indexSlotsOf(this.#checkpoints.indexBytes) > FULL_INDEX_PART * mostIndexSlots(this.#geometry);
  }

  /** Index segments for so many bytes of pages: a chunk of a segment ends where the next page does not fit. */
  indexSlotsOf(pageBytes: number): number {
    const { segmentBytes, writeAlignment, pageBytes: largest } = this.#geometry;
    return Math.ceil(pageBytes / (segmentBytes - writeAlignment - largest * Math.ceil(segmentBytes / CHUNK_BYTES)));
  }

  /** Never rejects: a failure is for those who asked before, and growth ahead of need has no caller. */
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
        // A device that has no room for all of it may have room for less.
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

  /** A quarter of the file, and at least so many that a put can take one. */
  #slotsToAdd(): number {
    const most = Math.max(1, Math.floor(MAX_GROWTH_BYTES / this.#geometry.segmentBytes));
    let added = Math.max(1, Math.floor(this.#slotCount / 4));
    const isEnough = (): boolean => this.#ready.count + added > this.#keptFrom('put', this.#slotCount + added);
    while (added < most && !isEnough()) added++;
    return Math.min(added, most);
  }
}
