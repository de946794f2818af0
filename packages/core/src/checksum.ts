/**
 * Checksums over xxHash (Yann Collet). The hasher is made at the first sum, not when this file is loaded: nothing here
 * fails or waits at import. `xxh32` returns a plain number; the 64-bit value of XXH64 crosses from WebAssembly as one
 * BigInt, which is why it serves frames and blocks, of which there are few, and `xxh32` serves records, of which there
 * are many.
 *
 * What a sum costs: `node --import=tsx benchmarks/micro/checksum.ts`.
 */
import { createHasher } from './xxhash.ts';
import type { Hasher } from './xxhash.ts';

let made: Hasher | undefined;

/** XXH32 of the bytes, as an unsigned 32-bit number. */
export function xxh32(bytes: Uint8Array, seed = 0): number {
  return (made ??= createHasher()).xxh32(bytes, seed);
}

/** XXH64 (seed 0) of the bytes, stored little-endian into `target` at `offset`. */
export function writeXxh64(bytes: Uint8Array, target: DataView, offset: number): void {
  const hasher = (made ??= createHasher());
  hasher.xxh64(bytes);
  target.setUint32(offset, hasher.words[0] as number, true);
  target.setUint32(offset + 4, hasher.words[1] as number, true);
}

/** Whether XXH64 (seed 0) of the bytes is what stands little-endian in `target` at `offset`. */
export function matchesXxh64(bytes: Uint8Array, target: DataView, offset: number): boolean {
  const hasher = (made ??= createHasher());
  hasher.xxh64(bytes);
  return target.getUint32(offset, true) === hasher.words[0] && target.getUint32(offset + 4, true) === hasher.words[1];
}
