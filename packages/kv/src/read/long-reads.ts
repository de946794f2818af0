/**
 * The one span reader of a store: how many reads of records that lie together it has under way, for iterators and `getMany`.
 * With little memory they are fewer.
 */
import type { TurnBudget } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import { SpanReader } from '../file/span-reader.ts';

/** Long reads, ... */
const LONG_READS = 12;
/** ... those of a few blocks, ... */
const MIDDLE_READS = 64;
/** ... and short ones, of records that lie alone. */
const SHORT_READS = 128;
/** With little memory as many as one part in so many of what iterators may read ahead has room for, ... */
const PART_OF_LONG = 2;
const PART_OF_OTHERS = 4;
/** ... and so many at least. */
const LEAST_LONG_READS = 2;
const LEAST_MIDDLE_READS = 4;
const LEAST_SHORT_READS = 8;

/** Most requests that are under way at once. */
export const MOST_LONG_REQUESTS = LONG_READS + MIDDLE_READS + SHORT_READS;

export interface LongReadsOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  /** For looking at what was read. */
  readonly budget: TurnBudget;
  /** What iterators may read ahead. */
  readonly mostAheadBytes: number;
}

export function longReads({ queue, file, budget, mostAheadBytes }: LongReadsOptions): SpanReader {
  return new SpanReader({ queue, file, budget, ...readsAtOnce(mostAheadBytes) });
}

/** Most memory that its buffers take, in bytes. */
export function mostLongReadBytes(mostAheadBytes: number): number {
  const { longAtOnce, middleAtOnce, shortAtOnce } = readsAtOnce(mostAheadBytes);
  return SpanReader.mostBufferBytes(longAtOnce, middleAtOnce, shortAtOnce);
}

function readsAtOnce(mostAheadBytes: number): Record<'longAtOnce' | 'middleAtOnce' | 'shortAtOnce', number> {
  const long = Math.floor(mostAheadBytes / PART_OF_LONG / SpanReader.mostBufferBytes(1, 0, 0));
  const middle = Math.floor(mostAheadBytes / PART_OF_OTHERS / SpanReader.mostBufferBytes(0, 1, 0));
  const short = Math.floor(mostAheadBytes / PART_OF_OTHERS / SpanReader.mostBufferBytes(0, 0, 1));
  return {
    longAtOnce: Math.min(LONG_READS, Math.max(LEAST_LONG_READS, long)),
    middleAtOnce: Math.min(MIDDLE_READS, Math.max(LEAST_MIDDLE_READS, middle)),
    shortAtOnce: Math.min(SHORT_READS, Math.max(LEAST_SHORT_READS, short)),
  };
}
