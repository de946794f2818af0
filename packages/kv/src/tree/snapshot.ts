/**
 * Tracks which nodes of a tree may be written in place, which must be copied first, and when a node that
 * the tree no longer needs can be freed. It never changes the tree itself.
 *
 *   generations      0      1          2     3                       now
 *                 ---+------+----------+-----+-----------------------+->
 *   live snapshots   s0                s2    s3 (newest)
 *   retired nodes    [..]             [..]  [....]   each in the list of the newest snapshot that sees it
 *
 * A tree starts in generation 0. Taking a snapshot ends a generation: snapshot s sees the nodes that
 * were born in generation s or before and had not been retired by then. The lists are the deadlists of
 * ZFS (Bonwick and Ahrens, "The Zettabyte File System", 2003).
 *
 * A whole tree, or the long list of a released snapshot, is not freed at once. It becomes a backlog of the
 * memory, which checks for each node which snapshots still see it when it frees the node.
 *
 * SNAP-1. A node with birth <= newest is seen by a snapshot and is never written.
 * SNAP-2. The list of snapshot s holds the retired nodes whose newest live viewer is s.
 * SNAP-3. Only snapshots below generation g can see a node of a backlog with bound g.
 * SNAP-4. A node is writable only if all nodes on the path to it are.
 * SNAP-5. A node whose image was made is never written: a change makes a node with another id. Children are sealed
 *     before their parents.
 */
import { Fifo, assert } from '@aiokv/core';
import { Cursor } from './cursor.ts';
import type { Entry } from './entry.ts';
import { floor, lookup } from './lookup.ts';
import type { Lookup } from './lookup.ts';
import * as node from './node.ts';
import { MARK_FRESH, MARK_RETIRED } from './nodes.ts';
import type { Backlog, NodeMemory } from './nodes.ts';
import { Probe } from './probe.ts';
import { verifyTree } from './verify.ts';

/** Retired nodes that a release handles at once; the rest becomes a backlog. */
const RECLAIM_AT_ONCE = 512;

/** The key of the current lookup. All snapshots share it: no use of it outlasts a call. */
const probe = new Probe();

/** A tree as it was when the snapshot was taken. Valid until it is released. */
export class TreeSnapshot {
  readonly memory: NodeMemory;
  /** Number of keys, or more than that: see `isCounted`. */
  readonly size: number;
  /** Whether `size` is exact: see `Tree.isCounted`. */
  readonly isCounted: boolean;
  readonly generation: number;
  readonly root: number;
  older: TreeSnapshot | null = null;
  newer: TreeSnapshot | null = null;
  /** Pairs of node and birth. */
  retired: number[] = [];
  #lifetimes: Lifetimes | null;

  constructor(lifetimes: Lifetimes, root: number, size: number, isCounted: boolean) {
    this.#lifetimes = lifetimes;
    this.memory = lifetimes.memory;
    this.generation = lifetimes.generation;
    this.root = root;
    this.size = size;
    this.isCounted = isCounted;
  }

  get released(): boolean {
    return this.#lifetimes === null;
  }

  /** As `Tree.get`, for the tree at the time of the snapshot. */
  get(key: Uint8Array, keyLength: number, into: Entry): Lookup {
    assert(!this.released, 'a snapshot is asked before it is released');
    probe.load(key, keyLength);
    return lookup(this.memory, this.root, probe, into);
  }

  /** As `Tree.floor`. */
  floor(key: Uint8Array, keyLength: number, into: Entry): boolean {
    assert(!this.released, 'a snapshot is asked before it is released');
    probe.load(key, keyLength);
    return floor(this.memory, this.root, probe, into);
  }

  /** A new cursor over this snapshot. It must not be used after the release. */
  cursor(): Cursor {
    return new Cursor(this);
  }

  /** Releases the snapshot. Further calls do nothing. */
  release(): void {
    const lifetimes = this.#lifetimes;
    this.#lifetimes = null;
    lifetimes?.release(this);
  }
}

export class Lifetimes {
  readonly memory: NodeMemory;
  /** Birth of nodes that are made now. */
  generation = 0;
  /** Generation of the newest live snapshot; -1 if there is none. */
  newest = -1;
  newestSnapshot: TreeSnapshot | null = null;
  /** Whether the nodes are saved to the device. */
  readonly isSaved: boolean;
  /** Ids of nodes in the order in which they were made, for whoever saves them. An id counts if it has MARK_FRESH. */
  readonly fresh = new Fifo<number>();
  /** Units of the nodes of the tree, without those that only snapshots need, and with those of condemned subtrees. */
  units = 0;

  constructor(memory: NodeMemory, isSaved: boolean) {
    this.memory = memory;
    this.isSaved = isSaved;
  }

  /** Allocates a node of the tree. */
  allocate(units: number): number {
    const id = this.memory.allocate(units);
    this.units += units;
    if (this.isSaved) {
      this.memory.mark(id, MARK_FRESH);
      this.fresh.push(id);
    }
    return id;
  }

  take(root: number, size: number, isCounted: boolean): TreeSnapshot {
    const snapshot = new TreeSnapshot(this, root, size, isCounted);
    snapshot.older = this.newestSnapshot;
    if (this.newestSnapshot !== null) this.newestSnapshot.newer = snapshot;
    this.newestSnapshot = snapshot;
    this.newest = this.generation++;
    return snapshot;
  }

  /** The tree no longer needs the node: frees it, or leaves it to the newest snapshot that sees it. */
  retire(id: number): void {
    const memory = this.memory;
    this.units -= memory.units(id);
    if (this.newestSnapshot === null) memory.free(id);
    else this.retireBefore(this.newestSnapshot, id, node.birth(memory.words(id), memory.base(id)));
  }

  release(snapshot: TreeSnapshot): void {
    const { older, newer, retired, generation } = snapshot;
    if (older !== null) older.newer = newer;
    if (newer !== null) newer.older = older;
    else this.newestSnapshot = older;
    this.newest = this.newestSnapshot === null ? -1 : this.newestSnapshot.generation;
    snapshot.older = null;
    snapshot.newer = null;
    snapshot.retired = [];
    if (retired.length === 0) return;
    const list = new RetiredList(this, retired, generation);
    if (list.reclaim(RECLAIM_AT_ONCE, older) === 0) this.memory.defer(list);
  }

  /** The tree no longer needs these subtrees, whose roots are on one level. */
  condemn(roots: number[], level: number): void {
    this.memory.defer(new CondemnedTrees(this, roots, level));
  }

  /**
   * Frees the node unless `viewer`, the newest snapshot that may see it, does see it; then adds it to the list of
   * `viewer`.
   */
  retireBefore(viewer: TreeSnapshot, id: number, birth: number): void {
    if (birth > viewer.generation) this.memory.free(id);
    else {
      this.memory.mark(id, MARK_RETIRED);
      viewer.retired.push(id, birth);
    }
  }

  newestBelow(bound: number): TreeSnapshot | null {
    let snapshot = this.newestSnapshot;
    while (snapshot !== null && snapshot.generation >= bound) snapshot = snapshot.older;
    return snapshot;
  }

  /** Checks the snapshots and adds their nodes to `reachable`. */
  verify(reachable: Set<number>): void {
    let newer: TreeSnapshot | null = null;
    for (let snapshot = this.newestSnapshot; snapshot !== null; snapshot = snapshot.older) {
      const { root, size, isCounted, generation, retired } = snapshot;
      assert(snapshot.newer === newer && !snapshot.released, 'live snapshots are linked both ways');
      assert(newer === null || newer.generation > generation, 'older snapshots have lower generations');
      const keys = root === 0 ? 0 : verifyTree(this.memory, root, reachable, null, generation);
      const isRight = keys === null || (isCounted ? keys === size : keys <= size);
      assert(isRight, `a snapshot of ${size} keys has ${keys} entries in its leaves`);
      for (let at = 0; at < retired.length; at += 2) {
        const id = retired[at] as number;
        // A page that was read again has birth 0, so the list of a snapshot that never saw it may hold it.
        const isReread = retired[at + 1] === 0;
        if (isReread) reachable.add(id);
        assert(reachable.has(id), 'a retired node is in the list of a snapshot that sees it');
      }
      newer = snapshot;
    }
  }
}

/** The retired nodes of a released snapshot, in pairs of node and birth. */
class RetiredList implements Backlog {
  readonly #lifetimes: Lifetimes;
  readonly #nodes: number[];
  readonly #bound: number;

  constructor(lifetimes: Lifetimes, nodes: number[], bound: number) {
    this.#lifetimes = lifetimes;
    this.#nodes = nodes;
    this.#bound = bound;
  }

  /** @param viewer the newest snapshot that may see the nodes; searched among all of them if it is not known */
  reclaim(maxNodes: number, viewer = this.#lifetimes.newestBelow(this.#bound)): number {
    const nodes = this.#nodes;
    let left = maxNodes;
    for (; left > 0 && nodes.length > 0; left--) {
      const birth = nodes.pop() as number;
      const id = nodes.pop() as number;
      if (viewer === null) this.#lifetimes.memory.free(id);
      else this.#lifetimes.retireBefore(viewer, id, birth);
    }
    return left;
  }

  verify(reachable: Set<number>): void {
    for (let at = 0; at < this.#nodes.length; at += 2) reachable.add(this.#nodes[at] as number);
  }
}

/** Subtrees that their tree no longer needs. */
class CondemnedTrees implements Backlog {
  readonly #lifetimes: Lifetimes;
  readonly #bound: number;
  /** Roots of subtrees that are still to be freed, and their levels. */
  readonly #roots: number[];
  readonly #levels: number[];

  constructor(lifetimes: Lifetimes, roots: number[], level: number) {
    this.#lifetimes = lifetimes;
    this.#bound = lifetimes.generation;
    this.#roots = roots;
    this.#levels = roots.map(() => level);
  }

  reclaim(maxNodes: number): number {
    const lifetimes = this.#lifetimes;
    const { memory } = lifetimes;
    const viewer = lifetimes.newestBelow(this.#bound);
    let left = maxNodes;
    for (; left > 0 && this.#roots.length > 0; left--) {
      const id = this.#roots.pop() as number;
      const level = this.#levels.pop() as number;
      lifetimes.units -= memory.units(id);
      // A leaf is read only if its birth matters: each read would be a cache miss.
      if (level === 0 && viewer === null) {
        memory.free(id);
        continue;
      }
      // A page that is not in memory has birth 0 when it is read again.
      const isResident = memory.isResident(id);
      const words = isResident ? memory.words(id) : null;
      const base = isResident ? memory.base(id) : 0;
      if (level > 0 && words !== null) this.#pushChildren(words, base, level - 1);
      if (viewer === null) memory.free(id);
      else lifetimes.retireBefore(viewer, id, words === null ? 0 : node.birth(words, base));
    }
    return left;
  }

  verify(reachable: Set<number>): void {
    for (const root of this.#roots) verifyTree(this.#lifetimes.memory, root, reachable, null, this.#bound);
  }

  #pushChildren(words: Uint32Array, base: number, level: number): void {
    for (let child = node.count(words, base); child >= 0; child--) {
      this.#roots.push(node.childAt(words, base, child));
      this.#levels.push(level);
    }
  }
}
