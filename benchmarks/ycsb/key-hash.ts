/**
 * The hash that scatters record numbers over the key space: 64-bit FNV-1a over the eight octets of the
 * number, lowest first, and then the absolute value, as in the reference's `Utils.fnvhash64`. (A port that
 * feeds the octets in another order makes other keys.)
 *
 * JavaScript has no 64-bit integers that are fast, so a hash is kept as two halves of 32 bits, multiplied in
 * limbs of 16. The prime is 2^40 + 0x1b3, so that
 *
 * ```
 *   (high:low) * prime  =  (high:low) * 0x1b3  +  low << 40
 *
 *   low * 0x1b3:   a = low[0..15]  * 0x1b3              a < 2^25
 *                  b = low[16..31] * 0x1b3 + (a >> 16)  b < 2^25
 *                  new low = b[0..15] : a[0..15]        carry into high = b >> 16
 * ```
 *
 * No BigInt, no allocation: an instance holds its last hash.
 */
const BASIS_HIGH = 0xcbf29ce4 | 0;
const BASIS_LOW = 0x84222325 | 0;
const PRIME_LOW = 0x1b3;
const TWO_32 = 0x100000000;
const DECIMAL_CHUNK = 1e9;

export class KeyHash {
  /** The upper 32 bits; not negative after `of`. */
  #high = 0;
  /** The lower 32 bits, as a signed number. */
  #low = 0;

  /** Hashes a whole number up to 2^53 and holds the result. */
  of(value: number): this {
    let high = BASIS_HIGH;
    let low = BASIS_LOW;
    let octets = value | 0;
    for (let i = 0; i < 8; i++) {
      if (i === 4) octets = Math.floor(value / TWO_32) | 0;
      low ^= octets & 0xff;
      octets >>= 8;
      const a = (low & 0xffff) * PRIME_LOW;
      const b = (low >>> 16) * PRIME_LOW + (a >>> 16);
      high = (Math.imul(high, PRIME_LOW) + (b >>> 16) + (low << 8)) | 0;
      low = (b << 16) | (a & 0xffff);
    }
    if (high < 0) {
      low = -low | 0;
      high = (~high + (low === 0 ? 1 : 0)) | 0;
    }
    this.#high = high;
    this.#low = low;
    return this;
  }

  /** The held hash modulo `count`, which must be less than 2^37 to keep every step exact. */
  modulo(count: number): number {
    const upper = (this.#high >>> 0) % count;
    const middle = (upper * 0x10000 + (this.#low >>> 16)) % count;
    return (middle * 0x10000 + (this.#low & 0xffff)) % count;
  }

  /** The held hash in decimal digits. */
  toString(): string {
    const high = this.#high >>> 0;
    const upper = Math.floor(high / DECIMAL_CHUNK);
    const middle = (high % DECIMAL_CHUNK) * 0x10000 + (this.#low >>> 16);
    const lower = (middle % DECIMAL_CHUNK) * 0x10000 + (this.#low & 0xffff);
    const quotient = upper * TWO_32 + Math.floor(middle / DECIMAL_CHUNK) * 0x10000 + Math.floor(lower / DECIMAL_CHUNK);
    const rest = String(lower % DECIMAL_CHUNK);
    return quotient === 0 ? rest : quotient + rest.padStart(9, '0');
  }
}
