/**
 * Merges an immutable memtable into the tree, in key order, so that each leaf is visited once. A scout walks ahead of
 * the merge, and the leaves that it meets are read while the merge goes on.
 *
 * ```
 *   memtable   a b c d e f g h i j k …          keys in order
 *                  ▲       ▲
 *                merge   scout      between them: leaves that are read or were read, pinned until the merge has passed
 *
 *   run ──► done
 *    │ ▲
 *    ▼ └─────────────────────┐
 *   blocked ─► whenUnblocked ┘
 * ```
 *
 * MERGE-1. An entry of the memtable is taken once, in key order.
 * MERGE-2. A leaf that the scout has met stays in memory until the merge has passed its first entry. It was copied then
 *     (SNAP-5), or the memory is short and the leaf is read again.
 *
 * A leaf that cannot be read ahead is read again when the merge reaches it.
 */
import { Fifo } from '@aiokv/core';
import type { Cursor, Tree, TreeSnapshot } from '../tree/index.ts';
import { isDeletion } from '../format/index-entry.ts';
import type { Pager } from './pager.ts';

/** Most leaves read ahead: this many, and no more than one in AHEAD_PART of the nodes that fit into memory. */
const LEAVES_AHEAD = 64;
const AHEAD_PART = 16;
/** Most entries that the scout looks at in one step. */
const LOOKS = 1024;
/** Entries merged between two calls of `isLong`. */
const ENTRIES_PER_QUESTION = 64;

/** A leaf that the scout has met. */
interface LeafAhead {
  readonly pageId: number;
  /** Number of entries of the memtable before the first one of this leaf. */
  readonly first: number;
  state: 'loading' | 'pinned' | 'failed';
  readonly loaded: Promise<void> | null;
}

export class Merge {
  readonly #size: number;
  readonly #snapshot: TreeSnapshot;
  readonly #cursor: Cursor;
  readonly #scout: Cursor;
  readonly #tree: Tree;
  readonly #pager: Pager;
  #hasMore: boolean;
  /** Entries that the merge has taken, and entries that the scout has passed. */
  #taken = 0;
  #scouted = 0;
  readonly #ahead = new Fifo<LeafAhead>();
  #lastMet = 0;
  #blockedOn = 0;

  constructor(memtable: Tree, tree: Tree, pager: Pager) {
    this.#size = memtable.size;
    this.#snapshot = memtable.snapshot();
    this.#cursor = this.#snapshot.cursor();
    this.#scout = this.#snapshot.cursor();
    this.#hasMore = this.#cursor.first();
    this.#scout.first();
    this.#tree = tree;
    this.#pager = pager;
  }

  /** The part of the memtable that is merged, from 0 to 1. */
  get progress(): number {
    return this.#hasMore ? this.#taken / this.#size : 1;
  }

  /**
   * Merges entries until all are done, the next leaf is not in memory, or the slice is over.
   *
   * @param isLong whether the slice is over
   */
  run(isLong: () => boolean): 'done' | 'blocked' | 'more' {
    this.#lookAhead();
    let outcome: 'done' | 'blocked' | 'more' = 'done';
    for (let count = 1; this.#hasMore; count++) {
      const { keyBytes, keyLength, entry } = this.#cursor;
      this.#blockedOn = this.#tree.goTo(keyBytes, keyLength);
      if (this.#blockedOn !== 0) {
        outcome = 'blocked';
        break;
      }
      if (isDeletion(entry)) this.#tree.deleteHere();
      else this.#tree.setHere(entry.word0, entry.word1);
      this.#hasMore = this.#cursor.next();
      this.#taken++;
      if (count % ENTRIES_PER_QUESTION === 0 && isLong()) {
        outcome = 'more';
        break;
      }
    }
    this.#letGoBehind();
    return outcome;
  }

  /**
   * Settles when the leaf that blocks the merge is in memory.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async whenUnblocked(): Promise<void> {
    for (const leaf of this.#ahead) {
      if (leaf.pageId !== this.#blockedOn || leaf.state === 'failed') continue;
      await leaf.loaded;
      if (leaf.state === 'pinned') return;
    }
    await this.#pager.pin([this.#blockedOn]);
    this.#ahead.push({ pageId: this.#blockedOn, first: this.#taken, state: 'pinned', loaded: null });
  }

  end(): void {
    for (const leaf of this.#ahead.drain()) this.#letGo(leaf);
    this.#snapshot.release();
  }

  /** Moves the scout on, and starts to read the leaves that it meets. */
  #lookAhead(): void {
    if (this.#scouted < this.#taken && this.#hasMore) {
      this.#scout.seek(this.#cursor.keyBytes, this.#cursor.keyLength, '>=');
      this.#scouted = this.#taken;
    }
    const { memory } = this.#tree;
    const most = Math.min(LEAVES_AHEAD, Math.max(1, this.#pager.limitBytes / memory.nodeBytes / AHEAD_PART));
    for (let looks = LOOKS; looks > 0 && this.#scout.valid && this.#ahead.length < most; looks--) {
      const pageId = this.#tree.leafOf(this.#scout.keyBytes, this.#scout.keyLength);
      if (pageId !== 0 && pageId !== this.#lastMet) this.#meet(pageId);
      this.#lastMet = pageId;
      this.#scouted++;
      this.#scout.next();
    }
  }

  #meet(pageId: number): void {
    if (this.#tree.memory.isResident(pageId)) {
      this.#pager.hold(pageId);
      this.#ahead.push({ pageId, first: this.#scouted, state: 'pinned', loaded: null });
      return;
    }
    const loaded = this.#pager.pin([pageId]).then(
      () => {
        leaf.state = 'pinned';
      },
      () => {
        leaf.state = 'failed';
      },
    );
    const leaf: LeafAhead = { pageId, first: this.#scouted, state: 'loading', loaded };
    this.#ahead.push(leaf);
  }

  /** MERGE-2. */
  #letGoBehind(): void {
    for (let leaf = this.#ahead.peek(); leaf !== undefined && leaf.first < this.#taken; leaf = this.#ahead.peek()) {
      this.#ahead.shift();
      this.#letGo(leaf);
    }
  }

  #letGo(leaf: LeafAhead): void {
    if (leaf.state === 'pinned') this.#pager.letGo(leaf.pageId);
    else if (leaf.state === 'loading') {
      // A load that fails is not pinned.
      void leaf.loaded?.then(() => {
        if (leaf.state === 'pinned') this.#pager.letGo(leaf.pageId);
      });
    }
  }
}
