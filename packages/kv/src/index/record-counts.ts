/**
 * Counts the records that enter the tree and leave it, in their segments. A value that is inline counts nowhere. The
 * fragments of long values are counted by whoever takes the entries: their places are in tables that have to be read.
 */
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { fileOffsetOf, isInFragments, isRecord, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import type { MovedPiece } from './relocations.ts';

export class RecordCounts {
  /** Entries of values in fragments that have entered the tree, and that have left it. */
  readonly entered: EntryWords[] = [];
  readonly left: EntryWords[] = [];
  readonly #segments: SegmentTable;
  readonly #planted: Planted;
  #leaving = 0;

  constructor(segments: SegmentTable, planted: Planted) {
    this.#segments = segments;
    this.#planted = planted;
  }

  enter(entry: EntryWords): void {
    if (!isRecord(entry)) return;
    this.#segments.countRecord(fileOffsetOf(entry), lengthOf(entry));
    if (isInFragments(entry)) this.entered.push({ word0: entry.word0, word1: entry.word1 });
  }

  leave(entry: EntryWords): void {
    if (!isRecord(entry)) return;
    this.#uncount(entry);
    if (isInFragments(entry)) this.left.push({ word0: entry.word0, word1: entry.word1 });
  }

  /**
   * A record has another place.
   *
   * @param pieces of its value that were moved with it: the others count already
   */
  move(from: EntryWords, to: EntryWords, pieces: readonly MovedPiece[] | null): void {
    if (isRecord(from)) this.#uncount(from);
    this.#segments.countRecord(fileOffsetOf(to), lengthOf(to));
    if (pieces === null) return;
    for (const { from: before, to: after, lengthBytes } of pieces) {
      this.#segments.uncountRecord(before, lengthBytes);
      this.#segments.countRecord(after, lengthBytes);
    }
  }

  #uncount(entry: EntryWords): void {
    if (this.#planted.miscounted === true && this.#leaving++ % 4 === 0) return;
    this.#segments.uncountRecord(fileOffsetOf(entry), lengthOf(entry));
  }
}
