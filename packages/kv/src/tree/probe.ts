/**
 * A key in the form in which the index compares it: big-endian words, padded with zero bytes. Its owner
 * loads it again and again. It grows when a longer key is loaded, and never keeps a reference to the caller's bytes.
 *
 *   "user62"   word 0 = 0x75736572, word 1 = 0x36320000, words 2 and 3 = 0
 *
 * Two keys compare by their padded words first. If all words of the shorter key are equal, they compare by
 * length. (If the padding meets a byte that is not zero, the shorter key is a prefix of the longer one and
 * the words decide. If it meets only zero bytes, the lengths decide.)
 *
 * PROBE-1. At least the two words after the last word of the key are zero, so that a head of four bytes
 *     can be read at any offset up to the key's length.
 */

/** Bytes of the longest key: 4096 of a caller, and what a user of a tree puts before and behind them. */
export const KEY_BYTES_MAX = 4096 + 16;

export class Probe {
  words: Uint32Array;
  /** Length of the key in bytes. */
  length = 0;

  /** @param bytes of the longest key for which there is room at first. Whoever writes `words` directly relies on it */
  constructor(bytes: number = KEY_BYTES_MAX) {
    this.words = new Uint32Array(wordsFor(bytes));
  }

  /** Copies the first `length` bytes of `key`. */
  load(key: Uint8Array, length: number): void {
    if (wordsFor(length) > this.words.length) this.words = new Uint32Array(wordsFor(2 * length));
    const words = this.words;
    const whole = length >>> 2;
    let at = 0;
    for (let index = 0; index < whole; index++) {
      words[index] =
        ((key[at] as number) << 24) |
        ((key[at + 1] as number) << 16) |
        ((key[at + 2] as number) << 8) |
        (key[at + 3] as number);
      at += 4;
    }
    let last = 0;
    for (let shift = 24; at < length; shift -= 8) last |= (key[at++] as number) << shift;
    words[whole] = last;
    words[whole + 1] = 0;
    words[whole + 2] = 0;
    this.length = length;
  }

  /** Copies the bytes of the key to the start of `target`. */
  copyTo(target: Uint8Array): void {
    const { words, length } = this;
    for (let at = 0; at < length; at++) target[at] = (words[at >>> 2] as number) >>> (24 - 8 * (at & 3));
  }

  /** Copies the key of another probe. */
  copy(from: Probe): void {
    const words = (from.length + 3) >>> 2;
    for (let index = 0; index < words; index++) this.words[index] = from.words[index] as number;
    this.seal(from.length);
  }

  /** Sets the length after the words were written directly, and pads the key. */
  seal(length: number): void {
    const whole = length >>> 2;
    const rest = length & 3;
    const words = this.words;
    words[whole] = rest === 0 ? 0 : (words[whole] as number) & (-1 << (32 - 8 * rest));
    words[whole + 1] = 0;
    words[whole + 2] = 0;
    this.length = length;
  }

  /** Negative, zero or positive: this key is before, equal to or after the other. */
  compare(other: Probe): number {
    const words = (Math.min(this.length, other.length) + 3) >>> 2;
    for (let index = 0; index < words; index++) {
      const difference = (this.words[index] as number) - (other.words[index] as number);
      if (difference !== 0) return difference;
    }
    return this.length - other.length;
  }

  /** Length in bytes of the longest prefix that both keys share. */
  commonBytes(other: Probe): number {
    const shorter = Math.min(this.length, other.length);
    const words = (shorter + 3) >>> 2;
    for (let index = 0; index < words; index++) {
      const difference = (this.words[index] as number) ^ (other.words[index] as number);
      if (difference !== 0) return Math.min(shorter, index * 4 + (Math.clz32(difference) >>> 3));
    }
    return shorter;
  }
}

function wordsFor(bytes: number): number {
  return (bytes >>> 2) + 4;
}
