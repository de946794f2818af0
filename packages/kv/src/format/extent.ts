/**
 * A value that is too long for one record. It is cut into fragments, each a record of its own that stands before
 * the put; in place of the value the put has a table which says where the fragments are.
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
 * EXTENT-1. All fragments are in the chain before the put: a put that counts has all of its value.
 * EXTENT-2. A fragment is taken only if its checksum is right and the one that the table names, its key that of the put, and
 *     its sequence that which its place in the table gives it. So what lay in its place before is never taken for it.
 *
 * docs/format.md, "Extent". Pure encoding and decoding; nothing here knows of files.
 */
import { MIB, alignDown } from '@aiokv/core';
import { MAX_FRAME_BYTES, FRAME_HEADER_BYTES } from './frame.ts';
import { MAX_KEY_BYTES, RECORD_ALIGNMENT, RECORD_HEADER_BYTES } from './record.ts';
import type { Geometry } from './superblock.ts';
import { readU53, writeU53 } from './words.ts';

/** No store takes a longer value. */
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

/** The most bytes that one record may take in the log, padding counted: it has a frame of its own then. */
export function maxRecordBytes({ segmentBytes, writeAlignment }: Geometry): number {
  return Math.min(MAX_FRAME_BYTES, segmentBytes - writeAlignment) - FRAME_HEADER_BYTES;
}

/**
 * Bytes of the value that a fragment holds, the last one perhaps fewer. Frames of such fragments are of one length, chosen so
 * that they fill a segment.
 */
export function fragmentValueBytes({ segmentBytes, writeAlignment }: Geometry, keyBytes: number): number {
  const usableBytes = segmentBytes - writeAlignment;
  const frames = Math.ceil(usableBytes / MAX_FRAME_BYTES);
  const frameBytes = alignDown(Math.floor(usableBytes / frames), writeAlignment);
  return alignDown(frameBytes - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES - keyBytes, RECORD_ALIGNMENT);
}

/** The longest value of a store: its table must fit into one record, whatever the key. */
export function maxValueBytes(geometry: Geometry): number {
  const tableBytes = maxRecordBytes(geometry) - RECORD_HEADER_BYTES - MAX_KEY_BYTES;
  const fragments = Math.floor((tableBytes - TABLE_HEADER_BYTES) / TABLE_ENTRY_BYTES);
  return Math.min(MAX_VALUE_BYTES, fragments * fragmentValueBytes(geometry, MAX_KEY_BYTES));
}

/** Bytes of the table of so many fragments. */
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

/** The table in the bytes of `view` from `at` on, or null when it is none of a value with such a key. */
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

/** The value whose table is in a put of so many bytes is no longer than this. */
export function valueBytesOfTable(recordBytes: number): number {
  return Math.min(MAX_VALUE_BYTES, Math.floor(recordBytes / TABLE_ENTRY_BYTES) * MAX_FRAME_BYTES);
}
