/**
 * Reads the leaves that a walk over sorted keys will need, before the walk needs them. It walks over the same keys, ahead
 * of the walk.
 *
 * ```
 *   keys       a b c d e f g h i j k …          in order
 *                  ▲       ▲
 *                walk    scout      between them: leaves that are read or were read, pinned until the walk has passed
 * ```
 *
 * SCOUT-1. A leaf that the scout has met stays in memory until the walk has passed its first key. If memory is short it
 *     may have to be read again for the others.
 *
 * A leaf that cannot be read ahead is read again when the walk reaches it.
 */
import { Fifo } from '@aiokv/core';
import { LeafWalk } from '../tree/index.ts';
import type { Tree } from '../tree/index.ts';
import type { MergeInput } from './merge-input.ts';
import type { Pager } from './pager.ts';

/** Most leaves read ahead: this many, and no more than one in AHEAD_PART of the nodes that fit into memory. */
const LEAVES_AHEAD = 256;
const AHEAD_PART = 16;
/** The scout moves on when it is ahead by less than this part of it. So it meets many leaves in one step. */
const BEHIND_PART = 3 / 4;
/** Most keys that the scout looks at in one step. */
const LOOKS = 2048;

/** Most leaves that one walk has read ahead. */
export function mostLeavesAhead({ limitBytes }: Pager, { memory }: Tree): number {
  return Math.min(LEAVES_AHEAD, Math.max(1, limitBytes / memory.nodeBytes / AHEAD_PART));
}

/** A leaf that the scout has met. */
interface LeafAhead {
  readonly pageId: number;
  /** Number of keys before the first one of this leaf. */
  readonly first: number;
}

export class LeafScout {
  readonly #cursor: MergeInput;
  readonly #tree: Tree;
  readonly #leaves: LeafWalk;
  readonly #pager: Pager;
  /** Keys that the scout has passed. */
  #passed = 0;
  readonly #ahead = new Fifo<LeafAhead>();
  #lastMet = 0;

  /**
   * @param cursor over the keys of the walk, the scout's own
   * @param tree the tree whose leaves are needed
   */
  constructor(cursor: MergeInput, tree: Tree, pager: Pager) {
    this.#cursor = cursor;
    this.#cursor.first();
    this.#tree = tree;
    this.#leaves = new LeafWalk(tree);
    this.#pager = pager;
  }

  /**
   * Moves the scout on, and starts to read the leaves that it meets.
   *
   * @param walk the cursor of the walk, at a key
   * @param taken keys that the walk has passed
   */
  lookAhead(walk: MergeInput, taken: number): void {
    if (this.#passed < taken && walk.valid) {
      this.#cursor.goTo(walk);
      this.#passed = taken;
    }
    const most = mostLeavesAhead(this.#pager, this.#tree);
    if (this.#ahead.length > most * BEHIND_PART) return;
    const met: number[] = [];
    for (let looks = LOOKS; looks > 0 && this.#cursor.valid && this.#ahead.length < most; looks--) {
      const pageId = this.#leaves.leafOf(this.#cursor.keyBytes, this.#cursor.keyLength);
      if (pageId !== 0 && pageId !== this.#lastMet) {
        met.push(pageId);
        this.#ahead.push({ pageId, first: this.#passed });
      }
      this.#lastMet = pageId;
      this.#passed++;
      this.#cursor.next();
    }
    this.#pager.holdAhead(met);
  }

  /**
   * Settles when a leaf that the walk has reached is in memory. It stays there until `letGoBehind` is called with more
   * than `taken`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async whenLoaded(pageId: number, taken: number): Promise<void> {
    await this.#pager.pin([pageId]);
    for (const leaf of this.#ahead) {
      if (leaf.pageId !== pageId) continue;
      // It is held already.
      this.#pager.letGo(pageId);
      return;
    }
    this.#ahead.push({ pageId, first: taken });
  }

  /** SCOUT-1. The walk has passed so many keys. */
  letGoBehind(taken: number): void {
    for (let leaf = this.#ahead.peek(); leaf !== undefined && leaf.first < taken; leaf = this.#ahead.peek()) {
      this.#ahead.shift();
      this.#pager.letGo(leaf.pageId);
    }
  }

  end(): void {
    for (const leaf of this.#ahead.drain()) this.#pager.letGo(leaf.pageId);
  }
}
