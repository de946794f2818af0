/**
 * The background work of a store: merges of full memtables, and checkpoints between them. It is the one owner of both,
 * and asks downwards when it is time.
 *
 * ```
 *   memtable full, or a checkpoint asked for ─► merge ─► the tree is exact at sequence S ─► checkpoint due? ─► write it
 *            ▲                                                                                                   │
 *            └── admitted ── the next memtable is merged while a checkpoint is written, unless memory is short ◄─┘
 * ```
 *
 * MAINT-1. A checkpoint begins only where the tree is what the first S writes have left behind, and nothing is merged.
 *     S, and the bytes of the log that it covers, are those of the moment at which the memtable became immutable.
 * MAINT-2. After `stop` nothing begins any more. It settles when what was under way has ended.
 *
 * Who wakes whom:
 * ```
 *   waits for          woken by                                 merge fails   log fails                  stop
 *   room (memtable)    a merge that begins or ends,             fail          fail when what is under    fail
 *                      the end of a checkpoint                                way has ended
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

/** Who waits for a checkpoint of what was written before the call. */
interface CheckpointWaiter extends Waiter {
  readonly through: Sequence;
}

/** A moment of the log at which a memtable ended. */
interface LogMoment {
  readonly sequence: Sequence;
  readonly logBytes: number;
}

export class Maintenance {
  readonly #parts: MaintenanceParts;
  readonly #roomWaiters = new Waiters();
  /** In the order of their sequences. */
  readonly #checkpointWaiters = new Fifo<CheckpointWaiter>();
  #working: Promise<void> | null = null;
  #checkpoint: Promise<void> | null = null;
  /** The tree should become exact, even if the memtable is not full. */
  #isExactWanted = false;
  #isStopped = false;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
  }

  /** Begins with what an opening has left to do. */
  start(): void {
    // What was replayed may fill the memory.
    this.#isExactWanted = this.#parts.checkpointer.isMemoryShort;
    this.#look();
  }

  /** Must be called in the step in which the last entry of a batch was admitted. */
  admitted(through: Sequence): void {
    const { index } = this.#parts;
    index.admitted(through);
    if (index.isFull) this.#look();
  }

  /** As `admitted`, for the entries of a long batch, which become visible in this call. No merge may be under way. */
  admitStaged(stage: Tree, through: Sequence): void {
    const { index } = this.#parts;
    if (index.memtableSize > 0) this.#begin();
    index.useStage(stage);
    this.admitted(through);
  }

  /** Whether a memtable is being merged; `whenRoom` is woken when that ends. */
  get isMerging(): boolean {
    return this.#working !== null;
  }

  /** Whether `count` more entries may be admitted now. */
  hasRoomFor(count: number): boolean {
    const { index } = this.#parts;
    return index.hasRoomFor(count) || (!index.isMerging && this.#mayMerge);
  }

  /**
   * Settles when there may be room. Ask `hasRoomFor` again: everything may have changed.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED
   */
  whenRoom(): Promise<void> {
    const { writes } = this.#parts.gate;
    return writes === null ? this.#roomWaiters.wait() : Promise.reject(writes);
  }

  /**
   * Writes a checkpoint of what was written so far. Settles when it is durable.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; SystemCallError: the one before it stands
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

  /** Not while a checkpoint is written and memory is short: what changes could not leave it. */
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

  /** Begins what is due, unless it is under way. After a failure nothing will be: whoever waits is told. */
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
        // Something may have become due since it was looked at last.
        this.#look();
        this.#roomWaiters.wakeAll();
      });
  }

  /** Runs up to its first wait in the step of the call: the memtable is immutable then. */
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
    // Before the first write there is nothing that a checkpoint could hold, nor a log that it could lead to.
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

  /** Nothing is merged or written any more; everyone who waits is told. */
  #fail(): void {
    const { writes } = this.#parts.gate;
    if (writes === null) return;
    this.#roomWaiters.failAll(writes);
    for (const waiter of this.#checkpointWaiters.drain()) waiter.reject(writes);
  }
}
