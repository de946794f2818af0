/**
 * What an entry of the index says: where a key's record is, or that the key was deleted. Three unsigned words:
 *
 * ```
 *   word 0                          word 1                              word 2
 *   │ file offset / 8, low 32 bits │ its high bits; bit 31: a deletion │ length of the record in bytes; bit 31: its value
 *                                                                        stands in pieces elsewhere
 * ```
 */
import { RECORD_ALIGNMENT } from './format/record.ts';
import type { Entry } from './tree/index.ts';

const TWO_32 = 0x1_0000_0000;
/** Word 1 of a deletion, whose other words are 0. */
export const DELETED = 0x8000_0000;
/** Added to word 2 of a record whose value stands in pieces. */
const IN_PIECES = 0x8000_0000;

/** The file offset of the record that an entry leads to. */
export function fileOffsetOf(entry: Entry): number {
  return (entry.word0 + entry.word1 * TWO_32) * RECORD_ALIGNMENT;
}

export function lengthOf(entry: Entry): number {
  return entry.word2 & ~IN_PIECES;
}

/** Whether the record says where the pieces of its value are. */
export function isInPieces(entry: Entry): boolean {
  return entry.word2 >= IN_PIECES;
}

/** Word 2 of a record. */
export function lengthWordOf(lengthBytes: number, inPieces: boolean): number {
  return inPieces ? lengthBytes + IN_PIECES : lengthBytes;
}

export function isDeletion(entry: Entry): boolean {
  return entry.word1 === DELETED;
}

/** Word 0 of a record at `fileOffset`, a multiple of 8. */
export function lowWordOf(fileOffset: number): number {
  return (fileOffset / RECORD_ALIGNMENT) >>> 0;
}

/** Word 1 of a record at `fileOffset`. */
export function highWordOf(fileOffset: number): number {
  return Math.floor(fileOffset / (RECORD_ALIGNMENT * TWO_32));
}
