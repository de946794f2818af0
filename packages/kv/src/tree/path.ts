/**
 * The root of the live tree and the way from it to one leaf, which is what a write works on: `nodes[level]`, and
 * `taken[level]`, which child of it leads on. It makes the way writable, and puts nodes into their parents; it never
 * lays a node out anew (insertion.ts and removal.ts do), and knows no entries.
 *
 *   nodes[top] = root    ... | taken[top] | ...
 *                                 │
 *   nodes[1]             ... | taken[1] | ...
 *                                 │
 *   nodes[0]             the leaf of the key
 */
import { assert } from '@aiokv/core';
import * as node from './node.ts';
import { MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';
import type { Probe } from './probe.ts';
import type { Lifetimes } from './snapshot.ts';

/** No tree becomes as high as this. */
const LEVELS_MAX = 64;

export class Path {
  readonly memory: NodeMemory;
  readonly lifetimes: Lifetimes;
  /** 0 when the tree is empty. */
  root = 0;
  /** Level of the root. */
  top = 0;
  readonly nodes: number[] = Array.from({ length: LEVELS_MAX }, () => 0);
  readonly taken: number[] = Array.from({ length: LEVELS_MAX }, () => 0);

  constructor(memory: NodeMemory, lifetimes: Lifetimes) {
    this.memory = memory;
    this.lifetimes = lifetimes;
  }

  /** Goes to the leaf of the key, which may be absent, and notes the way. Requires a root. */
  descend(probe: Probe): number {
    const memory = this.memory;
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

  /** Where the key stands in the leaf: see `node.search`. */
  searchLeaf(probe: Probe): number {
    const id = this.nodes[0] as number;
    const memory = this.memory;
    assert(memory.isResident(id), 'a leaf is in memory when it is written');
    memory.mark(id, MARK_USED);
    return node.search(memory.words(id), memory.base(id), probe);
  }

  /** Whether the node on this level is the last, or the first, of its level. */
  isAtEdge(level: number, atEnd: boolean): boolean {
    for (let above = level + 1; above <= this.top; above++) {
      const id = this.nodes[above] as number;
      const edge = atEnd ? node.count(this.memory.words(id), this.memory.base(id)) : 0;
      if (this.taken[above] !== edge) return false;
    }
    return true;
  }

  /** Copies what a snapshot sees of the way. Only the leaf need be asked: invariant 4 of snapshot.ts. */
  makeWritable(): void {
    const { newest, cleanThrough, cutThrough } = this.lifetimes;
    const seen = Math.max(newest, cleanThrough, cutThrough);
    if (seen < 0) return;
    const memory = this.memory;
    const leaf = this.nodes[0] as number;
    if (node.birth(memory.words(leaf), memory.base(leaf)) > seen) return;
    for (let level = this.top; level >= 0; level--) {
      const id = this.nodes[level] as number;
      const mine = this.writable(id);
      if (mine !== id) this.#link(level, mine);
    }
  }

  /** The node, dirty from now on; where a snapshot sees it a copy, and the caller puts that into its place. */
  writable(id: number): number {
    const { memory, lifetimes } = this;
    const words = memory.words(id);
    const base = memory.base(id);
    const units = memory.units(id);
    const birth = node.birth(words, base);
    if (birth <= lifetimes.cutThrough) lifetimes.changedUnits += units;
    let mine = id;
    if (birth <= lifetimes.newest) {
      mine = memory.allocate(units);
      node.copy(words, base, units * memory.unitWords, memory.words(mine), memory.base(mine));
      lifetimes.retire(id);
    }
    node.setBirth(memory.words(mine), memory.base(mine), lifetimes.generation);
    return mine;
  }

  /** Puts another node into the place of the one on this level, which is retired. */
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

  /** A root for an empty tree: a leaf without entries. */
  plantRoot(): void {
    this.top = -1;
    this.raiseRoot(0);
  }

  /** Puts an empty node above the root, which becomes its first child. */
  raiseRoot(firstChild: number): void {
    const id = this.memory.allocate(1);
    this.lifetimes.changedUnits++;
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

  /** An inner root with one child gives way to it. */
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

  /** Words of the node without its garbage. */
  usedWords(id: number): number {
    const memory = this.memory;
    return node.usedWords(memory.words(id), memory.base(id), memory.units(id) * memory.unitWords);
  }
}
