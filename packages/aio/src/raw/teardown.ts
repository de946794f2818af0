/**
 * Drains the contexts of a worker that ends with requests in flight. `worker.terminate()` frees the worker's memory while
 * the kernel still writes to it, because contexts belong to the process. No JavaScript runs then, but Node's clean-up
 * hooks do, and they take a C function with one pointer.
 *
 * ```
 *   end of the worker ─► node::AddEnvironmentCleanupHook's list ─► io_destroy(*cell), which waits for what
 *                                                                  is in flight ─► memory is freed
 * ```
 *
 * libaio has such a function but is not always installed, so a few bytes of machine code make the system call. They are in
 * one page of the process, which is made once and never unmapped.
 *
 * TEARDOWN-1. A hook is removed before its context is destroyed in another way, since the address may be that of another
 *     context a moment later. A worker that ends just between the two leaves a context behind, with nothing in flight.
 */
import { SystemCallError } from '@aiokv/core';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type { NativeFunction } from '../ffi/port.ts';
import type { AioCalls } from './libaio.ts';
import type { Libc } from './libc.ts';

const ADD = '_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_';
const REMOVE = '_ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_';
const CURRENT_ISOLATE = '_ZN2v87Isolate10GetCurrentEv';
/** The name under which workers find the page. */
const SHARED_ADDRESS = 'aiokv.io_destroy.cell';
const PAGE_BYTES = 4096;
const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** The first argument points to a handle. Calls `io_destroy` of it, unless it is 0. */
const MACHINE_CODE = {
  // mov rdi, [rdi]; test rdi, rdi; jz ret; mov eax, 207; syscall; ret
  x64: [0x48, 0x8b, 0x3f, 0x48, 0x85, 0xff, 0x74, 0x07, 0xb8, 0xcf, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xc3],
  // ldr x0, [x0]; cbz x0, ret; mov x8, #1; svc #0; ret
  arm64: [0xf9400000, 0xb4000060, 0xd2800028, 0xd4000001, 0xd65f03c0].flatMap((word) => [
    word & 0xff,
    (word >>> 8) & 0xff,
    (word >>> 16) & 0xff,
    word >>> 24,
  ]),
} as const;

interface Hooks {
  readonly add: NativeFunction;
  readonly remove: NativeFunction;
  readonly isolate: number;
}

const hooks = new WeakMap<Libc, Hooks>();

/** Cells of the contexts that exist. They stay alive here, because a hook reads its cell even if nobody holds the queue. */
const cells = new Set<BigUint64Array>();

/** A context that the end of its thread destroys. */
export interface HookedContext {
  readonly handle: number;
  /** To be called before the context is destroyed (TEARDOWN-1). */
  readonly forget: () => void;
}

/**
 * `io_setup` of a context that is destroyed when this thread ends before it was closed. The hook comes before the
 * context: it finds the handle, or 0, in the cell into which the kernel writes it, so there is no moment in between.
 * On the main thread there is no hook: its memory is freed by the kernel, after it has waited.
 *
 * @throws as `ioSetup`
 */
export function setupHooked(libc: Libc, calls: AioCalls, maxEvents: number): HookedContext {
  const destroy = destroyFunction(libc);
  if (isMainThread) return { handle: calls.ioSetup(maxEvents), forget: () => undefined };
  const { add, remove, isolate } = hooksOf(libc);
  const cell = new BigUint64Array(1);
  const address = libc.ffi.addressOf(cell.buffer);
  const forget = (): void => {
    remove(isolate, destroy, address);
    cells.delete(cell);
  };
  cells.add(cell);
  add(isolate, destroy, address);
  try {
    return { handle: calls.ioSetup(maxEvents, cell), forget };
  } catch (error) {
    forget();
    throw error;
  }
}

function hooksOf(libc: Libc): Hooks {
  let found = hooks.get(libc);
  if (found === undefined) {
    const { library } = libc;
    const isolate = library.bind(CURRENT_ISOLATE, 0)();
    hooks.set(libc, (found = { add: library.bind(ADD, 3), remove: library.bind(REMOVE, 3), isolate }));
  }
  return found;
}

/** The address of the machine code. */
function destroyFunction(libc: Libc): number {
  const known = getEnvironmentData(SHARED_ADDRESS);
  if (typeof known === 'number') return known;
  const code = MACHINE_CODE[process.arch as keyof typeof MACHINE_CODE];
  const { ffi, library } = libc;
  const page = library.bind('mmap', 6)(0, PAGE_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (page === -1) throw new SystemCallError('mmap', libc.errno());
  const bytes = Uint8Array.from(code);
  library.bind('memcpy', 3)(page, ffi.addressOf(bytes.buffer), bytes.length);
  const result = library.bind('mprotect', 3)(page, PAGE_BYTES, PROT_READ_EXEC);
  if ((result | 0) < 0) throw new SystemCallError('mprotect', libc.errno());
  // This thread, and the workers that it starts, find it from now on.
  setEnvironmentData(SHARED_ADDRESS, page);
  return page;
}
