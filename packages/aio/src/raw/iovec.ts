/**
 * `struct iovec` in a typed array: the buffers of a vectored transfer. include/uapi/linux/uio.h.
 *
 * ```
 *   0 base address (u64)   8 length in bytes (u64)   16 the next one …
 * ```
 *
 * The kernel copies the entries during the submission. The buffers must stay until the completion, and each must be
 * aligned as a whole transfer would be.
 */
import type { AlignedBuffer } from '../buffers.ts';
import type { ForeignInterface } from '../ffi/port.ts';

const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const TWO_32 = 0x1_0000_0000;

/** A fixed number of entries. It does not own the memory that they point to. */
export class IovecArray {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #address: number;

  constructor(ffi: ForeignInterface, capacity: number) {
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity * IOVEC_BYTES);
    this.#words = new Int32Array(memory);
    this.#address = ffi.addressOf(memory);
  }

  /** @param lengthBytes below 2^32 */
  set(index: number, address: number, lengthBytes: number): void {
    const at = index * IOVEC_WORDS;
    this.#words[at] = address;
    this.#words[at + 1] = address / TWO_32;
    this.#words[at + 2] = lengthBytes;
    this.#words[at + 3] = 0;
  }

  /** Address of an entry; those behind it follow. */
  addressOf(index: number): number {
    return this.#address + index * IOVEC_BYTES;
  }
}

/** The entries of vectored requests, by slot; made when a slot first has such a request, and used again. */
export class VectorTable {
  readonly #ffi: ForeignInterface;
  readonly #arrays: (IovecArray | null)[];

  constructor(ffi: ForeignInterface, slots: number) {
    this.#ffi = ffi;
    this.#arrays = new Array<IovecArray | null>(slots).fill(null);
  }

  /** Lists whole buffers for the request of a slot that has none in flight; returns the address of the entries. */
  fill(slot: number, buffers: readonly AlignedBuffer[]): number {
    let array = this.#arrays[slot];
    if (array === null || array === undefined || array.capacity < buffers.length) {
      this.#arrays[slot] = array = new IovecArray(this.#ffi, buffers.length);
    }
    for (const [i, buffer] of buffers.entries()) array.set(i, buffer.address, buffer.byteLength);
    return array.addressOf(0);
  }
}
