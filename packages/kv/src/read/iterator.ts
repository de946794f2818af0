/**
 * The iterator that a caller has: the calls, and nothing else. A walk does the work (range-walk.ts) and does not know of it:
 * so it is collected when its caller has lost it, and the walk is ended for it (handles.ts).
 */
import { keyOf } from './range.ts';
import type { Bytes } from '../format/keys.ts';
import type { RangeWalk } from './range-walk.ts';

/**
 * The entries of a range as `[key, value]`, or its keys or values: see `Store.iterator`, `Store.keys`, `Store.values`. Keys and values
 * are copies that belong to the caller.
 * Use `for await`, or end it with `return()`, or with `await using`: until its end it keeps parts of the index in memory.
 */
export class StoreIterator<Row = [key: Buffer, value: Buffer]> implements AsyncIterableIterator<Row>, AsyncDisposable {
  readonly #walk: RangeWalk<Row>;

  /** @internal Use `Store.iterator`. */
  constructor(walk: RangeWalk<Row>) {
    this.#walk = walk;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The next entry. Overlapping calls are answered in call order.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO, ERR_AIOKV_LATCHED if the entry cannot be read, which ends the
   *   iterator; ERR_AIOKV_CLOSED if the store is closed before the end; ERR_AIOKV_ABORTED if the `signal` aborts before it
   */
  next(): Promise<IteratorResult<Row>> {
    return this.#walk.next();
  }

  /**
   * The next entries: those that are there, at most `count` and at most 1024, and at least one. An empty array is the end.
   * Calls of this and of `next` are answered in call order. There is no promise for each entry, and no memory: neighbours share
   * up to 64 KiB (SLABS-1). Copy what is kept for long, or goes into a stream of bytes: such a stream takes the memory of neighbours, too.
   *
   * @throws as `next`; AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT
   */
  nextMany(count: number): Promise<Row[]> {
    return this.#walk.nextMany(count);
  }

  /**
   * Goes on at this key, or at the next one in the direction of the iterator; be it forward or back, but within the range. What is
   * seen there is of the same moment. Calls before it are answered from where the iterator was. What was returned before counts
   * against `limit`. After the end it has no effect, unless the iterator was made with `stayOpen`.
   *
   * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE
   */
  seek(key: Bytes): void {
    this.#walk.seek(keyOf(key));
  }

  /** Ends the iterator. Settles when none of its reads is in flight. */
  async return(value?: unknown): Promise<IteratorResult<Row>> {
    await this.#walk.end();
    return { done: true, value: await value };
  }

  /** Ends the iterator and rejects with `error`. */
  async throw(error?: unknown): Promise<IteratorResult<Row>> {
    await this.#walk.end();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#walk.end();
  }
}
