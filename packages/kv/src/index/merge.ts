/**
 * Merges an immutable memtable, and the new places of records that a cleaning has moved, into the tree, in key order, so
 * that each leaf is visited once. The leaves of the next entries are read while the merge goes on (leaf-scout.ts).
 *
 * ```
 *   run ──► done
 *    │ ▲
 *    ▼ └─────────────────────┐
 *   blocked ─► whenUnblocked ┘
 * ```
 *
 * MERGE-1. An entry of the memtable is taken once, in key order. What the ranges delete that lies before it has left the
 *     tree by then (range-sweep.ts). An entry that they delete themselves is passed.
 * MERGE-2. A record counts as alive in its segment from the step in which its entry enters the tree to that in which it
 *     leaves it. What a newer entry replaces in a memtable never counts, nor does a record whose value is
 *     inline.
 * MERGE-5. An entry of the memtable that is over when the merge begins is taken as a deletion (EXPIRY-2).
 * MERGE-6. What is over by then leaves each leaf that is changed anyway, so its record does not count any more. No leaf is
 *     read or changed for its sake.
 * MERGE-4. A relocation is taken if the tree leads to the old place (RELOC-1). So nothing that was written or deleted
 *     meanwhile is undone, whoever moved the record.
 * MERGE-3. If everything is deleted, no leaf is read: the tree is emptied, and no record counts any more. Lookups that
 *     wait for a leaf get it first (INDEX-5).
 */
import type { AddressCache } from '../cache/address-cache.ts';
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { EXPIRY_WORDS, isDeletion, isOverAt, isRecord } from '../format/index-entry.ts';
import { Entry } from '../tree/index.ts';
import type { Probe, Tree } from '../tree/index.ts';
import { LeafScout } from './leaf-scout.ts';
import { MergeInput } from './merge-input.ts';
import type { Memtable } from './memtable.ts';
import type { Pager } from './pager.ts';
import { RangeSweep } from './range-sweep.ts';
import { RecordCounts } from './record-counts.ts';
import type { RelocationCursor, Relocations } from './relocations.ts';

/** Entries merged between two calls of `isLong`. */
const ENTRIES_PER_QUESTION = 64;
/** A leaf that is swept takes as long as so many entries. */
const ENTRIES_PER_LEAF = 8;
/** Nodes freed between two calls of `isLong`. */
const RECLAIM_NODES = 256;

/** Scratch for the words of an expiry. Valid within one step. */
const expiry = new Uint32Array(EXPIRY_WORDS);

export class Merge {
  /** The entries of values in fragments are to be taken by whoever counts the fragments. */
  readonly counts: RecordCounts;
  /** Whether there was nothing to merge. */
  readonly isEmpty: boolean;
  readonly #size: number;
  readonly #memtable: Memtable;
  readonly #input: MergeInput;
  readonly #tree: Tree;
  readonly #pager: Pager;
  readonly #addresses: AddressCache;
  readonly #segments: SegmentTable;
  readonly #planted: Planted;
  /** MERGE-5. */
  readonly #momentMs: number;
  /** MERGE-6. The leaf that was looked through last. */
  #pruned = 0;
  readonly #scout: LeafScout;
  /** Null if there are no ranges, or nothing else than what they delete. */
  #sweep: RangeSweep | null = null;
  #hasMore: boolean;
  #isDone = false;
  /** Whether the walk over the tree has begun. */
  #hasBegun = false;
  /** Entries that were taken or passed. */
  #taken = 0;
  #blockedOn = 0;
  /** Who blocks the merge. */
  #blocking: 'key' | 'sweep' | 'loads' = 'key';
  /** MERGE-3. */
  #isToEmpty: boolean;
  /** Scratch for the entry that a new one replaces. */
  readonly #old = new Entry();

  constructor(
    memtable: Memtable,
    relocations: Relocations,
    tree: Tree,
    pager: Pager,
    addresses: AddressCache,
    segments: SegmentTable,
    planted: Planted,
    momentMs: number,
  ) {
    this.#momentMs = momentMs;
    this.#size = memtable.size + relocations.count;
    this.isEmpty = memtable.isEmpty && relocations.count === 0;
    this.#isToEmpty = memtable.deletesAll;
    this.#memtable = memtable;
    this.#input = new MergeInput(memtable, relocations);
    this.#hasMore = this.#input.first();
    this.#tree = tree;
    this.#pager = pager;
    this.#addresses = addresses;
    this.#segments = segments;
    this.#planted = planted;
    this.counts = new RecordCounts(segments, planted);
    this.#scout = new LeafScout(new MergeInput(memtable, relocations), tree, pager);
    const { ranges } = memtable;
    if (planted.earlyForgottenRanges === true) this.#isToEmpty = false;
    else if (ranges !== null && !this.#isToEmpty) {
      const gone = planted.keptAddresses === 'swept' ? null : addresses;
      this.#sweep = new RangeSweep(ranges, tree, pager, this.counts, gone);
    }
  }

  /** The part of the memtable that is merged, from 0 to 1. */
  get progress(): number {
    if (this.#isDone) return 1;
    const { swept, expected } = this.#sweep ?? { swept: 0, expected: 0 };
    const done = this.#taken + ENTRIES_PER_LEAF * Math.min(swept, expected);
    return done / (this.#size + ENTRIES_PER_LEAF * expected + 1);
  }

  /**
   * Merges entries until all are done, the next leaf is not in memory, or the slice is over.
   *
   * @param isLong whether the slice is over
   */
  run(isLong: () => boolean): 'done' | 'blocked' | 'more' {
    if (this.#isToEmpty) return this.#empty();
    this.#scout.lookAhead(this.#input, this.#taken);
    let outcome: 'done' | 'blocked' | 'more' = 'done';
    for (let count = 1; this.#hasMore && outcome === 'done'; count++) {
      const { keyBytes, keyLength } = this.#input;
      outcome = this.#sweepTo(keyBytes, keyLength, isLong);
      if (outcome === 'done') outcome = this.#takeEntry();
      if (outcome === 'done' && count % ENTRIES_PER_QUESTION === 0 && isLong()) outcome = 'more';
    }
    if (outcome === 'done') outcome = this.#sweepTo(null, 0, isLong);
    this.#scout.letGoBehind(this.#taken);
    if (outcome === 'done') outcome = this.#freeNodes(isLong);
    this.#isDone = outcome === 'done';
    return outcome;
  }

  #sweepTo(key: Uint8Array | null, keyLength: number, isLong: () => boolean): 'done' | 'blocked' | 'more' {
    if (this.#sweep === null) return 'done';
    this.#blocking = 'sweep';
    return this.#sweep.run(key, keyLength, isLong);
  }

  #takeEntry(): 'done' | 'blocked' {
    const { keyBytes, keyLength, relocation } = this.#input;
    if (relocation === null && this.#memtable.isOverruled(keyBytes, keyLength, this.#input.entry)) {
      this.#pass();
      return 'done';
    }
    this.#blocking = 'key';
    this.#blockedOn = this.#hasBegun ? this.#tree.goOn(keyBytes, keyLength) : this.#tree.goTo(keyBytes, keyLength);
    if (this.#blockedOn !== 0) return 'blocked';
    this.#hasBegun = true;
    if (relocation !== null) this.#relocate(relocation);
    else {
      const { entry } = this.#input;
      const isThere = this.#tree.entryHere(this.#old);
      if (isThere || !this.#leaves(entry)) this.#prune();
      if (isThere) {
        this.counts.leave(this.#old);
        // ADDRESS-1.
        const now = this.#leaves(entry) ? null : entry;
        if (this.#planted.keptAddresses !== 'merged') this.#addresses.changed(keyBytes, keyLength, this.#old, now);
      }
      if (this.#leaves(entry) || this.#isSwallowed(keyBytes, keyLength)) this.#tree.deleteHere();
      else {
        const { word0, word1, extra, extraWords } = entry;
        if (isRecord(entry)) {
          // Without the sequence of a record: the record has it, and no two entries of a key meet in the tree.
          if (extraWords > 1) expiry.set([extra[1] as number, extra[2] as number]);
          this.#tree.setHere(word0, word1, expiry, extraWords - 1);
        } else this.#tree.setHere(word0, word1, extra, extraWords);
        this.counts.enter(entry);
      }
    }
    this.#sweep?.pass(keyBytes, keyLength);
    this.#pass();
    return 'done';
  }

  /** Whether an entry of the memtable leaves nothing in the tree. */
  #leaves(entry: Entry): boolean {
    return isDeletion(entry) || isOverAt(entry, this.#momentMs);
  }

  /** MERGE-6. In the leaf to which the merge has come, but for the key itself. */
  #prune(): void {
    if (this.#momentMs === 0 || this.#tree.leafHere === this.#pruned) return;
    this.#tree.pruneHere(this.#isOver, this.#gone);
    this.#pruned = this.#tree.leafHere;
  }

  readonly #isOver = (entry: Entry): boolean => isOverAt(entry, this.#momentMs);

  readonly #gone = (key: Probe, entry: Entry): void => {
    this.counts.leave(entry);
    if (this.#addresses.bytes > 0) this.#addresses.gone(key, entry);
  };

  #pass(): void {
    this.#hasMore = this.#input.next();
    this.#taken++;
  }

  /** MERGE-4. */
  #relocate({ keyBytes, keyLength, old, new: moved, pieces }: RelocationCursor): void {
    const isThere = this.#tree.entryHere(this.#old);
    const isSame = isThere && this.#old.word0 === old.word0 && this.#old.word1 === old.word1;
    if (!isSame && this.#planted.uncomparedMoves !== true) return;
    if (isSame) this.#prune();
    if (isSame && isOverAt(this.#old, this.#momentMs)) {
      // MERGE-6. The copy is dead.
      this.counts.leave(this.#old);
      this.#addresses.changed(keyBytes, keyLength, this.#old, null);
      this.#tree.deleteHere();
      return;
    }
    if (isThere) this.#tree.setHere(moved.word0, moved.word1, this.#old.extra, this.#old.extraWords);
    else this.#tree.setHere(moved.word0, moved.word1);
    if (isThere && this.#planted.keptAddresses !== 'moved') {
      this.#addresses.changed(keyBytes, keyLength, this.#old, moved);
    }
    if (isThere) this.counts.move(this.#old, moved, pieces);
    else this.counts.enter(moved);
  }

  /** The planted defect. */
  #isSwallowed(key: Uint8Array, keyLength: number): boolean {
    return this.#planted.swallowedPuts === true && this.#memtable.ranges?.has(key, keyLength) === true;
  }

  /** MERGE-3. */
  #empty(): 'blocked' {
    this.#isToEmpty = false;
    this.#tree.clear();
    this.#addresses.clear();
    this.#segments.uncountAllRecords();
    this.#blocking = 'loads';
    return 'blocked';
  }

  /** The mapping of the checkpoint would name nodes that have left the tree in a subtree and are not freed yet. */
  #freeNodes(isLong: () => boolean): 'done' | 'more' {
    if (this.#memtable.ranges === null) return 'done';
    while (!this.#tree.memory.reclaimSome(RECLAIM_NODES)) if (isLong()) return 'more';
    return 'done';
  }

  /**
   * Settles when what blocks the merge is in memory.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  whenUnblocked(): Promise<void> {
    if (this.#blocking === 'loads') return this.#pager.loadsDone();
    if (this.#blocking === 'sweep' && this.#sweep !== null) return this.#sweep.whenUnblocked();
    return this.#scout.whenLoaded(this.#blockedOn, this.#taken);
  }

  end(): void {
    this.#scout.end();
    this.#sweep?.end();
  }
}
