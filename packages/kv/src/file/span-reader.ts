/**
 * Reads many ranges of the file in few long reads. Ranges that lie close together are read as one span, with what is
 * between them. Spans are read ahead of the one that is looked at.
 *
 * ```
 *   ranges, sorted by place      ▂▂ ▂  ▂▂▂     ▂▂                ▂ ▂▂
 *   spans                       [──────────────────]           [──────]      a gap of up to GAP_BYTES is read, too
 *   buffers                      being looked at ─ read ─ being read ─ being read
 * ```
 *
 * SPANS-1. At most SPANS_AT_ONCE buffers are in use, each of one span.
 * SPANS-2. Ranges are visited in the order of their blocks, in slices, and each once: as read, or as unreadable.
 *
 * A random read costs a device about as much as 8 KiB more of a read that is under way already. The buffers belong to the
 * reader and are used again. This file checks nothing that was read.
 */
import { Fifo, KIB, alignDown, alignUp, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { sortByBlock } from './place-order.ts';

/** Ranges of the file, as places and lengths in bytes. */
export interface Ranges {
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  readonly count: number;
}

export interface RangeVisitor {
  /** A range was read. It begins at `block.bytes[at]`, and may be looked at during the call only. */
  read(index: number, block: AlignedBuffer, at: number): void;
  /** The device did not give all of a range. */
  unreadable(index: number): void;
}

export interface SpanReaderOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly budget: TurnBudget;
}

/** Longest span of more than one range, ... */
const SPAN_BYTES = 256 * KIB;
/** ... and what it may have between two of them. */
const GAP_BYTES = 8 * KIB;
const SPANS_AT_ONCE = 12;
/** Places and lengths of spans are multiples of this. */
const BLOCK_BYTES = 4 * KIB;
/** Of the first and the last block of a range, the rest is read with it. */
const EDGE_BYTES = 2 * BLOCK_BYTES;

/** Ranges from `first` to `end`, exclusive, in the sorted order. */
interface Span {
  readonly first: number;
  readonly end: number;
  readonly startBytes: number;
  readonly buffer: AlignedBuffer;
  readonly isRead: Promise<boolean>;
}

export class SpanReader {
  readonly #options: SpanReaderOptions;
  readonly #free: AlignedBuffer[] = [];

  constructor(options: SpanReaderOptions) {
    this.#options = options;
  }

  /**
   * Reads all ranges and tells the visitor. None is longer than 256 KiB.
   *
   * @param isStopped asked between two spans: whether to leave out the rest
   */
  async read(ranges: Ranges, visitor: RangeVisitor, isStopped: () => boolean): Promise<void> {
    const { budget } = this.#options;
    const order = await sortByBlock(ranges.offsets, ranges.count, BLOCK_BYTES, budget);
    const ahead = new Fifo<Span>();
    let begun = 0;
    try {
      for (;;) {
        while (begun < ranges.count && ahead.length < SPANS_AT_ONCE) {
          const next = this.#begin(ranges, order, begun);
          ahead.push(next);
          begun = next.end;
        }
        const span = ahead.peek();
        if (span === undefined || isStopped()) return;
        const isRead = await span.isRead;
        for (let i = span.first; i < span.end; i++) {
          const index = order[i] as number;
          if (isRead) visitor.read(index, span.buffer, (ranges.offsets[index] as number) - span.startBytes);
          else visitor.unreadable(index);
          if (budget.isSpent()) await nextTurn();
        }
        this.#free.push(span.buffer);
        ahead.shift();
      }
    } finally {
      // A buffer in flight is not used again before its read has ended.
      for (const span of ahead.drain()) {
        await span.isRead;
        this.#free.push(span.buffer);
      }
    }
  }

  #begin({ offsets, lengths, count }: Ranges, order: Uint32Array, first: number): Span {
    const startBytes = alignDown(offsets[order[first] as number] as number, BLOCK_BYTES);
    let endBytes = startBytes;
    let end = first;
    for (; end < count; end++) {
      const index = order[end] as number;
      const offset = offsets[index] as number;
      const after = Math.max(endBytes, offset + (lengths[index] as number));
      if (end > first && (offset - endBytes > GAP_BYTES || after - startBytes > SPAN_BYTES)) break;
      endBytes = after;
    }
    const buffer = this.#free.pop() ?? allocateAligned(SPAN_BYTES + EDGE_BYTES);
    return { first, end, startBytes, buffer, isRead: this.#transfer(buffer, startBytes, endBytes) };
  }

  /** Twice if it has to be. Never rejects. */
  async #transfer(buffer: AlignedBuffer, startBytes: number, endBytes: number): Promise<boolean> {
    const { queue, file } = this.#options;
    const length = alignUp(endBytes - startBytes, BLOCK_BYTES);
    for (let attempts = 0; attempts < 2; attempts++) {
      try {
        if ((await queue.read(file, buffer, { offset: startBytes, length })) >= endBytes - startBytes) return true;
      } catch {
        // What cannot be read is told to the visitor.
      }
    }
    return false;
  }
}
