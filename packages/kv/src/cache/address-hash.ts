/**
 * The hash of a key by which its address is found: two words of 32 bits that are independent of one another. With one, some of a
 * hundred million keys would share theirs too often.
 */
import { mixedWell } from './key-words.ts';

export class AddressHash {
  high = 0;
  low = 0;

  /** Hashes a key in words, as a `Probe` has them, with zeros behind it. */
  load(words: Uint32Array, lengthBytes: number): void {
    let high = lengthBytes ^ 0x243f6a88;
    let low = lengthBytes ^ 0x85a308d3;
    const count = (lengthBytes + 3) >>> 2;
    for (let i = 0; i < count; i++) {
      const word = words[i] as number;
      high = Math.imul(high ^ word, 0x9e3779b1);
      high ^= high >>> 15;
      low = Math.imul(low ^ word, 0x85ebca6b);
      low ^= low >>> 13;
    }
    this.high = mixedWell(high) >>> 0;
    this.low = mixedWell(low ^ high) >>> 0;
  }
}
