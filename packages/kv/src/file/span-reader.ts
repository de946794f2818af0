/**
 * Reads many ranges of the file in few long reads. Ranges that lie close together are read as one span, with what is
 * between them. Spans are read ahead of the one that is looked at.
 *
 * ```
 *   ranges, sorted by place      ▂▂ ▂  ▂▂▂     ▂▂                ▂ ▂▂
 *   spans                       [──────────────────]           [──────]      a gap of up to GAP_BYTES is read, too
 *   state                        being looked at ─ read ─ being read ─ being read
 * ```
 *
 * SPANS-1. All calls of `read` together have at most so many spans under way as the reader was given, each with a buffer
 *     of its own. A call that has none waits for its turn; one that has some does not go before it.
 * SPANS-2. Ranges are visited in the order of their blocks, in slices, and each once: as read, as unreadable, or as one
 *     that lies alone.
 * SPANS-3. A buffer is used again only when its read has ended.
 *
 * A random read costs a device about as much as 8 KiB more of a read that is under way already. The buffers belong to the
 * reader and are used again. This file checks nothing that was read.
 */
import { Fifo, KIB, Waiters, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { sortByBlock } from './place-order.ts';
import { SectorRead } from './sector-read.ts';

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
  /** If it is there: takes over a range that has no neighbour, and is not told of it again. */
  alone?(index: number): void;
}

export interface SpanReaderOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly budget: TurnBudget;
  /** SPANS-1. Default 12. */
  readonly longAtOnce?: number;
  /** The same for spans of up to 32 KiB, ... */
  readonly middleAtOnce?: number;
  /** ... and for those that fit into two blocks. */
  readonly shortAtOnce?: number;
}

/** Longest span of more than one range, ... */
const SPAN_BYTES = 256 * KIB;
/** ... and what it may have between two of them. */
export const GAP_BYTES = 8 * KIB;
const SPANS_AT_ONCE = 12;
/** The order of ranges is that of blocks of this size. */
const BLOCK_BYTES = 4 * KIB;
/** Of the first and the last sector of a range, the rest is read with it. */
const EDGE_BYTES = 2 * BLOCK_BYTES;
const LONG_BYTES = SPAN_BYTES + EDGE_BYTES;
/** Where few ranges lie together there are many spans of a few blocks, which the device reads as fast as short ones. */
const MIDDLE_SPAN_BYTES = 32 * KIB;
const MIDDLE_BYTES = MIDDLE_SPAN_BYTES + EDGE_BYTES;
const SHORT_BYTES = 2 * BLOCK_BYTES;

type SpanState = 'free' | 'in flight' | 'read' | 'unreadable';

/** Ranges from `first` to `end`, exclusive, in the sorted order. Made once, used again. */
class Span extends SectorRead {
  readonly pool: SpanPool;
  readonly index: number;
  first = 0;
  end = 0;
  state: SpanState = 'free';
  /** The next span of the same call. */
  next: Span | null = null;
  /** Whoever waits for the end of the read, or null. */
  wake: (() => void) | null = null;

  constructor(pool: SpanPool, index: number) {
    super(allocateAligned(pool.bufferBytes));
    this.pool = pool;
    this.index = index;
  }

  ended(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

/** SPANS-1. The spans of one size. Those who wait are served in their order. */
class SpanPool {
  readonly bufferBytes: number;
  readonly #most: number;
  /** All spans of the reader, by their index. */
  readonly #spans: Span[];
  readonly #free: Span[] = [];
  #count = 0;
  readonly #waiting = new Fifo<(span: Span) => void>();

  constructor(spans: Span[], bufferBytes: number, most: number) {
    this.#spans = spans;
    this.bufferBytes = bufferBytes;
    this.#most = most;
  }

  get bytes(): number {
    return this.#count * this.bufferBytes;
  }

  take(): Span | null {
    const span = this.#free.pop();
    if (span !== undefined) return span;
    if (this.#count === this.#most) return null;
    this.#count++;
    const made = new Span(this, this.#spans.length);
    this.#spans.push(made);
    return made;
  }

  takeLater(): Promise<Span> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(span: Span): void {
    span.state = 'free';
    span.next = null;
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#free.push(span);
    else waiter(span);
  }
}

/** What the next span is to cover. */
interface Extent {
  end: number;
  startBytes: number;
  endBytes: number;
}

export class SpanReader implements CompletionHandler {
  readonly #options: SpanReaderOptions;
  readonly #spans: Span[] = [];
  readonly #long: SpanPool;
  readonly #middle: SpanPool;
  readonly #short: SpanPool;
  /** Calls of `read` that have not ended. */
  #reading = 0;
  /** Woken by the last of them. */
  readonly #quietWaiters = new Waiters();

  constructor(options: SpanReaderOptions) {
    this.#options = options;
    this.#long = new SpanPool(this.#spans, LONG_BYTES, options.longAtOnce ?? SPANS_AT_ONCE);
    this.#middle = new SpanPool(this.#spans, MIDDLE_BYTES, options.middleAtOnce ?? SPANS_AT_ONCE);
    this.#short = new SpanPool(this.#spans, SHORT_BYTES, options.shortAtOnce ?? SPANS_AT_ONCE);
  }

  /** Most memory that buffers take, in bytes. */
  static mostBufferBytes(longAtOnce: number, middleAtOnce: number, shortAtOnce: number): number {
    return longAtOnce * LONG_BYTES + middleAtOnce * MIDDLE_BYTES + shortAtOnce * SHORT_BYTES;
  }

  /** Memory of the buffers, in bytes. */
  get bufferBytes(): number {
    return this.#long.bytes + this.#middle.bytes + this.#short.bytes;
  }

  /**
   * Reads all ranges and tells the visitor. None is longer than 256 KiB.
   *
   * @param isStopped asked between two spans: whether to leave out the rest
   * @returns what it has cost, in bytes: those that were read, and so many for each read as the longest gap has
   */
  async read(ranges: Ranges, visitor: RangeVisitor, isStopped: () => boolean): Promise<number> {
    this.#reading++;
    let costBytes = 0;
    let head: Span | null = null;
    let tail: Span | null = null;
    try {
      const order = await sortByBlock(ranges.offsets, ranges.count, BLOCK_BYTES, this.#options.budget);
      const extent: Extent = { end: 0, startBytes: 0, endBytes: 0 };
      let begun = 0;
      for (;;) {
        while (begun < ranges.count) {
          if (extent.end === begun) measure(ranges, order, extent);
          if (visitor.alone !== undefined && extent.end === begun + 1) {
            visitor.alone(order[begun] as number);
            begun = extent.end;
            if (this.#options.budget.isSpent()) await nextTurn();
            continue;
          }
          const pool = this.#poolFor(extent.endBytes - extent.startBytes);
          let span = pool.take();
          if (span === null) {
            if (head !== null) break;
            span = await pool.takeLater();
          }
          if (head === null) head = span;
          else (tail as Span).next = span;
          tail = span;
          if (isStopped()) return costBytes;
          span.first = begun;
          span.end = extent.end;
          begun = extent.end;
          costBytes += GAP_BYTES + extent.endBytes - extent.startBytes;
          this.#begin(span, extent);
        }
        if (head === null || isStopped()) return costBytes;
        if (head.state === 'in flight') await head.ended();
        await this.#visit(head, ranges, order, visitor);
        head = giveBack(head);
      }
    } finally {
      // SPANS-3.
      while (head !== null) {
        if (head.state === 'in flight') await head.ended();
        head = giveBack(head);
      }
      this.#reading--;
      if (this.#reading === 0) this.#quietWaiters.wakeAll();
    }
  }

  /** Settles when nothing is read. Whoever calls it begins no reads any more. */
  async quiet(): Promise<void> {
    while (this.#reading > 0) await this.#quietWaiters.wait();
  }

  /** @internal A transfer has completed. */
  complete(index: number, transferred: number): void {
    const span = this.#spans[index] as Span;
    const { queue, file } = this.#options;
    const isThere = span.isThere(transferred);
    if (!isThere && span.mayRetry(file, transferred)) {
      span.submit(queue, file, this, index);
      return;
    }
    span.state = isThere ? 'read' : 'unreadable';
    span.wake?.();
    span.wake = null;
  }

  #poolFor(bytes: number): SpanPool {
    if (bytes <= BLOCK_BYTES) return this.#short;
    return bytes <= MIDDLE_SPAN_BYTES ? this.#middle : this.#long;
  }

  #begin(span: Span, { startBytes, endBytes }: Extent): void {
    const { queue, file } = this.#options;
    span.aim(file, startBytes, endBytes - startBytes);
    span.state = 'in flight';
    span.submit(queue, file, this, span.index);
  }

  async #visit(span: Span, { offsets }: Ranges, order: Uint32Array, visitor: RangeVisitor): Promise<void> {
    const { budget } = this.#options;
    // Place in the file of the first byte of the buffer.
    const base = span.fileOffset - span.at;
    for (let i = span.first; i < span.end; i++) {
      const index = order[i] as number;
      if (span.state === 'read') visitor.read(index, span.current, (offsets[index] as number) - base);
      else visitor.unreadable(index);
      if (budget.isSpent()) await nextTurn();
    }
  }
}

/** Returns the next span of the same call. */
function giveBack(span: Span): Span | null {
  const { next } = span;
  span.pool.give(span);
  return next;
}

/** Has the extent cover the ranges from its end on that belong together. */
function measure({ offsets, lengths, count }: Ranges, order: Uint32Array, extent: Extent): void {
  const first = extent.end;
  let startBytes = Infinity;
  let endBytes = 0;
  let end = first;
  for (; end < count; end++) {
    const index = order[end] as number;
    const offset = offsets[index] as number;
    const after = Math.max(endBytes, offset + (lengths[index] as number));
    if (end > first && (offset - endBytes > GAP_BYTES || after - startBytes > SPAN_BYTES)) break;
    // Within a block they may be in any order.
    startBytes = Math.min(startBytes, offset);
    endBytes = after;
  }
  extent.end = end;
  extent.startBytes = startBytes;
  extent.endBytes = endBytes;
}
