/**
 * Removes all keys between two bounds. What lies wholly between them is cut off in subtrees that are as high as possible,
 * so that the time depends on the height of the tree, not on the number of keys.
 *
 * ```
 *                 [ .. | .. | .. ]               from the leaf of the lower bound to the right:
 *                 /    |    |    \                 entries of the first leaf,
 *              [..]  [..]  [..]  [..]             then whole leaves under its parent,
 *              /|\   /|\   /|\   /|\               then whole subtrees,
 *               ├1┤2├──── 3 ────┤4├5┤             and down again to entries of the last leaf
 * ```
 *
 * RANGE-1. A leaf that is cut off alone is retired at once, and its entries are counted. What is cut off above becomes a
 *     backlog, in which nobody counts.
 */
import * as node from './node.ts';
import type { Path } from './path.ts';
import { Probe } from './probe.ts';
import type { Removal } from './removal.ts';

/** Scratch that all trees share: no use of it outlasts a call. */
const at = new Probe();
const behind = new Probe();
const fence = new Probe();

export class RangeRemoval {
  readonly #path: Path;
  readonly #removal: Removal;
  #removed = 0;
  #isCounted = true;

  constructor(path: Path, removal: Removal) {
    this.#path = path;
    this.#removal = removal;
  }

  /**
   * Removes the keys from `from` on that are below `to`; null: all of them.
   *
   * @returns how many, or -1 if they were not counted
   */
  run(from: Probe, to: Probe | null): number {
    const path = this.#path;
    const { memory } = path;
    this.#removed = 0;
    this.#isCounted = true;
    at.copy(from);
    for (let goesOn = true; goesOn && path.root !== 0;) {
      const leaf = path.descend(at);
      const first = positionOf(path.searchLeaf(at));
      const words = memory.words(leaf);
      const base = memory.base(leaf);
      const count = node.count(words, base);
      const end = to === null ? count : positionOf(node.search(words, base, to));
      // `behind` is where the range goes on.
      goesOn = end === count && path.loadFence(0, behind) && (to === null || behind.compare(to) < 0);
      if (first === 0 && end === count) goesOn = this.#removeWhole(to);
      else if (first < end) this.#removeEntries(first, end);
      at.copy(behind);
    }
    return this.#isCounted ? this.#removed : -1;
  }

  #removeEntries(first: number, end: number): void {
    const path = this.#path;
    path.makeWritable();
    const id = path.nodes[0] as number;
    const words = path.memory.words(id);
    const base = path.memory.base(id);
    for (let left = end - first; left > 0; left--) node.remove(words, base, first);
    this.#removed += end - first;
    this.#removal.settle(0);
    path.collapseRoot();
  }

  /**
   * Removes the highest subtree that begins with the path's leaf and lies in the range, and those behind it under the
   * same parent. Returns whether the range goes on at `behind`.
   */
  #removeWhole(to: Probe | null): boolean {
    const path = this.#path;
    const { memory } = path;
    let level = 0;
    while (level < path.top && path.taken[level + 1] === 0 && this.#endsWithin(level + 1, to)) level++;
    if (level === path.top) {
      this.#isCounted = false;
      path.fell();
      return false;
    }
    path.makeWritable(level + 1);
    const parent = path.nodes[level + 1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const children = node.count(words, base);
    const first = path.taken[level + 1] as number;
    const roots: number[] = [];
    let goesOn = true;
    for (let isWithin = true; isWithin;) {
      const last = path.taken[level + 1] as number;
      roots.push(node.childAt(words, base, last));
      goesOn = path.loadFence(level, behind) && (to === null || behind.compare(to) < 0);
      if (last === children) break;
      path.taken[level + 1] = last + 1;
      isWithin = this.#endsWithin(level, to);
    }
    if (roots.length > children) this.#removal.removePathNode(level + 1);
    else this.#removal.removeChildren(level + 1, first, first + roots.length - 1);
    path.collapseRoot();
    this.#letGo(roots, level);
    return goesOn;
  }

  /** Whether all keys of the path's node on this level are below `to`. */
  #endsWithin(level: number, to: Probe | null): boolean {
    if (to === null) return true;
    return this.#path.loadFence(level, fence) && fence.compare(to) <= 0;
  }

  /** RANGE-1. */
  #letGo(roots: number[], rootsLevel: number): void {
    const { memory, lifetimes } = this.#path;
    let level = rootsLevel;
    let ids = roots;
    // A chain to a single leaf is no subtree.
    while (
      level > 0 &&
      ids.length === 1 &&
      node.count(memory.words(ids[0] as number), memory.base(ids[0] as number)) === 0
    ) {
      const id = ids[0] as number;
      ids = [node.childAt(memory.words(id), memory.base(id), 0)];
      lifetimes.retire(id);
      level--;
    }
    if (level > 0) {
      this.#isCounted = false;
      lifetimes.condemn(ids, level);
      return;
    }
    for (const id of ids) {
      this.#removed += node.count(memory.words(id), memory.base(id));
      lifetimes.retire(id);
    }
  }
}

/** Of what `node.search` returns: the index of the first entry that is not below the key. */
function positionOf(found: number): number {
  return found < 0 ? ~found : found;
}
