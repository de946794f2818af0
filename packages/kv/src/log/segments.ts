/**
 * The slots of the data file: which are in use, which are ready to be written, and the growth of the
 * file ahead of need, so that no write ever waits for the file system to find blocks.
 *
 * ```
 *   │ superblocks │ slot 0 │ slot 1 │ ... │ slot n-1 │       slot = segmentBytes, from headerBytes on
 * ```
 *
 * It never reads or writes what is in a slot.
 */
import { AiokvError, MIB, assert } from '@aiokv/core';
import type { DirectFile } from '@aiokv/aio';
import type { Geometry } from '../format/superblock.ts';

/** The file grows by a quarter of itself, but by at most this much at a time. */
const MAX_GROWTH_BYTES = 64 * MIB;

export class Segments {
  readonly #file: DirectFile;
  readonly #geometry: Geometry;
  #slotCount: number;
  /** Slots with blocks behind them that hold nothing, lowest last. */
  readonly #ready: number[];
  #growing: Promise<void> | null = null;
  #growthFailure: AiokvError | null = null;

  /** @param usedSlots slots that hold segments of the log */
  constructor(file: DirectFile, geometry: Geometry, slotCount: number, usedSlots: ReadonlySet<number>) {
    this.#file = file;
    this.#geometry = geometry;
    this.#slotCount = slotCount;
    this.#ready = Array.from({ length: slotCount }, (_, i) => slotCount - 1 - i).filter((slot) => !usedSlots.has(slot));
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

  /** Slots that can be taken without waiting. */
  get readyCount(): number {
    return this.#ready.length;
  }

  /** Takes a slot; requires that one is ready. Starts to grow the file when few are left. */
  take(): number {
    const slot = this.#ready.pop();
    assert(slot !== undefined, 'a slot is taken only when one is ready');
    if (this.#ready.length <= this.#slotCount / 16) void this.#startGrowth();
    return slot;
  }

  /** Slots hold nothing any more, and nothing on the device leads to them. */
  giveBack(slots: Iterable<number>): void {
    for (const slot of slots) {
      assert(!this.#ready.includes(slot), 'a slot is given back once');
      this.#ready.push(slot);
    }
    this.#ready.sort((a, b) => b - a);
  }

  /**
   * Waits until at least `count` slots are ready.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE when the file cannot grow
   */
  async prepare(count: number): Promise<void> {
    while (this.#ready.length < count) {
      await this.#startGrowth();
      if (this.#growthFailure !== null) {
        const failure = this.#growthFailure;
        this.#growthFailure = null;
        throw failure;
      }
    }
  }

  /** Waits for a growth under way, whatever comes of it; the file may be closed then. */
  async settle(): Promise<void> {
    await this.#growing;
  }

  /** Never rejects: a failure waits for the next `prepare`, for growth ahead of need has no caller. */
  #startGrowth(): Promise<void> {
    this.#growing ??= this.#grow().finally(() => {
      this.#growing = null;
    });
    return this.#growing;
  }

  async #grow(): Promise<void> {
    const { segmentBytes } = this.#geometry;
    const growthBytes = Math.min(MAX_GROWTH_BYTES, (this.#slotCount / 4) * segmentBytes);
    const added = Math.max(1, Math.floor(growthBytes / segmentBytes));
    const from = Segments.offsetOf(this.#geometry, this.#slotCount);
    this.#growthFailure = null;
    try {
      await this.#file.preallocate(from, added * segmentBytes);
    } catch (cause) {
      this.#growthFailure = new AiokvError(
        'ERR_AIOKV_NO_SPACE',
        `${this.#file.path} cannot grow by ${added * segmentBytes} bytes: free space on the device; reads go on`,
        { cause },
      );
      return;
    }
    for (let slot = this.#slotCount + added - 1; slot >= this.#slotCount; slot--) this.#ready.unshift(slot);
    this.#slotCount += added;
    // Lowest slot last, so that the file fills from the front.
    this.#ready.sort((a, b) => b - a);
  }
}
