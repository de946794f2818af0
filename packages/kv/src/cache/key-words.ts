/**
 * A key as cached values are looked up by: little-endian words, with zeros behind the key, and their hash. Loaded again and
 * again; it keeps no reference to the bytes of a caller. No attacker gains by keys of one hash: see VTABLE-2.
 */

/** Longer keys are not cached: header and key of a record must lie in one unit of memory. */
const CACHED_KEY_BYTES_MAX = 1000;

export class KeyWords {
  readonly words = new Int32Array((CACHED_KEY_BYTES_MAX + 3) >>> 2);
  /** Length of the key in bytes. */
  length = 0;
  hash = 0;

  /** How many words the key has. */
  get count(): number {
    return (this.length + 3) >>> 2;
  }

  /** Copies the `length` bytes of `source` at `from`, and hashes them: 24 bytes take 25 ns. Returns false if they are too many. */
  load(source: Uint8Array, from: number, length: number): boolean {
    if (length > CACHED_KEY_BYTES_MAX) return false;
    const { words } = this;
    const whole = length >>> 2;
    let hash = length;
    let at = from;
    for (let index = 0; index < whole; index++) {
      const word =
        (source[at] as number) |
        ((source[at + 1] as number) << 8) |
        ((source[at + 2] as number) << 16) |
        ((source[at + 3] as number) << 24);
      words[index] = word;
      hash = mix(hash, word);
      at += 4;
    }
    if ((length & 3) !== 0) {
      let last = 0;
      for (let shift = 0; at < from + length; shift += 8) last |= (source[at++] as number) << shift;
      words[whole] = last;
      hash = mix(hash, last);
    }
    this.length = length;
    this.hash = mixedWell(hash);
    return true;
  }
}

/** The steps of MurmurHash3 (Appleby), for 32 bits. */
function mix(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
  const both = hash ^ mixed;
  return (Math.imul((both << 13) | (both >>> 19), 5) + 0xe6546b64) | 0;
}

/** The last of them: every bit of the hash depends on all others. */
export function mixedWell(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
