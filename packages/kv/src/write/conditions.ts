/**
 * The conditions of a batch. They are judged at the head of the write queue, where nothing else is admitted: what is
 * found there holds until the batch is admitted.
 *
 * ```
 *   at the call:            readAhead ─► versions as they are now, all reads at once        (short batches)
 *   at the head of queue:   judge ─► look in memory, in slices ─► read what is not known, all at once ─► compare
 * ```
 *
 * COND-1. A condition is about the state before its batch.
 * COND-2. What was read ahead counts only while the index still leads to the same record.
 */
import { assert, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { fileOffsetOf, lengthOf } from '../format/index-entry.ts';
import { sequenceOf } from '../format/record.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { RecordReader, UnwrittenRecords } from '../read/record-reader.ts';
import { VersionsResult } from '../read/results.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';
import { conditionFailed } from './write-batch.ts';
import type { Condition, WriteBatch } from './write-batch.ts';

export interface ConditionsParts {
  readonly index: Pick<KeyIndex, 'find' | 'findLater'>;
  readonly log: Pick<UnwrittenRecords, 'unwritten'>;
  readonly reader: Pick<RecordReader, 'read'>;
  readonly budget: TurnBudget;
}

/** Stands for the version of a key of which it is enough to know that it exists. */
const EXISTS = -1;

export class Conditions {
  readonly #parts: ConditionsParts;
  readonly #entry = new Entry();

  constructor(parts: ConditionsParts) {
    this.#parts = parts;
  }

  /** Whether all conditions of a short batch can be judged without a read; they are looked up then. */
  areKnown(batch: WriteBatch): boolean {
    return batch.conditions.every((condition) => this.#look(batch, condition));
  }

  /**
   * Reads the versions of what is not known, so that the batch need not wait for them at the head of the queue.
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
   * At the head of the queue.
   *
   * @throws AiokvError ERR_AIOKV_CONDITION_FAILED when one does not hold; ERR_AIOKV_CORRUPT, ERR_AIOKV_IO when that
   *   cannot be known
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

  /** As `judge`, right after `areKnown` said yes. */
  requireKnown(batch: WriteBatch): void {
    for (const condition of batch.conditions) requireHeld(condition);
  }

  /** Whether the version that the key has now is known; sets `found`. */
  #look(batch: WriteBatch, condition: Condition): boolean {
    const { index, log } = this.#parts;
    const key = batch.keyAt(condition.at);
    const outcome = index.find(key, key.length, this.#entry);
    condition.found = null;
    if (outcome === MISSING) condition.found = 0;
    else if (outcome === FOUND) {
      const fileOffset = fileOffsetOf(this.#entry);
      // COND-2.
      if (condition.version === 0) condition.found = EXISTS;
      else if (condition.read?.fileOffset === fileOffset) condition.found = condition.read.version;
      else {
        const place = log.unwritten(fileOffset);
        if (place !== null) condition.found = sequenceOf(place.block.view, place.offset);
      }
    }
    return condition.found !== null;
  }

  /** Sets `found` of conditions to what their keys have now; all reads are under way at once. */
  async #read(batch: WriteBatch, conditions: readonly Condition[]): Promise<void> {
    const { index, reader, budget } = this.#parts;
    const result = new VersionsResult(conditions.length);
    const places = new Float64Array(conditions.length);
    for (const [i, condition] of conditions.entries()) {
      const key = batch.keyAt(condition.at);
      const tell = (entry: Entry): void => {
        if (condition.version === 0) result.exists(i, EXISTS);
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
        index.findLater(outcome, key, {
          foundLate: tell,
          missingLate: () => result.missing(),
          failedLate: (error) => result.failed(i, error),
        });
      }
      if (budget.isSpent()) await nextTurn();
    }
    const versions = await result.promise;
    for (const [i, condition] of conditions.entries()) {
      const [fileOffset, version] = [places[i] as number, versions[i] as number];
      condition.found = version;
      if (fileOffset > 0) condition.read = { fileOffset, version };
    }
  }
}

function requireHeld({ version, found }: Condition): void {
  assert(found !== null, 'conditions are judged when all versions are known');
  if (found !== version) throw conditionFailed(version, found);
}
