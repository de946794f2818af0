/**
 * What fields hold. Random values are printable, six bytes from each random number; values for
 * `dataintegrity=true` follow from key and field alone, so that any reader can check them:
 *
 * ```
 *   user42:field3:-1234567890:987654321:…    cut to the length of the field
 *                 └ hash of all that stands before it, colon included, as Java hashes strings
 * ```
 *
 * Every value is a new buffer that belongs to whom it is given.
 */
import type { Random } from '@aiokv/core';

/** The characters that one random number makes: where its bits lie, and which of them count. */
const SHIFTS = [0, 5, 10, 15, 20, 25] as const;
const MASKS = [31, 63, 95, 31, 63, 95] as const;
const SPACE = 0x20;

export function randomValue(random: Random, lengthBytes: number): Buffer {
  const value = Buffer.allocUnsafe(lengthBytes);
  for (let start = 0; start < lengthBytes; start += SHIFTS.length) {
    const bits = random.uint32();
    const end = Math.min(start + SHIFTS.length, lengthBytes);
    for (let at = start; at < end; at++) {
      const i = at - start;
      value[at] = ((bits >>> (SHIFTS[i] as number)) & (MASKS[i] as number)) + SPACE;
    }
  }
  return value;
}

export class DeterministicValues {
  readonly #lengthBytes: number;
  readonly #expected: Buffer;
  #target: Buffer;
  #written = 0;
  #hash = 0;

  constructor(lengthBytes: number) {
    this.#lengthBytes = lengthBytes;
    this.#expected = Buffer.alloc(lengthBytes);
    this.#target = this.#expected;
  }

  build(key: string, field: string): Buffer {
    return this.#writeInto(Buffer.allocUnsafe(this.#lengthBytes), key, field);
  }

  matches(value: Uint8Array, key: string, field: string): boolean {
    return this.#writeInto(this.#expected, key, field).equals(value);
  }

  #writeInto(target: Buffer, key: string, field: string): Buffer {
    this.#target = target;
    this.#written = 0;
    this.#hash = 0;
    this.#putText(key);
    this.#putText(':');
    this.#putText(field);
    while (this.#written < this.#lengthBytes) {
      this.#putText(':');
      this.#putText(String(this.#hash));
    }
    return target;
  }

  /** What no longer fits is hashed all the same; a write past the end of a buffer does nothing. */
  #putText(text: string): void {
    const target = this.#target;
    let hash = this.#hash;
    let at = this.#written;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      hash = (Math.imul(hash, 31) + code) | 0;
      target[at++] = code;
    }
    this.#hash = hash;
    this.#written = at;
  }
}
