/**
 * The transactions of a store: begins them, and runs a function again when others were in its way.
 *
 * ```
 *   run ─► begin ─► body ─┬─ commit ─► done
 *            ▲            │      └─ conflict ─► wait a little ─┐     (backoff.ts)
 *            └────────────┼──── as often as is allowed ◄───────┘
 *                         └─ has thrown ─► rolled back
 * ```
 */
import { AiokvTypeError, instance, integer, resolveOptions } from '@aiokv/core';
import type { Clock, OptionShape, Random, TurnBudget } from '@aiokv/core';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Planted } from '../failure/planted.ts';
import { createKeyScratch } from '../format/keys.ts';
import type { CommitHistory } from '../index/commit-history.ts';
import { ReadSet } from '../index/read-set.ts';
import type { Durability } from '../log/writer.ts';
import { Snapshot } from '../read/snapshot.ts';
import type { SnapshotParts } from '../read/snapshot.ts';
import type { BatchLimits, WriteBatch } from '../write/write-batch.ts';
import type { WriteQueue } from '../write/write-queue.ts';
import { Backoff } from './backoff.ts';
import { OwnWrites } from './own-writes.ts';
import { Transaction } from './transaction.ts';
import type { TransactionHost } from './transaction.ts';

export interface BeginOptions {
  /** When the commit settles, as that of a write does. Default: the `durability` of the store. */
  durability: Durability | undefined;
}

export interface TransactionOptions extends BeginOptions {
  /** How often the function is run at most, 1 to 1000; default 30. When all runs had a conflict: ERR_AIOKV_CONFLICT. */
  maxAttempts: number;
}

/** What `Store.transaction` runs. It may be run more than once. */
export type TransactionBody<T> = (transaction: Transaction) => T | Promise<T>;

export interface TransactionStatistics {
  /** Transactions that were neither committed nor rolled back. */
  readonly open: number;
  /** Commits since the opening. */
  readonly committed: number;
  /** Commits that were refused since the opening, because others had written what the transaction had read. */
  readonly conflicts: number;
  /** Memory of what they have read, of the keys that they have written, and of the keys that others have written meanwhile. */
  readonly heldBytes: number;
}

interface TransactionsParts {
  readonly gate: FailureGate;
  readonly history: CommitHistory;
  readonly snapshots: SnapshotParts;
  readonly writes: WriteQueue;
  readonly limits: BatchLimits;
  readonly budget: TurnBudget;
  readonly clock: Clock;
  readonly random: Random;
  readonly durability: Durability;
  readonly planted: Planted;
}

/** Sets of ended transactions that are kept for the next ones: making them takes longer than a small transaction. */
const SPARE_MOST = 64;
/** Nodes that the end of a transaction frees at once; the rest follows. */
const RECLAIM_NODES = 64;
const DURABILITIES: readonly unknown[] = ['flushed', 'written', 'buffered'];

const beginShape: OptionShape<BeginOptions> = {
  durability: instance<Durability | undefined>("one of 'flushed', 'written', 'buffered'", undefined, (value) =>
    DURABILITIES.includes(value),
  ),
};
const runShape: OptionShape<TransactionOptions> = { ...beginShape, maxAttempts: integer(1, 1000, 30) };
const DEFAULTS = resolveOptions('transaction', runShape, undefined);

export class Transactions implements TransactionHost {
  readonly history: CommitHistory;
  readonly limits: BatchLimits;
  readonly budget: TurnBudget;
  readonly key = createKeyScratch();
  readonly #parts: TransactionsParts;
  readonly #backoff: Backoff;
  readonly #spareReads: ReadSet[] = [];
  readonly #spareWrites: OwnWrites[] = [];
  #open = 0;
  #committed = 0;
  #conflicts = 0;

  constructor(parts: TransactionsParts) {
    this.#parts = parts;
    this.history = parts.history;
    this.limits = parts.limits;
    this.budget = parts.budget;
    this.#backoff = new Backoff(parts.clock, parts.random);
  }

  get statistics(): TransactionStatistics {
    return {
      open: this.#open,
      committed: this.#committed,
      conflicts: this.#conflicts,
      heldBytes: this.history.bytes,
    };
  }

  /** @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION */
  begin(options: Partial<BeginOptions> | undefined): Transaction {
    return this.#begin(options === undefined ? DEFAULTS : resolveOptions('begin', beginShape, options));
  }

  async run<T>(body: TransactionBody<T>, options: Partial<TransactionOptions> | undefined): Promise<T> {
    const { gate } = this.#parts;
    if (typeof body !== 'function') {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        'transaction takes a function, which is given the transaction',
      );
    }
    const resolved = options === undefined ? DEFAULTS : resolveOptions('transaction', runShape, options);
    for (let attempt = 1; ; attempt++) {
      const transaction = this.#begin(resolved);
      try {
        const answer = await body(transaction);
        if (transaction.isOpen) await transaction.commit();
        return answer;
      } catch (error) {
        transaction.rollback();
        if (transaction.outcome !== 'conflict' || attempt >= resolved.maxAttempts) throw error;
      }
      await this.#backoff.wait(attempt);
      gate.requireOpen();
    }
  }

  #begin({ durability }: BeginOptions): Transaction {
    const { snapshots, planted } = this.#parts;
    const snapshot = new Snapshot(snapshots);
    const reads = this.#spareReads.pop() ?? new ReadSet(this.history.memory, planted);
    const writes = this.#spareWrites.pop() ?? new OwnWrites(this.history.memory);
    const level = durability ?? this.#parts.durability;
    const transaction = new Transaction(this, snapshot, reads, writes, level);
    this.history.begin(transaction);
    this.#open++;
    return transaction;
  }

  commit(batch: WriteBatch, level: Durability): Promise<void> {
    const { gate, writes } = this.#parts;
    gate.requireOpen();
    gate.requireWritable();
    return writes.commit(batch, level);
  }

  ended(transaction: Transaction, reads: ReadSet, writes: OwnWrites): void {
    this.history.end(transaction);
    this.#open--;
    if (transaction.outcome === 'committed') this.#committed++;
    else if (transaction.outcome === 'conflict') this.#conflicts++;
    reads.clear();
    writes.clear();
    this.history.memory.reclaimSome(RECLAIM_NODES);
    // What is not free yet would count as theirs.
    if (this.#spareReads.length >= SPARE_MOST || reads.bytes > 0 || writes.bytes > 0) return;
    this.#spareReads.push(reads);
    this.#spareWrites.push(writes);
  }
}
