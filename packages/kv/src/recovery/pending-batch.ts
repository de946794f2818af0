/**
 * Collects the records of a batch during a replay until the last one is there: what to do with which key. The records
 * are packed, because a batch may have millions of them.
 *
 * ```
 *   0      4           12       16         24        32
 *   ├──────┼───────────┼────────┼──────────┼─────────┼─────┬────────────┬─────────┐
 *   │ key  │ offset in │ length │ sequence │ expires │ key │ value, if  │ padding │      a deletion: offset 0
 *   │ bytes│ the file  │ word   │          │         │     │ it is tiny │ to 8    │
 *   └──────┴───────────┴────────┴──────────┴─────────┴─────┴────────────┴─────────┘
 * ```
 */
import { KIB, alignUp, nextTurn } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import { inlineBytesOf } from '../format/index-entry.ts';
import { readU53, writeU53 } from '../format/words.ts';
import type { ReplayTarget } from '../index/replay-target.ts';

interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  usedBytes: number;
}

const HEADER_BYTES = 32;
/** Stands for the offset of a range that is deleted. Records are at multiples of 8. */
const IS_RANGE = 1;
/** Most batches fill less than half of the first chunk. Later chunks are larger. */
const FIRST_CHUNK_BYTES = 16 * KIB;
const CHUNK_BYTES = 1024 * KIB;

export class PendingBatch {
  /** The first chunk is kept for the next batch. */
  readonly #chunks: Chunk[] = [chunkOf(FIRST_CHUNK_BYTES)];

  get isEmpty(): boolean {
    return (this.#chunks[0] as Chunk).usedBytes === 0;
  }

  put(
    bytes: Uint8Array,
    keyAt: number,
    keyBytes: number,
    fileOffset: number,
    lengthWord: number,
    sequence: Sequence,
    expiresAtMs: number,
  ): void {
    const lengthBytes = HEADER_BYTES + bytesKept(keyBytes, lengthWord, expiresAtMs);
    const chunk = this.#chunkFor(lengthBytes);
    const at = chunk.usedBytes;
    chunk.view.setUint32(at, keyBytes, true);
    writeU53(chunk.view, at + 4, fileOffset);
    chunk.view.setUint32(at + 12, lengthWord, true);
    writeU53(chunk.view, at + 16, sequence);
    writeU53(chunk.view, at + 24, expiresAtMs);
    for (let i = HEADER_BYTES; i < lengthBytes; i++) {
      chunk.bytes[at + i] = bytes[keyAt + i - HEADER_BYTES] as number;
    }
    chunk.usedBytes = alignUp(at + lengthBytes, 8);
  }

  delete(bytes: Uint8Array, keyAt: number, keyBytes: number, sequence: Sequence): void {
    this.put(bytes, keyAt, keyBytes, 0, 0, sequence, 0);
  }

  /** The upper bound, of `toBytes`, stands behind the key. */
  deleteRange(bytes: Uint8Array, keyAt: number, keyBytes: number, toBytes: number, sequence: Sequence): void {
    this.put(bytes, keyAt, keyBytes + toBytes, IS_RANGE, toBytes, sequence, 0);
  }

  /** Drops the batch. */
  drop(): void {
    this.#chunks.length = 1;
    (this.#chunks[0] as Chunk).usedBytes = 0;
  }

  /** Applies the batch to the target in order, then drops it. */
  async apply(target: ReplayTarget, budget: TurnBudget): Promise<void> {
    for (const { bytes, view, usedBytes } of this.#chunks) {
      for (let at = 0; at < usedBytes;) {
        const keyBytes = view.getUint32(at, true);
        const fileOffset = readU53(view, at + 4);
        const lengthWord = view.getUint32(at + 12, true);
        const sequence = readU53(view, at + 16) as Sequence;
        const expiresAtMs = readU53(view, at + 24);
        const keyAt = at + HEADER_BYTES;
        if (fileOffset === 0) target.replayDelete(bytes, keyAt, keyBytes, sequence);
        else if (fileOffset === IS_RANGE)
          target.replayDeleteRange(bytes, keyAt, keyBytes - lengthWord, lengthWord, sequence);
        else target.replayPut(bytes, keyAt, keyBytes, fileOffset, lengthWord, sequence, expiresAtMs);
        at = alignUp(keyAt + bytesKept(keyBytes, lengthWord, expiresAtMs), 8);
        if (budget.isSpent()) await nextTurn();
      }
    }
    this.drop();
  }

  #chunkFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1) as Chunk;
    if (last.usedBytes + alignUp(bytes, 8) <= last.bytes.length) return last;
    const next = chunkOf(CHUNK_BYTES);
    this.#chunks.push(next);
    return next;
  }
}

/** Bytes of the key, and of its value if that is tiny. */
function bytesKept(keyBytes: number, lengthWord: number, expiresAtMs: number): number {
  return keyBytes + Math.max(0, inlineBytesOf(keyBytes, lengthWord, expiresAtMs));
}

function chunkOf(bytes: number): Chunk {
  const memory = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(memory), view: new DataView(memory), usedBytes: 0 };
}
