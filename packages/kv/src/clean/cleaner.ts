/**
 * Gets back the space of records that were replaced or deleted. It takes segments in which little lives, the victims,
 * and copies what lives there to segments of its own. The merge of the same run then moves the entries, and the victims
 * are dead.
 *
 * ```
 *   victims, read whole ─► which records does the tree lead to? ─► survivors, sorted ─► cleaned segments, written
 *                                                                                            │
 *          the run:   memtable frozen ─► clean ─► merge ◄── new places (relocations.ts)
 *                                                   └─► commit ─► victims are dead, and their slots come back
 * ```
 *
 * CLEAN-1. A victim lies wholly before the start of the log: no replay needs it.
 * CLEAN-2. A record moves only if the tree leads to its very place, and the immutable memtable does not have its key.
 *     Nothing else changes the tree during a run, so this still holds when the merge looks again (MERGE-4). A record that has been
 *     replaced since the run began moves, too: it is counted until the next merge, and would keep its victim until then.
 * CLEAN-3. A new place is entered only when the record can be read there. It is flushed before the superblock that needs
 *     it.
 * CLEAN-4. A moved record is the same bytes: key, value, sequence, checksum. One that is damaged stays where it is.
 * CLEAN-5. What is not moved, for whatever reason, keeps its victim: only counts decide what is dead (CHECK-8). So a run
 *     that is cut off loses nothing.
 *
 * Of long values the fragments that lie in victims move, with a new table (extent-mover.ts). A victim that has kept
 * something is left alone until more of it is dead. space-plan.ts chooses the victims.
 */
import { TurnBudget, alignUp, nextTurn } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { SegmentWriter } from '../checkpoint/segment-writer.ts';
import { requireFull } from '../failure/errors.ts';
import type { ReadPace } from '../file/read-pace.ts';
import { Slots } from '../file/slots.ts';
import { SpanReader } from '../file/span-reader.ts';
import { fileOffsetOf, highWordOf, isInFragments, isRecord, lengthOf, lowWordOf } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT, RECORD_HEADER_BYTES, keyBytesOf, recordFault } from '../format/record.ts';
import { SegmentKind } from '../format/segment.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { LeafScout } from '../index/leaf-scout.ts';
import { MergeInput } from '../index/merge-input.ts';
import type { LogWriter } from '../log/writer.ts';
import { Entry, FOUND, MISSING, Tree, pageOf } from '../tree/index.ts';
import { ExtentMover } from './extent-mover.ts';
import { SegmentRecords } from './segment-records.ts';
import { SpacePlan } from './space-plan.ts';
import type { SpacePlanParts } from './space-plan.ts';
import { Survivors } from './survivors.ts';

export interface CleanerOptions extends SpacePlanParts {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly epoch: number;
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly clock: Clock;
  readonly pace: ReadPace;
  /** Survivors are written when their copies take so much memory, in bytes. */
  readonly survivorBytes: number;
}

/** Of the cleaning under way. */
interface Progress {
  steps: number;
  readonly ofSteps: number;
  readonly isStopped: () => boolean;
}

/** A record is found, copied, and its place entered. */
const STEPS_OF_RECORD = 3;
/** The planted defect writes survivors so many turns late, while the merge goes on. */
const LATE_TURNS = 20;
const READ_BYTES = 256 * 1024;

export class Cleaner {
  readonly plan: SpacePlan;
  readonly #options: CleanerOptions;
  readonly #budget: TurnBudget;
  /** Victims that are still there, by slot, and what each has kept; -1 until the run ends. */
  readonly #tried = new Map<number, number>();
  readonly #extents: ExtentMover;
  #buffer: AlignedBuffer | null = null;
  readonly #entry = new Entry();
  #progress: Progress = { steps: 0, ofSteps: 0, isStopped: () => false };

  constructor(options: CleanerOptions) {
    this.#options = options;
    this.#budget = TurnBudget.ofBackground(options.clock);
    const budget = this.#budget;
    this.#extents = new ExtentMover({ ...options, budget, reader: new SpanReader({ ...options, budget }) });
    this.plan = new SpacePlan(options);
    options.slots.expectSpace(this.plan, options.clock);
  }

  /**
   * Copies what lives in some victims, and enters the new places. Does nothing if there is little garbage.
   *
   * @param sequence that of the run
   * @param isStopped asked at each step, when `writersPart` may have grown: whether to give up
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read; ERR_AIOKV_LATCHED if a write failed
   */
  async run(sequence: number, isStopped: () => boolean): Promise<void> {
    const victims = await this.#choose(sequence);
    if (victims.length === 0) return;
    const { index, segments, survivorBytes, superblocks, pace } = this.#options;
    const { uuid } = superblocks.current;
    const writer = new SegmentWriter({ ...this.#options, uuid, sequence, kind: SegmentKind.cleaned, use: 'clean' });
    const survivors = new Survivors(index.memory);
    /** Keys of long values of which something lies in a victim. */
    const long = new Tree(index.memory);
    const records = victims.reduce((sum, slot) => sum + segments.liveRecordsOf(slot), 0);
    this.#progress = { steps: 0, ofSteps: STEPS_OF_RECORD * records, isStopped };
    pace.watch();
    let first = 0;
    try {
      for (const [i, slot] of victims.entries()) {
        if (isStopped()) return;
        this.#tried.set(slot, -1);
        await this.#survey(slot, survivors, long);
        if (survivors.bytes < survivorBytes && i + 1 < victims.length) continue;
        const areAllMoved = await this.#move(survivors, writer);
        survivors.clear();
        // There is no room now. There may be some in the next run.
        if (!areAllMoved) for (const tried of victims.slice(first, i + 1)) this.#tried.delete(tried);
        if (!areAllMoved) return;
        first = i + 1;
      }
      if (!(await this.#moveLong(long, new Set(victims), writer))) for (const slot of victims) this.#tried.delete(slot);
    } finally {
      survivors.clear();
      long.clear();
      index.noteCleaned(1);
      pace.unwatch();
    }
  }

  /**
   * Call it when the checkpoint of a run is durable, whatever the run has moved. Forgets the victims that have not kept what
   * was in them, such as a damaged record, and those of which more has died: they are worth trying again. In no slot of
   * theirs can another segment have anything that lives yet.
   */
  endRun(): void {
    const { segments } = this.#options;
    this.plan.endRun();
    for (const [slot, keptBytes] of this.#tried) {
      const liveBytes = segments.has(slot) ? segments.liveBytesOf(slot) : 0;
      if (liveBytes === 0 || (keptBytes >= 0 && keptBytes !== liveBytes)) this.#tried.delete(slot);
      else this.#tried.set(slot, liveBytes);
    }
  }

  /** Notes how far the cleaning has come, and lets the event loop turn. */
  async #nextSlice(): Promise<void> {
    const { steps, ofSteps, isStopped } = this.#progress;
    this.#options.index.noteCleaned(Math.min(1, steps / ofSteps));
    isStopped();
    await this.#options.pace.rest();
  }

  /**
   * The victims whose survivors all find room: survivors are sorted by key, so that without room for all of them no
   * victim would be emptied.
   */
  async #choose(sequence: number): Promise<number[]> {
    const { slots } = this.#options;
    const hasKept = (slot: number): boolean => this.#tried.has(slot);
    const victims = await this.plan.choose(sequence, null, hasKept, this.#budget);
    try {
      await slots.prepare(this.plan.slotsFor(victims), 'clean');
      return victims;
    } catch {
      // The device is full.
      const roomBytes = this.plan.survivorsIn(Math.max(0, slots.availableFor('clean')));
      return this.plan.choose(sequence, roomBytes, hasKept, this.#budget);
    }
  }

  /** Adds the records of a victim that live to the survivors, and keys of what may live of long values to `long`. */
  async #survey(slot: number, survivors: Survivors, long: Tree): Promise<void> {
    const { index, segments, geometry, planted } = this.#options;
    const buffer = await this.#read(slot);
    if (buffer === null) return;
    const base = Slots.offsetOf(geometry, slot);
    const candidates = new Tree(index.memory);
    const segment = {
      buffer,
      kind: segments.kindOf(slot),
      sequence: segments.sequenceOf(slot),
      endBytes: segments.usedBytesOf(slot),
    };
    const records = new SegmentRecords(segment, geometry);
    while (records.next()) {
      const { at, lengthBytes } = records;
      const keyBytes = keyBytesOf(buffer.view, at);
      const key = buffer.bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + keyBytes);
      if (!index.isReplaced(key, keyBytes)) {
        if (records.isOfExtent) long.set(key, keyBytes, 0, 0);
        else candidates.set(key, keyBytes, at / RECORD_ALIGNMENT, lengthBytes);
      }
      if (this.#budget.isSpent()) await this.#nextSlice();
    }
    await this.#lookUp(candidates, (walk, isFound) => {
      const at = walk.entry.word0 * RECORD_ALIGNMENT;
      const lengthBytes = walk.entry.word1;
      // CLEAN-2, CLEAN-4.
      const isHere = fileOffsetOf(this.#entry) === base + at && lengthOf(this.#entry) === lengthBytes;
      const isLive = (isFound && isRecord(this.#entry) && isHere) || planted.uncomparedMoves === true;
      if (!isLive || recordFault(buffer, at, lengthBytes) !== null) return null;
      const fileOffset = base + at;
      const entry = { word0: lowWordOf(fileOffset), word1: highWordOf(fileOffset, lengthBytes) };
      survivors.add(walk.keyBytes, walk.keyLength, buffer, at, entry);
      this.#progress.steps++;
      return null;
    });
  }

  /**
   * Looks all keys up in the tree, in their order, and clears them.
   *
   * @param visit is told whether the tree has the key; `#entry` is its entry then. What it returns is waited for
   */
  async #lookUp(keys: Tree, visit: (walk: MergeInput, isFound: boolean) => Promise<unknown> | null): Promise<void> {
    const { index } = this.#options;
    const snapshot = keys.snapshot();
    const scout = new LeafScout(new MergeInput(snapshot, null), index.tree, index.pager);
    const walk = new MergeInput(snapshot, null);
    try {
      walk.first();
      for (let taken = 0; walk.valid;) {
        if (taken % 64 === 0) scout.lookAhead(walk, taken);
        const found = index.tree.get(walk.keyBytes, walk.keyLength, this.#entry);
        if (found !== FOUND && found !== MISSING) {
          await scout.whenLoaded(pageOf(found), taken);
          continue;
        }
        const work = visit(walk, found === FOUND);
        if (work !== null) await work;
        walk.next();
        scout.letGoBehind(++taken);
        if (this.#budget.isSpent()) await this.#nextSlice();
      }
    } finally {
      scout.end();
      snapshot.release();
      keys.clear();
    }
  }

  /** Moves what lies in victims of long values. False: there was no room for some. */
  async #moveLong(long: Tree, victims: ReadonlySet<number>, writer: SegmentWriter): Promise<boolean> {
    if (long.size === 0) return true;
    const { log, planted } = this.#options;
    const { isStopped } = this.#progress;
    const isVictim = (slot: number): boolean => victims.has(slot);
    let hasRoom = true;
    const move = async (key: Uint8Array, entry: EntryWords): Promise<void> => {
      const { pieces, noRoom } = await this.#extents.move(key, entry, isVictim, writer, isStopped);
      hasRoom = noRoom === null;
      this.#progress.steps += STEPS_OF_RECORD * pieces;
      if (pieces > 0) planted.onMovedPieces?.(pieces);
    };
    try {
      await this.#lookUp(long, ({ keyBytes, keyLength }, isFound) => {
        if (!isFound || !isInFragments(this.#entry) || !hasRoom || isStopped()) return null;
        const { word0, word1 } = this.#entry;
        return move(keyBytes.slice(0, keyLength), { word0, word1 });
      });
      await writer.finish();
      if (!isStopped()) this.#extents.enter();
      return hasRoom;
    } catch (error) {
      throw writer.failure === null ? error : log.fail(error);
    } finally {
      this.#extents.forget();
    }
  }

  /** Writes the survivors in key order, and enters their new places (CLEAN-3). False: there was no room for some. */
  async #move(survivors: Survivors, writer: SegmentWriter): Promise<boolean> {
    const { index, log, planted } = this.#options;
    const offsets: number[] = [];
    const keys = survivors.tree.snapshot();
    const walk = keys.cursor();
    try {
      walk.first();
      for (; walk.valid; walk.next()) {
        const lengthBytes = lengthOf(walk.entry);
        const paddedBytes = alignUp(lengthBytes, RECORD_ALIGNMENT);
        const place = writer.placeHere(paddedBytes) ?? (await writer.placeIfRoom(paddedBytes));
        if ('noRoom' in place) break;
        survivors.copyTo(walk.entry, lengthBytes, place.block, place.at);
        offsets.push(place.fileOffset);
        this.#progress.steps++;
        if (this.#budget.isSpent()) await this.#nextSlice();
      }
      if (planted.earlyMoves !== true) await writer.finish();
      walk.first();
      for (const fileOffset of offsets) {
        const old = { word0: walk.entry.extra[0] as number, word1: walk.entry.word1 };
        index.enterMoved(walk.keyBytes, 0, walk.keyLength, old, fileOffset);
        this.#progress.steps++;
        walk.next();
        if (this.#budget.isSpent()) await this.#nextSlice();
      }
      if (planted.earlyMoves === true) void finishLate(writer);
      planted.onMoved?.(offsets.length);
      return offsets.length === survivors.tree.size;
    } catch (error) {
      throw writer.failure === null ? error : log.fail(error);
    } finally {
      keys.release();
    }
  }

  /** Reads a victim whole, in long reads. Null if a part cannot be read: it stays as it is. */
  async #read(slot: number): Promise<AlignedBuffer | null> {
    const { geometry, pace } = this.#options;
    this.#buffer ??= allocateAligned(geometry.segmentBytes);
    const parts = new Set<Promise<void>>();
    let isWhole = true;
    for (let at = 0; at < geometry.segmentBytes; at += READ_BYTES) {
      while (parts.size >= pace.depth) await Promise.race(parts);
      const part = this.#readPart(this.#buffer, slot, at).then((isRead) => {
        isWhole &&= isRead;
        parts.delete(part);
      });
      parts.add(part);
    }
    await Promise.all(parts);
    return isWhole ? this.#buffer : null;
  }

  async #readPart(buffer: AlignedBuffer, slot: number, at: number): Promise<boolean> {
    const { queue, file, geometry } = this.#options;
    const length = Math.min(READ_BYTES, geometry.segmentBytes - at);
    try {
      const offset = Slots.offsetOf(geometry, slot) + at;
      requireFull('read', await queue.read(file, buffer, { offset, bufferOffset: at, length }), length, file.path);
      return true;
    } catch {
      return false;
    }
  }
}

/** The planted defect. */
async function finishLate(writer: SegmentWriter): Promise<void> {
  for (let turns = 0; turns < LATE_TURNS; turns++) await nextTurn();
  await writer.finish().catch(() => undefined);
}
