/**
 * The entries of a range that an iterator reads together, in the order of the walk. It owns their memory and knows how
 * far they are good; window-reader.ts fills it.
 *
 * ```
 *   entry        0       1       2       3       4
 *   key          ■       ■       ■       ■       ■        when the walk meets it, and room for the value behind it
 *   record       place   inline  frame   place   place    of the value: on the device, or in memory
 *   value        ■       ■       ■       -       error    in the order in which they are read
 *                                                └─ end: what is behind it is not given (ITERATOR-3)
 * ```
 */
import type { ValueCache } from '../cache/value-cache.ts';
import type { LeafEntry } from '../format/index-entry.ts';
import { INLINE_BYTES_MAX, copyInlineTo, inlineValueBytes } from '../format/index-entry.ts';
import { RECORD_HEADER_BYTES } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import type { RowMemory } from './row-memory.ts';

/** Memory that an entry takes here beside key and value. */
export const NOTE_BYTES = 40;

/** Of the arrays that a window has. */
const ENTRY_BYTES = 8 + 8 + 4 + 4 + 2;

/** An inline value on its way to its place. */
const INLINE = new Uint8Array(INLINE_BYTES_MAX);

export class Window {
  count = 0;
  /** Entries from here on are not given: one of them cannot be read. */
  #end = Infinity;
  #failure: Error | null = null;
  readonly #memory: RowMemory;
  /** Of each entry. They share one piece of memory: a window of a short range is made for each call. */
  #keyPlaces!: Float64Array;
  #keyBytes!: Uint16Array;
  #valuePlaces!: Float64Array;
  #valueBytes!: Uint32Array;
  /** What the iterator counts of each. */
  #countedBytes!: Uint32Array;
  /** Values that were read alone and have memory of their own. */
  #own: Map<number, Buffer> | null = null;

  /** @param capacity entries that it has room for before it grows */
  constructor(memory: RowMemory, capacity: number) {
    this.#memory = memory;
    this.#makeRoom(capacity);
  }

  /** Entries that can be given. */
  get end(): number {
    return Math.min(this.count, this.#end);
  }

  /** Why the entry behind them cannot be, or null. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Adds an entry. Copies the key. Returns its index. */
  add(key: Uint8Array, keyBytes: number, countedBytes: number): number {
    if (this.count === this.#keyPlaces.length) this.#grow();
    const index = this.count++;
    const place = this.#memory.take(keyBytes);
    this.#memory.write(place, keyBytes, key, 0);
    this.#keyPlaces[index] = place;
    this.#keyBytes[index] = keyBytes;
    this.#countedBytes[index] = countedBytes;
    return index;
  }

  /** Takes room for the value of the last entry: values lie in key order, whatever the order in which they are read. */
  reserve(index: number, valueBytes: number): void {
    this.#valuePlaces[index] = this.#memory.take(valueBytes);
    this.#valueBytes[index] = valueBytes;
  }

  /** The value is that of a record. Room is reserved for it. */
  takeRecord(index: number, block: Block, at: number): void {
    const from = at + RECORD_HEADER_BYTES + this.keyBytesOf(index);
    this.#memory.write(this.#valuePlaces[index] as number, this.#valueBytes[index] as number, block.bytes, from);
  }

  /** The value is the one that was found in the cache. Not in lent memory, where it may lie in two pieces. */
  takeCached(index: number, values: ValueCache): void {
    const { valueBytes } = values;
    this.reserve(index, valueBytes);
    const place = this.#valuePlaces[index] as number;
    values.copyTo(this.#memory.bytesOf(place, valueBytes), this.#memory.offsetOf(place, valueBytes));
  }

  /** The value is in the entry. */
  takeInline(index: number, entry: LeafEntry): void {
    const valueBytes = inlineValueBytes(entry);
    this.reserve(index, valueBytes);
    copyInlineTo(entry, INLINE, 0);
    this.#memory.write(this.#valuePlaces[index] as number, valueBytes, INLINE, 0);
  }

  /** The value has memory of its own. */
  takeValue(index: number, value: Buffer): void {
    this.#own ??= new Map();
    this.#own.set(index, value);
  }

  /** The entry cannot be given. */
  fail(index: number, error: Error): void {
    if (index >= this.#end) return;
    this.#end = index;
    this.#failure = error;
  }

  /** No entry is behind the last that was added: the next cannot be found. */
  failBehind(error: Error): void {
    this.fail(this.count, error);
  }

  countedBytesOf(index: number): number {
    return this.#countedBytes[index] as number;
  }

  keyBytesOf(index: number): number {
    return this.#keyBytes[index] as number;
  }

  /** Where the key lies: `keyIn(index)` from here on. Valid until the next call. */
  keyOffset(index: number): number {
    return this.#memory.offsetOf(this.#keyPlaces[index] as number, this.keyBytesOf(index));
  }

  keyIn(index: number): Uint8Array {
    return this.#memory.bytesOf(this.#keyPlaces[index] as number, this.keyBytesOf(index));
  }

  /** @param isShared see SLABS-1; else in memory of its own */
  keyOf(index: number, isShared: boolean): Buffer {
    return this.#memory.at(this.#keyPlaces[index] as number, this.#keyBytes[index] as number, isShared);
  }

  /** As `keyOf`. */
  valueOf(index: number, isShared: boolean): Buffer {
    const own = this.#own?.get(index);
    if (own !== undefined) return own;
    return this.#memory.at(this.#valuePlaces[index] as number, this.#valueBytes[index] as number, isShared);
  }

  /** Entries before this one are not looked at any more. */
  passed(index: number): void {
    this.#memory.freeBefore(this.#keyPlaces[index] as number);
  }

  /** Nothing of the window is looked at any more. */
  free(): void {
    this.#memory.free();
  }

  #makeRoom(capacity: number): void {
    const memory = new ArrayBuffer(ENTRY_BYTES * capacity);
    this.#keyPlaces = new Float64Array(memory, 0, capacity);
    this.#valuePlaces = new Float64Array(memory, 8 * capacity, capacity);
    this.#valueBytes = new Uint32Array(memory, 16 * capacity, capacity);
    this.#countedBytes = new Uint32Array(memory, 20 * capacity, capacity);
    this.#keyBytes = new Uint16Array(memory, 24 * capacity, capacity);
  }

  #grow(): void {
    const [keyPlaces, valuePlaces] = [this.#keyPlaces, this.#valuePlaces];
    const [valueBytes, countedBytes, keyBytes] = [this.#valueBytes, this.#countedBytes, this.#keyBytes];
    this.#makeRoom(2 * this.count);
    this.#keyPlaces.set(keyPlaces);
    this.#valuePlaces.set(valuePlaces);
    this.#valueBytes.set(valueBytes);
    this.#countedBytes.set(countedBytes);
    this.#keyBytes.set(keyBytes);
  }
}
