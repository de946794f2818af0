/**
 * The five calls of Linux AIO, through libaio where it is installed and through raw system calls elsewhere, so that
 * nothing has to be installed. The two differ only in how they report errors; here every call returns a negative error
 * number.
 *
 * Usable alone, with an `IocbArray`: `ioSetup`, `ioSubmit`, `ioGetevents`, `ioDestroy`.
 */
import { readFileSync } from 'node:fs';
import { AiokvError, SystemCallError } from '@aiokv/core';
import { constants } from 'node:os';
import type { ForeignInterface, ForeignLibrary, NativeFunction } from '../ffi/port.ts';
import { libcOf, toInt } from './libc.ts';

export interface AioCalls {
  readonly through: 'libaio' | 'system calls';
  /** `long io_submit(context, nr, iocbpp)`: how many were accepted, or a negative error number. */
  readonly ioSubmit: NativeFunction;
  /** `io_getevents(context, minNr, nr, events, timeout)`: how many were reaped, or a negative error number. */
  readonly ioGetevents: NativeFunction;
  /** `io_cancel(context, iocb, event)`; the kernel supports it for polls only. */
  readonly ioCancel: NativeFunction;
  /**
   * Makes a context for `maxEvents` requests in flight and returns its handle, which is also the
   * address of its completion ring.
   *
   * @param cell where the kernel writes the handle; 0 before
   * @throws AiokvError ERR_AIOKV_NO_CONTEXT when the system's limit is reached; SystemCallError
   */
  ioSetup(maxEvents: number, cell?: BigUint64Array<ArrayBuffer>): number;
  /**
   * Waits on a thread for what is in flight (some 30 ms even when idle) and unmaps the ring. Every view of it must be
   * dropped before the call.
   */
  ioDestroy(context: number): Promise<void>;
  /** The same on this thread. */
  ioDestroySync(context: number): void;
}

const LIBRARIES = ['libaio.so.1t64', 'libaio.so.1', 'libaio.so'];
const { EAGAIN } = constants.errno;

/** Each interface is bound once, because no adapter frees a binding. `aioCalls` alone uses it. */
const bound = {
  libaio: new WeakMap<ForeignInterface, AioCalls>(),
  syscalls: new WeakMap<ForeignInterface, AioCalls>(),
};

/**
 * The five calls; the same object for the same arguments.
 *
 * @param useLibaio false goes through raw system calls even where libaio is installed
 * @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE on another system than Linux on x64 or arm64
 */
export function aioCalls(ffi: ForeignInterface, useLibaio = true): AioCalls {
  const known = useLibaio ? bound.libaio : bound.syscalls;
  let calls = known.get(ffi);
  if (calls === undefined) known.set(ffi, (calls = bindCalls(ffi, useLibaio ? firstLibrary(ffi) : null)));
  return calls;
}

function bindCalls(ffi: ForeignInterface, library: ForeignLibrary | null): AioCalls {
  const libc = libcOf(ffi);
  const { numbers, syscall } = libc;
  const viaSyscall =
    (number: number): NativeFunction =>
    (a, b, c, d, e) => {
      const result = syscall(number, a, b, c, d, e);
      return result < 0 ? -libc.errno() : result;
    };
  const call = (
    name: 'io_setup' | 'io_destroy' | 'io_submit' | 'io_getevents' | 'io_cancel',
    arity: number,
  ): NativeFunction => {
    if (library === null) return viaSyscall(numbers[name]);
    const native = library.bind(name, arity);
    return (a, b, c, d, e) => toInt(native(a, b, c, d, e));
  };
  const setup = call('io_setup', 2);
  const destroy = call('io_destroy', 1);
  return {
    through: library === null ? 'system calls' : 'libaio',
    ioSubmit: call('io_submit', 3),
    ioGetevents: call('io_getevents', 5),
    ioCancel: call('io_cancel', 3),
    ioSetup(maxEvents, handle = new BigUint64Array(1)) {
      const result = setup(maxEvents, ffi.addressOf(handle.buffer));
      if (result < 0) throw setupError(result, maxEvents);
      return Number(handle[0]);
    },
    async ioDestroy(context) {
      await libc.syscallAsync(numbers.io_destroy, context);
    },
    ioDestroySync(context) {
      const result = destroy(context);
      if (result < 0) throw new SystemCallError('io_destroy', result);
    },
  };
}

function firstLibrary(ffi: ForeignInterface): ForeignLibrary | null {
  for (const name of LIBRARIES) {
    try {
      return ffi.load(name);
    } catch {
      // Not installed under this name.
    }
  }
  return null;
}

/** What the kernel counts, or allows, in requests of all contexts. */
function figure(name: 'aio-nr' | 'aio-max-nr'): string {
  try {
    return readFileSync(`/proc/sys/fs/${name}`, 'utf8').trim();
  } catch {
    return 'hidden here';
  }
}

function setupError(result: number, maxEvents: number): Error {
  if (result !== -EAGAIN) return new SystemCallError('io_setup', result);
  return new AiokvError(
    'ERR_AIOKV_NO_CONTEXT',
    `the kernel has no context left for ${maxEvents} requests: aio-nr is ${figure('aio-nr')}, aio-max-nr is ` +
      `${figure('aio-max-nr')}. Close queues, or raise the limit with sysctl fs.aio-max-nr`,
    { cause: new SystemCallError('io_setup', result) },
  );
}
