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
 * CHECK-6. While only the reserve is left and the file cannot grow, a checkpoint empties as many old segments as its slots
 *     can take. The index then takes as few segments as possible, and the next checkpoint has room.
 * CHECK-7. A page that is not in memory has its image on the device. It is read only to be moved.
 * CHECK-8. The slot of a dead segment of records, which no replay needs, is reused when the checkpoint that does not
 *     name it is durable, when no version from before it is read, and when the reads have ended that had looked up a
 *     record before.
 *
 * maintenance.ts decides when a merge and its checkpoint begin.
 */
import { TurnBudget, assert, nextTurn } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import { ENTRY_BYTES, mostImageBytes, mostPartEntries, partBytes, sealPart, writeEntry } from '../format/checkpoint.ts';
import type { PartReference } from '../format/checkpoint.ts';
import { encodeRoot, mostIndexSlots, rootBytes } from '../format/checkpoint-root.ts';
import type { RootInParts } from '../format/checkpoint-root.ts';
import { mostTableEntries, sealTablePart, tablePartBytes, writeSegmentEntry } from '../format/segment-table.ts';
import { SegmentKind } from '../format/segment.ts';
import { FEATURE_CHECKPOINT, FEATURE_SEGMENT_TABLE } from '../format/superblock.ts';
import type { Geometry } from '../format/superblock.ts';
import { indexTooLarge } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Planted } from '../failure/planted.ts';
import type { Flusher } from '../file/flusher.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { TreeVersion } from '../index/index-snapshot.ts';
import type { LogWriter } from '../log/writer.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { CheckpointNeeds, SlotUse, Slots } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { MARK_RETIRED } from '../tree/index.ts';
import type { RecordCounts } from '../index/record-counts.ts';
import { LiveCounts } from './live-counts.ts';
import { eachPage } from './page-walk.ts';
import { PageWriter } from './page-writer.ts';
import { ReleasedSlots } from './released-slots.ts';
import { SegmentWriter } from './segment-writer.ts';
import { spaceFigures, writtenFigures } from './space-figures.ts';
import type { SpaceFigures, WrittenFigures } from './space-figures.ts';
import { likelyIndexBytes, mostIndexBytes, mostMappedBytes } from './standing.ts';
import type { Standing } from './standing.ts';

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
  readonly segments: SegmentTable;
  readonly epochs: ReadEpochs;
  /** Bytes of the log after which a checkpoint is due: see `StoreOptions`. */
  readonly checkpointBytes: number;
  readonly planted: Planted;
}

/** A run begins at this part of what an opening may replay. The rest is for what is written until it has ended. */
const DUE_PART = 3 / 4;
/** Index segments may take this many times their live bytes before the emptiest are rewritten. */
const GARBAGE_FACTOR = 2;
/** A tidy checkpoint rewrites segments in which less than this part lives. */
const TIDY_PART = 7 / 8;
/** With this many index segments or fewer, none is rewritten for its garbage. */
const SPARE_SEGMENTS = 2;

interface WrittenMapping {
  readonly parts: PartReference[];
  /** Slots with pages of the tree. */
  readonly kept: Set<number>;
  readonly pages: number;
  readonly imagesBytes: number;
}

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
  #draft: Draft | null = null;
  readonly #counts: LiveCounts;
  /** Gives slots back, when nothing needs them. */
  readonly released: ReleasedSlots;
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
    this.#budget = TurnBudget.ofBackground(options.clock);
    this.#counts = new LiveCounts({ ...options, budget: this.#budget });
    this.released = new ReleasedSlots(options, this.#budget, standing.slots);
    this.#standing = standing;
    this.#version = options.index.version.retain();
    options.slots.expectCheckpoints(this);
  }

  /** @internal An upper bound. */
  get indexBytes(): number {
    return Math.max(this.#writableBytes, mostMappedBytes(this.#standing, this.#options.index.memtableBytes));
  }

  /** Bytes of the images of all pages in the checkpoint on the device. */
  get imagesBytes(): number {
    return this.#standing.imagesBytes;
  }

  /** @internal */
  get nextBytes(): number {
    return Math.max(0, this.#writableBytes - this.#draftBytes);
  }

  /** @internal */
  get likelyBytes(): number {
    const { segments, index, geometry } = this.#options;
    const { memtableBytes, mostNewKeysPart } = index;
    const indexBytes = likelyIndexBytes(this.#standing, memtableBytes, geometry.pageBytes, mostNewKeysPart);
    return Math.max(0, indexBytes + tablePartBytes(segments.size) - this.#draftBytes);
  }

  /** @internal */
  get replacedBytes(): number {
    return this.#standing.slots.size * this.#options.geometry.segmentBytes;
  }

  /** What a checkpoint may write, an upper bound. */
  get #writableBytes(): number {
    const { segments, index, geometry } = this.#options;
    return mostIndexBytes(this.#standing, index.memtableBytes, geometry.pageBytes) + tablePartBytes(segments.size);
  }

  /** The part of it that the one under way has written. */
  get #draftBytes(): number {
    return (this.#draft?.writer.slots.length ?? 0) * this.#options.geometry.segmentBytes;
  }

  /** Bytes of records since the opening, with what it has replayed. */
  get recordBytes(): number {
    return this.#options.log.appendedBytes;
  }

  /** Bytes of records that an opening would have to replay. */
  get uncoveredBytes(): number {
    return this.#options.log.appendedBytes - this.#coveredBytes;
  }

  /** See `SpaceStatistics`. */
  get space(): SpaceFigures {
    return spaceFigures(this.#options, this.released.parkedCount);
  }

  /** See `WrittenStatistics`. */
  get written(): WrittenFigures {
    return writtenFigures(this.#options.segments, this.recordBytes);
  }

  /** Whether a write of this kind finds a slot. */
  hasSpaceFor(use: SlotUse): boolean {
    return this.#options.slots.availableFor(use) > 0;
  }

  /** Whether an opening would have to replay so much that a merge should begin. */
  get isDue(): boolean {
    return this.uncoveredBytes >= DUE_PART * this.#options.checkpointBytes;
  }

  /**
   * How many bytes of the log may be written while a run is under way: with them an opening replays what is allowed.
   *
   * @param logBytes `LogWriter.appendedBytes` when the run began
   */
  runBytes(logBytes: number): number {
    const { checkpointBytes } = this.#options;
    return Math.max((1 - DUE_PART) * checkpointBytes, checkpointBytes - (logBytes - this.#coveredBytes));
  }

  /**
   * Counts what lives in each segment, in a store whose checkpoint does not say so. The merge has not changed the tree
   * yet.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED if a part of the index cannot be read
   */
  async countOnce(): Promise<void> {
    if (this.#standing.isCounted) return;
    const { index, segments, gate } = this.#options;
    try {
      await this.#counts.census(index.version, index, segments);
    } catch (error) {
      gate.failIndex(error);
      throw error;
    }
    this.#standing = { ...this.#standing, isCounted: true };
  }

  /** Begins the checkpoint of the merge that begins now, which takes the tree to `sequence`. */
  begin(sequence: Sequence): void {
    assert(this.#draft === null, 'one checkpoint is written at a time');
    const { index } = this.#options;
    const writer = this.#writerFor('checkpoint', sequence);
    const pages = new PageWriter({ index, writer, budget: this.#budget, sequence });
    this.#draft = { writer, pages, sequence };
  }

  #writerFor(use: SlotUse, sequence: Sequence): SegmentWriter {
    const { uuid } = this.#options.superblocks.current;
    return new SegmentWriter({ ...this.#options, uuid, kind: SegmentKind.index, use, sequence });
  }

  /** Whether the device has everything through this sequence already. */
  isThrough(sequence: Sequence): boolean {
    return sequence === this.#options.superblocks.current.checkpointSequence;
  }

  /** Ends a checkpoint without a page. @param logBytes as for `commit` */
  drop(logBytes: number): void {
    assert(this.#draft?.writer.slots.length === 0, 'an empty checkpoint has taken no space');
    this.#draft = null;
    this.#coveredBytes = logBytes;
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
   * @param merge those of the merge: they have the long values whose fragments are to be counted
   * @param logBytes `LogWriter.appendedBytes` at its sequence
   * @param isTidy whether to leave the index in as few segments as it takes, and those in front
   * @throws as `saveLeaves`
   */
  async commit(merge: Pick<RecordCounts, 'entered' | 'left'>, logBytes: number, isTidy = false): Promise<void> {
    const { version } = this.#options.index;
    const standing = await this.#unlessWriteFails((draft) => this.#write(draft, version, merge, isTidy));
    this.#standing = standing;
    this.#draft = null;
    this.#coveredBytes = logBytes;
    this.#version.release();
    this.#version = version.retain();
    await this.released.giveBackUnused(standing.slots);
    this.released.parkDead(version.tree.generation);
    await this.released.giveBackParked();
    if (this.released.oldPages.isDue) await this.#saveOldPages();
  }

  /** For what readers need of merged memtables: see old-pages.ts. */
  async #saveOldPages(): Promise<void> {
    const { superblocks } = this.#options;
    const { checkpointSequence } = superblocks.current;
    const writer = this.#writerFor('compact', checkpointSequence);
    try {
      await this.#orFail(this.released.oldPages.save(writer, checkpointSequence));
    } finally {
      for (const slot of writer.slots) this.released.indexSlots.add(slot);
    }
  }

  async #unlessWriteFails<T>(step: (draft: Draft) => Promise<T>): Promise<T> {
    const draft = this.#draft;
    assert(draft !== null, 'a checkpoint has begun');
    try {
      return await step(draft);
    } catch (error) {
      throw draft.writer.failure === null ? error : this.#options.log.fail(error);
    } finally {
      for (const slot of draft.writer.slots) this.released.indexSlots.add(slot);
    }
  }

  async #write(
    { writer, pages, sequence }: Draft,
    version: TreeVersion,
    merge: Pick<RecordCounts, 'entered' | 'left'>,
    isTidy: boolean,
  ): Promise<Standing> {
    const { log, flusher, superblocks, planted, index } = this.#options;
    await pages.saveRest();
    await this.#empty(await this.#chooseVictims(isTidy), pages);
    const { parts: mappingParts, kept, pages: count, imagesBytes } = await this.#writeMapping(writer, sequence);
    // The tables of long values are read from the device.
    await log.durable('flushed');
    await this.#countFragments(merge);
    const tableParts = await this.#writeTable(kept, writer, sequence);
    const rootFields = { sequence, rootPage: version.tree.root, pages: count, keys: version.tree.size };
    const root = await this.#writeRoot({ ...rootFields, mappingParts, tableParts }, writer);
    await pages.finish();
    for (const slot of writer.slots) kept.add(slot);
    const logStart = log.startAfter(planted.lateStart === true ? log.flushedThrough : sequence);
    if (planted.earlyReuse === true || planted.earlyRecordReuse === true) {
      this.released.giveBackEarly(this.#standing.slots, kept, logStart);
    }
    // CHECK-2.
    if (planted.unflushedPages !== true) await this.#orFail(flusher.flush());
    await this.#orFail(
      superblocks.save({
        ...index.expiry.noted(superblocks.current.incompatibleFeatures | FEATURE_CHECKPOINT | FEATURE_SEGMENT_TABLE),
        checkpointRoot: root,
        checkpointSequence: sequence,
        logStart,
        logEnd: null,
      }),
    );
    return { slots: kept, pages: count, imagesBytes, mappingBytes: partBytes(count), isCounted: true };
  }

  /** @throws AiokvError ERR_AIOKV_LATCHED */
  async #countFragments({ entered, left }: Pick<RecordCounts, 'entered' | 'left'>): Promise<void> {
    const { gate, segments } = this.#options;
    try {
      // In this order: no more may live in a segment than fits into it.
      await this.#counts.left(left, segments);
      await this.#counts.entered(entered, segments);
    } catch (error) {
      gate.failIndex(error);
      throw error;
    }
  }

  /** Old index segments whose pages are moved to new ones. */
  async #chooseVictims(isTidy: boolean): Promise<ReadonlySet<number>> {
    const { slots, geometry } = this.#options;
    const live = new Map<number, number>();
    let newBytes = 0;
    const draftSlots = new Set(this.#draft?.writer.slots);
    for (const slot of this.released.indexSlots) if (!draftSlots.has(slot)) live.set(slot, 0);
    const isLeaving = this.#leavingPages();
    await eachPage(this.#options, this.#budget, (id, slot, bytes) => {
      if (isLeaving(id)) return;
      newBytes += ENTRY_BYTES;
      const before = live.get(slot);
      if (before !== undefined) live.set(slot, before + bytes);
    });
    const order = [...live].filter(([, bytes]) => bytes > 0).sort(([, a], [, b]) => a - b);
    // Those that are not full, and those behind the place where the file could end.
    const isUntidy = ([slot, bytes]: readonly [number, number]): boolean =>
      bytes < TIDY_PART * geometry.segmentBytes || slot >= this.#options.segments.size;
    if (isTidy) return new Set(order.filter(isUntidy).map(([slot]) => slot));
    let liveBytes = order.reduce((sum, [, bytes]) => sum + bytes, 0);
    let held = order.length;
    const victims = new Set<number>();
    const isShort = slots.isStuck && slots.availableFor('put') <= 0;
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
    const isLeaving = this.#leavingPages();
    await eachPage(this.#options, this.#budget, (id, slot) => {
      if (victims.has(slot) && !isLeaving(id)) ids.push(id);
    });
    for (const id of ids) {
      await pages.move(id);
      if (this.#budget.isSpent()) await nextTurn();
    }
  }

  /** Tells the pages that nothing needs but the checkpoint which this one replaces: there is no use in moving them. */
  #leavingPages(): (id: number) => boolean {
    const { memory, tree } = this.#options.index;
    const isRead = tree.oldestGeneration < this.#version.tree.generation;
    return (id) => !isRead && (memory.marks(id) & MARK_RETIRED) !== 0;
  }

  /** Writes where the pages of the tree are, and notes in the segment table how much of each index segment they take. */
  async #writeMapping(writer: SegmentWriter, sequence: Sequence): Promise<WrittenMapping> {
    const { geometry, index, segments } = this.#options;
    const { memory, mapping } = index;
    const most = mostPartEntries(geometry);
    const parts: PartReference[] = [];
    const live = new Map<number, { bytes: number; pages: number }>();
    let imagesBytes = 0;
    let pages = 0;
    let ids: number[] = [];
    const writePart = async (): Promise<void> => {
      const bytes = partBytes(ids.length);
      const { block, at, fileOffset } = await writer.place(bytes);
      for (const [i, id] of ids.entries()) writeEntry(block, at + partBytes(i), mapping.entryOf(id));
      parts.push({ fileOffset, bytes, tag: sealPart(block, at, ids.length, sequence) });
      pages += ids.length;
      ids = [];
    };
    await eachPage(this.#options, this.#budget, (id, slot, bytes) => {
      if ((memory.marks(id) & MARK_RETIRED) !== 0) return undefined;
      ids.push(id);
      imagesBytes += bytes;
      const there = live.get(slot);
      if (there === undefined) live.set(slot, { bytes, pages: 1 });
      else {
        there.bytes += bytes;
        there.pages++;
      }
      return ids.length === most ? writePart() : undefined;
    });
    if (ids.length > 0) await writePart();
    for (const slot of [...this.released.indexSlots, ...writer.slots]) {
      const { bytes, pages: count } = live.get(slot) ?? { bytes: 0, pages: 0 };
      segments.setLive(slot, bytes, count);
    }
    return { parts, kept: new Set(live.keys()), pages, imagesBytes };
  }

  /** Writes the segments in which pages of the tree or records lie that the tree leads to. */
  async #writeTable(kept: ReadonlySet<number>, writer: SegmentWriter, sequence: Sequence): Promise<PartReference[]> {
    const { geometry, segments } = this.#options;
    const most = mostTableEntries(geometry);
    const parts: PartReference[] = [];
    let named: number[] = [];
    const writePart = async (): Promise<void> => {
      const bytes = tablePartBytes(named.length);
      const { block, at, fileOffset } = await writer.place(bytes);
      for (const [i, slot] of named.entries()) {
        writeSegmentEntry(block, at + tablePartBytes(i), segments.entryOf(slot));
      }
      parts.push({ fileOffset, bytes, tag: sealTablePart(block, at, named.length, sequence) });
      named = [];
    };
    for (let slots = segments.slotsFrom(0, most); slots.length > 0;) {
      for (const slot of slots) {
        const isNeeded =
          segments.kindOf(slot) === SegmentKind.index ? kept.has(slot) : segments.liveRecordsOf(slot) > 0;
        if (isNeeded) named.push(slot);
        if (named.length === most) await writePart();
      }
      slots = segments.slotsFrom((slots.at(-1) as number) + 1, most);
      if (this.#budget.isSpent(most)) await nextTurn();
    }
    if (named.length > 0) await writePart();
    return parts;
  }

  /** @returns the file offset of the root */
  async #writeRoot(root: RootInParts, writer: SegmentWriter): Promise<number> {
    const { file, geometry } = this.#options;
    const length = rootBytes(root.mappingParts.length, root.tableParts.length);
    if (length > mostImageBytes(geometry)) throw indexTooLarge(file.path, geometry.segmentBytes);
    const { block, at, fileOffset } = await writer.place(length);
    encodeRoot(block, at, root);
    return fileOffset;
  }

  /**
   * @internal Counts everything again and compares. Slow: for tests. Nothing may merge meanwhile.
   *
   * @throws AiokvError ERR_AIOKV_INTERNAL if the segment table is wrong
   */
  async verify(): Promise<void> {
    const { index, segments, geometry } = this.#options;
    if (this.#standing.isCounted) await this.#counts.compare(index.version, index, segments, geometry);
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
