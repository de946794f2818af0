/**
 * Admits a write at once if there is room and nobody waits; otherwise queues it in call order.
 *
 * ```
 *   put, del, batch ─► room, and the queue is empty? ─ yes ───────────────────────► admitted ─► log.whenDurable ─► acknowledged
 *                          └─ no, or it is long, or a version must be read ─► queue     ▲
 *                                                                               │ head  │
 *                                     conditions? ─► judge ─► room? ─ yes ──────┴───────┘
 *                                                               └─ no: wait for one thing, check everything again
 * ```
 *
 * WQ-1. Writes are admitted in call order.
 * WQ-2. After each wait the whole state is checked again: store failure, frames, slots, memtable.
 * WQ-3. Admission is one synchronous step: sequence, bytes in the open frame, entry in the memtable. Reads called after
 *     it see the write, reads called before do not.
 * WQ-4. A waiting write of one record takes constant time, and some hundred bytes beside its key and value.
 *
 * Who wakes the head of the queue:
 * ```
 *   waits for          woken by                        when the store fails          when it closes
 *   a growing file     the end of the growth           the same                      close waits for the queue
 *   space              a run that cleans               the run fails                 the same
 *   a free frame       a frame that was written        log.fail                      the same
 *   the memtable       a merge that begins or ends     a merge or checkpoint ends    the same
 *   versions           the reads of its conditions     the same                      the same
 *   its next slice     the next turn of the loop       the same                      the same
 * ```
 * Whatever becomes of the head, the next write follows.
 */
import { Fifo, nextTurn } from '@aiokv/core';
import type { TurnBudget, Waiter } from '@aiokv/core';
import type { SlotUse } from '../file/slots.ts';
import { maxRecordBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes, recordBytes } from '../format/record.ts';
import type { Durability } from '../log/writer.ts';
import { Entry, MISSING } from '../tree/index.ts';
import { admit, admitInSlices, noteWrite } from './apply.ts';
import type { AdmissionParts } from './apply.ts';
import type { Conditions } from './conditions.ts';
import { copyBytes, giveChunk, takeChunk } from './packed-bytes.ts';
import { RoomRequest } from './room-request.ts';
import { NO_VALUE, WriteBatch, encodeBatch, requireValueFits } from './write-batch.ts';
import type { BatchLimits, BatchOperation } from './write-batch.ts';

export interface WriteQueueParts extends AdmissionParts {
  readonly conditions: Conditions;
  readonly limits: BatchLimits;
  readonly budget: TurnBudget;
}

/** Keys and values of many waiting writes. Given back when the last of these writes has been admitted or refused. */
interface WaitingBytes {
  readonly chunk: Uint8Array;
  usedBytes: number;
  /** Records not admitted yet. */
  left: number;
}

/**
 * A place in the queue: a record, a batch, or a caller of `settled`, who has neither. One flat object, since there may
 * be a million of them.
 */
class QueuedWrite implements Waiter {
  kind: RecordKind = RecordKind.put;
  /** Of a record: offset in the chunk of its key, which its value follows. */
  bytes: WaitingBytes | null = null;
  at = 0;
  keyBytes = 0;
  valueBytes = 0;
  /** 0: never. */
  expiresAtMs = 0;
  batch: WriteBatch | null = null;
  /** Settles when the versions for the batch's conditions have been read ahead. */
  ahead: Promise<void> | null = null;

  readonly level: Durability;
  /** `LogWriter.growths` at the time of the call. */
  readonly since: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;

  constructor(level: Durability, since: number, resolve: () => void, reject: (error: Error) => void) {
    this.level = level;
    this.since = since;
    this.resolve = resolve;
    this.reject = reject;
  }

  get paddedBytes(): number {
    return paddedRecordBytes(this.keyBytes, this.valueBytes, this.expiresAtMs);
  }
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

  /** Settles when every write called before is admitted or refused. Never rejects. */
  settled(): Promise<void> {
    if (this.#waiting.isEmpty) return DONE;
    return new Promise((resolve, reject) => this.#enqueue(new QueuedWrite('buffered', 0, resolve, reject)));
  }

  /** Settles as `Store.batch`; throws if an operation is invalid. */
  batch(operations: readonly BatchOperation[], level: Durability): Promise<void> {
    const { budget, key, limits, index } = this.#parts;
    budget.begin();
    const batch = encodeBatch(operations, key, limits, index.expiry);
    return batch.kinds.length === 0 ? this.#acknowledge(level) : this.#admitOrQueue(batch, level);
  }

  /**
   * A put or a deletion, with the value that its record gets. Its key is in the scratch.
   *
   * @param expiresAtMs 0: never
   */
  write(kind: RecordKind, keyBytes: number, value: Uint8Array, level: Durability, expiresAtMs = 0): Promise<void> {
    const { key, limits, log } = this.#parts;
    const padded = paddedRecordBytes(keyBytes, value.length, expiresAtMs);
    if (padded > this.#mostRecordBytes) {
      requireValueFits(value, limits);
      const batch = new WriteBatch(limits);
      batch.add(kind, key, keyBytes, value, expiresAtMs);
      return this.#admitOrQueue(batch, level);
    }
    // The log is entered twice: to append, and, once the write is visible, to wait until it is durable.
    if (this.#waiting.isEmpty && this.#tryAdmit(kind, keyBytes, value, expiresAtMs)) return this.#acknowledge(level);
    const since = log.growths;
    return new Promise((resolve, reject) => {
      const write = new QueuedWrite(level, since, resolve, reject);
      write.kind = kind;
      write.expiresAtMs = expiresAtMs;
      this.#keep(write, keyBytes, value);
      this.#enqueue(write);
    });
  }

  /** As `write`, if the key has this version when the write is admitted; 0: if the key does not exist. */
  writeIf(
    version: number,
    kind: RecordKind,
    keyBytes: number,
    value: Uint8Array,
    level: Durability,
    expiresAtMs = 0,
  ): Promise<void> {
    const { key, limits } = this.#parts;
    requireValueFits(value, limits);
    const batch = new WriteBatch(limits);
    batch.addCondition(version);
    batch.add(kind, key, keyBytes, value, expiresAtMs);
    return this.#admitOrQueue(batch, level);
  }

  /** Admits what a transaction has written, if `reads` of the batch hold. The bytes of the batch must not change. */
  commit(batch: WriteBatch, level: Durability): Promise<void> {
    this.#parts.budget.begin();
    return this.#admitOrQueue(batch, level);
  }

  #admitOrQueue(batch: WriteBatch, level: Durability): Promise<void> {
    const { conditions } = this.#parts;
    const hasConditions = batch.conditions.length > 0;
    const isKnown = (!hasConditions || (!batch.isLong && conditions.areKnown(batch))) && readsHold(batch);
    if (isKnown && this.#waiting.isEmpty && !batch.isLong && this.#hasRoomForAll(batch)) {
      try {
        conditions.requireKnown(batch);
        batch.reads?.end();
        admit(this.#parts, batch);
      } finally {
        batch.release();
      }
      return this.#acknowledge(level, batch.kinds.length);
    }
    batch.own();
    // A long batch is looked up only at the head of the queue, in slices.
    const ahead = isKnown || !hasConditions || batch.isLong ? null : conditions.readAhead(batch);
    // A rejection is handled when the batch is at the head; until then it must not count as unhandled.
    ahead?.catch(() => undefined);
    const since = this.#parts.log.growths;
    return new Promise((resolve, reject) => {
      const write = new QueuedWrite(level, since, resolve, reject);
      write.batch = batch;
      write.ahead = ahead;
      this.#enqueue(write);
    });
  }

  #hasRoomForAll(batch: WriteBatch): boolean {
    const { log, maintenance } = this.#parts;
    return log.hasRoom(batch.paddedSizes, useOfAll(batch.kinds)) && maintenance.hasRoom;
  }

  /** WQ-3. Admits a record if there is room. Its key is in the scratch. */
  #tryAdmit(kind: RecordKind, keyBytes: number, value: Uint8Array, expiresAtMs: number): boolean {
    const { log, index, maintenance, key, history } = this.#parts;
    // Deleting a key that does not exist writes nothing. The call still waits for the writes before it. One that is over is deleted:
    // after a crash the clock may say that it is not.
    if (kind === RecordKind.del && index.findAny(key, keyBytes, this.#entry) === MISSING) return true;
    if (!maintenance.hasRoom) return false;
    const fileOffset = log.tryAppend(kind, key, keyBytes, value, useOf(kind), expiresAtMs);
    if (fileOffset < 0) return false;
    const sequence = log.appendedThrough;
    if (history.isOn) noteWrite(history, kind, key, keyBytes, value, sequence);
    if (kind === RecordKind.put) {
      const lengthBytes = recordBytes(keyBytes, value.length, expiresAtMs);
      index.admitPut(key, keyBytes, fileOffset, lengthBytes, sequence, value, undefined, expiresAtMs);
    } else if (kind === RecordKind.deleteRange) index.admitDeleteRange(key, keyBytes, value, value.length, sequence);
    else index.admitDelete(key, keyBytes, sequence);
    maintenance.admitted(sequence);
    return true;
  }

  #enqueue(write: QueuedWrite): void {
    this.#waiting.push(write);
    if (!this.#isRunning) void this.#run();
  }

  /** BATCH-1, WQ-4. Copies the key, which is in the scratch, and the value. */
  #keep(write: QueuedWrite, keyBytes: number, value: Uint8Array): void {
    const lengthBytes = keyBytes + value.length;
    let bytes = this.#waitingBytes;
    if (bytes === null || bytes.usedBytes + lengthBytes > bytes.chunk.length) {
      bytes = { chunk: takeChunk(lengthBytes), usedBytes: 0, left: 0 };
      this.#waitingBytes = bytes;
    }
    write.bytes = bytes;
    write.at = bytes.usedBytes;
    write.keyBytes = keyBytes;
    write.valueBytes = value.length;
    copyBytes(this.#parts.key, keyBytes, bytes.chunk, bytes.usedBytes);
    copyBytes(value, value.length, bytes.chunk, bytes.usedBytes + keyBytes);
    bytes.usedBytes += lengthBytes;
    bytes.left++;
  }

  #letGo({ batch, bytes }: QueuedWrite): void {
    batch?.release();
    if (bytes === null || --bytes.left > 0) return;
    giveChunk(bytes.chunk);
    if (bytes === this.#waitingBytes) this.#waitingBytes = null;
  }

  /** Admits the queued writes one by one. Never rejects: each write gets its own error. */
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
      this.#letGo(write);
      // Only now: an empty queue would let the next write pass this one.
      this.#waiting.shift();
      if (budget.isSpent()) await nextTurn();
    }
    this.#isRunning = false;
  }

  /** Admits the head of the queue. Returns null when that is done already. */
  #admitHead(write: QueuedWrite): Promise<void> | null {
    const { batch, bytes, ahead, since } = write;
    if (batch !== null) return this.#admitBatch(batch, ahead, since);
    if (bytes === null) return null;
    this.#parts.gate.requireWritable();
    return this.#tryAdmitWaiting(write, bytes.chunk) ? null : this.#admitLater(write, bytes.chunk);
  }

  #tryAdmitWaiting({ kind, at, keyBytes, valueBytes, expiresAtMs }: QueuedWrite, chunk: Uint8Array): boolean {
    const { key } = this.#parts;
    for (let i = 0; i < keyBytes; i++) key[i] = chunk[at + i] as number;
    const valueAt = at + keyBytes;
    const value = valueBytes === 0 ? NO_VALUE : chunk.subarray(valueAt, valueAt + valueBytes);
    return this.#tryAdmit(kind, keyBytes, value, expiresAtMs);
  }

  /** WQ-2. */
  async #admitLater(write: QueuedWrite, chunk: Uint8Array): Promise<void> {
    const { maintenance, gate } = this.#parts;
    const room = new RoomRequest(useOf(write.kind), write.since);
    do {
      if (!maintenance.hasRoom) await maintenance.whenRoom();
      else await this.#whenLogRoom([write.paddedBytes], room);
      gate.requireWritable();
    } while (!this.#tryAdmitWaiting(write, chunk));
  }

  /** Waits for room in the log. When the device is full, a run may make space. */
  async #whenLogRoom(paddedSizes: readonly number[], room: RoomRequest): Promise<void> {
    const { log, maintenance } = this.#parts;
    try {
      await log.whenRoom(paddedSizes, room.use, room.since);
    } catch (error) {
      await room.makeSpace(error, maintenance, log);
    }
  }

  async #admitBatch(batch: WriteBatch, ahead: Promise<void> | null, since: number): Promise<void> {
    const { log, maintenance, gate, conditions } = this.#parts;
    const room = new RoomRequest(useOfAll(batch.kinds), since);
    if (ahead !== null) await ahead;
    if (batch.conditions.length > 0) await conditions.judge(batch);
    if (batch.reads !== null) {
      await batch.reads.judge(this.#parts.budget);
      batch.reads.end();
    }
    if (batch.isLong) {
      // This turn may have spent its time on the copy.
      await nextTurn();
      await admitInSlices(this.#parts, batch, room);
      // This turn has had the last slice; the caller may start the next batch when it is told.
      await nextTurn();
      return;
    }
    for (;;) {
      gate.requireWritable();
      if (!log.hasRoom(batch.paddedSizes, room.use)) await this.#whenLogRoom(batch.paddedSizes, room);
      else if (!maintenance.hasRoom) await maintenance.whenRoom();
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

/** Whether what a transaction has read holds; false: that takes long to say. */
function readsHold(batch: WriteBatch): boolean {
  try {
    return batch.reads === null || batch.reads.holdsNow();
  } catch (error) {
    batch.release();
    throw error;
  }
}

/** A batch without a put counts as a deletion: SLOTS-2. */
function useOfAll(kinds: readonly RecordKind[]): SlotUse {
  return kinds.includes(RecordKind.put) ? 'put' : 'delete';
}
