/**
 * Reads the values of a window: those that lie close together in long reads, in place.
 *
 * ```
 *   entry ─► meet ─┬─► inline: the value is there
 *                  ├─► cached, in a short range: copied (WINDOW-3)
 *                  ├─► log.unwritten: copied from the frame
 *                  ├─► in fragments ──────────────────────────────┐
 *                  └─► span: checked in the long read, copied     │
 *                        └─► unreadable, or not what it should be ├─► RecordReader, which reads it alone
 *                                                                 ┘
 * ```
 *
 * WINDOW-1. A value is taken from a long read only if it passes what a point read asks of it (WHOLE-1). What does not is
 *     read alone: so it is tried again, and its error is its own.
 * WINDOW-2. Whether a record is in memory is asked in the step that copies it, or that notes it for the device: what is
 *     written stays where it is for as long as the iterator holds its snapshot (ITERATOR-4).
 * WINDOW-3. In a short range a cached value is taken if its write is not newer than the snapshot: then it is that of the snapshot, for
 *     the cache has the newest (CACHE-1). What is read goes to the cache, by the rule of all that reads bring (CACHE-2).
 */
import type { AlignedBuffer } from '@aiokv/aio';
import type { Sequence } from '@aiokv/core';
import type { ValueCache } from '../cache/value-cache.ts';
import type { RangeVisitor, Ranges, SpanReader } from '../file/span-reader.ts';
import { expiryOf, fileOffsetOf, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import type { LeafEntry } from '../format/index-entry.ts';
import type { Scan } from '../clean/scan-order.ts';
import { isExtent, recordBytes, sequenceOf } from '../format/record.ts';
import type { Fragment } from '../format/extent.ts';
import type { Block } from '../format/words.ts';
import { wrongRecord } from './record-check.ts';
import type { WantedRecord } from './record-check.ts';
import type { RecordReader, UnwrittenRecords, ValueTaker } from './record-reader.ts';
import type { ReadResult } from './results.ts';
import type { RowMemory } from './row-memory.ts';
import { Window } from './window.ts';

export interface WindowReaderParts {
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly log: UnwrittenRecords;
  readonly index: ValueTaker & { readonly values: ValueCache };
}

/** Values in fragments of one window that are read at once. */
const LONG_AT_ONCE = 8;

/** Room for places at first. */
const FIRST_PLACES = 16;
const NO_OFFSETS = new Float64Array(0);
const NO_NUMBERS = new Uint32Array(0);

/** Records of a window that are on the device. Of a window that the cache answers it makes nothing. */
class Places implements Ranges {
  count = 0;
  offsets: Float64Array = NO_OFFSETS;
  lengths: Uint32Array = NO_NUMBERS;
  /** The entry of each. */
  indices: Uint32Array = NO_NUMBERS;
  readonly #capacity: number;

  /** @param capacity places that it has room for before it grows */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  add(index: number, fileOffset: number, lengthBytes: number): void {
    if (this.count === this.offsets.length) this.#grow();
    const at = this.count++;
    this.offsets[at] = fileOffset;
    this.lengths[at] = lengthBytes;
    this.indices[at] = index;
  }

  #grow(): void {
    const { offsets, lengths, indices } = this;
    const length = Math.max(this.#capacity, 2 * this.count);
    this.offsets = new Float64Array(length);
    this.offsets.set(offsets);
    this.lengths = new Uint32Array(length);
    this.lengths.set(lengths);
    this.indices = new Uint32Array(length);
    this.indices.set(indices);
  }
}

/** A window whose values are being read. */
export class WindowRead implements RangeVisitor, ReadResult, WantedRecord, Scan {
  readonly window: Window;
  readonly #parts: WindowReaderParts;
  /** Long reads. */
  readonly #near: Places;
  /** What is read alone. */
  readonly #alone = new Places(FIRST_PLACES);
  /** Bytes of the records in it, ... */
  recordBytes = 0;
  /** ... and what they have cost (`SpanReader.read`). */
  costBytes = 0;
  #aloneLeft = 0;
  #wake: (() => void) | null = null;
  lengthBytes = 0;
  key: Uint8Array = new Uint8Array(0);
  keyAt = 0;
  keyBytes = 0;
  readonly fragment: Fragment | null = null;
  readonly sequence = 0;

  /** WINDOW-3. The last write that the snapshot has seen, in a short range; else undefined. */
  readonly seenAt: Sequence | undefined;

  constructor(parts: WindowReaderParts, memory: RowMemory, seenAt: Sequence | undefined, capacity: number) {
    this.#parts = parts;
    this.seenAt = seenAt;
    this.window = new Window(memory, capacity);
    this.#near = new Places(capacity);
  }

  /** Adds an entry without its value. */
  meetKey(key: Uint8Array, keyBytes: number, entry: LeafEntry, countedBytes: number): void {
    const index = this.window.add(key, keyBytes, countedBytes);
    const refusal = this.#parts.reader.refusalFor(entry);
    if (refusal !== null) this.window.fail(index, refusal);
  }

  /** Adds an entry. WINDOW-2. */
  meet(key: Uint8Array, keyBytes: number, entry: LeafEntry, countedBytes: number): void {
    const { window } = this;
    const { reader, log } = this.#parts;
    const index = window.add(key, keyBytes, countedBytes);
    if (isInline(entry)) {
      const refusal = reader.refusalFor(entry);
      if (refusal === null) window.takeInline(index, entry);
      else window.fail(index, refusal);
      return;
    }
    if (this.seenAt !== undefined && this.#takeCached(index, key, keyBytes, this.seenAt)) return;
    const fileOffset = fileOffsetOf(entry);
    const place = log.unwritten(fileOffset);
    if (!isInFragments(entry)) window.reserve(index, lengthOf(entry) - recordBytes(keyBytes, 0, expiryOf(entry)));
    if (isInFragments(entry) || (place !== null && isExtent(place.block.view, place.offset))) {
      this.#alone.add(index, fileOffset, lengthOf(entry));
    } else if (place === null) {
      this.#near.add(index, fileOffset, lengthOf(entry));
      this.recordBytes += lengthOf(entry);
    } else this.#take(index, place.block, place.offset);
  }

  /** How many times the bytes of its records the reads have cost (`SpanReader.read`). In order it is hardly more than 1. */
  get scatter(): number {
    return this.recordBytes === 0 ? 1 : this.costBytes / this.recordBytes;
  }

  /** The keys of the first entry and of the last one. */
  endKeys(): [Buffer, Buffer] {
    return [this.window.keyOf(0, false), this.window.keyOf(this.window.count - 1, false)];
  }

  /** Settles when all values are there, or the window knows why not. Never rejects. */
  async finish(isStopped: () => boolean): Promise<void> {
    if (this.#near.count > 0) this.costBytes = await this.#parts.spans.read(this.#near, this, isStopped);
    const alone = this.#alone;
    for (let at = 0; at < alone.count && !isStopped(); at++) {
      if (this.#aloneLeft === LONG_AT_ONCE) await this.#woken();
      if (isStopped()) break;
      const index = alone.indices[at] as number;
      const keyBytes = this.window.keyBytesOf(index);
      this.#aloneLeft++;
      const [offset, length] = [alone.offsets[at] as number, alone.lengths[at] as number];
      this.#parts.reader.read(offset, length, this.window.keyOf(index, true), keyBytes, this, index);
    }
    while (this.#aloneLeft > 0) await this.#woken();
  }

  /** @internal A record of a long read. WINDOW-1. */
  read(at: number, block: AlignedBuffer, blockAt: number): void {
    const { window } = this;
    const index = this.#near.indices[at] as number;
    this.lengthBytes = this.#near.lengths[at] as number;
    this.keyAt = window.keyOffset(index);
    this.key = window.keyIn(index);
    this.keyBytes = window.keyBytesOf(index);
    if (wrongRecord(block, blockAt, this) !== null || isExtent(block.view, blockAt)) this.unreadable(at);
    else this.#take(index, block, blockAt);
  }

  /** @internal */
  unreadable(at: number): void {
    const { indices, offsets, lengths } = this.#near;
    this.#alone.add(indices[at] as number, offsets[at] as number, lengths[at] as number);
  }

  /** @internal A record that was read alone. */
  found(index: number, value: Buffer): void {
    this.window.takeValue(index, value);
    this.#ended();
  }

  /** @internal */
  failed(index: number, error: Error): void {
    this.window.fail(index, error);
    this.#ended();
  }

  #take(index: number, block: Block, at: number): void {
    const refusal = this.#parts.reader.refusalOf(sequenceOf(block.view, at));
    if (refusal !== null) {
      this.window.fail(index, refusal);
      return;
    }
    this.window.takeRecord(index, block, at);
    if (this.seenAt !== undefined) this.#parts.index.cacheValue(block, at, this.seenAt);
  }

  /** WINDOW-3. Returns whether the entry has its value, or its failure. */
  #takeCached(index: number, key: Uint8Array, keyBytes: number, seenAt: Sequence): boolean {
    const { values } = this.#parts.index;
    if (!values.find(key, keyBytes) || values.version > seenAt) return false;
    const refusal = this.#parts.reader.refusalOf(values.version);
    if (refusal === null) this.window.takeCached(index, values);
    else this.window.fail(index, refusal);
    return true;
  }

  #ended(): void {
    this.#aloneLeft--;
    this.#wake?.();
    this.#wake = null;
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
