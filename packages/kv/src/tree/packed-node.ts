/**
 * A node as it is on the device: its entries one after the other, each as far as it differs from the one before. Reading
 * it makes a node without garbage, with the same entries and the same prefix.
 *
 * ```
 *   │ first entry │ letters │ prefix │ columns: lengths of keys, shared bytes, payloads │ bytes of keys │ extra words │
 *
 *   user0017 │ 354         a key has the bytes of the prefix, those that it shares with the key before, and those that
 *   user0017 │ 3·06        stand here: of the second key "06"
 * ```
 *
 * PNODE-1. What was packed is read back as the same keys and payloads, and takes no more words than before.
 * PNODE-2. No bytes, whatever they are, make `unpack` read or write outside of what it is given, or take long. What it
 *     accepts keeps NODE-1 to NODE-4.
 * PNODE-3. An entry more, whatever it is, makes a packed node longer by what it takes itself and at most an eighth of a
 *     page: the reserve of slots depends on it.
 *
 * docs/format.md, "Index page", has every bit.
 */
import { assert } from '@aiokv/core';
import { Alphabet } from '../format/alphabet.ts';
import { BitStream, WIDTHS_BITS, chooseWidths, differenceOf, valueAfter } from '../format/bit-stream.ts';
import { EXTRA_WORDS_MAX } from './entry.ts';
import * as node from './node.ts';
import { KEY_BYTES_MAX, Probe } from './probe.ts';

const LENGTH_BITS = 13;
const EXTRA_BITS = 4;
/** The second word of a payload is in two columns: below this bit the length of a record, above it the rest. */
const UPPER_SHIFT = 18;
const LOWER_MASK = (1 << UPPER_SHIFT) - 1;
/** An entry takes at least three words. */
const ENTRIES_MAX = Math.floor(node.NODE_WORDS_MAX / 3);

/**
 * A column: of each entry the difference from the one before, but of `shared` the value. Number 0 is not used: it stands in
 * front of the columns. All packings share these: none outlasts a call.
 */
const column = (): Uint32Array<ArrayBuffer> => new Uint32Array(ENTRIES_MAX + 1);
const lengths = column();
const shared = column();
const extras = column();
/** The first word of a payload, or the child behind the entry before. */
const firsts = column();
const uppers = column();
const lowers = column();
/** The bytes of the keys that are not shared, in their codes, and how often each occurs. */
const codes = new BitStream();
codes.start(new Uint32Array(node.NODE_WORDS_MAX + 1));
const counts = new Uint32Array(256);
/** The alphabet of the node that was packed last. */
const alphabet = new Alphabet();
const readAlphabet = new Alphabet();
const stream = new BitStream();
const key = new Probe();

/** Packs a node into words that are zero. Returns the bytes that it takes, a multiple of 4. */
export function pack(w: Uint32Array, base: number, into: Uint32Array<ArrayBuffer>): number {
  const n = node.count(w, base);
  const prefix = node.prefixBytes(w, base);
  stream.start(into);
  stream.put(prefix, LENGTH_BITS);
  if (node.level(w, base) === 0) packLeaf(w, base, n, prefix);
  else packInner(w, base, n, prefix);
  return stream.bytes;
}

function packLeaf(w: Uint32Array, base: number, n: number, prefix: number): void {
  assert(n > 0, 'a leaf is not empty');
  noteKeys(w, base, n, prefix);
  const first = node.payloadAt(w, base, 0);
  const firstExtra = node.extraWords(w, base, 0);
  stream.put(firstExtra, EXTRA_BITS);
  stream.put((w[first] as number) | 0, 32);
  stream.put((w[first + 1] as number) | 0, 32);
  let extraBefore = firstExtra;
  let allExtra = firstExtra;
  const slots = node.headsAt(w, base) + n;
  let word0 = (w[first] as number) | 0;
  let word1 = (w[first + 1] as number) | 0;
  for (let index = 1; index < n; index++) {
    const slot = (w[slots + index] as number) | 0;
    const at = base + node.offsetIn(slot);
    const extra = node.extraWordsIn(slot);
    const word0Before = word0;
    const word1Before = word1;
    word0 = (w[at] as number) | 0;
    word1 = (w[at + 1] as number) | 0;
    extras[index] = differenceOf(extra, extraBefore);
    firsts[index] = differenceOf(word0, word0Before);
    uppers[index] = differenceOf(word1 >>> UPPER_SHIFT, word1Before >>> UPPER_SHIFT);
    lowers[index] = differenceOf(word1 & LOWER_MASK, word1Before & LOWER_MASK);
    extraBefore = extra;
    allExtra |= extra;
  }
  putKeysHead(w, base, n, prefix);
  putColumn(lengths, n);
  putColumn(shared, n);
  putColumn(extras, n);
  putColumn(firsts, n);
  putColumn(uppers, n);
  putColumn(lowers, n);
  stream.putAll(codes);
  if (allExtra === 0) return;
  for (let index = 0; index < n; index++) {
    const at = node.payloadAt(w, base, index) + node.payloadWords(0);
    const end = at + node.extraWords(w, base, index);
    for (let word = at; word < end; word++) stream.put((w[word] as number) | 0, 32);
  }
}

function packInner(w: Uint32Array, base: number, n: number, prefix: number): void {
  noteKeys(w, base, n, prefix);
  stream.put(node.childAt(w, base, 0), 32);
  for (let index = 1; index <= n; index++) {
    firsts[index] = differenceOf(node.childAt(w, base, index), node.childAt(w, base, index - 1));
  }
  putKeysHead(w, base, n, prefix);
  putColumn(lengths, n);
  putColumn(shared, n);
  putColumn(firsts, n + 1);
  stream.putAll(codes);
}

/**
 * Notes lengths and shared bytes of all keys, and writes the codes of the other bytes. To count all bytes takes longer than
 * to write them, so the letters of the node before are tried first: they are right if the first quarter of the keys has many
 * of each, and no key has another.
 */
function noteKeys(w: Uint32Array, base: number, n: number, prefix: number): void {
  counts.fill(0);
  codes.at = 0;
  if (alphabet.isPlain && walkKeys(w, base, n, prefix, n >>> 2, true) && alphabet.isRightFor(byteCount, counts)) return;
  counts.fill(0);
  codes.at = 0;
  walkKeys(w, base, n, prefix, n, false);
  alphabet.choose(counts);
  walkKeys(w, base, n, prefix, 0, true);
}

/** Bytes that the keys of the last `walkKeys` do not share. */
let byteCount = 0;

/** Counts the bytes of the first keys, and writes the codes of all or none. Returns false if a byte has no code. */
function walkKeys(
  w: Uint32Array,
  base: number,
  n: number,
  prefix: number,
  counted: number,
  areWritten: boolean,
): boolean {
  const payload = node.payloadWords(node.level(w, base));
  const heads = node.headsAt(w, base);
  /** A key from the word on in which the prefix ends: the rest of that word, and the words in the heap. */
  const skipped = (prefix >>> 2) << 2;
  const shift = (prefix & 3) << 3;
  let [headBefore, tailBefore, lengthBefore] = [0, 0, 0];
  byteCount = 0;
  for (let index = 0; index < n; index++) {
    const slot = (w[heads + n + index] as number) | 0;
    const head = (w[heads + index] as number) | 0;
    const length = node.keyBytesIn(slot);
    const tail = base + node.offsetIn(slot) + payload + node.extraWordsIn(slot);
    let from = prefix;
    if (index > 0) {
      const shorter = length < lengthBefore ? length : lengthBefore;
      from +=
        head === headBefore ? commonBehind(w, tail, tailBefore, prefix, shorter) : Math.clz32(head ^ headBefore) >>> 3;
      if (from > shorter) from = shorter;
    }
    shared[index] = from - prefix;
    lengths[index] = index === 0 ? length : differenceOf(length, lengthBefore);
    byteCount += length - from;
    const first = head >>> shift;
    if (index < counted) countBytes(first, w, tail, from - skipped, length - skipped);
    if (areWritten && !alphabet.putBytes(codes, first, w, tail, from - skipped, length - skipped)) return false;
    headBefore = head;
    tailBefore = tail;
    lengthBefore = length;
  }
  return true;
}

/** Bytes behind the prefix that two keys share whose heads are the same. They have `shorter` bytes at least. */
function commonBehind(w: Uint32Array, tail: number, other: number, prefix: number, shorter: number): number {
  let at = (prefix >>> 2) * 4 + 4;
  for (let word = 0; at < shorter; word++, at += 4) {
    const difference = (w[tail + word] as number) ^ (w[other + word] as number);
    if (difference !== 0) return at + (Math.clz32(difference) >>> 3) - prefix;
  }
  return shorter - prefix;
}

function countBytes(first: number, w: Uint32Array, tail: number, from: number, to: number): void {
  for (let at = from; at < to; at++) {
    const word = at < 4 ? first : (w[tail + (at >>> 2) - 1] as number);
    const byte = (word >>> (24 - ((at & 3) << 3))) & 0xff;
    counts[byte] = (counts[byte] as number) + 1;
  }
}

function putKeysHead(w: Uint32Array, base: number, n: number, prefix: number): void {
  if (n > 0) stream.put(lengths[0] as number, LENGTH_BITS);
  alphabet.putSelf(stream);
  for (let at = 0; at < prefix; at++) {
    stream.put(((w[base + node.HEADER_WORDS + (at >>> 2)] as number) >>> (24 - ((at & 3) << 3))) & 0xff, 8);
  }
}

function putColumn(values: Uint32Array, to: number): void {
  const widths = chooseWidths(values, 1, to);
  stream.put(widths, WIDTHS_BITS);
  stream.putColumn(values, 1, to, widths);
}

/**
 * Makes a node of a packed one.
 *
 * @param from the words of the packed node
 * @returns false, and the words are anything, if it is none or does not fit
 */
export function unpack(
  from: Uint32Array<ArrayBuffer>,
  level: number,
  n: number,
  w: Uint32Array,
  base: number,
  capacityWords: number,
): boolean {
  stream.start(from);
  const prefix = stream.take(LENGTH_BITS);
  const leastWords = node.HEADER_WORDS + ((prefix + 3) >>> 2) + (2 + node.payloadWords(level)) * n;
  if (prefix > KEY_BYTES_MAX || leastWords > capacityWords || capacityWords > node.NODE_WORDS_MAX) return false;
  const areThere =
    level === 0 ? takeLeaf(w, base, n, prefix, capacityWords) : takeInner(w, base, n, prefix, level, capacityWords);
  return areThere && !stream.isOver;
}

function takeLeaf(w: Uint32Array, base: number, n: number, prefix: number, capacityWords: number): boolean {
  if (n === 0) return false;
  let extra = stream.take(EXTRA_BITS);
  let word0 = stream.take(32);
  let word1 = stream.take(32);
  node.clear(w, base, 0, prefix, capacityWords, 0);
  if (!takeKeysHead(w, base, n, prefix)) return false;
  if (!takeColumn(lengths, n) || !takeColumn(shared, n) || !takeColumn(extras, n)) return false;
  if (!takeColumn(firsts, n) || !takeColumn(uppers, n) || !takeColumn(lowers, n)) return false;
  extras[0] = extra;
  let allExtra = extra;
  for (let index = 1; index < n; index++) {
    extra = valueAfter(extra, extras[index] as number);
    extras[index] = extra;
    allExtra |= extra;
  }
  if (allExtra >>> 0 > EXTRA_WORDS_MAX) return false;
  if (!takeLengths(w, base, n, prefix)) return false;
  const heads = node.headsAt(w, base);
  let at = base + capacityWords;
  for (let index = 0; index < n; index++) {
    if (!takeKey(index, prefix)) return false;
    if (index > 0) {
      word0 = valueAfter(word0, firsts[index] as number);
      const upper = valueAfter(word1 >>> UPPER_SHIFT, uppers[index] as number);
      const lower = valueAfter(word1 & LOWER_MASK, lowers[index] as number);
      word1 = (upper << UPPER_SHIFT) | (lower & LOWER_MASK);
    }
    at = node.placeNext(w, base, heads, index, n, at, prefix, key, (extras[index] as number) | 0);
    w[at] = word0;
    w[at + 1] = word1;
  }
  node.endPlacing(w, base, n, at);
  if (allExtra === 0) return true;
  for (let index = 0; index < n; index++) {
    const at = node.payloadAt(w, base, index) + node.payloadWords(0);
    const end = at + (extras[index] as number);
    for (let word = at; word < end; word++) w[word] = stream.take(32);
  }
  return true;
}

function takeInner(
  w: Uint32Array,
  base: number,
  n: number,
  prefix: number,
  level: number,
  capacityWords: number,
): boolean {
  let child = stream.take(32);
  node.clear(w, base, level, prefix, capacityWords, child);
  if (!takeKeysHead(w, base, n, prefix)) return false;
  if (!takeColumn(lengths, n) || !takeColumn(shared, n) || !takeColumn(firsts, n + 1)) return false;
  extras.fill(0, 0, n);
  if (!takeLengths(w, base, n, prefix)) return false;
  for (let index = 0; index < n; index++) {
    if (!takeKey(index, prefix)) return false;
    child = valueAfter(child, firsts[index + 1] as number);
    w[node.place(w, base, index, n, key, 0)] = child;
  }
  return true;
}

/** Reads what stands in front of the columns and writes the prefix. */
function takeKeysHead(w: Uint32Array, base: number, n: number, prefix: number): boolean {
  if (n > 0) lengths[0] = stream.take(LENGTH_BITS);
  if (!readAlphabet.takeSelf(stream)) return false;
  for (let at = 0; at < prefix; at++) {
    if ((at & 3) === 0) key.words[at >>> 2] = 0;
    key.words[at >>> 2] = (key.words[at >>> 2] as number) | (stream.take(8) << (24 - ((at & 3) << 3)));
  }
  key.seal(prefix);
  node.writePrefix(w, base, key);
  return !stream.isOver;
}

function takeColumn(values: Uint32Array, to: number): boolean {
  const widths = stream.take(WIDTHS_BITS);
  if (!BitStream.arePossible(widths)) return false;
  stream.takeColumn(values, 1, to, widths);
  return !stream.isOver;
}

/** Makes the lengths of the keys of their column. Returns false if there are no such keys, or the node has no room. */
function takeLengths(w: Uint32Array, base: number, n: number, prefix: number): boolean {
  const payload = node.payloadWords(node.level(w, base));
  let leftWords = node.heapLow(w, base) - (node.headsAt(w, base) - base) - n * (2 + payload);
  let length = 0;
  shared[0] = 0;
  for (let index = 0; index < n; index++) {
    const lengthBefore = length;
    length = index === 0 ? (lengths[0] as number) : valueAfter(length, lengths[index] as number);
    lengths[index] = length;
    const from = prefix + (shared[index] as number);
    if (length > KEY_BYTES_MAX || from > length || (index > 0 && (from === length || from > lengthBefore)))
      return false;
    leftWords -= node.tailWords(length, prefix) + (extras[index] as number);
  }
  return leftWords >= 0;
}

/** Makes key `index` of the key before and its own bytes. Returns false if it is not above the one before. */
function takeKey(index: number, prefix: number): boolean {
  const { words, length: lengthBefore } = key;
  const from = prefix + ((shared[index] as number) | 0);
  const length = (lengths[index] as number) | 0;
  const before = byteOf(words, from);
  if (!readAlphabet.takeBytes(stream, words, from, length)) return false;
  key.seal(length);
  return index === 0 || from === lengthBefore || byteOf(words, from) > before;
}

function byteOf(words: Uint32Array, at: number): number {
  return ((words[at >>> 2] as number) >>> (24 - ((at & 3) << 3))) & 0xff;
}
