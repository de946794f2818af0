/**
 * Judges the reads of a transaction when it commits: whether anything that it has read was written since it began.
 *
 * ```
 *   in the call:           holdsNow ─► written already? ─► refused at once
 *                                  ─► not yet, and nobody waits ─► admitted in this step
 *   at the queue's head:   judge, in slices: nothing else is admitted meanwhile
 * ```
 *
 * READS-1. Between the judgement and the admission of the batch nothing else is admitted. So the transaction is as if it had run,
 *     as a whole, in the step of its admission.
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { conflict } from '../failure/errors.ts';
import type { CommitHistory, OpenTransaction } from '../index/commit-history.ts';
import type { ReadSet } from '../index/read-set.ts';

export class ReadCheck {
  readonly #history: CommitHistory;
  readonly #reads: ReadSet;
  readonly #transaction: OpenTransaction;

  constructor(history: CommitHistory, reads: ReadSet, transaction: OpenTransaction) {
    this.#history = history;
    this.#reads = reads;
    this.#transaction = transaction;
  }

  /**
   * Whether nothing was written so far; false: it takes too long to say.
   *
   * @throws AiokvError ERR_AIOKV_CONFLICT
   */
  holdsNow(): boolean {
    const { done, value } = this.#reads.isWritten(this.#history, this.#transaction.sequence).next();
    if (value === true) throw conflict();
    return done === true;
  }

  /**
   * READS-1. Call it at the head of the write queue.
   *
   * @throws AiokvError ERR_AIOKV_CONFLICT
   */
  async judge(budget: TurnBudget): Promise<void> {
    const steps = this.#reads.isWritten(this.#history, this.#transaction.sequence);
    for (;;) {
      const { done, value } = steps.next();
      if (value === true) throw conflict();
      if (done === true) return;
      if (budget.isSpent(Infinity)) await nextTurn();
    }
  }

  /** It was judged: nobody else's writes have to be noted for it, nor its own. */
  end(): void {
    this.#history.end(this.#transaction);
  }
}
