/**
 * Merges an immutable memtable into the tree, in key order, so that each leaf is visited once. It stops at a leaf that
 * is not in memory; then the leaves of the next entries are read together.
 *
 * ```
 *   run ──► done
 *    │ ▲
 *    ▼ └────────────────┐
 *   blocked ─► readAhead┘      the leaves stay pinned until the next readAhead, or the end
 * ```
 */
import type { Cursor, Tree, TreeSnapshot } from '../tree/index.ts';
import { isDeletion } from '../format/index-entry.ts';
import type { Pager } from './pager.ts';

/** Most leaves read at once: this many, and no more than one in AHEAD_PART of the nodes that fit into memory. */
const LEAVES_AHEAD = 64;
const AHEAD_PART = 16;
/** Entries merged between two calls of `isLong`. */
const ENTRIES_PER_QUESTION = 64;

export class Merge {
  readonly #snapshot: TreeSnapshot;
  readonly #cursor: Cursor;
  readonly #tree: Tree;
  readonly #pager: Pager;
  #hasMore: boolean;
  #pinned: number[] = [];

  constructor(memtable: Tree, tree: Tree, pager: Pager) {
    this.#snapshot = memtable.snapshot();
    this.#cursor = this.#snapshot.cursor();
    this.#hasMore = this.#cursor.first();
    this.#tree = tree;
    this.#pager = pager;
  }

  /**
   * Merges entries until all are done, the next leaf is not in memory, or the slice is over.
   *
   * @param isLong whether the slice is over
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
