/**
 * The keys that a memtable deletes by ranges, as the places where such a stretch begins or ends. Ranges of one age that
 * meet or overlap become one stretch; of others the newest counts. It knows nothing of the entries of the memtable.
 *
 * ```
 *   added      [a, f) 1    [c, d) 1    [f, h) 1    [g, j) 7    [m, …) 1
 *   kept       a ══════ 1 ══════ g ══ 7 ══ j ─────── m ═══ 1 ═══►
 * ```
 *
 * DELETED-1. No two stretches that follow one another are alike: of the same age, or not deleted.
 *
 * A stretch takes two entries of a tree, whatever its size and however many ranges it was made of. Its age is for the
 * entries of the memtable that are older (MEMTABLE-2). All older layers are older than all ranges.
 */
import { compareKeys } from '../format/keys.ts';
import { Entry, Tree } from '../tree/index.ts';
import type { Cursor, NodeMemory, TreeSnapshot } from '../tree/index.ts';

/** Word 0 of a place where a deleted stretch begins is the age of the stretch. That of one that ends is this. */
const NOT_DELETED = 0;

/** Scratch for a boundary. Valid within one step. */
const boundary = new Entry();

/** What a `RangeCursor` walks over: ranges, or a snapshot of them. */
export interface RangeSource {
  cursor(): Cursor;
}

function ageIn(ranges: Tree, key: Uint8Array, keyBytes: number): number {
  return ranges.floor(key, keyBytes, boundary) ? boundary.word0 : NOT_DELETED;
}

export class DeletedRanges {
  readonly #tree: Tree;
  #isEmpty = true;
  #areAll = false;

  constructor(memory: NodeMemory) {
    this.#tree = new Tree(memory);
  }

  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  /** Whether a range was added that has no bounds: all keys are deleted. */
  get areAll(): boolean {
    return this.#areAll;
  }

  /** Bytes of its nodes. */
  get bytes(): number {
    return this.#tree.bytes;
  }

  /** Number of boundaries. */
  get size(): number {
    return this.#tree.size;
  }

  /**
   * `from` is below `to`; null: to the last key.
   *
   * @param age above 0, of 32 bits; higher: newer
   */
  add(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number, age: number): void {
    const tree = this.#tree;
    this.#isEmpty = false;
    if (fromBytes === 0 && to === null) this.#areAll = true;
    const behind = to === null ? NOT_DELETED : ageIn(tree, to, toBytes);
    tree.deleteRange(from, fromBytes, to, toBytes);
    // DELETED-1.
    if (ageIn(tree, from, fromBytes) !== age) tree.set(from, fromBytes, age, 0);
    if (to === null) return;
    if (behind === age) tree.delete(to, toBytes);
    else tree.set(to, toBytes, behind, 0);
  }

  has(key: Uint8Array, keyBytes: number): boolean {
    return ageIn(this.#tree, key, keyBytes) !== NOT_DELETED;
  }

  /** The age of the range that deletes the key, or 0. */
  ageAt(key: Uint8Array, keyBytes: number): number {
    return ageIn(this.#tree, key, keyBytes);
  }

  /** For `RangeCursor`. Nothing may be added before its last use. */
  cursor(): Cursor {
    return this.#tree.cursor();
  }

  /** For `RangeCursor`. The owner must release it. */
  snapshot(): TreeSnapshot {
    return this.#tree.snapshot();
  }

  clear(): void {
    this.#tree.clear();
    this.#isEmpty = true;
    this.#areAll = false;
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    this.#tree.verify(reachable);
  }
}

/**
 * A position among the boundaries: between two that follow one another, or before the first, or behind the
 * last.
 */
export class RangeCursor {
  /** Whether the keys here are deleted, and the age of the range that does; 0: they are not. */
  isDeleted = false;
  age = 0;
  /** At the boundary before, if there is one, and at the one behind. */
  readonly #low: Cursor;
  readonly #high: Cursor;
  #isPlaced = false;

  constructor(ranges: RangeSource) {
    this.#low = ranges.cursor();
    this.#high = ranges.cursor();
  }

  /** The first key here. Valid until the next move. */
  get low(): Uint8Array {
    return this.#low.keyBytes;
  }

  get lowLength(): number {
    return this.#low.valid ? this.#low.keyLength : 0;
  }

  /** The key behind the last one here; null: there is none. Valid until the next move. */
  get high(): Uint8Array | null {
    return this.#high.valid ? this.#high.keyBytes : null;
  }

  get highLength(): number {
    return this.#high.valid ? this.#high.keyLength : 0;
  }

  /** Goes where the key is. */
  seek(key: Uint8Array, keyLength: number): void {
    if (this.#isPlaced && this.#isNotBelow(key, keyLength) && this.isBelowHigh(key, keyLength)) return;
    this.#low.seek(key, keyLength, '<=');
    this.#high.seek(key, keyLength, '>');
    this.#note();
  }

  /** Goes where the keys are that come just before this one; null: where the last ones are. */
  seekBelow(key: Uint8Array | null, keyLength: number): void {
    if (key === null) {
      this.#low.last();
      this.#high.last();
      this.#high.next();
    } else {
      this.#low.seek(key, keyLength, '<');
      this.#high.seek(key, keyLength, '>=');
    }
    this.#note();
  }

  /** Goes behind the next boundary. Requires one. */
  next(): void {
    const isFirst = !this.#low.valid;
    if (isFirst) this.#low.first();
    else this.#low.next();
    this.#high.next();
    this.#note();
  }

  isBelowHigh(key: Uint8Array, keyLength: number): boolean {
    return !this.#high.valid || compareKeys(key, keyLength, this.#high.keyBytes, this.#high.keyLength) < 0;
  }

  #isNotBelow(key: Uint8Array, keyLength: number): boolean {
    return !this.#low.valid || compareKeys(key, keyLength, this.#low.keyBytes, this.#low.keyLength) >= 0;
  }

  #note(): void {
    this.#isPlaced = true;
    this.age = this.#low.valid ? this.#low.entry.word0 : NOT_DELETED;
    this.isDeleted = this.age !== NOT_DELETED;
  }
}
