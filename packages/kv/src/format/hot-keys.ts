/**
 * A block of the file of hot keys, `data.aiokv.hot`. Each block stands for itself: one that is damaged takes no other with it.
 *
 * ```
 *   0      8       12        16     32            36     40        48
 *   ├──────┼───────┼─────────┼──────┼─────────────┼──────┼─────────┼───────────┬─────────────┬─────┬──
 *   │ hash │ magic │ version │ uuid │ entry bytes │ keys │    0    │ key bytes │ value bytes │ key │ … and so on, zeros behind
 *   │ u64  │ u32   │ u32: 1  │      │ u32         │ u32  │         │ u16       │ u32         │     │   the last
 *   └──────┴───────┴─────────┴──────┴─────────────┴──────┴─────────┴───────────┴─────────────┴─────┴──
 *   hash = XXH64 of bytes 8 to the end of the last entry
 * ```
 *
 * There are keys and no places, so nothing here can be wrong in a way that matters: a key that is gone is not found.
 *
 * docs/format.md, "Hot keys". Pure encoding and decoding, no files.
 */
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { MAX_KEY_BYTES } from './record.ts';
import type { Block } from './words.ts';

export const HOT_BLOCK_BYTES = 64 * KIB;
const HEADER_BYTES = 48;
const MAGIC = 0x48484b41; // 'AKHH'
const VERSION = 1;
const HASH_FROM = 8;
const UUID_AT = 16;
/** In front of a key. */
const ENTRY_BYTES = 6;

/** A key as it is cached: little-endian words from `base` on; and the length of its value. */
export interface HotKey {
  words: Uint32Array;
  base: number;
  keyBytes: number;
  valueBytes: number;
}

/** Fills a block with keys, the hottest first. Made once, used again. */
export class HotBlockWriter {
  readonly #block: Block;
  #end = HEADER_BYTES;
  #keys = 0;

  /** @param block of `HOT_BLOCK_BYTES` */
  constructor(block: Block) {
    this.#block = block;
  }

  get isEmpty(): boolean {
    return this.#keys === 0;
  }

  /** Adds a key and the length of its value: some 100 ns. Returns false, and adds nothing, if the block has no room for it. */
  add({ words, base, keyBytes, valueBytes }: Readonly<HotKey>): boolean {
    const at = this.#end;
    const keyAt = at + ENTRY_BYTES;
    if (keyAt + keyBytes > HOT_BLOCK_BYTES) return false;
    const { bytes, view } = this.#block;
    view.setUint16(at, keyBytes, true);
    view.setUint32(at + 2, valueBytes, true);
    for (let i = 0; i < keyBytes; i++) bytes[keyAt + i] = (words[base + (i >>> 2)] as number) >>> ((i & 3) << 3);
    this.#end = keyAt + keyBytes;
    this.#keys++;
    return true;
  }

  /** Completes the block. The next key begins another one in its place. */
  seal(uuid: Uint8Array): void {
    const { bytes, view } = this.#block;
    bytes.fill(0, 0, HEADER_BYTES);
    bytes.fill(0, this.#end);
    view.setUint32(8, MAGIC, true);
    view.setUint32(12, VERSION, true);
    bytes.set(uuid, UUID_AT);
    view.setUint32(32, this.#end - HEADER_BYTES, true);
    view.setUint32(36, this.#keys, true);
    writeXxh64(bytes.subarray(HASH_FROM, this.#end), view, 0);
    this.#end = HEADER_BYTES;
    this.#keys = 0;
  }
}

/** Goes over the keys of a block. Made once, used again. */
export class HotBlockReader {
  /** The key is `bytes[keyAt]` to `bytes[keyAt + keyBytes - 1]`. */
  keyAt = 0;
  keyBytes = 0;
  valueBytes = 0;
  readonly bytes: Uint8Array;
  readonly #block: Block;
  #end = 0;

  /** @param block of `HOT_BLOCK_BYTES` */
  constructor(block: Block) {
    this.#block = block;
    this.bytes = block.bytes;
  }

  /** Begins with what is in the block now. It has no keys if it is not whole, of another store, or of an unknown version. */
  begin(uuid: Uint8Array): void {
    const { bytes, view } = this.#block;
    const end = HEADER_BYTES + view.getUint32(32, true);
    const isKnown = view.getUint32(8, true) === MAGIC && view.getUint32(12, true) === VERSION;
    const isOurs = isKnown && uuid.every((byte, i) => bytes[UUID_AT + i] === byte);
    const isWhole = isOurs && end <= HOT_BLOCK_BYTES && matchesXxh64(bytes.subarray(HASH_FROM, end), view, 0);
    this.keyAt = HEADER_BYTES;
    this.keyBytes = 0;
    this.#end = isWhole ? end : 0;
  }

  /** Goes to the next key. Returns false if there is none. */
  next(): boolean {
    const { view } = this.#block;
    const at = this.keyAt + this.keyBytes;
    if (at + ENTRY_BYTES > this.#end) return false;
    this.keyBytes = view.getUint16(at, true);
    this.valueBytes = view.getUint32(at + 2, true);
    this.keyAt = at + ENTRY_BYTES;
    return this.keyBytes <= MAX_KEY_BYTES && this.keyAt + this.keyBytes <= this.#end;
  }
}
