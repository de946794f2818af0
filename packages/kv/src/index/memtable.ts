/**
 * The newest writes of the index, by key, each with its sequence: a tree of entries that is merged into the tree of the
 * index later, and the ranges that were deleted (deleted-ranges.ts). It knows neither pages nor when it is merged.
 *
 * ```
 *   a record      word 0 │ word 1 │ sequence - after : 32       the last word stays behind when the entry is merged
 *   others        word 0 │ word 1 │ value …                     the first two hold the sequence (format/index-entry.ts)
 * ```
 *
 * MEMTABLE-1. All sequences here are above `after`.
 * MEMTABLE-2. An entry is newer than all ranges here that reach over its key: a range that is added removes the entries
 *     that it deletes.
 */
import { assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import {
  INLINE_BYTES_MAX,
  deletionHighWordOf,
  highWordOf,
  inlineHighWordOf,
  isDeletion,
  isRecord,
  lowWordOf,
  packInline,
  sequenceLowWordOf,
  sequenceOfWords,
} from '../format/index-entry.ts';
import { FOUND, MISSING, Tree } from '../tree/index.ts';
import type { Entry, NodeMemory, TreeSnapshot } from '../tree/index.ts';
import { DeletedRanges, isDeleted } from './deleted-ranges.ts';

/** The sequences of a memtable span no more than 32 bits. It is spent early, so that any batch still fits. */
const SPAN_MOST = 2 ** 32 - 1;
const SPAN_SPENT = 2 ** 31;

/** What a memtable says of a key that it does not have, and that none of its ranges deletes: older layers decide. */
export const OLDER = -2;
export type MemtableLookup = typeof FOUND | typeof MISSING | typeof OLDER;

/** Scratch for the extra words of a record, and of an inline value. Valid within one step. */
const relative = new Uint32Array(1);
const packed = new Uint32Array(INLINE_BYTES_MAX / 4);

/** A memtable at one moment. The owner must release it. */
export class MemtableSnapshot {
  readonly keys: TreeSnapshot;
  /** The ranges that it deletes, for `RangeCursor`, or null. */
  readonly ranges: TreeSnapshot | null;
  readonly deletesAll: boolean;

  constructor(keys: TreeSnapshot, ranges: TreeSnapshot | null, deletesAll: boolean) {
    this.keys = keys;
    this.ranges = ranges;
    this.deletesAll = deletesAll;
  }

  /** As `Memtable.find`. */
  find(key: Uint8Array, keyBytes: number, into: Entry): MemtableLookup {
    if (this.keys.get(key, keyBytes, into) === FOUND) return isDeletion(into) ? MISSING : FOUND;
    return this.ranges !== null && isDeleted(this.ranges, key, keyBytes) ? MISSING : OLDER;
  }

  release(): void {
    this.keys.release();
    this.ranges?.release();
  }
}

export class Memtable {
  readonly after: Sequence;
  readonly #tree: Tree;
  /** Null until the first one. */
  #ranges: DeletedRanges | null = null;
  #last: number;

  /** @param after the last sequence before it */
  constructor(memory: NodeMemory, after: Sequence) {
    this.#tree = new Tree(memory);
    this.after = after;
    this.#last = after;
  }

  /** Number of keys, or more than that: see `Tree.isCounted`. */
  get size(): number {
    return this.#tree.size;
  }

  /** Whether it says nothing of any key. */
  get isEmpty(): boolean {
    return this.#tree.size === 0 && this.#ranges === null;
  }

  /** Whether it deletes everything that is older. */
  get deletesAll(): boolean {
    return this.#ranges?.areAll ?? false;
  }

  /** Bytes of its nodes. */
  get bytes(): number {
    return this.#tree.bytes + (this.#ranges?.bytes ?? 0);
  }

  /** Whether it has few sequences left, so that it must be merged however small it is. */
  get isSpent(): boolean {
    return this.#last - this.after >= SPAN_SPENT;
  }

  /** @param lengthWord see `lengthWordOf` */
  putRecord(key: Uint8Array, keyBytes: number, fileOffset: number, lengthWord: number, sequence: number): void {
    this.#note(sequence);
    this.#set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset, lengthWord), sequence);
  }

  /** Takes a tiny value, the `valueBytes` bytes of `source` at `at`. */
  putInline(
    key: Uint8Array,
    keyBytes: number,
    source: Uint8Array,
    at: number,
    valueBytes: number,
    sequence: number,
  ): void {
    this.#note(sequence);
    const words = packInline(source, at, valueBytes, packed);
    const word1 = inlineHighWordOf(sequence, valueBytes);
    this.#tree.set(key, keyBytes, sequenceLowWordOf(sequence), word1, packed, words);
  }

  delete(key: Uint8Array, keyBytes: number, sequence: number): void {
    this.#note(sequence);
    this.#tree.set(key, keyBytes, sequenceLowWordOf(sequence), deletionHighWordOf(sequence));
  }

  /**
   * Deletes the keys from `from` on that are below `to`, here and in older layers.
   *
   * @param to null: to the last key
   */
  deleteRange(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number, sequence: number): void {
    this.#note(sequence);
    // MEMTABLE-2.
    this.#tree.deleteRange(from, fromBytes, to, toBytes);
    this.#ranges ??= new DeletedRanges(this.#tree.memory);
    this.#ranges.add(from, fromBytes, to, toBytes);
  }

  /** Takes an entry of another memtable, with the sequence that it has there. */
  take(key: Uint8Array, keyBytes: number, entry: Entry, from: Memtable): void {
    const sequence = from.sequenceOf(entry);
    this.#note(sequence);
    const { word0, word1, extra, extraWords } = entry;
    if (isRecord(entry)) this.#set(key, keyBytes, word0, word1, sequence);
    else this.#tree.set(key, keyBytes, word0, word1, extra, extraWords);
  }

  /** What it says of the key. `FOUND`: `into` has the entry of the record; `MISSING`: the key is deleted. */
  find(key: Uint8Array, keyBytes: number, into: Entry): MemtableLookup {
    if (this.#tree.get(key, keyBytes, into) === FOUND) return isDeletion(into) ? MISSING : FOUND;
    return this.#ranges !== null && this.#ranges.has(key, keyBytes) ? MISSING : OLDER;
  }

  /** The sequence of an entry of this memtable, or of a snapshot of it. */
  sequenceOf(entry: Entry): number {
    return isRecord(entry) ? this.after + (entry.extra[0] as number) : sequenceOfWords(entry);
  }

  /** As it is now. The owner must release it. */
  snapshot(): MemtableSnapshot {
    return new MemtableSnapshot(this.#tree.snapshot(), this.#ranges?.snapshot() ?? null, this.deletesAll);
  }

  /** Deletes all entries and forgets all ranges at once; see `Tree.clear`. */
  clear(): void {
    this.#tree.clear();
    this.#ranges?.clear();
    this.#ranges = null;
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    this.#tree.verify(reachable);
    this.#ranges?.verify(reachable);
  }

  #set(key: Uint8Array, keyBytes: number, word0: number, word1: number, sequence: number): void {
    relative[0] = sequence - this.after;
    this.#tree.set(key, keyBytes, word0, word1, relative, 1);
  }

  #note(sequence: number): void {
    assert(sequence > this.after && sequence - this.after <= SPAN_MOST, 'MEMTABLE-1: a memtable spans 32 bits');
    if (sequence > this.#last) this.#last = sequence;
  }
}
