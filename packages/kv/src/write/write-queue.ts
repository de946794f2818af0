/**
 * Admits a write at once if there is room and nobody waits; otherwise queues it in call order.
 *
 * ```
 *   put, del, batch ─► room, and the queue is empty? ─ yes ───────────────────────► admitted ─► log.whenDurable ─► acknowledged
 *                          └─ no, or it is long, or a version must be read ─► queue     ▲
 *                                                                               │ head  │
 *                                     conditions? ─► judge ─► room? ─ yes ──────┴───────┘
 *                                                               └─ no: wait for one thing, look at everything again
 * ```
 *
 * WQ-1. Writes are admitted in the order in which they were called.
 * WQ-2. After each wait the whole state is looked at again: whether the store has failed, frames, slots, memtable.
 * WQ-3. Admission is one synchronous step: sequence, bytes in the open frame, entry in the memtable. A read that is
 *     called after it sees it, a read called before does not.
 * WQ-4. A waiting write of one record costs some hundred bytes beside its key and value, and constant time.
 *
 * Who wakes the head of the queue:
 * ```
 *   waits for          woken by                        when the store fails          when it closes
 *   a growing file     the end of the growth           the same                      close waits for the queue
 *   a free frame       a frame that was written        log.fail                      the same
 *   the memtable       a merge that begins or ends     a merge or checkpoint ends    the same
 *   versions           the reads of its conditions     the same                      the same
 *   its next slice     the next turn of the loop       the same                      the same
 * ```
 * Those behind it are woken by it: whatever becomes of the head, the next write is looked at.
 *
 * What is wrong with an operation was found before, or is found by `encodeBatch`.
 */
import { Fifo, nextTurn } from '@aiokv/core';
import type { TurnBudget, Waiter } from '@aiokv/core';
import type { SlotUse } from '../file/slots.ts';
import { maxRecordBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes, recordBytes } from '../format/record.ts';
import type { Durability } from '../log/writer.ts';
import { Entry, MISSING } from '../tree/index.ts';
import { admit, admitInSlices } from './apply.ts';
import type { AdmissionParts } from './apply.ts';
import type { Conditions } from './conditions.ts';
import { PackedBytes } from './packed-bytes.ts';
import { NO_VALUE, WriteBatch, encodeBatch, requireValueFits } from './write-batch.ts';
import type { BatchLimits, BatchOperation } from './write-batch.ts';

export interface WriteQueueParts extends AdmissionParts {
  readonly conditions: Conditions;
  readonly limits: BatchLimits;
  readonly budget: TurnBudget;
}

/** Keys and values of records that wait, of many writes together; given back when the last of them was admitted. */
interface WaitingBytes {
  readonly packed: PackedBytes;
  /** Records in it so far, and those that were not admitted yet. */
  records: number;
  left: number;
}

const RECORDS_PER_WAITING_BYTES = 1024;

/** What stands in the queue: a record, a batch, or somebody who wants to know when all before it is through. */
interface QueuedWrite extends Waiter {
  readonly level: Durability;
  /** `LogWriter.growths` when it was called. */
  readonly since: number;
  readonly work: WaitingRecord | WaitingBatch | null;
}

interface WaitingRecord {
  readonly kind: RecordKind;
  readonly bytes: WaitingBytes;
  /** Its key is string `2 * at` of the bytes, its value the next. */
  readonly at: number;
}

interface WaitingBatch {
  readonly batch: WriteBatch;
  /** Settles when the versions for its conditions were read ahead. */
  readonly ahead: Promise<void> | null;
}

const DONE = Promise.resolve();

export class WriteQueue {
  readonly #parts: WriteQueueParts;
  readonly #mostRecordBytes: number;
  readonly #waiting = new Fifo<QueuedWrite>();
  #isRunning = false;
  #waitingBytes: WaitingBytes | null = null;
  readonly #entry = new Entry();

  constructor(parts: WriteQueueParts) {
    this.#parts = parts;
    this.#mostRecordBytes = maxRecordBytes(parts.geometry);
  }

  /** Settles, and never rejects, when every write that was called before is admitted or refused. */
  settled(): Promise<void> {
    if (this.#waiting.isEmpty) return DONE;
    return this.#enqueue(null, 'buffered');
  }

  /** A batch, with conditions or without; settles as `Store.batch` does, and throws what is wrong with the call. */
  batch(operations: readonly BatchOperation[], level: Durability): Promise<void> {
    const { budget, key, limits } = this.#parts;
    budget.begin();
    const batch = encodeBatch(operations, key, limits);
    return batch.kinds.length === 0 ? this.#acknowledge(level) : this.#admitOrQueue(batch, level);
  }

  /** A put or a deletion; its key is in the scratch. */
  write(kind: RecordKind, keyBytes: number, value: Uint8Array, level: Durability): Promise<void> {
    const { key, limits } = this.#parts;
    const padded = paddedRecordBytes(keyBytes, value.length);
    if (padded > this.#mostRecordBytes) {
      requireValueFits(value, limits);
      const batch = new WriteBatch(limits);
      batch.add(kind, key, keyBytes, value);
      return this.#admitOrQueue(batch, level);
    }
    if (this.#waiting.isEmpty && this.#hasRoomFor(padded, kind)) {
      this.#admitRecord(kind, keyBytes, value);
      return this.#acknowledge(level);
    }
    return this.#enqueue({ kind, ...this.#keep(keyBytes, value) }, level);
  }

  /** As `write`, if the key has this version at the moment of admission; 0: if it does not exist. */
  writeIf(version: number, kind: RecordKind, keyBytes: number, value: Uint8Array, level: Durability): Promise<void> {
    const { key, limits } = this.#parts;
    requireValueFits(value, limits);
    const batch = new WriteBatch(limits);
    batch.addCondition(version);
    batch.add(kind, key, keyBytes, value);
    return this.#admitOrQueue(batch, level);
  }

  #admitOrQueue(batch: WriteBatch, level: Durability): Promise<void> {
    const { conditions } = this.#parts;
    const hasConditions = batch.conditions.length > 0;
    const isKnown = !hasConditions || (!batch.isLong && conditions.areKnown(batch));
    if (isKnown && this.#waiting.isEmpty && !batch.isLong && this.#hasRoomForAll(batch)) {
      try {
        conditions.requireKnown(batch);
        admit(this.#parts, batch);
      } finally {
        batch.release();
      }
      return this.#acknowledge(level, batch.kinds.length);
    }
    batch.own();
    // A long batch reads at the head of the queue, when it is known what it has to read.
    const ahead = isKnown || batch.isLong ? null : conditions.readAhead(batch);
    // It is met when its turn comes.
    ahead?.catch(() => undefined);
    return this.#enqueue({ batch, ahead }, level);
  }

  #hasRoomFor(paddedBytes: number, kind: RecordKind): boolean {
    const { log, maintenance } = this.#parts;
    return log.hasRoomFor(paddedBytes, useOf(kind)) && maintenance.hasRoomFor(1);
  }

  #hasRoomForAll(batch: WriteBatch): boolean {
    const { log, maintenance } = this.#parts;
    return log.hasRoom(batch.paddedSizes, useOfAll(batch.kinds)) && maintenance.hasRoomFor(batch.kinds.length);
  }

  /** WQ-3. The key is in the scratch. */
  #admitRecord(kind: RecordKind, keyBytes: number, value: Uint8Array): void {
    const { log, index, maintenance, key } = this.#parts;
    if (kind === RecordKind.put) {
      const fileOffset = log.append(kind, 0, key, keyBytes, value);
      index.admitPut(key, keyBytes, fileOffset, recordBytes(keyBytes, value.length));
    } else {
      // What is known not to be there need not be deleted; whoever waits still waits for what was written before.
      if (index.find(key, keyBytes, this.#entry) === MISSING) return;
      log.append(kind, 0, key, keyBytes, value);
      index.admitDelete(key, keyBytes);
    }
    maintenance.admitted(log.appendedThrough);
  }

  #enqueue(work: QueuedWrite['work'], level: Durability): Promise<void> {
    const since = this.#parts.log.growths;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ level, since, work, resolve, reject });
      if (!this.#isRunning) void this.#run();
    });
  }

  /** BATCH-1, WQ-4. Copies the key in the scratch and a value. */
  #keep(keyBytes: number, value: Uint8Array): { readonly bytes: WaitingBytes; readonly at: number } {
    let bytes = this.#waitingBytes;
    if (bytes === null || bytes.records >= RECORDS_PER_WAITING_BYTES) {
      bytes = { packed: new PackedBytes(), records: 0, left: 0 };
      this.#waitingBytes = bytes;
    }
    bytes.packed.add(this.#parts.key, keyBytes);
    bytes.packed.add(value, value.length);
    bytes.left++;
    return { bytes, at: bytes.records++ };
  }

  #letGo(work: QueuedWrite['work']): void {
    if (work === null) return;
    if ('batch' in work) work.batch.release();
    else if (--work.bytes.left === 0) {
      work.bytes.packed.release();
      if (work.bytes === this.#waitingBytes) this.#waitingBytes = null;
    }
  }

  /** Admits what waits, one after another. Never rejects: each write hears for itself. */
  async #run(): Promise<void> {
    const { log, budget } = this.#parts;
    this.#isRunning = true;
    for (let write = this.#waiting.peek(); write !== undefined; write = this.#waiting.peek()) {
      try {
        const wait = this.#admitHead(write);
        if (wait !== null) await wait;
        log.whenDurable(write.level, write);
      } catch (error) {
        write.reject(error as Error);
      }
      this.#letGo(write.work);
      // Only now: until it is admitted nobody may pass.
      this.#waiting.shift();
      if (budget.isSpent()) await nextTurn();
    }
    this.#isRunning = false;
  }

  /** Admits the head of the queue; null when that is done. */
  #admitHead({ work, since }: QueuedWrite): Promise<void> | null {
    if (work === null) return null;
    if ('batch' in work) return this.#admitBatch(work, since);
    const { gate } = this.#parts;
    gate.requireWritable();
    if (!this.#hasRoomFor(paddedBytesOf(work), work.kind)) return this.#admitRecordLater(work, since);
    this.#admitWaiting(work);
    return null;
  }

  /** WQ-2. */
  async #admitRecordLater(record: WaitingRecord, since: number): Promise<void> {
    const { log, maintenance, gate } = this.#parts;
    const padded = paddedBytesOf(record);
    const use = useOf(record.kind);
    for (;;) {
      gate.requireWritable();
      if (!log.hasRoomFor(padded, use)) await log.whenRoom([padded], use, since);
      else if (!maintenance.hasRoomFor(1)) await maintenance.whenRoom();
      else break;
    }
    this.#admitWaiting(record);
  }

  #admitWaiting({ kind, bytes, at }: WaitingRecord): void {
    const keyBytes = bytes.packed.copy(2 * at, this.#parts.key);
    this.#admitRecord(kind, keyBytes, kind === RecordKind.put ? bytes.packed.at(2 * at + 1) : NO_VALUE);
  }

  async #admitBatch({ batch, ahead }: WaitingBatch, since: number): Promise<void> {
    const { log, maintenance, gate, conditions } = this.#parts;
    const use = useOfAll(batch.kinds);
    if (ahead !== null) await ahead;
    if (batch.conditions.length > 0) await conditions.judge(batch);
    if (batch.isLong) {
      // It was copied in this turn.
      await nextTurn();
      await admitInSlices(this.#parts, batch, { use, since });
      // Whoever is told may call the next, and the last slice was in this turn.
      await nextTurn();
      return;
    }
    for (;;) {
      gate.requireWritable();
      if (!log.hasRoom(batch.paddedSizes, use)) await log.whenRoom(batch.paddedSizes, use, since);
      else if (!maintenance.hasRoomFor(batch.kinds.length)) await maintenance.whenRoom();
      else break;
    }
    admit(this.#parts, batch);
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

function paddedBytesOf({ bytes, at }: WaitingRecord): number {
  return paddedRecordBytes(bytes.packed.lengthOf(2 * at), bytes.packed.lengthOf(2 * at + 1));
}
