/**
 * The C library of the process: the functions that aio calls, bound once for each interface, and `errno`. The system call
 * numbers are part of the Linux ABI and never change.
 */
import { AiokvError } from '@aiokv/core';
import { systemCallError } from '../request-error.ts';
import type { ForeignInterface, ForeignLibrary, NativeFunction, NativeFunctionAsync } from '../ffi/port.ts';

/** Newer system calls have one number everywhere. */
const URING = { io_uring_setup: 425, io_uring_enter: 426, io_uring_register: 427 } as const;
/** arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h */
const SYSCALL_NUMBERS = {
  x64: {
    io_setup: 206,
    io_destroy: 207,
    io_getevents: 208,
    io_submit: 209,
    io_cancel: 210,
    renameat2: 316,
    statx: 332,
    ...URING,
  },
  arm64: {
    io_setup: 0,
    io_destroy: 1,
    io_submit: 2,
    io_cancel: 3,
    io_getevents: 4,
    renameat2: 276,
    statx: 291,
    ...URING,
  },
} as const;

type SyscallName = keyof (typeof SYSCALL_NUMBERS)['x64'];

export interface Libc {
  readonly ffi: ForeignInterface;
  readonly library: ForeignLibrary;
  /** `syscall(2)`: the number, then up to six arguments; -1 with `errno` set on failure. */
  readonly syscall: NativeFunction;
  readonly syscallAsync: NativeFunctionAsync;
  readonly numbers: Readonly<Record<SyscallName, number>>;
  readonly flock: NativeFunction;
  readonly ioctl: NativeFunction;
  readonly eventfd: NativeFunction;
  readonly pipe2: NativeFunction;
  readonly dup3: NativeFunction;
  readonly close: NativeFunction;
  readonly mmap: NativeFunction;
  readonly munmap: NativeFunction;
  /** Returns its error number instead of setting `errno`, so it can run on another thread. */
  readonly posixFallocateAsync: NativeFunctionAsync;
  readonly fallocate: NativeFunction;
  readonly fallocateAsync: NativeFunctionAsync;
  /** The error number of this thread's latest failed call. */
  errno(): number;
}

const bound = new WeakMap<ForeignInterface, Libc>();

/** @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE on another system than Linux on x64 or arm64 */
export function libcOf(ffi: ForeignInterface): Libc {
  const known = bound.get(ffi);
  if (known !== undefined) return known;
  const numbers = process.platform === 'linux' && isKnown(process.arch) ? SYSCALL_NUMBERS[process.arch] : null;
  if (numbers === null) {
    throw new AiokvError(
      'ERR_AIOKV_ENGINE_UNAVAILABLE',
      `Linux AIO needs Linux on x64 or arm64, this is ${process.platform} on ${process.arch}`,
    );
  }
  const library = ffi.load(null);
  const libc: Libc = {
    ffi,
    library,
    syscall: library.bind('syscall', 7),
    syscallAsync: library.bindAsync('syscall', 2),
    numbers,
    flock: library.bind('flock', 2),
    ioctl: library.bind('ioctl', 3),
    eventfd: library.bind('eventfd', 2),
    pipe2: library.bind('pipe2', 2),
    dup3: library.bind('dup3', 3),
    close: library.bind('close', 1),
    mmap: library.bind('mmap', 6),
    munmap: library.bind('munmap', 2),
    posixFallocateAsync: library.bindAsync('posix_fallocate', 3),
    fallocate: library.bind('fallocate', 4),
    fallocateAsync: library.bindAsync('fallocate', 4),
    errno: errnoReader(ffi, library),
  };
  bound.set(ffi, libc);
  return libc;
}

/** Reads this thread's `errno` in place, or a copy of it where memory cannot be viewed. */
function errnoReader(ffi: ForeignInterface, library: ForeignLibrary): () => number {
  const address = library.bind('__errno_location', 0)();
  const viewed = ffi.viewOf(address, 4);
  if (viewed !== undefined) {
    const view = new DataView(viewed.buffer, viewed.byteOffset, 4);
    return () => view.getInt32(0, true);
  }
  const copy = new Int32Array(1);
  const target = ffi.addressOf(copy.buffer);
  const memcpy = library.bind('memcpy', 3);
  return () => {
    memcpy(target, address, 4);
    return copy[0] as number;
  };
}

/** A C int comes back in 64 bits, and the upper half is undefined. */
export function toInt(result: number): number {
  return result | 0;
}

/** @throws SystemCallError when `result` is negative */
export function requireSuccess(libc: Libc, syscall: string, result: number): number {
  const value = toInt(result);
  if (value < 0) throw systemCallError(syscall, libc.errno(), '');
  return value;
}

function isKnown(arch: string): arch is keyof typeof SYSCALL_NUMBERS {
  return Object.hasOwn(SYSCALL_NUMBERS, arch);
}
