/**
 * The ordered index: a B+tree from keys of 0 to 4096 bytes, in bytewise order, to two words each.
 * It makes no object per key or lookup. It does no I/O, never waits, and gives no meaning to the
 * words. Nodes live in a `NodeMemory`, which several trees may share.
 *
 *   root (level 2)            [ "user3" | "user6" ]
 *                            /          |          \
 *   level 1        [ .. | .. ]     [ .. | .. ]     [ .. ]
 *                  /    |    \     /    |    \     /    \
 *   level 0      leaf leaf leaf  leaf leaf leaf  leaf  leaf     key -> word0, word1
 *
 * A full node splits where both halves take equal room; at the right end of the tree it stays full
 * and the new key begins a new node, so that ascending keys fill nodes wholly (mirrored at the left
 * end). A node of up to four entries grows by units instead, which is how long keys find room. A
 * node whose prefix a new key would shorten so far that it bursts is left alone, and the key, which
 * then lies before or after all others of the node, begins a new one. Underfull neighbours merge;
 * an inner node may be left with one child and no separator.
 *
 * While snapshots are alive a write copies the nodes of its path that a snapshot sees (path copying
 * after Rodeh, "B-trees, Shadowing, and Clones", 2008) and with none alive it writes in place.
 *
 * Invariants (checked by `verify`):
 *  1. Every node keeps the invariants of node.ts, all leaves are on level 0 and a child is one level
 *     below its parent.
 *  2. The keys under child i are below separator i and not below separator i - 1.
 *  3. `size` is the number of entries in the leaves. Only an empty tree has no root; no leaf is empty.
 *  4. The root, when it is an inner node, has at least one separator.
 *  5. A node is seen by a snapshot, or is in place once only; see snapshot.ts for the births.
 */
import { assert } from '@aiokv/core';
import type { Entry } from './entry.ts';
import { leafOf, lookup } from './lookup.ts';
import type { Lookup } from './lookup.ts';
import * as node from './node.ts';
import { MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';
import { KEY_BYTES_MAX, Probe } from './probe.ts';
import { Rewrite } from './rewrite.ts';
import { Lifetimes } from './snapshot.ts';
import type { TreeSnapshot } from './snapshot.ts';
import { verifyTree } from './verify.ts';

/** No tree becomes as high as this. */
const LEVELS_MAX = 64;
/** A node with so few entries grows rather than splits. */
const GROW_ENTRIES_MAX = 4;
/** A node that is laid out anew without a split must then have this part of itself free. */
const SPARE_PART = 16;
/** A node below this part of a unit looks for a neighbour to merge with. */
const UNDERFULL_PART = 4;

/** One for all trees: no rewrite outlasts the call that began it. */
const rewrite = new Rewrite();

export class Tree {
  readonly memory: NodeMemory;
  #root = 0;
  /** Level of the root. */
  #top = 0;
  #size = 0;
  readonly #lifetimes: Lifetimes;
  readonly #key = new Probe();
  /**
   * Separators on their way up. Neighbouring levels take turns: one may be pending in a rewrite
   * while the next is made.
   */
  readonly #separators = [new Probe(), new Probe()] as const;
  /** The nodes from the last descent, by level, and which child of each was taken. */
  readonly #path: number[] = Array.from({ length: LEVELS_MAX }, () => 0);
  readonly #taken: number[] = Array.from({ length: LEVELS_MAX }, () => 0);

  constructor(memory: NodeMemory) {
    this.memory = memory;
    this.#lifetimes = new Lifetimes(memory);
  }

  /** Number of keys. */
  get size(): number {
    return this.#size;
  }

  /**
   * Fills `into` with what the key leads to, unless it is not here or its leaf is not in memory.
   * Allocates nothing. 1 M keys of 23 bytes, random: 0.45 us hit, 0.3 us miss; 0.25 us where the
   * nodes are in the processor's cache (benchmarks/micro/tree.ts).
   */
  get(key: Uint8Array, keyLength: number, into: Entry): Lookup {
    this.#key.load(key, keyLength);
    return lookup(this.memory, this.#root, this.#key, into);
  }

  /** The leaf that `set` or `delete` of this key would need and that is not in memory; 0 when nothing is missing. */
  absentLeaf(key: Uint8Array, keyLength: number): number {
    if (this.#root === 0) return 0;
    this.#key.load(key, keyLength);
    const leaf = leafOf(this.memory, this.#root, this.#key);
    return this.memory.isResident(leaf) ? 0 : leaf;
  }

  /** Makes the key lead to the two words; whether the key is new. Its leaf must be in memory: see `absentLeaf`. */
  set(key: Uint8Array, keyLength: number, word0: number, word1: number): boolean {
    assert(keyLength <= KEY_BYTES_MAX, 'a key has at most 4096 bytes');
    const probe = this.#key;
    probe.load(key, keyLength);
    if (this.#root === 0) this.#plantRoot();
    const found = this.#descend(probe);
    this.#makePathWritable();
    if (found < 0) {
      this.#insert(0, ~found, probe, word0 | 0, word1 | 0);
      this.#size++;
      return true;
    }
    const id = this.#path[0] as number;
    const words = this.memory.words(id);
    const payload = node.payloadAt(words, this.memory.base(id), found);
    words[payload] = word0;
    words[payload + 1] = word1;
    return false;
  }

  /** Forgets the key; whether it was here. Its leaf must be in memory: see `absentLeaf`. */
  delete(key: Uint8Array, keyLength: number): boolean {
    if (this.#root === 0) return false;
    const probe = this.#key;
    probe.load(key, keyLength);
    const found = this.#descend(probe);
    if (found < 0) return false;
    this.#makePathWritable();
    const id = this.#path[0] as number;
    node.remove(this.memory.words(id), this.memory.base(id), found);
    this.#size--;
    this.#afterRemoval(0);
    this.#collapseRoot();
    return true;
  }

  /** The tree frozen at this moment. What it costs is paid by the writes that follow. */
  snapshot(): TreeSnapshot {
    return this.#lifetimes.take(this.#root, this.#size);
  }

  /**
   * Becomes the tree below `root`, whose inner nodes are in the memory already and whose nodes are all the same as on
   * the device. Requires an empty tree without snapshots.
   */
  restore(root: number, size: number): void {
    assert(this.#root === 0 && this.#lifetimes.newest < 0, 'a tree is restored before it is used');
    this.#root = root;
    this.#top =
      root === 0 || !this.memory.isResident(root) ? 0 : node.level(this.memory.words(root), this.memory.base(root));
    this.#size = size;
    this.#lifetimes.cleanThrough = this.#lifetimes.generation++;
    this.#lifetimes.cutThrough = this.#lifetimes.cleanThrough;
  }

  /** Bytes of nodes that have changed since the last cut. */
  get changedBytes(): number {
    return this.#lifetimes.changedUnits * this.memory.nodeBytes;
  }

  /** A snapshot that is to become a checkpoint; what changes from now on is counted by `changedBytes`. */
  cut(): TreeSnapshot {
    const snapshot = this.snapshot();
    this.#lifetimes.cutThrough = snapshot.generation;
    this.#lifetimes.changedUnits = 0;
    return snapshot;
  }

  /** The nodes of the snapshot are on the device now: what is younger is dirty. */
  markClean({ generation }: Pick<TreeSnapshot, 'generation'>): void {
    assert(generation >= this.#lifetimes.cleanThrough, 'checkpoints do not go back');
    this.#lifetimes.cleanThrough = generation;
  }

  /** The checkpoint of a cut failed: what had changed before it, `changedBytes` at that time, still waits for one. */
  keepDirty(changedBytes: number): void {
    this.#lifetimes.changedUnits += changedBytes / this.memory.nodeBytes;
  }

  /** A root stays in memory, for the height of a tree is read from it. */
  isRoot(id: number): boolean {
    return id === this.#root;
  }

  /** Whether a node has changed since the last checkpoint. One that is absent has not. */
  isDirty(id: number): boolean {
    if (!this.memory.isResident(id)) return false;
    return node.birth(this.memory.words(id), this.memory.base(id)) > this.#lifetimes.cleanThrough;
  }

  /** Forgets all keys at once. Its nodes become a backlog of the memory: see `NodeMemory.reclaimSome`. */
  clear(): void {
    if (this.#root !== 0) this.#lifetimes.condemn(this.#root);
    this.#root = 0;
    this.#top = 0;
    this.#size = 0;
  }

  /**
   * Walks everything and throws when an invariant does not hold. Adds all nodes that this tree and
   * its snapshots hold to `reachable`, for `NodeMemory.verify`.
   */
  verify(reachable: Set<number> = new Set<number>()): void {
    const keys = this.#root === 0 ? 0 : verifyTree(this.memory, this.#root, reachable, this.#lifetimes);
    assert(keys === null || keys === this.#size, `size is ${this.#size}, the leaves have ${keys} entries`);
    const root = this.#root;
    if (root !== 0) {
      const words = this.memory.words(root);
      const base = this.memory.base(root);
      assert(node.level(words, base) === this.#top, 'the top level is that of the root');
      assert(this.#top === 0 || node.count(words, base) > 0, 'an inner root has a separator');
    }
    this.#lifetimes.verify(reachable);
  }

  /** Finds the leaf and the place of the key, and notes the path. */
  #descend(probe: Probe): number {
    const memory = this.memory;
    let id = this.#root;
    for (let level = this.#top; level > 0; level--) {
      const words = memory.words(id);
      const base = memory.base(id);
      const found = node.search(words, base, probe);
      const child = found >= 0 ? found + 1 : ~found;
      this.#path[level] = id;
      this.#taken[level] = child;
      id = node.childAt(words, base, child);
    }
    this.#path[0] = id;
    assert(memory.isResident(id), 'a leaf is in memory when it is written');
    memory.mark(id, MARK_USED);
    return node.search(memory.words(id), memory.base(id), probe);
  }

  /** Copies what a snapshot sees of the path. Only the leaf need be asked: invariant 4 of snapshot.ts. */
  #makePathWritable(): void {
    const { newest, cleanThrough, cutThrough } = this.#lifetimes;
    const seen = Math.max(newest, cleanThrough, cutThrough);
    if (seen < 0) return;
    const memory = this.memory;
    const leaf = this.#path[0] as number;
    if (node.birth(memory.words(leaf), memory.base(leaf)) > seen) return;
    for (let level = this.#top; level >= 0; level--) {
      const id = this.#path[level] as number;
      const words = memory.words(id);
      const base = memory.base(id);
      const birth = node.birth(words, base);
      if (birth <= cutThrough) this.#lifetimes.changedUnits += memory.units(id);
      if (birth > newest) {
        // No snapshot sees it: written in place, and dirty from now on.
        node.setBirth(words, base, this.#lifetimes.generation);
        continue;
      }
      const units = memory.units(id);
      const copy = this.memory.allocate(units);
      node.copy(words, base, units * memory.unitWords, memory.words(copy), memory.base(copy));
      node.setBirth(memory.words(copy), memory.base(copy), this.#lifetimes.generation);
      this.#replace(level, copy);
    }
  }

  #unitsFor(words: number): number {
    assert(words <= node.NODE_WORDS_MAX, 'a node splits before it outgrows its slots');
    return Math.ceil(words / this.memory.unitWords);
  }

  /** Puts another node into the place of the path's node on this level, which is retired. */
  #replace(level: number, id: number): void {
    this.#lifetimes.retire(this.#path[level] as number);
    this.#path[level] = id;
    if (level === this.#top) {
      this.#root = id;
    } else {
      const parent = this.#path[level + 1] as number;
      node.setChild(this.memory.words(parent), this.memory.base(parent), this.#taken[level + 1] as number, id);
    }
  }

  #plantRoot(): void {
    this.#top = -1;
    this.#raiseRoot(0);
  }

  /** Puts an empty node above the root, which becomes its first child. */
  #raiseRoot(firstChild: number): void {
    const id = this.memory.allocate(1);
    this.#lifetimes.changedUnits++;
    const words = this.memory.words(id);
    const base = this.memory.base(id);
    this.#top++;
    assert(this.#top < LEVELS_MAX, 'the tree is lower than its path is long');
    node.clear(words, base, this.#top, 0, this.memory.unitWords, firstChild);
    node.setBirth(words, base, this.#lifetimes.generation);
    this.#root = id;
    this.#path[this.#top] = id;
    this.#taken[this.#top] = 0;
  }

  /** Inserts into the writable node of the path on this level, which may split it and those above. */
  #insert(level: number, index: number, key: Probe, word0: number, word1: number): void {
    const memory = this.memory;
    const id = this.#path[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    const payload = node.insert(words, base, index, key);
    if (payload !== 0) {
      words[payload] = word0;
      if (level === 0) words[payload + 1] = word1;
      return;
    }
    const capacity = memory.units(id) * memory.unitWords;
    rewrite.startInsert(words, base, capacity, index, key);
    rewrite.setPayload(word0, word1);
    const total = rewrite.total;
    const size = rewrite.sizeWords(0, total);
    const few = total <= GROW_ENTRIES_MAX;
    const spare = few || level > 0 ? 0 : Math.floor(capacity / SPARE_PART);
    if (size + spare <= capacity) {
      rewrite.write(words, base, capacity, this.#lifetimes.generation, 0, total, rewrite.firstChild);
    } else if (few) {
      this.#rewritePath(level, 0, total, size, rewrite.firstChild);
    } else {
      this.#split(level, index, capacity);
    }
  }

  /** Writes a range of the rewrite into the place of the path's node, which changes when its units do. */
  #rewritePath(level: number, from: number, to: number, sizeWords: number, firstChild: number): void {
    const units = this.#unitsFor(sizeWords);
    if (units !== this.memory.units(this.#path[level] as number)) this.#replace(level, this.memory.allocate(units));
    this.#writeRange(this.#path[level] as number, from, to, firstChild);
  }

  #writeRange(id: number, from: number, to: number, firstChild: number): void {
    const memory = this.memory;
    const capacity = memory.units(id) * memory.unitWords;
    rewrite.write(memory.words(id), memory.base(id), capacity, this.#lifetimes.generation, from, to, firstChild);
  }

  #split(level: number, index: number, capacity: number): void {
    const total = rewrite.total;
    const cut = this.#chooseCut(level, index, capacity);
    // A leaf keeps its cut entry on the right; an inner node hands it up as the separator.
    const rightFrom = level === 0 ? cut : cut + 1;
    const firstChild = rewrite.firstChild;
    const rightFirstChild = level === 0 ? 0 : rewrite.childAfter(cut);
    const separator = this.#separators[level & 1] as Probe;
    if (level === 0) rewrite.loadSeparator(cut, separator);
    else rewrite.loadKey(cut, separator);

    const right = this.memory.allocate(this.#unitsFor(rewrite.sizeWords(rightFrom, total)));
    this.#lifetimes.changedUnits += this.memory.units(right);
    this.#writeRange(right, rightFrom, total, rightFirstChild);
    this.#rewritePath(level, 0, cut, rewrite.sizeWords(0, cut), firstChild);
    if (level === this.#top) this.#raiseRoot(this.#root);
    this.#insert(level + 1, this.#taken[level + 1] as number, separator, right, 0);
  }

  #chooseCut(level: number, index: number, capacity: number): number {
    const last = rewrite.total - 1;
    if (index === last && this.#isAtEdge(level, true)) return last;
    if (index === 0 && this.#isAtEdge(level, false)) return 1;
    const middle = rewrite.middle();
    if (index !== 0 && index !== last) return middle;
    const bursts = rewrite.sizeWords(0, middle) > capacity || rewrite.sizeWords(middle, rewrite.total) > capacity;
    if (!bursts) return middle;
    return index === 0 ? 1 : last;
  }

  /** Whether the path's node on this level is the last, or the first, of its level. */
  #isAtEdge(level: number, atEnd: boolean): boolean {
    for (let above = level + 1; above <= this.#top; above++) {
      const id = this.#path[above] as number;
      const edge = atEnd ? node.count(this.memory.words(id), this.memory.base(id)) : 0;
      if (this.#taken[above] !== edge) return false;
    }
    return true;
  }

  /** Takes the path's node on this level away when it is empty, and merges it when it is underfull. */
  #afterRemoval(level: number): void {
    const memory = this.memory;
    const id = this.#path[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    if (level === 0 && node.count(words, base) === 0) {
      this.#removePathNode(level);
    } else if (level < this.#top) {
      const used = node.usedWords(words, base, memory.units(id) * memory.unitWords);
      if (used < memory.unitWords / UNDERFULL_PART) this.#merge(level);
    }
  }

  /** Retires the path's node on this level, which leads to nothing, and forgets it in its parent. */
  #removePathNode(level: number): void {
    this.#lifetimes.retire(this.#path[level] as number);
    if (level === this.#top) {
      this.#root = 0;
      this.#top = 0;
      return;
    }
    const parent = this.#path[level + 1] as number;
    const words = this.memory.words(parent);
    const base = this.memory.base(parent);
    const child = this.#taken[level + 1] as number;
    if (node.count(words, base) === 0) {
      this.#removePathNode(level + 1);
      return;
    }
    if (child === 0) node.setChild(words, base, 0, node.childAt(words, base, 1));
    node.remove(words, base, child === 0 ? 0 : child - 1);
    this.#afterRemoval(level + 1);
  }

  /**
   * Merges the path's node on this level with a neighbour under the same parent, if both fit into
   * three quarters of a unit.
   */
  #merge(level: number): void {
    const memory = this.memory;
    const parent = this.#path[level + 1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const taken = this.#taken[level + 1] as number;
    const limit = (memory.unitWords * 3) >>> 2;
    for (const left of [taken - 1, taken]) {
      if (left < 0 || left >= node.count(words, base)) continue;
      const leftId = node.childAt(words, base, left);
      const rightId = node.childAt(words, base, left + 1);
      // A neighbour that would have to be read first is left alone.
      if (!memory.isResident(leftId) || !memory.isResident(rightId)) continue;
      if (this.#usedWords(leftId) + this.#usedWords(rightId) > limit) continue;
      const separator = this.#separators[level & 1] as Probe;
      node.loadKey(words, base, left, separator);
      rewrite.startMerge(memory.words(leftId), memory.base(leftId), memory.units(leftId) * memory.unitWords);
      rewrite.addRight(
        memory.words(rightId),
        memory.base(rightId),
        memory.units(rightId) * memory.unitWords,
        separator,
      );
      if (rewrite.sizeWords(0, rewrite.total) > limit) continue;
      const merged = this.memory.allocate(1);
      this.#writeRange(merged, 0, rewrite.total, rewrite.firstChild);
      this.#lifetimes.retire(leftId);
      this.#lifetimes.retire(rightId);
      node.setChild(words, base, left, merged);
      node.remove(words, base, left);
      this.#path[level] = merged;
      this.#taken[level + 1] = left;
      this.#afterRemoval(level + 1);
      return;
    }
  }

  #usedWords(id: number): number {
    const memory = this.memory;
    return node.usedWords(memory.words(id), memory.base(id), memory.units(id) * memory.unitWords);
  }

  /** An inner root with one child gives way to it. */
  #collapseRoot(): void {
    const memory = this.memory;
    while (this.#top > 0) {
      const id = this.#root;
      const words = memory.words(id);
      const base = memory.base(id);
      if (node.count(words, base) > 0) return;
      this.#root = node.childAt(words, base, 0);
      this.#lifetimes.retire(id);
      this.#top--;
    }
  }
}
