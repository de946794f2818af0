/**
 * Which nodes of a tree may be written in place, which must be copied first, and when a node that
 * the tree no longer needs may be freed. It never changes the tree itself.
 *
 *   generations      0      1          2     3                       now
 *                 ---+------+----------+-----+-----------------------+->
 *   live snapshots   s0                s2    s3 (newest)
 *   retired nodes    [..]             [..]  [....]   each in the list of the newest snapshot that sees it
 *
 * A tree starts in generation 0. Taking a snapshot ends a generation: snapshot s sees the nodes
 * born in generation s or before that had not been retired by then. The lists are the deadlists of
 * ZFS (Bonwick and Ahrens, "The Zettabyte File System", 2003).
 *
 * A whole tree, or the long list of a released snapshot, is not freed at once: it is left with the
 * memory as a backlog. Which snapshots can still see a node of it is asked when its turn comes.
 *
 * Invariants:
 *  1. A node with birth <= newest is seen by a snapshot and is never written.
 *  2. The list of snapshot s holds the retired nodes whose newest living viewer is s.
 *  3. What stands in a backlog with bound g can be seen only by snapshots below g.
 *  4. A node is writable only when all nodes on the path to it are.
 */
import { assert } from '@aiokv/core';
import { Cursor } from './cursor.ts';
import type { Entry } from './entry.ts';
import { lookup } from './lookup.ts';
import type { Lookup } from './lookup.ts';
import * as node from './node.ts';
import { MARK_RETIRED } from './nodes.ts';
import type { Backlog, NodeMemory } from './nodes.ts';
import { Probe } from './probe.ts';
import { verifyTree } from './verify.ts';

/** Nodes that a release deals with itself; what is beyond them becomes a backlog. */
const RECLAIM_AT_ONCE = 512;

/** The key of the lookup that runs. */
const probe = new Probe();

/** A tree frozen at the moment it was taken, until it is released. */
export class TreeSnapshot {
  readonly memory: NodeMemory;
  /** Number of keys. */
  readonly size: number;
  readonly generation: number;
  readonly root: number;
  older: TreeSnapshot | null = null;
  newer: TreeSnapshot | null = null;
  /** Node, birth, node, birth, ... */
  retired: number[] = [];
  #lifetimes: Lifetimes | null;

  constructor(lifetimes: Lifetimes, root: number, size: number) {
    this.#lifetimes = lifetimes;
    this.memory = lifetimes.memory;
    this.generation = lifetimes.generation;
    this.root = root;
    this.size = size;
  }

  get released(): boolean {
    return this.#lifetimes === null;
  }

  /** As `Tree.get`, at the moment of the snapshot. */
  get(key: Uint8Array, keyLength: number, into: Entry): Lookup {
    assert(!this.released, 'a snapshot is asked before it is released');
    probe.load(key, keyLength);
    return lookup(this.memory, this.root, probe, into);
  }

  /** A cursor over this snapshot, which must not be used after the release. */
  cursor(): Cursor {
    return new Cursor(this);
  }

  /** Gives up the snapshot; may be called again without effect. */
  release(): void {
    const lifetimes = this.#lifetimes;
    this.#lifetimes = null;
    lifetimes?.release(this);
  }
}

export class Lifetimes {
  readonly memory: NodeMemory;
  /** Stamp of nodes that are made now. */
  generation = 0;
  /** Generation of the newest live snapshot; -1 when there is none. */
  newest = -1;
  newestSnapshot: TreeSnapshot | null = null;
  /**
   * Nodes born in this generation or before are on the device as they are; -1 when none are. A node that is written
   * in place is born anew, so that no younger one is taken for clean.
   */
  cleanThrough = -1;
  /** The same of the checkpoint that was begun last, and the units that have changed since. */
  cutThrough = -1;
  changedUnits = 0;

  constructor(memory: NodeMemory) {
    this.memory = memory;
  }

  take(root: number, size: number): TreeSnapshot {
    const snapshot = new TreeSnapshot(this, root, size);
    snapshot.older = this.newestSnapshot;
    if (this.newestSnapshot !== null) this.newestSnapshot.newer = snapshot;
    this.newestSnapshot = snapshot;
    this.newest = this.generation++;
    return snapshot;
  }

  /** The tree no longer needs the node. */
  retire(id: number): void {
    const memory = this.memory;
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
    const list = new RetiredList(this, retired, generation);
    if (list.reclaim(RECLAIM_AT_ONCE) === 0) this.memory.defer(list);
  }

  /** The tree lets go of all nodes below `root`. */
  condemn(root: number): void {
    this.memory.defer(new CondemnedTree(this, root));
  }

  /** Frees the node, or leaves it to `viewer`, the newest snapshot that may see it, if it does. */
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

  /** Adds what the snapshots hold to `reachable` and checks them. */
  verify(reachable: Set<number>): void {
    let newer: TreeSnapshot | null = null;
    for (let snapshot = this.newestSnapshot; snapshot !== null; snapshot = snapshot.older) {
      const { root, size, generation, retired } = snapshot;
      assert(snapshot.newer === newer && !snapshot.released, 'live snapshots are linked both ways');
      assert(newer === null || newer.generation > generation, 'older snapshots have lower generations');
      const keys = root === 0 ? 0 : verifyTree(this.memory, root, reachable, null, generation);
      assert(keys === null || keys === size, `a snapshot of ${size} keys has ${keys} entries in its leaves`);
      for (let at = 0; at < retired.length; at += 2) {
        const id = retired[at] as number;
        // A page that was read again has the birth 0: a snapshot may hold it that never saw it.
        const isReread = retired[at + 1] === 0;
        if (isReread) reachable.add(id);
        assert(reachable.has(id), 'a retired node is in the list of a snapshot that sees it');
      }
      newer = snapshot;
    }
  }
}

/** What a released snapshot had kept: node, birth, node, birth, ... */
class RetiredList implements Backlog {
  readonly #lifetimes: Lifetimes;
  readonly #nodes: number[];
  readonly #bound: number;

  constructor(lifetimes: Lifetimes, nodes: number[], bound: number) {
    this.#lifetimes = lifetimes;
    this.#nodes = nodes;
    this.#bound = bound;
  }

  reclaim(maxNodes: number): number {
    const nodes = this.#nodes;
    const viewer = this.#lifetimes.newestBelow(this.#bound);
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

/** All nodes below a root that its tree gave up. */
class CondemnedTree implements Backlog {
  readonly #lifetimes: Lifetimes;
  readonly #bound: number;
  /** Roots of subtrees that are yet to be taken apart, and their levels. */
  readonly #roots: number[];
  readonly #levels: number[];

  constructor(lifetimes: Lifetimes, root: number) {
    const memory = lifetimes.memory;
    this.#lifetimes = lifetimes;
    this.#bound = lifetimes.generation;
    this.#roots = [root];
    this.#levels = [node.level(memory.words(root), memory.base(root))];
  }

  reclaim(maxNodes: number): number {
    const memory = this.#lifetimes.memory;
    const viewer = this.#lifetimes.newestBelow(this.#bound);
    let left = maxNodes;
    for (; left > 0 && this.#roots.length > 0; left--) {
      const id = this.#roots.pop() as number;
      const level = this.#levels.pop() as number;
      // The words of a leaf are looked at only when its birth matters: each would be a cache miss.
      if (level === 0 && viewer === null) {
        memory.free(id);
        continue;
      }
      const words = memory.words(id);
      const base = memory.base(id);
      if (level > 0) this.#pushChildren(words, base, level - 1);
      if (viewer === null) memory.free(id);
      else this.#lifetimes.retireBefore(viewer, id, node.birth(words, base));
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
