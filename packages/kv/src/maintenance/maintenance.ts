/**
 * The background work of a store: merges full memtables, and writes checkpoints in between. It alone starts both.
 *
 * ```
 *   memtable full, or checkpoint requested ─► merge ─► the tree is exact at sequence S ─► checkpoint due? ─► write it
 *            ▲                                                                                                 │
 *            └── admitted ── the next memtable is merged while a checkpoint is written, unless memory is short ◄┘
 * ```
 *
 * MAINT-1. A checkpoint begins only when the tree holds exactly the first S writes and no merge is under way. S, and
 *     the log bytes that the checkpoint covers, are taken when the memtable becomes immutable.
 * MAINT-2. After `stop` nothing begins. It settles when everything under way has ended.
 *
 * Who wakes whom:
 * ```
 *   waits for          woken by                                 merge fails   log fails                  stop
 *   room (memtable)    a merge that begins or ends,             fail          fail, when the work        fail
 *                      the end of a checkpoint                                under way has ended
 *   a checkpoint       its end; fails with it                   fail          the same                   fail
 * ```
 */
import { Fifo, Waiters } from '@aiokv/core';
import type { Sequence, Waiter } from '@aiokv/core';
import type { Checkpointer } from '../checkpoint/checkpointer.ts';
import { closed } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LogWriter } from '../log/writer.ts';
import type { Tree } from '../tree/index.ts';

export interface MaintenanceParts {
  readonly index: KeyIndex;
  readonly log: LogWriter;
  readonly checkpointer: Checkpointer;
  readonly gate: FailureGate;
}

/** Waits for a checkpoint that covers everything through a sequence. */
interface CheckpointWaiter extends Waiter {
  readonly through: Sequence;
}

/** The position of the log when a memtable became immutable (MAINT-1). */
interface LogMoment {
  readonly sequence: Sequence;
  readonly logBytes: number;
}

export class Maintenance {
  readonly #parts: MaintenanceParts;
  readonly #roomWaiters = new Waiters();
  /** In sequence order. */
  readonly #checkpointWaiters = new Fifo<CheckpointWaiter>();
  #working: Promise<void> | null = null;
  #checkpoint: Promise<void> | null = null;
  /** Merge even if the memtable is not full. */
  #isExactWanted = false;
  #isStopped = false;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
  }

  /** Starts the work that the opening has left over. */
  start(): void {
    // Replayed entries may fill the memory.
    this.#isExactWanted = this.#parts.checkpointer.isMemoryShort;
    this.#look();
  }

  /** Call it in the step that admits the last entry of a batch. */
  admitted(through: Sequence): void {
    const { index } = this.#parts;
    index.admitted(through);
    if (index.isFull) this.#look();
  }

  /** As `admitted`, for a long batch: its entries become visible in this call. No merge may be under way. */
  admitStaged(stage: Tree, through: Sequence): void {
    const { index } = this.#parts;
    if (index.memtableSize > 0) this.#begin();
    index.useStage(stage);
    this.admitted(through);
  }

  /** Whether a merge is under way. Its end wakes `whenRoom`. */
  get isMerging(): boolean {
    return this.#working !== null;
  }

  /** Whether `count` more entries may be admitted now. */
  hasRoomFor(count: number): boolean {
    const { index } = this.#parts;
    return index.hasRoomFor(count) || (!index.isMerging && this.#mayMerge);
  }

  /**
   * Settles when there may be room. Call `hasRoomFor` again: everything may have changed.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED
   */
  whenRoom(): Promise<void> {
    const { writes } = this.#parts.gate;
    return writes === null ? this.#roomWaiters.wait() : Promise.reject(writes);
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

  /** Settles when no checkpoint is being written. */
  async settle(): Promise<void> {
    await this.#checkpoint;
  }

  /** MAINT-2. Never rejects. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#parts.index.close();
    const error = this.#parts.gate.writes ?? closed();
    this.#roomWaiters.failAll(error);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(error);
    await this.#working;
    await this.#checkpoint;
  }

  /** Not while a checkpoint is written and memory is short: pages changed by a merge could not be evicted. */
  get #mayMerge(): boolean {
    return this.#checkpoint === null || !this.#parts.checkpointer.isMemoryShort;
  }

  get #isMergeDue(): boolean {
    const { index } = this.#parts;
    return index.isFull && this.#mayMerge;
  }

  get #isCheckpointWanted(): boolean {
    return this.#checkpoint === null && (this.#isExactWanted || !this.#checkpointWaiters.isEmpty);
  }

  /** Starts what is due, unless it is under way. After a failure fails all waiters. */
  #look(): void {
    if (this.#parts.gate.writes !== null) this.#fail();
    else if (this.#isMergeDue || this.#isCheckpointWanted) this.#begin();
  }

  #begin(): void {
    if (this.#isStopped) return;
    this.#working ??= this.#work()
      .catch((error: unknown) => {
        this.#parts.gate.failIndex(error);
        this.#fail();
      })
      .finally(() => {
        this.#working = null;
        // Something may have become due meanwhile.
        this.#look();
        this.#roomWaiters.wakeAll();
      });
  }

  /** Makes the memtable immutable within the call, before its first wait. */
  async #work(): Promise<void> {
    const { index, log } = this.#parts;
    do {
      // MAINT-1.
      const moment = { sequence: index.admittedThrough, logBytes: log.appendedBytes };
      this.#isExactWanted = false;
      if (index.memtableSize > 0) {
        const merged = index.merge();
        this.#roomWaiters.wakeAll();
        if (!(await merged)) return;
      }
      if (this.#isStopped) return;
      this.#writeCheckpointIfDue(moment);
      this.#roomWaiters.wakeAll();
    } while (this.#isMergeDue || this.#isCheckpointWanted);
  }

  #writeCheckpointIfDue({ sequence, logBytes }: LogMoment): void {
    const { checkpointer, gate, index } = this.#parts;
    if (this.#checkpoint !== null) return;
    if (gate.log !== null) {
      this.#fail();
      return;
    }
    const served: CheckpointWaiter[] = [];
    for (let waiter = this.#checkpointWaiters.peek(); waiter !== undefined; waiter = this.#checkpointWaiters.peek()) {
      if (waiter.through > sequence) break;
      served.push(waiter);
      this.#checkpointWaiters.shift();
    }
    // Before the first write there is nothing to hold, and no log to lead to.
    if (sequence === 0) {
      for (const waiter of served) waiter.resolve();
      return;
    }
    if (served.length === 0 && !checkpointer.isDue) return;
    this.#checkpoint = checkpointer
      .write(sequence, logBytes)
      .then(
        () => {
          for (const waiter of served) waiter.resolve();
        },
        (error: unknown) => {
          for (const waiter of served) waiter.reject(error as Error);
        },
      )
      .finally(() => {
        this.#checkpoint = null;
        index.pager.makeRoom();
        this.#look();
        this.#roomWaiters.wakeAll();
      });
  }

  /** Fails all waiters if the store takes no more writes. */
  #fail(): void {
    const { writes } = this.#parts.gate;
    if (writes === null) return;
    this.#roomWaiters.failAll(writes);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(writes);
  }
}
