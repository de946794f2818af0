/**
 * Says which leaves hold keys in ascending order. The tree may change meanwhile behind the walk: then the answer may be a
 * leaf that the tree has replaced since. It reads inner nodes only, and a descent for each leaf instead of each key.
 */
import { Fence } from './fence.ts';
import { leafOf } from './lookup.ts';
import { Probe } from './probe.ts';
import type { Tree } from './tree.ts';

export class LeafWalk {
  readonly #tree: Tree;
  readonly #key = new Probe();
  readonly #fence = new Fence();
  #leaf = 0;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** The leaf that can hold the key, which is not below that of the last call; 0 if the tree is empty. */
  leafOf(key: Uint8Array, keyLength: number): number {
    const { memory, root } = this.#tree;
    this.#key.load(key, keyLength);
    if (!this.#fence.holds(this.#key)) {
      this.#leaf = root === 0 ? 0 : leafOf(memory, root, this.#key, this.#fence);
    }
    return this.#leaf;
  }
}
