/**
 * Restores the shape of the tree after an entry was removed. An empty leaf is removed, and an underfull node merges
 * with a neighbour. Both can repeat on the levels above.
 */
import * as node from './node.ts';
import type { Path } from './path.ts';
import { Probe } from './probe.ts';
import { rewrite, writeRange } from './rewrite.ts';

/** A node that uses less than one part in this many of a unit looks for a neighbour to merge with. */
const UNDERFULL_PART = 4;

/** The separator between two nodes that merge. All trees share it: no use of it outlasts a call. */
const parting = new Probe();

export class Removal {
  readonly #path: Path;

  constructor(path: Path) {
    this.#path = path;
  }

  /** Removes the path's node on this level if it is an empty leaf; merges it if it is underfull. */
  settle(level: number): void {
    const path = this.#path;
    const { memory } = path;
    const id = path.nodes[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    if (level === 0 && node.count(words, base) === 0) {
      this.removePathNode(level);
    } else if (level < path.top) {
      const used = node.usedWords(words, base, memory.units(id) * memory.unitWords);
      if (used < memory.unitWords / UNDERFULL_PART) this.#merge(level);
    }
  }

  /**
   * Removes children `first` to `last` of the path's node on this level, which must be writable and have others. They are
   * the caller's from now on.
   */
  removeChildren(level: number, first: number, last: number): void {
    const { memory, nodes } = this.#path;
    const id = nodes[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    if (first === 0) node.setChild(words, base, 0, node.childAt(words, base, last + 1));
    // Separator i stands between children i and i + 1.
    const separator = Math.max(0, first - 1);
    for (let left = last - first; left >= 0; left--) node.remove(words, base, separator);
    this.settle(level);
  }

  /** Retires the path's node on this level, which has no entries or children left, and removes it from its parent. */
  removePathNode(level: number): void {
    const path = this.#path;
    const { memory } = path;
    path.fence.remove();
    path.lifetimes.retire(path.nodes[level] as number);
    if (level === path.top) {
      path.root = 0;
      path.top = 0;
      return;
    }
    const parent = path.nodes[level + 1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const child = path.taken[level + 1] as number;
    if (node.count(words, base) === 0) {
      this.removePathNode(level + 1);
      return;
    }
    if (child === 0) node.setChild(words, base, 0, node.childAt(words, base, 1));
    node.remove(words, base, child === 0 ? 0 : child - 1);
    this.settle(level + 1);
  }

  /**
   * Merges the path's node on this level with a neighbour under the same parent, if both together fit
   * into three quarters of a unit.
   */
  #merge(level: number): void {
    const path = this.#path;
    const { memory } = path;
    const parent = path.nodes[level + 1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const taken = path.taken[level + 1] as number;
    const limit = (memory.unitWords * 3) >>> 2;
    for (const left of [taken - 1, taken]) {
      if (left < 0 || left >= node.count(words, base)) continue;
      const leftId = node.childAt(words, base, left);
      const rightId = node.childAt(words, base, left + 1);
      // A merge is not worth a read.
      if (!memory.isResident(leftId) || !memory.isResident(rightId)) continue;
      if (path.usedWords(leftId) + path.usedWords(rightId) > limit) continue;
      node.loadKey(words, base, left, parting);
      rewrite.startPair(memory, leftId, rightId, parting);
      if (rewrite.sizeWords(0, rewrite.total) > limit) continue;
      path.fence.remove();
      const merged = path.lifetimes.allocate(1);
      writeRange(path, merged, 0, rewrite.total, rewrite.firstChild);
      path.lifetimes.retire(leftId);
      path.lifetimes.retire(rightId);
      node.setChild(words, base, left, merged);
      node.remove(words, base, left);
      path.nodes[level] = merged;
      path.taken[level + 1] = left;
      this.settle(level + 1);
      return;
    }
  }
}
