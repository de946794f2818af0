/**
 * The newest writes of the index, by key, each with its sequence: a tree of entries that is merged into the tree of the
 * index later, and the ranges that were deleted (deleted-ranges.ts). It knows neither pages nor when it is merged.
 *
 * ```
 *   a record      word 0 │ word 1 │ sequence - after : 32 │ expiry     the third word stays behind when the entry is merged
 *   others        word 0 │ word 1 │ value … │ expiry                  the first two hold the sequence (format/index-entry.ts)
 * ```
 *
 * MEMTABLE-1. All sequences here are above `after`.
 * MEMTABLE-2. A range that is added removes the entries that it deletes, unless somebody reads the memtable. Those that
 *     stay are older than the range, which overrules them; all others are newer than the ranges that reach over their keys.
 * MEMTABLE-3. A reader at a sequence sees the memtable as the writes up to there have left it, however it is changed: with
 *     entries up to that sequence. One that a newer entry has replaced is in the history. It is kept for as long as
 *     anybody reads.
 * MEMTABLE-4. What is kept for readers counts as bytes of the memtable. So it is full the sooner, and is merged.
 * MEMTABLE-5. Only of one that is dropped, and so does not change any more, may leaves leave memory (checkpoint/old-pages.ts).
 *
 * Without readers nothing is kept, and a write does not look at what it replaces.
 */
import { assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import {
  EXPIRY_WORDS,
  INLINE_BYTES_MAX,
  deletionHighWordOf,
  highWordOf,
  inlineHighWordOf,
  isDeletion,
  isRecord,
  lowWordOf,
  packExpiry,
  packInline,
  sequenceLowWordOf,
  sequenceOfWords,
} from '../format/index-entry.ts';
import { Entry, FOUND, LeafRange, MISSING, NO_WORDS, Tree } from '../tree/index.ts';
import type { Cursor, Lookup, NodeMemory } from '../tree/index.ts';
import { DeletedRanges } from './deleted-ranges.ts';
import { MemtableHistory } from './memtable-history.ts';

/** The sequences of a memtable span no more than 32 bits. It is spent early, so that any batch still fits. */
const SPAN_MOST = 2 ** 32 - 1;
const SPAN_SPENT = 2 ** 31;

/** What a memtable says of a key that it does not have, and that none of its ranges deletes: older layers decide. */
export const OLDER = -2;
export type MemtableLookup = typeof FOUND | typeof MISSING | typeof OLDER;

/** Scratch for the extra words of a record, and of an inline value. Valid within one step. */
const relative = new Uint32Array(1 + EXPIRY_WORDS);
const packed = new Uint32Array(INLINE_BYTES_MAX / 4 + EXPIRY_WORDS);
/** Scratch for an entry that is replaced. */
const replaced = new Entry();

/** The age of ranges that overrule no entry: see deleted-ranges.ts. */
const AGELESS = 1;

export class Memtable {
  readonly after: Sequence;
  readonly #tree: Tree;
  /** Null until the first one. */
  #ranges: DeletedRanges | null = null;
  #last: number;
  /** MEMTABLE-3. How many read the memtable, and the highest sequence at which one does, or more than that. */
  #readers = 0;
  #readThrough = 0;
  #history: MemtableHistory | null = null;
  /** MEMTABLE-2. Whether entries may have stayed that a range overrules. */
  #hasOverruled = false;
  #isDropped = false;
  /** MEMTABLE-5. Bytes of leaves that are pages as others are. */
  #savedBytes = 0;
  /** Counts the changes of the entries, for those who walk over them. */
  #revision = 0;

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

  /** MEMTABLE-4. Bytes of its nodes, without those that may leave memory. */
  get bytes(): number {
    return this.#tree.bytes + (this.#ranges?.bytes ?? 0) + (this.#history?.bytes ?? 0) - this.#savedBytes;
  }

  /** MEMTABLE-5. The leaves that take memory for its readers only. */
  get leaves(): readonly number[] {
    assert(this.#isDropped, 'MEMTABLE-5');
    if (this.#savedBytes > 0) return [];
    return [...this.#tree.leavesBelowRoot(), ...(this.#history?.leaves ?? [])];
  }

  /** MEMTABLE-5. These of the `leaves` may leave memory from now on. */
  saved(leavesBytes: number): void {
    assert(this.isRead && leavesBytes > 0, 'leaves are saved for readers');
    this.#savedBytes = leavesBytes;
  }

  /** The ranges that it deletes, or null. */
  get ranges(): DeletedRanges | null {
    return this.#ranges;
  }

  /** What was replaced, for its readers, or null. */
  get history(): MemtableHistory | null {
    return this.#history;
  }

  /** It changes with the entries. */
  get revision(): number {
    return this.#revision;
  }

  /** Whether somebody reads it. */
  get isRead(): boolean {
    return this.#readers > 0;
  }

  /** Whether only its readers need it. */
  get isDropped(): boolean {
    return this.#isDropped;
  }

  /** Whether it has few sequences left, so that it must be merged however small it is. */
  get isSpent(): boolean {
    return this.#last - this.after >= SPAN_SPENT;
  }

  /**
   * @param lengthWord see `lengthWordOf`
   * @param expiresAtMs 0: never
   */
  putRecord(
    key: Uint8Array,
    keyBytes: number,
    fileOffset: number,
    lengthWord: number,
    sequence: number,
    expiresAtMs = 0,
  ): void {
    this.#note(sequence);
    relative[0] = sequence - this.after;
    const words = packExpiry(expiresAtMs, relative, 1);
    this.#set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset, lengthWord), relative, words, sequence);
  }

  /** Takes a tiny value, the `valueBytes` bytes of `source` at `at`. */
  putInline(
    key: Uint8Array,
    keyBytes: number,
    source: Uint8Array,
    at: number,
    valueBytes: number,
    sequence: number,
    expiresAtMs = 0,
  ): void {
    this.#note(sequence);
    const words = packExpiry(expiresAtMs, packed, packInline(source, at, valueBytes, packed));
    const word1 = inlineHighWordOf(sequence, valueBytes, expiresAtMs);
    this.#set(key, keyBytes, sequenceLowWordOf(sequence), word1, packed, words, sequence);
  }

  delete(key: Uint8Array, keyBytes: number, sequence: number): void {
    this.#note(sequence);
    this.#set(key, keyBytes, sequenceLowWordOf(sequence), deletionHighWordOf(sequence), NO_WORDS, 0, sequence);
  }

  /**
   * Deletes the keys from `from` on that are below `to`, here and in older layers.
   *
   * @param to null: to the last key
   */
  deleteRange(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number, sequence: number): void {
    this.#note(sequence);
    this.#revision++;
    // MEMTABLE-2.
    if (this.#readers === 0) this.#tree.deleteRange(from, fromBytes, to, toBytes);
    else this.#hasOverruled = true;
    this.#ranges ??= new DeletedRanges(this.#tree.memory);
    this.#ranges.add(from, fromBytes, to, toBytes, this.#readers === 0 ? AGELESS : sequence - this.after);
  }

  /** Takes an entry of another memtable, with the sequence that it has there. The entry is not that of `from` any more. */
  take(key: Uint8Array, keyBytes: number, entry: Entry, from: Memtable): void {
    const sequence = from.sequenceOf(entry);
    this.#note(sequence);
    const { word0, word1, extra, extraWords } = entry;
    if (isRecord(entry)) extra[0] = sequence - this.after;
    this.#set(key, keyBytes, word0, word1, extra, extraWords, sequence);
  }

  /** What it says of the key. `FOUND`: `into` has the entry of the record; `MISSING`: the key is deleted. */
  find(key: Uint8Array, keyBytes: number, into: Entry): MemtableLookup {
    if (this.#tree.get(key, keyBytes, into) === FOUND && !this.isOverruled(key, keyBytes, into)) {
      return isDeletion(into) ? MISSING : FOUND;
    }
    return this.#ranges !== null && this.#ranges.has(key, keyBytes) ? MISSING : OLDER;
  }

  /** MEMTABLE-2. Whether an entry that it has for this key is older than a range that deletes the key. */
  isOverruled(key: Uint8Array, keyBytes: number, entry: Entry): boolean {
    return this.#hasOverruled && (this.#ranges as DeletedRanges).ageAt(key, keyBytes) > this.ageOf(entry);
  }

  /** The sequence of an entry of this memtable. */
  sequenceOf(entry: Entry): number {
    return this.after + this.ageOf(entry);
  }

  /** The sequence of an entry behind `after`. */
  ageOf(entry: Entry): number {
    return isRecord(entry) ? (entry.extra[0] as number) : sequenceOfWords(entry) - this.after;
  }

  /** Copies the entry that it has for this key to `into`, be it overruled. MEMTABLE-5: its leaf may be absent. */
  entryOf(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    return this.#tree.get(key, keyBytes, into);
  }

  /** A cursor over all entries as they are: see `Tree.cursor`. */
  cursor(): Cursor {
    return this.#tree.cursor();
  }

  /** Its leaves in a range, for this step. */
  leavesOf(from: Uint8Array, to: Uint8Array | null): LeafRange {
    return new LeafRange(this.#tree.memory, this.#tree.root, from, to);
  }

  /** MEMTABLE-3. Somebody reads it from now on, until `endRead`. */
  beginRead(sequence: Sequence): void {
    assert(!this.#isDropped, 'a memtable is read before it is dropped');
    this.#readers++;
    if (sequence > this.#readThrough) this.#readThrough = sequence;
  }

  endRead(): void {
    assert(this.#readers > 0, 'a reader ends once');
    if (--this.#readers > 0) return;
    this.#readThrough = 0;
    this.#history?.clear();
    this.#history = null;
    if (this.#isDropped) this.#clear();
  }

  /** Nobody will write to it or begin to read it. It is emptied, when nobody reads it any more. */
  drop(): void {
    this.#isDropped = true;
    if (this.#readers === 0) this.#clear();
  }

  #clear(): void {
    this.#tree.clear();
    this.#ranges?.clear();
    this.#ranges = null;
    this.#hasOverruled = false;
    this.#savedBytes = 0;
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    this.#tree.verify(reachable);
    this.#ranges?.verify(reachable);
    this.#history?.verify(reachable);
  }

  #set(
    key: Uint8Array,
    keyBytes: number,
    word0: number,
    word1: number,
    extra: Uint32Array,
    extraWords: number,
    sequence: number,
  ): void {
    this.#tree.goTo(key, keyBytes);
    if (this.#readers > 0) this.#keepReplaced(key, keyBytes, sequence);
    this.#revision++;
    this.#tree.setHere(word0, word1, extra, extraWords);
  }

  /** MEMTABLE-3. Keeps the entry to which the tree has gone, if there is one that a reader may see. */
  #keepReplaced(key: Uint8Array, keyBytes: number, sequence: number): void {
    if (!this.#tree.entryHere(replaced) || this.sequenceOf(replaced) > this.#readThrough) return;
    this.#history ??= new MemtableHistory(this.#tree.memory);
    this.#history.add(key, keyBytes, sequence - this.after, replaced);
  }

  #note(sequence: number): void {
    assert(sequence > this.after && sequence - this.after <= SPAN_MOST, 'MEMTABLE-1: a memtable spans 32 bits');
    if (sequence > this.#last) this.#last = sequence;
  }
}
