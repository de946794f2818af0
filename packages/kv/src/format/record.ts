/**
 * One write of one key, or a fragment of its value, as it stands in the log. A point read sees a record without the frame
 * around it, so a record carries a checksum of its own, and its key to be compared with the key asked for.
 *
 * ```
 *   0        4     5      6          8            12             16         24
 *   ├────────┼─────┼──────┼──────────┼────────────┼──────────────┼──────────┼─────┬───────┬─────────┐
 *   │ check  │kind │flags │key bytes │value bytes │ expiry       │ sequence │ key │ value │ padding │
 *   │ u32    │u8   │u8    │u16       │u32         │ u32 s, 0 none│ u64      │     │       │ to 8    │
 *   └────────┴─────┴──────┴──────────┴────────────┴──────────────┴──────────┴─────┴───────┴─────────┘
 *   check = XXH32 of everything behind it, without the padding
 * ```
 *
 * docs/format.md, "Record". Pure encoding and decoding; nothing here knows of files.
 */
import { alignUp, xxh32 } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

export const RECORD_HEADER_BYTES = 24;
/** Records start at multiples of this, so that an address needs three bits less. */
export const RECORD_ALIGNMENT = 8;
export const MAX_KEY_BYTES = 4096;

/** What a record does to its key; 3 is kept for range deletes. A fragment of a value does nothing: see extent.ts. */
export const RecordKind = { put: 1, del: 2, fragment: 4 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** The batch goes on with the next record; a batch counts only when its last record is there. */
export const FLAG_BATCH_CONTINUES = 1;
/** What stands in place of the value of a put says where its fragments are: see extent.ts. */
export const FLAG_EXTENT = 8;
/** Kept for later versions: expiry 2, compressed 4. A reader refuses flags it does not know. */
const KNOWN_FLAGS = FLAG_BATCH_CONTINUES | FLAG_EXTENT;

/** Bytes of a record in a frame, without padding. */
export function recordBytes(keyBytes: number, valueBytes: number): number {
  return RECORD_HEADER_BYTES + keyBytes + valueBytes;
}

/** Bytes that a record takes up in a frame. */
export function paddedRecordBytes(keyBytes: number, valueBytes: number): number {
  return alignUp(recordBytes(keyBytes, valueBytes), RECORD_ALIGNMENT);
}

/**
 * Writes a record at `offset`, where `paddedRecordBytes` are free. `key` and `value` are copied; they
 * hold their bytes from index 0.
 */
export function encodeRecord(
  target: Block,
  offset: number,
  kind: RecordKind,
  flags: number,
  sequence: Sequence,
  key: Uint8Array,
  keyBytes: number,
  value: Uint8Array,
): void {
  const { bytes, view } = target;
  const end = offset + RECORD_HEADER_BYTES + keyBytes + value.length;
  view.setUint8(offset + 4, kind);
  view.setUint8(offset + 5, flags);
  view.setUint16(offset + 6, keyBytes, true);
  view.setUint32(offset + 8, value.length, true);
  view.setUint32(offset + 12, 0, true);
  writeU53(view, offset + 16, sequence);
  const keyAt = offset + RECORD_HEADER_BYTES;
  for (let i = 0; i < keyBytes; i++) bytes[keyAt + i] = key[i] as number;
  bytes.set(value, keyAt + keyBytes);
  bytes.fill(0, end, alignUp(end, RECORD_ALIGNMENT));
  view.setUint32(offset, xxh32(bytes.subarray(offset + 4, end)), true);
}

/** What is wrong with the bytes at `offset`, or null when a whole, unharmed record of `lengthBytes` stands there. */
export function recordFault(source: Block, offset: number, lengthBytes: number): string | null {
  const { bytes, view } = source;
  if (lengthBytes < RECORD_HEADER_BYTES || offset + lengthBytes > bytes.length) return 'record length';
  if (view.getUint32(offset, true) !== xxh32(bytes.subarray(offset + 4, offset + lengthBytes))) {
    return 'record checksum';
  }
  if (recordBytes(keyBytesOf(view, offset), valueBytesOf(view, offset)) !== lengthBytes) return 'record length';
  return null;
}

/** The record's checksum, which whoever leads to a record may keep to tell it from all others. */
export function checkOf(view: DataView, offset: number): number {
  return view.getUint32(offset, true);
}

/** Whether the record is a put whose value stands in fragments elsewhere. */
export function isExtent(view: DataView, offset: number): boolean {
  return (flagsOf(view, offset) & FLAG_EXTENT) !== 0;
}

export function kindOf(view: DataView, offset: number): number {
  return view.getUint8(offset + 4);
}

export function flagsOf(view: DataView, offset: number): number {
  return view.getUint8(offset + 5);
}

export function keyBytesOf(view: DataView, offset: number): number {
  return view.getUint16(offset + 6, true);
}

export function valueBytesOf(view: DataView, offset: number): number {
  return view.getUint32(offset + 8, true);
}

export function sequenceOf(view: DataView, offset: number): Sequence {
  return readU53(view, offset + 16) as Sequence;
}

/** Whether the record's key is the given one. */
export function keyEquals(source: Block, offset: number, key: Uint8Array, keyBytes: number): boolean {
  if (keyBytesOf(source.view, offset) !== keyBytes) return false;
  const { bytes } = source;
  const keyAt = offset + RECORD_HEADER_BYTES;
  for (let i = 0; i < keyBytes; i++) if (bytes[keyAt + i] !== key[i]) return false;
  return true;
}

/** Up to here a loop costs less than a view and a copy. */
const LOOP_BYTES = 48;

/**
 * A copy of the record's value, which belongs to the caller, and its memory to it alone. Memory that several values
 * share costs 0.3 µs less each (of the 8 to 10 that a get takes), but then one kept value keeps the others' memory, and
 * one that is transferred, to a worker or into a stream of bytes, empties the others: marking it as not transferable does
 * not stop a stream in Node.js 20.
 */
export function copyValue(source: Block, offset: number): Buffer {
  const from = offset + RECORD_HEADER_BYTES + keyBytesOf(source.view, offset);
  const valueBytes = valueBytesOf(source.view, offset);
  const value = Buffer.allocUnsafeSlow(valueBytes);
  const { bytes } = source;
  if (valueBytes <= LOOP_BYTES) for (let i = 0; i < valueBytes; i++) value[i] = bytes[from + i] as number;
  else value.set(bytes.subarray(from, from + valueBytes));
  return value;
}

/** Whether this version understands the record's kind and flags. */
export function isKnownRecord(view: DataView, offset: number): boolean {
  const kind = kindOf(view, offset);
  if ((flagsOf(view, offset) & ~KNOWN_FLAGS) !== 0) return false;
  if (kind === RecordKind.put) return true;
  return (kind === RecordKind.del || kind === RecordKind.fragment) && !isExtent(view, offset);
}
