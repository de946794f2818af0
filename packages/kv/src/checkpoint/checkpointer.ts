/**
 * Writes checkpoints: the index as it was at one sequence, so that an opening replays only the log behind it. A
 * checkpoint is the other end of a merge: leaves are saved behind it, and the rest when it has ended. Pages that have
 * not changed stay where they are.
 *
 * ```
 *   begin ─► saveLeaves, saveLeaves, … ─► commit: inner pages ─► mapping ─► root ─► flush ─► superblock ─► free slots
 *            (behind the merge)                   (and pages in segments that hold little else)
 * ```
 *
 * CHECK-1. A checkpoint holds exactly the first S writes. S never lies inside a batch.
 * CHECK-2. Everything that a checkpoint needs is flushed before the superblock names it: pages, mapping, root, and the
 *     log through S.
 * CHECK-3. A slot of the index is reused only when no page has its image there, and the current superblock, which is
 *     durable, does not need it.
 * CHECK-4. The work is done in slices. Nothing merges meanwhile.
 * CHECK-5. A step that finds no space changes nothing, and is made again when there is space. If a write, a flush or
 *     the superblock fails, the log fails. The previous checkpoint stays valid.
 * CHECK-6. While only the reserve is left, a checkpoint empties as many old segments as its slots can take. The index
 *     then takes as few segments as possible, and the next checkpoint has room.
 * CHECK-7. A page that is not in memory has its image on the device. It is read only to be moved.
 *
 * maintenance.ts decides when a merge and its checkpoint begin.
 */
import { TurnBudget, assert, nextTurn } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import {
  ENTRY_BYTES,
  PART_HEADER_BYTES,
  PART_ENTRIES,
  mostImageBytes,
  partBytes,
  sealPart,
  writeEntry,
} from '../format/checkpoint.ts';
import type { PartReference } from '../format/checkpoint.ts';
import { encodeOldRoot, mostIndexSlots, oldRootBytes } from '../format/checkpoint-root.ts';
import { FEATURE_CHECKPOINT } from '../format/superblock.ts';
import type { Geometry } from '../format/superblock.ts';
import { indexTooLarge } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Planted } from '../failure/planted.ts';
import type { Flusher } from '../file/flusher.ts';
import type { KeyIndex, TreeVersion } from '../index/key-index.ts';
import type { LogWriter } from '../log/writer.ts';
import type { CheckpointNeeds, Slots } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { MARK_RETIRED, MARK_SEALED } from '../tree/index.ts';
import type { TreeSnapshot } from '../tree/index.ts';
import { PageWriter } from './page-writer.ts';
import { SegmentWriter } from './segment-writer.ts';

export interface CheckpointerOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly slots: Slots;
  readonly geometry: Geometry;
  readonly epoch: number;
  readonly log: LogWriter;
  readonly gate: FailureGate;
  readonly flusher: Flusher;
  readonly clock: Clock;
  readonly superblocks: SuperblockKeeper;
  readonly index: KeyIndex;
  /** Bytes of the log after which a checkpoint is due: see `StoreOptions`. */
  readonly checkpointBytes: number;
  readonly planted: Planted;
}

/** The current checkpoint on the device. */
export interface Standing {
  /** Slots of its index segments. */
  readonly slots: ReadonlySet<number>;
  /** Bytes of the images of its pages. */
  readonly imagesBytes: number;
}

/** Time that a checkpoint takes of each turn of the event loop. */
const SLICE_MS = 0.5;
/** Index segments may take this many times their live bytes before the emptiest are rewritten. */
const GARBAGE_FACTOR = 2;
/** With this many index segments or fewer, none is rewritten for its garbage. */
const SPARE_SEGMENTS = 2;
/** Page ids looked at between two questions about the time. */
const IDS_PER_QUESTION = 512;
/** Nodes freed between two questions about the time. */
const RECLAIM_NODES = 256;

/** The checkpoint that is being written. */
interface Draft {
  readonly writer: SegmentWriter;
  readonly pages: PageWriter;
  readonly sequence: Sequence;
}

export class Checkpointer implements CheckpointNeeds {
  readonly #options: CheckpointerOptions;
  /** Not the store's budget: busy writers would leave a checkpoint one page each turn. */
  readonly #budget: TurnBudget;
  #standing: Standing;
  /** The version that the checkpoint on the device holds. Its pages must stay. */
  #version: TreeVersion;
  /** Slots of all index segments: of the current checkpoint, of older versions, of the draft. */
  readonly #slots: Set<number>;
  #draft: Draft | null = null;
  /**
   * `LogWriter.appendedBytes` that the current checkpoint covers. Below 0: it does not even cover what was replayed.
   */
  #coveredBytes: number;

  /**
   * @param replayedBytes bytes of records that the opening has replayed, which the current checkpoint does not cover
   */
  constructor(options: CheckpointerOptions, standing: Standing, replayedBytes: number) {
    this.#options = options;
    this.#coveredBytes = -replayedBytes;
    this.#budget = new TurnBudget(options.clock, SLICE_MS);
    this.#standing = standing;
    this.#slots = new Set(standing.slots);
    this.#version = options.index.version.retain();
    options.slots.expectCheckpoints(this);
  }

  /** @internal For the reserve of slots: an upper bound, as if each entry of the memtables were in pages of its own. */
  get indexBytes(): number {
    return this.#standing.imagesBytes + this.#options.index.memtableBytes;
  }

  /** @internal */
  get nextBytes(): number {
    const written = (this.#draft?.writer.slots.length ?? 0) * this.#options.geometry.segmentBytes;
    return Math.max(0, this.indexBytes - written);
  }

  /** @internal */
  get lastingBytes(): number {
    return Math.max(0, this.nextBytes - this.#standing.slots.size * this.#options.geometry.segmentBytes);
  }

  /** Bytes of records that an opening would have to replay. */
  get uncoveredBytes(): number {
    return this.#options.log.appendedBytes - this.#coveredBytes;
  }

  /** Whether an opening would have to replay so much that a merge should begin. */
  get isDue(): boolean {
    return this.uncoveredBytes >= this.#options.checkpointBytes;
  }

  /** Begins the checkpoint of the merge that begins now, which takes the tree to `sequence`. */
  begin(sequence: Sequence): void {
    assert(this.#draft === null, 'one checkpoint is written at a time');
    const { superblocks, index } = this.#options;
    const writer = new SegmentWriter({ ...this.#options, uuid: superblocks.current.uuid, sequence });
    const pages = new PageWriter({ index, writer, budget: this.#budget, sequence });
    this.#draft = { writer, pages, sequence };
  }

  /** Ends a checkpoint without a page. */
  drop(): void {
    assert(this.#draft?.writer.slots.length === 0, 'an empty checkpoint has taken no space');
    this.#draft = null;
  }

  /**
   * Saves the leaves that the merge has left behind.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE and what else `Slots.prepare` throws: call it again when there is space;
   *   ERR_AIOKV_LATCHED
   */
  async saveLeaves(): Promise<void> {
    await this.#unlessWriteFails((draft) => draft.pages.saveLeaves());
  }

  /**
   * Completes the checkpoint when the merge has ended.
   *
   * @param logBytes `LogWriter.appendedBytes` at its sequence
   * @throws as `saveLeaves`
   */
  async commit(logBytes: number): Promise<void> {
    const { version } = this.#options.index;
    const standing = await this.#unlessWriteFails((draft) => this.#write(draft, version));
    this.#standing = standing;
    this.#draft = null;
    this.#coveredBytes = logBytes;
    this.#version.release();
    this.#version = version.retain();
    await this.#giveBackUnused();
  }

  async #unlessWriteFails<T>(step: (draft: Draft) => Promise<T>): Promise<T> {
    const draft = this.#draft;
    assert(draft !== null, 'a checkpoint has begun');
    try {
      return await step(draft);
    } catch (error) {
      throw draft.writer.failure === null ? error : this.#options.log.fail(error);
    } finally {
      for (const slot of draft.writer.slots) this.#slots.add(slot);
    }
  }

  async #write({ writer, pages, sequence }: Draft, version: TreeVersion): Promise<Standing> {
    const { log, flusher, slots, superblocks, planted } = this.#options;
    await pages.saveRest();
    await this.#empty(await this.#chooseVictims(), pages);
    const { parts, kept, count, imagesBytes } = await this.#writeMapping(writer, sequence);
    const root = await this.#writeRoot(version.tree, count, parts, kept, writer, sequence);
    await pages.finish();
    for (const slot of writer.slots) kept.add(slot);
    if (planted.earlyReuse === true) {
      const unneeded = [...this.#standing.slots].filter((slot) => !kept.has(slot));
      slots.giveBack(unneeded);
      for (const slot of unneeded) this.#slots.delete(slot);
    }
    // CHECK-2.
    await log.durable('flushed');
    if (planted.unflushedPages !== true) await this.#orFail(flusher.flush());
    await this.#orFail(
      superblocks.save({
        incompatibleFeatures: superblocks.current.incompatibleFeatures | FEATURE_CHECKPOINT,
        checkpointRoot: root,
        checkpointSequence: sequence,
        logStart: log.startAfter(planted.lateStart === true ? log.flushedThrough : sequence),
        logEnd: null,
      }),
    );
    return { slots: kept, imagesBytes };
  }

  /** Old index segments whose pages are moved to new ones. */
  async #chooseVictims(): Promise<ReadonlySet<number>> {
    const { slots, geometry } = this.#options;
    const live = new Map<number, number>();
    let newBytes = 0;
    const draftSlots = new Set(this.#draft?.writer.slots);
    for (const slot of this.#slots) if (!draftSlots.has(slot)) live.set(slot, 0);
    await this.#eachPage((_, slot, bytes) => {
      newBytes += ENTRY_BYTES;
      const before = live.get(slot);
      if (before !== undefined) live.set(slot, before + bytes);
    });
    const order = [...live].filter(([, bytes]) => bytes > 0).sort(([, a], [, b]) => a - b);
    let liveBytes = order.reduce((sum, [, bytes]) => sum + bytes, 0);
    let held = order.length;
    const victims = new Set<number>();
    const isShort = slots.availableFor('put') < 0;
    for (const [slot, bytes] of order) {
      newBytes += bytes;
      const isLittle =
        held <= SPARE_SEGMENTS ||
        (held * geometry.segmentBytes <= GARBAGE_FACTOR * liveBytes &&
          held + slots.indexSlotsOf(newBytes) <= mostIndexSlots(geometry));
      // CHECK-6.
      const isTooMuch = slots.indexSlotsOf(newBytes) > slots.availableFor('checkpoint');
      if (isShort ? isTooMuch : isLittle) break;
      victims.add(slot);
      liveBytes -= bytes;
      held--;
    }
    return victims;
  }

  async #empty(victims: ReadonlySet<number>, pages: PageWriter): Promise<void> {
    if (victims.size === 0) return;
    const ids: number[] = [];
    await this.#eachPage((id, slot) => {
      if (victims.has(slot)) ids.push(id);
    });
    for (const id of ids) {
      await pages.move(id);
      if (this.#budget.isSpent()) await nextTurn();
    }
  }

  /** Visits all pages that have an image, in the order of their ids: those of the tree, and those of older versions. */
  async #eachPage(visit: (id: number, slot: number, imageBytes: number) => void): Promise<void> {
    const { slots, index } = this.#options;
    const { memory, mapping } = index;
    for (let id = 1; id < memory.idLimit; id++) {
      if (id % IDS_PER_QUESTION === 0 && this.#budget.isSpent(IDS_PER_QUESTION)) await nextTurn();
      if (memory.units(id) === 0 || (memory.marks(id) & MARK_SEALED) === 0) continue;
      visit(id, slots.slotOf(mapping.fileOffsetOf(id)), mapping.imageBytesOf(id));
    }
  }

  async #writeMapping(
    writer: SegmentWriter,
    sequence: Sequence,
  ): Promise<{ parts: PartReference[]; kept: Set<number>; count: number; imagesBytes: number }> {
    const { geometry, index, slots } = this.#options;
    const { memory, mapping } = index;
    const most = Math.min(PART_ENTRIES, Math.floor((mostImageBytes(geometry) - PART_HEADER_BYTES) / ENTRY_BYTES));
    const parts: PartReference[] = [];
    const kept = new Set<number>();
    let imagesBytes = 0;
    let count = 0;
    let ids: number[] = [];
    const writePart = async (): Promise<void> => {
      const bytes = partBytes(ids.length);
      const { block, at, fileOffset } = await writer.place(bytes);
      for (const [i, id] of ids.entries()) writeEntry(block, at + partBytes(i), mapping.entryOf(id));
      parts.push({ fileOffset, bytes, tag: sealPart(block, at, ids.length, sequence) });
      count += ids.length;
      ids = [];
    };
    for (let id = 1; id < memory.idLimit; id++) {
      if (id % IDS_PER_QUESTION === 0 && this.#budget.isSpent(IDS_PER_QUESTION)) await nextTurn();
      if (memory.units(id) === 0 || (memory.marks(id) & (MARK_SEALED | MARK_RETIRED)) !== MARK_SEALED) continue;
      ids.push(id);
      imagesBytes += mapping.imageBytesOf(id);
      kept.add(slots.slotOf(mapping.fileOffsetOf(id)));
      if (ids.length === most) await writePart();
    }
    if (ids.length > 0) await writePart();
    return { parts, kept, count, imagesBytes };
  }

  /** @returns the file offset of the root */
  async #writeRoot(
    { root: rootPage, size: keys }: TreeSnapshot,
    pages: number,
    parts: readonly PartReference[],
    kept: ReadonlySet<number>,
    writer: SegmentWriter,
    sequence: Sequence,
  ): Promise<number> {
    // The root may start a segment of its own, which it has to name, too.
    const slotsAtMost = new Set([...kept, ...writer.slots]).size + 1;
    const length = Math.ceil(oldRootBytes(parts.length, slotsAtMost) / 8) * 8;
    if (length > mostImageBytes(this.#options.geometry)) {
      throw indexTooLarge(this.#options.file.path, this.#options.geometry.segmentBytes);
    }
    const { block, at, fileOffset } = await writer.place(length);
    const slots = [...new Set([...kept, ...writer.slots])];
    encodeOldRoot(block, at, { sequence, rootPage, pages, keys, mappingParts: parts, slots });
    return fileOffset;
  }

  /** CHECK-3. */
  async #giveBackUnused(): Promise<void> {
    const { index, slots } = this.#options;
    while (!index.memory.reclaimSome(RECLAIM_NODES)) if (this.#budget.isSpent(RECLAIM_NODES)) await nextTurn();
    const unused = new Set(this.#slots);
    for (const slot of this.#standing.slots) unused.delete(slot);
    await this.#eachPage((_, slot) => unused.delete(slot));
    await index.pager.loadsDone();
    for (const slot of unused) this.#slots.delete(slot);
    slots.giveBack(unused);
  }

  /** CHECK-5. A failure leaves the content of the device uncertain. */
  async #orFail(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      throw this.#options.log.fail(error);
    }
  }
}
