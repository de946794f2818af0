/**
 * Memory for values that a caller looks at and does not keep: it is used again in the next turn, so that a value takes neither an
 * allocation nor a collection. It is no memory of the index: a caller that writes into a view, or transfers its buffer away, harms
 * other views of the turn at most.
 *
 * VIEW-1. What was taken is not taken again before the callback in which it was taken, and what its promises do, is over.
 */
import { KIB, setImmediate } from '@aiokv/core';

const CHUNK_BYTES = 64 * KIB;
/** Chunks that are used again. Of what a turn takes beyond, only its views keep the memory. */
const CHUNKS_KEPT = 16;

export class ViewMemory {
  readonly #chunks: Buffer[] = [];
  /** The chunk from which is taken, which it is, and how much of it was. */
  #chunk: Buffer = Buffer.alloc(0);
  #at = -1;
  #used = CHUNK_BYTES;
  #isUsed = false;

  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES;
  }

  /** So many bytes, with any content. */
  take(bytes: number): Buffer {
    if (bytes > CHUNK_BYTES) return Buffer.allocUnsafeSlow(bytes);
    if (!this.#isUsed) {
      this.#isUsed = true;
      setImmediate(this.#begin);
    }
    // A buffer that was transferred away has no bytes left.
    if (this.#used + bytes > CHUNK_BYTES || this.#chunk.length === 0) this.#next();
    const from = this.#used;
    this.#used += bytes;
    return this.#chunk.subarray(from, from + bytes);
  }

  #next(): void {
    this.#at++;
    this.#used = 0;
    const kept = this.#chunks[this.#at];
    this.#chunk = kept === undefined || kept.length === 0 ? Buffer.allocUnsafeSlow(CHUNK_BYTES) : kept;
    if (this.#at < CHUNKS_KEPT) this.#chunks[this.#at] = this.#chunk;
  }

  readonly #begin = (): void => {
    this.#isUsed = false;
    this.#at = -1;
    this.#used = CHUNK_BYTES;
  };
}
