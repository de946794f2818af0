/** Encoded keys, copied side by side: a long `getMany` needs them in later turns (KEYS-1). */
import { createKeyScratch, encodeKey } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';

/** Room for keys of this many bytes at first. */
const USUAL_KEY_BYTES = 32;

export class KeyList {
  readonly length: number;
  /** Where each begins; the last begins behind the last key. */
  readonly #starts: Float64Array;
  #bytes: Uint8Array;

  /** @throws as `encodeKey` */
  constructor(keys: readonly Bytes[]) {
    this.length = keys.length;
    this.#starts = new Float64Array(keys.length + 1);
    this.#bytes = new Uint8Array(keys.length * USUAL_KEY_BYTES);
    const scratch = createKeyScratch();
    let end = 0;
    for (let index = 0; index < keys.length; index++) {
      const keyBytes = encodeKey(keys[index] as Bytes, scratch);
      if (end + keyBytes > this.#bytes.length) this.#grow(end + keyBytes);
      for (let i = 0; i < keyBytes; i++) this.#bytes[end + i] = scratch[i] as number;
      end += keyBytes;
      this.#starts[index + 1] = end;
    }
  }

  /** Copies a key to the start of `scratch`. Returns its length. */
  copyTo(scratch: Uint8Array, index: number): number {
    const from = this.#starts[index] as number;
    const keyBytes = (this.#starts[index + 1] as number) - from;
    for (let i = 0; i < keyBytes; i++) scratch[i] = this.#bytes[from + i] as number;
    return keyBytes;
  }

  #grow(bytes: number): void {
    const longer = new Uint8Array(2 * bytes);
    longer.set(this.#bytes);
    this.#bytes = longer;
  }
}
