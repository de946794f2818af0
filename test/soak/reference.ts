/**
 * What a file must hold, in memory, and which of its blocks are being read or written: overlapping requests have no
 * order, so what they leave behind could not be known.
 *
 * SOAK-1. A block that is being written is neither read nor written by another request.
 * SOAK-2. The bytes change when a write has completed, by as much as it says, and not before.
 */
import { assert } from '@aiokv/core';
import type { Random } from '@aiokv/core';

export const BLOCK_BYTES = 4096;
const WRITING = 0xffff;
const ATTEMPTS = 8;

export interface Range {
  readonly block: number;
  readonly blocks: number;
}

export class Reference {
  readonly bytes: Uint8Array;
  /** For each block: how many read it, or `WRITING`. */
  readonly #users: Uint16Array;

  constructor(sizeBytes: number) {
    assert(sizeBytes % BLOCK_BYTES === 0, 'a file has whole blocks');
    this.bytes = new Uint8Array(sizeBytes);
    this.#users = new Uint16Array(sizeBytes / BLOCK_BYTES);
  }

  /** Takes a range at random for a request; null when those that were looked at are taken. */
  take(random: Random, blocks: number, isWrite: boolean): Range | null {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const block = random.below(this.#users.length - blocks + 1);
      const users = this.#users.subarray(block, block + blocks);
      if (users.some((count) => (isWrite ? count !== 0 : count === WRITING))) continue;
      for (let i = 0; i < blocks; i++) users[i] = isWrite ? WRITING : (users[i] as number) + 1;
      return { block, blocks };
    }
    return null;
  }

  giveBack({ block, blocks }: Range): void {
    for (let i = block; i < block + blocks; i++) {
      const users = this.#users[i] as number;
      assert(users > 0, 'a range is given back once');
      this.#users[i] = users === WRITING ? 0 : users - 1;
    }
  }

  /** SOAK-2. */
  wrote({ block }: Range, pieces: readonly Uint8Array[], lengthBytes: number): void {
    let at = block * BLOCK_BYTES;
    let left = lengthBytes;
    for (const piece of pieces) {
      const part = piece.subarray(0, left);
      this.bytes.set(part, at);
      at += part.length;
      left -= part.length;
    }
  }

  /** The place in the file of the first byte that is not as it must be, or -1. */
  firstWrongByte({ block }: Range, pieces: readonly Uint8Array[]): number {
    let at = block * BLOCK_BYTES;
    for (const piece of pieces) {
      const expected = this.bytes.subarray(at, at + piece.length);
      if (Buffer.compare(piece, expected) !== 0) return at + piece.findIndex((byte, i) => byte !== expected[i]);
      at += piece.length;
    }
    return -1;
  }
}
