/**
 * Writes checkpoints: the index as it was at one sequence, so that an opening replays only the log behind it. Pages
 * that have not changed since the last checkpoint stay where they are.
 *
 * ```
 *   tree frozen at S ─► changed pages ─► mapping ─► root ─► flush ─► superblock ─► slots of the old one are free
 *                       (and unchanged ones in segments that hold little else)
 * ```
 *
 * CHECK-1. A checkpoint holds exactly the first S writes. S never lies inside a batch.
 * CHECK-2. Everything that a checkpoint needs is flushed before the superblock names it: pages, mapping, root, and the
 *     log through S.
 * CHECK-3. Slots of the previous checkpoint are reused only when the superblock of the new one is durable.
 * CHECK-4. The work is done in slices. Writes do not change the frozen tree meanwhile.
 * CHECK-5. A checkpoint that fails leaves the previous one as it was. If the superblock or a flush fails, the store
 *     fails.
 * CHECK-6. While only the reserve is left, a checkpoint empties as many old segments as its slots can take. The index
 *     then takes as few segments as possible, and the next checkpoint has room.
 * CHECK-7. A page that is not in memory is as the previous checkpoint has it. It is read only to be moved.
 *
 * A checkpoint is due after enough log bytes, or when memory is short and changed pages fill a quarter of it.
 * maintenance.ts asks, and decides when to write one.
 */
import { MIB } from '@aiokv/core';
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
import type { MappingEntry, PartReference } from '../format/checkpoint.ts';
import { encodeOldRoot, mostIndexSlots, oldRootBytes } from '../format/checkpoint-root.ts';
import { encodePage, imageBytes } from '../format/page.ts';
import type { NodeWords } from '../format/page.ts';
import { FEATURE_CHECKPOINT } from '../format/superblock.ts';
import type { Geometry } from '../format/superblock.ts';
import { indexTooLarge } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Planted } from '../failure/planted.ts';
import type { Flusher } from '../file/flusher.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LogWriter } from '../log/writer.ts';
import type { CheckpointNeeds, Slots } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { node } from '../tree/index.ts';
import type { NodeMemory, Tree, TreeSnapshot } from '../tree/index.ts';
import { TurnBudget, nextTurn } from '@aiokv/core';
import { Mapping } from '../index/mapping.ts';
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
  /** Least log bytes between two checkpoints: see `StoreOptions`. */
  readonly checkpointBytes: number;
  readonly planted: Planted;
}

/** The current checkpoint on the device. */
export interface Standing {
  readonly mapping: Mapping;
  /** Slots of its index segments. */
  readonly slots: ReadonlySet<number>;
}

/** Time that a checkpoint takes of each turn of the event loop. */
const SLICE_MS = 0.5;
/**
 * Random writes change nearly all pages between two checkpoints, so that each costs the whole index. A checkpoint is
 * therefore due after SPACING times the bytes of the last one, but at most MOST_SPACING_BYTES, which a recovery replays
 * in a second or two, or the bytes of the last one if that is more.
 */
const SPACING = 3;
const MOST_SPACING_BYTES = 384 * MIB;
/** Index segments may take this many times their live bytes before the emptiest are rewritten. */
const GARBAGE_FACTOR = 2;
/** With this many index segments or fewer, none is rewritten for its garbage. */
const SPARE_SEGMENTS = 2;

export class Checkpointer implements CheckpointNeeds {
  readonly #options: CheckpointerOptions;
  /** Not the store's budget: busy writers would leave a checkpoint one page each turn. */
  readonly #budget: TurnBudget;
  #standing: Standing;
  /**
   * `LogWriter.appendedBytes` that the current checkpoint covers. Below 0: it does not even cover what was replayed.
   */
  #coveredBytes: number;
  /** Slots taken by the checkpoint under way. */
  #slotsTaken: readonly number[] = [];

  /**
   * @param replayedBytes bytes of records that the opening has replayed, which the current checkpoint does not cover
   */
  constructor(options: CheckpointerOptions, standing: Standing, replayedBytes: number) {
    this.#options = options;
    this.#coveredBytes = -replayedBytes;
    this.#budget = new TurnBudget(options.clock, SLICE_MS);
    this.#standing = standing;
    options.slots.expectCheckpoints(this);
  }

  /** @internal For the reserve of slots: an upper bound, as if all pages had changed. */
  get indexBytes(): number {
    const { memoryBytes, pager } = this.#options.index;
    return Math.max(memoryBytes, this.#standing.mapping.bytes + pager.changedBytes);
  }

  /** @internal */
  get nextBytes(): number {
    return Math.max(0, this.indexBytes - this.#slotsTaken.length * this.#options.geometry.segmentBytes);
  }

  /** @internal */
  get lastingBytes(): number {
    return Math.max(0, this.nextBytes - this.#standing.slots.size * this.#options.geometry.segmentBytes);
  }

  /** Bytes of records that an opening would have to replay. */
  get uncoveredBytes(): number {
    return this.#options.log.appendedBytes - this.#coveredBytes;
  }

  /** See `Pager.needsCheckpoint`. */
  get isMemoryShort(): boolean {
    return this.#options.index.pager.needsCheckpoint;
  }

  get isDue(): boolean {
    const { bytes } = this.#standing.mapping;
    const { checkpointBytes } = this.#options;
    const dueBytes = Math.max(checkpointBytes, bytes, Math.min(SPACING * bytes, MOST_SPACING_BYTES));
    return this.isMemoryShort || this.uncoveredBytes >= dueBytes;
  }

  /**
   * Writes a checkpoint of the tree as it is now. No other may be under way.
   *
   * @param sequence the tree holds exactly the writes through it
   * @param logBytes `LogWriter.appendedBytes` at that sequence
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED; SystemCallError. The previous checkpoint stays valid
   */
  async write(sequence: Sequence, logBytes: number): Promise<void> {
    const { index, checkpointBytes } = this.#options;
    const { tree } = index;
    const { changedBytes } = tree;
    const snapshot = tree.cut();
    try {
      await this.#run(tree, snapshot, sequence);
      this.#coveredBytes = logBytes;
    } catch (error) {
      tree.keepDirty(changedBytes);
      // Try again after half of `checkpointBytes`: on a full device each attempt would fail at once.
      this.#coveredBytes = Math.max(this.#coveredBytes, logBytes - checkpointBytes / 2);
      throw error;
    } finally {
      snapshot.release();
    }
  }

  async #run(tree: Tree, snapshot: TreeSnapshot, sequence: Sequence): Promise<void> {
    const { log, gate, flusher, slots, superblocks, index, planted } = this.#options;
    const writer = new SegmentWriter({ ...this.#options, uuid: superblocks.current.uuid, sequence });
    const old = this.#standing;
    this.#slotsTaken = writer.slots;
    try {
      const { ids, victims } = await this.#plan(tree, snapshot);
      const { mapping, kept } = await this.#writePages(tree, ids, victims, writer, sequence);
      const parts = await this.#writeMapping(mapping, writer, sequence);
      const root = await this.#writeRoot(snapshot, mapping, parts, kept, writer, sequence);
      await writer.finish();
      for (const slot of writer.slots) kept.add(slot);
      const unneeded = [...old.slots].filter((slot) => !kept.has(slot));
      if (planted.earlyReuse === true) slots.giveBack(unneeded);
      // CHECK-2.
      await log.durable('flushed');
      await this.#orFail(flusher.flush());
      await this.#orFail(
        superblocks.save({
          incompatibleFeatures: superblocks.current.incompatibleFeatures | FEATURE_CHECKPOINT,
          checkpointRoot: root,
          checkpointSequence: sequence,
          logStart: log.startAfter(planted.lateStart === true ? log.flushedThrough : sequence),
          logEnd: null,
        }),
      );
      this.#standing = { mapping, slots: kept };
      tree.markClean(planted.latePages === true ? { generation: snapshot.generation + 1 } : snapshot);
      const loadsDone = index.pager.loadsDone();
      index.pager.use(mapping);
      // CHECK-3.
      await loadsDone;
      if (planted.earlyReuse !== true) slots.giveBack(unneeded);
    } catch (error) {
      // CHECK-5. Writes in flight still go to these slots, so they end before the slots are given back.
      await writer.finish().catch(() => undefined);
      if (gate.log === null) slots.giveBack(writer.slots);
      throw error;
    } finally {
      this.#slotsTaken = [];
    }
  }

  /** Lists all pages, parents before children, and the old index segments to be emptied. */
  async #plan(tree: Tree, snapshot: TreeSnapshot): Promise<{ ids: number[]; victims: ReadonlySet<number> }> {
    const { memory, root } = snapshot;
    const { slots, geometry } = this.#options;
    const ids: number[] = root === 0 ? [] : [root];
    const live = new Map<number, number>();
    let newBytes = 0;
    for (let at = 0; at < ids.length; at++) {
      const id = ids[at] as number;
      if (memory.isResident(id)) pushChildren(memory, id, ids);
      newBytes += ENTRY_BYTES;
      if (tree.isDirty(id)) newBytes += imageBytes(wordsOf(memory, id));
      else {
        const slot = slots.slotOf(this.#standing.mapping.fileOffsetOf(id));
        live.set(slot, (live.get(slot) ?? 0) + this.#standing.mapping.imageBytesOf(id));
      }
      if (this.#budget.isSpent()) await nextTurn();
    }
    const order = [...live].sort(([, a], [, b]) => a - b);
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
    return { ids, victims };
  }

  async #writePages(
    tree: Tree,
    ids: readonly number[],
    victims: ReadonlySet<number>,
    writer: SegmentWriter,
    sequence: Sequence,
  ): Promise<{ mapping: Mapping; kept: Set<number> }> {
    const { slots, index } = this.#options;
    const old = this.#standing.mapping;
    const mapping = new Mapping();
    const kept = new Set<number>();
    const { memory } = tree;
    for (const id of ids) {
      const oldSlot = tree.isDirty(id) ? -1 : slots.slotOf(old.fileOffsetOf(id));
      if (oldSlot >= 0 && !victims.has(oldSlot)) {
        mapping.set(old.entryOf(id));
        kept.add(oldSlot);
      } else if (oldSlot < 0) mapping.set(await writePage(memory, id, writer, sequence));
      else {
        await index.pager.pin([id]);
        try {
          mapping.set(await writePage(memory, id, writer, sequence));
        } finally {
          index.pager.unpin([id]);
        }
      }
      if (this.#budget.isSpent()) await nextTurn();
    }
    return { mapping, kept };
  }

  async #writeMapping(mapping: Mapping, writer: SegmentWriter, sequence: Sequence): Promise<PartReference[]> {
    const largest = mostImageBytes(this.#options.geometry);
    const most = Math.min(PART_ENTRIES, Math.floor((largest - PART_HEADER_BYTES) / ENTRY_BYTES));
    const parts: PartReference[] = [];
    for (let ids = mapping.idsFrom(0, most); ids.length > 0; ids = mapping.idsFrom((ids.at(-1) as number) + 1, most)) {
      const bytes = partBytes(ids.length);
      const { block, at, fileOffset } = await writer.place(bytes);
      for (const [i, id] of ids.entries()) writeEntry(block, at + partBytes(i), mapping.entryOf(id));
      parts.push({ fileOffset, bytes, tag: sealPart(block, at, ids.length, sequence) });
      await nextTurn();
    }
    return parts;
  }

  /** @returns the file offset of the root */
  async #writeRoot(
    snapshot: TreeSnapshot,
    mapping: Mapping,
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
    const { root: rootPage, size: keys } = snapshot;
    encodeOldRoot(block, at, { sequence, rootPage, pages: mapping.count, keys, mappingParts: parts, slots });
    return fileOffset;
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

/** Writes a page, which must stay in memory meanwhile. Returns its new place. */
async function writePage(
  memory: NodeMemory,
  id: number,
  writer: SegmentWriter,
  sequence: Sequence,
): Promise<MappingEntry> {
  const words = wordsOf(memory, id);
  const bytes = imageBytes(words);
  const { block, at, fileOffset } = await writer.place(bytes);
  const units = memory.units(id);
  const tag = encodePage(block, at, { pageId: id, units, checkpoint: sequence }, words);
  return { pageId: id, fileOffset, imageBytes: bytes, units, tag };
}

function pushChildren(memory: NodeMemory, id: number, into: number[]): void {
  const words = memory.words(id);
  const base = memory.base(id);
  if (node.level(words, base) === 0) return;
  for (let child = 0; child <= node.count(words, base); child++) into.push(node.childAt(words, base, child));
}

function wordsOf(memory: NodeMemory, id: number): NodeWords {
  const words = memory.words(id);
  const base = memory.base(id);
  return {
    words,
    base,
    capacityWords: memory.units(id) * memory.unitWords,
    lowWords: node.lowWords(words, base),
    heapLow: node.heapLow(words, base),
  };
}
