/**
 * Merges an immutable memtable into the tree, in key order, so that each leaf is visited once. The leaves of the next
 * entries are read while the merge goes on (leaf-scout.ts).
 *
 * ```
 *   run ──► done
 *    │ ▲
 *    ▼ └─────────────────────┐
 *   blocked ─► whenUnblocked ┘
 * ```
 *
 * MERGE-1. An entry of the memtable is taken once, in key order.
 * MERGE-2. A record counts as alive in its segment from the step in which its entry enters the tree to that in which it
 *     leaves it. What a newer entry replaces in a memtable never counts.
 */
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { fileOffsetOf, isDeletion, isInFragments, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { SegmentKind } from '../format/segment.ts';
import { Entry } from '../tree/index.ts';
import type { Cursor, Tree, TreeSnapshot } from '../tree/index.ts';
import { LeafScout } from './leaf-scout.ts';
import type { Memtable } from './memtable.ts';
import type { Pager } from './pager.ts';

/** Entries merged between two calls of `isLong`. */
const ENTRIES_PER_QUESTION = 64;

export class Merge {
  /** Entries of values in fragments that have entered the tree, and that have left it. Whoever counts them takes them. */
  readonly entered: EntryWords[] = [];
  readonly left: EntryWords[] = [];
  readonly #size: number;
  readonly #snapshot: TreeSnapshot;
  readonly #cursor: Cursor;
  readonly #tree: Tree;
  readonly #segments: SegmentTable;
  readonly #planted: Planted;
  readonly #scout: LeafScout;
  #hasMore: boolean;
  #taken = 0;
  #blockedOn = 0;
  /** Scratch for the entry that a new one replaces. */
  readonly #old = new Entry();

  constructor(memtable: Memtable, tree: Tree, pager: Pager, segments: SegmentTable, planted: Planted) {
    this.#size = memtable.size;
    this.#snapshot = memtable.snapshot();
    this.#cursor = this.#snapshot.cursor();
    this.#hasMore = this.#cursor.first();
    this.#tree = tree;
    this.#segments = segments;
    this.#planted = planted;
    this.#scout = new LeafScout(this.#snapshot, tree, pager);
  }

  /** Whether there was nothing to merge. */
  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** The part of the memtable that is merged, from 0 to 1. */
  get progress(): number {
    return this.#hasMore ? this.#taken / this.#size : 1;
  }

  /**
   * Merges entries until all are done, the next leaf is not in memory, or the slice is over.
   *
   * @param isLong whether the slice is over
   */
  run(isLong: () => boolean): 'done' | 'blocked' | 'more' {
    this.#scout.lookAhead(this.#cursor, this.#taken);
    let outcome: 'done' | 'blocked' | 'more' = 'done';
    for (let count = 1; this.#hasMore; count++) {
      const { keyBytes, keyLength, entry } = this.#cursor;
      this.#blockedOn = this.#taken === 0 ? this.#tree.goTo(keyBytes, keyLength) : this.#tree.goOn(keyBytes, keyLength);
      if (this.#blockedOn !== 0) {
        outcome = 'blocked';
        break;
      }
      const isMove = !isDeletion(entry) && this.#isMove(entry);
      if (this.#tree.entryHere(this.#old)) this.#countOut(this.#old, isMove);
      if (isDeletion(entry)) this.#tree.deleteHere();
      else {
        // Without the sequence: the record has it, and no two entries of a key meet in the tree.
        this.#tree.setHere(entry.word0, entry.word1);
        this.#countIn(entry, isMove);
      }
      this.#hasMore = this.#cursor.next();
      this.#taken++;
      if (count % ENTRIES_PER_QUESTION === 0 && isLong()) {
        outcome = 'more';
        break;
      }
    }
    this.#scout.letGoBehind(this.#taken);
    return outcome;
  }

  /**
   * Settles when the leaf that blocks the merge is in memory.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  whenUnblocked(): Promise<void> {
    return this.#scout.whenLoaded(this.#blockedOn, this.#taken);
  }

  end(): void {
    this.#scout.end();
    this.#snapshot.release();
  }

  /** Whether a cleaning has moved the record. The fragments of its value stay, and count already. */
  #isMove(entry: Entry): boolean {
    return this.#segments.kindOf(this.#segments.slotOf(fileOffsetOf(entry))) === SegmentKind.cleaned;
  }

  /** MERGE-2. */
  #countIn(entry: Entry, isMove: boolean): void {
    this.#segments.countRecord(fileOffsetOf(entry), lengthOf(entry));
    if (isInFragments(entry) && !isMove) this.entered.push({ word0: entry.word0, word1: entry.word1 });
  }

  #countOut(entry: Entry, isMove: boolean): void {
    if (this.#planted.miscounted !== true || this.#taken % 4 !== 0) {
      this.#segments.uncountRecord(fileOffsetOf(entry), lengthOf(entry));
    }
    if (isInFragments(entry) && !isMove) this.left.push({ word0: entry.word0, word1: entry.word1 });
  }
}
