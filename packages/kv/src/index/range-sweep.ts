/**
 * Deletes from the tree what lies in the ranges that a memtable deletes, in key order and leaf by leaf, as a part of the
 * merge. The leaves are read: their records have to be counted out of their segments.
 *
 * ```
 *   ranges   ├───────────┤      ├───────┤         the merge stops the sweep at each key of the memtable:
 *   keys         k          m                     its entry is newer than the ranges
 *            ═══►│ ═════►│      ═══════►│
 * ```
 *
 * SWEEP-1. When the sweep has come to a key, the tree holds nothing below it that the ranges delete, but for what the merge
 *     has entered since.
 * SWEEP-2. What is pinned ahead is pinned no longer than until its leaf has been passed or has left the tree.
 */
import type { AddressCache } from '../cache/address-cache.ts';
import { compareKeys, successorOf } from '../format/keys.ts';
import { MAX_KEY_BYTES } from '../format/record.ts';
import { Entry, Probe } from '../tree/index.ts';
import type { Tree } from '../tree/index.ts';
import { RangeCursor } from './deleted-ranges.ts';
import type { DeletedRanges } from './deleted-ranges.ts';
import { mostLeavesAhead } from './leaf-scout.ts';
import type { Pager } from './pager.ts';
import type { RecordCounts } from './record-counts.ts';

/** Ranges whose leaves are estimated; of more, the rest is taken to be like them. */
const ESTIMATED_RANGES = 1024;

export class RangeSweep {
  /** Leaves that were passed, and about how many there were at the beginning. */
  swept = 0;
  readonly expected: number;
  readonly #ranges: RangeCursor;
  /** Where the leaves ahead are looked for. */
  readonly #ahead: RangeCursor;
  readonly #tree: Tree;
  readonly #pager: Pager;
  readonly #counts: RecordCounts;
  readonly #addresses: AddressCache | null;
  /** SWEEP-1. The key to which the sweep has come: the first `#atLength` bytes. */
  readonly #at = new Uint8Array(MAX_KEY_BYTES);
  #atLength = 0;
  readonly #fence = new Uint8Array(MAX_KEY_BYTES);
  #isOver = false;
  #blockedOn = 0;
  /** Leaves that were read ahead, and are held. */
  readonly #held = new Set<number>();
  /** Scratch. */
  readonly #entry = new Entry();
  readonly #key = new Probe(MAX_KEY_BYTES);

  /** @param addresses null: the planted defect */
  constructor(ranges: DeletedRanges, tree: Tree, pager: Pager, counts: RecordCounts, addresses: AddressCache | null) {
    this.#addresses = addresses;
    this.#tree = tree;
    this.#pager = pager;
    this.#counts = counts;
    this.#ahead = new RangeCursor(ranges);
    this.expected = this.#estimate(ranges.size);
    this.#ranges = new RangeCursor(ranges);
    this.#ranges.seek(this.#at, 0);
  }

  /**
   * Sweeps to a key, which is not deleted.
   *
   * @param end null: to the end
   * @param isLong whether the slice is over
   */
  run(end: Uint8Array | null, endLength: number, isLong: () => boolean): 'done' | 'blocked' | 'more' {
    const ranges = this.#ranges;
    while (!this.#isOver) {
      const { high, highLength } = ranges;
      const isEndHere = end !== null && ranges.isBelowHigh(end, endLength);
      if (!ranges.isDeleted || (isEndHere && this.#isAtOrBehind(end, endLength))) {
        if (isEndHere) return 'done';
        this.#goTo(high, highLength);
        continue;
      }
      const outcome = isEndHere ? this.#sweepLeaf(end, endLength) : this.#sweepLeaf(high, highLength);
      if (outcome === 'blocked') return 'blocked';
      if (isLong()) return 'more';
    }
    return 'done';
  }

  /** The merge has taken the entry of this key: the sweep goes on behind it. */
  pass(key: Uint8Array, keyLength: number): void {
    if (this.#isOver) return;
    const isLongest = keyLength === MAX_KEY_BYTES;
    const next = isLongest ? successorOf(key.subarray(0, keyLength)) : key;
    if (next === null) this.#isOver = true;
    else this.#goTo(next, isLongest ? next.length : keyLength);
    if (isLongest || this.#isOver) return;
    this.#at[this.#atLength++] = 0;
    this.#enterRange();
  }

  /**
   * Settles when the leaf that blocks the sweep is in memory.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async whenUnblocked(): Promise<void> {
    const pageId = this.#blockedOn;
    await this.#pager.pin([pageId]);
    if (this.#held.has(pageId)) this.#pager.letGo(pageId);
    else this.#held.add(pageId);
  }

  end(): void {
    for (const pageId of this.#held) this.#letGo(pageId);
  }

  /** Deletes what is below `to` in the leaf to which the sweep has come, and goes on behind it. */
  #sweepLeaf(to: Uint8Array | null, toLength: number): 'swept' | 'blocked' {
    const tree = this.#tree;
    this.#readAhead();
    this.#blockedOn = tree.goTo(this.#at, this.#atLength);
    if (this.#blockedOn !== 0) return 'blocked';
    const leaf = tree.leafHere;
    const fenceLength = tree.fenceHere(this.#fence);
    const isFenceFirst = fenceLength >= 0 && (to === null || compareKeys(this.#fence, fenceLength, to, toLength) < 0);
    const end = isFenceFirst ? this.#fence : to;
    const endLength = isFenceFirst ? fenceLength : toLength;
    const count = tree.countHere(end, endLength);
    for (let i = 0; i < count; i++) {
      tree.entryBehind(i, this.#entry);
      this.#counts.leave(this.#entry);
      if (this.#addresses === null || this.#addresses.bytes === 0) continue;
      tree.keyBehind(i, this.#key);
      this.#addresses.gone(this.#key, this.#entry);
    }
    if (count > 0) tree.deleteRange(this.#at, this.#atLength, end, endLength);
    this.swept++;
    // SWEEP-2.
    if (isFenceFirst) this.#letGo(leaf);
    this.#goTo(end, endLength);
    return 'swept';
  }

  /** @param key null: the sweep is over */
  #goTo(key: Uint8Array | null, keyLength: number): void {
    if (key === null) {
      this.#isOver = true;
      return;
    }
    for (let i = 0; i < keyLength; i++) this.#at[i] = key[i] as number;
    this.#atLength = keyLength;
    this.#enterRange();
  }

  /** Finds the range to which the sweep has come. */
  #enterRange(): void {
    while (!this.#ranges.isBelowHigh(this.#at, this.#atLength)) this.#ranges.next();
  }

  #isAtOrBehind(key: Uint8Array, keyLength: number): boolean {
    return compareKeys(this.#at, this.#atLength, key, keyLength) >= 0;
  }

  /** SWEEP-2. Starts to read the next leaves, when half of those that were read ahead are passed. */
  #readAhead(): void {
    const { memory } = this.#tree;
    const most = mostLeavesAhead(this.#pager, this.#tree);
    if (this.#held.size > most / 2) return;
    const next: number[] = [];
    const ranges = this.#ahead;
    ranges.seek(this.#at, this.#atLength);
    let [from, fromLength] = [this.#at as Uint8Array, this.#atLength];
    // Most ranges lie far from one another, or in one leaf.
    for (let looks = most; looks > 0 && next.length < most; looks--) {
      const { high, highLength } = ranges;
      if (ranges.isDeleted) this.#tree.addLeaves(from, fromLength, high, highLength, most, next);
      if (high === null) break;
      ranges.next();
      [from, fromLength] = [ranges.low, ranges.lowLength];
    }
    const wanted = new Set(next);
    for (const pageId of this.#held) if (!wanted.has(pageId)) this.#letGo(pageId);
    const absent = [...wanted].filter((pageId) => !memory.isResident(pageId) && !this.#held.has(pageId));
    for (const pageId of absent) this.#held.add(pageId);
    this.#pager.holdAhead(absent);
  }

  #letGo(pageId: number): void {
    if (this.#held.delete(pageId)) this.#pager.letGo(pageId);
  }

  /** About how many leaves the ranges reach over. */
  #estimate(boundaries: number): number {
    const tree = this.#tree;
    const ranges = this.#ahead;
    ranges.seek(this.#at, 0);
    let part = 0;
    let looks = 0;
    for (; looks < ESTIMATED_RANGES; looks++) {
      const { low, lowLength, high, highLength } = ranges;
      if (ranges.isDeleted) part += (high === null ? 1 : tree.rankOf(high, highLength)) - tree.rankOf(low, lowLength);
      if (high === null) break;
      ranges.next();
    }
    const rest = looks < ESTIMATED_RANGES ? 1 : Math.max(1, boundaries / ESTIMATED_RANGES);
    return Math.ceil((Math.min(1, part * rest) * tree.bytes) / tree.memory.nodeBytes);
  }
}
