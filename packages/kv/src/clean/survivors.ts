/**
 * Records that live in the victims of a cleaning, sorted by key: copies of their bytes, and a tree that leads to them.
 *
 * ```
 *   tree: key ─► place of the copy ─┐        chunks │ record record … │ record … │ …      1 MiB each
 *                                   └──────────────────────▲
 * ```
 */
import { MIB, alignUp, assert } from '@aiokv/core';
import { lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import { Tree } from '../tree/index.ts';
import type { Entry, NodeMemory } from '../tree/index.ts';

/** More than any record takes. */
const CHUNK_BYTES = MIB;

/** Scratch. Valid within one step. */
const word0 = new Uint32Array(1);

export class Survivors {
  /** An entry has the place of the copy / 8, then word 1 and word 0 of the entry of the record. */
  readonly tree: Tree;
  readonly #chunks: Uint8Array[] = [];
  #usedBytes = CHUNK_BYTES;

  constructor(memory: NodeMemory) {
    this.tree = new Tree(memory);
  }

  /** Bytes of the copies. */
  get bytes(): number {
    return this.#chunks.length === 0 ? 0 : (this.#chunks.length - 1) * CHUNK_BYTES + this.#usedBytes;
  }

  /** @param entry that leads to the record, which is in `block` at `at` */
  add(key: Uint8Array, keyBytes: number, block: Block, at: number, entry: EntryWords): void {
    const lengthBytes = lengthOf(entry);
    assert(lengthBytes <= CHUNK_BYTES, 'a record fits into a chunk');
    if (this.#usedBytes + lengthBytes > CHUNK_BYTES) {
      this.#chunks.push(new Uint8Array(CHUNK_BYTES));
      this.#usedBytes = 0;
    }
    const chunk = this.#chunks.at(-1) as Uint8Array;
    chunk.set(block.bytes.subarray(at, at + lengthBytes), this.#usedBytes);
    const place = (this.#chunks.length - 1) * CHUNK_BYTES + this.#usedBytes;
    word0[0] = entry.word0;
    this.tree.set(key, keyBytes, place / RECORD_ALIGNMENT, entry.word1, word0, 1);
    this.#usedBytes += alignUp(lengthBytes, RECORD_ALIGNMENT);
  }

  /** Copies the record of an entry of the tree. */
  copyTo({ word0 }: Entry, lengthBytes: number, target: Block, at: number): void {
    const place = word0 * RECORD_ALIGNMENT;
    const from = place % CHUNK_BYTES;
    const chunk = this.#chunks[Math.floor(place / CHUNK_BYTES)] as Uint8Array;
    target.bytes.set(chunk.subarray(from, from + lengthBytes), at);
  }

  clear(): void {
    this.tree.clear();
    this.#chunks.length = 0;
    this.#usedBytes = CHUNK_BYTES;
  }
}
