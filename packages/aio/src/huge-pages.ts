/**
 * Memory that lies on huge pages and is there before it is needed: for large tables in which each look-up meets another
 * line, a third of the time goes into finding the page, and its first touch takes the thread as long as zeroing it does.
 *
 * Both are wishes. Where there is no FFI, no Linux or no huge page, the memory is what it was. Neither changes its
 * content, and a range that is unmapped meanwhile is refused by the kernel.
 */
import { alignDown, alignUp } from '@aiokv/core';
import { foreignInterface } from './ffi/load.ts';
import { libcOf } from './raw/libc.ts';
import type { Libc } from './raw/libc.ts';

/** include/uapi/asm-generic/mman-common.h */
const MADV_HUGEPAGE = 14;
/** Since Linux 5.14. */
const MADV_POPULATE_WRITE = 23;
/** The largest pages that x64 and arm64 have as their smallest. */
const PAGE_BYTES = 64 * 1024;

/** Asks the kernel to back the memory with huge pages (madvise(2), MADV_HUGEPAGE). */
export function preferHugePages(memory: ArrayBuffer): void {
  const libc = libcOrNone();
  if (libc === undefined) return;
  const { address, lengthBytes } = wholePages(libc, memory, 0, memory.byteLength);
  if (lengthBytes > 0) libc.madvise(address, lengthBytes, MADV_HUGEPAGE);
}

/**
 * Has a range of the memory touched on a thread, so that this thread does not wait for its first touch. Settles when that
 * is done; whoever is faster touches it himself.
 */
export async function prefault(memory: ArrayBuffer, fromByte: number, lengthBytes: number): Promise<void> {
  const libc = libcOrNone();
  if (libc === undefined) return;
  const range = wholePages(libc, memory, fromByte, lengthBytes);
  if (range.lengthBytes > 0) await libc.madviseAsync(range.address, range.lengthBytes, MADV_POPULATE_WRITE);
}

function libcOrNone(): Libc | undefined {
  const ffi = process.platform === 'linux' ? foreignInterface() : undefined;
  return ffi === undefined ? undefined : libcOf(ffi);
}

function wholePages(
  { ffi }: Libc,
  memory: ArrayBuffer,
  fromByte: number,
  lengthBytes: number,
): { address: number; lengthBytes: number } {
  const start = ffi.addressOf(memory) + fromByte;
  const address = alignUp(start, PAGE_BYTES);
  return { address, lengthBytes: Math.max(0, alignDown(start + lengthBytes, PAGE_BYTES) - address) };
}
