/**
 * The two blocks of a checkpoint that locate the index: parts of the mapping, which say where the image of each
 * page is, and the root, which says where the parts are. They are in index segments, after the pages.
 *
 * ```
 *   part of the mapping                            root
 *    0  hash u64, XXH64 of what comes after it      0  hash u64, XXH64 of what comes after it
 *    8  magic u32 "AKMP"                            8  magic u32 "AKRT"
 *   12  entries u32                                12  bytes of the root u32
 *   16  checkpoint sequence u64                    16  checkpoint sequence u64
 *   24  entries, 16 bytes each                     24  page id of the tree's root u32, 0 an empty tree
 *                                                  28  pages u32
 *   entry                                          32  keys u64
 *    0  page id u32                                40  parts u32
 *    4  file offset / 8, low 32 bits u32           44  index segments u32
 *    8  its high bits u16                          48  parts: file offset u64, bytes u32, tag u32 each
 *   10  tag u16 of the image                           slots of the index segments: u32 each
 *   12  image bytes / 8, 24 bits; units, 8 bits
 * ```
 *
 * docs/format.md, "Mapping" and "Checkpoint root". Pure encoding and decoding.
 */
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { PAGE_HEADER_BYTES } from './page.ts';
import type { Geometry } from './superblock.ts';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

/** An index segment is written in chunks of at most this size. An image never crosses the end of a chunk. */
export const CHUNK_BYTES = 256 * KIB;
/** Entries in a part of the mapping: about 64 KiB. */
export const PART_ENTRIES = 4096;
const PART_MAGIC = 0x504d4b41;
const ROOT_MAGIC = 0x54524b41;
export const PART_HEADER_BYTES = 24;
export const ENTRY_BYTES = 16;
const ROOT_HEADER_BYTES = 48;
const PART_REFERENCE_BYTES = 16;
/** No image and no part is larger. */
const LARGEST_BYTES = 256 * 1024;
const TWO_32 = 0x1_0000_0000;

/** Where the image of a page is. */
export interface MappingEntry {
  readonly pageId: number;
  readonly fileOffset: number;
  readonly imageBytes: number;
  readonly units: number;
  readonly tag: number;
}

/** Where a part of the mapping is. */
export interface PartReference {
  readonly fileOffset: number;
  readonly bytes: number;
  /** The lowest 32 bits of the hash of the part. */
  readonly tag: number;
}

export interface CheckpointRoot {
  readonly sequence: number;
  readonly rootPage: number;
  readonly pages: number;
  readonly keys: number;
  readonly parts: readonly PartReference[];
  readonly slots: readonly number[];
}

export function partBytes(entries: number): number {
  return PART_HEADER_BYTES + entries * ENTRY_BYTES;
}

export function writeEntry({ view }: Block, at: number, entry: MappingEntry): void {
  const units8 = entry.fileOffset / 8;
  view.setUint32(at, entry.pageId, true);
  view.setUint32(at + 4, units8 >>> 0, true);
  view.setUint16(at + 8, Math.floor(units8 / TWO_32), true);
  view.setUint16(at + 10, entry.tag, true);
  view.setUint32(at + 12, entry.imageBytes / 8 + entry.units * 2 ** 24, true);
}

export function readEntry({ view }: Block, at: number): MappingEntry {
  const sizes = view.getUint32(at + 12, true);
  return {
    pageId: view.getUint32(at, true),
    fileOffset: (view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * TWO_32) * 8,
    tag: view.getUint16(at + 10, true),
    imageBytes: (sizes & 0xff_ffff) * 8,
    units: sizes >>> 24,
  };
}

/** Whether an entry is plausible: the image lies within the file, and is small enough to be read at once. */
export function isPossibleEntry({ pageId, fileOffset, imageBytes, units }: MappingEntry, fileBytes: number): boolean {
  return (
    pageId > 0 &&
    pageId < 2 ** 31 &&
    units > 0 &&
    imageBytes > PAGE_HEADER_BYTES &&
    imageBytes <= LARGEST_BYTES &&
    fileOffset + imageBytes <= fileBytes
  );
}

/** Writes the header of a part after its entries were written. Returns its tag. */
export function sealPart({ bytes, view }: Block, at: number, entries: number, sequence: number): number {
  view.setUint32(at + 8, PART_MAGIC, true);
  view.setUint32(at + 12, entries, true);
  writeU53(view, at + 16, sequence);
  writeXxh64(bytes.subarray(at + 8, at + partBytes(entries)), view, at);
  return view.getUint32(at, true);
}

/** Whether a reference is plausible: the part lies within the file, and is small enough to be read at once. */
export function isPossiblePart({ fileOffset, bytes }: PartReference, fileBytes: number): boolean {
  return (
    bytes >= PART_HEADER_BYTES && bytes <= LARGEST_BYTES && fileOffset % 8 === 0 && fileOffset + bytes <= fileBytes
  );
}

/** Number of entries of the part at `at`; null if it is damaged or not the part that `reference` means. */
export function readPart({ bytes, view }: Block, at: number, reference: PartReference): number | null {
  if (view.getUint32(at + 8, true) !== PART_MAGIC) return null;
  const entries = view.getUint32(at + 12, true);
  if (partBytes(entries) !== reference.bytes) return null;
  if (!matchesXxh64(bytes.subarray(at + 8, at + reference.bytes), view, at)) return null;
  return view.getUint32(at, true) === reference.tag ? entries : null;
}

export function rootBytes(parts: number, slots: number): number {
  return ROOT_HEADER_BYTES + parts * PART_REFERENCE_BYTES + slots * 4;
}

/** The most bytes of one image, part or root: it must fit into one chunk after the header of the segment. */
export function mostImageBytes({ segmentBytes, writeAlignment }: Geometry): number {
  return Math.min(CHUNK_BYTES, segmentBytes) - writeAlignment;
}

/**
 * The number of index segments that a root can name in addition to the parts of the mapping, if images have 1 KiB or
 * more on average. This limits the index of a store, and so the number of its keys: docs/format.md, "Limits".
 */
export function mostIndexSlots(geometry: Geometry): number {
  const largest = mostImageBytes(geometry);
  const entriesOfPart = Math.min(PART_ENTRIES, Math.floor((largest - PART_HEADER_BYTES) / ENTRY_BYTES));
  const partsOfSlot = geometry.segmentBytes / KIB / entriesOfPart;
  return Math.floor((largest - ROOT_HEADER_BYTES - PART_REFERENCE_BYTES) / (4 + partsOfSlot * PART_REFERENCE_BYTES));
}

export function encodeRoot({ bytes, view }: Block, at: number, root: CheckpointRoot): void {
  const length = rootBytes(root.parts.length, root.slots.length);
  view.setUint32(at + 8, ROOT_MAGIC, true);
  view.setUint32(at + 12, length, true);
  writeU53(view, at + 16, root.sequence);
  view.setUint32(at + 24, root.rootPage, true);
  view.setUint32(at + 28, root.pages, true);
  writeU53(view, at + 32, root.keys);
  view.setUint32(at + 40, root.parts.length, true);
  view.setUint32(at + 44, root.slots.length, true);
  let next = at + ROOT_HEADER_BYTES;
  for (const part of root.parts) {
    writeU53(view, next, part.fileOffset);
    view.setUint32(next + 8, part.bytes, true);
    view.setUint32(next + 12, part.tag, true);
    next += PART_REFERENCE_BYTES;
  }
  for (const slot of root.slots) {
    view.setUint32(next, slot, true);
    next += 4;
  }
  writeXxh64(bytes.subarray(at + 8, at + length), view, at);
}

/** The length in bytes that the root at `at` gives, unchecked; null if there is no root. */
export function rootLength({ view }: Block, at: number): number | null {
  return view.getUint32(at + 8, true) === ROOT_MAGIC ? view.getUint32(at + 12, true) : null;
}

/** Reads the root at `at`; null if it is damaged. */
export function readRoot(block: Block, at: number): CheckpointRoot | null {
  const { bytes, view } = block;
  const length = rootLength(block, at);
  if (length === null || length < ROOT_HEADER_BYTES || at + length > bytes.length) return null;
  if (!matchesXxh64(bytes.subarray(at + 8, at + length), view, at)) return null;
  const partCount = view.getUint32(at + 40, true);
  const slotCount = view.getUint32(at + 44, true);
  if (rootBytes(partCount, slotCount) !== length) return null;
  const partsAt = at + ROOT_HEADER_BYTES;
  const slotsAt = partsAt + partCount * PART_REFERENCE_BYTES;
  return {
    sequence: readU53(view, at + 16),
    rootPage: view.getUint32(at + 24, true),
    pages: view.getUint32(at + 28, true),
    keys: readU53(view, at + 32),
    parts: Array.from({ length: partCount }, (_, i) => ({
      fileOffset: readU53(view, partsAt + i * PART_REFERENCE_BYTES),
      bytes: view.getUint32(partsAt + i * PART_REFERENCE_BYTES + 8, true),
      tag: view.getUint32(partsAt + i * PART_REFERENCE_BYTES + 12, true),
    })),
    slots: Array.from({ length: slotCount }, (_, i) => view.getUint32(slotsAt + i * 4, true)),
  };
}
