/**
 * Memory for many short keys and values. A view of shared memory costs a third of memory of its own, which would be a third
 * of what a record of a scan costs.
 *
 * ```
 *   1 KiB │ 2 KiB  │ 4 KiB      │ … │ 64 KiB │ 64 KiB │ one long value │ 64 KiB │ …
 * ```
 *
 * SLABS-1. A slab is never used again: what was handed out of it belongs to whoever has it. Whoever keeps one value keeps the
 *     slab, at most 64 KiB.
 * SLABS-2. Messages to other threads get a copy of a slab, as of Node's own pool: to transfer one value would take its
 *     neighbours. Byte streams of Node.js 20 ask nobody: they must be given copies.
 */
import { markAsUntransferable } from 'node:worker_threads';
import { KIB } from '@aiokv/core';
import { copyBytes } from '../format/record.ts';
import type { RowMemory } from './row-memory.ts';

const FIRST_BYTES = KIB;
const MOST_BYTES = 64 * KIB;
/** What is longer has memory of its own. */
const LONGEST_SHARED_BYTES = 8 * KIB;

export class Slabs implements RowMemory {
  readonly #slabs: Buffer<ArrayBuffer>[] = [];
  #last = -1;
  #used = 0;
  #lastBytes = 0;

  take(bytes: number): number {
    if (bytes > LONGEST_SHARED_BYTES) return (this.#slabs.push(Buffer.allocUnsafeSlow(bytes)) - 1) * MOST_BYTES;
    if (this.#last < 0 || bytes > this.#lastBytes - this.#used) this.#next(bytes);
    const place = this.#last * MOST_BYTES + this.#used;
    this.#used += bytes;
    return place;
  }

  write(place: number, bytes: number, from: Uint8Array, fromAt: number): void {
    copyBytes(from, fromAt, bytes, this.bytesOf(place), this.offsetOf(place));
  }

  bytesOf(place: number): Buffer {
    return this.#slabs[Math.floor(place / MOST_BYTES)] as Buffer;
  }

  offsetOf(place: number): number {
    return place % MOST_BYTES;
  }

  at(place: number, bytes: number, isShared: boolean): Buffer {
    const from = place % MOST_BYTES;
    const slab = this.#slabs[Math.floor(place / MOST_BYTES)] as Buffer;
    // Two thirds of what `subarray` of a Buffer takes.
    const view = Buffer.from(slab.buffer, slab.byteOffset + from, bytes);
    if (isShared || slab.length === bytes) return view;
    const own = Buffer.allocUnsafeSlow(bytes);
    own.set(view);
    return own;
  }

  /** Slabs go with the window. */
  freeBefore(): void {}

  free(): void {}

  #next(bytes: number): void {
    this.#lastBytes = Math.min(MOST_BYTES, Math.max(FIRST_BYTES, 2 * this.#lastBytes));
    while (this.#lastBytes < bytes) this.#lastBytes *= 2;
    const slab = Buffer.allocUnsafeSlow(this.#lastBytes);
    // SLABS-2.
    markAsUntransferable(slab.buffer);
    this.#last = this.#slabs.push(slab) - 1;
    this.#used = 0;
  }
}
