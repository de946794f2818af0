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
 * A whole tree, or the long list of a released snapshot, is not freed at once: it is put into the
 * backlog, from which `reclaimSome` takes a bounded number of nodes.
 *
 * Invariants:
 *  1. A node with birth <= newest is seen by a snapshot and is never written.
 *  2. The list of snapshot s holds the retired nodes whose newest living viewer is s.
 *  3. What stands in the backlog with bound g can be seen only by snapshots below g.
 *  4. A node is writable only when all nodes on the path to it are.
 */
import { assert } from '@aiokv/core';
import { Cursor } from './cursor.ts';
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';

/** A list that is not longer is dealt with at once when its snapshot is released. */
const RECLAIM_AT_ONCE = 512;

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

interface Backlog {
  /** Nodes that are yet to be freed, a stack. With `births`, each is followed by its birth. */
  readonly nodes: number[];
  /** The nodes are trees of this level in a walk; a flat list has no levels. */
  readonly levels: number[] | null;
  readonly bound: number;
}

export class Lifetimes {
  readonly memory: NodeMemory;
  /** Stamp of nodes that are made now. */
  generation = 0;
  /** Generation of the newest live snapshot; -1 when there is none. */
  newest = -1;
  newestSnapshot: TreeSnapshot | null = null;
  readonly #backlog: Backlog[] = [];

  constructor(memory: NodeMemory) {
    this.memory = memory;
  }

  get hasBacklog(): boolean {
    return this.#backlog.length > 0;
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
    else this.#retireBefore(this.newestSnapshot, id, node.birth(memory.words(id), memory.base(id)));
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
    this.#backlog.push({ nodes: retired, levels: null, bound: generation });
    if (retired.length <= 2 * RECLAIM_AT_ONCE && this.#backlog.length === 1) this.reclaimSome(RECLAIM_AT_ONCE);
  }

  /** The tree lets go of all nodes below `root`. */
  condemn(root: number): void {
    const level = node.level(this.memory.words(root), this.memory.base(root));
    this.#backlog.push({ nodes: [root], levels: [level], bound: this.generation });
  }

  /** Frees up to `maxNodes` nodes of the backlog, newest first; whether none is left. */
  reclaimSome(maxNodes: number): boolean {
    let left = maxNodes;
    for (;;) {
      const batch = this.#backlog.at(-1);
      if (batch === undefined) return true;
      if (left <= 0) return false;
      const viewer = this.#newestBelow(batch.bound);
      const { nodes, levels } = batch;
      if (levels === null) left = this.#reclaimList(nodes, viewer, left);
      else left = this.#reclaimTree(nodes, levels, viewer, left);
      if (batch.nodes.length === 0) this.#backlog.pop();
    }
  }

  /** Adds what the snapshots and the backlog hold, apart from what their roots reach, to `nodes`. */
  verify(reach: (root: number, generation: number) => void, add: (id: number) => void): void {
    let newer: TreeSnapshot | null = null;
    for (let snapshot = this.newestSnapshot; snapshot !== null; snapshot = snapshot.older) {
      assert(snapshot.newer === newer && !snapshot.released, 'live snapshots are linked both ways');
      assert(newer === null || newer.generation > snapshot.generation, 'older snapshots have lower generations');
      if (snapshot.root !== 0) reach(snapshot.root, snapshot.generation);
      for (let at = 0; at < snapshot.retired.length; at += 2) add(snapshot.retired[at] as number);
      newer = snapshot;
    }
    for (const { nodes, levels, bound } of this.#backlog) {
      if (levels !== null) for (const root of nodes) reach(root, bound);
      else for (let at = 0; at < nodes.length; at += 2) add(nodes[at] as number);
    }
  }

  #retireBefore(viewer: TreeSnapshot, id: number, birth: number): void {
    if (birth > viewer.generation) this.memory.free(id);
    else viewer.retired.push(id, birth);
  }

  #newestBelow(bound: number): TreeSnapshot | null {
    let snapshot = this.newestSnapshot;
    while (snapshot !== null && snapshot.generation >= bound) snapshot = snapshot.older;
    return snapshot;
  }

  #reclaimList(nodes: number[], viewer: TreeSnapshot | null, maxNodes: number): number {
    let left = maxNodes;
    for (; left > 0 && nodes.length > 0; left--) {
      const birth = nodes.pop() as number;
      const id = nodes.pop() as number;
      if (viewer === null) this.memory.free(id);
      else this.#retireBefore(viewer, id, birth);
    }
    return left;
  }

  #reclaimTree(nodes: number[], levels: number[], viewer: TreeSnapshot | null, maxNodes: number): number {
    const memory = this.memory;
    let left = maxNodes;
    for (; left > 0 && nodes.length > 0; left--) {
      const id = nodes.pop() as number;
      const level = levels.pop() as number;
      // The words of a leaf are looked at only when its birth matters: each would be a cache miss.
      if (level === 0 && viewer === null) {
        memory.free(id);
        continue;
      }
      const words = memory.words(id);
      const base = memory.base(id);
      if (level > 0) {
        for (let child = node.count(words, base); child >= 0; child--) {
          nodes.push(node.childAt(words, base, child));
          levels.push(level - 1);
        }
      }
      if (viewer === null) memory.free(id);
      else this.#retireBefore(viewer, id, node.birth(words, base));
    }
    return left;
  }
}
