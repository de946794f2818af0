/**
 * Assembles one value from its fragments. record-reader.ts decides when each fragment is read.
 *
 * The memory of the value is allocated when its first fragment arrives, and is its only copy.
 */
import { readTable } from '../format/extent.ts';
import type { Extent, Fragment } from '../format/extent.ts';
import { RECORD_HEADER_BYTES, expiresAtOf, keyBytesOf, sequenceOf, valueBytesOf } from '../format/record.ts';
import type { Block } from '../format/words.ts';

export class Assembly {
  /** Sequence of the put, whose record has the table. */
  readonly version: number;
  readonly key: Uint8Array;
  /** When the value expires; 0: never. */
  readonly expiresAtMs: number;
  readonly #extent: Extent;
  #value: Buffer | null = null;
  #left: number;
  #next = 0;
  /** Where the next fragment begins in the value. */
  #nextAt = 0;

  private constructor(version: number, key: Uint8Array, extent: Extent, expiresAtMs: number) {
    this.version = version;
    this.expiresAtMs = expiresAtMs;
    this.key = key;
    this.#extent = extent;
    this.#left = extent.fragments.length;
  }

  /** For the record at `at`, which was checked. Null if its table is damaged. */
  static of({ bytes, view }: Block, at: number): Assembly | null {
    const keyBytes = keyBytesOf(view, at);
    const keyAt = at + RECORD_HEADER_BYTES;
    const extent = readTable(view, keyAt + keyBytes, valueBytesOf(view, at), keyBytes);
    if (extent === null) return null;
    return new Assembly(sequenceOf(view, at), bytes.slice(keyAt, keyAt + keyBytes), extent, expiresAtOf(view, at));
  }

  /** The next fragment to request, or null. */
  get next(): Fragment | null {
    return this.#extent.fragments[this.#next] ?? null;
  }

  /** Sequence of that fragment: fragments have the sequences just before the put's. */
  get nextSequence(): number {
    return this.version - this.#extent.fragments.length + this.#next;
  }

  /** Where that fragment begins in the value. */
  get nextAt(): number {
    return this.#nextAt;
  }

  advance(): void {
    const fragment = this.next as Fragment;
    this.#nextAt += fragment.lengthBytes - RECORD_HEADER_BYTES - this.key.length;
    this.#next++;
  }

  /** Copies the fragment at `at` to its place in the value. Returns whether the value is complete. */
  take({ bytes, view }: Block, at: number, placeInValue: number): boolean {
    this.#value ??= Buffer.allocUnsafeSlow(this.#extent.valueBytes);
    const from = at + RECORD_HEADER_BYTES + this.key.length;
    this.#value.set(bytes.subarray(from, from + valueBytesOf(view, at)), placeInValue);
    this.#left--;
    return this.#left === 0;
  }

  /** Valid once it is complete. */
  get value(): Buffer {
    return this.#value as Buffer;
  }
}
