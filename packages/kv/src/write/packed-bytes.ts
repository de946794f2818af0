/**
 * Many byte strings packed into chunks, without an object for each: the garbage collector is slow with millions of
 * small objects that live for a while. Chunks are reused: the first copy into fresh memory takes page faults, which
 * cost several times as much as the copy.
 *
 * ```
 *   chunk │ string │ string │ ... │ left   chunk │ string │ ...        released ─► free ─► the next strings
 * ```
 *
 * PACKED-1. A chunk has one owner until it is released. After that, views that `at` returned must not be used.
 */
import { KIB, assert } from '@aiokv/core';

const CHUNK_BYTES = 64 * KIB;
/** Size of the first chunk: a few short strings need no more. */
const SMALL_BYTES = KIB;
/** 4 MiB, enough for a few waiting batches. */
const MOST_FREE_CHUNKS = 64;
/** Up to this length a loop is faster than a view and `set`. */
const LOOP_BYTES = 48;

const freeChunks: Uint8Array[] = [];
/** Of `SMALL_BYTES`, as many: to make one takes a tenth of the time of a small batch. */
const freeSmall: Uint8Array[] = [];

/** PACKED-1. Returns a chunk of `CHUNK_BYTES`, or of `leastBytes` if that is more. */
export function takeChunk(leastBytes: number): Uint8Array {
  const free = leastBytes <= CHUNK_BYTES ? freeChunks.pop() : undefined;
  return free ?? Buffer.allocUnsafeSlow(Math.max(leastBytes, CHUNK_BYTES));
}

/** PACKED-1. Takes a chunk back for reuse. Its owner must not use it any more. */
export function giveChunk(chunk: Uint8Array): void {
  if (chunk.length === CHUNK_BYTES && freeChunks.length < MOST_FREE_CHUNKS) freeChunks.push(chunk);
  else if (chunk.length === SMALL_BYTES && freeSmall.length < MOST_FREE_CHUNKS) freeSmall.push(chunk);
}

/** Copies the first `lengthBytes` of `source` to `target[at]`. */
export function copyBytes(source: Uint8Array, lengthBytes: number, target: Uint8Array, at: number): void {
  if (lengthBytes > LOOP_BYTES)
    target.set(lengthBytes === source.length ? source : source.subarray(0, lengthBytes), at);
  else for (let i = 0; i < lengthBytes; i++) target[at + i] = source[i] as number;
}

export class PackedBytes {
  readonly #chunks: Uint8Array[] = [];
  #usedBytes = 0;
  #isReleased = false;
  /** Of each string: its chunk, and where it begins and ends there. */
  readonly #chunkOf: number[] = [];
  readonly #from: number[] = [];
  readonly #to: number[] = [];

  /** Appends a copy of the first `lengthBytes` of `source`. */
  add(source: Uint8Array, lengthBytes: number): void {
    assert(!this.#isReleased, 'PACKED-1: a chunk has one owner until it is released');
    const chunk = this.#chunkFor(lengthBytes);
    const from = this.#usedBytes;
    copyBytes(source, lengthBytes, chunk, from);
    this.#usedBytes += lengthBytes;
    this.#chunkOf.push(this.#chunks.length - 1);
    this.#from.push(from);
    this.#to.push(this.#usedBytes);
  }

  /** A view of a string; `index` counts the calls of `add`, from 0. */
  at(index: number): Uint8Array {
    assert(!this.#isReleased, 'PACKED-1: a chunk has one owner until it is released');
    const chunk = this.#chunks[this.#chunkOf[index] as number] as Uint8Array;
    return chunk.subarray(this.#from[index], this.#to[index]);
  }

  /** Copies a string to the start of `target` and returns its length. */
  copy(index: number, target: Uint8Array): number {
    assert(!this.#isReleased, 'PACKED-1: a chunk has one owner until it is released');
    const chunk = this.#chunks[this.#chunkOf[index] as number] as Uint8Array;
    const from = this.#from[index] as number;
    const lengthBytes = (this.#to[index] as number) - from;
    if (lengthBytes > LOOP_BYTES) target.set(chunk.subarray(from, from + lengthBytes));
    else for (let i = 0; i < lengthBytes; i++) target[i] = chunk[from + i] as number;
    return lengthBytes;
  }

  /** PACKED-1. */
  release(): void {
    this.#isReleased = true;
    for (const chunk of this.#chunks) giveChunk(chunk);
    this.#chunks.length = 0;
  }

  #chunkFor(lengthBytes: number): Uint8Array {
    const last = this.#chunks.at(-1);
    if (last !== undefined && this.#usedBytes + lengthBytes <= last.length) return last;
    const isSmall = last === undefined && lengthBytes <= SMALL_BYTES;
    const chunk = isSmall ? (freeSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES)) : takeChunk(lengthBytes);
    this.#chunks.push(chunk);
    this.#usedBytes = 0;
    return chunk;
  }
}
