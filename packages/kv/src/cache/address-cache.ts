/**
 * Where the records of keys are whose leaves are not in memory: 8 bytes a key, where a leaf takes five times as much. So a get
 * without its leaf still reads the device once. Keys are not kept, only hashes: the record that is read has the key.
 *
 * ```
 *   hash ─┬─► segment ─► two buckets of it       segment   0      1      2      3        as many as all keys need, each of them
 *         └─► tag : 13                                     ▓▓▓    ▓▓▓    (none)  ▓▓▓     in memory or not: memory decides
 *
 *   bucket    slot 0 │ slot 1 │ … │ slot 7       64 bytes, a line of a processor's cache. A hit moves one slot ahead, and the
 *                                                last one makes room
 *   slot      │ file offset / 8, low : 32 │ tag : 13 │ its high bits : 6 │ bytes of the record : 13 │        all 0: free
 * ```
 *
 * ADDRESS-1. What is found is what the tree has for the key in this step, or, where hashes are the same, what it has for another key.
 *     So an address is as good as the leaf itself, whatever was written, moved or used again, once the record has shown its key.
 *     Each entry that leaves the tree or changes in it is told in the same step: by a merge, for its own entries, for records that
 *     were moved, and for what lies in deleted ranges.
 * ADDRESS-2. What is filled in comes from a leaf to which the tree leads in the same step. A leaf of an older version, or one that
 *     was cut off while it was read, fills in nothing (index/leaf-lookup.ts).
 * ADDRESS-3. A segment is a unit of the nodes' memory. One is taken when nodes are within their limit, and no other before they are
 *     so again. Memtables and inner nodes come first, and leaves keep a part; when nodes need more, segments go.
 *
 * It does not know the memtables: who asks has asked them. Not here: values in fragments, tiny ones, records from 8 KiB on, and what
 * lies behind 2 TiB of a file. All of them are found by their leaves.
 */
import type { Planted } from '../failure/planted.ts';
import { isInFragments, isRecord } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { MAX_KEY_BYTES } from '../format/record.ts';
import { Probe } from '../tree/index.ts';
import type { NodeMemory } from '../tree/index.ts';
import { AddressHash } from './address-hash.ts';

export interface AddressStatistics {
  /** Gets whose leaf was not in memory and whose record was found without it, ... */
  readonly hits: number;
  /** ... that had to read the leaf, ... */
  readonly misses: number;
  /** ... and that have read the record of another key with the same hash before. */
  readonly wrong: number;
}

/** The words that the tree has for a key: `find` writes them. */
interface MutableWords {
  word0: number;
  word1: number;
}

const BUCKET_SLOTS = 8;
const BUCKET_WORDS = 2 * BUCKET_SLOTS;
const SLOT_BYTES = 8;
/** No segment. */
const NONE = -1;
/** Slots for each key of the tree. */
const SLOTS_PER_KEY = 1.05;
/** The table is made anew if it should have so many times more or less segments. Its addresses are lost then. */
const RESIZE_FACTOR = 1.5;
/** Leaves keep one part in so many of the memory for nodes, and so do addresses when memory is short. */
const PART_OF_LEAVES = 16;
/** Of the tree, inner nodes take less than one part in so many. */
const PART_OF_INNER = 64;

const LENGTH_BITS = 13;
const LENGTH_MASK = 2 ** LENGTH_BITS - 1;
const HIGH_BITS = 6;
const HIGH_MASK = 2 ** HIGH_BITS - 1;
const TAG_SHIFT = LENGTH_BITS + HIGH_BITS;
const TAG_MASK = (-1 << TAG_SHIFT) >>> 0;
/** Of word 1 of an entry: the bits of the length, and those that must be 0 in a slot. */
const ENTRY_LENGTH_BITS = 18;
const ENTRY_HIGH_MASK = 0xfff;
const ENTRY_LENGTH_MASK = 2 ** ENTRY_LENGTH_BITS - 1;
const TWO_32 = 0x1_0000_0000;

export class AddressCache {
  readonly #memory: NodeMemory;
  readonly #limitBytes: number;
  readonly #shareOfValues: number;
  readonly #segmentBytes: number;
  readonly #bucketMask: number;
  readonly #planted: Planted;
  readonly #hash = new AddressHash();
  readonly #probe = new Probe(MAX_KEY_BYTES);
  /** The frame of each segment, or `NONE`. */
  #segments = new Int32Array(0);
  /** Segments in memory. */
  #held = 0;
  /** ADDRESS-3. Most segments in memory, and whether one may be taken now. */
  #most = 0;
  #mayTake = false;
  #hits = 0;
  #misses = 0;
  #wrong = 0;
  /** The buckets of the key that was aimed at: where they are in the arena of their segment. */
  #segment: Uint32Array = new Uint32Array(0);
  #base = 0;
  #first = 0;
  #second = 0;

  /**
   * @param limitBytes nodes, cached values and addresses together
   * @param valuesBytes what cached values have in any case
   */
  constructor(memory: NodeMemory, limitBytes: number, valuesBytes: number, planted: Planted) {
    this.#memory = memory;
    this.#limitBytes = limitBytes;
    this.#shareOfValues = valuesBytes;
    this.#planted = planted;
    this.#segmentBytes = memory.nodeBytes;
    this.#bucketMask = this.#segmentBytes / 4 / BUCKET_WORDS - 1;
  }

  get bytes(): number {
    return this.#held * this.#segmentBytes;
  }

  get statistics(): AddressStatistics {
    return { hits: this.#hits, misses: this.#misses, wrong: this.#wrong };
  }

  /** ADDRESS-1. What the tree has for the key, or for another one. The leaf of the key is not in memory. */
  find(key: Uint8Array, keyBytes: number, into: MutableWords): boolean {
    const at = this.#aim(key, keyBytes) ? this.#locate() : -1;
    if (at < 0) {
      this.#misses++;
      return false;
    }
    this.#hits++;
    const segment = this.#segment;
    const word = segment[at + 1] as number;
    into.word0 = segment[at] as number;
    into.word1 = (((word >>> LENGTH_BITS) & HIGH_MASK) << ENTRY_LENGTH_BITS) | (word & LENGTH_MASK);
    this.#moveAhead(segment, at);
    return true;
  }

  /** A hit was another key's. */
  noteWrong(): void {
    this.#wrong++;
  }

  /**
   * ADDRESS-1. The entry of a key leaves the tree, or is another one from now on.
   *
   * @param now null: there is none
   */
  changed(key: Uint8Array, keyBytes: number, old: EntryWords, now: EntryWords | null): void {
    if (this.#held > 0 && fits(old) && this.#aim(key, keyBytes)) this.#change(old, now);
  }

  /** As `changed`, for an entry that leaves the tree. */
  gone(key: Probe, old: EntryWords): void {
    if (this.#held === 0 || !fits(old)) return;
    this.#hash.load(key.words, key.length);
    if (this.#place()) this.#change(old, null);
  }

  /** ADDRESS-1. All entries leave the tree. */
  clear(): void {
    this.#drop(this.#held);
    this.#segments = new Int32Array(0);
  }

  /** ADDRESS-2. Prepares for entries of a tree of so many keys. False: it has no use for them. */
  isOpenTo(keys: number): boolean {
    if (this.#most === 0) return false;
    const needed = Math.ceil((Math.max(1, keys) * SLOTS_PER_KEY * SLOT_BYTES) / this.#segmentBytes);
    const wanted = Math.min(needed, this.#most);
    const { length } = this.#segments;
    if (wanted > RESIZE_FACTOR * length || needed < length / RESIZE_FACTOR) {
      this.clear();
      this.#segments = new Int32Array(wanted).fill(NONE);
    }
    return true;
  }

  /**
   * ADDRESS-2. Takes what the tree has for a key, after `isOpenTo`.
   *
   * @param isAsked false: nobody has asked for the key, so it takes no place from others
   */
  fill(key: Probe, entry: EntryWords, isAsked: boolean): void {
    if (!fits(entry)) return;
    this.#hash.load(key.words, key.length);
    if (!this.#place()) {
      if (!isAsked || !this.#mayTake || this.#held >= this.#most) return;
      this.#mayTake = false;
      this.#segments[this.#number] = this.#memory.takeUnit();
      this.#held++;
      this.#place();
      this.#segment.fill(0, this.#base, this.#base + this.#segmentBytes / 4);
    }
    const segment = this.#segment;
    let at = this.#locate();
    if (at < 0) at = this.#freeSlot(segment);
    if (at < 0 && isAsked) at = this.#lastSlot();
    if (at >= 0) this.#set(segment, at, entry);
  }

  /**
   * ADDRESS-3. Gives back what is too much beside memtables of so many bytes and a tree of so many: everything, if all leaves are
   * to be in memory.
   *
   * @param isWithin whether nodes are within their limit
   */
  keepWithin(memtableBytes: number, treeBytes: number, isWithin: boolean): void {
    this.#mayTake = isWithin;
    const part = this.#limitBytes / PART_OF_LEAVES;
    const beside = part + this.#shareOfValues + memtableBytes + treeBytes / PART_OF_INNER;
    const isNeeded = treeBytes > this.#limitBytes / 2;
    this.#most = isNeeded ? Math.ceil(Math.max(part, this.#limitBytes - beside) / this.#segmentBytes) : 0;
    if (this.#held > this.#most) this.#drop(this.#held - this.#most);
  }

  /** ADDRESS-3. Nodes that cannot be evicted need so many bytes. */
  giveBack(bytes: number): void {
    this.#drop(Math.min(this.#held, Math.ceil(bytes / this.#segmentBytes)));
  }

  #drop(segments: number): void {
    let left = segments;
    for (let i = this.#segments.length - 1; i >= 0 && left > 0; i--) {
      const frame = this.#segments[i] as number;
      if (frame === NONE) continue;
      this.#memory.freeUnit(frame);
      this.#segments[i] = NONE;
      left--;
    }
    this.#held -= segments - left;
  }

  /** Finds the buckets of a key. False: their segment is not in memory. */
  #aim(key: Uint8Array, keyBytes: number): boolean {
    if (this.#held === 0) return false;
    this.#probe.load(key, keyBytes);
    this.#hash.load(this.#probe.words, keyBytes);
    return this.#place();
  }

  get #number(): number {
    return Math.floor((this.#hash.high * this.#segments.length) / TWO_32);
  }

  /** As `#aim`, for the hash. */
  #place(): boolean {
    const { high, low } = this.#hash;
    const frame = this.#segments[this.#number] ?? NONE;
    if (frame === NONE) return false;
    this.#segment = this.#memory.arenaOf(frame);
    this.#base = this.#memory.unitIn(frame) * this.#memory.unitWords;
    this.#first = this.#base + (low & this.#bucketMask) * BUCKET_WORDS;
    this.#second = this.#base + (high & this.#bucketMask) * BUCKET_WORDS;
    return true;
  }

  get #tag(): number {
    return this.#planted.oneAddressTag === true ? 0 : this.#hash.low & TAG_MASK;
  }

  /** The slot with the tag of the key, or -1. */
  #locate(): number {
    const segment = this.#segment;
    const tag = this.#tag;
    for (let at = this.#first; at < this.#first + BUCKET_WORDS; at += 2) {
      if (isOf(segment[at + 1] as number, tag)) return at;
    }
    for (let at = this.#second; at < this.#second + BUCKET_WORDS; at += 2) {
      if (isOf(segment[at + 1] as number, tag)) return at;
    }
    return -1;
  }

  /**
   * A slot is the key's if it has the old words: no two keys have a record in one place. It may have more than one, since another
   * key with its tag may have stood in front of it.
   */
  #change(old: EntryWords, now: EntryWords | null): void {
    const segment = this.#segment;
    const word1 = (this.#tag | packed(old)) >>> 0;
    for (let bucket = this.#first, both = 0; both < 2; both++, bucket = this.#second) {
      for (let at = bucket; at < bucket + BUCKET_WORDS; at += 2) {
        if (segment[at + 1] !== word1 || segment[at] !== old.word0) continue;
        if (now !== null && fits(now)) this.#set(segment, at, now);
        else {
          segment[at] = 0;
          segment[at + 1] = 0;
        }
      }
    }
  }

  #set(segment: Uint32Array, at: number, entry: EntryWords): void {
    segment[at] = entry.word0;
    segment[at + 1] = this.#tag | packed(entry);
  }

  /** A free slot of the bucket that has more of them, or -1. */
  #freeSlot(segment: Uint32Array): number {
    let found = -1;
    let most = 0;
    for (let bucket = this.#first, both = 0; both < 2; both++, bucket = this.#second) {
      let free = 0;
      let last = -1;
      for (let at = bucket; at < bucket + BUCKET_WORDS; at += 2) {
        if (segment[at + 1] !== 0) continue;
        free++;
        last = at;
      }
      if (free <= most) continue;
      most = free;
      found = last;
    }
    return found;
  }

  /** The slot that makes room: the last one of one of the buckets, by the hash. */
  #lastSlot(): number {
    return ((this.#hash.low & 0x4_0000) === 0 ? this.#first : this.#second) + BUCKET_WORDS - 2;
  }

  /** It changes places with the slot before it. */
  #moveAhead(segment: Uint32Array, at: number): void {
    if ((at & (BUCKET_WORDS - 1)) === 0) return;
    const [word0, word1] = [segment[at] as number, segment[at + 1] as number];
    segment[at] = segment[at - 2] as number;
    segment[at + 1] = segment[at - 1] as number;
    segment[at - 2] = word0;
    segment[at - 1] = word1;
  }
}

function isOf(word: number, tag: number): boolean {
  return word !== 0 && (word & TAG_MASK) >>> 0 === tag >>> 0;
}

/** Whether a slot holds the entry. */
function fits(entry: EntryWords): boolean {
  if (!isRecord(entry) || isInFragments(entry)) return false;
  const { word1 } = entry;
  return (word1 & ENTRY_LENGTH_MASK) <= LENGTH_MASK && ((word1 >>> ENTRY_LENGTH_BITS) & ENTRY_HIGH_MASK) <= HIGH_MASK;
}

/** Word 1 of an entry that fits, as a slot has it. */
function packed({ word1 }: EntryWords): number {
  return (((word1 >>> ENTRY_LENGTH_BITS) & HIGH_MASK) << LENGTH_BITS) | (word1 & LENGTH_MASK);
}
