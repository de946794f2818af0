/**
 * Numbers packed bit by bit into words of 32 bits, and columns of them: what the entries of a page have in common takes
 * no room in its image.
 *
 * ```
 *   a number begins at the lowest bit that is free, and goes on in the next word
 *
 *   column of one width:    │ value │ value │ value │ …              the width of the longest value
 *   column of two widths:   │ 0 │ value │ 1 │ longer value │ …       0 or 1: with the small width, or with the large one
 * ```
 *
 * With two widths one number that is far off costs itself and a bit for each of the others. It does not make all of them
 * long. So one entry more never makes the image of a page much longer (PNODE-3).
 *
 * BITS-1. Whatever the words hold, reading ends. What lies behind them reads as zeros; `isOver` says that it was read.
 *
 * docs/format.md, "Index page". Pure encoding and decoding.
 */

/** The two widths of a column in one number: the small one, and from this bit on the large one. */
const LARGE_SHIFT = 6;
export const WIDTHS_BITS = 12;
const SMALL_MASK = 0x3f;
const LARGEST_WIDTH = 32;

/** How many values of a column have so many bits. */
const counts = new Uint32Array(LARGEST_WIDTH + 1);

/** A small number for a small difference, also for one below zero. Both values and the result are words. */
export function differenceOf(value: number, before: number): number {
  const difference = (value - before) | 0;
  return (difference << 1) ^ (difference >> 31);
}

/** The value that has this difference from the one before, as a signed word. */
export function valueAfter(before: number, difference: number): number {
  return (before + ((difference >>> 1) ^ -(difference & 1))) | 0;
}

/** The widths with which the values from `from` to `to` (exclusive) take the fewest bits. */
export function chooseWidths(values: Uint32Array, from: number, to: number): number {
  let all = 0;
  for (let at = from; at < to; at++) all |= (values[at] as number) | 0;
  if (all === 0) return 0;
  const large = LARGEST_WIDTH - Math.clz32(all);
  counts.fill(0);
  for (let at = from; at < to; at++) {
    const bits = LARGEST_WIDTH - Math.clz32((values[at] as number) | 0);
    counts[bits] = (counts[bits] as number) + 1;
  }
  let best = large;
  let longer = to - from;
  let bestBits = longer * large;
  for (let small = 0; small < large; small++) {
    longer -= counts[small] as number;
    const bits = (to - from) * (1 + small) + longer * (large - small);
    if (bits < bestBits) {
      best = small;
      bestBits = bits;
    }
  }
  return best | (large << LARGE_SHIFT);
}

export class BitStream {
  words = new Uint32Array(0);
  /** The next bit, from the start of the words. */
  at = 0;

  /** Starts at the first bit of the words. Those that are written must be zero. */
  start(words: Uint32Array<ArrayBuffer>): void {
    this.words = words;
    this.at = 0;
  }

  /** Bytes so far, in whole words. */
  get bytes(): number {
    return ((this.at + 31) >>> 5) * 4;
  }

  /** Whether more was read than there is. */
  get isOver(): boolean {
    return this.at > 32 * this.words.length;
  }

  /** Writes a word of which only the lowest `width` bits may be set. */
  put(value: number, width: number): void {
    if (width === 0) return;
    const { words, at } = this;
    const word = at >>> 5;
    const shift = at & 31;
    words[word] = (words[word] as number) | (value << shift);
    if (shift + width > 32) words[word + 1] = value >>> (32 - shift);
    this.at = at + width;
  }

  /** Writes all that another stream has written. */
  putAll({ words: others, at: bits }: BitStream): void {
    const { words } = this;
    const shift = this.at & 31;
    let to = this.at >>> 5;
    for (let from = 0; from << 5 < bits; from++, to++) {
      const value = (others[from] as number) | 0;
      words[to] = (words[to] as number) | (value << shift);
      if (shift > 0) words[to + 1] = value >>> (32 - shift);
    }
    this.at += bits;
  }

  /** Reads so many bits, at most 32, as a signed word. */
  take(width: number): number {
    const { words, at } = this;
    this.at = at + width;
    return bitsAt(words, at, width);
  }

  /** @param widths of `chooseWidths` for the same values */
  putColumn(values: Uint32Array, from: number, to: number, widths: number): void {
    if (widths === 0) return;
    const small = widths & SMALL_MASK;
    const large = widths >>> LARGE_SHIFT;
    const { words } = this;
    let bitAt = this.at;
    for (let at = from; at < to; at++) {
      const value = (values[at] as number) | 0;
      let width = large;
      if (small !== large) {
        if (LARGEST_WIDTH - Math.clz32(value) <= small) width = small;
        else words[bitAt >>> 5] = (words[bitAt >>> 5] as number) | (1 << (bitAt & 31));
        bitAt++;
      }
      if (width === 0) continue;
      const word = bitAt >>> 5;
      const shift = bitAt & 31;
      words[word] = (words[word] as number) | (value << shift);
      if (shift + width > 32) words[word + 1] = value >>> (32 - shift);
      bitAt += width;
    }
    this.at = bitAt;
  }

  takeColumn(into: Uint32Array, from: number, to: number, widths: number): void {
    const small = widths & SMALL_MASK;
    const large = widths >>> LARGE_SHIFT;
    const { words } = this;
    let bitAt = this.at;
    if (large === 0) {
      into.fill(0, from, to);
    } else if (small === large) {
      for (let at = from; at < to; at++, bitAt += large) into[at] = bitsAt(words, bitAt, large);
    } else {
      for (let at = from; at < to; at++) {
        const width = bitsAt(words, bitAt, 1) === 0 ? small : large;
        into[at] = bitsAt(words, bitAt + 1, width);
        bitAt += 1 + width;
      }
    }
    this.at = bitAt;
  }

  /** Whether these can be the widths of a column. */
  static arePossible(widths: number): boolean {
    const large = widths >>> LARGE_SHIFT;
    return large <= LARGEST_WIDTH && (widths & SMALL_MASK) <= large;
  }
}

/** The bits from `at` on, at most 32, as a signed word. */
export function bitsAt(words: Uint32Array, at: number, width: number): number {
  if (width === 0) return 0;
  const word = at >>> 5;
  const shift = at & 31;
  let value = (words[word] as number) >>> shift;
  if (shift + width > 32) value |= (words[word + 1] as number) << (32 - shift);
  return value & (-1 >>> (32 - width));
}
