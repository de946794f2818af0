/**
 * The ranges of keys that a memtable deletes: at which key a range begins or ends, and which is the newest range from
 * there to the next such key. It knows nothing of the entries of the memtable.
 *
 * ```
 *   added      7: [a, f)    9: [c, d)    12: [k, …)
 *   kept       a ──── 7 ──── c ──── 9 ──── d ──── 7 ──── f ──── 0 ──── k ──── 12 ────►       0: nothing is deleted
 * ```
 *
 * DELETED-1. A range that is added is newer than all that it overlaps, and decides wherever it reaches.
 *
 * A range takes two entries of a tree, whatever its size, and one that it covers takes none.
 */
import { compareKeys } from '../format/keys.ts';
import { Entry, Tree } from '../tree/index.ts';
import type { Cursor, NodeMemory, TreeSnapshot } from '../tree/index.ts';

const TWO_32 = 0x1_0000_0000;

/** Scratch for a boundary. Valid within one step. */
const boundary = new Entry();

function sequenceAt({ word0, word1 }: Entry): number {
  return word1 * TWO_32 + word0;
}

/** The sequence of the newest range, of those that were taken of one memtable, that deletes the key; 0: none does. */
export function deletedBy(ranges: Tree | TreeSnapshot, key: Uint8Array, keyBytes: number): number {
  return ranges.floor(key, keyBytes, boundary) ? sequenceAt(boundary) : 0;
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

  /** DELETED-1. `from` is below `to`; null: to the last key. */
  add(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number, sequence: number): void {
    this.#isEmpty = false;
    if (fromBytes === 0 && to === null) this.#areAll = true;
    const behind = to === null ? 0 : deletedBy(this.#tree, to, toBytes);
    this.#tree.deleteRange(from, fromBytes, to, toBytes);
    this.#set(from, fromBytes, sequence);
    if (to !== null) this.#set(to, toBytes, behind);
  }

  /** See `deletedBy`. */
  deletedBy(key: Uint8Array, keyBytes: number): number {
    return deletedBy(this.#tree, key, keyBytes);
  }

  /** For `deletedBy` and `RangeCursor`. The owner must release it. */
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

  #set(key: Uint8Array, keyBytes: number, sequence: number): void {
    this.#tree.set(key, keyBytes, sequence >>> 0, Math.floor(sequence / TWO_32));
  }
}

/**
 * A position among the boundaries of a snapshot: between two that follow one another, or before the first, or behind the
 * last.
 */
export class RangeCursor {
  /** The newest range that covers the keys here; 0: there is none. */
  sequence = 0;
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
    this.sequence = this.#low.valid ? sequenceAt(this.#low.entry) : 0;
  }
}
