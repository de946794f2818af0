/**
 * Rewrites nodes: to close gaps, to change the length of the prefix, to split one node, to merge two and to spread two
 * over two or three. It copies the source nodes to scratch memory first, so a source may also be a target. It neither
 * allocates nodes nor decides when to rewrite; the tree does both.
 *
 * A rewrite works on one sequence of entries, made of up to three parts:
 *
 *            0 .. firstEnd - 1      the pending entry      second node, from secondStart
 *   insert   entries before it      the new entry          the same node's entries after it
 *   pair     the left node          (inner) separator      the right node
 *
 * Any range of the sequence can be written as a node. In an inner node entry i leads to child i + 1; the caller passes
 * the child before the first entry of a range separately.
 *
 * REWRITE-1. A node written here has the longest prefix that its keys share, and no garbage.
 */
import { assert } from '@aiokv/core';
import { NO_WORDS } from './entry.ts';
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';
import type { Path } from './path.ts';
import { Probe } from './probe.ts';

/** In the size of an entry: the bits of the words of its key. A key has at most 1024 of them. */
const KEY_WORDS_BITS = 11;
const KEY_WORDS_MASK = (1 << KEY_WORDS_BITS) - 1;

class Rewrite {
  /** Entries in the sequence. */
  total = 0;
  #level = 0;
  #firstEnd = 0;
  #pending = 0;
  #secondBase = 0;
  #secondStart = 0;
  #word0 = 0;
  #word1 = 0;
  #extra: Uint32Array = NO_WORDS;
  #extraWords = 0;
  #pendingKey = new Probe();
  readonly #scratch = new Uint32Array(2 * node.NODE_WORDS_MAX);
  /** Of each entry of the sequence, words of the key : 11 | extra words : 4. The search for a cut needs them often. */
  readonly #sizes = new Uint16Array(node.NODE_WORDS_MAX);
  readonly #key = new Probe();
  readonly #otherKey = new Probe();

  /**
   * Starts from one node and a new entry at `index`, whose payload `setPayload` has set. `key` must not change until the
   * rewrite is done.
   */
  startInsert(w: Uint32Array, base: number, words: number, index: number, key: Probe): void {
    this.#copy(w, base, words, 0);
    this.#level = node.level(w, base);
    this.#firstEnd = index;
    this.#pending = 1;
    this.#pendingKey = key;
    this.#secondBase = 0;
    this.#secondStart = index;
    const n = node.count(w, base);
    this.total = n + 1;
    this.#noteSizes(0, 0, index, 0);
    this.#sizes[index] = sizeOf(key.length, this.#extraWords);
    this.#noteSizes(0, index, n, index + 1);
  }

  /** Sets the payload of the pending entry. `extra` must not change until the rewrite is done. */
  setPayload(word0: number, word1: number, extra: Uint32Array, extraWords: number): void {
    this.#word0 = word0;
    this.#word1 = word1;
    this.#extra = extra;
    this.#extraWords = extraWords;
  }

  /** Starts from two neighbours. `separator` is the one between them; it is used for inner nodes only. */
  startPair(memory: NodeMemory, leftId: number, rightId: number, separator: Probe): void {
    const left = memory.words(leftId);
    const leftBase = memory.base(leftId);
    this.#copy(left, leftBase, memory.units(leftId) * memory.unitWords, 0);
    const right = memory.words(rightId);
    const rightBase = memory.base(rightId);
    this.#copy(right, rightBase, memory.units(rightId) * memory.unitWords, node.NODE_WORDS_MAX);
    this.#level = node.level(left, leftBase);
    this.#firstEnd = node.count(left, leftBase);
    this.#pending = this.#level > 0 ? 1 : 0;
    this.#pendingKey = separator;
    this.setPayload(node.childAt(right, rightBase, 0), 0, NO_WORDS, 0);
    this.#secondBase = node.NODE_WORDS_MAX;
    this.#secondStart = 0;
    const n = node.count(right, rightBase);
    const secondAt = this.#firstEnd + this.#pending;
    this.total = secondAt + n;
    this.#noteSizes(0, 0, this.#firstEnd, 0);
    if (this.#pending === 1) this.#sizes[this.#firstEnd] = sizeOf(separator.length, 0);
    this.#noteSizes(this.#secondBase, 0, n, secondAt);
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

  /** Words of a node with the entries from `from` to `to` (exclusive). */
  sizeWords(from: number, to: number): number {
    if (from === to) return node.HEADER_WORDS;
    const prefix = this.#prefixOf(from, to);
    let words = node.HEADER_WORDS + ((prefix + 3) >>> 2);
    for (let at = from; at < to; at++) words += this.#entryWords(at, prefix);
    return words;
  }

  /**
   * Where to cut the entries from `from` to `to` (exclusive) so that those before the cut take about this part of the
   * words. Returns the first entry after the cut, which is above `from` and below `to`.
   */
  cutAt(part: number, from = 0, to = this.total): number {
    const prefix = this.#prefixOf(from, to);
    let words = 0;
    for (let at = from; at < to; at++) words += this.#entryWords(at, prefix);
    const wanted = words * part;
    let left = 0;
    let at = from;
    while (at < to - 1) {
      const next = left + this.#entryWords(at, prefix);
      if (at > from && next - wanted > wanted - left) break;
      left = next;
      at++;
    }
    return at;
  }

  /** Loads the shortest key that separates entry `at` from the entry before it. */
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
    if (from === to) return;
    this.loadKey(from, this.#key);
    node.writePrefix(w, base, this.#key);
    for (let at = from; at < to; at++) {
      if (at === this.#firstEnd && this.#pending === 1) this.#writePending(w, base, at - from, to - from);
      else {
        const source = this.#baseOf(at);
        if (node.prefixBytes(this.#scratch, source) >>> 2 === prefix >>> 2) {
          node.placeFrom(w, base, at - from, to - from, this.#scratch, source, this.#indexOf(at));
        } else this.#writeEntry(w, base, at - from, to - from, at);
      }
    }
  }

  #writePending(w: Uint32Array, base: number, index: number, n: number): void {
    const payload = node.place(w, base, index, n, this.#pendingKey, this.#extraWords);
    w[payload] = this.#word0;
    if (this.#level === 0) w[payload + 1] = this.#word1;
    for (let word = 0; word < this.#extraWords; word++) w[payload + 2 + word] = this.#extra[word] as number;
  }

  #writeEntry(w: Uint32Array, base: number, index: number, n: number, at: number): void {
    const scratch = this.#scratch;
    this.loadKey(at, this.#key);
    const extra = (this.#sizes[at] as number) >>> KEY_WORDS_BITS;
    const payload = node.place(w, base, index, n, this.#key, extra);
    const source = node.payloadAt(scratch, this.#baseOf(at), this.#indexOf(at));
    const words = node.payloadWords(this.#level) + extra;
    for (let word = 0; word < words; word++) w[payload + word] = scratch[source + word] as number;
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

  /** Records the sizes of entries `from` to `end` (exclusive) of a source, which are at `at` in the sequence. */
  #noteSizes(base: number, from: number, end: number, at: number): void {
    const sizes = this.#sizes;
    const scratch = this.#scratch;
    for (let index = from; index < end; index++) {
      const extra = node.extraWords(scratch, base, index);
      sizes[at + index - from] = sizeOf(node.keyLength(scratch, base, index), extra);
    }
  }

  #entryWords(at: number, prefix: number): number {
    const size = this.#sizes[at] as number;
    const tail = node.tailWords((size & KEY_WORDS_MASK) * 4, prefix);
    return 2 + node.payloadWords(this.#level) + (size >>> KEY_WORDS_BITS) + tail;
  }

  #prefixOf(from: number, to: number): number {
    this.loadKey(from, this.#key);
    this.loadKey(to - 1, this.#otherKey);
    return this.#key.commonBytes(this.#otherKey);
  }
}

function sizeOf(keyBytes: number, extraWords: number): number {
  return ((keyBytes + 3) >>> 2) | (extraWords << KEY_WORDS_BITS);
}

/** All trees share it: no rewrite outlasts the call that started it. */
export const rewrite = new Rewrite();

/** Writes a range of the rewrite to a node. */
export function writeRange(
  { memory, lifetimes }: Path,
  id: number,
  from: number,
  to: number,
  firstChild: number,
): void {
  const capacity = memory.units(id) * memory.unitWords;
  rewrite.write(memory.words(id), memory.base(id), capacity, lifetimes.generation, from, to, firstChild);
}

/** Units that a node of so many words needs. */
export function unitsFor(memory: NodeMemory, words: number): number {
  assert(words <= node.NODE_WORDS_MAX, 'a node splits before it outgrows its slots');
  return Math.ceil(words / memory.unitWords);
}
