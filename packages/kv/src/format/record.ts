/**
 * A record of the log: one write of one key, the deletion of a range of keys, or a fragment of a value. A point read sees a record without the frame
 * around it. A record therefore has its own checksum, and its key to compare with the requested key.
 *
 * ```
 *   0        4     5      6          8            12    16         24
 *   ├────────┼─────┼──────┼──────────┼────────────┼─────┼──────────┼─────┬───────┬─────────┬─────────┐
 *   │ check  │kind │flags │key bytes │value bytes │ 0   │ sequence │ key │ value │ expires │ padding │
 *   │ u32    │u8   │u8    │u16       │u32         │ u32 │ u64      │     │       │ u64     │ to 8    │
 *   └────────┴─────┴──────┴──────────┴────────────┴─────┴──────────┴─────┴───────┴─────────┴─────────┘
 *   check = XXH32 of everything after it, without the padding; when it expires stands there with flag 2 only
 * ```
 *
 * docs/format.md, "Record". Pure encoding and decoding, no files.
 */
import { alignUp, xxh32 } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { memoryForValue } from '../memory/value-memory.ts';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

export const RECORD_HEADER_BYTES = 24;
/** Records start at multiples of this, which saves three bits per address. */
export const RECORD_ALIGNMENT = 8;
export const MAX_KEY_BYTES = 4096;

/**
 * What a record does to its key. A range delete does it to all keys from its own on that are below its value; one without
 * a value, to the last key. A fragment of a value does nothing; see extent.ts.
 */
export const RecordKind = { put: 1, del: 2, deleteRange: 3, fragment: 4 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** The next record belongs to the same batch. A batch counts only if its last record is there. */
export const FLAG_BATCH_CONTINUES = 1;
/** The put expires: behind its value stands when, in milliseconds since 1970. */
const FLAG_EXPIRES = 2;
/** The put holds a table of the fragments of its value instead of the value; see extent.ts. */
export const FLAG_EXTENT = 8;
/** Reserved: compressed 4. A reader refuses flags that it does not know. */
const KNOWN_FLAGS = FLAG_BATCH_CONTINUES | FLAG_EXPIRES | FLAG_EXTENT;
const EXPIRY_BYTES = 8;

/** Bytes of a record, without its padding. @param expiresAtMs 0: never */
export function recordBytes(keyBytes: number, valueBytes: number, expiresAtMs = 0): number {
  return RECORD_HEADER_BYTES + keyBytes + valueBytes + (expiresAtMs === 0 ? 0 : EXPIRY_BYTES);
}

/** Bytes of a record, with its padding. @param expiresAtMs 0: never */
export function paddedRecordBytes(keyBytes: number, valueBytes: number, expiresAtMs = 0): number {
  return alignUp(recordBytes(keyBytes, valueBytes, expiresAtMs), RECORD_ALIGNMENT);
}

/** Bytes of the record at `offset`, by its header, without its padding. */
export function recordBytesAt(view: DataView, offset: number): number {
  const bytes = recordBytes(keyBytesOf(view, offset), valueBytesOf(view, offset));
  return (flagsOf(view, offset) & FLAG_EXPIRES) === 0 ? bytes : bytes + EXPIRY_BYTES;
}

/**
 * Writes a record at `offset`, where `paddedRecordBytes` bytes must be free. Copies the first `keyBytes` bytes of
 * `key` and all of `value`.
 *
 * @param expiresAtMs 0: never
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
  expiresAtMs = 0,
): void {
  const { bytes, view } = target;
  let end = offset + RECORD_HEADER_BYTES + keyBytes + value.length;
  view.setUint8(offset + 4, kind);
  view.setUint8(offset + 5, expiresAtMs === 0 ? flags : flags | FLAG_EXPIRES);
  view.setUint16(offset + 6, keyBytes, true);
  view.setUint32(offset + 8, value.length, true);
  view.setUint32(offset + 12, 0, true);
  writeU53(view, offset + 16, sequence);
  const keyAt = offset + RECORD_HEADER_BYTES;
  for (let i = 0; i < keyBytes; i++) bytes[keyAt + i] = key[i] as number;
  bytes.set(value, keyAt + keyBytes);
  if (expiresAtMs !== 0) {
    writeU53(view, end, expiresAtMs);
    end += EXPIRY_BYTES;
  }
  bytes.fill(0, end, alignUp(end, RECORD_ALIGNMENT));
  sealRecord(target, offset);
}

/** Gives the record at `offset` its checksum, after something of it was changed. */
export function sealRecord({ bytes, view }: Block, offset: number): void {
  const end = offset + recordBytesAt(view, offset);
  view.setUint32(offset, xxh32(bytes.subarray(offset + 4, end)), true);
}

/** Says what is wrong with the record of `lengthBytes` bytes at `offset`; null if it is whole and intact. */
export function recordFault(source: Block, offset: number, lengthBytes: number): string | null {
  const { bytes, view } = source;
  if (lengthBytes < RECORD_HEADER_BYTES || offset + lengthBytes > bytes.length) return 'record length';
  if (view.getUint32(offset, true) !== xxh32(bytes.subarray(offset + 4, offset + lengthBytes))) {
    return 'record checksum';
  }
  if (recordBytesAt(view, offset) !== lengthBytes) return 'record length';
  return null;
}

/** The checksum of the record. A reference to the record can keep it, to recognize the record. */
export function checkOf(view: DataView, offset: number): number {
  return view.getUint32(offset, true);
}

/** Whether the record is a put whose value is in fragments elsewhere. */
export function isExtent(view: DataView, offset: number): boolean {
  return (flagsOf(view, offset) & FLAG_EXTENT) !== 0;
}

/** When the record at `offset`, which is whole, expires; 0: never. */
export function expiresAtOf(view: DataView, offset: number): number {
  if ((flagsOf(view, offset) & FLAG_EXPIRES) === 0) return 0;
  return readU53(view, offset + recordBytesAt(view, offset) - EXPIRY_BYTES);
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

/** Whether the record has this key: `keyBytes` bytes from `from` on. */
export function keyEquals(source: Block, offset: number, key: Uint8Array, keyBytes: number, from = 0): boolean {
  if (keyBytesOf(source.view, offset) !== keyBytes) return false;
  const { bytes } = source;
  const keyAt = offset + RECORD_HEADER_BYTES;
  for (let i = 0; i < keyBytes; i++) if (bytes[keyAt + i] !== key[from + i]) return false;
  return true;
}

/** Up to this many bytes a loop is faster than a view and a copy. */
const LOOP_BYTES = 48;

export function copyBytes(from: Uint8Array, fromAt: number, bytes: number, to: Uint8Array, toAt: number): void {
  if (bytes <= LOOP_BYTES) for (let i = 0; i < bytes; i++) to[toAt + i] = from[fromAt + i] as number;
  else to.set(from.subarray(fromAt, fromAt + bytes), toAt);
}

/** Copies the value of the record, for its receiver (VALUES-1). */
export function copyValue({ bytes, view }: Block, offset: number): Buffer {
  const valueBytes = valueBytesOf(view, offset);
  const value = memoryForValue(valueBytes);
  copyBytes(bytes, offset + RECORD_HEADER_BYTES + keyBytesOf(view, offset), valueBytes, value, 0);
  return value;
}

/** Whether this version knows the kind and the flags of the record. */
export function isKnownRecord(view: DataView, offset: number): boolean {
  const kind = kindOf(view, offset);
  if ((flagsOf(view, offset) & ~KNOWN_FLAGS) !== 0) return false;
  if (kind === RecordKind.put) return true;
  const isKnownKind = kind === RecordKind.del || kind === RecordKind.deleteRange || kind === RecordKind.fragment;
  return isKnownKind && (flagsOf(view, offset) & (FLAG_EXTENT | FLAG_EXPIRES)) === 0;
}
