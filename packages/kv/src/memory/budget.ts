/**
 * Divides the one memory budget of a store, `memoryBytes`, among its parts. Only numbers: it allocates nothing, and it
 * does not watch what the parts do.
 *
 * ```
 *   memoryBytes
 *   ├───────────────┬──────────────┬──────┬──────────────────────────────────────────────┤
 *   │ write buffers │ read buffers │ rest │ nodes                                        │
 *   │ frames of the │ records,     │ 1/8  ├──────────┬──────────┬────────────────────────┤
 *   │ log, chunks of│ ranges,      │      │ memtable │ memtable │ pages of the index     │
 *   │ a checkpoint  │ index pages  │      │ 1/4      │ 1/4      │ 1/2, and what is free  │
 *   │               │              │      │ 7/16     │ 7/16     │ 1/8, while nobody reads │
 *   └───────────────┴──────────────┴──────┴──────────┴──────────┴────────────────────────┘
 *                                           fills     is merged
 * ```
 *
 * The rest is, one half each, for what iterators read ahead (AHEAD-1) and for what a cleaning copies. Buffers are allocated
 * when they are needed, so what they take at most is set aside. Long records that are read need further buffers, of about
 * the length of their values.
 *
 * Of the nodes' memory cached values have a share of their own, and what nodes leave. They have it from the nodes (CACHE-3).
 *
 * MEMORY-1. Nodes have at least half. So a budget that is smaller than the buffers still works; all parts together are
 *     within the budget when the buffers take at most three eighths of it.
 * MEMORY-2. Two memtables leave pages half of the nodes, and an eighth while hardly anything is looked up in pages. A merge
 *     reads nearly all leaves however many are in memory, so the fewer merges a load needs, the better.
 */
import { GIB, KIB, MIB } from '@aiokv/core';

/** Range of `memoryBytes`. */
export const MEMORY_BYTES_LEAST = 32 * KIB;
export const MEMORY_BYTES_MOST = 1024 * GIB;

/** Of the memory that the process may use, a store takes one part in so many unless it is told otherwise. */
const PART_OF_MACHINE = 4;
const MOST_UNTOLD = 4 * GIB;
/** Of the budget, the rest is one part in so many. */
const PART_OF_REST = 8;
/** Of the rest, iterators may take one part in so many. */
const PART_OF_ITERATORS = 2;
/** MEMORY-1. */
const PART_OF_NODES = 2;
/** MEMORY-2. Of the nodes, one memtable is so much. */
const MEMTABLE_PART = 1 / 4;
const MEMTABLE_PART_UNREAD = 7 / 16;
/** Of the nodes, what only snapshots need is at most so much. Meanwhile memtables are half as large. */
const HELD_PART = 1 / 2;
/** A batch, and the write buffer, take at most one part in so many of the budget, ... */
const PART_OF_WRITES = 4;
/** ... but so much is always allowed: a write buffer cannot do with less. */
const LEAST_WRITES = MIB;

/** All in bytes. */
export interface MemoryBudget {
  /** Memtables and pages of the index together. */
  readonly nodesBytes: number;
  /** MEMORY-2. Share of one memtable. There are two while one is merged. */
  readonly memtableBytes: number;
  readonly unreadMemtableBytes: number;
  /** SNAPSHOT-3. What snapshots may keep in memtables that are merged. */
  readonly heldBytes: number;
  /** The part of `nodesBytes` that cached values have in any case. */
  readonly valuesBytes: number;
}

/** What the parts that are no nodes take at most, in bytes. */
export interface BufferNeeds {
  readonly writeBufferBytes: number;
  readonly readBufferBytes: number;
}

/** MEMORY-1. */
export function divideMemory(
  memoryBytes: number,
  valuesPart: number,
  { writeBufferBytes, readBufferBytes }: BufferNeeds,
): MemoryBudget {
  const restBytes = Math.ceil(memoryBytes / PART_OF_REST);
  const leftBytes = memoryBytes - writeBufferBytes - readBufferBytes - restBytes;
  const nodesBytes = Math.max(Math.floor(memoryBytes / PART_OF_NODES), leftBytes);
  return {
    nodesBytes,
    memtableBytes: Math.floor(nodesBytes * MEMTABLE_PART),
    unreadMemtableBytes: Math.floor(nodesBytes * MEMTABLE_PART_UNREAD),
    heldBytes: Math.floor(nodesBytes * HELD_PART),
    valuesBytes: Math.floor(nodesBytes * valuesPart),
  };
}

/**
 * The budget of a store that is told none.
 *
 * @param machineBytes memory of the machine
 * @param constrainedBytes what the process may use of it: 0, undefined or more than the machine has if nothing limits it
 */
export function defaultMemoryBytes(machineBytes: number, constrainedBytes: number | undefined): number {
  const usableBytes = Math.min(machineBytes, constrainedBytes || Infinity);
  return Math.max(MEMORY_BYTES_LEAST, Math.min(MOST_UNTOLD, Math.floor(usableBytes / PART_OF_MACHINE)));
}

/** Most that iterators may read ahead, all together. */
export function mostReadAheadBytes(memoryBytes: number): number {
  return memoryBytes / PART_OF_REST / PART_OF_ITERATORS;
}

/** Most that a batch may take, and most that the write buffer may take. */
export function mostWriteBytes(memoryBytes: number): number {
  return Math.max(LEAST_WRITES, Math.floor(memoryBytes / PART_OF_WRITES));
}
