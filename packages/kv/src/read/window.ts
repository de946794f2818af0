/**
 * The entries of a range that an iterator reads together, in the order of the walk. It owns their memory and knows how
 * far they are good; window-reader.ts fills it.
 *
 * ```
 *   entry        0       1       2       3       4
 *   key          ■       ■       ■       ■       ■        packed, when the walk meets it
 *   record       place   inline  frame   place   place    of the value: on the device, or in memory
 *   value        ■       ■       ■       -       error    packed, in the order in which they are read
 *                                                └─ end: what is behind it is not given (ITERATOR-3)
 * ```
 */
import type { LeafEntry } from '../format/index-entry.ts';
import { copyInlineTo, inlineValueBytes } from '../format/index-entry.ts';
import { copyValueTo, valueBytesOf } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import { Slabs } from './slabs.ts';

const FIRST_ENTRIES = 16;
/** Memory that an entry takes here beside key and value. */
export const NOTE_BYTES = 40;

export class Window {
  count = 0;
  /** Entries from here on are not given: one of them cannot be read. */
  #end = Infinity;
  #failure: Error | null = null;
  readonly #slabs = new Slabs();
  #keyPlaces = new Float64Array(FIRST_ENTRIES);
  #keyBytes = new Uint16Array(FIRST_ENTRIES);
  #valuePlaces = new Float64Array(FIRST_ENTRIES);
  #valueBytes = new Uint32Array(FIRST_ENTRIES);
  /** What the iterator counts of each. */
  #countedBytes = new Uint32Array(FIRST_ENTRIES);

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
    const place = this.#slabs.take(keyBytes);
    const slab = this.#slabs.slabOf(place);
    const at = this.#slabs.offsetOf(place);
    for (let i = 0; i < keyBytes; i++) slab[at + i] = key[i] as number;
    this.#keyPlaces[index] = place;
    this.#keyBytes[index] = keyBytes;
    this.#countedBytes[index] = countedBytes;
    return index;
  }

  /** The value is that of a record. */
  takeRecord(index: number, block: Block, at: number): void {
    const slabs = this.#slabs;
    const valueBytes = valueBytesOf(block.view, at);
    const place = slabs.take(valueBytes);
    copyValueTo(block, at, slabs.slabOf(place), slabs.offsetOf(place));
    this.#valuePlaces[index] = place;
    this.#valueBytes[index] = valueBytes;
  }

  /** The value is in the entry. */
  takeInline(index: number, entry: LeafEntry): void {
    const slabs = this.#slabs;
    const valueBytes = inlineValueBytes(entry);
    const place = slabs.take(valueBytes);
    copyInlineTo(entry, slabs.slabOf(place), slabs.offsetOf(place));
    this.#valuePlaces[index] = place;
    this.#valueBytes[index] = valueBytes;
  }

  /** The value has memory of its own. */
  takeValue(index: number, value: Buffer): void {
    this.#valuePlaces[index] = this.#slabs.add(value);
    this.#valueBytes[index] = value.length;
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

  /** Where the key lies: `keySlab(index)` from here on. */
  keyOffset(index: number): number {
    return this.#slabs.offsetOf(this.#keyPlaces[index] as number);
  }

  keySlab(index: number): Buffer {
    return this.#slabs.slabOf(this.#keyPlaces[index] as number);
  }

  /** @param isShared see SLABS-1; else in memory of its own */
  keyOf(index: number, isShared: boolean): Buffer {
    return this.#slabs.at(this.#keyPlaces[index] as number, this.#keyBytes[index] as number, isShared);
  }

  /** As `keyOf`. */
  valueOf(index: number, isShared: boolean): Buffer {
    return this.#slabs.at(this.#valuePlaces[index] as number, this.#valueBytes[index] as number, isShared);
  }

  #grow(): void {
    const length = 2 * this.count;
    const longer = <T extends Uint16Array | Uint32Array | Float64Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#keyPlaces = longer(new Float64Array(length), this.#keyPlaces);
    this.#keyBytes = longer(new Uint16Array(length), this.#keyBytes);
    this.#valuePlaces = longer(new Float64Array(length), this.#valuePlaces);
    this.#valueBytes = longer(new Uint32Array(length), this.#valueBytes);
    this.#countedBytes = longer(new Uint32Array(length), this.#countedBytes);
  }
}
