/**
 * Hash to address: where in its queue each cached record is. It does not know keys: the caller compares them. Extendible hashing
 * (Fagin et al., TODS 1979) with buckets that are units of the nodes' memory.
 *
 * ```
 *   hash: 32 ─┬─ high bits ─► directory: frame of the bucket        00 ─► bucket of 0   a bucket is named by as many entries
 *             │                                                     01 ─┘               as it has bits less than the directory
 *             │                                                     10 ─► bucket of 10
 *             └─ low bits  ─► its first slot in the bucket          11 ─► bucket of 11
 *                              │
 *                 hash │ address │ hash │ address │ ...   on to the next slot while it is taken
 * ```
 *
 * VTABLE-1. A bucket is a unit of memory. It is split when it is nearly full, and joined with its neighbour when both are
 *     nearly empty: so the table takes memory and gives it back as the queues do, and no step moves more than a bucket.
 * VTABLE-2. A lookup passes few slots, and the directory has few entries for each bucket. What would need more is not added:
 *     only keys that were made to collide do.
 */
import { assert } from '@aiokv/core';
import type { NodeMemory } from '../tree/index.ts';

/** No address. */
export const NOWHERE = -1;

/** In memory, for `NOWHERE`. */
const EMPTY = 0xffff_ffff;
/** VTABLE-2. Ten are rare in a bucket that is half full. */
const PROBES_MOST = 64;
/** VTABLE-2. */
const ENTRIES_PER_BUCKET_MOST = 16;
const DEPTH_MOST = 24;
/** VTABLE-1. Parts of the slots of a bucket. */
const FULL_PART = 5 / 8;
const JOINED_PART = 1 / 4;

export class ValueTable {
  readonly #memory: NodeMemory;
  readonly #slotMask: number;
  readonly #slotBits: number;
  readonly #mostInBucket: number;
  readonly #mostToJoin: number;
  /** The directory: what it says of a bucket stands at each entry that names it, but for the count: that is at the first. */
  #frames = new Int32Array(0);
  #depths = new Uint8Array(0);
  #counts = new Int32Array(0);
  #depth = 0;
  #buckets = 0;
  #size = 0;
  /** Where `first` and `next` have stopped: the bucket, the slot in it, and how many were passed. */
  #words: Uint32Array = new Uint32Array(0);
  #base = 0;
  #slot = 0;
  #passed = 0;
  #hash = 0;

  constructor(memory: NodeMemory) {
    this.#memory = memory;
    const slots = memory.nodeBytes / 8;
    this.#slotMask = slots - 1;
    this.#slotBits = Math.log2(slots);
    this.#mostInBucket = Math.floor(slots * FULL_PART);
    this.#mostToJoin = Math.floor(slots * JOINED_PART);
  }

  get size(): number {
    return this.#size;
  }

  /** Units that it has of the memory. */
  get units(): number {
    return this.#buckets;
  }

  /** Bytes of the directory, which come on top. */
  get directoryBytes(): number {
    return this.#frames.byteLength + this.#depths.byteLength + this.#counts.byteLength;
  }

  /** The first address with this hash, or `NOWHERE`. */
  first(hash: number): number {
    if (this.#size === 0) return NOWHERE;
    this.#enter(this.#frames[this.#entryOf(hash)] as number, hash);
    return this.#here();
  }

  /** The next one after `first` or `next`, without a change between. */
  next(): number {
    this.#step();
    return this.#here();
  }

  /** Adds an address. Returns false if there is no room for it (VTABLE-2). */
  add(hash: number, address: number): boolean {
    if (this.#buckets === 0) this.#begin();
    while ((this.#counts[this.#firstEntryOf(hash)] as number) >= this.#mostInBucket) {
      if (!this.#split(hash)) return false;
    }
    const entry = this.#firstEntryOf(hash);
    if (!this.#place(this.#frames[entry] as number, hash, address)) return false;
    this.#counts[entry] = (this.#counts[entry] as number) + 1;
    this.#size++;
    return true;
  }

  /** Gives a record that moves its new address. */
  replace(hash: number, address: number, by: number): void {
    this.#seek(hash, address);
    this.#words[this.#base + 2 * this.#slot + 1] = by;
  }

  remove(hash: number, address: number): void {
    this.#seek(hash, address);
    const [words, base, mask] = [this.#words, this.#base, this.#slotMask];
    let hole = this.#slot;
    // Those behind move up, unless they would stand before their first slot.
    for (let slot = (hole + 1) & mask; words[base + 2 * slot + 1] !== EMPTY; slot = (slot + 1) & mask) {
      const first = (words[base + 2 * slot] as number) & mask;
      if (((slot - first) & mask) < ((slot - hole) & mask)) continue;
      words[base + 2 * hole] = words[base + 2 * slot] as number;
      words[base + 2 * hole + 1] = words[base + 2 * slot + 1] as number;
      hole = slot;
    }
    words[base + 2 * hole + 1] = EMPTY;
    const entry = this.#firstEntryOf(hash);
    const left = (this.#counts[entry] as number) - 1;
    this.#counts[entry] = left;
    this.#size--;
    if (this.#size === 0) this.#end();
    else if (left < this.#mostToJoin) this.#join(entry);
  }

  /**
   * Adds the addresses of one bucket to `into`. Nothing may change until all were told.
   *
   * @param entry 0 at first, then what was returned
   * @returns where the next bucket is; -1: that was the last
   */
  bucketAt(entry: number, into: number[]): number {
    if (this.#buckets === 0) return -1;
    const frame = this.#frames[entry] as number;
    const words = this.#memory.arenaOf(frame);
    const base = this.#baseOf(frame);
    for (let slot = 0; slot <= this.#slotMask; slot++) {
      const address = (words[base + 2 * slot + 1] as number) | 0;
      if (address !== NOWHERE) into.push(address);
    }
    const next = entry + this.#entriesOf(entry);
    return next < this.#frames.length ? next : -1;
  }

  #seek(hash: number, address: number): void {
    let found = this.first(hash);
    while (found !== address && found !== NOWHERE) found = this.next();
    assert(found === address, 'a cached record is in the table');
  }

  #enter(frame: number, hash: number): void {
    this.#words = this.#memory.arenaOf(frame);
    this.#base = this.#baseOf(frame);
    this.#hash = hash;
    this.#slot = hash & this.#slotMask;
    this.#passed = 0;
  }

  #step(): void {
    this.#slot = (this.#slot + 1) & this.#slotMask;
    this.#passed++;
  }

  #here(): number {
    const words = this.#words;
    for (; this.#passed < PROBES_MOST; this.#step()) {
      const at = this.#base + 2 * this.#slot;
      const address = (words[at + 1] as number) | 0;
      if (address === NOWHERE || ((words[at] as number) | 0) === this.#hash) return address;
    }
    return NOWHERE;
  }

  #entryOf(hash: number): number {
    return this.#depth === 0 ? 0 : hash >>> (32 - this.#depth);
  }

  /** The first of the entries that name the bucket. */
  #firstEntryOf(hash: number): number {
    const entry = this.#entryOf(hash);
    return entry & -(1 << (this.#depth - (this.#depths[entry] as number)));
  }

  /** Returns false, and changes nothing, if there are too many of its hash in the bucket. */
  #place(frame: number, hash: number, address: number): boolean {
    this.#enter(frame, hash);
    for (; this.#words[this.#base + 2 * this.#slot + 1] !== EMPTY; this.#step()) {
      if (this.#passed === PROBES_MOST - 1) return false;
    }
    const at = this.#base + 2 * this.#slot;
    this.#words[at] = hash;
    this.#words[at + 1] = address;
    return true;
  }

  #takeBucket(): number {
    const frame = this.#memory.takeUnit();
    this.#fill(frame, EMPTY);
    this.#buckets++;
    return frame;
  }

  #baseOf(frame: number): number {
    return this.#memory.unitIn(frame) << (this.#slotBits + 1);
  }

  #copyOf(frame: number): Uint32Array {
    const base = this.#baseOf(frame);
    return this.#memory.arenaOf(frame).slice(base, base + 2 * (this.#slotMask + 1));
  }

  #fill(frame: number, by: Uint32Array | number): void {
    const base = this.#baseOf(frame);
    const words = this.#memory.arenaOf(frame);
    if (typeof by === 'number') words.fill(by, base, base + 2 * (this.#slotMask + 1));
    else words.set(by, base);
  }

  #freeBucket(frame: number): void {
    this.#memory.freeUnit(frame);
    this.#buckets--;
  }

  #begin(): void {
    this.#frames = Int32Array.of(this.#takeBucket());
    this.#depths = new Uint8Array(1);
    this.#counts = new Int32Array(1);
    this.#depth = 0;
  }

  /** The last address is gone. */
  #end(): void {
    for (let entry = 0; entry < this.#frames.length; entry += this.#entriesOf(entry)) {
      this.#freeBucket(this.#frames[entry] as number);
    }
    this.#frames = new Int32Array(0);
    this.#depths = new Uint8Array(0);
    this.#counts = new Int32Array(0);
  }

  /** How many entries name the bucket. */
  #entriesOf(entry: number): number {
    return 1 << (this.#depth - (this.#depths[entry] as number));
  }

  /** VTABLE-1. Makes two buckets of that of a hash. Returns false if the directory has too many entries (VTABLE-2). */
  #split(hash: number): boolean {
    if (this.#depths[this.#entryOf(hash)] === this.#depth && !this.#widen()) return false;
    const low = this.#firstEntryOf(hash);
    const entries = this.#entriesOf(low);
    const high = low + entries / 2;
    const frame = this.#frames[low] as number;
    const other = this.#takeBucket();
    const moved = this.#part(frame, other, (this.#depths[low] as number) + 1);
    this.#depths.fill((this.#depths[low] as number) + 1, low, low + entries);
    this.#frames.fill(other, high, low + entries);
    this.#counts[high] = moved;
    this.#counts[low] = (this.#counts[low] as number) - moved;
    return true;
  }

  /** Moves what has the last of so many high bits to `other`. Returns how many. What is left is placed anew. */
  #part(frame: number, other: number, bits: number): number {
    const old = this.#copyOf(frame);
    this.#fill(frame, EMPTY);
    // From an empty slot on: as they were added, but for those removed since. So none stands further behind than before.
    let start = 0;
    while (old[start + 1] !== EMPTY) start += 2;
    let moved = 0;
    for (let i = 2; i < old.length; i += 2) {
      const at = (start + i) & (old.length - 1);
      const address = old[at + 1] as number;
      if (address === EMPTY) continue;
      const hash = old[at] as number;
      const isHigh = ((hash >>> (32 - bits)) & 1) === 1;
      const isPlaced = this.#place(isHigh ? other : frame, hash | 0, address | 0);
      assert(isPlaced, 'a bucket that is split has room for what it had');
      if (isHigh) moved++;
    }
    return moved;
  }

  /** Twice as many entries. */
  #widen(): boolean {
    const length = 2 * this.#frames.length;
    if (length > ENTRIES_PER_BUCKET_MOST * this.#buckets || this.#depth === DEPTH_MOST) return false;
    const [frames, depths, counts] = [new Int32Array(length), new Uint8Array(length), new Int32Array(length)];
    for (let entry = 0; entry < length; entry++) {
      frames[entry] = this.#frames[entry >>> 1] as number;
      depths[entry] = this.#depths[entry >>> 1] as number;
      counts[entry] = this.#counts[entry >>> 1] as number;
    }
    [this.#frames, this.#depths, this.#counts] = [frames, depths, counts];
    this.#depth++;
    return true;
  }

  /** VTABLE-1. Makes one bucket of that at `entry` and its neighbour, if they have little. */
  #join(entry: number): void {
    const depth = this.#depths[entry] as number;
    if (depth === 0) return;
    const entries = this.#entriesOf(entry);
    const low = entry & ~entries;
    const high = low + entries;
    if (this.#depths[low] !== depth || this.#depths[high] !== depth) return;
    const [countLow, countHigh] = [this.#counts[low] as number, this.#counts[high] as number];
    if (countLow + countHigh > this.#mostToJoin) return;
    const [frame, other] = [this.#frames[low] as number, this.#frames[high] as number];
    const before = this.#copyOf(frame);
    const added = this.#copyOf(other);
    for (let at = 0; at < added.length; at += 2) {
      const address = added[at + 1] as number;
      if (address === EMPTY || this.#place(frame, (added[at] as number) | 0, address | 0)) continue;
      // Keys that were made to collide.
      this.#fill(frame, before);
      return;
    }
    this.#freeBucket(other);
    this.#frames.fill(frame, high, high + entries);
    this.#depths.fill(depth - 1, low, high + entries);
    this.#counts[low] = countLow + countHigh;
  }
}
