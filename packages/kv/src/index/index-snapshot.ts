/**
 * The index as the writes up to a sequence have left it, for whoever reads it later: a version of the tree, and the
 * memtables that stood in front of it. It changes nothing.
 *
 * ```
 *   sequence 1,200     memtable at 1,200 │ immutable memtable at 1,200 │ version v7 of the tree      newest first
 *
 *   later: the memtable has 1,500, and has become v9; the reader goes on with what there was (MEMTABLE-3, INDEX-3)
 * ```
 */
import { assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { isOverAt } from '../format/index-entry.ts';
import { FOUND, LeafRange, MISSING } from '../tree/index.ts';
import type { Entry, Lookup, TreeSnapshot } from '../tree/index.ts';
import { IndexCursor } from './index-cursor.ts';
import type { IndexLayer } from './index-cursor.ts';
import { OLDER } from './memtable.ts';
import type { Memtable } from './memtable.ts';
import { MemtableReader } from './memtable-reader.ts';
import type { Pager } from './pager.ts';

/** Nodes that only a snapshot needed and that its release frees at once; the rest follows in slices. */
const RECLAIM_NODES = 512;

/** The tree as a merge has left it. */
export class TreeVersion {
  readonly tree: TreeSnapshot;
  readonly #pager: Pager;
  #holders = 1;

  constructor(tree: TreeSnapshot, pager: Pager) {
    this.tree = tree;
    this.#pager = pager;
    // PAGER-2.
    if (tree.root !== 0) pager.hold(tree.root);
  }

  retain(): this {
    assert(this.#holders > 0, 'a version is retained before it is released');
    this.#holders++;
    return this;
  }

  release(): void {
    assert(this.#holders > 0, 'a version is released once by each holder');
    if (--this.#holders > 0) return;
    if (this.tree.root !== 0) this.#pager.letGo(this.tree.root);
    this.tree.release();
  }
}

/** The index as the writes up to a sequence have left it: memtables, read there, and a version. Each holder must release it. */
export class IndexSnapshot {
  readonly sequence: Sequence;
  /** Whether the leaf that the last `find` needs is one of a memtable: have it pinned, and find again. */
  isBlocked = false;
  /** By which it judges what is over: see `ExpiryClock.momentMs`. */
  readonly momentMs: number;
  /** Newest first. */
  readonly #memtables: readonly MemtableReader[];
  readonly #version: TreeVersion;
  readonly #pager: Pager;
  #holders = 1;

  constructor(
    memtables: readonly Memtable[],
    sequence: Sequence,
    version: TreeVersion,
    pager: Pager,
    momentMs: number,
  ) {
    this.sequence = sequence;
    this.momentMs = momentMs;
    // One that is empty is not to be kept for what it has later.
    const filled = memtables.filter(({ isEmpty }) => !isEmpty);
    this.#memtables = filled.map((memtable) => new MemtableReader(memtable, sequence));
    this.#version = version.retain();
    this.#pager = pager;
  }

  cursor(reverse: boolean): IndexCursor {
    const layers: IndexLayer[] = this.#memtables.map((reader) => ({ keys: reader, ranges: reader.ranges }));
    layers.push({ keys: this.#version.tree, ranges: null });
    return new IndexCursor(layers, reverse, this.#pager, this.momentMs);
  }

  /** As `KeyIndex.find`, in the snapshot. Ask for `isBlocked` if a leaf is absent. */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    const outcome = this.#findAny(key, keyBytes, into);
    return outcome === FOUND && isOverAt(into, this.momentMs) ? MISSING : outcome;
  }

  #findAny(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    for (const memtable of this.#memtables) {
      const outcome = memtable.find(key, keyBytes, into);
      if (outcome === OLDER) continue;
      this.isBlocked = outcome !== FOUND && outcome !== MISSING;
      return outcome;
    }
    this.isBlocked = false;
    return this.#version.tree.get(key, keyBytes, into);
  }

  /** The leaves in a range, of the layer that has the most there. For this step: a memtable may change. */
  leavesOf(from: Uint8Array, to: Uint8Array | null): LeafRange {
    let most = new LeafRange(this.#version.tree.memory, this.#version.tree.root, from, to);
    for (const memtable of this.#memtables) {
      const leaves = memtable.leavesOf(from, to);
      if (leaves.count > most.count) most = leaves;
    }
    return most;
  }

  /** Whether it keeps memtables that only readers need. */
  get isBehind(): boolean {
    return this.#memtables.some(({ isMerged }) => isMerged);
  }

  retain(): this {
    assert(this.#holders > 0, 'a snapshot is retained before it is released');
    this.#holders++;
    return this;
  }

  release(): void {
    assert(this.#holders > 0, 'a snapshot is released once by each holder');
    if (--this.#holders > 0) return;
    for (const memtable of this.#memtables) memtable.release();
    this.#version.release();
    this.#version.tree.memory.reclaimSome(RECLAIM_NODES);
  }
}
