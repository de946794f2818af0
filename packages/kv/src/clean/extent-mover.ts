/**
 * Moves values that are too long for one record (format/extent.ts): those of their fragments that lie in certain segments,
 * and the put, whose table then says where they are.
 *
 * ```
 *   entry ─► put, with the table ─► fragments that are wanted ─► copies, in new segments
 *                                                                          │
 *            merge ◄── new place of the put (relocations.ts) ◄── put with a new table, behind them
 * ```
 *
 * PIECES-1. The new place of a put is entered when it and all that its table names can be read (CLEAN-3). A value that
 *     finds no room stays as it is, and what was copied of it counts nowhere.
 * PIECES-2. A fragment is the same bytes (CLEAN-4), and the put has the same sequence: only places in its table change,
 *     and its checksum. So a read accepts the fragments as before (EXTENT-2).
 * PIECES-3. A fragment that is damaged or cannot be read stays where it is, and so does a value whose put is.
 *
 * Reads that have met the old table find all fragments in their old places until they end (CHECK-8).
 */
import { alignUp, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { Place, SegmentWriter } from '../checkpoint/segment-writer.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { RangeVisitor, SpanReader } from '../file/span-reader.ts';
import { fragmentFault, placeFragment, readTable } from '../format/extent.ts';
import type { Extent, Fragment } from '../format/extent.ts';
import { MAX_FRAME_BYTES } from '../format/frame.ts';
import { fileOffsetOf, lengthOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import {
  RECORD_ALIGNMENT,
  RECORD_HEADER_BYTES,
  isExtent,
  keyEquals,
  recordFault,
  sealRecord,
  sequenceOf,
  valueBytesOf,
} from '../format/record.ts';
import type { Block } from '../format/words.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { MovedPiece } from '../index/relocations.ts';

export interface ExtentMoverOptions {
  /** Nobody else reads with it meanwhile. */
  readonly reader: SpanReader;
  readonly index: KeyIndex;
  readonly segments: SegmentTable;
  readonly budget: TurnBudget;
}

/** What was moved of one value: fragments, and bytes of all its records with their padding. */
export interface ExtentMoved {
  readonly pieces: number;
  readonly bytes: number;
  /** Why it found no room; null if it did. */
  readonly noRoom: unknown;
}

/** Fragments read together. */
const READS_AT_ONCE = 4;
const NOTHING: ExtentMoved = { pieces: 0, bytes: 0, noRoom: null };

/** A put that was moved, and is to be entered. */
interface Moved {
  readonly key: Uint8Array;
  readonly old: EntryWords;
  readonly fileOffset: number;
  readonly pieces: readonly MovedPiece[];
}

/** Copies of records that are read together. */
class Copies implements RangeVisitor {
  readonly offsets = new Float64Array(READS_AT_ONCE);
  readonly lengths = new Uint32Array(READS_AT_ONCE);
  count = 0;
  readonly isThere = new Uint8Array(READS_AT_ONCE);
  readonly blocks: Block[] = [];

  begin(): void {
    this.count = 0;
    this.isThere.fill(0);
  }

  add(fileOffset: number, lengthBytes: number): void {
    this.offsets[this.count] = fileOffset;
    this.lengths[this.count++] = lengthBytes;
    if (this.count <= this.blocks.length) return;
    const bytes = new Uint8Array(MAX_FRAME_BYTES);
    this.blocks.push({ bytes, view: new DataView(bytes.buffer) });
  }

  read(index: number, { bytes }: Block, at: number): void {
    const block = this.blocks[index] as Block;
    block.bytes.set(bytes.subarray(at, at + (this.lengths[index] as number)));
    this.isThere[index] = 1;
  }

  unreadable(): void {
    // PIECES-3.
  }
}

export class ExtentMover {
  readonly #options: ExtentMoverOptions;
  readonly #copies = new Copies();
  readonly #put = new Copies();
  readonly #moved: Moved[] = [];

  constructor(options: ExtentMoverOptions) {
    this.#options = options;
  }

  /**
   * Copies what is wanted of one value. `enter` has the index lead there.
   *
   * @param key a copy
   * @param entry that the tree has of it
   * @param isWanted whether what lies in a slot is to be moved
   * @param isStopped asked between two fragments: whether to give up
   * @throws what the writer throws
   */
  async move(
    key: Uint8Array,
    entry: EntryWords,
    isWanted: (slot: number) => boolean,
    writer: SegmentWriter,
    isStopped: () => boolean,
  ): Promise<ExtentMoved> {
    const { segments } = this.#options;
    const extent = await this.#readPut(key, entry, isStopped);
    if (extent === null) return NOTHING;
    const isHere = ({ fileOffset }: { readonly fileOffset: number }): boolean => isWanted(segments.slotOf(fileOffset));
    const wanted: number[] = [];
    for (const [i, fragment] of extent.fragments.entries()) if (isHere(fragment)) wanted.push(i);
    const fileOffset = fileOffsetOf(entry);
    const isPutWanted = isHere({ fileOffset });
    if (wanted.length === 0 && !isPutWanted) return NOTHING;
    const pieces: MovedPiece[] = [];
    for (let first = 0; first < wanted.length; first += READS_AT_ONCE) {
      const noRoom = await this.#movePieces(key, extent, wanted.slice(first, first + READS_AT_ONCE), pieces, writer);
      if (noRoom !== null) return { ...NOTHING, noRoom };
      if (isStopped()) return NOTHING;
    }
    if (pieces.length === 0 && !isPutWanted) return NOTHING;
    const put = this.#put.blocks[0] as Block;
    const lengthBytes = lengthOf(entry);
    if (pieces.length > 0) sealRecord(put, 0);
    const place = await copied(put, lengthBytes, writer);
    if ('noRoom' in place) return { ...NOTHING, noRoom: place.noRoom };
    this.#moved.push({ key, old: entry, fileOffset: place.fileOffset, pieces });
    const bytes = pieces.reduce((sum, piece) => sum + alignUp(piece.lengthBytes, RECORD_ALIGNMENT), lengthBytes);
    return { pieces: pieces.length, bytes, noRoom: null };
  }

  /** PIECES-1. Has the index lead to what was moved since the last call. The writer must have finished. */
  enter(): void {
    for (const { key, old, fileOffset, pieces } of this.#moved) {
      this.#options.index.enterMoved(key, 0, key.length, old, fileOffset, pieces);
    }
    this.#moved.length = 0;
  }

  /** Forgets what was moved since the last `enter`. */
  forget(): void {
    this.#moved.length = 0;
  }

  /** Reads the put, and returns its table; null: it stays where it is. */
  async #readPut(key: Uint8Array, entry: EntryWords, isStopped: () => boolean): Promise<Extent | null> {
    const copies = this.#put;
    copies.begin();
    copies.add(fileOffsetOf(entry), lengthOf(entry));
    await this.#options.reader.read(copies, copies, isStopped);
    const block = copies.blocks[0] as Block;
    if (copies.isThere[0] === 0 || recordFault(block, 0, lengthOf(entry)) !== null) return null;
    if (!keyEquals(block, 0, key, key.length) || !isExtent(block.view, 0)) return null;
    return readTable(block.view, RECORD_HEADER_BYTES + key.length, valueBytesOf(block.view, 0), key.length);
  }

  /** Copies fragments, and notes their new places in the table of the put. Returns why there was no room, or null. */
  async #movePieces(
    key: Uint8Array,
    { fragments }: Extent,
    wanted: readonly number[],
    pieces: MovedPiece[],
    writer: SegmentWriter,
  ): Promise<unknown> {
    const copies = this.#copies;
    const put = this.#put.blocks[0] as Block;
    const firstSequence = sequenceOf(put.view, 0) - fragments.length;
    copies.begin();
    for (const i of wanted) copies.add((fragments[i] as Fragment).fileOffset, (fragments[i] as Fragment).lengthBytes);
    await this.#options.reader.read(copies, copies, () => false);
    for (const [at, i] of wanted.entries()) {
      const fragment = fragments[i] as Fragment;
      const { lengthBytes } = fragment;
      const block = copies.blocks[at] as Block;
      // PIECES-3.
      if (copies.isThere[at] === 0 || recordFault(block, 0, lengthBytes) !== null) continue;
      if (!keyEquals(block, 0, key, key.length) || fragmentFault(block, 0, fragment, firstSequence + i) !== null) {
        continue;
      }
      const place = await copied(block, lengthBytes, writer);
      if ('noRoom' in place) return place.noRoom;
      placeFragment(put.view, RECORD_HEADER_BYTES + key.length, i, place.fileOffset);
      pieces.push({ from: fragment.fileOffset, to: place.fileOffset, lengthBytes });
      if (this.#options.budget.isSpent()) await nextTurn();
    }
    return null;
  }
}

/** Copies a record to a new place. */
async function copied(
  { bytes }: Block,
  lengthBytes: number,
  writer: SegmentWriter,
): Promise<Place | { readonly noRoom: unknown }> {
  const paddedBytes = alignUp(lengthBytes, RECORD_ALIGNMENT);
  const place = writer.placeHere(paddedBytes) ?? (await writer.placeIfRoom(paddedBytes));
  if (!('noRoom' in place)) place.block.bytes.set(bytes.subarray(0, lengthBytes), place.at);
  return place;
}
