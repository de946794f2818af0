/**
 * Memory of the nodes that a wide window has its keys and values in (AHEAD-2): unit by unit, one entry behind the other. What is handed
 * out is copied, so that the units go back as the window is handed out.
 *
 * ```
 *   unit      0             1             2             3
 *   ├ free ───┼─────────────┼─────────────┼─────────────┤      an entry may go over the end of a unit
 *             │ … │k│value  │  │k│value│k │ value       │
 *   place     0 bytes, from the first unit on ─────────►
 * ```
 *
 * LENT-1. A unit is in use from `take` until `freeBefore` or `free`, and is given back once. A place before that is not looked at again.
 */
import { markAsUntransferable } from 'node:worker_threads';
import { KIB } from '@aiokv/core';
import type { KeyIndex } from '../index/key-index.ts';
import { MAX_KEY_BYTES, copyBytes } from '../format/record.ts';
import type { RowMemory } from './row-memory.ts';

/** What is handed out and may share memory is cut from pieces of this size (SLABS-1), ... */
const PIECE_BYTES = 64 * KIB;
/** ... unless it is longer than this. */
const LONGEST_SHARED_BYTES = 8 * KIB;

/** Whose memory it is. */
export interface Lender extends Pick<KeyIndex, 'memory' | 'pager'> {
  /** Units that are lent. */
  lentUnits: number;
}

export class LentMemory implements RowMemory {
  readonly #lender: Lender;
  readonly #unitBytes: number;
  readonly #frames: number[] = [];
  /** LENT-1. Units that were given back. */
  #freed = 0;
  #endBytes = 0;
  /** A key that goes over the end of a unit. */
  readonly #key = new Uint8Array(MAX_KEY_BYTES);
  #piece: Buffer | null = null;
  #pieceAt = 0;

  constructor(lender: Lender) {
    this.#lender = lender;
    this.#unitBytes = lender.memory.nodeBytes;
  }

  take(bytes: number): number {
    const place = this.#endBytes;
    this.#endBytes += bytes;
    while (this.#frames.length * this.#unitBytes < this.#endBytes) {
      this.#frames.push(this.#lender.memory.takeUnit());
      this.#lender.lentUnits++;
      this.#lender.pager.keepWithin();
    }
    return place;
  }

  write(place: number, bytes: number, from: Uint8Array, fromAt: number): void {
    for (let done = 0; done < bytes;) {
      const offset = (place + done) % this.#unitBytes;
      const length = Math.min(bytes - done, this.#unitBytes - offset);
      const frame = this.#frameAt(place + done);
      copyBytes(from, fromAt + done, length, this.#lender.memory.bytesOf(frame), this.#startOf(frame) + offset);
      done += length;
    }
  }

  bytesOf(place: number, bytes: number): Uint8Array {
    if (!this.#isBroken(place, bytes)) return this.#lender.memory.bytesOf(this.#frameAt(place));
    this.#copyTo(place, bytes, this.#key, 0);
    return this.#key;
  }

  offsetOf(place: number, bytes: number): number {
    return this.#isBroken(place, bytes) ? 0 : this.#startOf(this.#frameAt(place)) + (place % this.#unitBytes);
  }

  at(place: number, bytes: number, isShared: boolean): Buffer {
    if (!isShared || bytes > LONGEST_SHARED_BYTES) {
      const own = Buffer.allocUnsafeSlow(bytes);
      this.#copyTo(place, bytes, own, 0);
      return own;
    }
    if (this.#piece === null || bytes > PIECE_BYTES - this.#pieceAt) {
      this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
      // SLABS-2.
      markAsUntransferable(this.#piece.buffer);
      this.#pieceAt = 0;
    }
    const from = this.#pieceAt;
    this.#copyTo(place, bytes, this.#piece, from);
    this.#pieceAt += bytes;
    return this.#piece.subarray(from, from + bytes);
  }

  freeBefore(place: number): void {
    const end = Math.min(this.#frames.length, Math.floor(place / this.#unitBytes));
    for (; this.#freed < end; this.#freed++) {
      this.#lender.memory.freeUnit(this.#frames[this.#freed] as number);
      this.#lender.lentUnits--;
    }
  }

  free(): void {
    this.freeBefore(Infinity);
  }

  #copyTo(place: number, bytes: number, to: Uint8Array, toAt: number): void {
    for (let done = 0; done < bytes;) {
      const offset = (place + done) % this.#unitBytes;
      const length = Math.min(bytes - done, this.#unitBytes - offset);
      const frame = this.#frameAt(place + done);
      copyBytes(this.#lender.memory.bytesOf(frame), this.#startOf(frame) + offset, length, to, toAt + done);
      done += length;
    }
  }

  #isBroken(place: number, bytes: number): boolean {
    return (place % this.#unitBytes) + bytes > this.#unitBytes;
  }

  #frameAt(place: number): number {
    return this.#frames[Math.floor(place / this.#unitBytes)] as number;
  }

  #startOf(frame: number): number {
    return this.#lender.memory.unitIn(frame) * this.#unitBytes;
  }
}
