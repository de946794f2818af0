/**
 * Has what only readers need leave memory: the leaves of merged memtables, for iterators and snapshots from before the merge. They
 * become pages as those that only older versions of the tree need: the pager evicts them and reads them back, a checkpoint may
 * move them but never names them, and their ids are free when the last reader ends.
 *
 * ```
 *   merged memtable   inner nodes, ranges    stay in memory: one part in a hundred
 *                     leaves, old entries    written to segments of their own, which are free as a whole later
 * ```
 *
 * OLD-1. It takes no slot that a checkpoint or a deletion may need. Without space, or behind a failed write, the leaves stay in
 *     memory, and SNAPSHOT-3 bounds what they take.
 * OLD-2. Nothing on the device leads to these pages. After a crash their slots are free.
 */
import { nextTurn } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import type { Planted } from '../failure/planted.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { Memtable } from '../index/memtable.ts';
import { PageWriter } from './page-writer.ts';
import type { SegmentWriter } from './segment-writer.ts';

/** Of what readers may keep of merged memtables in memory, so much stays there. */
const LEFT_PART = 1 / 4;

export class OldPages {
  readonly #index: KeyIndex;
  readonly #budget: TurnBudget;
  readonly #planted: Planted;
  /** Memtables with leaves that were saved. */
  #saved: Memtable[] = [];

  constructor(index: KeyIndex, budget: TurnBudget, planted: Planted) {
    this.#planted = planted;
    this.#index = index;
    this.#budget = budget;
  }

  /** Whether merged memtables take so much memory that their leaves are to be saved. */
  get isDue(): boolean {
    return this.#next !== undefined;
  }

  /** Whether pages that were saved are not needed any more. */
  get hasEnded(): boolean {
    return this.#saved.some(({ isRead }) => !isRead);
  }

  /** Returns what `hasEnded` was. It is false afterwards. */
  forgetEnded(): boolean {
    const { hasEnded } = this;
    if (hasEnded) this.#saved = this.#saved.filter(({ isRead }) => isRead);
    return hasEnded;
  }

  /**
   * Saves leaves of the oldest of them, until they take little.
   *
   * @param writer for segments of pages
   * @throws SystemCallError of a write
   */
  async save(writer: SegmentWriter, sequence: Sequence): Promise<void> {
    const pages = new PageWriter({ index: this.#index, writer, budget: this.#budget, sequence });
    for (let next = this.#next; next !== undefined; next = this.#next) {
      if (!(await this.#saveLeaves(next, pages))) break;
    }
    await pages.finish();
  }

  get #next(): Memtable | undefined {
    const { merged, budget } = this.#index;
    const { oldPages } = this.#planted;
    if (oldPages !== undefined) return oldPages === 'eager' ? merged.unsaved : undefined;
    return merged.bytes > LEFT_PART * budget.heldBytes ? merged.unsaved : undefined;
  }

  /** Returns false if there is no more space. */
  async #saveLeaves(memtable: Memtable, pages: PageWriter): Promise<boolean> {
    const { memory } = this.#index;
    let savedBytes = 0;
    let hasRoom = true;
    const isRead = (): boolean => memtable.isRead;
    for (const id of memtable.leaves) {
      // Its nodes are freed with the last reader.
      if (!isRead()) return true;
      hasRoom = await pages.saveOld(id, isRead);
      if (!hasRoom) break;
      if (isRead()) savedBytes += memory.units(id) * memory.nodeBytes;
      if (this.#budget.isSpent()) await nextTurn();
    }
    if (isRead() && savedBytes > 0) {
      memtable.saved(savedBytes);
      this.#saved.push(memtable);
    }
    return hasRoom;
  }
}
