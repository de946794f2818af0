/**
 * The open iterators of a store. Supplies their values, and ends them when the store is closed.
 *
 * AHEAD-1. What all iterators together have read ahead takes no more than they are given, but for one entry of each. One
 *     takes its part of that at most, so that those that nobody goes on with leave something to the others.
 */
import { TurnBudget } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import type { FailureGate } from '../failure/failure-gate.ts';
import { SpanReader } from '../file/span-reader.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { StoreIterator } from './iterator.ts';
import type { IteratorHost, RowShape } from './iterator.ts';
import { encodeRange } from './range.ts';
import type { RangeOptions } from './range.ts';
import type { RecordReader, UnwrittenRecords } from './record-reader.ts';
import { WindowRead } from './window-reader.ts';
import type { WindowReaderParts } from './window-reader.ts';

interface RangeReadsParts {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly clock: Clock;
  readonly index: KeyIndex;
  readonly log: UnwrittenRecords;
  readonly gate: FailureGate;
  readonly reader: RecordReader;
  readonly maintenance: Maintenance;
  /** Of the store: for what is handed out. */
  readonly budget: TurnBudget;
  /** For what iterators read ahead, in bytes. */
  readonly mostAheadBytes: number;
}

/** Reads of all iterators that are in flight at once: long ones, ... */
const LONG_READS = 12;
/** ... and short ones, of records that lie alone. */
const SHORT_READS = 128;
/** With little memory fewer: as many as one part in so many of what may be read ahead has room for, ... */
const PART_OF_LONG = 2;
const PART_OF_SHORT = 4;
/** ... and so many at least. */
const LEAST_LONG_READS = 2;
const LEAST_SHORT_READS = 8;
/** Of each turn of the event loop, for what is read ahead. */
const AHEAD_MS = 0.5;

const ENTRIES: RowShape<[key: Buffer, value: Buffer]> = {
  needsValues: true,
  rowOf: (window, index) => [window.keyOf(index), window.valueOf(index)],
};
const KEYS: RowShape<Buffer> = { needsValues: false, rowOf: (window, index) => window.keyOf(index) };
const VALUES: RowShape<Buffer> = { needsValues: true, rowOf: (window, index) => window.valueOf(index) };

export class RangeReads implements IteratorHost {
  /** Most requests that are in flight at once for what iterators read in long reads. */
  static readonly MOST_REQUESTS = LONG_READS + SHORT_READS;

  readonly budget: TurnBudget;
  readonly aheadBudget: TurnBudget;
  readonly #index: KeyIndex;
  readonly #maintenance: Maintenance;
  readonly #windowParts: WindowReaderParts;
  readonly #spans: SpanReader;
  readonly #mostAheadBytes: number;
  readonly #open = new Set<StoreIterator<unknown>>();
  /** Bytes that iterators have read ahead, or are reading. */
  aheadBytes = 0;

  constructor(parts: RangeReadsParts) {
    const { queue, file, clock, index, log, gate, reader, maintenance, budget, mostAheadBytes } = parts;
    this.#index = index;
    this.#maintenance = maintenance;
    this.#mostAheadBytes = mostAheadBytes;
    this.budget = budget;
    this.aheadBudget = new TurnBudget(clock, AHEAD_MS);
    this.#spans = new SpanReader({
      queue,
      file,
      budget: this.aheadBudget,
      ...readsAtOnce(mostAheadBytes),
    });
    this.#windowParts = { reader, spans: this.#spans, log, gate };
  }

  /** Most memory that the buffers of long reads take, in bytes. */
  static mostBufferBytes(mostAheadBytes: number): number {
    const { longAtOnce, shortAtOnce } = readsAtOnce(mostAheadBytes);
    return SpanReader.mostBufferBytes(longAtOnce, shortAtOnce);
  }

  /** Memory of these buffers, in bytes. */
  get bufferBytes(): number {
    return this.#spans.bufferBytes;
  }

  /** Iterators that were not ended. */
  get count(): number {
    return this.#open.size;
  }

  /** Throws as `encodeRange`. */
  iterator(options: Partial<RangeOptions> | undefined): StoreIterator {
    return this.#begin(options, ENTRIES);
  }

  /** Throws as `encodeRange`. */
  keys(options: Partial<RangeOptions> | undefined): StoreIterator<Buffer> {
    return this.#begin(options, KEYS);
  }

  /** Throws as `encodeRange`. */
  values(options: Partial<RangeOptions> | undefined): StoreIterator<Buffer> {
    return this.#begin(options, VALUES);
  }

  #begin<Row>(options: Partial<RangeOptions> | undefined, shape: RowShape<Row>): StoreIterator<Row> {
    const range = encodeRange(options);
    const iterator = new StoreIterator(this, this.#index.snapshot(), range, shape);
    this.#open.add(iterator);
    return iterator;
  }

  beginWindow(): WindowRead {
    return new WindowRead(this.#windowParts);
  }

  /** Ends all iterators with this error: the store is closed. */
  close(error: Error): void {
    // Each call deletes its iterator from the set; that is allowed during the walk.
    for (const iterator of this.#open) iterator.close(error);
  }

  /** Settles when nothing is read for iterators any more. Call it after `close`. */
  quiet(): Promise<void> {
    return this.#spans.quiet();
  }

  forget(iterator: StoreIterator<unknown>): void {
    this.#open.delete(iterator);
  }

  released(): void {
    void this.#maintenance.versionReleased();
  }

  /** AHEAD-1. */
  mayReadAhead(ownBytes: number): boolean {
    return this.aheadBytes < this.#mostAheadBytes && ownBytes < this.#mostAheadBytes / this.#open.size;
  }
}

function readsAtOnce(mostAheadBytes: number): { readonly longAtOnce: number; readonly shortAtOnce: number } {
  const long = Math.floor(mostAheadBytes / PART_OF_LONG / SpanReader.mostBufferBytes(1, 0));
  const short = Math.floor(mostAheadBytes / PART_OF_SHORT / SpanReader.mostBufferBytes(0, 1));
  return {
    longAtOnce: Math.min(LONG_READS, Math.max(LEAST_LONG_READS, long)),
    shortAtOnce: Math.min(SHORT_READS, Math.max(LEAST_SHORT_READS, short)),
  };
}
