/**
 * The key of a record: `user` and the hash of the record's number (`insertorder=hashed`) or the number itself
 * (`ordered`), filled up with zeros on the left to `zeropadding` digits.
 */
import { KeyHash } from './key-hash.ts';

export class KeyNames {
  readonly #ordered: boolean;
  readonly #digits: number;
  readonly #hash = new KeyHash();

  constructor(ordered: boolean, zeroPadding: number) {
    this.#ordered = ordered;
    this.#digits = zeroPadding;
  }

  of(recordNumber: number): string {
    const digits = this.#ordered ? String(recordNumber) : this.#hash.of(recordNumber).toString();
    return `user${digits.length < this.#digits ? digits.padStart(this.#digits, '0') : digits}`;
  }
}
