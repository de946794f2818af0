/**
 * Judges the conditions of a batch at the head of the write queue. Nothing else is admitted meanwhile, so the outcome
 * holds until the batch is admitted.
 *
 * ```
 *   in the call:           readAhead ─► current versions, all reads at once            (short batches)
 *   at the queue's head:   judge ─► look in memory, in slices ─► read what is not known, all at once ─► compare
 * ```
 *
 * COND-1. A condition is about the state before its batch.
 * COND-3. A key that is over when its condition is judged does not exist.
 * COND-2. A version that was read ahead counts only while the index still leads to the same place, and no slot was used
 *     again since (EPOCH-3): another record of the key may lie in just that place then.
 */
import { assert, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { ReadEpochs } from '../file/read-epochs.ts';
import { fileOffsetOf, isInline, lengthOf, sequenceOfWords } from '../format/index-entry.ts';
import { sequenceOf } from '../format/record.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { RecordReader, UnwrittenRecords } from '../read/record-reader.ts';
import { VersionsResult } from '../read/results.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';
import { conditionFailed } from './write-batch.ts';
import type { Condition, WriteBatch } from './write-batch.ts';

export interface ConditionsParts {
  readonly index: Pick<KeyIndex, 'expiry' | 'find' | 'findLater'>;
  readonly log: Pick<UnwrittenRecords, 'unwritten'>;
  readonly reader: Pick<RecordReader, 'read'>;
  readonly epochs: ReadEpochs;
  readonly budget: TurnBudget;
}

/** Version of a key that exists, where only that matters. */
const EXISTS = -1;

export class Conditions {
  readonly #parts: ConditionsParts;
  readonly #entry = new Entry();

  constructor(parts: ConditionsParts) {
    this.#parts = parts;
  }

  /** Looks up all conditions of a short batch. True if they can be judged without a read. */
  areKnown(batch: WriteBatch): boolean {
    return batch.conditions.every((condition) => this.#look(batch, condition));
  }

  /**
   * Reads the versions that `areKnown` did not find, so that the batch need not wait for them at the head of the queue.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  readAhead(batch: WriteBatch): Promise<void> {
    return this.#read(
      batch,
      batch.conditions.filter((condition) => condition.found === null),
    );
  }

  /**
   * Judges all conditions. Call it at the head of the queue.
   *
   * @throws AiokvError ERR_AIOKV_CONDITION_FAILED if one does not hold; ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if one cannot
   *   be read
   */
  async judge(batch: WriteBatch): Promise<void> {
    const { budget } = this.#parts;
    const unknown: Condition[] = [];
    for (const condition of batch.conditions) {
      if (!this.#look(batch, condition)) unknown.push(condition);
      if (budget.isSpent()) await nextTurn();
    }
    if (unknown.length > 0) await this.#read(batch, unknown);
    for (const condition of batch.conditions) {
      requireHeld(condition);
      if (budget.isSpent()) await nextTurn();
    }
  }

  /** As `judge`, in the step in which `areKnown` returned true. */
  requireKnown(batch: WriteBatch): void {
    for (const condition of batch.conditions) requireHeld(condition);
  }

  /** Sets `found` to the key's current version, if that is known without a read; returns whether it is. */
  #look(batch: WriteBatch, condition: Condition): boolean {
    const { index, log, epochs } = this.#parts;
    const key = batch.keyAt(condition.at);
    const outcome = index.find(key, key.length, this.#entry);
    condition.found = null;
    if (outcome === MISSING) condition.found = 0;
    else if (outcome === FOUND) {
      const fileOffset = fileOffsetOf(this.#entry);
      if (condition.version === 0) condition.found = EXISTS;
      else if (isInline(this.#entry)) condition.found = sequenceOfWords(this.#entry);
      // COND-2.
      else if (condition.read?.fileOffset === fileOffset && condition.read.epoch === epochs.current)
        condition.found = condition.read.version;
      else {
        const place = log.unwritten(fileOffset);
        if (place !== null) condition.found = sequenceOf(place.block.view, place.offset);
      }
    }
    return condition.found !== null;
  }

  /** Sets `found` to the current versions of the keys. */
  async #read(batch: WriteBatch, conditions: readonly Condition[]): Promise<void> {
    const { epochs } = this.#parts;
    // EPOCH-1, for all lookups at once, those that wait for a leaf too.
    const epoch = epochs.enter();
    try {
      await this.#readIn(epoch, batch, conditions);
    } finally {
      epochs.leave(epoch);
    }
  }

  /** As `#read`, with all reads in flight at once. Ends when all of them have ended. */
  async #readIn(epoch: number, batch: WriteBatch, conditions: readonly Condition[]): Promise<void> {
    const { index, reader, budget } = this.#parts;
    const result = new VersionsResult(conditions.length);
    const places = new Float64Array(conditions.length);
    for (const [i, condition] of conditions.entries()) {
      const key = batch.keyAt(condition.at);
      const tell = (entry: Entry): void => {
        if (condition.version === 0) result.exists(i, EXISTS);
        else if (isInline(entry)) result.exists(i, sequenceOfWords(entry));
        else {
          const fileOffset = fileOffsetOf(entry);
          places[i] = fileOffset;
          reader.read(fileOffset, lengthOf(entry), key, key.length, result, i);
        }
      };
      const outcome = index.find(key, key.length, this.#entry);
      if (outcome === MISSING) result.missing();
      else if (outcome === FOUND) tell(this.#entry);
      else {
        const late = {
          key,
          foundLate: tell,
          missingLate: () => result.missing(),
          failedLate: (error: Error) => result.failed(i, error),
        };
        index.findLater(outcome, late, index.expiry.momentMs);
      }
      if (budget.isSpent()) await nextTurn();
    }
    const versions = await result.promise;
    for (const [i, condition] of conditions.entries()) {
      const [fileOffset, version] = [places[i] as number, versions[i] as number];
      condition.found = version;
      if (fileOffset > 0) condition.read = { fileOffset, version, epoch };
    }
  }
}

function requireHeld({ version, found }: Condition): void {
  assert(found !== null, 'all versions are known when conditions are judged');
  if (found !== version) throw conditionFailed(version, found);
}
