/**
 * The first-in, first-out queue of the whole project, of any length.
 *
 * ```
 *   head chunk                       tail chunk
 *   ┌───────────────────┐  next  ┌───────────────────┐
 *   │ . . . x x x x x x │ ─────► │ x x x x . . . . . │
 *   └───────┼───────────┘        └─────────┼─────────┘
 *         first                           end
 * ```
 *
 * Adding and taking cost the same at any length (`Array.shift` moves all entries of a long array). Growing copies nothing.
 * An entry that was taken is released at once, even if the queue never runs empty. The drawing follows undici
 * (`lib/dispatcher/fixed-queue.js`).
 */
import { assert } from './errors.ts';

const CHUNK_ENTRIES = 512;

interface Chunk<T> {
  readonly entries: (T | undefined)[];
  next: Chunk<T> | null;
}

export class Fifo<T> {
  #head: Chunk<T> = newChunk();
  #tail = this.#head;
  /** Place of the oldest entry in the head chunk. */
  #first = 0;
  /** Place after the newest entry in the tail chunk. */
  #end = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  push(entry: T): void {
    if (this.#end === CHUNK_ENTRIES) {
      const chunk: Chunk<T> = newChunk();
      this.#tail.next = chunk;
      this.#tail = chunk;
      this.#end = 0;
    }
    this.#tail.entries[this.#end++] = entry;
    this.#length++;
  }

  /** The oldest entry, without taking it, or undefined. */
  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#head.entries[this.#first];
  }

  /** Takes the oldest entry, or undefined. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const head = this.#head;
    const entry = head.entries[this.#first];
    head.entries[this.#first++] = undefined;
    this.#length--;
    if (this.#length === 0) {
      this.#first = 0;
      this.#end = 0;
    } else if (this.#first === CHUNK_ENTRIES) {
      assert(head.next !== null, 'a queue with entries has a chunk for them');
      this.#head = head.next;
      this.#first = 0;
    }
    return entry;
  }

  /** Takes all entries, except those that are added meanwhile. */
  *drain(): Generator<T> {
    for (let left = this.#length; left > 0 && this.#length > 0; left--) yield this.shift() as T;
  }

  /** The entries, oldest first; nothing may be added or taken meanwhile. */
  *[Symbol.iterator](): Generator<T> {
    let chunk: Chunk<T> | null = this.#head;
    let at = this.#first;
    for (let left = this.#length; left > 0; left--) {
      if (at === CHUNK_ENTRIES) {
        chunk = chunk?.next ?? null;
        at = 0;
      }
      yield chunk?.entries[at++] as T;
    }
  }
}

function newChunk<T>(): Chunk<T> {
  return { entries: [], next: null };
}
