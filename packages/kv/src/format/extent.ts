/**
 * A value that is too long for one record. It is cut into fragments. Each fragment is a record before the put, and
 * the put has a table of the fragments in place of the value.
 *
 * ```
 *   … │ fragment 0 │ fragment 1 │ … │ fragment n-1 │ put, flag "extent" │ …      sequences s-n … s-1, s
 *          ▲            ▲                ▲                   │
 *          └────────────┴────────────────┴───────────────────┘
 *
 *   what the put has in place of a value:
 *   0             8           12   16
 *   ├─────────────┼───────────┼────┼────────────────────────────────────────────────┬────────────┬───
 *   │ value bytes │ fragments │ 0  │ fragment 0: file offset u64, record bytes u32, │ fragment 1 │
 *   │ u64         │ u32       │u32 │             check u32 of the record            │            │
 *   └─────────────┴───────────┴────┴────────────────────────────────────────────────┴────────────┴───
 *   a fragment: a record of kind 4 with the key of the put; its value is that part of the whole value
 * ```
 *
 * EXTENT-1. All fragments are in the chain before the put, so a put that counts has all of its value. One that was moved
 *     counts when a checkpoint leads to it, and its fragments are on the device by then.
 * EXTENT-2. A fragment is accepted only if its checksum is right and is the one in the table, its key is that of the
 *     put, and its sequence is the one that its position in the table implies. A stale record in its place is never
 *     accepted.
 *
 * docs/format.md, "Extent". Pure encoding and decoding, no files.
 */
import { MIB, alignDown } from '@aiokv/core';
import { MAX_FRAME_BYTES, FRAME_HEADER_BYTES } from './frame.ts';
import {
  MAX_KEY_BYTES,
  RECORD_ALIGNMENT,
  RECORD_HEADER_BYTES,
  RecordKind,
  checkOf,
  kindOf,
  sequenceOf,
} from './record.ts';
import type { Geometry } from './superblock.ts';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

/** Bytes of the longest value that any store takes. */
export const MAX_VALUE_BYTES = 64 * MIB;
const TABLE_HEADER_BYTES = 16;
const TABLE_ENTRY_BYTES = 16;

/** Where a fragment is. */
export interface Fragment {
  readonly fileOffset: number;
  readonly lengthBytes: number;
  readonly check: number;
}

export interface Extent {
  readonly valueBytes: number;
  readonly fragments: readonly Fragment[];
}

/** The most bytes of one record in the log, with its padding: a frame of its own. */
export function maxRecordBytes({ segmentBytes, writeAlignment }: Geometry): number {
  return Math.min(MAX_FRAME_BYTES, segmentBytes - writeAlignment) - FRAME_HEADER_BYTES;
}

/**
 * Bytes of the value in each fragment; the last fragment may have fewer. The length is chosen so that the frames of the
 * fragments fill a segment.
 */
export function fragmentValueBytes({ segmentBytes, writeAlignment }: Geometry, keyBytes: number): number {
  const usableBytes = segmentBytes - writeAlignment;
  const frames = Math.ceil(usableBytes / MAX_FRAME_BYTES);
  const frameBytes = alignDown(Math.floor(usableBytes / frames), writeAlignment);
  return alignDown(frameBytes - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES - keyBytes, RECORD_ALIGNMENT);
}

/** Bytes of the longest value of a store. Its table must fit into one record, even with the longest key. */
export function maxValueBytes(geometry: Geometry): number {
  const tableBytes = maxRecordBytes(geometry) - RECORD_HEADER_BYTES - MAX_KEY_BYTES;
  const fragments = Math.floor((tableBytes - TABLE_HEADER_BYTES) / TABLE_ENTRY_BYTES);
  return Math.min(MAX_VALUE_BYTES, fragments * fragmentValueBytes(geometry, MAX_KEY_BYTES));
}

/** Bytes of a table of so many fragments. */
export function tableBytes(fragments: number): number {
  return TABLE_HEADER_BYTES + fragments * TABLE_ENTRY_BYTES;
}

export function encodeTable({ valueBytes, fragments }: Extent): Uint8Array {
  const bytes = new Uint8Array(tableBytes(fragments.length));
  const view = new DataView(bytes.buffer);
  writeU53(view, 0, valueBytes);
  view.setUint32(8, fragments.length, true);
  for (const [i, fragment] of fragments.entries()) {
    const at = tableBytes(i);
    writeU53(view, at, fragment.fileOffset);
    view.setUint32(at + 8, fragment.lengthBytes, true);
    view.setUint32(at + 12, fragment.check, true);
  }
  return bytes;
}

/**
 * Reads the table of `lengthBytes` bytes at `at`; null if it is not the table of a value whose key has `keyBytes`
 * bytes.
 */
export function readTable(view: DataView, at: number, lengthBytes: number, keyBytes: number): Extent | null {
  if (lengthBytes < TABLE_HEADER_BYTES) return null;
  const valueBytes = readU53(view, at);
  const count = view.getUint32(at + 8, true);
  if (!(valueBytes <= MAX_VALUE_BYTES) || tableBytes(count) !== lengthBytes) return null;
  const fragments: Fragment[] = [];
  let leftBytes = valueBytes;
  for (let i = 0; i < count; i++) {
    const entryAt = at + tableBytes(i);
    const lengthBytes = view.getUint32(entryAt + 8, true);
    leftBytes -= lengthBytes - RECORD_HEADER_BYTES - keyBytes;
    fragments.push({ fileOffset: readU53(view, entryAt), lengthBytes, check: view.getUint32(entryAt + 12, true) });
  }
  const areLong = fragments.every(
    (fragment) => fragment.lengthBytes > RECORD_HEADER_BYTES + keyBytes && fragment.fileOffset >= 0,
  );
  return leftBytes === 0 && areLong && count > 0 ? { valueBytes, fragments } : null;
}

/** Writes another place of fragment `index` into the table at `at`. */
export function placeFragment(view: DataView, at: number, index: number, fileOffset: number): void {
  writeU53(view, at + tableBytes(index), fileOffset);
}

/** Fragments in the table of a put of so many bytes. */
export function fragmentsIn(recordBytes: number, keyBytes: number): number {
  return Math.floor((recordBytes - RECORD_HEADER_BYTES - keyBytes - TABLE_HEADER_BYTES) / TABLE_ENTRY_BYTES);
}

/**
 * What is wrong with the record, which is whole and has the right key, if it is not the expected fragment; else null.
 */
export function fragmentFault({ view }: Block, at: number, fragment: Fragment, sequence: number): string | null {
  if (kindOf(view, at) !== RecordKind.fragment) return 'kind';
  if (checkOf(view, at) !== fragment.check) return 'another check';
  return sequenceOf(view, at) === sequence ? null : 'sequence';
}

/** An upper bound in bytes for the value whose table is in a put of so many bytes. */
export function valueBytesOfTable(recordBytes: number): number {
  return Math.min(MAX_VALUE_BYTES, Math.floor(recordBytes / TABLE_ENTRY_BYTES) * MAX_FRAME_BYTES);
}
