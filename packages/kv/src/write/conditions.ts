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
import { VersionSink } from '../read/results.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';

/** The sequence number of a record that may not be on the device yet. */
export function sequenceInMemory(log: LogWriter, fileOffset: number): number {
  const place = log.unwritten(fileOffset);
  assert(place !== null, 'asked for a record in memory');
  return sequenceOf(place.block.view, place.offset);
}

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
   * Reads the leaf of a key, which is held then, or the record that the key has now; its place stands for it until
   * another write takes it.
   *
   * @param heldPages gets the leaf, which the caller lets go of
   */
  async learn(group: Group, condition: Condition, heldPages: number[]): Promise<void> {
    const key = group.keyAt(condition.at);
    const outcome = this.#index.find(key, key.length, this.#entry);
    if (outcome === MISSING) return;
    if (outcome !== FOUND) {
      await this.#index.pager.hold([outcome]);
      heldPages.push(outcome);
      return;
    }
    const fileOffset = fileOffsetOf(this.#entry);
    const sink = new VersionSink(false);
    this.#reader.read(fileOffset, lengthOf(this.#entry), key, key.length, sink, 0);
    const found = await sink.promise;
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
    if (this.#log.unwritten(offset) !== null) return sequenceInMemory(this.#log, offset);
    return learned?.fileOffset === offset ? learned.version : null;
  }
}
