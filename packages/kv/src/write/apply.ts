/**
 * How a group comes into the log and into the index: in one step when it is short, else in slices, with the same
 * effect. Whoever calls it has seen to it that nothing else is admitted meanwhile, and that the group's bytes stay.
 *
 * ```
 *   short:  log ◄─ all records       overlay ◄─ all entries                                    one step
 *
 *   long:   hold ─► reckon ─► slots ─► conditions ─► log ◄─ records, all but the last ─► release ─► log ◄─ the last
 *                   └── may be refused ──────────┘   stage ◄─ entries      (slices)                 stage = overlay
 *                                                                                                   one step
 * ```
 *
 * A4. A long group is seen as a whole, in the step in which its last record is appended; until then reads, snapshots and
 *     checkpoints see the state before it, and a crash leaves that.
 * A5. It needs no more memory than its entries in the index: its records go through the frame buffers as they get free.
 * A6. A slice takes half a millisecond, or one record.
 */
import { KIB, assert } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import { encodeTable, maxRecordBytes, pieceValueBytes } from '../format/extent.ts';
import type { Piece } from '../format/extent.ts';
import {
  FLAG_BATCH_CONTINUES,
  FLAG_EXTENT,
  RecordKind,
  checkOf,
  paddedRecordBytes,
  recordBytes,
} from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import type { Group } from './write-batch.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { lengthWordOf } from '../format/index-entry.ts';
import type { LogWriter } from '../log/writer.ts';
import type { SlotUse } from '../file/slots.ts';
import type { Tree } from '../tree/index.ts';
import { nextTurn } from '@aiokv/core';

export interface AdmissionParts {
  readonly log: LogWriter;
  readonly index: KeyIndex;
  readonly geometry: Geometry;
  readonly clock: Clock;
  /** Room for a key, used within one step. */
  readonly key: Uint8Array;
}

/** What a group asks of the file; see `Slots`. */
export interface RoomRequest {
  readonly use: SlotUse;
  /** `LogWriter.growths` when the write was called. */
  readonly since: number;
}

const SLICE_MS = 0.5;
/** The clock is looked at after so many bytes, or records, ... */
const BYTES_PER_CLOCK = 64 * KIB;
const RECORDS_PER_CLOCK = 64;
/** ... or sizes that are only reckoned with. */
const SIZES_PER_CLOCK = 16 * KIB;

/** Appends the records of a group, one after another. */
class GroupRecords {
  readonly #parts: AdmissionParts;
  readonly #group: Group;
  readonly #stage: Tree | undefined;
  #operation = 0;
  #record = 0;
  /** Pieces of the value of the current operation that are in the log. */
  #pieces: Piece[] = [];
  #piecesBytes = 0;

  /** @param stage where the entries go, or the overlay */
  constructor(parts: AdmissionParts, group: Group, stage?: Tree) {
    this.#parts = parts;
    this.#group = group;
    this.#stage = stage;
  }

  /** Records that are left. */
  get left(): number {
    return this.#group.paddedSizes.length - this.#record;
  }

  /** What the next one takes, padding counted. */
  get nextBytes(): number {
    return this.#group.paddedSizes[this.#record] as number;
  }

  /** Appends the next record; there is room for it. */
  append(): void {
    const { log, index, geometry, key } = this.#parts;
    const kind = this.#group.kinds[this.#operation] as RecordKind;
    const keyBytes = this.#group.copyKey(this.#operation, key);
    const value = this.#group.valueAt(this.#operation);
    const isInPieces = paddedRecordBytes(keyBytes, value.length) > maxRecordBytes(geometry);
    if (isInPieces && this.#piecesBytes < value.length) {
      this.#appendPiece(keyBytes, value);
      return;
    }
    const flags = this.left > 1 ? FLAG_BATCH_CONTINUES : 0;
    this.#record++;
    this.#operation++;
    if (kind === RecordKind.del) {
      log.append(kind, flags, key, keyBytes, value);
      index.admitDelete(key, keyBytes, this.#stage);
    } else if (isInPieces) {
      const table = encodeTable({ valueBytes: value.length, pieces: this.#pieces });
      this.#pieces = [];
      this.#piecesBytes = 0;
      const offset = log.append(kind, flags | FLAG_EXTENT, key, keyBytes, table);
      index.admitPut(key, keyBytes, offset, lengthWordOf(recordBytes(keyBytes, table.length), true), this.#stage);
    } else {
      const offset = log.append(kind, flags, key, keyBytes, value);
      index.admitPut(key, keyBytes, offset, recordBytes(keyBytes, value.length), this.#stage);
    }
  }

  #appendPiece(keyBytes: number, value: Uint8Array): void {
    const { log, geometry, key } = this.#parts;
    const from = this.#piecesBytes;
    const part = value.subarray(from, from + pieceValueBytes(geometry, keyBytes));
    const fileOffset = log.append(RecordKind.piece, FLAG_BATCH_CONTINUES, key, keyBytes, part);
    const place = log.unwritten(fileOffset);
    assert(place !== null, 'what was appended just now is in memory');
    const check = checkOf(place.block.view, place.offset);
    this.#pieces.push({ fileOffset, lengthBytes: recordBytes(keyBytes, part.length), check });
    this.#piecesBytes += part.length;
    this.#record++;
  }
}

/** Admits a short group, for which there is room. */
export function admit(parts: AdmissionParts, group: Group): void {
  const records = new GroupRecords(parts, group);
  while (records.left > 0) records.append();
  parts.index.admitted(parts.log.appendedThrough);
}

/**
 * Admits a long group; false when it may not be any more.
 *
 * @param mayAdmit asked when nothing else can refuse the group; may throw
 * @throws AiokvError ERR_AIOKV_NO_SPACE: nothing was changed; ERR_AIOKV_LATCHED: nothing of it is seen, but it may be
 *   there when the store is opened again, all of it
 */
export async function admitInSlices(
  parts: AdmissionParts,
  group: Group,
  room: RoomRequest,
  mayAdmit: () => boolean,
): Promise<boolean> {
  const { log, index, clock } = parts;
  if (log.latched !== null) throw log.latched;
  const estimate = log.hold();
  const stage = index.stage();
  const records = new GroupRecords(parts, group, stage);
  let isBegun = false;
  try {
    let untilMs = clock.nowMs() + SLICE_MS;
    for (const [i, size] of group.paddedSizes.entries()) {
      estimate.add(size);
      if ((i + 1) % SIZES_PER_CLOCK !== 0 || clock.nowMs() < untilMs) continue;
      await nextTurn();
      untilMs = clock.nowMs() + SLICE_MS;
    }
    // One more, for the last record comes after `release`.
    const slots = estimate.slots + 1;
    while (!log.hasSlots(slots, room.use)) await log.prepareSlots(slots, room.use, room.since);
    if (log.latched !== null) throw log.latched;
    if (!mayAdmit()) return false;
    log.reserveSlots(slots);
    isBegun = true;
    await appendAllButLast(parts, records, room);
    log.release(false);
    await whenReadyForLast(parts, records, room);
    records.append();
    index.admitStaged(stage, log.appendedThrough);
    return true;
  } catch (error) {
    // C6.
    if (isBegun) log.latch(error);
    stage.clear();
    throw error;
  } finally {
    log.release(true);
    log.returnSlots();
  }
}

async function appendAllButLast(
  { log, clock }: AdmissionParts,
  records: GroupRecords,
  { use, since }: RoomRequest,
): Promise<void> {
  let untilMs = clock.nowMs() + SLICE_MS;
  let sinceClock = 0;
  while (records.left > 1) {
    const bytes = records.nextBytes;
    if (!log.hasRoomFor(bytes, use)) await log.whenRoom([bytes], use, since);
    else {
      if (log.latched !== null) throw log.latched;
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

/** Waits until the last record can be appended, and the stage become the overlay, in one step. */
async function whenReadyForLast(
  { log, index }: AdmissionParts,
  records: GroupRecords,
  { use, since }: RoomRequest,
): Promise<void> {
  for (;;) {
    if (!log.hasRoomFor(records.nextBytes, use)) await log.whenRoom([records.nextBytes], use, since);
    else if (index.isDraining) await index.whenRoom();
    else break;
  }
  if (log.latched !== null) throw log.latched;
}
