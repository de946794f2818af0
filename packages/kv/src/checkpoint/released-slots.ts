/**
 * Gives slots back that nothing needs any more: behind each checkpoint, and when readers of older versions have ended.
 *
 * ```
 *   index segment    no page has its image there, and no checkpoint on the device needs it ─────────────────► free
 *   dead segment     parked ── its checkpoint is durable, older versions and the reads before have ended ───► free
 * ```
 *
 * CHECK-3 and CHECK-8 (checkpointer.ts) say when.
 */
import { Fifo, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { Planted } from '../failure/planted.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { Slots } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { SegmentKind } from '../format/segment.ts';
import type { LogStart } from '../format/superblock.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { OldPages } from './old-pages.ts';
import { eachPage } from './page-walk.ts';

export interface ReleasedSlotsParts {
  readonly index: KeyIndex;
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly superblocks: SuperblockKeeper;
  readonly epochs: ReadEpochs;
  readonly planted: Planted;
}

/** Slots of dead log segments, and the first version that does not need them. */
interface Parked {
  readonly generation: number;
  readonly slots: readonly number[];
}

/** Nodes freed between two questions about the time. */
const RECLAIM_NODES = 256;

export class ReleasedSlots {
  /** Slots of all index segments: of the current checkpoint, of older versions, of the one that is written. */
  readonly indexSlots: Set<number>;
  readonly oldPages: OldPages;
  readonly #parts: ReleasedSlotsParts;
  readonly #budget: TurnBudget;
  /** Index slots of the checkpoint on the device. */
  #standing: ReadonlySet<number>;
  readonly #parked = new Fifo<Parked>();

  /** @param standing index slots of the checkpoint on the device */
  constructor(parts: ReleasedSlotsParts, budget: TurnBudget, standing: ReadonlySet<number>) {
    this.#parts = parts;
    this.#budget = budget;
    this.#standing = standing;
    this.indexSlots = new Set(standing);
    this.oldPages = new OldPages(parts.index, budget, parts.planted);
  }

  /** Number of dead segments that are kept. */
  get parkedCount(): number {
    let count = 0;
    for (const { slots } of this.#parked) count += slots.length;
    return count;
  }

  /** Whether slots are kept for older versions, some of which may have been released. */
  get hasAny(): boolean {
    return !this.#parked.isEmpty || this.oldPages.hasEnded;
  }

  /** Gives back what only older versions needed that were released. A run may begin meanwhile. */
  async giveBack(): Promise<void> {
    if (this.oldPages.forgetEnded()) await this.giveBackUnused(this.#standing);
    await this.giveBackParked();
  }

  /**
   * CHECK-3.
   *
   * @param standing index slots of the checkpoint that is on the device now
   */
  async giveBackUnused(standing: ReadonlySet<number>): Promise<void> {
    const { index, slots, segments } = this.#parts;
    this.#standing = standing;
    while (!index.memory.reclaimSome(RECLAIM_NODES)) if (this.#budget.isSpent(RECLAIM_NODES)) await nextTurn();
    const unused = new Set(this.indexSlots);
    for (const slot of standing) unused.delete(slot);
    await eachPage(this.#parts, this.#budget, (_, slot) => unused.delete(slot));
    await index.pager.loadsDone();
    // Whoever else has done the same meanwhile has given some back.
    const freed = [...unused].filter((slot) => this.indexSlots.delete(slot));
    for (const slot of freed) segments.drop(slot);
    slots.giveBack(freed);
  }

  /**
   * CHECK-8. The checkpoint that has counted what lives is durable.
   *
   * @param generation that of its tree
   */
  parkDead(generation: number): void {
    const { segments, superblocks } = this.#parts;
    const dead = this.#deadSegments(superblocks.current.logStart);
    for (const slot of dead) segments.drop(slot);
    if (dead.length > 0) this.#parked.push({ generation, slots: dead });
  }

  /** CHECK-8. Gives back the slots of dead segments that nobody reads any more. */
  async giveBackParked(): Promise<void> {
    const { index, slots, epochs } = this.#parts;
    const free: number[] = [];
    for (let parked = this.#parked.peek(); parked !== undefined; parked = this.#parked.peek()) {
      if (parked.generation > index.tree.oldestGeneration) break;
      for (const slot of parked.slots) free.push(slot);
      this.#parked.shift();
    }
    if (free.length === 0) return;
    await epochs.olderEnded();
    slots.giveBack(free);
  }

  /** Segments with records that no replay needs and in which nothing lives. */
  #deadSegments(logStart: LogStart): number[] {
    const { segments } = this.#parts;
    const dead: number[] = [];
    for (let slot = 0; slot < segments.end; slot++) {
      if (!segments.has(slot) || segments.kindOf(slot) === SegmentKind.index) continue;
      if (segments.liveRecordsOf(slot) > 0) continue;
      const isCleaned = segments.kindOf(slot) === SegmentKind.cleaned;
      if (isCleaned || segments.sequenceOf(slot) < logStart.segmentSequence) dead.push(slot);
    }
    return dead;
  }

  /** The planted defect: all that the new checkpoint does not need, before it is durable. */
  giveBackEarly(standing: ReadonlySet<number>, kept: ReadonlySet<number>, logStart: LogStart): void {
    const { slots, segments, planted } = this.#parts;
    const unneeded = planted.earlyReuse === true ? [...standing].filter((slot) => !kept.has(slot)) : [];
    for (const slot of unneeded) this.indexSlots.delete(slot);
    const dead = planted.earlyRecordReuse === true ? this.#deadSegments(logStart) : [];
    for (const slot of [...unneeded, ...dead]) {
      segments.drop(slot);
      slots.giveBack([slot]);
    }
  }
}
