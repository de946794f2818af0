/**
 * What the conditions of a group need to be judged in the step of its admission: the versions of its keys, which are
 * in the index and in records, and may have to be read before.
 *
 * ```
 *   unknownOf ─► a condition ─► learn: its leaf comes into memory, or its record is read ─► unknownOf ─► …
 *       └─ null: all versions are known ─► require                                  (in one step)
 * ```
 */
import { assert } from '@aiokv/core';
import { sequenceOf } from '../format/record.ts';
import { conditionFailed } from './write-batch.ts';
import type { Condition, Group } from './write-batch.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { fileOffsetOf, lengthOf } from '../format/index-entry.ts';
import type { LogWriter } from '../log/writer.ts';
import type { RecordReader } from '../read/record-reader.ts';
import { VersionedResult } from '../read/results.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';
import type { AbsentLeaf } from '../tree/index.ts';

export class Conditions {
  readonly #index: KeyIndex;
  readonly #log: LogWriter;
  readonly #reader: RecordReader;
  readonly #entry = new Entry();

  constructor(index: KeyIndex, log: LogWriter, reader: RecordReader) {
    this.#index = index;
    this.#log = log;
    this.#reader = reader;
  }

  /** The first condition that cannot be judged without a read, or null. */
  unknownOf(group: Group): Condition | null {
    return group.conditions.find((condition) => this.#versionOf(group, condition) === null) ?? null;
  }

  /** @throws AiokvError ERR_AIOKV_CONDITION_FAILED when one does not hold; all versions must be known */
  require(group: Group): void {
    for (const condition of group.conditions) {
      const found = this.#versionOf(group, condition);
      assert(found !== null, 'conditions are judged when all versions are known');
      if (found !== condition.version) throw conditionFailed(condition.version, found);
    }
  }

  /**
   * Reads the leaf of a key, which is pinned then, or the record that the key has now; its place stands for it until
   * another write takes it.
   *
   * @param pinned gets the leaf, which the caller unpins
   */
  async learn(group: Group, condition: Condition, pinned: AbsentLeaf[]): Promise<void> {
    const key = group.keyAt(condition.at);
    const outcome = this.#index.find(key, key.length, this.#entry);
    if (outcome === MISSING) return;
    if (outcome !== FOUND) {
      await this.#index.pin(outcome);
      pinned.push(outcome);
      return;
    }
    const fileOffset = fileOffsetOf(this.#entry);
    const result = new VersionedResult(false);
    this.#reader.read(fileOffset, lengthOf(this.#entry), key, key.length, result, 0);
    const found = await result.promise;
    if (found !== undefined) condition.learned = { fileOffset, version: found.version };
  }

  /** The version of the key of a condition as it is now, 0 when it does not exist, null when it has to be read. */
  #versionOf(group: Group, { at, version, learned }: Condition): number | null {
    const key = group.keyAt(at);
    const outcome = this.#index.find(key, key.length, this.#entry);
    if (outcome === MISSING) return 0;
    if (outcome !== FOUND) return null;
    // That it exists is enough to know.
    if (version === 0) return -1;
    const offset = fileOffsetOf(this.#entry);
    const place = this.#log.unwritten(offset);
    if (place !== null) return sequenceOf(place.block.view, place.offset);
    return learned?.fileOffset === offset ? learned.version : null;
  }
}
