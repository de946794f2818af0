/**
 * Reads that wait for a slot, in the order of their calls. A hundred thousand may wait at once, so each takes some 60
 * bytes and its key, in arrays that many share, and what was taken is let go of at once, even if some always wait.
 *
 * ```
 *   chunk │ offsets, lengths, results, ends of keys: 256 of each │ keys, one behind the other │ ─► next chunk
 * ```
 */
import { Fifo, KIB } from '@aiokv/core';
import type { ReadResult } from './results.ts';

const CHUNK_READS = 256;
const CHUNK_KEY_BYTES = 8 * KIB;

class Chunk {
  readonly fileOffsets = new Float64Array(CHUNK_READS);
  readonly lengths = new Int32Array(CHUNK_READS);
  readonly tokens = new Int32Array(CHUNK_READS);
  readonly keyEnds = new Int32Array(CHUNK_READS);
  readonly results = new Array<ReadResult | null>(CHUNK_READS).fill(null);
  readonly keys = new Uint8Array(CHUNK_KEY_BYTES);
  count = 0;
  taken = 0;
  keyBytes = 0;

  hasRoomFor(keyBytes: number): boolean {
    return this.count < CHUNK_READS && this.keyBytes + keyBytes <= CHUNK_KEY_BYTES;
  }

  reset(): this {
    this.count = 0;
    this.taken = 0;
    this.keyBytes = 0;
    return this;
  }
}

/** What takes a waiting read over. */
export interface ReadTaker {
  /** The key is valid during the call. */
  takeWaiting(
    fileOffset: number,
    lengthBytes: number,
    keys: Uint8Array,
    keyAt: number,
    keyBytes: number,
    result: ReadResult,
    token: number,
  ): void;
}

export class WaitingReads {
  /** The last one is filled, the first one emptied. */
  readonly #chunks = new Fifo<Chunk>();
  #last: Chunk | null = null;
  #spare: Chunk | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The key is copied. */
  push(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: ReadResult,
    token: number,
  ): void {
    const chunk = this.#chunkFor(keyBytes);
    const at = chunk.count++;
    chunk.fileOffsets[at] = fileOffset;
    chunk.lengths[at] = lengthBytes;
    chunk.tokens[at] = token;
    chunk.results[at] = result;
    const from = chunk.keyBytes;
    for (let i = 0; i < keyBytes; i++) chunk.keys[from + i] = key[i] as number;
    chunk.keyBytes = from + keyBytes;
    chunk.keyEnds[at] = from + keyBytes;
    this.#length++;
  }

  /** Hands the read that has waited longest to `taker`; there must be one. */
  handOver(taker: ReadTaker): void {
    const chunk = this.#chunks.peek() as Chunk;
    const at = chunk.taken++;
    const result = chunk.results[at] as ReadResult;
    chunk.results[at] = null;
    const keyAt = at === 0 ? 0 : (chunk.keyEnds[at - 1] as number);
    const keyBytes = (chunk.keyEnds[at] as number) - keyAt;
    this.#length--;
    taker.takeWaiting(
      chunk.fileOffsets[at] as number,
      chunk.lengths[at] as number,
      chunk.keys,
      keyAt,
      keyBytes,
      result,
      chunk.tokens[at] as number,
    );
    if (chunk.taken === chunk.count) this.#retire();
  }

  #chunkFor(keyBytes: number): Chunk {
    if (this.#last?.hasRoomFor(keyBytes) === true) return this.#last;
    const chunk = this.#spare ?? new Chunk();
    this.#spare = null;
    this.#last = chunk;
    this.#chunks.push(chunk);
    return chunk;
  }

  /** The first chunk is empty. */
  #retire(): void {
    const chunk = (this.#chunks.shift() as Chunk).reset();
    if (chunk === this.#last) this.#last = null;
    this.#spare = chunk;
  }
}
