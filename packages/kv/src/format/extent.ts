/**
 * A value that is too long for one record. It is cut into pieces, each a record of its own that stands before
 * the put; in place of the value the put has a table which says where the pieces are.
 *
 * ```
 *   … │ piece 0 │ piece 1 │ … │ piece n-1 │ put, flag "extent" │ …      sequences s-n … s-1, s
 *          ▲         ▲              ▲              │
 *          └─────────┴──────────────┴──────────────┘
 *
 *   what the put has in place of a value:
 *   0             8        12   16
 *   ├─────────────┼────────┼────┼─────────────────────────────────────────────┬─────────┬───
 *   │ value bytes │ pieces │ 0  │ piece 0: file offset u64, record bytes u32,  │ piece 1 │
 *   │ u64         │ u32    │u32 │          check u32 of the record             │         │
 *   └─────────────┴────────┴────┴─────────────────────────────────────────────┴─────────┴───
 *   a piece: a record of kind 4 with the key of the put; its value is that part of the whole value
 * ```
 *
 * EXTENT-1. All pieces are in the chain before the put: a put that counts has all of its value.
 * EXTENT-2. A piece is taken only if its checksum is right and the one that the table names, its key that of the put, and
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

/** Where a piece is. */
export interface Piece {
  readonly fileOffset: number;
  readonly lengthBytes: number;
  readonly check: number;
}

export interface Extent {
  readonly valueBytes: number;
  readonly pieces: readonly Piece[];
}

/** The most bytes that one record may take in the log, padding counted: it has a frame of its own then. */
export function maxRecordBytes({ segmentBytes, writeAlignment }: Geometry): number {
  return Math.min(MAX_FRAME_BYTES, segmentBytes - writeAlignment) - FRAME_HEADER_BYTES;
}

/**
 * Bytes of the value that a piece holds, the last one perhaps fewer. Frames of such pieces are of one length, chosen so
 * that they fill a segment.
 */
export function pieceValueBytes({ segmentBytes, writeAlignment }: Geometry, keyBytes: number): number {
  const usableBytes = segmentBytes - writeAlignment;
  const frames = Math.ceil(usableBytes / MAX_FRAME_BYTES);
  const frameBytes = alignDown(Math.floor(usableBytes / frames), writeAlignment);
  return alignDown(frameBytes - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES - keyBytes, RECORD_ALIGNMENT);
}

/** The longest value of a store: its table must fit into one record, whatever the key. */
export function maxValueBytes(geometry: Geometry): number {
  const tableBytes = maxRecordBytes(geometry) - RECORD_HEADER_BYTES - MAX_KEY_BYTES;
  const pieces = Math.floor((tableBytes - TABLE_HEADER_BYTES) / TABLE_ENTRY_BYTES);
  return Math.min(MAX_VALUE_BYTES, pieces * pieceValueBytes(geometry, MAX_KEY_BYTES));
}

/** Bytes of the table of so many pieces. */
export function tableBytes(pieces: number): number {
  return TABLE_HEADER_BYTES + pieces * TABLE_ENTRY_BYTES;
}

export function encodeTable({ valueBytes, pieces }: Extent): Uint8Array {
  const bytes = new Uint8Array(tableBytes(pieces.length));
  const view = new DataView(bytes.buffer);
  writeU53(view, 0, valueBytes);
  view.setUint32(8, pieces.length, true);
  for (const [i, piece] of pieces.entries()) {
    const at = tableBytes(i);
    writeU53(view, at, piece.fileOffset);
    view.setUint32(at + 8, piece.lengthBytes, true);
    view.setUint32(at + 12, piece.check, true);
  }
  return bytes;
}

/** The table in the bytes of `view` from `at` on, or null when it is none of a value with such a key. */
export function readTable(view: DataView, at: number, lengthBytes: number, keyBytes: number): Extent | null {
  if (lengthBytes < TABLE_HEADER_BYTES) return null;
  const valueBytes = readU53(view, at);
  const count = view.getUint32(at + 8, true);
  if (!(valueBytes <= MAX_VALUE_BYTES) || tableBytes(count) !== lengthBytes) return null;
  const pieces: Piece[] = [];
  let leftBytes = valueBytes;
  for (let i = 0; i < count; i++) {
    const entryAt = at + tableBytes(i);
    const lengthBytes = view.getUint32(entryAt + 8, true);
    leftBytes -= lengthBytes - RECORD_HEADER_BYTES - keyBytes;
    pieces.push({ fileOffset: readU53(view, entryAt), lengthBytes, check: view.getUint32(entryAt + 12, true) });
  }
  const areLong = pieces.every((piece) => piece.lengthBytes > RECORD_HEADER_BYTES + keyBytes && piece.fileOffset >= 0);
  return leftBytes === 0 && areLong && count > 0 ? { valueBytes, pieces } : null;
}

/** The value whose table is in a put of so many bytes is no longer than this. */
export function valueBytesOfTable(recordBytes: number): number {
  return Math.min(MAX_VALUE_BYTES, Math.floor(recordBytes / TABLE_ENTRY_BYTES) * MAX_FRAME_BYTES);
}
