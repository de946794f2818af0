/**
 * Reads that wait for a slot, in call order. A hundred thousand may wait at once, so each takes some 60 bytes and its
 * key, in arrays shared by many. A chunk is released when all its reads were taken, also while later ones wait.
 *
 * ```
 *   chunk │ offsets, lengths, results, epochs, ends of keys: 256 of each │ keys, packed │ ─► next chunk
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
  readonly epochs = new Int32Array(CHUNK_READS);
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

/** Starts a read that has waited. */
export interface ReadTaker {
  /** The key is valid only during the call. */
  takeWaiting(
    fileOffset: number,
    lengthBytes: number,
    keys: Uint8Array,
    keyAt: number,
    keyBytes: number,
    result: ReadResult,
    token: number,
    epoch: number,
  ): void;
}

export class WaitingReads {
  /** Reads are added to the last chunk and taken from the first. */
  readonly #chunks = new Fifo<Chunk>();
  #last: Chunk | null = null;
  #spare: Chunk | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Copies the key. */
  push(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: ReadResult,
    token: number,
    epoch: number,
  ): void {
    const chunk = this.#chunkFor(keyBytes);
    const at = chunk.count++;
    chunk.fileOffsets[at] = fileOffset;
    chunk.lengths[at] = lengthBytes;
    chunk.tokens[at] = token;
    chunk.epochs[at] = epoch;
    chunk.results[at] = result;
    const from = chunk.keyBytes;
    for (let i = 0; i < keyBytes; i++) chunk.keys[from + i] = key[i] as number;
    chunk.keyBytes = from + keyBytes;
    chunk.keyEnds[at] = from + keyBytes;
    this.#length++;
  }

  /** Hands the oldest waiting read to `taker`. Requires one. */
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
      chunk.epochs[at] as number,
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

  /** Releases the first chunk, whose reads have all been taken. */
  #retire(): void {
    const chunk = (this.#chunks.shift() as Chunk).reset();
    if (chunk === this.#last) this.#last = null;
    this.#spare = chunk;
  }
}
