/** What an index is made of: see key-index.ts. */
import type { Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import type { Planted } from '../failure/planted.ts';
import type { ExpiryClock } from '../file/expiry-clock.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { MemoryBudget } from '../memory/budget.ts';

export interface KeyIndexOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  /** Size of a node in bytes. */
  readonly pageBytes: number;
  /** For the nodes of memtables and tree, and for cached values. Inner nodes may exceed it. */
  readonly budget: MemoryBudget;
  readonly segments: SegmentTable;
  readonly expiry: ExpiryClock;
  readonly planted: Planted;
}

/** The tree of a checkpoint. */
export interface LoadedTree {
  /** The tree holds the writes up to this one. */
  readonly sequence: Sequence;
  readonly rootPage: number;
  readonly keys: number;
  /** Units of all nodes. */
  readonly units: number;
}
