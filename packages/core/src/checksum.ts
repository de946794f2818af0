/**
 * Checksums over xxHash (Yann Collet), through `xxhash-wasm`, whose module is compiled once when
 * this file is loaded. Both functions copy their input into the module's memory and hash it there;
 * no view, array or string is made. `xxh32` returns a plain number; the 64-bit value of `xxh64`
 * crosses from WebAssembly as one BigInt, which is why it serves frames and blocks, of which there
 * are few, and `xxh32` serves records, of which there are many.
 */
import createXxhash from 'xxhash-wasm';

const hasher = await createXxhash();
const bigWord = new BigUint64Array(1);
const words = new Uint32Array(bigWord.buffer);

/** XXH32 of the bytes, as an unsigned 32-bit number. */
export function xxh32(bytes: Uint8Array, seed = 0): number {
  return hasher.h32Raw(bytes, seed);
}

/** XXH64 (seed 0) of the bytes, stored little-endian into `target` at `offset`. */
export function writeXxh64(bytes: Uint8Array, target: DataView, offset: number): void {
  bigWord[0] = hasher.h64Raw(bytes);
  target.setUint32(offset, words[0] as number, true);
  target.setUint32(offset + 4, words[1] as number, true);
}

/** Whether XXH64 (seed 0) of the bytes is what stands little-endian in `target` at `offset`. */
export function matchesXxh64(bytes: Uint8Array, target: DataView, offset: number): boolean {
  bigWord[0] = hasher.h64Raw(bytes);
  return target.getUint32(offset, true) === words[0] && target.getUint32(offset + 4, true) === words[1];
}
