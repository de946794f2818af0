/**
 * The bytes of keys, with as few bits for each as the keys of a page need. Decimal digits take four bits.
 *
 * ```
 *   letters       0123456789         of this page, at most 128; a code is the place of a byte among them
 *   rest          code 10, then the byte itself in eight bits: for bytes that are too rare to be letters
 *   no letters    each byte stands for itself
 * ```
 *
 * A byte that occurs once does not become a letter, so one odd key does not make the codes of all others longer (PNODE-3).
 *
 * docs/format.md, "Index page". Pure encoding and decoding.
 */
import { bitsAt } from './bit-stream.ts';
import type { BitStream } from './bit-stream.ts';

const BYTES = 256;
const MOST_LETTERS = 128;
/** A byte that is less than this part of all is a letter only if all bytes are. */
const RARE_SHIFT = 7;
/** In place of the letter: of the code that the byte follows, and of codes that mean nothing. */
const REST = 0x100;
const NO_LETTER = 0x101;
const SIZE_BITS = 8;

export class Alphabet {
  #size = 0;
  #hasRest = false;
  #width = 8;
  /** By code. */
  readonly #letters = new Uint16Array(BYTES);
  /** By byte: its code, or `NO_LETTER`. */
  readonly #codes = new Uint16Array(BYTES);

  /** Chooses the letters with which bytes that occur so often take the fewest bits. */
  choose(counts: Uint32Array): void {
    let kinds = 0;
    let total = 0;
    for (let byte = 0; byte < BYTES; byte++) {
      const count = counts[byte] as number;
      if (count > 0) kinds++;
      total += count;
    }
    let rare = total >>> RARE_SHIFT;
    let frequent = 0;
    let rest = 0;
    for (let byte = 0; byte < BYTES; byte++) {
      const count = counts[byte] as number;
      if (count > rare) frequent++;
      else rest += count;
    }
    const bitsOfBytes = 8 * total;
    const bitsOfAll = kinds > MOST_LETTERS ? Infinity : total * widthOf(kinds) + 8 * kinds;
    const bitsOfFrequent = rest === 0 ? Infinity : total * widthOf(frequent + 1) + 8 * (rest + frequent);
    if (bitsOfBytes <= bitsOfAll && bitsOfBytes <= bitsOfFrequent) {
      this.#set(0, false);
      for (let byte = 0; byte < BYTES; byte++) this.#codes[byte] = byte;
      return;
    }
    const isAll = bitsOfAll <= bitsOfFrequent;
    if (isAll) rare = 0;
    let size = 0;
    for (let byte = 0; byte < BYTES; byte++) {
      if ((counts[byte] as number) <= rare) {
        this.#codes[byte] = NO_LETTER;
      } else {
        this.#codes[byte] = size;
        this.#letters[size++] = byte;
      }
    }
    this.#set(size, !isAll);
  }

  /** Writes the letters. */
  putSelf(stream: BitStream): void {
    stream.put(this.#size, SIZE_BITS);
    stream.put(this.#hasRest ? 1 : 0, 1);
    for (let code = 0; code < this.#size; code++) stream.put(this.#letters[code] as number, 8);
  }

  /** Reads the letters. Returns false if they cannot be any. */
  takeSelf(stream: BitStream): boolean {
    const size = stream.take(SIZE_BITS);
    const hasRest = stream.take(1) === 1;
    if (size > MOST_LETTERS || (size === 0 && hasRest)) return false;
    this.#set(size, hasRest);
    for (let code = 0; code < size; code++) this.#letters[code] = stream.take(8);
    for (let code = size; code < BYTES; code++) this.#letters[code] = size === 0 ? code : NO_LETTER;
    if (hasRest) this.#letters[size] = REST;
    return true;
  }

  /** Whether all bytes are letters. */
  get isPlain(): boolean {
    return this.#size > 0 && !this.#hasRest;
  }

  /**
   * Whether `choose` would choose the same letters for so many bytes, which are letters all of them, and of which some are
   * counted.
   */
  isRightFor(total: number, counts: Uint32Array): boolean {
    const size = this.#size;
    if (!this.isPlain || 8 * total <= this.#width * total + 8 * size) return false;
    const rare = total >>> RARE_SHIFT;
    for (let code = 0; code < size; code++) {
      if ((counts[this.#letters[code] as number] as number) <= rare) return false;
    }
    return true;
  }

  /**
   * Writes bytes `from` to `to` (exclusive) of a word and of those that follow in `others` at `start`, in which the first byte is
   * the highest. Returns false if one of them has no code.
   */
  putBytes(stream: BitStream, first: number, others: Uint32Array, start: number, from: number, to: number): boolean {
    const codes = this.#codes;
    const width = this.#width;
    const { words } = stream;
    let word = stream.at >>> 5;
    let filled = stream.at & 31;
    let bits = filled === 0 ? 0 : (words[word] as number) | 0;
    for (let at = from; at < to;) {
      const four = at < 4 ? first : (others[start + (at >>> 2) - 1] as number) | 0;
      let code = 0;
      let length = 0;
      // Four at once take half of the time.
      if ((at & 3) === 0 && at + 4 <= to) {
        const one = codes[four >>> 24] as number;
        const two = codes[(four >>> 16) & 0xff] as number;
        const three = codes[(four >>> 8) & 0xff] as number;
        const last = codes[four & 0xff] as number;
        if ((one | two | three | last) < NO_LETTER) {
          code = one | (two << width) | (three << (2 * width)) | (last << (3 * width));
          length = 4 * width;
        }
      }
      if (length > 0) at += 4;
      else {
        const byte = (four >>> (24 - ((at & 3) << 3))) & 0xff;
        code = codes[byte] as number;
        length = width;
        if (code === NO_LETTER) {
          if (!this.#hasRest) return false;
          code = this.#size | (byte << width);
          length += 8;
        }
        at++;
      }
      bits |= code << filled;
      filled += length;
      if (filled < 32) continue;
      words[word++] = bits;
      filled -= 32;
      bits = filled === 0 ? 0 : code >>> (length - filled);
    }
    if (filled > 0) words[word] = bits;
    stream.at = 32 * word + filled;
    return true;
  }

  /**
   * Reads bytes `from` to `to` (exclusive) of a key into words in which the first byte is the highest. What is there of the
   * first word stays, and zeros follow the last byte. Returns false if a code means no byte.
   */
  takeBytes(stream: BitStream, into: Uint32Array, from: number, to: number): boolean {
    const { words } = stream;
    const letters = this.#letters;
    const width = this.#width;
    const mask = (1 << width) - 1;
    let bitAt = stream.at;
    let word = (into[from >>> 2] as number) & ~(-1 >>> ((from & 3) << 3));
    let at = from;
    while (at < to) {
      // Four at once take a third of the time.
      if ((at & 3) === 0 && at + 4 <= to) {
        const codes = bitsAt(words, bitAt, 4 * width);
        const one = letters[codes & mask] as number;
        const two = letters[(codes >>> width) & mask] as number;
        const three = letters[(codes >>> (2 * width)) & mask] as number;
        const four = letters[(codes >>> (3 * width)) & mask] as number;
        if ((one | two | three | four) < REST) {
          into[at >>> 2] = (one << 24) | (two << 16) | (three << 8) | four;
          bitAt += 4 * width;
          at += 4;
          continue;
        }
      }
      let byte = letters[bitsAt(words, bitAt, width)] as number;
      bitAt += width;
      if (byte >= REST) {
        if (byte !== REST) return false;
        byte = bitsAt(words, bitAt, 8);
        bitAt += 8;
      }
      word |= byte << (24 - ((at & 3) << 3));
      at++;
      if ((at & 3) === 0) {
        into[(at >>> 2) - 1] = word;
        word = 0;
      }
    }
    if ((at & 3) !== 0) into[at >>> 2] = word;
    stream.at = bitAt;
    return true;
  }

  #set(size: number, hasRest: boolean): void {
    this.#size = size;
    this.#hasRest = hasRest;
    this.#width = size === 0 ? 8 : widthOf(hasRest ? size + 1 : size);
  }
}

/** Bits of a code of which there are so many kinds. */
function widthOf(kinds: number): number {
  return kinds < 2 ? 0 : 32 - Math.clz32(kinds - 1);
}
