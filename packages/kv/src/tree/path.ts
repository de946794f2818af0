/**
 * The root of the live tree and the path from it to the leaf that a write changes. `nodes[level]` is the node on a
 * level, and `taken[level]` is the child of it through which the path continues. This file makes the path writable and
 * links nodes into their parents. It never rebuilds a node (insertion.ts and removal.ts do) and does not handle
 * entries.
 *
 *   nodes[top] = root    ... | taken[top] | ...
 *                                 │
 *   nodes[1]             ... | taken[1] | ...
 *                                 │
 *   nodes[0]             the leaf of the key
 */
import { assert } from '@aiokv/core';
import { Fence } from './fence.ts';
import * as node from './node.ts';
import { MARK_SEALED, MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';
import { Probe } from './probe.ts';
import type { Lifetimes } from './snapshot.ts';

/** More levels than any tree reaches. */
const LEVELS_MAX = 64;

/** Scratch that all trees share: no use of it outlasts a call. */
const fence = new Probe();

export class Path {
  readonly memory: NodeMemory;
  readonly lifetimes: Lifetimes;
  /** 0 when the tree is empty. */
  root = 0;
  /** Level of the root. */
  top = 0;
  readonly nodes: number[] = Array.from({ length: LEVELS_MAX }, () => 0);
  readonly taken: number[] = Array.from({ length: LEVELS_MAX }, () => 0);
  /** That of the leaf of the path, if somebody has asked for it. */
  readonly fence = new Fence();

  constructor(memory: NodeMemory, lifetimes: Lifetimes) {
    this.memory = memory;
    this.lifetimes = lifetimes;
  }

  /** Records the path to the leaf of the key and returns the leaf, which may be absent. Requires a root. */
  descend(probe: Probe): number {
    const memory = this.memory;
    this.fence.remove();
    let id = this.root;
    for (let level = this.top; level > 0; level--) {
      const words = memory.words(id);
      const base = memory.base(id);
      const found = node.search(words, base, probe);
      const child = found >= 0 ? found + 1 : ~found;
      this.nodes[level] = id;
      this.taken[level] = child;
      id = node.childAt(words, base, child);
    }
    this.nodes[0] = id;
    return id;
  }

  /** Notes the fence of the leaf of the path. */
  noteFence(): void {
    if (this.loadFence(0, this.fence.key)) this.fence.close();
    else this.fence.open();
  }

  /** The position of the key in the leaf; see `node.search`. */
  searchLeaf(probe: Probe): number {
    const id = this.nodes[0] as number;
    const memory = this.memory;
    assert(memory.isResident(id), 'a leaf is in memory when it is written');
    memory.mark(id, MARK_USED);
    return node.search(memory.words(id), memory.base(id), probe);
  }

  /**
   * Copies the separator behind the path's node on this level to `into`: keys from there on are in other nodes. False:
   * the node is the last of its level.
   */
  loadFence(level: number, into: Probe): boolean {
    const { memory } = this;
    for (let above = level + 1; above <= this.top; above++) {
      const id = this.nodes[above] as number;
      const words = memory.words(id);
      const base = memory.base(id);
      const taken = this.taken[above] as number;
      if (taken === node.count(words, base)) continue;
      node.loadKey(words, base, taken, into);
      return true;
    }
    return false;
  }

  /**
   * Adds the leaves from that of a key on to `leaves` until it has `most`, in memory or not, as far as they begin below
   * `to`. Requires a root, and makes the path another one.
   */
  addLeaves(from: Probe, to: Probe | null, most: number, leaves: number[]): void {
    const { memory } = this;
    fence.copy(from);
    for (let goesOn = true; goesOn && leaves.length < most;) {
      const leaf = this.descend(fence);
      if (this.top === 0) {
        leaves.push(leaf);
        return;
      }
      const id = this.nodes[1] as number;
      const words = memory.words(id);
      const base = memory.base(id);
      const last = node.count(words, base);
      for (let child = this.taken[1] as number; leaves.length < most; child++) {
        leaves.push(node.childAt(words, base, child));
        this.taken[1] = child;
        goesOn = this.loadFence(0, fence) && (to === null || fence.compare(to) < 0);
        if (child === last || !goesOn) break;
      }
    }
  }

  /** Whether the node on this level is the last node of its level (`atEnd`) or the first. */
  isAtEdge(level: number, atEnd: boolean): boolean {
    for (let above = level + 1; above <= this.top; above++) {
      const id = this.nodes[above] as number;
      const edge = atEnd ? node.count(this.memory.words(id), this.memory.base(id)) : 0;
      if (this.taken[above] !== edge) return false;
    }
    return true;
  }

  /**
   * Copies the nodes of the path, down to this level, that must not change. Checking the lowest is enough: SNAP-4.
   */
  makeWritable(lowest = 0): void {
    const { newest, isSaved } = this.lifetimes;
    if (newest < 0 && !isSaved) return;
    if (this.#isWritable(this.nodes[lowest] as number)) return;
    for (let level = this.top; level >= lowest; level--) {
      const id = this.nodes[level] as number;
      const mine = this.writable(id);
      if (mine !== id) this.#link(level, mine);
    }
  }

  /** Returns the node if it may change, else a copy of it, which the caller must link in its place. */
  writable(id: number): number {
    if (this.#isWritable(id)) return id;
    const { memory, lifetimes } = this;
    const units = memory.units(id);
    const mine = lifetimes.allocate(units);
    const capacity = units * memory.unitWords;
    node.copy(memory.words(id), memory.base(id), capacity, memory.words(mine), memory.base(mine));
    node.setBirth(memory.words(mine), memory.base(mine), lifetimes.generation);
    lifetimes.retire(id);
    return mine;
  }

  /** SNAP-1, SNAP-5. */
  #isWritable(id: number): boolean {
    const { memory } = this;
    if ((memory.marks(id) & MARK_SEALED) !== 0) return false;
    return node.birth(memory.words(id), memory.base(id)) > this.lifetimes.newest;
  }

  /** Retires the node on this level and links another in its place. */
  replace(level: number, id: number): void {
    this.lifetimes.retire(this.nodes[level] as number);
    this.#link(level, id);
  }

  #link(level: number, id: number): void {
    this.nodes[level] = id;
    if (level === this.top) {
      this.root = id;
    } else {
      const parent = this.nodes[level + 1] as number;
      node.setChild(this.memory.words(parent), this.memory.base(parent), this.taken[level + 1] as number, id);
    }
  }

  /** Gives an empty tree a root: a leaf without entries. */
  plantRoot(): void {
    this.top = -1;
    this.raiseRoot(0);
  }

  /** Leaves an empty tree. The nodes become a backlog of the memory. */
  fell(): void {
    this.fence.remove();
    if (this.root !== 0) this.lifetimes.condemn([this.root], this.top);
    this.root = 0;
    this.top = 0;
  }

  /** Adds an empty root above the current one, which becomes its first child. */
  raiseRoot(firstChild: number): void {
    const id = this.lifetimes.allocate(1);
    const words = this.memory.words(id);
    const base = this.memory.base(id);
    this.top++;
    assert(this.top < LEVELS_MAX, 'the tree is lower than its path is long');
    node.clear(words, base, this.top, 0, this.memory.unitWords, firstChild);
    node.setBirth(words, base, this.lifetimes.generation);
    this.root = id;
    this.nodes[this.top] = id;
    this.taken[this.top] = 0;
  }

  /** Replaces an inner root that has a single child by that child, as often as needed. */
  collapseRoot(): void {
    const memory = this.memory;
    while (this.top > 0) {
      const id = this.root;
      const words = memory.words(id);
      const base = memory.base(id);
      if (node.count(words, base) > 0) return;
      this.root = node.childAt(words, base, 0);
      this.lifetimes.retire(id);
      this.top--;
    }
  }

  /** Words that the node uses, without its garbage. */
  usedWords(id: number): number {
    const memory = this.memory;
    return node.usedWords(memory.words(id), memory.base(id), memory.units(id) * memory.unitWords);
  }
}
