/**
 * Memory for the nodes of the index: on huge pages, for a lookup is a chain of cache misses, and touched ahead of need on
 * a thread, for the first touch of a page takes as long as a lookup or, in a virtual machine, ten times as long
 * (docs/performance.md, "The index").
 */
import { prefault, preferHugePages } from '@aiokv/aio';
import { MIB } from '@aiokv/core';
import type { ArenaSource } from './tree/index.ts';

/** Below this an arena has no huge page to speak of, and what there is to touch is little. */
const LEAST_BYTES = 4 * MIB;

export const hugeArenas: ArenaSource = {
  allocate(lengthBytes) {
    const arena = new ArrayBuffer(lengthBytes);
    if (lengthBytes >= LEAST_BYTES) preferHugePages(arena);
    return arena;
  },
  soon(arena, fromByte, lengthBytes) {
    if (arena.byteLength >= LEAST_BYTES) void prefault(arena, fromByte, lengthBytes);
  },
};
