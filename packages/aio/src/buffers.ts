/**
 * Memory for direct I/O: aligned, owned by V8, and kept alive while the kernel may write to it.
 *
 * Its memory cannot be transferred by `postMessage` or `structuredClone`. It can be by `ArrayBuffer.transfer` and by
 * byte streams, which ask nobody: a request on such a buffer is refused. Whoever transfers memory with requests in
 * flight has the kernel write into memory that may be freed.
 *
 * An `AlignedBuffer` is a window of an ArrayBuffer whose address is a multiple of the alignment. The
 * slot table of a queue holds the buffer strongly while a request on it is in flight (the kernel
 * writes into it long after the submitting call returned) and counts those requests in `pins`.
 *
 * BUF-1. A buffer with `pins > 0` is never taken back, and never leased to someone else.
 * BUF-2. A pool allocates once; leasing and releasing allocate nothing.
 */
import { AiokvError, AiokvRangeError, assert, isAligned, isPowerOfTwo } from '@aiokv/core';
import { markAsUntransferable } from 'node:worker_threads';
import { foreignInterface } from './ffi/load.ts';

/** An alignment that suits every block device and file system that Linux has on x64 and arm64. */
export const DEFAULT_ALIGNMENT = 4096;

export class AlignedBuffer {
  /** The memory itself. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same memory, for multi-byte fields. */
  readonly view: DataView<ArrayBuffer>;
  /** The address of `bytes[0]`; 0 where no FFI is loaded (the simulated engine needs none). */
  readonly address: number;
  /** Requests in flight on this memory, counted by the queue. */
  pins = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, address: number) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.address = address;
  }

  get byteLength(): number {
    return this.bytes.byteLength;
  }
}

/**
 * Aligned memory that belongs to no pool, zeroed.
 *
 * @param lengthBytes any whole number above 0
 * @param alignmentBytes a power of two, 4096 when left out
 */
export function allocateAligned(lengthBytes: number, alignmentBytes = DEFAULT_ALIGNMENT): AlignedBuffer {
  return carve(lengthBytes, 1, alignmentBytes)[0] as AlignedBuffer;
}

/** `count` buffers side by side in one ArrayBuffer. */
function carve(lengthBytes: number, count: number, alignmentBytes: number): AlignedBuffer[] {
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes <= 0) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a buffer needs a positive length in bytes, not ${lengthBytes}`,
    );
  }
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new AiokvRangeError('ERR_AIOKV_INVALID_ARGUMENT', `a pool has a whole number of buffers, not ${count}`);
  }
  if (!isPowerOfTwo(alignmentBytes)) {
    throw new AiokvRangeError('ERR_AIOKV_INVALID_ARGUMENT', `an alignment is a power of two, not ${alignmentBytes}`);
  }
  const strideBytes = Math.ceil(lengthBytes / alignmentBytes) * alignmentBytes;
  const memory = new ArrayBuffer(strideBytes * count + alignmentBytes);
  // Messages get a copy then, as those of Node's own pool: neighbours share this memory, and the kernel knows its address.
  markAsUntransferable(memory);
  const base = foreignInterface()?.addressOf(memory) ?? 0;
  const skip = (alignmentBytes - (base % alignmentBytes)) % alignmentBytes;
  const buffers: AlignedBuffer[] = [];
  for (let i = 0; i < count; i++) {
    const at = skip + i * strideBytes;
    const address = base === 0 ? 0 : base + at;
    assert(isAligned(address, alignmentBytes), 'a carved buffer is aligned');
    buffers.push(new AlignedBuffer(new Uint8Array(memory, at, lengthBytes), address));
  }
  return buffers;
}

/** A fixed number of buffers of one size. */
export class BufferPool {
  readonly bufferBytes: number;
  readonly count: number;
  readonly #free: AlignedBuffer[];
  readonly #leased = new Set<AlignedBuffer>();

  /**
   * @param bufferBytes size of each buffer
   * @param count how many there are
   * @param alignmentBytes of their addresses, 4096 when left out
   */
  constructor(bufferBytes: number, count: number, alignmentBytes = DEFAULT_ALIGNMENT) {
    this.bufferBytes = bufferBytes;
    this.count = count;
    this.#free = carve(bufferBytes, count, alignmentBytes);
  }

  get available(): number {
    return this.#free.length;
  }

  /** Lends a buffer, with the bytes of its last use; undefined when all are leased. */
  lease(): AlignedBuffer | undefined {
    const buffer = this.#free.pop();
    if (buffer !== undefined) this.#leased.add(buffer);
    return buffer;
  }

  /**
   * Takes a buffer back. The caller must not use it after that.
   *
   * @throws AiokvError ERR_AIOKV_BUFFER_BUSY when a request on it is in flight, or it was not leased
   */
  release(buffer: AlignedBuffer): void {
    if (buffer.pins > 0) {
      throw new AiokvError(
        'ERR_AIOKV_BUFFER_BUSY',
        `the buffer has ${buffer.pins} requests in flight: release it after they have completed`,
      );
    }
    if (!this.#leased.delete(buffer)) {
      throw new AiokvError('ERR_AIOKV_BUFFER_BUSY', 'the buffer is not leased from this pool: release it once');
    }
    this.#free.push(buffer);
  }
}
