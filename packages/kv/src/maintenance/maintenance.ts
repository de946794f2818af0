/**
 * The background work of a store: merges full memtables into the tree, and completes each merge to a checkpoint. It
 * alone starts both.
 *
 * ```
 *              begin            cleaned           all entries merged             durable
 *   (nothing) ──────► cleaning ─────► merging, saving ─────────────► committing ───────► (nothing), or the next one
 *                                        │    ▲                        │    ▲
 *                                no space▼    │ somebody needs room ───▼    │
 *                                        starved: what waits gets the error; the run goes on from where it was
 * ```
 *
 * A run begins when the memtable is full, when there is much garbage, when an opening would have to replay
 * `checkpointBytes`, when somebody asks for a checkpoint, when scans have read much in vain, and when nothing was written for some
 * seconds.
 *
 * MAINT-1. A run takes the tree to exactly the first S writes. S, and the log bytes that the checkpoint covers, are taken
 *     when the memtable becomes immutable.
 * MAINT-2. After `stop` nothing begins. It settles when everything under way has ended.
 * MAINT-3. There is one run at a time. One that finds no space is continued, never given up: the tree is half merged.
 * MAINT-4. While a run is under way writers may write as much of the log, and of the memtable, as it has come far. So an
 *     opening replays at most about `checkpointBytes`.
 * MAINT-5. After a compaction the next checkpoint cuts the file off, too: the log may have been at its end.
 * MAINT-6. A merge for a full memtable goes along with the writers, so that they are about as fast beside it as behind it. It
 *     leaves out turns while it is ahead of them, nobody waits for it, and there is no other reason for a run.
 *
 * Who wakes whom:
 * ```
 *   waits for          woken by                              no space   merge fails   log fails             stop
 *   room (memtable)    a run that begins, a slice of a       fail       fail          fail, when the work   fail
 *                      merge, the end of a run or of the                              under way has ended
 *                      move of a stage
 *   a checkpoint       the end of a run that covers it       fail       fail          the same              fail
 * ```
 */
import { KIB, MIB, SLICE_MS, Fifo, TurnBudget, Waiters, assert, nextTurn } from '@aiokv/core';
import type { Clock, Sequence, Waiter } from '@aiokv/core';
import type { Checkpointer } from '../checkpoint/checkpointer.ts';
import type { Cleaner } from '../clean/cleaner.ts';
import type { Compaction } from '../clean/compaction.ts';
import type { OrderStatistics, Scan, ScanOrder } from '../clean/scan-order.ts';
import { closed } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { SlotUse, Slots } from '../file/slots.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { Memtable } from '../index/memtable.ts';
import type { OpenSnapshots } from '../index/open-snapshots.ts';
import type { LeafPacking } from '../index/leaf-packing.ts';
import type { Merge } from '../index/merge.ts';
import type { LogWriter } from '../log/writer.ts';

export interface MaintenanceParts {
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly checkpointer: Checkpointer;
  readonly slots: Slots;
  readonly cleaner: Cleaner;
  readonly order: ScanOrder;
  readonly snapshots: OpenSnapshots;
  readonly segments: SegmentTable;
  readonly gate: FailureGate;
  readonly clock: Clock;
}

/** MAINT-6. Turns without a write after which a merge goes on that is ahead of the writers. */
const QUIET_TURNS = 32;
/** Writers may exceed what a run lets them write by so much, so that a small limit does not stop them at every write: ... */
const SLACK_BYTES = MIB;
/** ... by a quarter of it, but by this at least. */
const LEAST_SLACK_BYTES = 64 * KIB;
/** A run begins when nothing was written for so long. */
const IDLE_MS = 5000;
/** Runs for a write that has found no space, at most. */
const RUNS_FOR_SPACE = 8;
/** After a run that made no space, writes of a full device are refused at once for so long. */
const FUTILE_MS = 1000;

/** Waits for a checkpoint that covers everything through a sequence. */
interface CheckpointWaiter extends Waiter {
  readonly through: Sequence;
}

/** A merge with its checkpoint. */
interface Run {
  /** The position of the log when the memtable became immutable (MAINT-1). */
  readonly sequence: Sequence;
  readonly logBytes: number;
  /** Null until the cleaning before it has ended. */
  merge: Merge | null;
  /** Of a compaction. A run that found no space goes on with it, and with the leaves that it holds. */
  packing: LeafPacking | null;
  isMerged: boolean;
  /** MAINT-6. */
  readonly isPaced: boolean;
  /** A leaf cannot be read: the run cannot go on. */
  hasFailed: boolean;
}

export class Maintenance {
  readonly #parts: MaintenanceParts;
  readonly #budget: TurnBudget;
  readonly #roomWaiters = new Waiters();
  /** In sequence order. */
  readonly #checkpointWaiters = new Fifo<CheckpointWaiter>();
  #run: Run | null = null;
  #working: Promise<void> | null = null;
  /** Why the run does not go on: there is no space for its pages. */
  #starvedBy: Error | null = null;
  #cancelIdle: (() => void) | null = null;
  /** `LogWriter.appendedBytes` when a run last made no space. Another one makes sense when more was written, or later. */
  #futileAt = -1;
  #futileUntilMs = 0;
  #futileUse: SlotUse = 'put';
  /** See `makeRoomForReplay`. */
  #unreplayedBytes = 0;
  /** Takes the place of the cleaner. */
  #compaction: Compaction | null = null;
  /** MAINT-5. */
  #isCutDue = false;
  /** A version was released since its space was last looked for, ... */
  #isReleaseDue = false;
  /** ... which is under way, or null. */
  #releasing: Promise<void> | null = null;
  #isStopped = false;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
    this.#budget = TurnBudget.ofBackground(parts.clock);
  }

  /** Starts the work that the opening has left over. */
  start(): void {
    this.#look();
    if (this.#parts.checkpointer.uncoveredBytes > 0) this.#watchIdle();
  }

  /**
   * Merges what an opening has replayed so far, before `start`. Without space the memtable goes on to grow.
   *
   * @param leftBytes of records that are still to be replayed
   * @throws AiokvError ERR_AIOKV_LATCHED
   */
  async makeRoomForReplay(leftBytes: number): Promise<void> {
    this.#unreplayedBytes = leftBytes;
    try {
      await this.checkpoint();
    } catch (error) {
      if (this.#parts.gate.writes !== null) throw error;
    } finally {
      this.#unreplayedBytes = 0;
    }
  }

  /** Call it in the step that admits the last entry of a batch. */
  admitted(through: Sequence): void {
    const { index } = this.#parts;
    index.admitted(through);
    this.#watchIdle();
    if (this.#working === null && this.#starvedBy === null && (index.isFull || this.#isMuch)) this.#look();
  }

  /** As `admitted`, for a long batch: its entries become visible in this call. Requires `hasRoom`. */
  admitStaged(stage: Memtable, through: Sequence): void {
    const { index } = this.#parts;
    index.useStage(stage);
    if (index.isMovingStage) void this.#moveStage();
    this.admitted(through);
  }

  /** MAINT-4. Whether more entries may be admitted now. */
  get hasRoom(): boolean {
    const { index, log, checkpointer, cleaner } = this.#parts;
    if (!index.hasRoom) return false;
    if (this.#run === null) return true;
    const mostBytes = Math.min(checkpointer.runBytes(this.#run.logBytes), cleaner.plan.writersBytes);
    const slackBytes = Math.max(LEAST_SLACK_BYTES, Math.min(SLACK_BYTES, mostBytes / 4));
    return log.appendedBytes - this.#run.logBytes <= mostBytes * index.writersPart + slackBytes;
  }

  /**
   * Settles when there may be room. Ask again then: everything may have changed.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED; ERR_AIOKV_NO_SPACE and what else `Slots.prepare` throws
   */
  whenRoom(): Promise<void> {
    const { writes } = this.#parts.gate;
    if (writes !== null) return Promise.reject(writes);
    const room = this.#roomWaiters.wait();
    this.#begin();
    return room;
  }

  /**
   * Writes a checkpoint of everything admitted so far. Settles when it is durable.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; SystemCallError. The last checkpoint
   *   stays valid
   */
  checkpoint(): Promise<void> {
    const { index, gate } = this.#parts;
    if (gate.writes !== null) return Promise.reject(gate.writes);
    if (this.#isStopped) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#checkpointWaiters.push({ through: index.admittedThrough, resolve, reject });
      this.#look();
    });
  }

  /**
   * Makes room in the log by runs that clean and give back segments, after a write has found no space. A cleaning knows
   * only what earlier merges have counted as dead, and has room for a few victims. So there is one more run as long as
   * the last one has merged new writes, has found more that is dead, or has freed slots.
   *
   * @param error what the write has found
   * @param use what the write is
   * @throws error if there was nothing to gain
   */
  async makeSpace(error: unknown, use: SlotUse): Promise<void> {
    const { log, checkpointer, segments, slots, clock } = this.#parts;
    const isFull = (error as { code?: unknown }).code === 'ERR_AIOKV_NO_SPACE';
    if (!isFull || this.#isStopped || this.#isFutile(use)) throw error;
    await checkpointer.released.giveBackParked();
    if (checkpointer.hasSpaceFor(use)) return;
    for (let runs = 0, isGain = true; isGain && runs < RUNS_FOR_SPACE; runs++) {
      const { liveBytes } = segments;
      const { freeCount } = slots;
      const isNew = checkpointer.uncoveredBytes > 0;
      try {
        await this.checkpoint();
      } catch {
        // The write's own error says what is missing.
        throw error;
      }
      if (checkpointer.hasSpaceFor(use)) return;
      isGain = isNew || segments.liveBytes < liveBytes || slots.freeCount > freeCount;
    }
    this.#futileAt = log.appendedBytes;
    this.#futileUntilMs = clock.nowMs() + FUTILE_MS;
    this.#futileUse = use;
    throw error;
  }

  /** Whether the same was in vain a moment ago. What is no room for a put may be room for a deletion. */
  #isFutile(use: SlotUse): boolean {
    const { log, clock } = this.#parts;
    const isSame = use === this.#futileUse || this.#futileUse === 'delete';
    return isSame && this.#futileAt === log.appendedBytes && clock.nowMs() < this.#futileUntilMs;
  }

  /**
   * Call it when an older version may have been released: what only it has kept comes back without a run. Never rejects.
   */
  async versionReleased(): Promise<void> {
    if (this.#isStopped || !this.#parts.checkpointer.released.hasAny) return;
    this.#isReleaseDue = true;
    // A run does it with its checkpoint. It may have done so already, so the rest is done behind it.
    if (this.#releasing === null && this.#mayGiveBack) this.#releasing = this.#giveBackReleased();
    await this.#releasing;
  }

  async #giveBackReleased(): Promise<void> {
    const { checkpointer, slots } = this.#parts;
    while (this.#isReleaseDue && this.#mayGiveBack) {
      this.#isReleaseDue = false;
      await checkpointer.released.giveBack();
      if (this.#mayGiveBack) await slots.punchExcess(checkpointer.uncoveredBytes === 0);
    }
    // In the step of the last look: who comes later begins anew.
    this.#releasing = null;
  }

  get #mayGiveBack(): boolean {
    return this.#working === null && !this.#isStopped;
  }

  /** Whether each run does a step of a compaction now. */
  get isCompacting(): boolean {
    return this.#compaction !== null;
  }

  /**
   * Does a compaction, a step in each run, until it is done or was aborted.
   *
   * @param report called when a step has ended
   * @throws AiokvError ERR_AIOKV_NO_SPACE if nothing can be moved; what else `checkpoint` throws
   */
  async compact(compaction: Compaction, report: () => void): Promise<void> {
    assert(this.#compaction === null, 'there is one compaction at a time');
    this.#compaction = compaction;
    try {
      while (!compaction.isDone && !compaction.isAborted) {
        await this.checkpoint();
        if (compaction.failure !== null) throw compaction.failure;
        report();
      }
    } finally {
      this.#compaction = null;
    }
  }

  /** See `StoreStatistics`. */
  get orderStatistics(): OrderStatistics {
    return this.#parts.order.statistics;
  }

  /** Call it when a scan has read records. */
  scanned(scan: Scan): void {
    const isScattered = this.#parts.order.meet(scan);
    if (isScattered && this.#working === null && this.#starvedBy === null && this.#parts.gate.writes === null)
      this.#look();
  }

  /** Settles when the run under way has ended, or finds no space. The store is about to be closed. */
  async settle(): Promise<void> {
    this.#parts.order.end();
    await this.#working;
  }

  /** @internal As `Checkpointer.verify`, when no run is under way. For tests. */
  async verify(): Promise<void> {
    while (this.#working !== null) await this.#working;
    if (this.#run === null && this.#parts.gate.writes === null) await this.#parts.checkpointer.verify();
  }

  /** MAINT-2. Never rejects. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#parts.order.end();
    this.#cancelIdle?.();
    const error = this.#parts.gate.writes ?? closed();
    this.#roomWaiters.failAll(error);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(error);
    await this.#working;
    await this.#releasing;
    this.#parts.index.close();
  }

  /** Starts what is due, unless it is under way. After a failure fails all waiters. */
  #look(): void {
    if (this.#parts.gate.writes !== null) this.#fail();
    else if (this.#isDue) this.#begin();
  }

  get #isDue(): boolean {
    const { index } = this.#parts;
    if (index.isMovingStage && this.#run === null) return false;
    return index.isFull || this.#isMuch || !this.#checkpointWaiters.isEmpty || this.#isOrderDue;
  }

  /** A compaction leaves nothing to be put in order. */
  get #isOrderDue(): boolean {
    return this.#compaction === null && this.#parts.order.isDue;
  }

  /** Whether much would have to be replayed, or much was written while there is much garbage. */
  get #isMuch(): boolean {
    const { checkpointer, cleaner } = this.#parts;
    return checkpointer.isDue || cleaner.plan.isDue(checkpointer.uncoveredBytes);
  }

  /** Moves the entries of a long batch to the memtable. Nothing is admitted meanwhile, and no run begins (INDEX-6). */
  async #moveStage(): Promise<void> {
    const { index, clock } = this.#parts;
    for (;;) {
      const untilMs = clock.nowMs() + SLICE_MS;
      index.moveStage(() => clock.nowMs() >= untilMs);
      if (!index.isMovingStage) break;
      await nextTurn();
      if (this.#isStopped) return;
    }
    this.#look();
    this.#roomWaiters.wakeAll();
  }

  /** Starts a run, or continues one that had no space. The memtable becomes immutable within the call. */
  #begin(): void {
    if (this.#isStopped || this.#working !== null) return;
    if (this.#run === null && this.#parts.index.isMovingStage) return;
    this.#starvedBy = null;
    this.#working = this.#work()
      .catch((error: unknown) => {
        this.#parts.gate.failIndex(error);
        this.#fail();
      })
      .finally(() => {
        this.#working = null;
        if (this.#isReleaseDue) void this.versionReleased();
        if (this.#starvedBy !== null) return;
        // Something may have become due meanwhile.
        this.#look();
        this.#roomWaiters.wakeAll();
      });
  }

  async #work(): Promise<void> {
    for (;;) {
      this.#run ??= this.#startRun();
      const run = this.#run;
      try {
        await this.#continue(run);
      } catch (error) {
        if (this.#parts.gate.writes !== null || run.hasFailed) throw error;
        this.#starve(error as Error);
        return;
      }
      if (this.#isStopped) return;
      this.#run = null;
      for (let waiter = this.#checkpointWaiters.peek(); waiter !== undefined; waiter = this.#checkpointWaiters.peek()) {
        if (waiter.through > run.sequence) break;
        waiter.resolve();
        this.#checkpointWaiters.shift();
      }
      if (!this.#isDue) return;
    }
  }

  /** MAINT-1. */
  #startRun(): Run {
    const { index, log, checkpointer } = this.#parts;
    const sequence = index.admittedThrough;
    const isPaced = index.isFull && !this.#isMuch && this.#compaction === null;
    checkpointer.begin(sequence);
    index.freeze();
    this.#roomWaiters.wakeAll();
    const logBytes = log.appendedBytes - this.#unreplayedBytes;
    return { sequence, logBytes, merge: null, packing: null, isMerged: false, isPaced, hasFailed: false };
  }

  /** Settles early if `stop` is called. */
  async #continue(run: Run): Promise<void> {
    const { index, checkpointer, slots } = this.#parts;
    await checkpointer.countOnce();
    const compaction = this.#compaction;
    // What everything is deleted of has nothing to be moved.
    if (run.merge === null && !index.mergeDeletesAll) await this.#clean(run);
    if (this.#isStopped) return;
    run.merge ??= index.startMerge();
    const { merge } = run;
    if (!run.isMerged) {
      if (!(await this.#inSlices(run, merge))) return;
      if (compaction?.isPacking === true) run.packing ??= index.startPacking();
      if (run.packing !== null && !(await this.#inSlices(run, run.packing))) return;
      await this.#unlessUnreadable(run, index.pager.loadRoot());
      if (this.#isStopped) return;
      index.endMerge();
      run.isMerged = true;
      this.#roomWaiters.wakeAll();
    }
    const isTidy = compaction?.isTidying === true;
    // Nothing is new: before the first write, there is not even a log to lead to.
    const isThrough = run.sequence === 0 || (checkpointer.isThrough(run.sequence) && !isTidy && run.packing === null);
    const isDropped = merge.isEmpty && isThrough;
    try {
      if (isDropped) checkpointer.drop(run.logBytes);
      else await checkpointer.commit(merge.counts, run.logBytes, isTidy);
    } finally {
      // A checkpoint makes room for them in memory.
      this.#parts.snapshots.keepWithin();
    }
    this.#parts.cleaner.endRun();
    compaction?.stepEnded();
    const isCompacted = compaction?.isDone === true;
    if (isCompacted || (compaction === null && this.#isCutDue)) await slots.shrink();
    // MAINT-5.
    this.#isCutDue = isCompacted || (this.#isCutDue && isDropped);
    if (compaction === null) await slots.punchExcess(index.admittedThrough === run.sequence);
    index.pager.makeRoom();
  }

  /** Lets work that changes the tree run to its end, and saves leaves behind it. False: `stop` was called. */
  async #inSlices(run: Run, work: Pick<Merge, 'run' | 'whenUnblocked'>): Promise<boolean> {
    const { index, checkpointer } = this.#parts;
    const isSpent = (): boolean => this.#budget.isSpent(Infinity);
    for (;;) {
      await nextTurn();
      await this.#letWritersPass(run);
      if (this.#isStopped) return false;
      const outcome = work.run(isSpent);
      await checkpointer.saveLeaves();
      if (this.#isStopped) return false;
      if (outcome === 'done') return true;
      if (outcome === 'blocked') {
        await this.#unlessUnreadable(run, work.whenUnblocked());
        if (this.#isStopped) return false;
      }
      index.pager.makeRoom();
      this.#roomWaiters.wakeAll();
    }
  }

  /** MAINT-6. */
  async #letWritersPass({ isPaced }: Run): Promise<void> {
    const { index } = this.#parts;
    const mayWait = (): boolean =>
      !this.#isStopped && this.#checkpointWaiters.isEmpty && this.#roomWaiters.isEmpty && !this.#isMuch;
    for (let turns = 0; turns < QUIET_TURNS && isPaced && index.isMergeAhead && mayWait(); turns++) {
      const { admittedThrough } = index;
      await nextTurn();
      if (index.admittedThrough !== admittedThrough) turns = 0;
    }
  }

  /** Gets back the space of what was replaced, before the merge; or does a step of a compaction, or one for scans. */
  async #clean(run: Run): Promise<void> {
    await nextTurn();
    const isStopped = (): boolean => {
      this.#roomWaiters.wakeAll();
      return this.#isStopped;
    };
    const { order, cleaner } = this.#parts;
    if (this.#isOrderDue && order.takesRun()) {
      // DEMAND-4. Nobody gets room by how far it has come.
      const isToLeave = (): boolean => this.#isStopped || !this.#roomWaiters.isEmpty;
      await this.#unlessUnreadable(run, order.run(run.sequence, isToLeave));
      return;
    }
    const worker = this.#compaction?.isCleaning === false ? this.#compaction : cleaner;
    await this.#unlessUnreadable(run, worker.run(run.sequence, isStopped));
  }

  async #unlessUnreadable(run: Run, work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      run.hasFailed = true;
      throw error;
    }
  }

  /** MAINT-3. */
  #starve(error: Error): void {
    this.#starvedBy = error;
    this.#roomWaiters.failAll(error);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(error);
  }

  /** Fails all waiters if the store takes no more writes. */
  #fail(): void {
    const { writes } = this.#parts.gate;
    if (writes === null) return;
    this.#roomWaiters.failAll(writes);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(writes);
  }

  /** Begins a run when nothing has been admitted for IDLE_MS. */
  #watchIdle(): void {
    if (this.#cancelIdle !== null || this.#isStopped) return;
    const { index, checkpointer, clock } = this.#parts;
    const seen = index.admittedThrough;
    this.#cancelIdle = clock.after(
      IDLE_MS,
      () => {
        this.#cancelIdle = null;
        if (index.admittedThrough !== seen) this.#watchIdle();
        else if (checkpointer.uncoveredBytes > 0 && this.#parts.gate.writes === null) this.#begin();
      },
      false,
    );
  }
}
