/**
 * Many byte strings one behind the other, without an object for each: millions of small objects that live for a while are
 * what a collector of garbage is slow at.
 */
import { KIB, MIB } from '@aiokv/core';

/** Chunks grow with what is in them. */
const FIRST_CHUNK_BYTES = KIB;
const MOST_CHUNK_BYTES = MIB;
/** Up to here a loop is faster than a view and a copy. */
const LOOP_BYTES = 48;

export class PackedBytes {
  readonly #chunks: Uint8Array[] = [];
  #usedBytes = 0;
  /** Of each string: its chunk, and where it stands there. */
  readonly #chunkOf: number[] = [];
  readonly #from: number[] = [];
  readonly #to: number[] = [];

  /** Copies the first bytes of `source`. */
  add(source: Uint8Array, lengthBytes: number): void {
    const chunk = this.#chunkFor(lengthBytes);
    const from = this.#usedBytes;
    if (lengthBytes <= LOOP_BYTES) for (let i = 0; i < lengthBytes; i++) chunk[from + i] = source[i] as number;
    else chunk.set(lengthBytes === source.length ? source : source.subarray(0, lengthBytes), from);
    this.#usedBytes += lengthBytes;
    this.#chunkOf.push(this.#chunks.length - 1);
    this.#from.push(from);
    this.#to.push(this.#usedBytes);
  }

  /** A view of the string that was added as the `index`th, from 0. */
  at(index: number): Uint8Array {
    const chunk = this.#chunks[this.#chunkOf[index] as number] as Uint8Array;
    return chunk.subarray(this.#from[index], this.#to[index]);
  }

  #chunkFor(lengthBytes: number): Uint8Array {
    const last = this.#chunks.at(-1);
    if (last !== undefined && this.#usedBytes + lengthBytes <= last.length) return last;
    const next = last === undefined ? FIRST_CHUNK_BYTES : Math.min(2 * last.length, MOST_CHUNK_BYTES);
    // A chunk lives as long as its group: nothing is gained by sharing a slab with others.
    const chunk = Buffer.allocUnsafeSlow(Math.max(next, lengthBytes));
    this.#chunks.push(chunk);
    this.#usedBytes = 0;
    return chunk;
  }
}
