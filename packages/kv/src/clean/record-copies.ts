/**
 * Records that are to be moved, in the order of their keys: where each is, and the copy of it when it was read.
 *
 * ```
 *   entry of the index ─► add: the key goes where the key of the copy will be
 *   record, read       ─► read: same key, right checksum? then the copy is there
 *
 *   chunks of 1 MiB   │ header │ key │ value │ header │ key │ value │ …        a record lies in one chunk
 *   note, 4 words     │ entry, word 0 │ entry, word 1 │ place of the copy / 8 │ bytes of the key : 16, copy is there : 1 │
 * ```
 *
 * COPY-1. A copy is there only if the record has the key of its entry, and is intact. Every other record stays where
 *     it is.
 *
 * Records are read in the order of their places, and a batch has 100,000 of them. What a read needs to know of one stands in one note, so
 * that it waits for memory once, and not for each column.
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
/** The place of a copy / 8 is its chunk, and from this bit on downwards where it is in there. */
const CHUNK_SHIFT = Math.log2(CHUNK_BYTES / RECORD_ALIGNMENT);
const CHUNK_MASK = 2 ** CHUNK_SHIFT - 1;
/** What is kept of a record beside its copy: its place and length, its new place, and its note. */
const NOTE_BYTES = 8 + 4 + 8 + 16;
/** In the last word of a note: the copy is there. */
const IS_THERE = 0x1_0000;
const KEY_MASK = 0xffff;
const NOTE_WORDS = 4;
const FIRST_COUNT = 1024;

export interface CopiesMark {
  readonly count: number;
  readonly usedChunks: number;
  readonly usedBytes: number;
}

const START: CopiesMark = { count: 0, usedChunks: 0, usedBytes: CHUNK_BYTES };

export class RecordCopies implements Ranges, RangeVisitor {
  count = 0;
  /** Where the records are in the file, and their bytes without padding. */
  offsets = new Float64Array(FIRST_COUNT);
  lengths = new Uint32Array(FIRST_COUNT);
  /** The new places. */
  targets = new Float64Array(FIRST_COUNT);
  #notes = new Uint32Array(NOTE_WORDS * FIRST_COUNT);
  readonly #chunks: Uint8Array[] = [];
  readonly #old = { word0: 0, word1: 0 };
  #usedChunks = START.usedChunks;
  #usedBytes = START.usedBytes;

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
    const note = NOTE_WORDS * index;
    this.#notes[note] = entry.word0;
    this.#notes[note + 1] = entry.word1;
    this.#notes[note + 2] = place / RECORD_ALIGNMENT;
    this.#notes[note + 3] = keyBytes;
    const chunk = this.#chunks[this.#usedChunks - 1] as Uint8Array;
    const keyAt = this.#usedBytes + RECORD_HEADER_BYTES;
    for (let i = 0; i < keyBytes; i++) chunk[keyAt + i] = key[i] as number;
    this.#usedBytes += alignUp(lengthBytes, RECORD_ALIGNMENT);
  }

  /** COPY-1. */
  read(index: number, block: Block, at: number): void {
    const notes = this.#notes;
    const note = NOTE_WORDS * index;
    const lengthBytes = this.lengths[index] as number;
    const units = notes[note + 2] as number;
    const keyBytes = (notes[note + 3] as number) & KEY_MASK;
    const chunk = this.#chunks[units >>> CHUNK_SHIFT] as Uint8Array;
    const copyAt = (units & CHUNK_MASK) * RECORD_ALIGNMENT;
    if (keyBytesOf(block.view, at) !== keyBytes) return;
    const toKey = copyAt - at;
    const keyAt = at + RECORD_HEADER_BYTES;
    const { bytes } = block;
    for (let i = keyAt; i < keyAt + keyBytes; i++) if (bytes[i] !== chunk[i + toKey]) return;
    if (recordFault(block, at, lengthBytes) !== null) return;
    chunk.set(bytes.subarray(at, at + lengthBytes), copyAt);
    notes[note + 3] = keyBytes | IS_THERE;
  }

  unreadable(): void {
    // The record stays where it is, and a later read of it says why.
  }

  isThere(index: number): boolean {
    return (this.#notes[NOTE_WORDS * index + 3] as number) >= IS_THERE;
  }

  /** Has the index lead to the new place, `targets`. */
  enter(index: number, into: KeyIndex): void {
    const notes = this.#notes;
    const note = NOTE_WORDS * index;
    const units = notes[note + 2] as number;
    this.#old.word0 = notes[note] as number;
    this.#old.word1 = notes[note + 1] as number;
    const keyAt = (units & CHUNK_MASK) * RECORD_ALIGNMENT + RECORD_HEADER_BYTES;
    const keyBytes = (notes[note + 3] as number) & KEY_MASK;
    const chunk = this.#chunks[units >>> CHUNK_SHIFT] as Uint8Array;
    into.enterMoved(chunk, keyAt, keyBytes, this.#old, this.targets[index] as number);
  }

  /** Copies the record to its new place. */
  copyTo(index: number, target: Block, at: number): void {
    const units = this.#notes[NOTE_WORDS * index + 2] as number;
    const from = (units & CHUNK_MASK) * RECORD_ALIGNMENT;
    const chunk = this.#chunks[units >>> CHUNK_SHIFT] as Uint8Array;
    target.bytes.set(chunk.subarray(from, from + (this.lengths[index] as number)), at);
  }

  /** Forgets all records. Keeps the memory. */
  clear(): void {
    this.goBackTo(START);
  }

  /** How far they are: see `goBackTo`. */
  get mark(): CopiesMark {
    return { count: this.count, usedChunks: this.#usedChunks, usedBytes: this.#usedBytes };
  }

  /** Forgets the records that were added since. */
  goBackTo({ count, usedChunks, usedBytes }: CopiesMark): void {
    this.count = count;
    this.#usedChunks = usedChunks;
    this.#usedBytes = usedBytes;
  }

  #grow(): void {
    const length = 2 * this.offsets.length;
    const longer = <T extends Uint32Array | Float64Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.offsets = longer(new Float64Array(length), this.offsets);
    this.lengths = longer(new Uint32Array(length), this.lengths);
    this.targets = longer(new Float64Array(length), this.targets);
    this.#notes = longer(new Uint32Array(NOTE_WORDS * length), this.#notes);
  }
}
