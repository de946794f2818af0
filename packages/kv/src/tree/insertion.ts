/**
 * Makes room for an entry. A full node is rewritten, grows, shares entries with its neighbour or splits; a split can
 * repeat on the levels above. This file decides which of these happens and where a node is cut; tree.ts has the
 * drawing.
 */
import { NO_WORDS } from './entry.ts';
import * as node from './node.ts';
import type { Path } from './path.ts';
import { Probe } from './probe.ts';
import { rewrite, unitsFor, writeRange } from './rewrite.ts';

/** A node with at most this many entries grows instead of splitting. */
const GROW_ENTRIES_MAX = 4;
/** A leaf is rewritten without a split only if one part in this many of it is free afterwards. */
const SPARE_PART = 16;
/** A leaf that uses more than this part of a unit is crowded. A leaf that has just shared evenly never is. */
const CROWDED = 7 / 8;
/** A neighbour that uses less than this part of a unit takes entries from a crowded leaf. */
const ROOMY = 2 / 3;
/** Keys count as arriving in order when the newest entries, one part in this many of the leaf, did. */
const RUN_PART = 6;

/**
 * Separators to be inserted one level up. Neighbouring levels alternate, because one separator may be pending in a
 * rewrite while the next is made. All trees share them: no use of them outlasts a call.
 */
const separators = [new Probe(), new Probe()] as const;
/** The separator between the first two of three leaves that have shared. */
const firstOfTwo = new Probe();

export class Insertion {
  readonly #path: Path;

  constructor(path: Path) {
    this.#path = path;
  }

  /**
   * Inserts into the path's node on this level, which must be writable. It and the nodes above it may split. `extra` must
   * not be in a node: nodes may move.
   */
  insert(
    level: number,
    index: number,
    key: Probe,
    word0: number,
    word1: number,
    extra: Uint32Array = NO_WORDS,
    extraWords = 0,
  ): void {
    const path = this.#path;
    const { memory } = path;
    const id = path.nodes[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    const payload = node.insert(words, base, index, key, extraWords);
    if (payload !== 0) {
      words[payload] = word0;
      if (level === 0) words[payload + 1] = word1;
      for (let word = 0; word < extraWords; word++) words[payload + 2 + word] = extra[word] as number;
      return;
    }
    path.fence.remove();
    const capacity = memory.units(id) * memory.unitWords;
    if (level === 0 && this.#share(index, key)) {
      // This does not repeat: neither leaf is crowded after an even share, and a roomy leaf is not crowded.
      path.descend(key);
      this.insert(0, ~path.searchLeaf(key), key, word0, word1, extra, extraWords);
      return;
    }
    rewrite.setPayload(word0, word1, extra, extraWords);
    rewrite.startInsert(words, base, capacity, index, key);
    const total = rewrite.total;
    const size = rewrite.sizeWords(0, total);
    const few = total <= GROW_ENTRIES_MAX;
    const spare = few || level > 0 ? 0 : Math.floor(capacity / SPARE_PART);
    if (size + spare <= capacity) {
      rewrite.write(words, base, capacity, path.lifetimes.generation, 0, total, rewrite.firstChild);
    } else if (few) {
      this.#rewritePath(level, 0, total, size, rewrite.firstChild);
    } else {
      this.#split(level, index, capacity);
    }
  }

  /** Writes a range of the rewrite to the path's node, or to a new node in its place if the number of units changes. */
  #rewritePath(level: number, from: number, to: number, sizeWords: number, firstChild: number): void {
    const path = this.#path;
    const { memory } = path;
    const units = unitsFor(memory, sizeWords);
    if (units !== memory.units(path.nodes[level] as number)) path.replace(level, path.lifetimes.allocate(units));
    writeRange(path, path.nodes[level] as number, from, to, firstChild);
  }

  #split(level: number, index: number, capacity: number): void {
    const path = this.#path;
    const { memory } = path;
    const total = rewrite.total;
    const cut = this.#chooseCut(level, index, capacity);
    // In a leaf the entry at the cut goes to the right node; in an inner node it moves up as the separator.
    const rightFrom = level === 0 ? cut : cut + 1;
    const firstChild = rewrite.firstChild;
    const rightFirstChild = level === 0 ? 0 : rewrite.childAfter(cut);
    const separator = separators[level & 1] as Probe;
    if (level === 0) rewrite.loadSeparator(cut, separator);
    else rewrite.loadKey(cut, separator);

    const right = path.lifetimes.allocate(unitsFor(memory, rewrite.sizeWords(rightFrom, total)));
    writeRange(path, right, rightFrom, total, rightFirstChild);
    this.#rewritePath(level, 0, cut, rewrite.sizeWords(0, cut), firstChild);
    if (level === path.top) path.raiseRoot(path.root);
    this.insert(level + 1, path.taken[level + 1] as number, separator, right, 0);
  }

  #chooseCut(level: number, index: number, capacity: number): number {
    const last = rewrite.total - 1;
    const order = this.#orderAt(level, index);
    if (order > 0 && index < last) return rewrite.sizeWords(0, index + 1) <= capacity ? index + 1 : index;
    if (order > 0) return last;
    if (order < 0) return Math.max(1, index);
    const middle = rewrite.cutAt(1 / 2);
    if (index !== 0 && index !== last) return middle;
    const bursts = rewrite.sizeWords(0, middle) > capacity || rewrite.sizeWords(middle, rewrite.total) > capacity;
    if (!bursts) return middle;
    return index === 0 ? 1 : last;
  }

  /** 1 if keys arrive at this position of the path's node in ascending order, -1 if in descending order, else 0. */
  #orderAt(level: number, index: number): number {
    const path = this.#path;
    const { memory } = path;
    const id = path.nodes[level] as number;
    const words = memory.words(id);
    const base = memory.base(id);
    const n = node.count(words, base);
    if (index === n && path.isAtEdge(level, true)) return 1;
    if (index === 0 && path.isAtEdge(level, false)) return -1;
    const length = Math.ceil(n / RUN_PART);
    if (level > 0 || length < 2) return 0;
    if (node.isRun(words, base, index - 1, -1, length)) return 1;
    return node.isRun(words, base, index, 1, length) ? -1 : 0;
  }

  /**
   * Makes room for the key, which belongs at `index` of the path's leaf: spreads the entries of a crowded leaf and its
   * neighbour under the same parent over two leaves, or over three. Returns false, and changes nothing, when a split is
   * better.
   */
  #share(index: number, key: Probe): boolean {
    const path = this.#path;
    const { memory } = path;
    const leaf = path.nodes[0] as number;
    if (path.top === 0 || path.usedWords(leaf) <= memory.unitWords * CROWDED) return false;
    const order = this.#orderAt(0, index);
    const isLast = index === node.count(memory.words(leaf), memory.base(leaf));
    const parent = path.nodes[1] as number;
    const last = node.count(memory.words(parent), memory.base(parent));
    const taken = path.taken[1] as number;
    if (last === 0 || order < 0 || (order > 0 && taken === last)) return false;
    const left = Math.min(taken, last - 1);
    const leftId = node.childAt(memory.words(parent), memory.base(parent), left);
    const rightId = node.childAt(memory.words(parent), memory.base(parent), left + 1);
    const neighbour = leaf === leftId ? rightId : leftId;
    if (!memory.isResident(neighbour) || memory.units(leaf) > 1 || memory.units(neighbour) > 1) return false;
    const isRoomy = path.usedWords(neighbour) < memory.unitWords * ROOMY;
    if (order > 0 && isLast) return isRoomy && this.#moveOn(left, key);
    rewrite.startPair(memory, leftId, rightId, separators[0]);
    return order > 0 ? this.#shareBehind(left, index) : this.#shareEvenly(left, isRoomy);
  }

  /**
   * Keys arrive in order at the end of the leaf. Moves the separator so that this key and later ones go to the
   * neighbour.
   */
  #moveOn(left: number, key: Probe): boolean {
    const path = this.#path;
    const { memory } = path;
    const leaf = path.nodes[0] as number;
    const words = memory.words(leaf);
    const base = memory.base(leaf);
    const [separator, lastKey] = separators;
    node.loadKey(words, base, node.count(words, base) - 1, lastKey);
    separator.copy(key);
    separator.seal(key.commonBytes(lastKey) + 1);
    const parent = path.nodes[1] as number;
    const rightId = path.writable(node.childAt(memory.words(parent), memory.base(parent), left + 1));
    node.remove(memory.words(parent), memory.base(parent), left);
    this.insert(1, left, separator, rightId, 0);
    return true;
  }

  /** Keys arrive in order just before entry `index` of the pair. Moves the entries from there on to the right. */
  #shareBehind(left: number, index: number): boolean {
    const total = rewrite.total;
    const second = this.#isCrowdedBy(index, total) ? rewrite.cutAt(1 / 2, index) : index;
    if (this.#isCrowdedBy(second, total) || (second > index && this.#isCrowdedBy(index, second))) return false;
    this.#spread(left, index, second);
    return true;
  }

  #shareEvenly(left: number, isRoomy: boolean): boolean {
    const first = rewrite.cutAt(isRoomy ? 1 / 2 : 1 / 3);
    const second = isRoomy ? first : rewrite.cutAt(2 / 3);
    if (!isRoomy && (second <= first || this.#isCrowdedBy(first, second))) return false;
    if (this.#isCrowdedBy(0, first) || this.#isCrowdedBy(second, rewrite.total)) return false;
    this.#spread(left, first, second);
    return true;
  }

  #isCrowdedBy(from: number, to: number): boolean {
    return rewrite.sizeWords(from, to) > this.#path.memory.unitWords * CROWDED;
  }

  /** Writes the rewritten pair, children `left` and `left + 1` of the path's parent, as two leaves or three. */
  #spread(left: number, first: number, second: number): void {
    const path = this.#path;
    const { memory } = path;
    const parent = path.nodes[1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const total = rewrite.total;
    const separator = separators[0];
    rewrite.loadSeparator(second, separator);
    const leftId = path.writable(node.childAt(words, base, left));
    const rightId = path.writable(node.childAt(words, base, left + 1));
    writeRange(path, leftId, 0, first, 0);
    writeRange(path, rightId, second, total, 0);
    let middleId = 0;
    if (second > first) {
      rewrite.loadSeparator(first, firstOfTwo);
      middleId = path.lifetimes.allocate(1);
      writeRange(path, middleId, first, second, 0);
    }
    node.setChild(words, base, left, leftId);
    node.remove(words, base, left);
    this.insert(1, left, separator, rightId, 0);
    if (middleId === 0) return;
    // The parent may have split: descending to the left leaf finds the parent that takes the leaf beside it.
    path.descend(firstOfTwo);
    this.insert(1, path.taken[1] as number, firstOfTwo, middleId, 0);
  }
}
