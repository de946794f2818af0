/**
 * One transaction: it reads the store as it was when it began, with its own writes in front, and commits if nothing that it has
 * read was written meanwhile. So all that commit are as if they had run one after the other, in the order of their commits.
 *
 * ```
 *   begin ─► open ─┬─ commit ─► reads closed ─► judged, admitted ─► committed       (write/read-check.ts)
 *                  │                               └─ conflict, failure ─► nothing was written
 *                  └─ rollback, dispose ─► ended: nothing was written
 * ```
 *
 * TX-1. A read notes what it was asked for in the step of the call, before there is an answer: a key that does not exist, too. What its
 *     own writes answer is not noted.
 * TX-2. Nothing is read or written in it once it has begun to commit.
 * TX-3. It commits with one batch. One that has written nothing is not judged: what it has read is one moment of the store.
 */
import { AiokvError, nextTurn } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import { transactionEnded, transactionTooLarge } from '../failure/errors.ts';
import { encodeKey, encodeValue } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import type { CommitHistory, OpenTransaction } from '../index/commit-history.ts';
import type { ReadSet } from '../index/read-set.ts';
import type { Durability } from '../log/writer.ts';
import { encodeDeletion, encodeRange } from '../read/range.ts';
import type { KeyRange, RangeOptions } from '../read/range.ts';
import type { Snapshot } from '../read/snapshot.ts';
import { ReadCheck } from '../write/read-check.ts';
import { requireValueFits } from '../write/write-batch.ts';
import type { BatchLimits, WriteBatch } from '../write/write-batch.ts';
import type { OwnWrites } from './own-writes.ts';
import { TransactionIterator } from './transaction-iterator.ts';
import type { TransactionIteratorHost, TransactionRows } from './transaction-iterator.ts';

/** What a transaction needs from the store: see transactions.ts. */
export interface TransactionHost {
  readonly history: CommitHistory;
  readonly limits: BatchLimits;
  readonly budget: TurnBudget;
  /** Scratch for a key. Its content is valid within one step. */
  readonly key: Uint8Array;
  /** Admits its writes, if its reads hold. Throws or rejects, too, if the store is closed or not writable. */
  commit(batch: WriteBatch, level: Durability): Promise<void>;
  /** It has ended, in one way or the other. */
  ended(transaction: Transaction, reads: ReadSet, writes: OwnWrites): void;
}

const ENTRIES: TransactionRows<[key: Buffer, value: Buffer]> = { areKeys: false, rowOf: (key, value) => [key, value] };
const KEYS: TransactionRows<Buffer> = { areKeys: true, rowOf: (key) => key };
const VALUES: TransactionRows<Buffer> = { areKeys: false, rowOf: (_, value) => value };

/** What has become of it. */
export type Outcome = 'none' | 'committed' | 'conflict';

const DONE = Promise.resolve();

/**
 * A transaction: see `Store.begin` and `Store.transaction`. Its reads see what was in the store when it began, and what it
 * has written itself. Its writes are copied, and are seen by others when it has committed.
 */
export class Transaction implements AsyncDisposable, OpenTransaction, TransactionIteratorHost {
  /** @internal */
  readonly budget: TurnBudget;
  readonly #host: TransactionHost;
  readonly #snapshot: Snapshot;
  readonly #level: Durability;
  readonly #reads: ReadSet;
  readonly #writes: OwnWrites;
  readonly #iterators = new Set<TransactionIterator<unknown>>();
  #isOpen = true;
  #outcome: Outcome = 'none';

  /** @internal Use `Store.begin` or `Store.transaction`. */
  constructor(host: TransactionHost, snapshot: Snapshot, reads: ReadSet, writes: OwnWrites, level: Durability) {
    this.#host = host;
    this.budget = host.budget;
    this.#snapshot = snapshot;
    this.#reads = reads;
    this.#writes = writes;
    this.#level = level;
  }

  /** Sequence number of the latest write of others that it sees. */
  get sequence(): Sequence {
    return this.#snapshot.sequence as Sequence;
  }

  /** Whether it was neither committed nor rolled back. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** @internal */
  get outcome(): Outcome {
    return this.#outcome;
  }

  /**
   * As `Store.get`.
   *
   * @throws as it, and AiokvError ERR_AIOKV_TRANSACTION_ENDED, ERR_AIOKV_SNAPSHOT_ENDED; AiokvRangeError
   *   ERR_AIOKV_TRANSACTION_TOO_LARGE
   */
  get(key: Bytes): Promise<Buffer | undefined> {
    try {
      const own = this.#ownOf(key);
      return own === undefined ? this.#snapshot.get(key) : this.#settled(copyOf(own));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `Store.getSync`. Throws as `get`. */
  getSync(key: Bytes): Buffer | undefined {
    const own = this.#ownOf(key);
    return own === undefined ? this.#snapshot.getSync(key) : copyOf(own);
  }

  /** As `Store.has`. Throws as `get`. */
  has(key: Bytes): Promise<boolean> {
    try {
      const own = this.#ownOf(key);
      return own === undefined ? this.#snapshot.has(key) : this.#settled(own !== null);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `Store.getMany`. Throws as `get`. */
  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    try {
      this.#requireOpen();
      // Anything else is refused there.
      const own = Array.isArray(keys) ? (keys as readonly Bytes[]).map((key) => this.#ownOf(key)) : [];
      const isAllStored = own.every((value) => value === undefined);
      return isAllStored ? this.#snapshot.getMany(keys) : this.#getRest(keys, own);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #getRest(
    keys: readonly Bytes[],
    own: readonly (Uint8Array | null | undefined)[],
  ): Promise<(Buffer | undefined)[]> {
    const copies = own.map((value) => (value === undefined ? undefined : copyOf(value)));
    const stored = await this.#snapshot.getMany(keys.filter((_, i) => own[i] === undefined));
    let next = 0;
    return own.map((value, i) => (value === undefined ? stored[next++] : copies[i]));
  }

  /** As `Store.iterator`, with its own writes up to this call. Throws as it, and ERR_AIOKV_TRANSACTION_ENDED. */
  iterator(options?: Partial<RangeOptions>): TransactionIterator {
    return this.#iterate(options, ENTRIES);
  }

  /** As `Store.keys`. Otherwise as `iterator`: a value that was replaced is a conflict, too. */
  keys(options?: Partial<RangeOptions>): TransactionIterator<Buffer> {
    return this.#iterate(options, KEYS);
  }

  /** As `Store.values`. Otherwise as `iterator`. */
  values(options?: Partial<RangeOptions>): TransactionIterator<Buffer> {
    return this.#iterate(options, VALUES);
  }

  /**
   * Sets the value of a key when the transaction commits. Both are copied.
   *
   * @throws AiokvError ERR_AIOKV_TRANSACTION_ENDED; AiokvRangeError ERR_AIOKV_TRANSACTION_TOO_LARGE, ERR_AIOKV_KEY_TOO_LARGE,
   *   ERR_AIOKV_RECORD_TOO_LARGE; AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT
   */
  put(key: Bytes, value: Bytes): void {
    this.#requireOpen();
    const { limits, key: scratch } = this.#host;
    const bytes = encodeValue(value);
    requireValueFits(bytes, limits);
    const keyBytes = encodeKey(key, scratch);
    this.#writes.put(scratch, keyBytes, typeof value === 'string' ? bytes : Buffer.from(bytes), limits.batchBytes);
  }

  /** Removes a key when the transaction commits. Throws as `put`. */
  del(key: Bytes): void {
    this.#requireOpen();
    const { limits, key: scratch } = this.#host;
    this.#writes.delete(scratch, encodeKey(key, scratch), limits.batchBytes);
  }

  /** Removes all keys of a range when the transaction commits: see `Store.deleteRange`. Throws as `put`, and as `iterator` for a bad range. */
  deleteRange(range: Partial<KeyRange>): void {
    this.#requireOpen();
    const { from, to, isEmpty } = encodeDeletion('deleteRange', range);
    if (!isEmpty) this.#writes.deleteRange(from, to, this.#host.limits.batchBytes);
  }

  /**
   * Writes all or nothing, as one batch.
   *
   * @returns settles when the batch is as safe as `durability` says
   * @throws AiokvError ERR_AIOKV_CONFLICT if others have written what it has read; ERR_AIOKV_TRANSACTION_ENDED; as `Store.batch`
   */
  commit(): Promise<void> {
    if (!this.#isOpen) return Promise.reject(transactionEnded());
    try {
      this.#closeReads();
      if (!this.#writes.isEmpty) {
        // One promise more, where an async function for each step would make four.
        return this.#host.commit(this.#batch(), this.#level).then(this.#onCommitted, this.#onRefused);
      }
      this.#onCommitted();
      return DONE;
    } catch (error) {
      this.#noteRefusal(error);
      return Promise.reject(error);
    }
  }

  #batch(): WriteBatch {
    const { history, limits } = this.#host;
    const batch = this.#writes.batch(limits);
    // What nobody will judge need not be noted, its own writes neither.
    if (this.#reads.isEmpty) history.end(this);
    else batch.reads = new ReadCheck(history, this.#reads, this);
    return batch;
  }

  readonly #onCommitted = (): void => {
    this.#outcome = 'committed';
    this.#end();
  };

  readonly #onRefused = (error: unknown): never => {
    this.#noteRefusal(error);
    throw error;
  };

  #noteRefusal(error: unknown): void {
    if (error instanceof AiokvError && error.code === 'ERR_AIOKV_CONFLICT') this.#outcome = 'conflict';
    this.#end();
  }

  /** Ends it: nothing is written. Does nothing if it has ended, or is being committed. */
  rollback(): void {
    if (!this.#isOpen) return;
    this.#closeReads();
    this.#end();
  }

  /** As `rollback`. */
  [Symbol.asyncDispose](): Promise<void> {
    this.rollback();
    return DONE;
  }

  /** @internal */
  iterated(iterator: TransactionIterator<unknown>): void {
    if (this.#iterators.delete(iterator)) this.#noteRange(iterator);
  }

  /** Answers that are there run on as microtasks, and would starve timers and I/O. */
  #settled<T>(answer: T): Promise<T> {
    return this.budget.isSpent() ? nextTurn().then(() => answer) : Promise.resolve(answer);
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw transactionEnded();
  }

  /** TX-1. What it has written itself for this key, as `OwnWrites.find`. */
  #ownOf(key: Bytes): Uint8Array | null | undefined {
    this.#requireOpen();
    const { key: scratch } = this.#host;
    const keyBytes = encodeKey(key, scratch);
    const own = this.#writes.find(scratch, keyBytes);
    if (own === undefined) {
      this.#requireRoom();
      this.#reads.addKey(scratch, keyBytes);
    }
    return own;
  }

  #requireRoom(): void {
    const { batchBytes } = this.#host.limits;
    if (this.#reads.bytes >= batchBytes) throw transactionTooLarge('reads', batchBytes);
  }

  #iterate<Row>(options: Partial<RangeOptions> | undefined, rows: TransactionRows<Row>): TransactionIterator<Row> {
    this.#requireOpen();
    this.#requireRoom();
    const range = encodeRange(options);
    const view = this.#writes.isEmpty ? null : this.#writes.view();
    try {
      // Own deletions hide rows, so that more of them may be needed.
      const limit = view === null || view.hidesNothing ? range.limit : Infinity;
      const stored = { ...options, limit, stayOpen: false };
      const base = rows.areKeys ? this.#snapshot.keys(stored) : this.#snapshot.iterator(stored);
      const iterator = new TransactionIterator(this, base, rows, range, view);
      this.#iterators.add(iterator);
      return iterator;
    } catch (error) {
      view?.release();
      throw error;
    }
  }

  /** TXITER-1. */
  #noteRange(iterator: TransactionIterator<unknown>): void {
    const { read } = iterator;
    if (read !== null) this.#reads.addRange(read.from, read.to);
  }

  /** TX-2. */
  #closeReads(): void {
    this.#isOpen = false;
    // Each call deletes its iterator from the set; that is allowed during the walk.
    for (const iterator of this.#iterators) iterator.close(transactionEnded());
    this.#snapshot.release();
  }

  #end(): void {
    this.#host.ended(this, this.#reads, this.#writes);
  }
}

function copyOf(own: Uint8Array | null): Buffer | undefined {
  return own === null ? undefined : Buffer.from(own);
}
