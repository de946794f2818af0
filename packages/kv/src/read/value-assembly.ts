/**
 * One value that is put together from its fragments, wherever they come from. When each is read is record-reader.ts.
 *
 * The value's memory is taken when its first fragment arrives, and is the only copy of it.
 */
import { readTable } from '../format/extent.ts';
import type { Extent, Fragment } from '../format/extent.ts';
import {
  RECORD_HEADER_BYTES,
  RecordKind,
  checkOf,
  keyBytesOf,
  kindOf,
  sequenceOf,
  valueBytesOf,
} from '../format/record.ts';
import type { Block } from '../format/words.ts';

export class Assembly {
  /** Of the write, which is that of the record with the table. */
  readonly version: number;
  readonly key: Uint8Array;
  readonly #extent: Extent;
  #value: Buffer | null = null;
  #left: number;
  #next = 0;
  /** Where the fragment that is asked for next begins in the value. */
  #nextAt = 0;

  private constructor(version: number, key: Uint8Array, extent: Extent) {
    this.version = version;
    this.key = key;
    this.#extent = extent;
    this.#left = extent.fragments.length;
  }

  /** Of the record at `at`, which was checked; null when it has no table. */
  static of({ bytes, view }: Block, at: number): Assembly | null {
    const keyBytes = keyBytesOf(view, at);
    const keyAt = at + RECORD_HEADER_BYTES;
    const extent = readTable(view, keyAt + keyBytes, valueBytesOf(view, at), keyBytes);
    if (extent === null) return null;
    return new Assembly(sequenceOf(view, at), bytes.slice(keyAt, keyAt + keyBytes), extent);
  }

  /** The fragment to be asked for, or null when all have been. */
  get next(): Fragment | null {
    return this.#extent.fragments[this.#next] ?? null;
  }

  /** Sequence of that fragment: those of the fragments are just before that of the put. */
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

  /** Copies the fragment that stands at `at` to its place in the value; whether the value is whole. */
  take({ bytes, view }: Block, at: number, placeInValue: number): boolean {
    this.#value ??= Buffer.allocUnsafeSlow(this.#extent.valueBytes);
    const from = at + RECORD_HEADER_BYTES + this.key.length;
    this.#value.set(bytes.subarray(from, from + valueBytesOf(view, at)), placeInValue);
    this.#left--;
    return this.#left === 0;
  }

  /** Once it is whole. */
  get value(): Buffer {
    return this.#value as Buffer;
  }
}

/** What is wrong with a record that was found whole and with the right key, or null when it is the fragment that is meant. */
export function fragmentFault({ view }: Block, at: number, fragment: Fragment, sequence: number): string | null {
  if (kindOf(view, at) !== RecordKind.fragment) return 'kind';
  if (checkOf(view, at) !== fragment.check) return 'another check';
  return sequenceOf(view, at) === sequence ? null : 'sequence';
}
