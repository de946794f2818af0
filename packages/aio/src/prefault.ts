/**
 * Touches memory before it is needed. The first touch of a page has the kernel zero it, which takes ten times as long in
 * a virtual machine; here a thread of libuv's pool waits for that.
 *
 * Best effort: without an FFI, or on another system or an older Linux, nothing happens. The content never changes. The
 * kernel refuses a range that was unmapped meanwhile.
 */
import { alignDown, alignUp } from '@aiokv/core';
import { foreignInterface } from './ffi/load.ts';
import type { ForeignInterface, NativeFunctionAsync } from './ffi/port.ts';

/** madvise(2), since Linux 5.14. */
const MADV_POPULATE_WRITE = 23;
/** The largest base page of x64 and arm64. */
const PAGE_BYTES = 64 * 1024;

/** Bound when first needed, since workers that only use queues never call it. */
const bound = new WeakMap<ForeignInterface, NativeFunctionAsync>();

function madviseOf(ffi: ForeignInterface): NativeFunctionAsync {
  const madvise = bound.get(ffi) ?? ffi.load(null).bindAsync('madvise', 3);
  bound.set(ffi, madvise);
  return madvise;
}

/**
 * Touches a range of the memory on a thread, and settles when that is done. The memory can be used meanwhile.
 *
 * @param memory is kept alive until then
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION when AIOKV_FFI names no interface
 */
export async function prefault(memory: ArrayBuffer, fromByte: number, lengthBytes: number): Promise<void> {
  const ffi = process.platform === 'linux' ? foreignInterface() : undefined;
  if (ffi === undefined) return;
  const start = ffi.addressOf(memory) + fromByte;
  const address = alignUp(start, PAGE_BYTES);
  const end = alignDown(start + lengthBytes, PAGE_BYTES);
  if (end > address) await madviseOf(ffi)(address, end - address, MADV_POPULATE_WRITE);
}
