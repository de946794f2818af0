/** What `Store.statistics` returns. */
import type { QueueStatistics } from '@aiokv/aio';
import type { AddressStatistics } from './cache/address-cache.ts';
import type { CacheStatistics } from './cache/value-cache.ts';
import type { OrderStatistics } from './clean/scan-order.ts';
import type { IoStatistics } from './file/direct-io.ts';
import type { TransactionStatistics } from './transaction/transactions.ts';
import type { SnapshotStatistics } from './index/open-snapshots.ts';
import type { WarmStatistics } from './warm/warm-up.ts';

/** All in bytes. What lives, what is dead, what is reserved and what is free add up to the slots of the file. */
export interface SpaceStatistics {
  /** All slots of the file; its superblocks take 256 KiB more. */
  readonly fileBytes: number;
  /** Records with their headers and pages that the index leads to, as of the last merge. */
  readonly liveBytes: number;
  /** What was replaced or deleted, what is not merged yet, and what segments have not filled. */
  readonly deadBytes: number;
  /** The part of `deadBytes` that comes back when older iterators and snapshots end, in whole slots. */
  readonly heldBytes: number;
  /** Free slots that only deletions, cleaning and checkpoints may take. */
  readonly reservedBytes: number;
  /** Free slots for new writes. */
  readonly freeBytes: number;
}

/**
 * Bytes written since the opening, with padding. Superblocks and the headers of segments, 4 KiB each, come on top of
 * these.
 */
export interface WrittenStatistics {
  /** Records of puts and deletions as the log takes them. A part of `logBytes`. */
  readonly recordBytes: number;
  /** Frames of the log. */
  readonly logBytes: number;
  /** Records that cleaning has moved. */
  readonly movedBytes: number;
  /** The index: its pages, and what leads to them. */
  readonly indexBytes: number;
}

export interface StoreStatistics {
  /**
   * Sequence number of the latest write that reads see. Each put and each deletion, of a key or of a range, takes
   * one number, and one more for each fragment of a long value.
   */
  readonly sequence: number;
  /** Everything up to this sequence is in a checkpoint. */
  readonly checkpointSequence: number;
  /** Everything up to this sequence is flushed. */
  readonly flushedThrough: number;
  /**
   * What expires at this time, or before, is over after a crash, too, whatever the calendar says then: as of the last checkpoint, in
   * milliseconds since 1970. 0: nothing expires.
   */
  readonly expiryHorizonMs: number;
  /** What `memoryBytes` is spent on. */
  readonly memory: MemoryStatistics;
  /** Reads of values, but for long ranges, that found theirs in memory, those that did not, and how many values there are. */
  readonly cache: CacheStatistics;
  /** What was hot when the store was closed before, and how much of it was read back: `warmRestart`. */
  readonly warm: WarmStatistics;
  /** Gets whose leaf was not in memory: those that went by an address, those that read the leaf, and wrong addresses. */
  readonly addresses: AddressStatistics;
  /** Index pages read since the opening because they were not in memory. */
  readonly pageReads: number;
  /** Iterators that have not ended. What is replaced or deleted comes back only when those from before it have ended. */
  readonly iterators: number;
  /** Snapshots that have not ended, and what they hold. */
  readonly snapshots: SnapshotStatistics;
  /** Transactions that are open, and what has become of those that are not. */
  readonly transactions: TransactionStatistics;
  readonly space: SpaceStatistics;
  readonly written: WrittenStatistics;
  /** What was moved because scans had found it scattered, since the opening: `orderForScans`. */
  readonly order: OrderStatistics;
  /** How the store reaches its file, and why: `directIo`. */
  readonly io: IoStatistics;
  readonly queue: QueueStatistics;
}

/** All in bytes, as allocated. */
export interface MemoryStatistics {
  /** The budget: `memoryBytes`. */
  readonly limitBytes: number;
  /** Index entries of new writes that are not merged into the pages yet. */
  readonly memtableBytes: number;
  /** Pages of the index. */
  readonly pageBytes: number;
  /** Cached values, and what leads to them. */
  readonly cacheBytes: number;
  /** Addresses of keys whose leaves are not in memory. */
  readonly addressBytes: number;
  /** Buffers for writes on their way to the log. */
  readonly writeBufferBytes: number;
  /** Buffers for reads of records and of index pages. */
  readonly readBufferBytes: number;
  /** Entries that iterators have read ahead. */
  readonly readAheadBytes: number;
}
