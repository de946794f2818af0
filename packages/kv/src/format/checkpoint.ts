/**
 * The parts of the mapping, which say where the image of each page is. They are in index segments, after the pages. The
 * root (checkpoint-root.ts) references them, and the parts of the segment table (segment-table.ts), in the same way.
 *
 * ```
 *   part of the mapping                            entry
 *    0  hash u64, XXH64 of what comes after it      0  page id u32
 *    8  magic u32 "AKMP"                            4  file offset / 8, low 32 bits u32
 *   12  entries u32                                 8  its high bits u16
 *   16  checkpoint sequence u64                    10  tag u16 of the image
 *   24  entries, 16 bytes each                     12  image bytes / 8, 24 bits; units, 8 bits
 * ```
 *
 * docs/format.md, "Mapping". Pure encoding and decoding.
 */
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { PAGE_HEADER_BYTES } from './page.ts';
import type { Geometry } from './superblock.ts';
import { writeU53 } from './words.ts';
import type { Block } from './words.ts';

/** An index segment is written in chunks of at most this size. An image never crosses the end of a chunk. */
export const CHUNK_BYTES = 256 * KIB;
/** Entries in a part of the mapping: about 64 KiB. */
const PART_ENTRIES = 4096;
const PART_MAGIC = 0x504d4b41;
export const PART_HEADER_BYTES = 24;
export const ENTRY_BYTES = 16;
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

/** Where a part of the mapping or of the segment table is. */
export interface PartReference {
  readonly fileOffset: number;
  readonly bytes: number;
  /** The lowest 32 bits of the hash of the part. */
  readonly tag: number;
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

/** The most bytes of one image, part or root: it must fit into one chunk after the header of the segment. */
export function mostImageBytes({ segmentBytes, writeAlignment }: Geometry): number {
  return Math.min(CHUNK_BYTES, segmentBytes) - writeAlignment;
}

/** The most entries of a part of the mapping in this geometry. */
export function mostPartEntries(geometry: Geometry): number {
  return Math.min(PART_ENTRIES, Math.floor((mostImageBytes(geometry) - PART_HEADER_BYTES) / ENTRY_BYTES));
}
