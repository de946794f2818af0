/**
 * One node of the index: its layout in memory, the search in it, and the changes that fit in place. It
 * never allocates, never reads another node, and knows nothing about trees or snapshots. rewrite.ts makes
 * the changes that need a new layout. The design is a slotted page with key heads (Graefe, "Modern B-Tree
 * Techniques", 2011, sections 3.5 to 3.7) with prefix and suffix truncation (Bayer and Unterauer,
 * "Prefix B-Trees", 1977).
 *
 * The layout, in words of 32 bits:
 *
 *    0        5         5+P      +n        +n                 heapLow             capacity
 *   +--------+---------+--------+---------+------------------+-------------------+
 *   | header | prefix  | heads  | slots   |   free           |  heap of entries  |
 *   +--------+---------+--------+---------+------------------+-------------------+
 *                        ----> both grow                <---- grows
 *
 *   header  0  entries n : 16 | level : 16 (0 is a leaf)
 *           1  generation of birth, low 32 bits
 *           2  prefix bytes p : 16 | generation of birth, high 16 bits
 *           3  heapLow : 16 | garbage words in the heap : 16
 *           4  first child (inner nodes)
 *   prefix  the first p bytes of every key here, big-endian, padded with zeros: P = ceil(p / 4)
 *   head    the four bytes of a key after the prefix, big-endian, padded with zeros
 *   slot    offset of the entry : 14 | bytes of the whole key : 13 | 0 : 1 | extra words : 4
 *   entry   payload (a leaf's two words and its extra words; an inner node's child), then the key's words from
 *           word floor(p / 4) + 1 on, which prefix and head do not hold
 *
 * An inner node with n separators has n + 1 children; child i + 1 holds the keys from separator i
 * on. The prefix is the one that the node's own keys share, not its fences: it is longer, and the root has
 * one too. A key without the prefix comes before or after all entries.
 *
 * Words pass between functions as signed numbers (`| 0`): if a call is not inlined, V8 allocates an object
 * for a number of 2^31 or more.
 *
 * NODE-1. Keys strictly ascend. Heads never descend.
 * NODE-2. Every key starts with the prefix.
 * NODE-3. heapLow + sizes of the entries + garbage = capacity; slots end at or before heapLow.
 * NODE-4. Words beyond a key's end are zero, in the prefix, the head and the entry.
 */
import type { Entry } from './entry.ts';
import type { Probe } from './probe.ts';

export const HEADER_WORDS = 5;
/** Words of the payload of an entry without extra words: two in a leaf; one, the child, in an inner node. */
const LEAF_PAYLOAD_WORDS = 2;
const INNER_PAYLOAD_WORDS = 1;
/** Words of the largest node that the 14 bits of a slot can address. */
export const NODE_WORDS_MAX = 16384;

const COUNT = 0;
const BIRTH_LOW = 1;
const PREFIX_AND_BIRTH_HIGH = 2;
const HEAP = 3;
const FIRST_CHILD = 4;
const LOW_16 = 0xffff;
const OFFSET_MASK = 0x3fff;
const LENGTH_SHIFT = 14;
const LENGTH_MASK = 0x1fff;
const EXTRA_SHIFT = 28;
/** Longer moves use memmove; for shorter ones its call costs more than a loop. */
const LONG_MOVE_WORDS = 96;

export function count(w: Uint32Array, base: number): number {
  return (w[base + COUNT] as number) & LOW_16;
}

export function level(w: Uint32Array, base: number): number {
  return (w[base + COUNT] as number) >>> 16;
}

export function prefixBytes(w: Uint32Array, base: number): number {
  return (w[base + PREFIX_AND_BIRTH_HIGH] as number) & LOW_16;
}

/** The generation of the tree in which the node was last written. */
export function birth(w: Uint32Array, base: number): number {
  return ((w[base + PREFIX_AND_BIRTH_HIGH] as number) >>> 16) * 0x100000000 + (w[base + BIRTH_LOW] as number);
}

export function setBirth(w: Uint32Array, base: number, generation: number): void {
  w[base + BIRTH_LOW] = generation >>> 0;
  const high = Math.floor(generation / 0x100000000);
  w[base + PREFIX_AND_BIRTH_HIGH] = prefixBytes(w, base) | (high << 16);
}

export function heapLow(w: Uint32Array, base: number): number {
  return (w[base + HEAP] as number) & LOW_16;
}

export function garbageWords(w: Uint32Array, base: number): number {
  return (w[base + HEAP] as number) >>> 16;
}

/** Copies a whole node, including its birth. */
export function copy(
  w: Uint32Array,
  base: number,
  capacityWords: number,
  target: Uint32Array,
  targetBase: number,
): void {
  if (target === w) w.copyWithin(targetBase, base, base + capacityWords);
  else target.set(w.subarray(base, base + capacityWords), targetBase);
}

/** Writes the header of a node without entries. The caller sets its birth. */
export function clear(
  w: Uint32Array,
  base: number,
  nodeLevel: number,
  prefix: number,
  capacityWords: number,
  firstChild: number,
): void {
  w[base + COUNT] = nodeLevel << 16;
  w[base + BIRTH_LOW] = 0;
  w[base + PREFIX_AND_BIRTH_HIGH] = prefix;
  w[base + HEAP] = capacityWords;
  w[base + FIRST_CHILD] = firstChild;
}

/** Index of the first head. */
export function headsAt(w: Uint32Array, base: number): number {
  return base + HEADER_WORDS + ((prefixBytes(w, base) + 3) >>> 2);
}

/** Words from the start of the node to the end of its slots. The words from there to `heapLow` are free. */
export function lowWords(w: Uint32Array, base: number): number {
  return headsAt(w, base) - base + 2 * count(w, base);
}

/** Words of the payload of an entry, without its extra words. */
export function payloadWords(nodeLevel: number): number {
  return nodeLevel === 0 ? LEAF_PAYLOAD_WORDS : INNER_PAYLOAD_WORDS;
}

/** Words that a key of `length` bytes takes in the heap of a node with a prefix of so many bytes. */
export function tailWords(length: number, prefix: number): number {
  const words = ((length + 3) >>> 2) - (prefix >>> 2) - 1;
  return words > 0 ? words : 0;
}

/** Words that the node uses, without its garbage. */
export function usedWords(w: Uint32Array, base: number, capacityWords: number): number {
  const heap = capacityWords - heapLow(w, base) - garbageWords(w, base);
  return headsAt(w, base) - base + 2 * count(w, base) + heap;
}

/** Index of the first word of the payload of entry `index`. */
export function payloadAt(w: Uint32Array, base: number, index: number): number {
  return base + ((w[headsAt(w, base) + count(w, base) + index] as number) & OFFSET_MASK);
}

export function keyLength(w: Uint32Array, base: number, index: number): number {
  return ((w[headsAt(w, base) + count(w, base) + index] as number) >>> LENGTH_SHIFT) & LENGTH_MASK;
}

/** Words of the payload of an entry behind its first two; 0 in an inner node. */
export function extraWords(w: Uint32Array, base: number, index: number): number {
  return (w[headsAt(w, base) + count(w, base) + index] as number) >>> EXTRA_SHIFT;
}

/** The parts of a slot. */
export function offsetIn(slot: number): number {
  return slot & OFFSET_MASK;
}

export function keyBytesIn(slot: number): number {
  return (slot >>> LENGTH_SHIFT) & LENGTH_MASK;
}

export function extraWordsIn(slot: number): number {
  return slot >>> EXTRA_SHIFT;
}

/** Copies the payload of entry `index` of a leaf. */
export function loadEntry(w: Uint32Array, base: number, index: number, into: Entry): void {
  const slot = (w[headsAt(w, base) + count(w, base) + index] as number) | 0;
  const at = base + (slot & OFFSET_MASK);
  into.word0 = w[at] as number;
  into.word1 = w[at + 1] as number;
  const extra = slot >>> EXTRA_SHIFT;
  into.extraWords = extra;
  for (let word = 0; word < extra; word++) into.extra[word] = w[at + LEAF_PAYLOAD_WORDS + word] as number;
}

/** Child `index` of an inner node, from 0 to n. */
export function childAt(w: Uint32Array, base: number, index: number): number {
  return w[childSlot(w, base, index)] as number;
}

export function setChild(w: Uint32Array, base: number, index: number, id: number): void {
  w[childSlot(w, base, index)] = id;
}

function childSlot(w: Uint32Array, base: number, index: number): number {
  return index === 0 ? base + FIRST_CHILD : payloadAt(w, base, index - 1);
}

/** The four bytes of the key after `prefix` bytes, as a signed word. The key has at least `prefix` bytes. */
function headOf(key: Uint32Array, prefix: number): number {
  const word = prefix >>> 2;
  const shift = (prefix & 3) << 3;
  if (shift === 0) return (key[word] as number) | 0;
  return ((key[word] as number) << shift) | ((key[word + 1] as number) >>> (32 - shift));
}

/** Negative, zero or positive: the key comes before, among or after the keys with the node's prefix. */
export function comparePrefix(w: Uint32Array, base: number, prefix: number, key: Probe): number {
  const words = key.words;
  const at = base + HEADER_WORDS;
  if (key.length < prefix) {
    const end = (key.length + 3) >>> 2;
    for (let index = 0; index < end; index++) {
      const mine = words[index] as number;
      const theirs = w[at + index] as number;
      if (mine !== theirs) return mine < theirs ? -1 : 1;
    }
    return -1;
  }
  const whole = prefix >>> 2;
  for (let index = 0; index < whole; index++) {
    const mine = words[index] as number;
    const theirs = w[at + index] as number;
    if (mine !== theirs) return mine < theirs ? -1 : 1;
  }
  const rest = prefix & 3;
  if (rest === 0) return 0;
  const mine = ((words[whole] as number) & (-1 << (32 - 8 * rest))) >>> 0;
  const theirs = w[at + whole] as number;
  if (mine === theirs) return 0;
  return mine < theirs ? -1 : 1;
}

/** Compares the key with the entry of `slot`. Prefix and head must be equal. */
function compareTail(w: Uint32Array, base: number, slot: number, payload: number, prefix: number, key: Probe): number {
  const words = key.words;
  const length = (slot >>> LENGTH_SHIFT) & LENGTH_MASK;
  const shorter = length < key.length ? length : key.length;
  const end = (shorter + 3) >>> 2;
  let index = (prefix >>> 2) + 1;
  let at = base + (slot & OFFSET_MASK) + payload + (slot >>> EXTRA_SHIFT);
  for (; index < end; index++, at++) {
    const mine = words[index] as number;
    const theirs = w[at] as number;
    if (mine !== theirs) return mine < theirs ? -1 : 1;
  }
  return key.length - length;
}

/**
 * Returns the index of the key if it is found, else `~index` of the first entry after it.
 * The binary search over the heads is free of branches that depend on a comparison: a random hit takes
 * 510 ns, with branches 590. Reading one word of every cache line of heads first, so that the misses
 * overlap, gained nothing with heads that fill eight lines.
 */
export function search(w: Uint32Array, base: number, key: Probe): number {
  const n = (w[base + COUNT] as number) & LOW_16;
  const prefix = (w[base + PREFIX_AND_BIRTH_HIGH] as number) & LOW_16;
  if (prefix !== 0) {
    const order = comparePrefix(w, base, prefix, key);
    if (order !== 0) return order < 0 ? ~0 : ~n;
  }
  const head = headOf(key.words, prefix) >>> 0;
  const heads = base + HEADER_WORDS + ((prefix + 3) >>> 2);
  let at = heads;
  let rest = n;
  while (rest > 1) {
    const half = rest >>> 1;
    at += half & -+((w[at + half - 1] as number) < head);
    rest -= half;
  }
  if (rest === 1) at += +((w[at] as number) < head);
  const index = at - heads;
  if (index === n || w[at] !== head) return ~index;
  return searchEqualHeads(w, base, heads, index, n, prefix, key);
}

function searchEqualHeads(
  w: Uint32Array,
  base: number,
  heads: number,
  first: number,
  n: number,
  prefix: number,
  key: Probe,
): number {
  const head = (w[heads + first] as number) | 0;
  const slots = heads + n;
  const payload = payloadWords(level(w, base));
  let low = first;
  let high = n;
  let middle = first;
  for (;;) {
    if (((w[heads + middle] as number) | 0) === head) {
      const order = compareTail(w, base, (w[slots + middle] as number) | 0, payload, prefix, key);
      if (order === 0) return middle;
      if (order < 0) high = middle;
      else low = middle + 1;
    } else {
      high = middle;
    }
    if (low >= high) return ~low;
    // Runs of equal heads are short, so try the next entry before halving the rest.
    middle = low === first + 1 && high === n ? low : (low + high) >>> 1;
  }
}

/** Copies the whole key of entry `index` to `into`. */
export function loadKey(w: Uint32Array, base: number, index: number, into: Probe): void {
  const prefix = prefixBytes(w, base);
  const heads = headsAt(w, base);
  const n = count(w, base);
  const slot = w[heads + n + index] as number;
  const length = (slot >>> LENGTH_SHIFT) & LENGTH_MASK;
  const words = into.words;
  const whole = prefix >>> 2;
  for (let word = 0; word < whole; word++) words[word] = w[base + HEADER_WORDS + word] as number;
  const shift = (prefix & 3) << 3;
  const head = w[heads + index] as number;
  words[whole] = shift === 0 ? head : (w[base + HEADER_WORDS + whole] as number) | (head >>> shift);
  const end = (length + 3) >>> 2;
  let at = base + (slot & OFFSET_MASK) + payloadWords(level(w, base)) + (slot >>> EXTRA_SHIFT);
  for (let word = whole + 1; word < end; word++) words[word] = w[at++] as number;
  const sealed = length >>> 2;
  if ((length & 3) === 0) words[sealed] = 0;
  words[sealed + 1] = 0;
  words[sealed + 2] = 0;
  into.length = length;
}

/** Writes the words of the prefix to `into` so that its bytes are in order (on a little-endian machine). */
export function copyPrefix(w: Uint32Array, base: number, into: Uint32Array): void {
  const end = (prefixBytes(w, base) + 3) >>> 2;
  for (let word = 0; word < end; word++) into[word] = swap((w[base + HEADER_WORDS + word] as number) | 0);
}

/**
 * Writes the rest of the key of entry `index` after the prefix that `copyPrefix` wrote, in the same byte
 * order. Returns the length of the key in bytes.
 */
export function copyRest(w: Uint32Array, base: number, index: number, into: Uint32Array): number {
  const prefix = prefixBytes(w, base);
  const heads = headsAt(w, base);
  const slot = w[heads + count(w, base) + index] as number;
  const length = (slot >>> LENGTH_SHIFT) & LENGTH_MASK;
  const head = (w[heads + index] as number) | 0;
  const shift = (prefix & 3) << 3;
  let word = prefix >>> 2;
  into[word] = swap(shift === 0 ? head : (w[base + HEADER_WORDS + word] as number) | (head >>> shift));
  const end = (length + 3) >>> 2;
  let at = base + (slot & OFFSET_MASK) + payloadWords(level(w, base)) + (slot >>> EXTRA_SHIFT);
  for (word++; word < end; word++) into[word] = swap((w[at++] as number) | 0);
  return length;
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/**
 * Inserts an entry for the key at `index`, the position that `search` returned, with so many extra words. Returns the
 * index at which the caller must write the payload. Returns 0, and changes nothing, if the node needs a rewrite: the key
 * does not have the prefix, there is no room, or the node is empty.
 */
export function insert(w: Uint32Array, base: number, index: number, key: Probe, extra: number): number {
  const n = count(w, base);
  const prefix = prefixBytes(w, base);
  const size = payloadWords(level(w, base)) + extra + tailWords(key.length, prefix);
  const heads = headsAt(w, base);
  const low = heapLow(w, base) - size;
  if (n === 0 || heads - base + 2 * n + 2 > low) return 0;
  if (prefix !== 0 && comparePrefix(w, base, prefix, key) !== 0) return 0;
  const slots = heads + n;
  move(w, slots + index, slots + n, 2);
  move(w, heads + index, slots + index, 1);
  w[heads + index] = headOf(key.words, prefix);
  w[slots + 1 + index] = low | (key.length << LENGTH_SHIFT) | (extra << EXTRA_SHIFT);
  w[base + COUNT] = (w[base + COUNT] as number) + 1;
  w[base + HEAP] = (w[base + HEAP] as number) - size;
  writeTail(w, base + low + size, key, prefix);
  return base + low;
}

/** Takes extra words from entry `index` of a leaf, so that it has `extra` of them. The caller must write the payload. */
export function shrink(w: Uint32Array, base: number, index: number, extra: number): void {
  const at = headsAt(w, base) + count(w, base) + index;
  const slot = (w[at] as number) | 0;
  const less = (slot >>> EXTRA_SHIFT) - extra;
  const offset = slot & OFFSET_MASK;
  w[at] = (slot & ((1 << EXTRA_SHIFT) - 1) & ~OFFSET_MASK) | (offset + less) | (extra << EXTRA_SHIFT);
  const lowest = offset === heapLow(w, base);
  w[base + HEAP] = (w[base + HEAP] as number) + (lowest ? less : less << 16);
}

/**
 * Whether the last `length` inserted entries, newest first, are those at `from`, `from + step`, … (`step` is 1 or -1).
 * The heap grows downwards, so the offset of an entry shows when it was inserted.
 */
export function isRun(w: Uint32Array, base: number, from: number, step: number, length: number): boolean {
  const n = count(w, base);
  const end = from + step * (length - 1);
  if (Math.min(from, end) < 0 || Math.max(from, end) >= n) return false;
  const prefix = prefixBytes(w, base);
  const payload = payloadWords(level(w, base));
  const slots = headsAt(w, base) + n;
  let expected = heapLow(w, base);
  for (let index = from; ; index += step) {
    const slot = w[slots + index] as number;
    if ((slot & OFFSET_MASK) !== expected) return false;
    if (index === end) return true;
    expected += payload + (slot >>> EXTRA_SHIFT) + tailWords((slot >>> LENGTH_SHIFT) & LENGTH_MASK, prefix);
  }
}

/** Writes the words of the key that belong in the heap so that they end before `end`. */
function writeTail(w: Uint32Array, end: number, key: Probe, prefix: number): void {
  const words = key.words;
  const first = (prefix >>> 2) + 1;
  let at = end;
  for (let word = ((key.length + 3) >>> 2) - 1; word >= first; word--) w[--at] = words[word] as number;
}

/** Removes entry `index`. */
export function remove(w: Uint32Array, base: number, index: number): void {
  const n = count(w, base);
  const prefix = prefixBytes(w, base);
  const heads = headsAt(w, base);
  const slots = heads + n;
  const slot = w[slots + index] as number;
  const tail = tailWords((slot >>> LENGTH_SHIFT) & LENGTH_MASK, prefix);
  const size = payloadWords(level(w, base)) + (slot >>> EXTRA_SHIFT) + tail;
  move(w, heads + index + 1, slots + index, -1);
  move(w, slots + index + 1, slots + n, -2);
  w[base + COUNT] = (w[base + COUNT] as number) - 1;
  const lowest = (slot & OFFSET_MASK) === heapLow(w, base);
  w[base + HEAP] = (w[base + HEAP] as number) + (lowest ? size : size << 16);
}

/** Moves the words from `from` to `to` (exclusive) by `distance` words. */
function move(w: Uint32Array, from: number, to: number, distance: number): void {
  if (to - from > LONG_MOVE_WORDS) {
    w.copyWithin(from + distance, from, to);
  } else if (distance > 0) {
    for (let at = to - 1; at >= from; at--) w[at + distance] = w[at] as number;
  } else {
    for (let at = from; at < to; at++) w[at + distance] = w[at] as number;
  }
}

/** Writes the prefix, whose length `clear` has set. */
export function writePrefix(w: Uint32Array, base: number, key: Probe): void {
  const prefix = prefixBytes(w, base);
  const whole = prefix >>> 2;
  const rest = prefix & 3;
  for (let word = 0; word < whole; word++) w[base + HEADER_WORDS + word] = key.words[word] as number;
  if (rest !== 0) {
    w[base + HEADER_WORDS + whole] = (key.words[whole] as number) & (-1 << (32 - 8 * rest));
  }
}

/**
 * Adds entry `index` of `n` to a new node, with so many extra words; entries must be added in ascending order. Returns
 * the index at which the caller must write the payload.
 */
export function place(w: Uint32Array, base: number, index: number, n: number, key: Probe, extra: number): number {
  const prefix = prefixBytes(w, base);
  const heads = headsAt(w, base);
  const size = payloadWords(level(w, base)) + extra + tailWords(key.length, prefix);
  const low = heapLow(w, base) - size;
  w[heads + index] = headOf(key.words, prefix);
  w[heads + n + index] = low | (key.length << LENGTH_SHIFT) | (extra << EXTRA_SHIFT);
  w[base + COUNT] = (w[base + COUNT] as number) + 1;
  w[base + HEAP] = (w[base + HEAP] as number) - size;
  writeTail(w, base + low + size, key, prefix);
  return base + low;
}

/**
 * As `place`, when all entries of a leaf are added in one go: what they have in common is handed in, and the header says nothing of
 * them before `endPlacing`.
 *
 * @param heads see `headsAt`
 * @param end where the entry before it begins in the heap, or the heap ends
 * @returns where the payload is to be written, which is the end for the next entry
 */
export function placeNext(
  w: Uint32Array,
  base: number,
  heads: number,
  index: number,
  n: number,
  end: number,
  prefix: number,
  key: Probe,
  extra: number,
): number {
  const { words, length } = key;
  const whole = prefix >>> 2;
  let at = end;
  for (let word = ((length + 3) >>> 2) - 1; word > whole; word--) w[--at] = words[word] as number;
  at -= LEAF_PAYLOAD_WORDS + extra;
  w[heads + index] = headOf(words, prefix);
  w[heads + n + index] = (at - base) | (length << LENGTH_SHIFT) | (extra << EXTRA_SHIFT);
  return at;
}

/** Ends the addition of all `n` entries, the last of which begins at `end`. */
export function endPlacing(w: Uint32Array, base: number, n: number, end: number): void {
  w[base + COUNT] = (w[base + COUNT] as number) | n;
  w[base + HEAP] = end - base;
}

/**
 * As `place`, for an entry of another node on the same level, whose prefix ends in the same word: what it has in the heap is
 * the same in both.
 */
export function placeFrom(
  w: Uint32Array,
  base: number,
  index: number,
  n: number,
  source: Uint32Array,
  sourceBase: number,
  sourceIndex: number,
): void {
  const prefix = prefixBytes(w, base);
  const sourcePrefix = prefixBytes(source, sourceBase);
  const sourceHeads = headsAt(source, sourceBase);
  const slot = (source[sourceHeads + count(source, sourceBase) + sourceIndex] as number) | 0;
  const payload = payloadWords(level(w, base)) + (slot >>> EXTRA_SHIFT);
  const size = payload + tailWords((slot >>> LENGTH_SHIFT) & LENGTH_MASK, prefix);
  const low = heapLow(w, base) - size;
  const at = sourceBase + (slot & OFFSET_MASK);
  let head = (source[sourceHeads + sourceIndex] as number) | 0;
  if (prefix !== sourcePrefix) {
    const known = (sourcePrefix & 3) << 3;
    const shift = (prefix & 3) << 3;
    const word = known === 0 ? head : (source[sourceHeads - 1] as number) | (head >>> known);
    const next = size > payload ? (source[at + payload] as number) | 0 : 0;
    head = shift === 0 ? word : (word << shift) | (next >>> (32 - shift));
  }
  const heads = headsAt(w, base);
  w[heads + index] = head;
  w[heads + n + index] = (slot & ~OFFSET_MASK) | low;
  w[base + COUNT] = (w[base + COUNT] as number) + 1;
  w[base + HEAP] = (w[base + HEAP] as number) - size;
  for (let word = 0; word < size; word++) w[base + low + word] = source[at + word] as number;
}
