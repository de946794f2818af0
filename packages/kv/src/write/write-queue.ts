/**
 * How writes come to their admission: at once where there is room and nobody waits, else in a line.
 *
 * ```
 *   write, batch ─► room, and nobody waits? ─ yes ─────────────────────────────► admitted ─► log.durable ─► acknowledged
 *                       └─ no, or it is long ─► line ─► its turn ─► room? ─ yes ──┘
 *                                                                    └─ no: waits for it; refused where there is none
 * ```
 *
 * A2. Writes are admitted in the order in which they were called.
 *
 * What is wrong with an operation was found before (A3 of store.ts), or is found by `encodeGroup`.
 */
import { admit, admitInSlices } from './apply.ts';
import type { AdmissionParts } from './apply.ts';
import type { Conditions } from './conditions.ts';
import { maxRecordBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes, recordBytes } from '../format/record.ts';
import { Group, encodeGroup, requireValueFits } from './write-batch.ts';
import type { BatchOperation, GroupLimits } from './write-batch.ts';
import type { Durability } from '../log/writer.ts';
import type { SlotUse } from '../file/slots.ts';
import type { AbsentLeaf } from '../tree/index.ts';
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';

export interface WriteLineParts extends AdmissionParts {
  readonly conditions: Conditions;
  readonly limits: GroupLimits;
  readonly budget: TurnBudget;
  /** Throws when the store is closed. */
  requireOpen(): void;
}

const DONE = Promise.resolve();

export class WriteLine {
  readonly #parts: WriteLineParts;
  readonly #mostRecordBytes: number;
  /** The last write that waits, and how many do. */
  #line: Promise<unknown> = DONE;
  #lineLength = 0;

  constructor(parts: WriteLineParts) {
    this.#parts = parts;
    this.#mostRecordBytes = maxRecordBytes(parts.geometry);
  }

  /** Settles, and never rejects, when every write that was called before is admitted or refused. */
  get settled(): Promise<unknown> {
    return this.#line;
  }

  /** A batch, with conditions or without; settles as `Store.batch` does, and throws what is wrong with the call. */
  batch(operations: readonly BatchOperation[], level: Durability): Promise<void> {
    const { budget, key, limits } = this.#parts;
    budget.begin();
    const group = encodeGroup(operations, key, limits);
    if (group.conditions.length > 0) return this.#writeIf(group, level);
    if (group.kinds.length === 0) return this.#acknowledge(level);
    return this.#enter(group, level);
  }

  /** A put or a deletion without a condition; its key is in the scratch. */
  write(kind: RecordKind, keyBytes: number, value: Uint8Array, level: Durability): Promise<void> {
    const { log, index, key, limits } = this.#parts;
    const padded = paddedRecordBytes(keyBytes, value.length);
    const isOneRecord = padded <= this.#mostRecordBytes;
    if (isOneRecord && this.#lineLength === 0 && log.hasRoomFor(padded, useOf(kind)) && index.hasRoomFor(1)) {
      const offset = log.append(kind, 0, key, keyBytes, value);
      if (kind === RecordKind.put) index.admitPut(key, keyBytes, offset, recordBytes(keyBytes, value.length));
      else index.admitDelete(key, keyBytes);
      index.admitted(log.appendedThrough);
      return this.#acknowledge(level);
    }
    requireValueFits(value, limits);
    const group = new Group(limits);
    group.add(kind, key, keyBytes, value);
    return this.#enter(group, level);
  }

  /** Admits a group without conditions, at once or in its turn. */
  #enter(group: Group, level: Durability): Promise<void> {
    if (!this.#hasRoom(group)) return this.#standInLine(group, level);
    admit(this.#parts, group);
    group.release();
    return this.#acknowledgeGroup(group, level);
  }

  #hasRoom(group: Group): boolean {
    const { log, index } = this.#parts;
    if (group.isLong || this.#lineLength > 0) return false;
    return log.hasRoom(group.paddedSizes, useOfAll(group.kinds)) && index.hasRoomFor(group.kinds.length);
  }

  /** Admits a group if its conditions hold at that moment; what has to be read to know is read before. */
  async #writeIf(group: Group, level: Durability): Promise<void> {
    const { conditions, index } = this.#parts;
    const pinned: AbsentLeaf[] = [];
    try {
      for (;;) {
        const unknown = conditions.unknownOf(group);
        if (unknown !== null) {
          group.own();
          await conditions.learn(group, unknown, pinned);
          this.#parts.requireOpen();
        } else if (this.#hasRoom(group)) {
          conditions.require(group);
          admit(this.#parts, group);
          break;
        } else if (await this.#standInLineIf(group)) break;
      }
    } finally {
      index.unpin(pinned);
      group.release();
    }
    return this.#acknowledgeGroup(group, level);
  }

  /** A2. Waits behind the writes that wait already, then for room. */
  async #standInLine(group: Group, level: Durability): Promise<void> {
    try {
      await this.#admitInTurn(group, () => true);
    } finally {
      group.release();
    }
    return this.#acknowledgeGroup(group, level);
  }

  /** As that, for a group with conditions; false when one of them could not be judged any more when its turn came. */
  #standInLineIf(group: Group): Promise<boolean> {
    const { conditions } = this.#parts;
    return this.#admitInTurn(group, () => {
      if (conditions.unknownOf(group) !== null) return false;
      conditions.require(group);
      return true;
    });
  }

  /** @param mayAdmit asked in the step of the admission */
  #admitInTurn(group: Group, mayAdmit: () => boolean): Promise<boolean> {
    const { log, index, budget } = this.#parts;
    const use = useOfAll(group.kinds);
    const since = log.growths;
    group.own();
    this.#lineLength++;
    const admitted = this.#line.then(async () => {
      try {
        if (group.isLong) {
          // The copy was made in this one.
          await nextTurn();
          return await admitInSlices(this.#parts, group, { use, since }, mayAdmit);
        }
        for (;;) {
          if (!log.hasRoom(group.paddedSizes, use)) await log.whenRoom(group.paddedSizes, use, since);
          else if (!index.hasRoomFor(group.kinds.length)) await index.whenRoom();
          else break;
        }
        if (log.latched !== null) throw log.latched;
        if (!mayAdmit()) return false;
        admit(this.#parts, group);
        return true;
      } catch (error) {
        // Many may be refused one behind the other.
        if (budget.isSpent()) await nextTurn();
        throw error;
      } finally {
        this.#lineLength--;
      }
    });
    // Whoever stands behind waits for the admission only, not for the device.
    this.#line = admitted.catch(() => undefined);
    return admitted;
  }

  #acknowledgeGroup(group: Group, level: Durability): Promise<void> {
    const operations = group.kinds.length;
    // The last slice of a long one was in this turn, and whoever is told may call the next.
    if (group.isLong) return nextTurn().then(() => this.#acknowledge(level, operations));
    return this.#acknowledge(level, operations);
  }

  #acknowledge(level: Durability, operations = 1): Promise<void> {
    if (level !== 'buffered') return this.#parts.log.durable(level);
    return this.#parts.budget.isSpent(operations) ? nextTurn() : DONE;
  }
}

function useOf(kind: RecordKind): SlotUse {
  return kind === RecordKind.put ? 'put' : 'delete';
}

/** A batch of deletions alone is a deletion; see file/slots.ts. */
function useOfAll(kinds: readonly RecordKind[]): SlotUse {
  return kinds.includes(RecordKind.put) ? 'put' : 'delete';
}
