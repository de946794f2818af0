/**
 * Lays nodes out anew: to close gaps, to shorten or lengthen the prefix, to split one node in two
 * and to merge two into one. It copies its sources to scratch first, so a target may be one of
 * them. It never allocates nodes and never decides when; the tree does both.
 *
 * What is to be written is one sequence of entries, made of up to three parts:
 *
 *            0 .. firstEnd - 1      the pending entry      second node, from secondStart
 *   insert   entries before it      the new entry          the same node's entries after it
 *   merge    the left node          (inner) separator      the right node
 *
 * and any range of it becomes a node. In an inner node entry i leads to child i + 1; the child
 * before the first entry of a range is given apart.
 *
 * Invariant:
 *  1. A node written here has the longest prefix that its keys share, and no garbage.
 */
import * as node from './node.ts';
import { Probe } from './probe.ts';

export class Rewrite {
  /** Entries in the sequence. */
  total = 0;
  #level = 0;
  #firstEnd = 0;
  #pending = 0;
  #secondBase = 0;
  #secondStart = 0;
  #word0 = 0;
  #word1 = 0;
  #pendingKey = new Probe();
  readonly #scratch = new Uint32Array(2 * node.NODE_WORDS_MAX);
  readonly #key = new Probe();
  readonly #otherKey = new Probe();

  /** The node with one more entry at `index`. `key` must not change before the rewrite is done. */
  startInsert(w: Uint32Array, base: number, words: number, index: number, key: Probe): void {
    this.#copy(w, base, words, 0);
    this.#level = node.level(w, base);
    this.#firstEnd = index;
    this.#pending = 1;
    this.#pendingKey = key;
    this.#secondBase = 0;
    this.#secondStart = index;
    this.total = node.count(w, base) + 1;
  }

  /** The payload of the pending entry. */
  setPayload(word0: number, word1: number): void {
    this.#word0 = word0;
    this.#word1 = word1;
  }

  /** The left node of a merge. */
  startMerge(w: Uint32Array, base: number, words: number): void {
    this.#copy(w, base, words, 0);
    this.#level = node.level(w, base);
    this.#firstEnd = node.count(w, base);
    this.#pending = 0;
    this.#secondBase = 0;
    this.#secondStart = this.#firstEnd;
    this.total = this.#firstEnd;
  }

  /** The right node of a merge; `separator` is what stood between the two and counts for inner nodes only. */
  addRight(w: Uint32Array, base: number, words: number, separator: Probe): void {
    this.#copy(w, base, words, node.NODE_WORDS_MAX);
    this.#secondBase = node.NODE_WORDS_MAX;
    this.#secondStart = 0;
    if (this.#level > 0) {
      this.#pending = 1;
      this.#pendingKey = separator;
      this.setPayload(node.childAt(w, base, 0), 0);
    }
    this.total += this.#pending + node.count(w, base);
  }

  /** The first child of the first source. */
  get firstChild(): number {
    return node.childAt(this.#scratch, 0, 0);
  }

  /** The child that entry `at` of an inner sequence leads to. */
  childAfter(at: number): number {
    if (at === this.#firstEnd && this.#pending === 1) return this.#word0;
    const base = this.#baseOf(at);
    return node.childAt(this.#scratch, base, this.#indexOf(at) + 1);
  }

  loadKey(at: number, into: Probe): void {
    if (at === this.#firstEnd && this.#pending === 1) {
      into.copy(this.#pendingKey);
    } else {
      node.loadKey(this.#scratch, this.#baseOf(at), this.#indexOf(at), into);
    }
  }

  /** Words that a node of the entries from `from` to `to` (exclusive) takes. */
  sizeWords(from: number, to: number): number {
    if (from === to) return node.HEADER_WORDS;
    const prefix = this.#prefixOf(from, to);
    let words = node.HEADER_WORDS + ((prefix + 3) >>> 2);
    for (let at = from; at < to; at++) words += this.#entryWords(at, prefix);
    return words;
  }

  /**
   * The entry before which the sequence is best cut so that both sides take as much room. Never 0
   * and never `total`.
   */
  middle(): number {
    const prefix = this.#prefixOf(0, this.total);
    let words = 0;
    for (let at = 0; at < this.total; at++) words += this.#entryWords(at, prefix);
    let left = 0;
    let at = 0;
    while (at < this.total - 1) {
      const next = left + this.#entryWords(at, prefix);
      if (at > 0 && next - words / 2 > words / 2 - left) break;
      left = next;
      at++;
    }
    return at;
  }

  /** Loads the shortest key that parts entry `at` and what follows from what precedes. */
  loadSeparator(at: number, into: Probe): void {
    this.loadKey(at - 1, this.#otherKey);
    this.loadKey(at, into);
    into.seal(into.commonBytes(this.#otherKey) + 1);
  }

  /** Writes the entries from `from` to `to` (exclusive) as a node of `capacityWords`. */
  write(
    w: Uint32Array,
    base: number,
    capacityWords: number,
    birth: number,
    from: number,
    to: number,
    firstChild: number,
  ): void {
    const prefix = from === to ? 0 : this.#prefixOf(from, to);
    node.clear(w, base, this.#level, prefix, capacityWords, firstChild);
    node.setBirth(w, base, birth);
    const key = this.#key;
    const leaf = this.#level === 0;
    for (let at = from; at < to; at++) {
      this.loadKey(at, key);
      if (at === from) node.writePrefix(w, base, key);
      const payload = node.place(w, base, at - from, to - from, key);
      if (at === this.#firstEnd && this.#pending === 1) {
        w[payload] = this.#word0;
        if (leaf) w[payload + 1] = this.#word1;
        continue;
      }
      const source = node.payloadAt(this.#scratch, this.#baseOf(at), this.#indexOf(at));
      w[payload] = this.#scratch[source] as number;
      if (leaf) w[payload + 1] = this.#scratch[source + 1] as number;
    }
  }

  #copy(w: Uint32Array, base: number, words: number, to: number): void {
    this.#scratch.set(w.subarray(base, base + words), to);
  }

  #baseOf(at: number): number {
    return at < this.#firstEnd ? 0 : this.#secondBase;
  }

  #indexOf(at: number): number {
    return at < this.#firstEnd ? at : at - this.#firstEnd - this.#pending + this.#secondStart;
  }

  #entryWords(at: number, prefix: number): number {
    const length =
      at === this.#firstEnd && this.#pending === 1
        ? this.#pendingKey.length
        : node.keyLength(this.#scratch, this.#baseOf(at), this.#indexOf(at));
    return 2 + node.payloadWords(this.#level) + node.tailWords(length, prefix);
  }

  #prefixOf(from: number, to: number): number {
    this.loadKey(from, this.#key);
    this.loadKey(to - 1, this.#otherKey);
    return this.#key.commonBytes(this.#otherKey);
  }
}
