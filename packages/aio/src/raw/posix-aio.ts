/**
 * glibc's POSIX AIO: `struct aiocb` in typed arrays, and the calls on it. glibc's aio.h, 64-bit, little-endian.
 *
 * ```
 *   aiocb, 168 bytes, as 32-bit words
 *    0 fildes    1 lio_opcode   2 reqprio      4 buf ..       6 nbytes ..
 *    8 sigevent, 16 words, of which 11 is sigev_notify
 *   24 glibc's own, of which 28 is the error number     32 offset ..     34 reserved, to 42
 * ```
 *
 * The kernel is not involved: threads of glibc call `pread`, `pwrite` and `fsync`, and write the outcome into the aiocb.
 * So an aiocb, like its data buffer, must stay in place and must not be prepared again until `aioError` returns something
 * other than EINPROGRESS. Only that call is reliable: it takes glibc's lock, and glibc's threads are done with the aiocb
 * when they release it. Nor may it be submitted again before an `aioSuspend` that names it is back on another thread:
 * glibc crashes then, now and then (engines/posix.ts, GLIBC-3).
 *
 * Usable alone: `posixAio`, an `AiocbArray`, an `AiocbList`. Not in a worker: the threads belong to the process, and would
 * write to memory that was freed when the worker ended.
 */
import { AiokvError } from '@aiokv/core';
import { constants } from 'node:os';
import type { ForeignInterface, ForeignLibrary, NativeFunction, NativeFunctionAsync } from '../ffi/port.ts';
import { libcOf, toInt } from './libc.ts';

const AIOCB_BYTES = 168;
const AIOCB_WORDS = AIOCB_BYTES / 4;
const NOTIFY_WORD = 11;
const ERROR_WORD = 28;
const OFFSET_WORD = 32;
const SIGEV_NONE = 1;
const TWO_32 = 0x1_0000_0000;
/** Some 68 years, and a timeout of Infinity. */
const MAX_WAIT_SECONDS = 0x7fff_ffff;

/** `LIO_*`: what `lio_listio` does with an aiocb. */
export const LioOpcode = { read: 0, write: 1, nop: 2 } as const;
export type LioOpcode = (typeof LioOpcode)[keyof typeof LioOpcode];

/** The first argument of `lio_listio`. */
export const LIO_NOWAIT = 1;
/** First arguments of `aio_fsync`: `O_SYNC` and `O_DSYNC`. */
export const SyncFlag = { sync: 0x10_1000, dsync: 0x1000 } as const;
/** In an aiocb that glibc was not given; no system has this error number. */
export const NEVER_SUBMITTED = -1;
const { EINPROGRESS } = constants.errno;

/** The calls. Each returns a negative error number when it fails. */
export interface PosixAio {
  readonly through: 'libc' | 'librt';
  /** `aio_read(aiocb)` */
  readonly aioRead: NativeFunction;
  /** `aio_write(aiocb)` */
  readonly aioWrite: NativeFunction;
  /** `aio_fsync(operation, aiocb)`, with a `SyncFlag`; older versions of glibc refuse a file opened for reading only. */
  readonly aioFsync: NativeFunction;
  /** `lio_listio(mode, list, count, sigevent)`; after -EIO and -EAGAIN each aiocb has to be looked at. */
  readonly lioListio: NativeFunction;
  /** `aio_error(aiocb)`: EINPROGRESS, 0, or the (positive) error number of the request. */
  readonly aioError: NativeFunction;
  /** `aio_return(aiocb)`, once, after `aioError`: bytes transferred, or -1. */
  readonly aioReturn: NativeFunction;
  /** `aio_suspend(list, count, timespec)`: until one of them is done; -EAGAIN when the time is up. */
  readonly aioSuspend: NativeFunction;
  /** The same on a thread of libuv's pool; -1 is any failure. The aiocbs and the list must stay until it is back. */
  readonly aioSuspendAsync: NativeFunctionAsync;
  /** `aio_cancel(descriptor, aiocb)`; glibc cancels what no thread has begun. */
  readonly aioCancel: NativeFunction;
}

/** Bound once: neither adapter gives back what a binding takes. */
const bound = new WeakMap<ForeignInterface, PosixAio>();

/** @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE where the C library is not glibc */
export function posixAio(ffi: ForeignInterface): PosixAio {
  let calls = bound.get(ffi);
  if (calls === undefined) bound.set(ffi, (calls = bindCalls(ffi)));
  return calls;
}

function bindCalls(ffi: ForeignInterface): PosixAio {
  const libc = libcOf(ffi);
  const { through, library } = findLibrary(ffi, libc.library);
  const call = (symbol: string, arity: number): NativeFunction => {
    const native = library.bind(symbol, arity);
    return (a, b, c, d) => (toInt(native(a, b, c, d)) < 0 ? -libc.errno() : 0);
  };
  const value = (symbol: string): NativeFunction => {
    const native = library.bind(symbol, 1);
    return (a) => toInt(native(a));
  };
  return {
    through,
    aioRead: call('aio_read', 1),
    aioWrite: call('aio_write', 1),
    aioFsync: call('aio_fsync', 2),
    lioListio: call('lio_listio', 4),
    aioError: value('aio_error'),
    aioReturn: value('aio_return'),
    aioSuspend: call('aio_suspend', 3),
    aioSuspendAsync: library.bindAsync('aio_suspend', 3),
    aioCancel: call('aio_cancel', 2),
  };
}

/** In libc since glibc 2.34, in librt before. */
function findLibrary(
  ffi: ForeignInterface,
  libc: ForeignLibrary,
): Pick<PosixAio, 'through'> & { library: ForeignLibrary } {
  const remedy = "use the engine 'libaio' or 'threads'";
  if (!libc.has('gnu_get_libc_version')) {
    throw new AiokvError(
      'ERR_AIOKV_ENGINE_UNAVAILABLE',
      `POSIX AIO is known here as glibc has it, and this is another C library: ${remedy}`,
    );
  }
  if (libc.has('lio_listio')) return { through: 'libc', library: libc };
  try {
    return { through: 'librt', library: ffi.load('librt.so.1') };
  } catch (cause) {
    throw new AiokvError('ERR_AIOKV_ENGINE_UNAVAILABLE', `POSIX AIO is neither in libc nor in librt.so.1: ${remedy}`, {
      cause,
    });
  }
}

/** A fixed number of aiocbs. Owns their memory, which must outlive the requests in flight. */
export class AiocbArray {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #address: number;

  constructor(ffi: ForeignInterface, capacity: number) {
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity * AIOCB_BYTES);
    this.#words = new Int32Array(memory);
    this.#address = ffi.addressOf(memory);
  }

  /** A read or a write. The memory at `bufferAddress` must stay until the request is done. */
  prepare(
    index: number,
    opcode: LioOpcode,
    fd: number,
    bufferAddress: number,
    lengthBytes: number,
    fileOffset: number,
  ): void {
    const words = this.#words;
    const at = index * AIOCB_WORDS;
    words[at] = fd;
    words[at + 1] = opcode;
    words[at + 4] = bufferAddress;
    words[at + 5] = bufferAddress / TWO_32;
    words[at + 6] = lengthBytes;
    words[at + 7] = lengthBytes / TWO_32;
    words[at + NOTIFY_WORD] = SIGEV_NONE;
    words[at + ERROR_WORD] = NEVER_SUBMITTED;
    words[at + OFFSET_WORD] = fileOffset;
    words[at + OFFSET_WORD + 1] = Math.floor(fileOffset / TWO_32);
  }

  /** For `aioFsync`. */
  prepareFlush(index: number, fd: number): void {
    this.prepare(index, LioOpcode.nop, fd, 0, 0, 0);
  }

  /** What an aiocb is for glibc. */
  addressOf(index: number): number {
    return this.#address + index * AIOCB_BYTES;
  }

  descriptorOf(index: number): number {
    return this.#words[index * AIOCB_WORDS] as number;
  }

  /**
   * Whether it was in progress when glibc last wrote there: a look without a call, to spare most of the calls of
   * `aioError`, which alone says that it is not any more.
   */
  seemsInProgress(index: number): boolean {
    return this.#words[index * AIOCB_WORDS + ERROR_WORD] === EINPROGRESS;
  }

  /** Has a request that glibc was not given, or has refused, fail with this error number. */
  fail(index: number, errno: number): void {
    this.#words[index * AIOCB_WORDS + ERROR_WORD] = errno;
  }
}

/** Pointers to aiocbs, and a timeout to wait for them. Owns its memory. */
export class AiocbList {
  readonly capacity: number;
  readonly address: number;
  readonly timeoutAddress: number;
  count = 0;
  readonly #words: Int32Array;
  /** `struct timespec`: seconds, then nanoseconds, each 64 bits of which the lower half is used. */
  readonly #timeout = new Int32Array(4);

  constructor(ffi: ForeignInterface, capacity: number) {
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity * 8);
    this.#words = new Int32Array(memory);
    this.address = ffi.addressOf(memory);
    this.timeoutAddress = ffi.addressOf(this.#timeout.buffer);
  }

  get isFull(): boolean {
    return this.count === this.capacity;
  }

  clear(): void {
    this.count = 0;
  }

  add(aiocbAddress: number): void {
    this.#words[this.count * 2] = aiocbAddress;
    this.#words[this.count * 2 + 1] = aiocbAddress / TWO_32;
    this.count++;
  }

  setTimeout(timeoutMs: number): void {
    const seconds = Math.min(Math.floor(timeoutMs / 1000), MAX_WAIT_SECONDS);
    this.#timeout[0] = seconds;
    this.#timeout[2] = Math.min(Math.floor((timeoutMs - seconds * 1000) * 1e6), 999_999_999);
  }
}
