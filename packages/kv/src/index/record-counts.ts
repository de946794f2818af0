/**
 * Counts the records that enter the tree and leave it, in their segments. A value that is inline counts nowhere. The fragments of long values are counted by
 * whoever takes the entries: their places are in tables that have to be read.
 */
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { fileOffsetOf, isInFragments, isRecord, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';

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

  /** @param isMove whether a cleaning has moved the record: the fragments of its value stay, and count already */
  enter(entry: EntryWords, isMove: boolean): void {
    if (!isRecord(entry)) return;
    this.#segments.countRecord(fileOffsetOf(entry), lengthOf(entry));
    if (isInFragments(entry) && !isMove) this.entered.push({ word0: entry.word0, word1: entry.word1 });
  }

  /** @param isMove as for `enter` */
  leave(entry: EntryWords, isMove: boolean): void {
    if (!isRecord(entry)) return;
    if (this.#planted.miscounted !== true || this.#leaving++ % 4 !== 0) {
      this.#segments.uncountRecord(fileOffsetOf(entry), lengthOf(entry));
    }
    if (isInFragments(entry) && !isMove) this.left.push({ word0: entry.word0, word1: entry.word1 });
  }
}
