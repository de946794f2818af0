/**
 * The keys that a memtable deletes by ranges, as the places where such a stretch begins or ends. Ranges that meet or
 * overlap become one stretch. It knows nothing of the entries of the memtable.
 *
 * ```
 *   added      [a, f)    [c, d)    [f, h)    [k, …)
 *   kept       a ═══════ deleted ═══════ h ─────────── k ═══ deleted ═══►
 * ```
 *
 * DELETED-1. Deleted stretches and others take turns: no two that follow one another are alike.
 *
 * A stretch takes two entries of a tree, whatever its size and however many ranges it was made of. Sequences are not kept:
 * all entries of the memtable are newer than its ranges (MEMTABLE-2), and all older layers are older.
 */
import { compareKeys } from '../format/keys.ts';
import { Entry, Tree } from '../tree/index.ts';
import type { Cursor, NodeMemory, TreeSnapshot } from '../tree/index.ts';

/** Word 0 of a place where a deleted stretch begins, and where one ends. */
const BEGIN = 1;
const END = 0;

/** Scratch for a boundary. Valid within one step. */
const boundary = new Entry();

/** Whether the ranges, or those of a snapshot, delete the key. */
export function isDeleted(ranges: Tree | TreeSnapshot, key: Uint8Array, keyBytes: number): boolean {
  return ranges.floor(key, keyBytes, boundary) && boundary.word0 === BEGIN;
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

  /** `from` is below `to`; null: to the last key. */
  add(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number): void {
    const tree = this.#tree;
    this.#isEmpty = false;
    if (fromBytes === 0 && to === null) this.#areAll = true;
    const goesOn = to !== null && isDeleted(tree, to, toBytes);
    tree.deleteRange(from, fromBytes, to, toBytes);
    // DELETED-1.
    if (!isDeleted(tree, from, fromBytes)) tree.set(from, fromBytes, BEGIN, 0);
    if (to === null) return;
    if (goesOn) tree.delete(to, toBytes);
    else tree.set(to, toBytes, END, 0);
  }

  /** See `isDeleted`. */
  has(key: Uint8Array, keyBytes: number): boolean {
    return isDeleted(this.#tree, key, keyBytes);
  }

  /** For `isDeleted` and `RangeCursor`. The owner must release it. */
  snapshot(): TreeSnapshot {
    return this.#tree.snapshot();
  }

  clear(): void {
    this.#tree.clear();
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    this.#tree.verify(reachable);
  }
}

/**
 * A position among the boundaries of a snapshot: between two that follow one another, or before the first, or behind the
 * last.
 */
export class RangeCursor {
  /** Whether the keys here are deleted. */
  isDeleted = false;
  /** At the boundary before, if there is one, and at the one behind. */
  readonly #low: Cursor;
  readonly #high: Cursor;
  #isPlaced = false;

  constructor(ranges: TreeSnapshot) {
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
    this.isDeleted = this.#low.valid && this.#low.entry.word0 === BEGIN;
  }
}
