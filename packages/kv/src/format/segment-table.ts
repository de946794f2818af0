/**
 * The parts of the segment table: in which segments something lives as of a checkpoint, and how much. They are in index
 * segments. The root (checkpoint-root.ts) references them.
 *
 * ```
 *   part of the segment table                      entry
 *    0  hash u64, XXH64 of what comes after it      0  slot u32
 *    8  magic u32 "AKST"                            4  kind u32
 *   12  entries u32                                 8  segment sequence u64
 *   16  checkpoint sequence u64                    16  live bytes u32
 *   24  entries, 72 bytes each                     20  live records u32, pages in an index segment
 *                                                  24  used bytes u32, of all frames or chunks
 *                                                  28  0
 *                                                  32  first sequence u64, of the log, else 0
 *                                                  40  last sequence u64, of the log, else 0
 *                                                  48  born at u64, ms since 1970
 *                                                  56  0, reserved for the earliest expiry, ms u64
 *                                                  64  0, reserved for the latest expiry, ms u64
 * ```
 *
 * SEGT-1. Slots strictly ascend over all parts of a table.
 *
 * docs/format.md, "Segment table". Pure encoding and decoding. file/segment-table.ts is the table in memory.
 */
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { mostImageBytes } from './checkpoint.ts';
import type { PartReference } from './checkpoint.ts';
import { LAST_KIND } from './segment.ts';
import type { Geometry } from './superblock.ts';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

const MAGIC = 0x54534b41; // 'AKST'
const HEADER_BYTES = 24;
const ENTRY_BYTES = 72;
/** No part is larger. */
const MOST_BYTES = 64 * KIB;

/** A segment in use. */
export interface SegmentEntry {
  readonly slot: number;
  /** A `SegmentKind`. */
  readonly kind: number;
  readonly sequence: number;
  /** Bytes, padding included, of the records or pages here that the index leads to. */
  readonly liveBytes: number;
  readonly liveRecords: number;
  /** Log: bytes of all frames, with their padding. Else: from the start of the segment to the end of its chunks. */
  readonly usedBytes: number;
  /** The lowest sequence of a record of the log here; 0 if there is none. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** When the segment was begun, by the clock of the calendar. */
  readonly bornMs: number;
}

export function tablePartBytes(entries: number): number {
  return HEADER_BYTES + entries * ENTRY_BYTES;
}

/** The most entries of a part in this geometry. */
export function mostTableEntries(geometry: Geometry): number {
  return Math.floor((Math.min(MOST_BYTES, mostImageBytes(geometry)) - HEADER_BYTES) / ENTRY_BYTES);
}

/** Writes an entry at `at` to zeroed bytes. */
export function writeSegmentEntry({ view }: Block, at: number, entry: SegmentEntry): void {
  view.setUint32(at, entry.slot, true);
  view.setUint32(at + 4, entry.kind, true);
  writeU53(view, at + 8, entry.sequence);
  view.setUint32(at + 16, entry.liveBytes, true);
  view.setUint32(at + 20, entry.liveRecords, true);
  view.setUint32(at + 24, entry.usedBytes, true);
  writeU53(view, at + 32, entry.firstSequence);
  writeU53(view, at + 40, entry.lastSequence);
  writeU53(view, at + 48, entry.bornMs);
}

export function readSegmentEntry({ view }: Block, at: number): SegmentEntry {
  return {
    slot: view.getUint32(at, true),
    kind: view.getUint32(at + 4, true),
    sequence: readU53(view, at + 8),
    liveBytes: view.getUint32(at + 16, true),
    liveRecords: view.getUint32(at + 20, true),
    usedBytes: view.getUint32(at + 24, true),
    firstSequence: readU53(view, at + 32),
    lastSequence: readU53(view, at + 40),
    bornMs: readU53(view, at + 48),
  };
}

/** Whether an entry is plausible in a file of so many slots. The caller checks the order of the slots (SEGT-1). */
export function isPossibleSegmentEntry(entry: SegmentEntry, segmentBytes: number, slotCount: number): boolean {
  const { slot, kind, sequence, liveBytes, liveRecords, usedBytes, firstSequence, lastSequence, bornMs } = entry;
  return (
    slot < slotCount &&
    kind >= 1 &&
    kind <= LAST_KIND &&
    liveBytes <= segmentBytes &&
    usedBytes <= segmentBytes &&
    // A record takes 8 bytes or more.
    liveRecords * 8 <= liveBytes &&
    liveRecords > 0 === liveBytes > 0 &&
    firstSequence <= lastSequence &&
    [sequence, firstSequence, lastSequence, bornMs].every((number) => Number.isSafeInteger(number))
  );
}

/** Writes the header of a part after its entries were written. Returns its tag. */
export function sealTablePart({ bytes, view }: Block, at: number, entries: number, sequence: number): number {
  view.setUint32(at + 8, MAGIC, true);
  view.setUint32(at + 12, entries, true);
  writeU53(view, at + 16, sequence);
  writeXxh64(bytes.subarray(at + 8, at + tablePartBytes(entries)), view, at);
  return view.getUint32(at, true);
}

/** Number of entries of the part at `at`; null if it is damaged or not the part that `reference` means. */
export function readTablePart({ bytes, view }: Block, at: number, reference: PartReference): number | null {
  if (view.getUint32(at + 8, true) !== MAGIC) return null;
  const entries = view.getUint32(at + 12, true);
  if (tablePartBytes(entries) !== reference.bytes) return null;
  if (!matchesXxh64(bytes.subarray(at + 8, at + reference.bytes), view, at)) return null;
  return view.getUint32(at, true) === reference.tag ? entries : null;
}
