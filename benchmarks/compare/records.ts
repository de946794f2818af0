/**
 * The records that every engine is given: 24-byte keys in an order that is not theirs, and values that do not
 * compress. Making one costs some 150 ns, the same for all engines.
 *
 * ```
 *   key n     "user" │ ten digits: n mixed │ ten digits: n mixed otherwise      n ─► key is one to one below 2^32
 *             "user" │ ten digits: n       │ as above                           where they come in the order of n
 *   value n   bytes of a random source of 16 MiB, from a place that n chooses; a view, nothing is copied
 * ```
 */
import { MIB, Random } from '@aiokv/core';
import type { Put } from '../stores/store.ts';

const KEY_BYTES = 24;
const PREFIX = [...Buffer.from('user')];
const DIGITS = 10;
const SOURCE_BYTES = 16 * MIB;
const ZERO = 48;

export class Records {
  readonly #valueBytes: number;
  readonly #source: Buffer;
  readonly #isInOrder: boolean;

  /**
   * @param sourceBytes of what values are cut from; less where its memory would be in the way
   * @param isInOrder whether a greater n has a greater key
   */
  constructor(valueBytes: number, sourceBytes = SOURCE_BYTES, isInOrder = false) {
    this.#valueBytes = valueBytes;
    this.#isInOrder = isInOrder;
    this.#source = Buffer.from(new Random(1).fill(new Uint8Array(sourceBytes)).buffer);
  }

  key(n: number): Buffer {
    const key = Buffer.allocUnsafe(KEY_BYTES);
    writeKey(key, n, this.#isInOrder);
    return key;
  }

  /** A view that nobody may write to. */
  value(n: number): Buffer {
    const start = ((Math.imul(n, 0x85ebca6b) >>> 0) % ((this.#source.length - this.#valueBytes) >> 3)) << 3;
    return this.#source.subarray(start, start + this.#valueBytes);
  }

  /** Records `first` to `first + count - 1`. */
  puts(first: number, count: number): Put[] {
    const keys = Buffer.allocUnsafeSlow(count * KEY_BYTES);
    const puts = new Array<Put>(count);
    for (let i = 0; i < count; i++) {
      const key = keys.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES);
      writeKey(key, first + i, this.#isInOrder);
      puts[i] = { type: 'put', key, value: this.value(first + i) };
    }
    return puts;
  }

  /** Whether these are the bytes of record `n`; all of them are compared. */
  isValue(n: number, found: Uint8Array | null | undefined): boolean {
    return found !== null && found !== undefined && this.value(n).equals(found);
  }
}

function writeKey(key: Buffer, n: number, isInOrder: boolean): void {
  for (let i = 0; i < PREFIX.length; i++) key[i] = PREFIX[i] as number;
  writeDigits(key, PREFIX.length, isInOrder ? n : mixed(n, 0x9e3779b1));
  writeDigits(key, PREFIX.length + DIGITS, mixed(n, 0xc2b2ae35));
}

function writeDigits(key: Buffer, at: number, value: number): void {
  let rest = value;
  for (let i = at + DIGITS - 1; i >= at; i--) {
    const tenth = Math.floor(rest / 10);
    key[i] = ZERO + rest - tenth * 10;
    rest = tenth;
  }
}

/** One to one on 32 bits: multiplications by odd numbers, and shifts that are undone by themselves. */
function mixed(n: number, factor: number): number {
  let bits = Math.imul(n ^ (n >>> 16), factor);
  bits = Math.imul(bits ^ (bits >>> 15), 0x27d4eb2f);
  return (bits ^ (bits >>> 16)) >>> 0;
}
