/**
 * Gets back the space of records that were replaced or deleted. It takes segments in which little lives, the victims,
 * and copies what lives there to segments of its own. The merge of the same run then moves the entries, and the victims
 * are dead.
 *
 * ```
 *   victims, read whole ─► which records does the tree lead to? ─► survivors, sorted ─► cleaned segments, written
 *                                                                                            │
 *          the run:   memtable frozen ─► clean ─► merge ◄── moved entries, into the frozen memtable
 *                                                   └─► commit ─► victims are dead, and their slots come back
 * ```
 *
 * CLEAN-1. A victim lies wholly before the start of the log: no replay needs it.
 * CLEAN-2. A record moves only if the tree leads to its very place, and the immutable memtable does not have its key.
 *     Nothing else changes the tree during a run, so this still holds when the merge takes the entry. A record that has been
 *     replaced since the run began moves, too: it is counted until the next merge, and would keep its victim until then.
 * CLEAN-3. A new place is entered only when the record can be read there. It is flushed before the superblock that needs
 *     it.
 * CLEAN-4. A moved record is the same bytes: key, value, sequence, checksum. One that is damaged stays where it is.
 * CLEAN-5. What is not moved, for whatever reason, keeps its victim: only counts decide what is dead (CHECK-8). So a run
 *     that is cut off loses nothing.
 *
 * Fragments of long values do not move yet. A victim that has kept something is left alone until more of it is dead.
 *
 * The benefit of a victim is that of Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File
 * System" (1992): free space times age, over the cost of reading it and of writing what lives.
 */
import { TurnBudget, alignUp, nextTurn } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import type { Checkpointer } from '../checkpoint/checkpointer.ts';
import { SegmentWriter } from '../checkpoint/segment-writer.ts';
import { requireFull } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { Slots } from '../file/slots.ts';
import type { SpaceNeeds } from '../file/slots.ts';
import type { SuperblockKeeper } from '../file/superblocks.ts';
import { fileOffsetOf, isRecord, lengthOf, lengthWordOf } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT, RECORD_HEADER_BYTES, isExtent, keyBytesOf, recordFault } from '../format/record.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { LeafScout } from '../index/leaf-scout.ts';
import type { LogWriter } from '../log/writer.ts';
import { Entry, FOUND, MISSING, Tree, pageOf } from '../tree/index.ts';
import { SegmentRecords } from './segment-records.ts';
import { Survivors } from './survivors.ts';

export interface CleanerOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly epoch: number;
  readonly superblocks: SuperblockKeeper;
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly checkpointer: Pick<Checkpointer, 'uncoveredBytes'>;
  readonly clock: Clock;
  readonly planted: Planted;
  /** Most bytes of the file over what lives: see `StoreOptions`. */
  readonly spaceAmplificationMax: number;
  /** Survivors are written when their copies take so much memory, in bytes. */
  readonly survivorBytes: number;
}

/** A store is cleaned when its segments take more than this part of the way from what lives to the ceiling, ... */
const TARGET_PART = 0.8;
/** ... and more than so many segments. */
const FEW_SEGMENTS = 16;
/** What is not merged yet takes more than its records: frames have headers and padding. */
const NEW_BYTES_FACTOR = 1.25;
/** A run begins when so much was written since the last one, as a part of what lives. */
const NEW_PART = 0.06;
/** The survivors of a run may make the file grow by so much, as a part of what lives, or by FEW_GROWN segments. */
const GROWN_PART = 0.12;
const FEW_GROWN = 4;
/** A segment in which more lives is no victim: its survivors would take more space than it gives. */
const MOST_LIVE_PART = 0.65;
/** A segment of survivors is filled to this part, or better. */
const PACKED_PART = 7 / 8;

/** A victim of an earlier run that is still there. It has kept something. */
interface Tried {
  /** Of the segment: the slot may have another one now. */
  readonly sequence: number;
  /** What it has kept; -1 until the next run looks. */
  liveBytes: number;
}

const SLICE_MS = 0.5;
/** The planted defect writes survivors so many turns late: a read that fails is tried again. */
const LATE_TURNS = 20;
const READ_BYTES = 256 * 1024;

export class Cleaner implements SpaceNeeds {
  readonly #options: CleanerOptions;
  readonly #budget: TurnBudget;
  /** By slot. */
  readonly #tried = new Map<number, Tried>();
  #buffer: AlignedBuffer | null = null;
  readonly #entry = new Entry();

  constructor(options: CleanerOptions) {
    this.#options = options;
    this.#budget = new TurnBudget(options.clock, SLICE_MS);
    options.slots.expectSpace(this, options.clock);
  }

  /** @internal What is not merged yet counts as alive. */
  get ceilingBytes(): number {
    const { geometry, checkpointer, spaceAmplificationMax } = this.#options;
    const keptBytes = Math.max(
      FEW_SEGMENTS * geometry.segmentBytes,
      spaceAmplificationMax * this.#options.segments.liveBytes,
    );
    return keptBytes + NEW_BYTES_FACTOR * checkpointer.uncoveredBytes;
  }

  /** Whether there is so much garbage that a run should begin after so many new bytes of the log. */
  isDue(newBytes: number): boolean {
    if (newBytes < this.#options.geometry.segmentBytes) return false;
    if (this.#options.planted.eagerCleaning === true) return true;
    return newBytes >= NEW_PART * this.#options.segments.liveBytes && this.#excessBytes > 0;
  }

  /**
   * Copies what lives in some victims, and enters the new places in the frozen memtable. Does nothing if there is
   * little garbage.
   *
   * @param sequence that of the run
   * @param isStopped asked between two steps: whether to give up
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read; ERR_AIOKV_LATCHED if a write failed
   */
  async run(sequence: number, isStopped: () => boolean): Promise<void> {
    const victims = await this.#chooseWithRoom(sequence);
    if (victims.length === 0) return;
    const { index, segments, survivorBytes, superblocks } = this.#options;
    const { uuid } = superblocks.current;
    const writer = new SegmentWriter({ ...this.#options, uuid, sequence, kind: SegmentKind.cleaned, use: 'clean' });
    const survivors = new Survivors(index.memory);
    let first = 0;
    try {
      for (const [i, slot] of victims.entries()) {
        if (isStopped()) return;
        this.#tried.set(slot, { sequence: segments.sequenceOf(slot), liveBytes: -1 });
        await this.#survey(slot, survivors);
        index.noteCleaned((i + 1) / victims.length);
        if (survivors.bytes < survivorBytes && i + 1 < victims.length) continue;
        const areAllMoved = await this.#move(survivors, writer);
        survivors.clear();
        // There is no room now. There may be some in the next run.
        if (!areAllMoved) for (const tried of victims.slice(first, i + 1)) this.#tried.delete(tried);
        if (!areAllMoved) return;
        first = i + 1;
      }
    } finally {
      survivors.clear();
    }
  }

  /** Bytes of segments above what they should take. */
  get #excessBytes(): number {
    const { segments, geometry } = this.#options;
    const target = 1 + TARGET_PART * (this.#options.spaceAmplificationMax - 1);
    const wantedBytes = Math.max(FEW_SEGMENTS * geometry.segmentBytes, target * this.#options.segments.liveBytes);
    return segments.size * geometry.segmentBytes - wantedBytes;
  }

  /**
   * The victims whose survivors all find room: survivors are sorted by key, so that without room for all of them no
   * victim would be emptied.
   */
  async #chooseWithRoom(sequence: number): Promise<number[]> {
    const { slots, geometry } = this.#options;
    const victims = this.#choose(sequence, null);
    try {
      await slots.prepare(this.#slotsFor(victims), 'clean');
      return victims;
    } catch {
      // The device is full.
      const segments = Math.max(0, slots.availableFor('clean'));
      return this.#choose(sequence, segments * PACKED_PART * (geometry.segmentBytes - geometry.writeAlignment));
    }
  }

  /**
   * The victims with the most benefit, until they free what is too much.
   *
   * @param roomBytes for survivors; null: as much as the file may grow by
   */
  #choose(sequence: number, roomBytes: number | null): number[] {
    const { segments, geometry, superblocks, slots, planted } = this.#options;
    const { segmentBytes } = geometry;
    const { logStart } = superblocks.current;
    const candidates: { readonly slot: number; readonly benefit: number }[] = [];
    const isEager = planted.eagerCleaning === true;
    const mostLivePart = isEager ? 1 : MOST_LIVE_PART;
    let excessBytes = isEager ? Infinity : this.#excessBytes;
    if (excessBytes <= 0) return [];
    for (let slot = 0; slot < segments.end; slot++) {
      if (!segments.has(slot)) continue;
      const kind = segments.kindOf(slot);
      const isLog = kind === SegmentKind.log;
      // CLEAN-1.
      if (kind === SegmentKind.index || (isLog && segments.sequenceOf(slot) >= logStart.segmentSequence)) continue;
      const part = segments.liveBytesOf(slot) / segmentBytes;
      if (part === 0) excessBytes -= segmentBytes;
      if (part === 0 || part > mostLivePart || this.#hasKept(slot)) continue;
      const age = sequence - (isLog ? segments.lastSequenceOf(slot) : segments.sequenceOf(slot));
      candidates.push({ slot, benefit: ((1 - part) * (age + 1)) / (1 + part) });
    }
    // With little room, those that are emptied with the least of it.
    if (roomBytes !== null) candidates.sort((a, b) => segments.liveBytesOf(a.slot) - segments.liveBytesOf(b.slot));
    else candidates.sort((a, b) => b.benefit - a.benefit);
    const grownBytes = Math.max(FEW_GROWN * segmentBytes, GROWN_PART * this.#options.segments.liveBytes);
    let leftBytes = roomBytes ?? Math.max(grownBytes, slots.availableFor('put') * segmentBytes);
    const victims: number[] = [];
    for (const { slot } of candidates) {
      if (excessBytes <= 0) break;
      const liveBytes = segments.liveBytesOf(slot);
      if (liveBytes > leftBytes) break;
      leftBytes -= liveBytes;
      excessBytes -= segmentBytes - liveBytes;
      victims.push(slot);
    }
    // A single victim would make room for nothing but itself.
    return victims.length > this.#slotsFor(victims) || isEager ? victims : [];
  }

  /** Whether the segment was a victim and has kept what is in it, such as fragments. It is worth trying when more dies. */
  #hasKept(slot: number): boolean {
    const { segments } = this.#options;
    const tried = this.#tried.get(slot);
    if (tried === undefined) return false;
    const liveBytes = segments.liveBytesOf(slot);
    if (tried.liveBytes < 0) tried.liveBytes = liveBytes;
    if (tried.sequence === segments.sequenceOf(slot) && tried.liveBytes === liveBytes) return true;
    this.#tried.delete(slot);
    return false;
  }

  /** Slots that the survivors of these victims fill, as good as they can be packed. */
  #slotsFor(victims: readonly number[]): number {
    const { segments, geometry } = this.#options;
    const liveBytes = victims.reduce((sum, slot) => sum + segments.liveBytesOf(slot), 0);
    return Math.ceil(liveBytes / (PACKED_PART * (geometry.segmentBytes - geometry.writeAlignment)));
  }

  /** Adds the records of a victim that live to the survivors. */
  async #survey(slot: number, survivors: Survivors): Promise<void> {
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
      if (!index.isReplaced(key, keyBytes)) candidates.set(key, keyBytes, at / RECORD_ALIGNMENT, lengthBytes);
      if (this.#budget.isSpent()) await nextTurn();
    }
    const keys = candidates.snapshot();
    const scout = new LeafScout(keys, index.tree, index.pager);
    const walk = keys.cursor();
    try {
      walk.first();
      for (let taken = 0; walk.valid;) {
        if (taken % 64 === 0) scout.lookAhead(walk, taken);
        const found = index.tree.get(walk.keyBytes, walk.keyLength, this.#entry);
        if (found !== FOUND && found !== MISSING) {
          await scout.whenLoaded(pageOf(found), taken);
          continue;
        }
        const at = walk.entry.word0 * RECORD_ALIGNMENT;
        const lengthBytes = walk.entry.word1;
        // CLEAN-2, CLEAN-4.
        const isHere = fileOffsetOf(this.#entry) === base + at && lengthOf(this.#entry) === lengthBytes;
        const isLive = (found === FOUND && isRecord(this.#entry) && isHere) || planted.uncomparedMoves === true;
        if (isLive && recordFault(buffer, at, lengthBytes) === null) {
          const { keyBytes: key, keyLength } = walk;
          const lengthWord = lengthWordOf(lengthBytes, isExtent(buffer.view, at));
          survivors.add(key, keyLength, buffer, at, lengthBytes, lengthWord);
        }
        walk.next();
        scout.letGoBehind(++taken);
        if (this.#budget.isSpent()) await nextTurn();
      }
    } finally {
      scout.end();
      keys.release();
      candidates.clear();
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
        const place = await this.#placeIfRoom(writer, alignUp(lengthBytes, RECORD_ALIGNMENT));
        if (place === null) break;
        survivors.copyTo(walk.entry, lengthBytes, place.block, place.at);
        offsets.push(place.fileOffset);
        if (this.#budget.isSpent()) await nextTurn();
      }
      if (planted.earlyMoves !== true) await writer.finish();
      walk.first();
      for (const fileOffset of offsets) {
        index.enterMoved(walk.keyBytes, walk.keyLength, fileOffset, walk.entry.word1);
        walk.next();
        if (this.#budget.isSpent()) await nextTurn();
      }
      if (planted.earlyMoves === true) {
        for (let turns = 0; turns < LATE_TURNS; turns++) await nextTurn();
        await writer.finish();
      }
      planted.onMoved?.(offsets.length);
      return offsets.length === survivors.tree.size;
    } catch (error) {
      throw writer.failure === null ? error : log.fail(error);
    } finally {
      keys.release();
    }
  }

  /** Null if there is no space: what is left stays where it is. */
  async #placeIfRoom(
    writer: SegmentWriter,
    bytes: number,
  ): Promise<Awaited<ReturnType<SegmentWriter['place']>> | null> {
    try {
      return await writer.place(bytes);
    } catch (error) {
      if (writer.failure !== null || (error as { code?: unknown }).code === 'ERR_AIOKV_INTERNAL') throw error;
      return null;
    }
  }

  /** Reads a victim whole. Null if a part cannot be read: it stays as it is. */
  async #read(slot: number): Promise<AlignedBuffer | null> {
    const { queue, file, geometry } = this.#options;
    this.#buffer ??= allocateAligned(geometry.segmentBytes);
    const buffer = this.#buffer;
    const base = Slots.offsetOf(geometry, slot);
    const parts: Promise<boolean>[] = [];
    for (let at = 0; at < geometry.segmentBytes; at += READ_BYTES) {
      const length = Math.min(READ_BYTES, geometry.segmentBytes - at);
      const part = queue.read(file, buffer, { offset: base + at, bufferOffset: at, length });
      parts.push(
        part.then(
          (result) => {
            requireFull('read', result, length, file.path);
            return true;
          },
          () => false,
        ),
      );
    }
    const outcomes = await Promise.allSettled(parts);
    return outcomes.every((outcome) => outcome.status === 'fulfilled' && outcome.value) ? buffer : null;
  }
}
