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
 * A full leaf shares with its neighbour, so that leaves are three quarters full, and not much less however keys are
 * spread (the B*-tree of Knuth, "Sorting and Searching", 6.2.4):
 *
 *   [ full ][ below 2/3 ] ──► [ = ][ = ]            [ full ][ above 2/3 ] ──► [ 2/3 ][ 2/3 ][ 2/3 ]
 *
 * Keys that come in order are cut off behind the last of them, so that they fill leaves wholly, at the ends of
 * the tree and amid it. Inner nodes, and leaves without a neighbour in memory, split where both halves take
 * equal room. A node of up to four entries grows by units instead, which is how long keys find room. A
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
import { Insertion } from './insertion.ts';
import { lookup } from './lookup.ts';
import type { Lookup } from './lookup.ts';
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';
import { Path } from './path.ts';
import { KEY_BYTES_MAX, Probe } from './probe.ts';
import { Removal } from './removal.ts';
import { Lifetimes } from './snapshot.ts';
import type { TreeSnapshot } from './snapshot.ts';
import { verifyTree } from './verify.ts';

export class Tree {
  readonly memory: NodeMemory;
  #size = 0;
  readonly #lifetimes: Lifetimes;
  readonly #path: Path;
  readonly #insertion: Insertion;
  readonly #removal: Removal;
  readonly #key = new Probe();
  /** Where the key of the last `goTo` stands in its leaf: see `node.search`. */
  #found = 0;

  constructor(memory: NodeMemory) {
    this.memory = memory;
    this.#lifetimes = new Lifetimes(memory);
    this.#path = new Path(memory, this.#lifetimes);
    this.#insertion = new Insertion(this.#path);
    this.#removal = new Removal(this.#path);
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
    return lookup(this.memory, this.#path.root, this.#key, into);
  }

  /**
   * Goes to the place of a key, for `setHere` or `deleteHere` in the same step. Returns 0, or the leaf that is not in
   * memory and must be for that.
   */
  goTo(key: Uint8Array, keyLength: number): number {
    assert(keyLength <= KEY_BYTES_MAX, 'a key has at most 4096 bytes');
    const path = this.#path;
    this.#key.load(key, keyLength);
    this.#found = ~0;
    if (path.root === 0) return 0;
    const leaf = path.descend(this.#key);
    if (!this.memory.isResident(leaf)) return leaf;
    this.#found = path.searchLeaf(this.#key);
    return 0;
  }

  /** Makes the key lead to the two words; whether it is new. */
  setHere(word0: number, word1: number): boolean {
    const path = this.#path;
    const found = this.#found;
    if (path.root === 0) path.plantRoot();
    path.makeWritable();
    if (found < 0) {
      this.#insertion.insert(0, ~found, this.#key, word0 | 0, word1 | 0);
      this.#size++;
      return true;
    }
    const id = path.nodes[0] as number;
    const words = this.memory.words(id);
    const payload = node.payloadAt(words, this.memory.base(id), found);
    words[payload] = word0;
    words[payload + 1] = word1;
    return false;
  }

  /** Forgets the key; whether it was here. */
  deleteHere(): boolean {
    const path = this.#path;
    if (this.#found < 0) return false;
    path.makeWritable();
    const id = path.nodes[0] as number;
    node.remove(this.memory.words(id), this.memory.base(id), this.#found);
    this.#size--;
    this.#removal.settle(0);
    path.collapseRoot();
    return true;
  }

  /** `goTo` and `setHere` of a key whose leaf is in memory. */
  set(key: Uint8Array, keyLength: number, word0: number, word1: number): boolean {
    assert(this.goTo(key, keyLength) === 0, 'a leaf is in memory when it is written');
    return this.setHere(word0, word1);
  }

  /** `goTo` and `deleteHere` of a key whose leaf is in memory. */
  delete(key: Uint8Array, keyLength: number): boolean {
    assert(this.goTo(key, keyLength) === 0, 'a leaf is in memory when it is written');
    return this.deleteHere();
  }

  /** The tree frozen at this moment. What it costs is paid by the writes that follow. */
  snapshot(): TreeSnapshot {
    return this.#lifetimes.take(this.#path.root, this.#size);
  }

  /**
   * Becomes the tree below `root`, whose inner nodes are in the memory already and whose nodes are all the same as on
   * the device. Requires an empty tree without snapshots.
   */
  restore(root: number, size: number): void {
    assert(this.#path.root === 0 && this.#lifetimes.newest < 0, 'a tree is restored before it is used');
    this.#path.root = root;
    this.#path.top =
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
    return id === this.#path.root;
  }

  /** Whether a node has changed since the last checkpoint. One that is absent has not. */
  isDirty(id: number): boolean {
    if (!this.memory.isResident(id)) return false;
    return node.birth(this.memory.words(id), this.memory.base(id)) > this.#lifetimes.cleanThrough;
  }

  /** Forgets all keys at once. Its nodes become a backlog of the memory: see `NodeMemory.reclaimSome`. */
  clear(): void {
    if (this.#path.root !== 0) this.#lifetimes.condemn(this.#path.root);
    this.#path.root = 0;
    this.#path.top = 0;
    this.#size = 0;
  }

  /**
   * Walks everything and throws when an invariant does not hold. Adds all nodes that this tree and
   * its snapshots hold to `reachable`, for `NodeMemory.verify`.
   */
  verify(reachable: Set<number> = new Set<number>()): void {
    const keys = this.#path.root === 0 ? 0 : verifyTree(this.memory, this.#path.root, reachable, this.#lifetimes);
    assert(keys === null || keys === this.#size, `size is ${this.#size}, the leaves have ${keys} entries`);
    const root = this.#path.root;
    if (root !== 0) {
      const words = this.memory.words(root);
      const base = this.memory.base(root);
      assert(node.level(words, base) === this.#path.top, 'the top level is that of the root');
      assert(this.#path.top === 0 || node.count(words, base) > 0, 'an inner root has a separator');
    }
    this.#lifetimes.verify(reachable);
  }
}
