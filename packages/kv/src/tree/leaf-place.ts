/**
 * One entry of a leaf, where it lies, and the way to its neighbours. It compares keys of two leaves without copying them, and
 * never leaves its leaf: at its end it is outside. A cursor says where it is and goes on from where the place has come to.
 *
 * ```
 *   leaf 1, prefix "user00"    user00 │ 4711            the words of a key, from the first that can differ:
 *   leaf 2, prefix "user0"     user0  │ 04711           er00, 4711
 * ```
 *
 * Its owner fills it again and again. It is valid within one step.
 */
import * as node from './node.ts';

const LEAF_PAYLOAD_WORDS = node.payloadWords(0);

export class LeafPlace {
  /** The index of the entry; outside of the leaf: -1 or the number of its entries. */
  index = 0;
  #words: Uint32Array = new Uint32Array(0);
  #base = 0;
  #count = 0;
  #prefixAt = 0;
  #heads = 0;
  /** The word in which the prefix ends, bits of it in that word, and the bits themselves. */
  #whole = 0;
  #shift = 0;
  #known = 0;
  /** Of the key: that word, where word 0 would be if the words behind it were all, and its length. */
  #middle = 0;
  #tailAt = 0;
  #keyBytes = 0;
  #payloadAt = 0;

  /** The first two words of the payload. */
  get word0(): number {
    return this.#words[this.#payloadAt] as number;
  }

  get word1(): number {
    return this.#words[this.#payloadAt + 1] as number;
  }

  set(words: Uint32Array, base: number, index: number): void {
    const prefix = node.prefixBytes(words, base);
    this.#words = words;
    this.#base = base;
    this.#count = node.count(words, base);
    this.#prefixAt = base + node.HEADER_WORDS;
    this.#heads = node.headsAt(words, base);
    this.#whole = prefix >>> 2;
    this.#shift = (prefix & 3) << 3;
    this.#known = this.#shift === 0 ? 0 : (words[this.#prefixAt + this.#whole] as number) | 0;
    this.goTo(index);
  }

  /** Goes to another entry of the leaf. Returns false if there is none with this index: then the place is outside. */
  goTo(index: number): boolean {
    this.index = index;
    if (index < 0 || index >= this.#count) return false;
    const words = this.#words;
    const head = (words[this.#heads + index] as number) | 0;
    const slot = (words[this.#heads + this.#count + index] as number) | 0;
    const at = this.#base + node.offsetIn(slot);
    this.#payloadAt = at;
    this.#middle = this.#shift === 0 ? head : this.#known | (head >>> this.#shift);
    this.#tailAt = at + LEAF_PAYLOAD_WORDS + node.extraWordsIn(slot) - this.#whole - 1;
    this.#keyBytes = node.keyBytesIn(slot);
    return true;
  }

  /** How many words, from the first, all keys of both leaves have in common. */
  sharedWords(other: LeafPlace): number {
    const end = Math.min(this.#whole, other.#whole);
    let word = 0;
    while (word < end && this.#words[this.#prefixAt + word] === other.#words[other.#prefixAt + word]) word++;
    return word;
  }

  /** Negative, zero or positive: this key is before, equal to or after the other. @param from see `sharedWords` */
  compare(other: LeafPlace, from: number): number {
    const shorter = this.#keyBytes < other.#keyBytes ? this.#keyBytes : other.#keyBytes;
    const end = (shorter + 3) >>> 2;
    for (let word = from; word < end; word++) {
      const mine = this.#wordOf(word);
      const theirs = other.#wordOf(word);
      if (mine !== theirs) return mine >>> 0 < theirs >>> 0 ? -1 : 1;
    }
    return this.#keyBytes - other.#keyBytes;
  }

  /** A word of the key, as a signed number. */
  #wordOf(word: number): number {
    if (word > this.#whole) return (this.#words[this.#tailAt + word] as number) | 0;
    if (word === this.#whole) return this.#middle;
    return (this.#words[this.#prefixAt + word] as number) | 0;
  }
}
