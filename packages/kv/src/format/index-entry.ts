/**
 * An entry of the index: where the record of a key is, or that the key was deleted. Two unsigned words:
 *
 * ```
 *   word 0                          word 1
 *   │ file offset / 8, low 32 bits │ 0 : 1 │ in fragments : 1 │ its high bits : 12 │ bytes of the record : 18 │
 *                                  │ 1 : 1 │ 0 : 31, a deletion; the other values are reserved │
 * ```
 *
 * A file therefore has up to 2^47 bytes, and a record less than 256 KiB.
 */
import { assert } from '@aiokv/core';
import { RECORD_ALIGNMENT } from './record.ts';

/** The two words that the tree keeps for a key. */
export interface EntryWords {
  readonly word0: number;
  readonly word1: number;
}

/** Size of the largest file that entries can address. */
export const MOST_FILE_BYTES = 2 ** 47;
const TWO_32 = 0x1_0000_0000;
const LENGTH_BITS = 18;
const LENGTH_MASK = 2 ** LENGTH_BITS - 1;
/** Word 1 of a deletion; its word 0 is 0. */
export const DELETED = 0x8000_0000;
const HIGH_MASK = 0xfff;
/** Added to word 1 of a record whose value is in fragments. */
const IN_FRAGMENTS = 0x4000_0000;

/** The file offset of the record. */
export function fileOffsetOf(entry: EntryWords): number {
  return (entry.word0 + ((entry.word1 >>> LENGTH_BITS) & HIGH_MASK) * TWO_32) * RECORD_ALIGNMENT;
}

/** Bytes of the record, without its padding. */
export function lengthOf(entry: EntryWords): number {
  return entry.word1 & LENGTH_MASK;
}

/** Whether the value of the record is in fragments: the record then holds a table of them. */
export function isInFragments(entry: EntryWords): boolean {
  return (entry.word1 & IN_FRAGMENTS) !== 0;
}

/** The part of word 1 with the length of the record and whether its value is in fragments. */
export function lengthWordOf(lengthBytes: number, inFragments: boolean): number {
  assert(lengthBytes <= LENGTH_MASK, 'an index entry holds 18 bits of length');
  return inFragments ? lengthBytes + IN_FRAGMENTS : lengthBytes;
}

export function isDeletion(entry: EntryWords): boolean {
  return entry.word1 === DELETED;
}

/** Word 0 of a record at `fileOffset`, a multiple of 8. */
export function lowWordOf(fileOffset: number): number {
  return (fileOffset / RECORD_ALIGNMENT) >>> 0;
}

/** Word 1 of a record at `fileOffset`. */
export function highWordOf(fileOffset: number, lengthWord: number): number {
  const high = Math.floor(fileOffset / (RECORD_ALIGNMENT * TWO_32));
  assert(high <= HIGH_MASK, 'an index entry holds 47 bits of offset');
  return high * 2 ** LENGTH_BITS + lengthWord;
}
