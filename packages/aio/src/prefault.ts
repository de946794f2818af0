/**
 * Memory that is there before it is needed: the first touch of a page takes the thread as long as zeroing it does, and in a
 * virtual machine ten times as long. Here a thread of libuv's pool touches it.
 *
 * It is a wish. Where there is no FFI, no Linux or an older one, the memory is what it was. Its content never changes, and
 * a range that is unmapped meanwhile is refused by the kernel.
 */
import { alignDown, alignUp } from '@aiokv/core';
import { foreignInterface } from './ffi/load.ts';
import type { ForeignInterface, NativeFunctionAsync } from './ffi/port.ts';

/** madvise(2), since Linux 5.14. */
const MADV_POPULATE_WRITE = 23;
/** The largest pages that x64 and arm64 have as their smallest. */
const PAGE_BYTES = 64 * 1024;

/** Bound when it is needed first: workers that only use queues do without. */
const bound = new WeakMap<ForeignInterface, NativeFunctionAsync>();

function madviseOf(ffi: ForeignInterface): NativeFunctionAsync {
  const madvise = bound.get(ffi) ?? ffi.load(null).bindAsync('madvise', 3);
  bound.set(ffi, madvise);
  return madvise;
}

/**
 * Has a range of the memory touched on a thread. Settles when that is done; whoever is faster touches it himself.
 *
 * @param memory is held until then
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION when AIOKV_FFI names an interface that there is not
 */
export async function prefault(memory: ArrayBuffer, fromByte: number, lengthBytes: number): Promise<void> {
  const ffi = process.platform === 'linux' ? foreignInterface() : undefined;
  if (ffi === undefined) return;
  const start = ffi.addressOf(memory) + fromByte;
  const address = alignUp(start, PAGE_BYTES);
  const end = alignDown(start + lengthBytes, PAGE_BYTES);
  if (end > address) await madviseOf(ffi)(address, end - address, MADV_POPULATE_WRITE);
}
