/**
 * Moves records to new segments, in the order of their keys. It walks over the index, so it meets only what lives, and
 * meets it in order: no record has to be looked up, and none is sorted.
 *
 * ```
 *   index, in key order ─► entries that are wanted ─► their places, sorted ─► read in long spans ─► copies in memory
 *                                                                                                       │
 *            the merge of the run ◄── new places (relocations.ts) ◄────────── written, in key order ◄────┘
 * ```
 *
 * ORDER-1. A record does not move if the immutable memtable has its key: it is dead after this run. Nothing but the merge
 *     of this run changes the tree, so the entry of any other still leads to the old place by then (MERGE-4).
 * ORDER-2. New places are entered when all of a batch can be read there (CLEAN-3). A batch that finds no room is not
 *     moved at all, or as far as there was room.
 * ORDER-3. For scans (scan-order.ts) a range is moved piece by piece: a piece that one or two reads would find together stays
 *     where it is. So a range that is half in order costs half, and one that is in order a walk over its entries.
 *
 * A moved record is the same bytes (CLEAN-4). What is not moved keeps its segment (CLEAN-5). Long values follow the
 * records of their batch (extent-mover.ts).
 */
import { KIB, alignUp, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import type { SegmentWriter } from '../checkpoint/segment-writer.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { GAP_BYTES, SpanReader } from '../file/span-reader.ts';
import { fragmentValueBytes, fragmentsIn } from '../format/extent.ts';
import { fileOffsetOf, isInFragments, isRecord, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT } from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import { compareKeys } from '../format/keys.ts';
import type { Planted } from '../failure/planted.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { walkTree } from '../index/tree-walk.ts';
import type { LogWriter } from '../log/writer.ts';
import { ExtentMover } from './extent-mover.ts';
import { RecordCopies } from './record-copies.ts';
import type { CopiesMark } from './record-copies.ts';

export interface KeyOrderMoverOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly planted: Planted;
  readonly budget: TurnBudget;
}

/** What one batch is made of. */
export interface Wanted {
  /** The first key; null: that of the index. */
  readonly from: Uint8Array | null;
  /** The last key; null: that of the index. */
  readonly to: Uint8Array | null;
  /** 1 for slots whose records are wanted; null: all. */
  readonly slots: Uint8Array | null;
  /** Which slots are to be left by what is in them of long values; null: these stay where they are. */
  readonly isLongWanted: ((slot: number) => boolean) | null;
  /** The batch ends when copies take so much memory, or when its long values have so many bytes. */
  readonly mostBytes: number;
  /** Or when it has met so many bytes of records, moved or not. */
  readonly mostMetBytes: number;
  /** Whether a single long value may be more than that. */
  readonly mayExceed: boolean;
  /** What is not moved if it lies in order: a batch of all slots as a whole, or pieces of it (ORDER-3). */
  readonly stays: 'batch' | 'pieces' | 'nothing';
}

export interface Moved {
  /** The key behind the batch; null: the walk has come to the end of the index. */
  readonly next: Uint8Array | null;
  /** Bytes of records with their padding. */
  readonly bytes: number;
  /** Records, without long values. */
  readonly records: number;
  /** Records that the walk met, moved or not, in bytes. */
  readonly metBytes: number;
  /** What it has cost to read them (`SpanReader.read`). */
  readonly costBytes: number;
  /** Why some found no room; null if all did. */
  readonly noRoom: unknown;
}

/** A long value of a batch. */
interface Long {
  readonly key: Uint8Array;
  readonly entry: EntryWords;
}

/** Records of a range are in order if they lie behind one another, but for so many breaks, ... */
const BREAKS_LEAST = 4;
/** ... one in so many bytes, ... */
const BREAK_BYTES_PART = 1 / 2;
/** ... and if what lies between them is at most this part. */
const GAPS_PART = 1 / 16;
/** Behind records from this length on chunks have room that such a record does not fit into. */
const LONG_RECORD_BYTES = 16 * KIB;

/** ORDER-3. A piece takes so many bytes, or is the rest of its range. */
const PIECE_BYTES = 128 * KIB;
/** A piece is in order with so many reads, and one more for so many bytes of it. */
const READS_LEAST = 2;
const READ_BYTES = 64 * KIB;

/** ORDER-3. Takes those copies back that need not be made. */
class Pieces {
  readonly #copies: RecordCopies;
  #begin: CopiesMark;
  #reads = 0;
  #bytes = 0;
  #end = -Infinity;

  constructor(copies: RecordCopies) {
    this.#copies = copies;
    this.#begin = copies.mark;
  }

  met(offset: number, lengthBytes: number): void {
    if (offset < this.#end || offset - this.#end > GAP_BYTES) this.#reads++;
    this.#end = offset + alignUp(lengthBytes, RECORD_ALIGNMENT);
    this.#bytes += lengthBytes;
    if (this.#bytes >= PIECE_BYTES) this.end();
  }

  /** The piece ends behind the last record. */
  end(): void {
    const isInOrder = this.#reads <= READS_LEAST + this.#bytes / READ_BYTES;
    if (isInOrder) this.#copies.goBackTo(this.#begin);
    this.#begin = this.#copies.mark;
    this.#reads = 0;
    this.#bytes = 0;
    this.#end = -Infinity;
  }
}

/** Says whether the records that a walk meets lie in order already. */
class Order {
  #breaks = 0;
  #gapBytes = 0;
  #bytes = 0;
  #end = -1;
  #slot = -1;

  meet(offset: number, lengthBytes: number, slot: number): void {
    const bytes = alignUp(lengthBytes, RECORD_ALIGNMENT);
    if (slot !== this.#slot || offset < this.#end) this.#breaks++;
    else if (lengthBytes < LONG_RECORD_BYTES) this.#gapBytes += offset - this.#end;
    this.#end = offset + bytes;
    this.#slot = slot;
    this.#bytes += bytes;
  }

  isGood(segmentBytes: number): boolean {
    const breaks = BREAKS_LEAST + this.#bytes / (BREAK_BYTES_PART * segmentBytes);
    // Few records say little.
    return this.#bytes >= segmentBytes && this.#breaks <= breaks && this.#gapBytes <= GAPS_PART * this.#bytes;
  }
}

export class KeyOrderMover {
  readonly #options: KeyOrderMoverOptions;
  readonly #copies = new RecordCopies();
  readonly #reader: SpanReader;
  readonly #extents: ExtentMover;
  #long: Long[] = [];

  constructor(options: KeyOrderMoverOptions) {
    this.#options = options;
    this.#reader = new SpanReader(options);
    this.#extents = new ExtentMover({ ...options, reader: this.#reader });
  }

  /**
   * Moves one batch. Records of all slots that lie in order already stay where they are.
   *
   * @param isStopped asked between two steps: whether to give up
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read; ERR_AIOKV_LATCHED if a write failed
   */
  async move(wanted: Wanted, writer: SegmentWriter, isStopped: () => boolean): Promise<Moved> {
    const { segmentBytes } = this.#options.geometry;
    const copies = this.#copies;
    copies.clear();
    const order = new Order();
    const { next, metBytes } = await this.#collect(wanted, order, isStopped);
    const mayStay = wanted.slots === null && wanted.stays === 'batch';
    const isInOrder = copies.count === 0 || (mayStay && order.isGood(segmentBytes));
    const costBytes = isInOrder ? 0 : await this.#reader.read(copies, copies, isStopped);
    const none = { next, bytes: 0, records: 0, metBytes, costBytes, noRoom: null };
    if (isStopped()) return none;
    try {
      const moved = { ...none, ...(isInOrder ? {} : await this.#write(writer, isStopped)) };
      if (moved.noRoom !== null || isStopped()) return moved;
      const long = await this.#moveLong(wanted, writer, isStopped);
      return { ...moved, bytes: moved.bytes + long.bytes, noRoom: long.noRoom };
    } catch (error) {
      throw writer.failure === null ? error : this.#options.log.fail(error);
    }
  }

  async #collect(
    { from, to, slots, isLongWanted, mostBytes, mostMetBytes, mayExceed, stays }: Wanted,
    order: Order,
    isStopped: () => boolean,
  ): Promise<{ next: Uint8Array | null; metBytes: number }> {
    const { index, segments, geometry, budget } = this.#options;
    const copies = this.#copies;
    const pieces = stays === 'pieces' ? new Pieces(copies) : null;
    this.#long = [];
    let longBytes = 0;
    let metBytes = 0;
    const next = await walkTree(index, from, budget, (cursor) => {
      if (Math.max(copies.bytes, longBytes) >= mostBytes || metBytes >= mostMetBytes || isStopped()) return false;
      const { entry } = cursor;
      if (to !== null) {
        cursor.loadKey();
        if (compareKeys(cursor.keyBytes, cursor.keyLength, to, to.length) > 0) return false;
      }
      if (!isRecord(entry)) return true;
      const offset = fileOffsetOf(entry);
      const slot = segments.slotOf(offset);
      const lengthBytes = lengthOf(entry);
      if (isInFragments(entry)) {
        if (isLongWanted === null) return true;
        cursor.loadKey();
        if (index.isReplaced(cursor.keyBytes, cursor.keyLength)) return true;
        const fragments = fragmentsIn(lengthBytes, cursor.keyLength);
        longBytes += fragments * fragmentValueBytes(geometry, cursor.keyLength);
        const isTooMuch = longBytes > mostBytes && (!mayExceed || this.#long.length > 0);
        if (isTooMuch) return false;
        const { word0, word1 } = entry;
        this.#long.push({ key: cursor.keyBytes.slice(0, cursor.keyLength), entry: { word0, word1 } });
        metBytes += lengthBytes;
        return true;
      }
      metBytes += alignUp(lengthBytes, RECORD_ALIGNMENT);
      if (slots !== null && slots[slot] !== 1) return true;
      cursor.loadKey();
      // ORDER-1.
      if (index.isReplaced(cursor.keyBytes, cursor.keyLength)) return true;
      copies.add(entry, cursor.keyBytes, cursor.keyLength);
      order.meet(offset, lengthBytes, slot);
      pieces?.met(offset, lengthBytes);
      return true;
    });
    pieces?.end();
    return { next, metBytes };
  }

  /** ORDER-2. */
  async #write(
    writer: SegmentWriter,
    isStopped: () => boolean,
  ): Promise<{ readonly bytes: number; readonly records: number; readonly noRoom: unknown }> {
    const { index, budget } = this.#options;
    const copies = this.#copies;
    let bytes = 0;
    let records = 0;
    let noRoom: unknown = null;
    let end = 0;
    for (; end < copies.count && !isStopped(); end++) {
      if (!copies.isThere(end)) continue;
      const paddedBytes = alignUp(copies.lengths[end] as number, RECORD_ALIGNMENT);
      const place = writer.placeHere(paddedBytes) ?? (await writer.placeIfRoom(paddedBytes));
      if ('noRoom' in place) {
        noRoom = place.noRoom;
        break;
      }
      copies.copyTo(end, place.block, place.at);
      copies.targets[end] = place.fileOffset;
      bytes += paddedBytes;
      if (budget.isSpent()) await nextTurn();
    }
    await writer.finish();
    for (let i = 0; i < end; i++) {
      if (!copies.isThere(i)) continue;
      copies.enter(i, index);
      records++;
      if (budget.isSpent()) await nextTurn();
    }
    return { bytes, records, noRoom };
  }

  /** Moves what is wanted of the long values of the batch. */
  async #moveLong(
    { isLongWanted }: Wanted,
    writer: SegmentWriter,
    isStopped: () => boolean,
  ): Promise<{ readonly bytes: number; readonly noRoom: unknown }> {
    const { planted } = this.#options;
    let bytes = 0;
    let noRoom: unknown = null;
    if (isLongWanted === null || this.#long.length === 0) return { bytes, noRoom };
    try {
      for (const { key, entry } of this.#long) {
        if (noRoom !== null || isStopped()) break;
        const moved = await this.#extents.move(key, entry, isLongWanted, writer, isStopped);
        bytes += moved.bytes;
        noRoom = moved.noRoom;
        if (moved.pieces > 0) planted.onMovedPieces?.(moved.pieces);
      }
      await writer.finish();
      this.#extents.enter();
      return { bytes, noRoom };
    } finally {
      this.#extents.forget();
    }
  }
}
