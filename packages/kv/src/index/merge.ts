/**
 * Takes the entries of an immutable memtable into the tree, in their order, so that each leaf is met once. Where a leaf
 * is not in memory it stops, and the leaves that the next entries need are read at once.
 *
 * ```
 *   run ──► done
 *    │ ▲
 *    ▼ └────────────────┐
 *   blocked ─► readAhead┘      leaves that were read stay pinned until the next readAhead, or the end
 * ```
 */
import type { Cursor, Tree, TreeSnapshot } from '../tree/index.ts';
import { isDeletion } from '../format/index-entry.ts';
import type { Pager } from './pager.ts';

/** Leaves that are read at once, at most, and the part of the memory that they may take. */
const LEAVES_AHEAD = 64;
const AHEAD_PART = 16;
const ENTRIES_PER_QUESTION = 64;

export class Merge {
  readonly #snapshot: TreeSnapshot;
  readonly #cursor: Cursor;
  readonly #tree: Tree;
  readonly #pager: Pager;
  #hasMore: boolean;
  /** Leaves that were read for the entries that come next. */
  #pinned: number[] = [];

  constructor(memtable: Tree, tree: Tree, pager: Pager) {
    this.#snapshot = memtable.snapshot();
    this.#cursor = this.#snapshot.cursor();
    this.#hasMore = this.#cursor.first();
    this.#tree = tree;
    this.#pager = pager;
  }

  /**
   * Takes entries over until there are none, the next one's leaf is not in memory, or it has taken long enough.
   *
   * @param isLong asked now and then
   */
  run(isLong: () => boolean): 'done' | 'blocked' | 'more' {
    let taken = 0;
    while (this.#hasMore) {
      const { keyBytes, keyLength, entry } = this.#cursor;
      if (this.#tree.goTo(keyBytes, keyLength) !== 0) return 'blocked';
      if (isDeletion(entry)) this.#tree.deleteHere();
      else this.#tree.setHere(entry.word0, entry.word1);
      this.#hasMore = this.#cursor.next();
      if (++taken % ENTRIES_PER_QUESTION === 0 && isLong()) return 'more';
    }
    return 'done';
  }

  /**
   * Reads the leaves that the next entries need.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async readAhead(): Promise<void> {
    this.#unpin();
    const { memory } = this.#tree;
    const most = Math.min(LEAVES_AHEAD, Math.max(1, this.#pager.limitBytes / memory.nodeBytes / AHEAD_PART));
    const leaves = new Set<number>();
    const scout = this.#snapshot.cursor();
    let hasMore = scout.seek(this.#cursor.keyBytes, this.#cursor.keyLength, '>=');
    for (let looks = 4 * LEAVES_AHEAD; hasMore && looks > 0 && leaves.size < most; looks--) {
      const leaf = this.#tree.goTo(scout.keyBytes, scout.keyLength);
      if (leaf !== 0) leaves.add(leaf);
      hasMore = scout.next();
    }
    const ids = [...leaves];
    await this.#pager.pin(ids);
    this.#pinned = ids;
  }

  end(): void {
    this.#unpin();
    this.#snapshot.release();
  }

  #unpin(): void {
    this.#pager.unpin(this.#pinned);
    this.#pinned = [];
  }
}
