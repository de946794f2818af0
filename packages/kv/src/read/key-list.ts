/** Encoded keys, copied side by side: reads of many need them in later turns (KEYS-1). */

/** Room for keys of this many bytes at first. */
const USUAL_KEY_BYTES = 32;

export class KeyList {
  length = 0;
  /** The keys, one behind the other. */
  bytes: Uint8Array;
  /** Where each begins; the last begins behind the last key. */
  readonly #starts: Float64Array;

  /** @param most keys */
  constructor(most: number) {
    this.bytes = new Uint8Array(most * USUAL_KEY_BYTES);
    this.#starts = new Float64Array(most + 1);
  }

  /** Copies the first `keyBytes` of `key`. */
  add(key: Uint8Array, keyBytes: number): void {
    const from = this.startOf(this.length);
    if (from + keyBytes > this.bytes.length) this.#grow(from + keyBytes);
    for (let i = 0; i < keyBytes; i++) this.bytes[from + i] = key[i] as number;
    this.length++;
    this.#starts[this.length] = from + keyBytes;
  }

  startOf(index: number): number {
    return this.#starts[index] as number;
  }

  keyBytesOf(index: number): number {
    return this.startOf(index + 1) - this.startOf(index);
  }

  /** Copies a key to the start of `scratch`. Returns its length. */
  copyTo(scratch: Uint8Array, index: number): number {
    const from = this.startOf(index);
    const keyBytes = this.keyBytesOf(index);
    for (let i = 0; i < keyBytes; i++) scratch[i] = this.bytes[from + i] as number;
    return keyBytes;
  }

  #grow(bytes: number): void {
    const longer = new Uint8Array(2 * bytes);
    longer.set(this.bytes);
    this.bytes = longer;
  }
}
