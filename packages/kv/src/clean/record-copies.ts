/**
 * Records that are to be moved, in the order of their keys: where each is, and the copy of it when it was read.
 *
 * ```
 *   entry of the index ─► add: the key goes where the key of the copy will be
 *   record, read       ─► read: same key, right checksum? then the copy is there
 *
 *   chunks of 1 MiB   │ header │ key │ value │ header │ key │ value │ …        a record lies in one chunk
 * ```
 *
 * COPY-1. A copy is there only if the record has the key of its entry, and is intact. Every other record stays where
 *     it is.
 */
import { MIB, alignUp, assert } from '@aiokv/core';
import type { RangeVisitor, Ranges } from '../file/span-reader.ts';
import { fileOffsetOf, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT, RECORD_HEADER_BYTES, keyBytesOf, recordFault } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import type { KeyIndex } from '../index/key-index.ts';

/** More than any record takes. */
const CHUNK_BYTES = MIB;
/** What is kept of a record beside its copy: places, entry, length, place of the copy, bytes of the key, state. */
const NOTE_BYTES = 8 + 8 + 8 + 4 + 4 + 2 + 1;
const FIRST_COUNT = 1024;

export class RecordCopies implements Ranges, RangeVisitor {
  count = 0;
  /** Where the records are in the file, and their bytes without padding. */
  offsets = new Float64Array(FIRST_COUNT);
  lengths = new Uint32Array(FIRST_COUNT);
  /** Place of the copy / 8. */
  #places = new Uint32Array(FIRST_COUNT);
  /** The entry, and the new place. */
  #words0 = new Uint32Array(FIRST_COUNT);
  #words1 = new Uint32Array(FIRST_COUNT);
  targets = new Float64Array(FIRST_COUNT);
  #keyLengths = new Uint16Array(FIRST_COUNT);
  /** 1: the copy is there. */
  #states = new Uint8Array(FIRST_COUNT);
  readonly #chunks: Uint8Array[] = [];
  readonly #old = { word0: 0, word1: 0 };
  #usedChunks = 0;
  #usedBytes = CHUNK_BYTES;

  /** Memory that copies and notes take, in bytes. */
  get bytes(): number {
    const copied = this.#usedChunks === 0 ? 0 : (this.#usedChunks - 1) * CHUNK_BYTES + this.#usedBytes;
    return copied + this.count * NOTE_BYTES;
  }

  /** Adds the record of an entry, behind those with smaller keys. */
  add(entry: EntryWords, key: Uint8Array, keyBytes: number): void {
    const lengthBytes = lengthOf(entry);
    assert(lengthBytes <= CHUNK_BYTES, 'a record fits into a chunk');
    if (this.count === this.offsets.length) this.#grow();
    if (this.#usedBytes + lengthBytes > CHUNK_BYTES) {
      if (this.#usedChunks === this.#chunks.length) this.#chunks.push(new Uint8Array(CHUNK_BYTES));
      this.#usedChunks++;
      this.#usedBytes = 0;
    }
    const index = this.count++;
    const place = (this.#usedChunks - 1) * CHUNK_BYTES + this.#usedBytes;
    this.offsets[index] = fileOffsetOf(entry);
    this.lengths[index] = lengthBytes;
    this.#places[index] = place / RECORD_ALIGNMENT;
    this.#keyLengths[index] = keyBytes;
    this.#words0[index] = entry.word0;
    this.#words1[index] = entry.word1;
    this.#states[index] = 0;
    const chunk = this.#chunks[this.#usedChunks - 1] as Uint8Array;
    const keyAt = this.#usedBytes + RECORD_HEADER_BYTES;
    for (let i = 0; i < keyBytes; i++) chunk[keyAt + i] = key[i] as number;
    this.#usedBytes += alignUp(lengthBytes, RECORD_ALIGNMENT);
  }

  /** COPY-1. */
  read(index: number, block: Block, at: number): void {
    const lengthBytes = this.lengths[index] as number;
    const place = (this.#places[index] as number) * RECORD_ALIGNMENT;
    const chunk = this.#chunks[Math.floor(place / CHUNK_BYTES)] as Uint8Array;
    const keyBytes = this.#keyLengths[index] as number;
    if (keyBytesOf(block.view, at) !== keyBytes) return;
    const toKey = (place % CHUNK_BYTES) - at;
    const keyAt = at + RECORD_HEADER_BYTES;
    for (let i = keyAt; i < keyAt + keyBytes; i++) if (block.bytes[i] !== chunk[i + toKey]) return;
    if (recordFault(block, at, lengthBytes) !== null) return;
    chunk.set(block.bytes.subarray(at, at + lengthBytes), place % CHUNK_BYTES);
    this.#states[index] = 1;
  }

  unreadable(): void {
    // The record stays where it is, and a later read of it says why.
  }

  isThere(index: number): boolean {
    return this.#states[index] === 1;
  }

  /** Has the index lead to the new place, `targets`. */
  enter(index: number, into: KeyIndex): void {
    const place = (this.#places[index] as number) * RECORD_ALIGNMENT;
    const chunk = this.#chunks[Math.floor(place / CHUNK_BYTES)] as Uint8Array;
    this.#old.word0 = this.#words0[index] as number;
    this.#old.word1 = this.#words1[index] as number;
    const keyAt = (place % CHUNK_BYTES) + RECORD_HEADER_BYTES;
    into.enterMoved(chunk, keyAt, this.#keyLengths[index] as number, this.#old, this.targets[index] as number);
  }

  /** Copies the record to its new place. */
  copyTo(index: number, target: Block, at: number): void {
    const place = (this.#places[index] as number) * RECORD_ALIGNMENT;
    const from = place % CHUNK_BYTES;
    const chunk = this.#chunks[Math.floor(place / CHUNK_BYTES)] as Uint8Array;
    target.bytes.set(chunk.subarray(from, from + (this.lengths[index] as number)), at);
  }

  /** Forgets all records. Keeps the memory. */
  clear(): void {
    this.count = 0;
    this.#usedChunks = 0;
    this.#usedBytes = CHUNK_BYTES;
  }

  #grow(): void {
    const length = 2 * this.offsets.length;
    const longer = <T extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.offsets = longer(new Float64Array(length), this.offsets);
    this.lengths = longer(new Uint32Array(length), this.lengths);
    this.#places = longer(new Uint32Array(length), this.#places);
    this.#words0 = longer(new Uint32Array(length), this.#words0);
    this.#words1 = longer(new Uint32Array(length), this.#words1);
    this.targets = longer(new Float64Array(length), this.targets);
    this.#keyLengths = longer(new Uint16Array(length), this.#keyLengths);
    this.#states = longer(new Uint8Array(length), this.#states);
  }
}
