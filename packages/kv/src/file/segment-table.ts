/**
 * The segments in use, by slot, and how much of each is alive. A checkpoint stores the table, and an opening restores
 * it (format/segment-table.ts). Takes 45 bytes of memory a slot, and no object.
 *
 * ```
 *   begin ──► wrote: used bytes grow ──► count, uncount: live bytes grow and shrink ──► drop, when nothing lives here
 * ```
 *
 * SEGMENTS-1. Live bytes are never below 0 and never above the bytes of a segment. They are 0 when no record lives here.
 * SEGMENTS-2. A segment in which something lives is not dropped.
 *
 * This file never does I/O, and does not decide what is alive: the merge counts what enters the tree and what leaves it.
 */
import { alignUp, assert } from '@aiokv/core';
import type { SegmentEntry } from '../format/segment-table.ts';
import { RECORD_ALIGNMENT } from '../format/record.ts';
import { LAST_KIND, SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';

export class SegmentTable {
  readonly #segmentBytes: number;
  readonly #headerBytes: number;
  /** The highest slot that was ever in use, plus 1. */
  #end = 0;
  /** 0: the slot is not in use. */
  #kinds = new Uint8Array(64);
  #sequences = new Float64Array(64);
  #liveBytes = new Uint32Array(64);
  #liveRecords = new Uint32Array(64);
  #usedBytes = new Uint32Array(64);
  #firstSequences = new Float64Array(64);
  #lastSequences = new Float64Array(64);
  #bornMs = new Float64Array(64);
  // Totals by kind.
  readonly #segmentsOfKind = new Float64Array(LAST_KIND + 1);
  readonly #liveBytesOfKind = new Float64Array(LAST_KIND + 1);
  readonly #usedBytesOfKind = new Float64Array(LAST_KIND + 1);
  /** Since the opening. */
  readonly #writtenBytesOfKind = new Float64Array(LAST_KIND + 1);
  readonly #filledBytesOfKind = new Float64Array(LAST_KIND + 1);

  constructor({ segmentBytes, headerBytes }: Pick<Geometry, 'segmentBytes' | 'headerBytes'>) {
    this.#segmentBytes = segmentBytes;
    this.#headerBytes = headerBytes;
  }

  /** The slot that contains this byte of the file. */
  slotOf(fileOffset: number): number {
    return Math.floor((fileOffset - this.#headerBytes) / this.#segmentBytes);
  }

  /** Number of segments in use. */
  get size(): number {
    let size = 0;
    for (let kind = 1; kind <= LAST_KIND; kind++) size += this.#segmentsOfKind[kind] as number;
    return size;
  }

  /** All slots in use are below this. */
  get end(): number {
    return this.#end;
  }

  /** Of all kinds. */
  get liveBytes(): number {
    let liveBytes = 0;
    for (let kind = 1; kind <= LAST_KIND; kind++) liveBytes += this.#liveBytesOfKind[kind] as number;
    return liveBytes;
  }

  segmentsOfKind(kind: number): number {
    return this.#segmentsOfKind[kind] as number;
  }

  liveBytesOfKind(kind: number): number {
    return this.#liveBytesOfKind[kind] as number;
  }

  usedBytesOfKind(kind: number): number {
    return this.#usedBytesOfKind[kind] as number;
  }

  /** Bytes of frames, records or pages that were written to segments of this kind, with their padding and zeros behind. */
  writtenBytesOfKind(kind: number): number {
    return this.#writtenBytesOfKind[kind] as number;
  }

  /** The part of it that cannot be written again. */
  filledBytesOfKind(kind: number): number {
    return this.#filledBytesOfKind[kind] as number;
  }

  has(slot: number): boolean {
    return slot < this.#end && this.#kinds[slot] !== 0;
  }

  // What follows is about a slot in use.

  kindOf(slot: number): number {
    return this.#kinds[slot] as number;
  }

  sequenceOf(slot: number): number {
    return this.#sequences[slot] as number;
  }

  liveBytesOf(slot: number): number {
    return this.#liveBytes[slot] as number;
  }

  liveRecordsOf(slot: number): number {
    return this.#liveRecords[slot] as number;
  }

  usedBytesOf(slot: number): number {
    return this.#usedBytes[slot] as number;
  }

  lastSequenceOf(slot: number): number {
    return this.#lastSequences[slot] as number;
  }

  bornMsOf(slot: number): number {
    return this.#bornMs[slot] as number;
  }

  /** Slots in use from `from` on, ascending, at most `most` of them. */
  slotsFrom(from: number, most: number): number[] {
    const slots: number[] = [];
    for (let slot = from; slot < this.#end && slots.length < most; slot++)
      if (this.#kinds[slot] !== 0) slots.push(slot);
    return slots;
  }

  /** An empty segment begins in a slot that is not in use. */
  begin(slot: number, kind: number, sequence: number, bornMs: number): void {
    assert(kind >= 1 && kind <= LAST_KIND, 'a segment has a kind');
    assert(!this.has(slot), 'a segment begins in a slot that is not in use');
    if (slot >= this.#kinds.length) this.#grow(slot);
    if (slot >= this.#end) this.#end = slot + 1;
    this.#kinds[slot] = kind;
    this.#sequences[slot] = sequence;
    this.#liveBytes[slot] = 0;
    this.#liveRecords[slot] = 0;
    this.#usedBytes[slot] = 0;
    this.#firstSequences[slot] = 0;
    this.#lastSequences[slot] = 0;
    this.#bornMs[slot] = bornMs;
    (this.#segmentsOfKind[kind] as number)++;
  }

  /**
   * Frames or pages were written behind the others of the segment.
   *
   * @param usedBytes of these, with their padding
   * @param firstSequence the lowest sequence of these; 0 for pages
   * @param lastSequence the highest sequence of these; 0 for pages
   * @param zeroBytes of zeros that were written behind them
   */
  wrote(slot: number, usedBytes: number, firstSequence: number, lastSequence: number, zeroBytes = 0): void {
    assert(this.has(slot), 'a segment in use is written');
    const kind = this.#kinds[slot] as number;
    (this.#writtenBytesOfKind[kind] as number) += usedBytes + zeroBytes;
    (this.#filledBytesOfKind[kind] as number) += usedBytes;
    this.found(slot, usedBytes, firstSequence, lastSequence);
  }

  /** As `wrote`, for what an opening has found on the device. */
  found(slot: number, usedBytes: number, firstSequence: number, lastSequence: number): void {
    assert(this.has(slot), 'a segment in use is filled');
    const used = (this.#usedBytes[slot] as number) + usedBytes;
    assert(used <= this.#segmentBytes, 'used bytes are at most those of a segment');
    this.#usedBytes[slot] = used;
    (this.#usedBytesOfKind[this.#kinds[slot] as number] as number) += usedBytes;
    const first = this.#firstSequences[slot] as number;
    if (first === 0 || (firstSequence > 0 && firstSequence < first)) this.#firstSequences[slot] = firstSequence;
    if (lastSequence > (this.#lastSequences[slot] as number)) this.#lastSequences[slot] = lastSequence;
  }

  /** `count`, for a record of so many bytes without its padding. */
  countRecord(fileOffset: number, lengthBytes: number): void {
    this.count(this.slotOf(fileOffset), alignUp(lengthBytes, RECORD_ALIGNMENT));
  }

  /** `uncount`, for a record of so many bytes without its padding. */
  uncountRecord(fileOffset: number, lengthBytes: number): void {
    this.uncount(this.slotOf(fileOffset), alignUp(lengthBytes, RECORD_ALIGNMENT));
  }

  /** Sets what lives in an index segment. */
  setLive(slot: number, liveBytes: number, livePages: number): void {
    assert(this.has(slot) && liveBytes <= this.#segmentBytes, 'what lives is in a segment in use');
    (this.#liveBytesOfKind[this.#kinds[slot] as number] as number) += liveBytes - (this.#liveBytes[slot] as number);
    this.#liveBytes[slot] = liveBytes;
    this.#liveRecords[slot] = livePages;
  }

  /** What was written to the segment is counted anew: a replay calls `wrote` for all of it again. */
  restart(slot: number): void {
    assert(this.has(slot), 'a segment in use is replayed');
    (this.#usedBytesOfKind[this.#kinds[slot] as number] as number) -= this.#usedBytes[slot] as number;
    this.#usedBytes[slot] = 0;
    this.#firstSequences[slot] = 0;
    this.#lastSequences[slot] = 0;
  }

  /** The tree leads to one more record or page of the segment. Its bytes, with their padding, are a multiple of 8. */
  count(slot: number, bytes: number): void {
    assert(this.has(slot), 'what lives is in a segment in use');
    assert(bytes > 0 && (bytes & 7) === 0, 'records and pages take multiples of 8 bytes');
    const live = (this.#liveBytes[slot] as number) + bytes;
    // SEGMENTS-1.
    assert(live <= this.#segmentBytes, 'live bytes are at most those of a segment');
    this.#liveBytes[slot] = live;
    (this.#liveRecords[slot] as number)++;
    (this.#liveBytesOfKind[this.#kinds[slot] as number] as number) += bytes;
  }

  /** The tree leads to one record or page of the segment less. */
  uncount(slot: number, bytes: number): void {
    assert(this.has(slot), 'what dies is in a segment in use');
    assert(bytes > 0 && (bytes & 7) === 0, 'records and pages take multiples of 8 bytes');
    const live = (this.#liveBytes[slot] as number) - bytes;
    const records = (this.#liveRecords[slot] as number) - 1;
    // SEGMENTS-1.
    assert(live >= 0 && records >= 0 && (live === 0) === (records === 0), 'no more dies than lived');
    this.#liveBytes[slot] = live;
    this.#liveRecords[slot] = records;
    (this.#liveBytesOfKind[this.#kinds[slot] as number] as number) -= bytes;
  }

  /** No record lives any more, in any segment: the tree is empty. */
  uncountAllRecords(): void {
    for (let slot = 0; slot < this.#end; slot++) {
      if (this.#kinds[slot] === 0 || this.#kinds[slot] === SegmentKind.index) continue;
      (this.#liveBytesOfKind[this.#kinds[slot] as number] as number) -= this.#liveBytes[slot] as number;
      this.#liveBytes[slot] = 0;
      this.#liveRecords[slot] = 0;
    }
  }

  /** Nothing lives in the segment any more, and its slot is not in use any more. */
  drop(slot: number): void {
    assert(this.has(slot), 'a segment in use is dropped');
    // SEGMENTS-2.
    assert(this.#liveRecords[slot] === 0, 'a segment in which something lives is not dropped');
    const kind = this.#kinds[slot] as number;
    (this.#segmentsOfKind[kind] as number)--;
    (this.#usedBytesOfKind[kind] as number) -= this.#usedBytes[slot] as number;
    this.#kinds[slot] = 0;
  }

  /** What a checkpoint stores of a segment. */
  entryOf(slot: number): SegmentEntry {
    assert(this.has(slot), 'a segment in use has an entry');
    return {
      slot,
      kind: this.#kinds[slot] as number,
      sequence: this.#sequences[slot] as number,
      liveBytes: this.#liveBytes[slot] as number,
      liveRecords: this.#liveRecords[slot] as number,
      usedBytes: this.#usedBytes[slot] as number,
      firstSequence: this.#firstSequences[slot] as number,
      lastSequence: this.#lastSequences[slot] as number,
      bornMs: this.#bornMs[slot] as number,
    };
  }

  /** Takes a segment from a checkpoint. The entry is plausible, and its slot is not in use yet. */
  restore(entry: SegmentEntry): void {
    const { slot, kind, liveBytes } = entry;
    this.begin(slot, kind, entry.sequence, entry.bornMs);
    this.found(slot, entry.usedBytes, entry.firstSequence, entry.lastSequence);
    // SEGMENTS-1.
    assert(liveBytes <= this.#segmentBytes, 'live bytes are at most those of a segment');
    this.#liveBytes[slot] = liveBytes;
    this.#liveRecords[slot] = entry.liveRecords;
    (this.#liveBytesOfKind[kind] as number) += liveBytes;
  }

  #grow(slot: number): void {
    const length = Math.max(slot + 1, 2 * this.#kinds.length);
    const longer = <T extends Uint8Array | Uint32Array | Float64Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#kinds = longer(new Uint8Array(length), this.#kinds);
    this.#sequences = longer(new Float64Array(length), this.#sequences);
    this.#liveBytes = longer(new Uint32Array(length), this.#liveBytes);
    this.#liveRecords = longer(new Uint32Array(length), this.#liveRecords);
    this.#usedBytes = longer(new Uint32Array(length), this.#usedBytes);
    this.#firstSequences = longer(new Float64Array(length), this.#firstSequences);
    this.#lastSequences = longer(new Float64Array(length), this.#lastSequences);
    this.#bornMs = longer(new Float64Array(length), this.#bornMs);
  }
}
