/**
 * An entry of the index: where the record of a key is, or its value if that is tiny, or that the key was deleted. Two
 * unsigned words, from the high bits to the low ones:
 *
 * ```
 *              word 0                         word 1
 *   record     │ file offset / 8, low : 32 │ 0 : 1 │ in fragments : 1 │ its high bits : 12 │ bytes of the record : 18 │
 *   inline     │ sequence, low : 32        │ 1 : 1 │ 1 : 1 │ 0 : 2 │ expires : 1 │ bytes of the value : 6 │ sequence, high bits : 21 │
 *   deletion   │ sequence, low : 32        │ 1 : 1 │ 0 : 10                                 │ sequence, high bits : 21 │
 * ```
 *
 * A file therefore has up to 2^47 bytes, and a record less than 256 KiB. An inline value is in the extra words of the
 * entry, its first byte in the lowest bits of the first word, zeros behind it. A deletion is in memtables only.
 *
 * ENTRY-1. When an entry expires stands in its last two extra words, in milliseconds since 1970, the low word first. A record
 *     without them has no extra words in the tree, and one in a memtable. So what does not expire takes no room for it.
 */
import { assert } from '@aiokv/core';
import { memoryForValue } from '../memory/value-memory.ts';
import { RECORD_ALIGNMENT, recordBytes } from './record.ts';

/** The first two words that the tree keeps for a key. */
export interface EntryWords {
  readonly word0: number;
  readonly word1: number;
}

/** All words that the tree keeps for a key. */
export interface LeafEntry extends EntryWords {
  /** The first `extraWords` count. */
  readonly extra: Uint32Array;
  readonly extraWords: number;
}

/** A value of at most so many bytes is inline. Longer ones would be read as well: an entry has room for 60. */
export const INLINE_BYTES_MAX = 24;

/** Size of the largest file that entries can address. */
export const MOST_FILE_BYTES = 2 ** 47;
const TWO_32 = 0x1_0000_0000;
const LENGTH_BITS = 18;
const LENGTH_MASK = 2 ** LENGTH_BITS - 1;
/** In word 1: the entry is no record, but holds a sequence. */
const IS_SEQUENCE = 0x8000_0000;
const SEQUENCE_HIGH_MASK = 0x1f_ffff;
const INLINE_BYTES_SHIFT = 21;
const INLINE_BYTES_MASK = 0x3f;
const HIGH_MASK = 0xfff;
/** Added to word 1 of a record whose value is in fragments; of what is no record, if it is an inline value. */
const IN_FRAGMENTS = 0x4000_0000;
const IS_INLINE = 0x4000_0000;
/** In word 1 of an inline value. */
const EXPIRES = 0x800_0000;
/** ENTRY-1. */
export const EXPIRY_WORDS = 2;

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
  return entry.word1 >>> 30 === 1;
}

/** The part of word 1 with the length of the record and whether its value is in fragments. */
export function lengthWordOf(lengthBytes: number, inFragments: boolean): number {
  assert(lengthBytes <= LENGTH_MASK, 'an index entry holds 18 bits of length');
  return inFragments ? lengthBytes + IN_FRAGMENTS : lengthBytes;
}

export function isDeletion(entry: EntryWords): boolean {
  return entry.word1 >>> 30 === 2;
}

export function isInline(entry: EntryWords): boolean {
  return entry.word1 >>> 30 === 3;
}

/** Whether the entry leads to a record. */
export function isRecord(entry: EntryWords): boolean {
  return entry.word1 >>> 31 === 0;
}

/** ENTRY-1. When the entry expires, be it in the tree or in a memtable; 0: never. */
export function expiryOf({ word1, extra, extraWords }: LeafEntry): number {
  if (extraWords < EXPIRY_WORDS || (word1 >>> 31 === 1 && (word1 & EXPIRES) === 0)) return 0;
  return (extra[extraWords - 2] as number) + (extra[extraWords - 1] as number) * TWO_32;
}

/** Whether the entry is over at this moment: see `ExpiryClock.momentMs`. */
export function isOverAt(entry: LeafEntry, momentMs: number): boolean {
  if (momentMs === 0 || entry.extraWords < EXPIRY_WORDS) return false;
  const expiresAtMs = expiryOf(entry);
  return expiresAtMs !== 0 && expiresAtMs <= momentMs;
}

/** ENTRY-1. Writes the words of an expiry behind `words` others, unless it is 0. Returns how many words there are then. */
export function packExpiry(expiresAtMs: number, into: Uint32Array, words: number): number {
  if (expiresAtMs === 0) return words;
  into[words] = expiresAtMs >>> 0;
  into[words + 1] = Math.floor(expiresAtMs / TWO_32);
  return words + EXPIRY_WORDS;
}

/**
 * Bytes of the value of a put record, if the value is inline; else -1.
 *
 * @param lengthWord see `lengthWordOf`
 * @param expiresAtMs 0: never
 */
export function inlineBytesOf(keyBytes: number, lengthWord: number, expiresAtMs: number): number {
  const valueBytes = lengthWord - recordBytes(keyBytes, 0, expiresAtMs);
  return valueBytes <= INLINE_BYTES_MAX ? valueBytes : -1;
}

/** Word 1 of an inline value. Its word 0 is that of a deletion. @param expiresAtMs 0: never */
export function inlineHighWordOf(sequence: number, valueBytes: number, expiresAtMs = 0): number {
  const kind = IS_SEQUENCE + IS_INLINE + (expiresAtMs === 0 ? 0 : EXPIRES);
  return kind + valueBytes * 2 ** INLINE_BYTES_SHIFT + Math.floor(sequence / TWO_32);
}

/** Writes a value to extra words. Returns how many it takes. */
export function packInline(source: Uint8Array, at: number, valueBytes: number, into: Uint32Array): number {
  const words = (valueBytes + 3) >>> 2;
  for (let word = 0; word < words; word++) into[word] = 0;
  for (let i = 0; i < valueBytes; i++) {
    into[i >>> 2] = (into[i >>> 2] as number) | ((source[at + i] as number) << ((i & 3) << 3));
  }
  return words;
}

/** Bytes of the inline value of an entry. */
export function inlineValueBytes({ word1 }: EntryWords): number {
  return (word1 >>> INLINE_BYTES_SHIFT) & INLINE_BYTES_MASK;
}

/** A copy of the inline value of an entry, for its receiver (VALUES-1). */
export function inlineValueOf(entry: LeafEntry): Buffer {
  const value = memoryForValue(inlineValueBytes(entry));
  copyInlineTo(entry, value, 0);
  return value;
}

/** Copies the inline value of an entry to `target`, from `at` on. */
export function copyInlineTo(entry: LeafEntry, target: Uint8Array, at: number): void {
  const valueBytes = inlineValueBytes(entry);
  for (let i = 0; i < valueBytes; i++) target[at + i] = (entry.extra[i >>> 2] as number) >>> ((i & 3) << 3);
}

/** The sequence in the words of an entry that is no record. */
export function sequenceOfWords(entry: EntryWords): number {
  return entry.word0 + (entry.word1 & SEQUENCE_HIGH_MASK) * TWO_32;
}

/** Word 0 of an entry that is no record. */
export function sequenceLowWordOf(sequence: number): number {
  return sequence >>> 0;
}

/** Word 1 of a deletion. */
export function deletionHighWordOf(sequence: number): number {
  return IS_SEQUENCE + Math.floor(sequence / TWO_32);
}

/** Word 0 of a record at `fileOffset`, a multiple of 8. */
export function lowWordOf(fileOffset: number): number {
  return (fileOffset / RECORD_ALIGNMENT) >>> 0;
}

/** Word 1 of a record at `fileOffset`. */
export function highWordOf(fileOffset: number, lengthWord: number): number {
  const high = Math.floor(fileOffset / (RECORD_ALIGNMENT * TWO_32));
  assert(high <= HIGH_MASK, 'an index entry holds 47 bits of offset');
  return ((high << LENGTH_BITS) | lengthWord) >>> 0;
}
