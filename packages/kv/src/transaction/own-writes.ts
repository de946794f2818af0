/**
 * What a transaction has written and nobody else sees: the last write of each key, and the ranges that it deletes. It copies what
 * it is given, and knows nothing of what is in the store.
 *
 * ```
 *   keys      ──b 0───d 2†──────q 1──►          a number leads to the operation      († a deletion)
 *   ranges    ─────────[f ══ k)──────►          what the store has here is hidden; a key that was put after that is in `keys`
 *   operations     0 put b │ 1 put q │ 2 del d │ 3 deleteRange f, k
 * ```
 *
 * OWN-1. A key in `keys` is newer than all ranges: one that is added removes the keys that it covers.
 * OWN-2. A view sees the writes as they were when it was made. While there is one, the numbers that it may know are not used again.
 */
import { transactionTooLarge } from '../failure/errors.ts';
import { compareKeys } from '../format/keys.ts';
import { RecordKind, paddedRecordBytes } from '../format/record.ts';
import { DeletedRanges, RangeCursor } from '../index/deleted-ranges.ts';
import { Entry, FOUND, Tree } from '../tree/index.ts';
import type { Cursor, NodeMemory, TreeSnapshot } from '../tree/index.ts';
import { NO_VALUE, WriteBatch } from '../write/write-batch.ts';
import type { BatchLimits } from '../write/write-batch.ts';

interface Operation {
  /** Operations are written in this order. */
  readonly order: number;
  readonly kind: RecordKind;
  readonly key: Uint8Array;
  /** Of a range: its upper bound, or none. */
  readonly value: Uint8Array;
}

/** DeletedRanges keeps ages; here all are alike. */
const AGELESS = 1;

/** Scratch for an entry. Valid within one step. */
const entry = new Entry();

export class OwnWrites {
  readonly #keys: Tree;
  /** Null until the first one. */
  #ranges: DeletedRanges | null = null;
  #operations: (Operation | null)[] = [];
  readonly #free: number[] = [];
  /** OWN-2. Numbers that are free when the last view has ended. */
  readonly #replaced: number[] = [];
  #views = 0;
  #written = 0;
  #recordBytes = 0;

  constructor(memory: NodeMemory) {
    this.#keys = new Tree(memory);
  }

  get isEmpty(): boolean {
    return this.#written === 0;
  }

  /** Memory of the keys. The operations take more. */
  get bytes(): number {
    return this.#keys.bytes + (this.#ranges?.bytes ?? 0);
  }

  put(key: Uint8Array, keyBytes: number, value: Uint8Array, mostBytes: number): void {
    this.#set(RecordKind.put, key, keyBytes, value, mostBytes);
  }

  delete(key: Uint8Array, keyBytes: number, mostBytes: number): void {
    this.#set(RecordKind.del, key, keyBytes, NO_VALUE, mostBytes);
  }

  /** `from` is below `to`; null: to the last key. */
  deleteRange(from: Uint8Array, to: Uint8Array | null, mostBytes: number): void {
    const value = to ?? NO_VALUE;
    this.#requireRoom(from.length, value.length, mostBytes);
    const covered: number[] = [];
    const cursor = this.#keys.cursor();
    cursor.seek(from, from.length, '>=');
    for (; cursor.valid; cursor.next()) {
      if (to !== null && compareKeys(cursor.keyBytes, cursor.keyLength, to, to.length) >= 0) break;
      covered.push(cursor.entry.word0);
    }
    for (const number of covered) this.#letGo(number);
    this.#keys.deleteRange(from, from.length, to, to?.length ?? 0);
    this.#ranges ??= new DeletedRanges(this.#keys.memory);
    this.#ranges.add(from, from.length, to, to?.length ?? 0, AGELESS);
    this.#add(RecordKind.deleteRange, from, value);
  }

  /** The value that was put; null: the key was deleted; undefined: the store has the answer. */
  find(key: Uint8Array, keyBytes: number): Uint8Array | null | undefined {
    if (this.#written === 0) return undefined;
    if (this.#keys.get(key, keyBytes, entry) === FOUND) return this.valueOf(entry.word0);
    return this.#ranges?.has(key, keyBytes) === true ? null : undefined;
  }

  /** OWN-2. The owner must release it. */
  view(): OwnView {
    this.#views++;
    return new OwnView(this, this.#keys.snapshot(), this.#ranges?.snapshot() ?? null);
  }

  /** @internal Of a view: the value of the operation with this number; null: it deletes. */
  valueOf(number: number): Uint8Array | null {
    const { kind, value } = this.#operations[number] as Operation;
    return kind === RecordKind.put ? value : null;
  }

  /** @internal A view has ended. */
  viewEnded(): void {
    this.#views--;
    if (this.#views > 0) return;
    for (const number of this.#replaced) this.#dispose(number);
    this.#replaced.length = 0;
  }

  /** All operations, in an order that has the effect of that in which they were called. No view may be used any more. */
  batch(limits: BatchLimits): WriteBatch {
    for (const number of this.#replaced) this.#dispose(number);
    this.#replaced.length = 0;
    const batch = new WriteBatch(limits);
    const operations = this.#operations.filter((operation) => operation !== null);
    // Without ranges the order does not matter: each key is there once.
    if (this.#ranges !== null) operations.sort((a, b) => a.order - b.order);
    for (const { kind, key, value } of operations) batch.add(kind, key, key.length, value);
    return batch;
  }

  clear(): void {
    this.#keys.clear();
    this.#ranges?.clear();
    this.#ranges = null;
    this.#operations = [];
    this.#free.length = 0;
    this.#replaced.length = 0;
    this.#written = 0;
    this.#recordBytes = 0;
  }

  #set(kind: RecordKind, key: Uint8Array, keyBytes: number, value: Uint8Array, mostBytes: number): void {
    this.#requireRoom(keyBytes, value.length, mostBytes);
    this.#keys.goTo(key, keyBytes);
    if (this.#keys.entryHere(entry)) this.#letGo(entry.word0);
    const number = this.#add(kind, key.slice(0, keyBytes), value);
    this.#keys.setHere(number, 0);
  }

  /** STORE-1. Nothing has changed if it throws. One write alone is limited as a write of the store is. */
  #requireRoom(keyBytes: number, valueBytes: number, mostBytes: number): void {
    const bytes = this.#recordBytes + paddedRecordBytes(keyBytes, valueBytes);
    if (bytes > mostBytes && this.#recordBytes > 0) throw transactionTooLarge('writes', mostBytes);
  }

  #add(kind: RecordKind, key: Uint8Array, value: Uint8Array): number {
    const operation: Operation = { order: this.#written++, kind, key, value };
    const number = this.#free.pop() ?? this.#operations.length;
    this.#operations[number] = operation;
    this.#recordBytes += paddedRecordBytes(key.length, value.length);
    return number;
  }

  #letGo(number: number): void {
    if (this.#views > 0) this.#replaced.push(number);
    else this.#dispose(number);
  }

  #dispose(number: number): void {
    const { key, value } = this.#operations[number] as Operation;
    this.#recordBytes -= paddedRecordBytes(key.length, value.length);
    this.#operations[number] = null;
    this.#free.push(number);
  }
}

/** The writes of a transaction as they were, for an iterator. */
export class OwnView {
  readonly #writes: OwnWrites;
  readonly #keys: TreeSnapshot;
  readonly #ranges: TreeSnapshot | null;
  #rangeCursor: RangeCursor | null = null;
  /** At the next own key, put or deleted. */
  readonly cursor: Cursor;

  constructor(writes: OwnWrites, keys: TreeSnapshot, ranges: TreeSnapshot | null) {
    this.#writes = writes;
    this.#keys = keys;
    this.#ranges = ranges;
    this.cursor = keys.cursor();
  }

  /** Whether it hides no key of the store. */
  get hidesNothing(): boolean {
    return this.#ranges === null && this.#keys.size === 0;
  }

  /** The value at the cursor; null: a deletion. */
  get value(): Uint8Array | null {
    return this.#writes.valueOf(this.cursor.entry.word0);
  }

  /** Whether a range hides what the store has of this key. */
  isDeleted(key: Uint8Array): boolean {
    if (this.#ranges === null) return false;
    const ranges = (this.#rangeCursor ??= new RangeCursor(this.#ranges));
    ranges.seek(key, key.length);
    return ranges.isDeleted;
  }

  release(): void {
    this.#keys.release();
    this.#ranges?.release();
    this.#writes.viewEnded();
  }
}
