/**
 * Fills all leaves of the tree, in slices, when a merge has ended and before its checkpoint: see tree/packing.ts. Leaves
 * that are not in memory are read, several at once.
 */
import type { Packing, Tree } from '../tree/index.ts';
import { LeavesAhead } from './leaves-ahead.ts';
import type { Pager } from './pager.ts';

/** Leaves read together. */
const LEAVES_AT_ONCE = 16;
/** Leaves filled between two calls of `isLong`. */
const LEAVES_PER_QUESTION = 8;

export class LeafPacking {
  readonly #packing: Packing;
  readonly #leaves: LeavesAhead;
  #blockedOn = 0;

  constructor(tree: Tree, pager: Pager) {
    this.#packing = tree.pack();
    this.#leaves = new LeavesAhead(pager);
  }

  /** Fills leaves until all are full, the next one is not in memory, or the slice is over. */
  run(isLong: () => boolean): 'done' | 'blocked' | 'more' {
    for (let count = 1; !this.#packing.isDone; count++) {
      this.#blockedOn = this.#packing.step();
      if (this.#blockedOn !== 0) return 'blocked';
      if (count % LEAVES_PER_QUESTION === 0 && isLong()) return 'more';
    }
    this.end();
    return 'done';
  }

  /**
   * Settles when the leaf that blocks is in memory.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async whenUnblocked(): Promise<void> {
    const others = this.#packing.absentAhead(LEAVES_AT_ONCE).filter((id) => id !== this.#blockedOn);
    await this.#leaves.read([this.#blockedOn, ...others]);
  }

  /** Lets go of what was read. */
  end(): void {
    this.#leaves.letGo();
  }
}
