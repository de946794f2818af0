/**
 * The background work of a store: merges full memtables into the tree, and completes each merge to a checkpoint. It
 * alone starts both.
 *
 * ```
 *              begin                 all entries merged             durable
 *   (nothing) ──────► merging, saving ─────────────────► committing ───────► (nothing), or the next one
 *                        │    ▲                            │    ▲
 *                no space▼    │ somebody needs room   ─────▼    │
 *                        starved: what waits gets the error; the run goes on from where it was
 * ```
 *
 * A run begins when the memtable is full, when an opening would have to replay `checkpointBytes`, when somebody asks for
 * a checkpoint, and when nothing was written for some seconds.
 *
 * MAINT-1. A run takes the tree to exactly the first S writes. S, and the log bytes that the checkpoint covers, are taken
 *     when the memtable becomes immutable.
 * MAINT-2. After `stop` nothing begins. It settles when everything under way has ended.
 * MAINT-3. There is one run at a time. One that finds no space is continued, never given up: the tree is half merged.
 *
 * Who wakes whom:
 * ```
 *   waits for          woken by                              no space   merge fails   log fails             stop
 *   room (memtable)    a run that begins, a slice of a       fail       fail          fail, when the work   fail
 *                      merge, the end of a run                                        under way has ended
 *   a checkpoint       the end of a run that covers it       fail       fail          the same              fail
 * ```
 */
import { Fifo, Waiters, nextTurn } from '@aiokv/core';
import type { Clock, Sequence, Waiter } from '@aiokv/core';
import type { Checkpointer } from '../checkpoint/checkpointer.ts';
import { closed } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { Merge } from '../index/merge.ts';
import type { LogWriter } from '../log/writer.ts';
import type { Tree } from '../tree/index.ts';

export interface MaintenanceParts {
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly checkpointer: Checkpointer;
  readonly gate: FailureGate;
  readonly clock: Clock;
}

/** Time that a merge takes of each turn of the event loop. */
const SLICE_MS = 0.5;
/** A run begins when nothing was written for so long. */
const IDLE_MS = 5000;

/** Waits for a checkpoint that covers everything through a sequence. */
interface CheckpointWaiter extends Waiter {
  readonly through: Sequence;
}

/** A merge with its checkpoint. */
interface Run {
  /** The position of the log when the memtable became immutable (MAINT-1). */
  readonly sequence: Sequence;
  readonly logBytes: number;
  readonly merge: Merge;
  isMerged: boolean;
  /** A leaf cannot be read: the run cannot go on. */
  hasFailed: boolean;
}

export class Maintenance {
  readonly #parts: MaintenanceParts;
  readonly #roomWaiters = new Waiters();
  /** In sequence order. */
  readonly #checkpointWaiters = new Fifo<CheckpointWaiter>();
  #run: Run | null = null;
  #working: Promise<void> | null = null;
  /** Why the run does not go on: there is no space for its pages. */
  #starvedBy: Error | null = null;
  #cancelIdle: (() => void) | null = null;
  #isStopped = false;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
  }

  /** Starts the work that the opening has left over. */
  start(): void {
    this.#look();
    if (this.#parts.checkpointer.uncoveredBytes > 0) this.#watchIdle();
  }

  /** Call it in the step that admits the last entry of a batch. */
  admitted(through: Sequence): void {
    const { index, checkpointer } = this.#parts;
    index.admitted(through);
    this.#watchIdle();
    if (this.#working === null && this.#starvedBy === null && (index.isFull || checkpointer.isDue)) this.#look();
  }

  /** As `admitted`, for a long batch: its entries become visible in this call. Requires `canTakeStage`. */
  admitStaged(stage: Tree, through: Sequence): void {
    const { index } = this.#parts;
    if (index.memtableSize > 0) this.#begin();
    index.useStage(stage);
    this.admitted(through);
  }

  /** Whether `admitStaged` may be called. `whenRoom` waits for it. */
  get canTakeStage(): boolean {
    return this.#parts.index.memtableSize === 0 || this.#run === null;
  }

  /** Whether more entries may be admitted now. */
  get hasRoom(): boolean {
    return this.#parts.index.hasRoom;
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

  /** Settles when the run under way has ended, or finds no space. */
  async settle(): Promise<void> {
    await this.#working;
  }

  /** MAINT-2. Never rejects. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelIdle?.();
    const error = this.#parts.gate.writes ?? closed();
    this.#roomWaiters.failAll(error);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(error);
    await this.#working;
    this.#parts.index.close();
  }

  /** Starts what is due, unless it is under way. After a failure fails all waiters. */
  #look(): void {
    if (this.#parts.gate.writes !== null) this.#fail();
    else if (this.#isDue) this.#begin();
  }

  get #isDue(): boolean {
    const { index, checkpointer } = this.#parts;
    return index.isFull || checkpointer.isDue || !this.#checkpointWaiters.isEmpty;
  }

  /** Starts a run, or continues one that had no space. The memtable becomes immutable within the call. */
  #begin(): void {
    if (this.#isStopped || this.#working !== null) return;
    this.#starvedBy = null;
    this.#working = this.#work()
      .catch((error: unknown) => {
        this.#parts.gate.failIndex(error);
        this.#fail();
      })
      .finally(() => {
        this.#working = null;
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
    checkpointer.begin(sequence);
    const merge = index.startMerge();
    this.#roomWaiters.wakeAll();
    return { sequence, logBytes: log.appendedBytes, merge, isMerged: false, hasFailed: false };
  }

  /** Settles early if `stop` is called. */
  async #continue(run: Run): Promise<void> {
    const { index, checkpointer, clock } = this.#parts;
    while (!run.isMerged) {
      await nextTurn();
      if (this.#isStopped) return;
      const untilMs = clock.nowMs() + SLICE_MS;
      const outcome = run.merge.run(() => clock.nowMs() >= untilMs);
      await checkpointer.saveLeaves();
      if (this.#isStopped) return;
      if (outcome === 'done') {
        index.endMerge();
        run.isMerged = true;
      } else if (outcome === 'blocked') {
        await this.#unblock(run);
        if (this.#isStopped) return;
      }
      index.pager.makeRoom();
      this.#roomWaiters.wakeAll();
    }
    // Before the first write there is nothing to hold, and no log to lead to.
    if (run.sequence === 0) checkpointer.drop();
    else await checkpointer.commit(run.logBytes);
    index.pager.makeRoom();
  }

  async #unblock(run: Run): Promise<void> {
    try {
      await run.merge.whenUnblocked();
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
