/**
 * Counts what lives in the segments of the log, beyond what a merge counts by itself: the fragments of long values, whose
 * places are in a table that has to be read, and all records of a store that has no segment table yet.
 *
 * ```
 *   entry of a long value ─► its record, on the device ─► table ─► fragment, fragment, …: each counts in its segment
 * ```
 *
 * LIVE-1. A fragment that may be alive is counted. If a table cannot be read that enters the index, that is an error; if
 *     it leaves the index, its fragments go on counting and keep their segments.
 */
import { Fifo, assert, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';
import { SectorRead, transferError } from '../file/sector-read.ts';
import { SegmentTable } from '../file/segment-table.ts';
import { readTable } from '../format/extent.ts';
import type { Fragment } from '../format/extent.ts';
import { fileOffsetOf, isInFragments, isRecord, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { RECORD_HEADER_BYTES, isExtent, keyBytesOf, recordFault, valueBytesOf } from '../format/record.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';
import { IndexCursor } from '../index/index-cursor.ts';
import type { TreeVersion } from '../index/index-snapshot.ts';
import type { KeyIndex } from '../index/key-index.ts';

export interface LiveCountsOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly budget: TurnBudget;
}

const READS_AT_ONCE = 8;
/** Leaves read together by a census, and entries of long values that it keeps until it reads their tables. */
const LEAVES_AT_ONCE = 16;
const TABLES_AT_ONCE = 256;

/** Reads the record of one long value. */
class TableRead implements CompletionHandler {
  readonly #read: SectorRead;
  readonly #queue: Queue;
  readonly #file: DirectFile;
  #settle: ((outcome: readonly Fragment[] | Error) => void) | null = null;

  constructor(queue: Queue, file: DirectFile) {
    this.#queue = queue;
    this.#file = file;
    this.#read = new SectorRead(allocateAligned(file.alignment.offset));
  }

  /** The fragments of the value, or why they are not known. */
  run(entry: EntryWords): Promise<readonly Fragment[] | Error> {
    const read = this.#read;
    read.aim(this.#file, fileOffsetOf(entry), lengthOf(entry));
    if (read.current.byteLength < read.spanBytes) read.current = allocateAligned(read.spanBytes);
    return new Promise((resolve) => {
      this.#settle = resolve;
      read.submit(this.#queue, this.#file, this, 0);
    });
  }

  /** @internal */
  complete(token: number, transferred: number): void {
    const read = this.#read;
    const fragments = read.isThere(transferred) ? this.#fragments() : null;
    if (fragments === null && read.mayRetry(this.#file, transferred)) {
      read.submit(this.#queue, this.#file, this, token);
      return;
    }
    const where = `the record at byte ${read.fileOffset} of ${this.#file.path}`;
    const failure = read.isThere(transferred) ? corrupt(`${where} is damaged`) : transferError(where, transferred);
    this.#settle?.(fragments ?? failure);
  }

  #fragments(): readonly Fragment[] | null {
    const { current, at, lengthBytes } = this.#read;
    const { view } = current;
    if (recordFault(current, at, lengthBytes) !== null || !isExtent(view, at)) return null;
    const keyBytes = keyBytesOf(view, at);
    const tableAt = at + RECORD_HEADER_BYTES + keyBytes;
    return readTable(view, tableAt, valueBytesOf(view, at), keyBytes)?.fragments ?? null;
  }
}

export class LiveCounts {
  readonly #options: LiveCountsOptions;

  constructor(options: LiveCountsOptions) {
    this.#options = options;
  }

  /**
   * Counts the fragments of values that entered the index. Removes the entries that are counted from the list.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async entered(entries: EntryWords[], segments: SegmentTable): Promise<void> {
    await this.#eachTable(entries, (outcome) => {
      if (outcome instanceof Error) throw outcome;
      for (const { fileOffset, lengthBytes } of outcome) segments.countRecord(fileOffset, lengthBytes);
    });
  }

  /** Stops counting the fragments of values that left the index. Removes the entries from the list. */
  async left(entries: EntryWords[], segments: SegmentTable): Promise<void> {
    await this.#eachTable(entries, (outcome) => {
      // LIVE-1.
      if (outcome instanceof Error) return;
      for (const { fileOffset, lengthBytes } of outcome) segments.uncountRecord(fileOffset, lengthBytes);
    });
  }

  /**
   * @internal Counts everything again and compares.
   *
   * @throws AiokvError ERR_AIOKV_INTERNAL if the segment table is wrong
   */
  async compare(version: TreeVersion, index: KeyIndex, segments: SegmentTable, geometry: Geometry): Promise<void> {
    const counted = new SegmentTable(geometry);
    const slots = segments.slotsFrom(0, Infinity).filter((slot) => segments.kindOf(slot) !== SegmentKind.index);
    for (const slot of slots) counted.begin(slot, segments.kindOf(slot), 0, 0);
    await this.census(version, index, counted);
    for (const slot of slots) {
      const [bytes, records] = [counted.liveBytesOf(slot), counted.liveRecordsOf(slot)];
      const isRight = segments.liveBytesOf(slot) === bytes && segments.liveRecordsOf(slot) === records;
      assert(isRight, `slot ${slot} has ${bytes} live bytes, not ${segments.liveBytesOf(slot)}`);
    }
  }

  /**
   * Counts all records that a version of the tree leads to.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async census({ tree }: TreeVersion, { pager }: KeyIndex, segments: SegmentTable): Promise<void> {
    const cursor = new IndexCursor([{ keys: tree, ranges: null }], false, pager);
    const long: EntryWords[] = [];
    try {
      let isThere = cursor.start(null);
      for (;;) {
        if (cursor.isBlocked) {
          await cursor.unblock(LEAVES_AT_ONCE);
          isThere = cursor.resume();
          continue;
        }
        if (!isThere) break;
        const { entry } = cursor;
        if (isRecord(entry)) segments.countRecord(fileOffsetOf(entry), lengthOf(entry));
        if (isInFragments(entry)) long.push({ word0: entry.word0, word1: entry.word1 });
        if (long.length === TABLES_AT_ONCE) await this.entered(long, segments);
        if (this.#options.budget.isSpent()) await nextTurn();
        isThere = cursor.next();
      }
    } finally {
      cursor.unpin();
    }
    await this.entered(long, segments);
  }

  async #eachTable(entries: EntryWords[], visit: (outcome: readonly Fragment[] | Error) => void): Promise<void> {
    const { queue, file, budget } = this.#options;
    const waiting = new Fifo<EntryWords>();
    for (const entry of entries) waiting.push(entry);
    const reader = async (): Promise<void> => {
      const read = new TableRead(queue, file);
      for (let entry = waiting.shift(); entry !== undefined; entry = waiting.shift()) {
        visit(await read.run(entry));
        if (budget.isSpent()) await nextTurn();
      }
    };
    const readers = Array.from({ length: Math.min(READS_AT_ONCE, entries.length) }, reader);
    const results = await Promise.allSettled(readers);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    entries.length = 0;
  }
}
