/**
 * Fills the leaves of a tree, one after the other from the left: a leaf takes entries of its right neighbour under the
 * same parent until it is full. Each leaf becomes a new node, so that nodes are saved in the order of their keys.
 *
 * ```
 *   [ a b . . ][ c . . . ][ d e f . ][ g h . . ]  ─►  [ a b c d ][ e f g h ]
 * ```
 *
 * PACK-1. The tree is whole after each step, and has the same entries.
 *
 * Leaves of more than one unit stay as they are.
 */
import type { Insertion } from './insertion.ts';
import * as node from './node.ts';
import type { Path } from './path.ts';
import { Probe } from './probe.ts';
import type { Removal } from './removal.ts';
import { rewrite, writeRange } from './rewrite.ts';

/** The separator of a pair. All trees share it: no use of it outlasts a call. */
const separator = new Probe();

export class Packing {
  readonly #path: Path;
  readonly #insertion: Insertion;
  readonly #removal: Removal;
  /** The leaf that can hold this key is next. */
  readonly #next = new Probe();
  #isDone = false;

  constructor(path: Path, insertion: Insertion, removal: Removal) {
    this.#path = path;
    this.#insertion = insertion;
    this.#removal = removal;
    this.#next.load(new Uint8Array(0), 0);
  }

  /** Whether all leaves are filled. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Fills the next leaf. Returns 0, or the absent leaf that must be loaded first: then it has done a part. */
  step(): number {
    const path = this.#path;
    const { memory } = path;
    if (path.root === 0) {
      this.#isDone = true;
      return 0;
    }
    const first = path.descend(this.#next);
    if (!memory.isResident(first)) return first;
    for (let neighbour = this.#neighbour(); neighbour !== 0; neighbour = this.#neighbour()) {
      if (!memory.isResident(neighbour)) return neighbour;
      const leaf = path.nodes[0] as number;
      if (memory.units(leaf) > 1 || memory.units(neighbour) > 1) break;
      rewrite.startPair(memory, leaf, neighbour, separator);
      if (rewrite.sizeWords(0, rewrite.total) <= memory.unitWords) {
        this.#join(leaf, neighbour);
        continue;
      }
      const cut = this.#cut();
      if (cut <= node.count(memory.words(leaf), memory.base(leaf))) break;
      this.#spread(leaf, neighbour, cut);
      return 0;
    }
    path.makeWritable();
    this.#isDone = !path.loadFence(0, this.#next);
    if (path.top > 0) this.#removal.settle(1);
    path.collapseRoot();
    return 0;
  }

  /** The absent leaves behind the one of the last step that have the same parent, at most `most`. */
  absentAhead(most: number): number[] {
    const { memory, nodes, taken, top } = this.#path;
    const leaves: number[] = [];
    if (top === 0) return leaves;
    const words = memory.words(nodes[1] as number);
    const base = memory.base(nodes[1] as number);
    for (let child = taken[1] as number; child <= node.count(words, base) && leaves.length < most; child++) {
      const id = node.childAt(words, base, child);
      if (!memory.isResident(id)) leaves.push(id);
    }
    return leaves;
  }

  /** The right neighbour of the path's leaf under the same parent, or 0. */
  #neighbour(): number {
    const { memory, nodes, taken, top } = this.#path;
    if (top === 0) return 0;
    const words = memory.words(nodes[1] as number);
    const base = memory.base(nodes[1] as number);
    const at = taken[1] as number;
    return at === node.count(words, base) ? 0 : node.childAt(words, base, at + 1);
  }

  /** How many entries of the pair fit into one leaf. */
  #cut(): number {
    const { unitWords } = this.#path.memory;
    let fits = 1;
    let bursts = rewrite.total;
    while (bursts - fits > 1) {
      const middle = (fits + bursts) >>> 1;
      if (rewrite.sizeWords(0, middle) <= unitWords) fits = middle;
      else bursts = middle;
    }
    return fits;
  }

  /** Makes one leaf of the pair. */
  #join(leaf: number, neighbour: number): void {
    const path = this.#path;
    path.makeWritable(1);
    const parent = path.nodes[1] as number;
    const words = path.memory.words(parent);
    const base = path.memory.base(parent);
    const at = path.taken[1] as number;
    const joined = path.lifetimes.allocate(1);
    writeRange(path, joined, 0, rewrite.total, 0);
    path.lifetimes.retire(leaf);
    path.lifetimes.retire(neighbour);
    node.setChild(words, base, at, joined);
    node.remove(words, base, at);
    path.nodes[0] = joined;
  }

  /** Writes the pair as a full leaf and the rest of it. The rest is next. */
  #spread(leaf: number, neighbour: number, cut: number): void {
    const path = this.#path;
    path.makeWritable(1);
    const parent = path.nodes[1] as number;
    const words = path.memory.words(parent);
    const base = path.memory.base(parent);
    const at = path.taken[1] as number;
    const { total } = rewrite;
    rewrite.loadSeparator(cut, separator);
    const left = path.writable(leaf);
    const right = path.writable(neighbour);
    writeRange(path, left, 0, cut, 0);
    writeRange(path, right, cut, total, 0);
    node.setChild(words, base, at, left);
    node.remove(words, base, at);
    this.#next.copy(separator);
    this.#insertion.insert(1, at, separator, right, 0);
  }
}
