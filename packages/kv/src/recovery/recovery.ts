/**
 * Replays the log and finds its end. Recovery starts at the segment that the superblock names and follows the chain,
 * frame by frame, to the first frame that is missing.
 *
 * ```
 *   header ─► frame 1 ─► frame 2 ─► … ─► frame n ─► header of the successor ─► frame 1 ─► … ─► end
 *     each link: the hash of what is before it, and sequences without a gap
 *
 *   scan: which segments exist? ─► replay: along the chain ─► tail: is this the end? ─► rewrite the unconfirmed tail
 * ```
 *
 * RECOVERY-1. If the first segment of the log is missing, the log begins where the superblock says, even if a failed
 *     write has left later segments. The next opening looks there.
 *
 * A log that is longer than there is memory for is read twice (REPLAY-5): first to see what belongs to it.
 *
 * Recovery writes only the unconfirmed tail, with the same bytes (unconfirmed-tail.ts). docs/durability.md describes
 * the cases for users.
 */
import { calendarMs } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { SegmentKind } from '../format/segment.ts';
import { FEATURE_SEGMENT_TABLE } from '../format/superblock.ts';
import type { LogStart, Superblock } from '../format/superblock.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { LogPosition } from '../log/chain.ts';
import type { ReplayTarget } from '../index/replay-target.ts';
import type { ProgressReporter } from './progress.ts';
import { Replay } from './replay.ts';
import type { ReplayOptions } from './replay.ts';
import { SlotScan } from './scan.ts';
import type { FoundSegment } from './scan.ts';
import { SegmentReader } from './segment-reader.ts';
import type { LoadedSlot } from './segment-reader.ts';
import { LogTail } from './tail.ts';

export interface Recovered {
  readonly position: LogPosition;
  readonly usedSlots: ReadonlySet<number>;
  readonly slotCount: number;
  /** Bytes of replayed records, which the checkpoint does not cover. */
  readonly replayedBytes: number;
  /** REPLAY-5. Bytes of records that the target has not got yet: `replayRest`. */
  readonly leftOutBytes: number;
}

/** Where the log continues, and whether that segment has unreadable blocks. */
interface LogEndPlace {
  readonly slot: number;
  readonly offset: number;
  readonly hasHoles: boolean;
}

export class Recovery {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #superblock: Superblock;
  readonly #progress: ProgressReporter;
  readonly #reader: SegmentReader;
  readonly #scan: SlotScan;
  readonly #replayOptions: ReplayOptions;
  readonly #replay: Replay;
  readonly #segments: SegmentTable;
  readonly #tail: LogTail;
  /** One segment each: the next segment is read while the current one is replayed. */
  readonly #buffers: [AlignedBuffer, AlignedBuffer];
  /** The replayed segments, oldest first, and what the scan has found of each. */
  readonly #replayed: LogStart[] = [];
  readonly #found: FoundSegment[] = [];

  constructor(
    queue: Queue,
    file: DirectFile,
    superblock: Superblock,
    target: ReplayTarget,
    budget: TurnBudget,
    progress: ProgressReporter,
    planted: Planted,
    segments: SegmentTable,
  ) {
    this.#queue = queue;
    this.#file = file;
    this.#superblock = superblock;
    this.#progress = progress;
    const { geometry } = superblock;
    this.#buffers = [allocateAligned(geometry.segmentBytes), allocateAligned(geometry.segmentBytes)];
    this.#reader = new SegmentReader(queue, file, geometry);
    this.#segments = segments;
    this.#scan = new SlotScan(this.#reader, superblock, segments);
    const { path } = file;
    this.#replayOptions = {
      path,
      superblock,
      target,
      budget,
      scan: this.#scan,
      planted,
      lastSequenceBefore: superblock.logStart.lastSequenceBefore,
      coveredThrough: superblock.checkpointSequence,
      makeRoom: null,
    };
    this.#replay = new Replay(this.#replayOptions);
    this.#tail = new LogTail(this.#reader, this.#scan, geometry);
  }

  /**
   * Replays the log.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT if flushed data is missing or damaged, ERR_AIOKV_FORMAT_NEWER for records of
   * an
   *   unknown kind, ERR_AIOKV_IO if needed data cannot be read; SystemCallError
   */
  async run(): Promise<Recovered> {
    const { geometry, logStart } = this.#superblock;
    await this.#scan.run(this.#buffers[0]);
    const { slotCount, countFromStart } = this.#scan;
    this.#progress.begin('log', countFromStart * geometry.segmentBytes);
    const end = await this.#followChain();
    this.#progress.end();
    if (this.#isNothingThere) await this.#tail.requireTorn(this.#replay, null, this.#buffers[0]);
    await this.#scan.lookAgain();
    this.#scan.requireNoHiddenSegment(this.#replayed.at(-1)?.segmentSequence ?? 0);
    this.#requireCheckpointed();
    const usedSlots = new Set(this.#replayed.map((segment) => segment.slot));
    // With a segment table, those from before the start are in use only if the table names them.
    if (!this.#hasTable) this.#useAllBeforeStart();
    for (const slot of this.#segments.slotsFrom(0, Infinity)) usedSlots.add(slot);
    for (const spared of this.#scan.slotsToSpare(this.#hasTable)) usedSlots.add(spared);
    if (this.#isNothingThere) usedSlots.delete(logStart.slot);
    const { replayedBytes, leftOutBytes } = this.#replay;
    return { position: this.#position(end), usedSlots, slotCount, replayedBytes, leftOutBytes };
  }

  /**
   * REPLAY-5. Replays what `run` has left out, if anything. What belongs to the log is decided and secured, so the store
   * may write meanwhile.
   *
   * @param makeRoom makes room in the target, with so many bytes of records to come
   * @throws as `run`
   */
  async replayRest(makeRoom: (leftBytes: number) => Promise<void>): Promise<void> {
    const { leftOutAfter, leftOutBytes, lastSequence } = this.#replay;
    if (leftOutAfter === null) return;
    let first = this.#replayed.length - 1;
    while ((this.#replayed[first] as LogStart).lastSequenceBefore > leftOutAfter) first--;
    const rest: Replay = new Replay({
      ...this.#replayOptions,
      lastSequenceBefore: (this.#replayed[first] as LogStart).lastSequenceBefore,
      coveredThrough: leftOutAfter,
      makeRoom: () => makeRoom(leftOutBytes - rest.replayedBytes),
    });
    await makeRoom(leftOutBytes);
    for (const segment of this.#found.slice(first)) {
      await rest.segment(await this.#reader.read(segment.slot, this.#buffers[0]), segment);
    }
    if (rest.lastSequence !== lastSequence) {
      throw corrupt(
        `the log of ${this.#file.path} ends at sequence ${rest.lastSequence}, and at ${lastSequence} just before`,
      );
    }
  }

  /**
   * Makes everything that was accepted durable, so that a second crash cannot lose it.
   *
   * @throws AiokvError ERR_AIOKV_IO; SystemCallError
   */
  async secure(): Promise<void> {
    if (this.#replay.isClean) return;
    this.#replay.unconfirmed.confirm(this.#superblock.checkpointSequence);
    await this.#replay.unconfirmed.writeAgain(this.#queue, this.#file);
    await this.#queue.fdatasync(this.#file);
  }

  /** Replays one segment after the other. Returns where the log continues. */
  async #followChain(): Promise<LogEndPlace> {
    let current = this.#scan.start ?? undefined;
    let offset = this.#superblock.geometry.segmentBytes;
    let slot = 0;
    let hasHoles = false;
    let which = 0;
    let loading: Promise<LoadedSlot> | null =
      current === undefined ? null : this.#reader.read(current.slot, this.#buffers[0]);
    while (current !== undefined) {
      const { sequence } = current;
      ({ slot } = current);
      this.#replayed.push({ segmentSequence: sequence, slot, lastSequenceBefore: this.#replay.lastSequence });
      this.#found.push(current);
      which = 1 - which;
      const other = this.#buffers[which] as AlignedBuffer;
      const loaded = await (loading as Promise<LoadedSlot>);
      ({ hasHoles } = loaded);
      const likely = this.#scan.likelySuccessor(sequence);
      loading = likely === undefined ? null : this.#reader.read(likely.slot, other);
      // The error is thrown when the segment is needed, if it is.
      loading?.catch(() => undefined);
      offset = await this.#replay.segment(loaded, current);
      this.#noteReplayed(this.#replayed.at(-1) as LogStart, offset);
      this.#progress.advance(offset);
      const successor = this.#scan.successorOf(this.#replay.link);
      if (successor === undefined) {
        await loading?.catch(() => undefined);
        await this.#tail.requireTorn(this.#replay, { loaded, offset, segmentSequence: sequence }, other);
      } else if (successor !== likely) {
        await loading?.catch(() => undefined);
        loading = this.#reader.read(successor.slot, other);
      }
      current = successor;
    }
    return { slot, offset, hasHoles };
  }

  get #hasTable(): boolean {
    return (this.#superblock.incompatibleFeatures & FEATURE_SEGMENT_TABLE) !== 0n;
  }

  /** Version 0.1 freed no segment of the log. */
  #useAllBeforeStart(): void {
    for (const { slot, segmentSequence } of this.#scan.segmentsBeforeStart) {
      if (!this.#segments.has(slot)) this.#segments.begin(slot, SegmentKind.log, segmentSequence, calendarMs());
    }
  }

  /** Enters a segment that was replayed up to `offset`. */
  #noteReplayed({ segmentSequence, slot, lastSequenceBefore }: LogStart, offset: number): void {
    const segments = this.#segments;
    if (!segments.has(slot)) segments.begin(slot, SegmentKind.log, segmentSequence, calendarMs());
    else if (segments.kindOf(slot) !== SegmentKind.log || segments.sequenceOf(slot) !== segmentSequence) {
      throw corrupt(`the segment table of ${this.#file.path} names another segment in slot ${slot}`);
    } else segments.restart(slot);
    const usedBytes = offset - this.#superblock.geometry.writeAlignment;
    const isEmpty = this.#replay.lastSequence === lastSequenceBefore;
    segments.found(slot, usedBytes, isEmpty ? 0 : lastSequenceBefore + 1, isEmpty ? 0 : this.#replay.lastSequence);
  }

  /** RECOVERY-1. */
  get #isNothingThere(): boolean {
    return this.#replayed.length === 0;
  }

  /** REPLAY-3. */
  #requireCheckpointed(): void {
    const { checkpointRoot, checkpointSequence, logStart } = this.#superblock;
    const isStartThere = this.#replay.lastSequence > logStart.lastSequenceBefore;
    if (checkpointRoot === 0 || (isStartThere && this.#replay.lastSequence >= checkpointSequence)) return;
    throw corrupt(
      `the log breaks at sequence ${this.#replay.lastSequence + 1} of ${this.#file.path}, before its checkpoint at ${checkpointSequence}`,
    );
  }

  #position({ slot, offset, hasHoles }: LogEndPlace): LogPosition {
    const { logStart } = this.#superblock;
    // A segment with unreadable blocks is not written to: the log continues in another one.
    const resumable = this.#replay.isClean && this.#replay.link.segmentSequence !== 0 && !hasHoles;
    return {
      link: this.#replay.link,
      lastSequence: this.#replay.lastSequence,
      segment: resumable ? { slot, nextOffset: offset } : null,
      nextSegmentSequence: this.#isNothingThere ? logStart.segmentSequence : this.#scan.unusedSequence,
      segments: this.#replayed,
    };
  }
}
