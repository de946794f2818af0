/**
 * Walks over a range as a transaction sees it: what was in the store when it began, with its own writes up to the call in front.
 * It notes how far the caller has come, which is what the commit has to judge.
 *
 * ```
 *   store         ─a──b──────d───────g──►       a range of the store's iterator
 *   own writes    ────b'─c──────[ f ══ h)►      a view (own-writes.ts)
 *   returned       a  b' c   d                  read so far: from the lower bound up to d
 * ```
 *
 * TXITER-1. What was read is the part of the range up to the last row that was returned, or all of it at the end. A row that was read
 *     ahead and not returned does not count.
 * TXITER-2. When the transaction ends before it, every `next` fails with ERR_AIOKV_TRANSACTION_ENDED: half a range must not be taken for
 *     the whole.
 */
import { AiokvTypeError, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { compareKeys, successorOf } from '../format/keys.ts';
import type { StoreIterator } from '../read/iterator.ts';
import type { EncodedRange } from '../read/range.ts';
import type { OwnView } from './own-writes.ts';

/** What an iterator needs of its transaction. */
export interface TransactionIteratorHost {
  readonly budget: TurnBudget;
  /** It has ended, and has read this part of its range. */
  iterated(iterator: TransactionIterator<unknown>): void;
}

/** Between a row of the store's iterator and one that is returned. */
export interface TransactionRows<Row> {
  /** Whether the rows of the store are keys, not entries. */
  readonly areKeys: boolean;
  rowOf(key: Buffer, value: Buffer): Row;
}

/** A row of the store. */
type StoreRow = Buffer | [key: Buffer, value: Buffer];

/** Own keys and hidden rows that are passed between two questions about the time. */
const LOOKS_PER_QUESTION = 64;
const NO_BYTES = Buffer.alloc(0);

/** The entries of a range as `[key, value]`, or its keys or values, as a transaction sees them: see `Store.iterator`. */
export class TransactionIterator<Row = [key: Buffer, value: Buffer]>
  implements AsyncIterableIterator<Row>, AsyncDisposable
{
  readonly #host: TransactionIteratorHost;
  readonly #base: StoreIterator<StoreRow>;
  readonly #rows: TransactionRows<Row>;
  readonly #range: EncodedRange;
  #view: OwnView | null;
  /** Rows of the store that are not returned yet, from `#head` on. */
  #ahead: StoreRow[] = [];
  #head = 0;
  #isBaseOver = false;
  #taken = 0;
  /** The last key that was returned. */
  #last: Uint8Array = new Uint8Array(64);
  #lastBytes = -1;
  #isThrough = false;
  #isOver = false;
  #refusal: Error | null = null;
  /** Calls are answered in order. Never rejects. */
  #calls: Promise<unknown> = Promise.resolve();

  /** @internal Use `Transaction.iterator`. @param view null: there are no own writes */
  constructor(
    host: TransactionIteratorHost,
    base: StoreIterator<StoreRow>,
    rows: TransactionRows<Row>,
    range: EncodedRange,
    view: OwnView | null,
  ) {
    this.#host = host;
    this.#base = base;
    this.#rows = rows;
    this.#range = range;
    this.#view = view;
    const { from, to, reverse } = range;
    if (view === null) return;
    if (!reverse) view.cursor.seek(from, from.length, '>=');
    else if (to === null) view.cursor.last();
    else view.cursor.seek(to, to.length, '<');
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** As `next` of the store's iterator. */
  async next(): Promise<IteratorResult<Row>> {
    const rows = await this.#inOrder(1);
    return rows.length === 0 ? { done: true, value: undefined } : { done: false, value: rows[0] as Row };
  }

  /** As `nextMany` of the store's iterator. */
  nextMany(count: number): Promise<Row[]> {
    if (!Number.isSafeInteger(count) || count < 1) {
      const problem = `nextMany takes a whole number from 1, not ${String(count)}`;
      return Promise.reject(new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', problem));
    }
    return this.#inOrder(count);
  }

  /** Ends the iterator. Settles when none of its reads is in flight. */
  async return(value?: unknown): Promise<IteratorResult<Row>> {
    this.#finish();
    await this.#base.return();
    return { done: true, value: await value };
  }

  /** Ends the iterator and rejects with `error`. */
  async throw(error?: unknown): Promise<IteratorResult<Row>> {
    await this.return();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** @internal TXITER-1. The part of the range that was read, if any. */
  get read(): { readonly from: Uint8Array; readonly to: Uint8Array | null } | null {
    const { from, to, reverse, isEmpty } = this.#range;
    if (isEmpty || (this.#lastBytes < 0 && !this.#isThrough)) return null;
    if (this.#isThrough) return { from, to };
    const last = this.#last.slice(0, this.#lastBytes);
    return reverse ? { from: last, to } : { from, to: successorOf(last) };
  }

  /** @internal TXITER-2. */
  close(error: Error): void {
    if (this.#isOver) return;
    this.#refusal = error;
    this.#finish();
    // What it answers to a pending call is not returned any more.
    void this.#base.return();
  }

  #inOrder(most: number): Promise<Row[]> {
    const rows = this.#calls.then(() => this.#collect(most));
    this.#calls = rows.then(
      () => undefined,
      () => undefined,
    );
    return rows;
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#view?.release();
    this.#view = null;
    this.#ahead = [];
    this.#host.iterated(this);
  }

  async #collect(wanted: number): Promise<Row[]> {
    const rows: Row[] = [];
    let looks = 0;
    while (!this.#isOver && rows.length < wanted && this.#taken < this.#range.limit) {
      if (this.#head === this.#ahead.length && !this.#isBaseOver) {
        if (rows.length > 0) break;
        await this.#readAhead(wanted);
      } else if (++looks % LOOKS_PER_QUESTION === 0 && this.#host.budget.isSpent(LOOKS_PER_QUESTION)) await nextTurn();
      else if (!this.#step(rows)) {
        this.#isThrough = true;
        this.#finish();
      }
    }
    if (this.#refusal !== null) throw this.#refusal;
    if (this.#taken >= this.#range.limit && rows.length === 0) await this.return();
    return rows;
  }

  async #readAhead(wanted: number): Promise<void> {
    try {
      if (wanted > 1) this.#ahead = await this.#base.nextMany(wanted);
      else {
        const { done, value } = await this.#base.next();
        this.#ahead = done === true ? [] : [value];
      }
    } catch (error) {
      this.#finish();
      throw error;
    }
    this.#head = 0;
    this.#isBaseOver = this.#ahead.length === 0;
  }

  /** Passes the next own key, or row of the store, or both if they are the same. False: there are none. */
  #step(rows: Row[]): boolean {
    const row = this.#ahead[this.#head];
    const key = row === undefined || Buffer.isBuffer(row) ? row : row[0];
    const order = this.#orderOfOwn(key);
    if (order === null && row === undefined) return false;
    if (order === null || order > 0) {
      this.#head++;
      const stored = key as Buffer;
      if (this.#view?.isDeleted(stored) !== true) {
        this.#return(rows, stored, Buffer.isBuffer(row) ? NO_BYTES : (row as [Buffer, Buffer])[1]);
      }
      return true;
    }
    if (order === 0) this.#head++;
    const { cursor, value } = this.#view as OwnView;
    if (value !== null)
      this.#return(rows, Buffer.from(cursor.keyBytes.subarray(0, cursor.keyLength)), Buffer.from(value));
    if (this.#range.reverse) cursor.previous();
    else cursor.next();
    return true;
  }

  /** Whether the next own key comes before that of the store (negative), is the same (0), or after; null: there is none. */
  #orderOfOwn(key: Buffer | undefined): number | null {
    const { from, to, reverse } = this.#range;
    if (this.#view === null || !this.#view.cursor.valid || this.#range.isEmpty) return null;
    const { keyBytes, keyLength } = this.#view.cursor;
    const isInRange = reverse
      ? compareKeys(keyBytes, keyLength, from, from.length) >= 0
      : to === null || compareKeys(keyBytes, keyLength, to, to.length) < 0;
    if (!isInRange) return null;
    if (key === undefined) return -1;
    const order = compareKeys(keyBytes, keyLength, key, key.length);
    return reverse ? -order : order;
  }

  #return(rows: Row[], key: Buffer, value: Buffer): void {
    if (this.#last.length < key.length) this.#last = new Uint8Array(2 * key.length);
    this.#last.set(key);
    this.#lastBytes = key.length;
    this.#taken++;
    rows.push(this.#rows.rowOf(key, value));
  }
}
