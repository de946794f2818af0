/**
 * Admits a batch: appends its records to the log and its entries to the index. A short batch takes one step, a long one
 * takes slices, with the same effect. The caller is at the head of the write queue: nothing else is admitted meanwhile,
 * and the bytes of the batch do not change.
 *
 * ```
 *   short:  log ◄─ all records       memtable ◄─ all entries                                   one step
 *
 *   long:   hold ─► estimate ─► reserve slots ─► log ◄─ records, all but the last ─► release ─► log ◄─ the last
 *                   └── may be refused ────┘     stage ◄─ entries      (slices)                stage in front of
 *                                                                                              the memtable: one step
 *   medium: as a long one, but the places of the records are kept in a list, and are entered in the step of the last
 * ```
 *
 * APPLY-1. A long batch becomes visible as a whole, in the step that appends its last record. Until then reads,
 *     snapshots and checkpoints see the state before it, and a crash leaves that state.
 * APPLY-2. A long batch takes no memory but its entries in the index: its records use the frame buffers in turn.
 * APPLY-3. A slice takes `SLICE_MS`, or one record.
 */
import { KIB, SLICE_MS, assert } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import { encodeTable, fragmentValueBytes, maxRecordBytes } from '../format/extent.ts';
import type { Fragment } from '../format/extent.ts';
import {
  FLAG_BATCH_CONTINUES,
  FLAG_EXTENT,
  RecordKind,
  checkOf,
  paddedRecordBytes,
  recordBytes,
} from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import type { RoomRequest } from './room-request.ts';
import type { WriteBatch } from './write-batch.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { CommitHistory } from '../index/commit-history.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { Memtable } from '../index/memtable.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import { lengthWordOf } from '../format/index-entry.ts';
import type { LogWriter } from '../log/writer.ts';
import { nextTurn } from '@aiokv/core';

export interface AdmissionParts {
  readonly log: LogWriter;
  readonly index: KeyIndex;
  readonly history: CommitHistory;
  readonly maintenance: Maintenance;
  readonly gate: FailureGate;
  readonly geometry: Geometry;
  readonly clock: Clock;
  /** Scratch for a key. Its content is valid within one step. */
  readonly key: Uint8Array;
}

/** As many entries as one step may enter into the memtable, at some 1.3 us each. A stage would cost half of that again. */
const HELD_MOST = 1024;
/** The clock is read after this many bytes or records. */
const BYTES_PER_CLOCK = 64 * KIB;
const RECORDS_PER_CLOCK = 64;
/** While space is estimated, the clock is read after this many records. */
const SIZES_PER_CLOCK = 16 * KIB;

/** Places of the records of a batch, by operation. */
class HeldPlaces {
  readonly fileOffsets: Float64Array;
  readonly lengthWords: Uint32Array;
  readonly sequences: Float64Array;

  constructor(operations: number) {
    this.fileOffsets = new Float64Array(operations);
    this.lengthWords = new Uint32Array(operations);
    this.sequences = new Float64Array(operations);
  }
}

/** The records of a batch, to be appended one by one. */
class BatchRecords {
  readonly #parts: AdmissionParts;
  readonly #batch: WriteBatch;
  readonly #stage: Memtable | undefined;
  readonly #held: HeldPlaces | null;
  #operation = 0;
  #record = 0;
  /** Fragments of the current operation's value that are in the log. */
  #fragments: Fragment[] = [];
  #fragmentsBytes = 0;

  /**
   * @param stage takes the entries; default: the memtable
   * @param isHeld whether the entries wait for `enterHeld`
   */
  constructor(parts: AdmissionParts, batch: WriteBatch, stage?: Memtable, isHeld = false) {
    this.#parts = parts;
    this.#batch = batch;
    this.#stage = stage;
    this.#held = isHeld ? new HeldPlaces(batch.kinds.length) : null;
  }

  /** Records not appended yet. */
  get left(): number {
    return this.#batch.paddedSizes.length - this.#record;
  }

  /** Size of the next record with its padding. */
  get nextBytes(): number {
    return this.#batch.paddedSizes[this.#record] as number;
  }

  /** Appends the next record. Requires room for it. */
  append(): void {
    const { log, geometry, key } = this.#parts;
    const kind = this.#batch.kinds[this.#operation] as RecordKind;
    const keyBytes = this.#batch.copyKey(this.#operation, key);
    const value = this.#batch.valueAt(this.#operation);
    const expiresAtMs = this.#batch.expiryAt(this.#operation);
    const isInFragments = paddedRecordBytes(keyBytes, value.length, expiresAtMs) > maxRecordBytes(geometry);
    if (isInFragments && this.#fragmentsBytes < value.length) {
      this.#appendFragment(keyBytes, value);
      return;
    }
    const flags = this.left > 1 ? FLAG_BATCH_CONTINUES : 0;
    let offset: number;
    let lengthWord: number;
    if (isInFragments) {
      const table = encodeTable({ valueBytes: value.length, fragments: this.#fragments });
      this.#fragments = [];
      this.#fragmentsBytes = 0;
      offset = log.append(kind, flags | FLAG_EXTENT, key, keyBytes, table, expiresAtMs);
      lengthWord = lengthWordOf(recordBytes(keyBytes, table.length, expiresAtMs), true);
    } else {
      offset = log.append(kind, flags, key, keyBytes, value, expiresAtMs);
      lengthWord = recordBytes(keyBytes, value.length, expiresAtMs);
    }
    const held = this.#held;
    const operation = this.#operation++;
    this.#record++;
    if (held === null) {
      this.#enter(operation, keyBytes, offset, lengthWord, log.appendedThrough);
      return;
    }
    held.fileOffsets[operation] = offset;
    held.lengthWords[operation] = lengthWord;
    held.sequences[operation] = log.appendedThrough;
  }

  /** Enters the places that are held into the memtable, in call order. */
  enterHeld(): void {
    const held = this.#held;
    assert(held !== null && this.left === 0, 'all records are in the log');
    for (let i = 0; i < this.#batch.kinds.length; i++) {
      const keyBytes = this.#batch.copyKey(i, this.#parts.key);
      const offset = held.fileOffsets[i] as number;
      const lengthWord = held.lengthWords[i] as number;
      this.#enter(i, keyBytes, offset, lengthWord, held.sequences[i] as Sequence);
    }
  }

  /** Enters the scratch key, which is that of the operation, into the stage or the memtable. */
  #enter(operation: number, keyBytes: number, fileOffset: number, lengthWord: number, sequence: Sequence): void {
    const { index, key, history } = this.#parts;
    const kind = this.#batch.kinds[operation] as RecordKind;
    if (history.isOn) noteWrite(history, kind, key, keyBytes, this.#batch.valueAt(operation), sequence);
    if (kind === RecordKind.deleteRange) {
      const to = this.#batch.valueAt(operation);
      index.admitDeleteRange(key, keyBytes, to, to.length, sequence, this.#stage);
    } else if (kind === RecordKind.del) index.admitDelete(key, keyBytes, sequence, this.#stage);
    else {
      const value = this.#batch.valueAt(operation);
      const expiresAtMs = this.#batch.expiryAt(operation);
      index.admitPut(key, keyBytes, fileOffset, lengthWord, sequence, value, this.#stage, expiresAtMs);
    }
  }

  #appendFragment(keyBytes: number, value: Uint8Array): void {
    const { log, geometry, key } = this.#parts;
    const from = this.#fragmentsBytes;
    const part = value.subarray(from, from + fragmentValueBytes(geometry, keyBytes));
    const fileOffset = log.append(RecordKind.fragment, FLAG_BATCH_CONTINUES, key, keyBytes, part);
    const place = log.unwritten(fileOffset);
    assert(place !== null, 'a record that was just appended is in memory');
    const check = checkOf(place.block.view, place.offset);
    this.#fragments.push({ fileOffset, lengthBytes: recordBytes(keyBytes, part.length), check });
    this.#fragmentsBytes += part.length;
    this.#record++;
  }
}

/**
 * COMMITS-1. Notes a write in the step of its admission, for open transactions.
 *
 * @param value of the record: the upper bound, if it deletes a range
 */
export function noteWrite(
  history: CommitHistory,
  kind: RecordKind,
  key: Uint8Array,
  keyBytes: number,
  value: Uint8Array,
  sequence: Sequence,
): void {
  if (kind === RecordKind.deleteRange) history.noteRange(key, keyBytes, value, value.length, sequence);
  else history.note(key, keyBytes, sequence);
}

/** Admits a short batch. Requires room for it. */
export function admit(parts: AdmissionParts, batch: WriteBatch): void {
  const records = new BatchRecords(parts, batch);
  while (records.left > 0) records.append();
  parts.maintenance.admitted(parts.log.appendedThrough);
}

/**
 * Admits a long batch.
 *
 * @throws AiokvError ERR_AIOKV_NO_SPACE: nothing has changed; ERR_AIOKV_LATCHED: reads see nothing of it, but all of
 *   it may be there after the next opening
 */
export async function admitInSlices(parts: AdmissionParts, batch: WriteBatch, room: RoomRequest): Promise<void> {
  const { log, index, history, maintenance, gate, clock } = parts;
  gate.requireWritable();
  const estimate = log.hold();
  const isHeld = batch.kinds.length <= HELD_MOST;
  const stage = isHeld ? undefined : index.stage();
  const records = new BatchRecords(parts, batch, stage, isHeld);
  let isBegun = false;
  try {
    let untilMs = clock.nowMs() + SLICE_MS;
    for (const [i, size] of batch.paddedSizes.entries()) {
      estimate.add(size);
      if ((i + 1) % SIZES_PER_CLOCK !== 0 || clock.nowMs() < untilMs) continue;
      await nextTurn();
      untilMs = clock.nowMs() + SLICE_MS;
    }
    // One more: the last record is appended after `release`, when the estimate no longer holds.
    const slots = estimate.slots + 1;
    while (!log.hasSlots(slots, room.use)) {
      gate.requireWritable();
      try {
        await log.prepareSlots(slots, room.use, room.since);
      } catch (error) {
        await room.makeSpace(error, maintenance, log);
      }
    }
    gate.requireWritable();
    log.reserveSlots(slots);
    isBegun = true;
    if (stage !== undefined) history.beginStage();
    await appendAllButLast(parts, records, room);
    log.release(false);
    await whenReadyForLast(parts, records, room);
    records.append();
    // A run that begins with this batch covers its bytes.
    log.release(true);
    if (stage === undefined) {
      records.enterHeld();
      maintenance.admitted(log.appendedThrough);
    } else maintenance.admitStaged(stage, log.appendedThrough);
  } catch (error) {
    stage?.drop();
    // LOG-6: an unfinished batch fails the log.
    throw isBegun ? log.fail(error) : error;
  } finally {
    if (stage !== undefined) history.endStage(log.appendedThrough);
    log.release(true);
    log.returnSlots();
  }
}

async function appendAllButLast(
  { log, gate, clock }: AdmissionParts,
  records: BatchRecords,
  { use, since }: RoomRequest,
): Promise<void> {
  let untilMs = clock.nowMs() + SLICE_MS;
  let sinceClock = 0;
  while (records.left > 1) {
    const bytes = records.nextBytes;
    if (!log.hasRoomFor(bytes, use)) await log.whenRoom([bytes], use, since);
    else {
      gate.requireWritable();
      records.append();
      sinceClock += bytes + BYTES_PER_CLOCK / RECORDS_PER_CLOCK;
      if (sinceClock < BYTES_PER_CLOCK) continue;
      sinceClock = 0;
      if (clock.nowMs() < untilMs) continue;
      await nextTurn();
    }
    untilMs = clock.nowMs() + SLICE_MS;
  }
}

/** Waits until one step can append the last record and make the stage visible. */
async function whenReadyForLast(
  { log, maintenance, gate }: AdmissionParts,
  records: BatchRecords,
  { use, since }: RoomRequest,
): Promise<void> {
  for (;;) {
    gate.requireWritable();
    if (!log.hasRoomFor(records.nextBytes, use)) await log.whenRoom([records.nextBytes], use, since);
    else if (!maintenance.hasRoom) await maintenance.whenRoom();
    else return;
  }
}
