/**
 * The root of a checkpoint: what the superblock leads to, and what leads to everything else. It references the parts of
 * the mapping (checkpoint.ts), which lead to the pages, and the parts of the segment table (segment-table.ts).
 *
 * ```
 *   root                                           root of version 0.1
 *    0  hash u64, XXH64 of what comes after it      0  hash u64, XXH64 of what comes after it
 *    8  magic u32 "AKR2"                            8  magic u32 "AKRT"
 *   12  bytes of the root u32                      12  bytes of the root u32
 *   16  checkpoint sequence u64                    16  checkpoint sequence u64
 *   24  page id of the tree's root u32, 0 if empty 24  page id of the tree's root u32, 0 if empty
 *   28  pages u32                                  28  pages u32
 *   32  keys u64                                   32  keys u64
 *   40  parts of the mapping u32                   40  parts of the mapping u32
 *   44  parts of the segment table u32             44  index segments u32
 *   48  0, 32 bytes                                48  references to the parts of the mapping
 *                                                      slots of the index segments: u32 each
 *   80  references to the parts of the mapping
 *       references to those of the table           reference: file offset u64, bytes u32, tag u32
 * ```
 *
 * A root of version 0.1 names the slots of the index segments. All segments of the log are in use then, because version
 * 0.1 frees none of them. With a segment table, a slot is in use only if the table names it, if the root or one of its
 * parts is there, or if the replay meets it.
 *
 * docs/format.md, "Checkpoint root". Pure encoding and decoding.
 */
import { KIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { mostImageBytes, mostPartEntries } from './checkpoint.ts';
import type { PartReference } from './checkpoint.ts';
import { mostTableEntries } from './segment-table.ts';
import type { Geometry } from './superblock.ts';
import { readU53, writeU53 } from './words.ts';
import type { Block } from './words.ts';

const MAGIC = 0x32524b41; // 'AKR2'
const HEADER_BYTES = 80;
const OLD_MAGIC = 0x54524b41; // 'AKRT'
const OLD_HEADER_BYTES = 48;
const REFERENCE_BYTES = 16;

interface RootFields {
  readonly sequence: number;
  /** Page id of the root of the tree; 0 if the tree is empty. */
  readonly rootPage: number;
  readonly pages: number;
  readonly keys: number;
  readonly mappingParts: readonly PartReference[];
}

export interface RootInParts extends RootFields {
  readonly tableParts: readonly PartReference[];
}

/** What version 0.1 wrote. */
export interface OldRoot extends RootFields {
  /** Slots of the index segments. */
  readonly slots: readonly number[];
}

/** A root as it was read. */
export type CheckpointRoot = (RootInParts & { readonly slots: null }) | (OldRoot & { readonly tableParts: null });

export function rootBytes(mappingParts: number, tableParts: number): number {
  return HEADER_BYTES + (mappingParts + tableParts) * REFERENCE_BYTES;
}

export function oldRootBytes(mappingParts: number, slots: number): number {
  return OLD_HEADER_BYTES + mappingParts * REFERENCE_BYTES + slots * 4;
}

/** Writes a root at `at`, a multiple of 8, to zeroed bytes. */
export function encodeRoot(block: Block, at: number, root: RootInParts): void {
  const { mappingParts, tableParts } = root;
  const length = rootBytes(mappingParts.length, tableParts.length);
  writeFields(block, at, MAGIC, length, root, tableParts.length);
  writeReferences(block, at + HEADER_BYTES, mappingParts);
  writeReferences(block, at + rootBytes(mappingParts.length, 0), tableParts);
  writeXxh64(block.bytes.subarray(at + 8, at + length), block.view, at);
}

/** Writes a root of version 0.1. */
export function encodeOldRoot(block: Block, at: number, root: OldRoot): void {
  const { mappingParts, slots } = root;
  const length = oldRootBytes(mappingParts.length, slots.length);
  writeFields(block, at, OLD_MAGIC, length, root, slots.length);
  writeReferences(block, at + OLD_HEADER_BYTES, mappingParts);
  const slotsAt = at + oldRootBytes(mappingParts.length, 0);
  for (const [i, slot] of slots.entries()) block.view.setUint32(slotsAt + i * 4, slot, true);
  writeXxh64(block.bytes.subarray(at + 8, at + length), block.view, at);
}

/** The length in bytes that the root at `at` gives, unchecked; null if there is no root. */
export function rootLength({ view }: Block, at: number): number | null {
  const magic = view.getUint32(at + 8, true);
  return magic === MAGIC || magic === OLD_MAGIC ? view.getUint32(at + 12, true) : null;
}

/** Reads the root at `at`; null if it is damaged. */
export function readRoot(block: Block, at: number): CheckpointRoot | null {
  const { bytes, view } = block;
  const length = rootLength(block, at);
  if (length === null || length < OLD_HEADER_BYTES || at + length > bytes.length) return null;
  if (!matchesXxh64(bytes.subarray(at + 8, at + length), view, at)) return null;
  const parts = view.getUint32(at + 40, true);
  const others = view.getUint32(at + 44, true);
  const fields = {
    sequence: readU53(view, at + 16),
    rootPage: view.getUint32(at + 24, true),
    pages: view.getUint32(at + 28, true),
    keys: readU53(view, at + 32),
  };
  if (view.getUint32(at + 8, true) === MAGIC) {
    if (rootBytes(parts, others) !== length) return null;
    const mappingParts = readReferences(block, at + HEADER_BYTES, parts);
    return {
      ...fields,
      mappingParts,
      tableParts: readReferences(block, at + rootBytes(parts, 0), others),
      slots: null,
    };
  }
  if (oldRootBytes(parts, others) !== length) return null;
  const slotsAt = at + oldRootBytes(parts, 0);
  const slots = Array.from({ length: others }, (_, i) => view.getUint32(slotsAt + i * 4, true));
  return { ...fields, mappingParts: readReferences(block, at + OLD_HEADER_BYTES, parts), tableParts: null, slots };
}

function writeFields(
  { view }: Block,
  at: number,
  magic: number,
  length: number,
  { sequence, rootPage, pages, keys, mappingParts }: RootFields,
  others: number,
): void {
  view.setUint32(at + 8, magic, true);
  view.setUint32(at + 12, length, true);
  writeU53(view, at + 16, sequence);
  view.setUint32(at + 24, rootPage, true);
  view.setUint32(at + 28, pages, true);
  writeU53(view, at + 32, keys);
  view.setUint32(at + 40, mappingParts.length, true);
  view.setUint32(at + 44, others, true);
}

function writeReferences({ view }: Block, at: number, parts: readonly PartReference[]): void {
  for (const [i, { fileOffset, bytes, tag }] of parts.entries()) {
    const referenceAt = at + i * REFERENCE_BYTES;
    writeU53(view, referenceAt, fileOffset);
    view.setUint32(referenceAt + 8, bytes, true);
    view.setUint32(referenceAt + 12, tag, true);
  }
}

function readReferences({ view }: Block, at: number, count: number): PartReference[] {
  return Array.from({ length: count }, (_, i) => ({
    fileOffset: readU53(view, at + i * REFERENCE_BYTES),
    bytes: view.getUint32(at + i * REFERENCE_BYTES + 8, true),
    tag: view.getUint32(at + i * REFERENCE_BYTES + 12, true),
  }));
}

/** The most full parts that a root can reference, beside one of the mapping and one of the table that are not full. */
export function mostParts(geometry: Geometry): number {
  return Math.floor((mostImageBytes(geometry) - HEADER_BYTES) / REFERENCE_BYTES) - 2;
}

/**
 * How many full parts so many segments take, as a fraction: those of the index fill parts of the mapping, if images
 * have 1 KiB or more on average, and all segments in use fill parts of the table. See docs/format.md, "Limits".
 */
export function partsOf(geometry: Geometry, indexSlots: number, usedSlots: number): number {
  const pagesOfSlot = geometry.segmentBytes / KIB;
  return (indexSlots * pagesOfSlot) / mostPartEntries(geometry) + usedSlots / mostTableEntries(geometry);
}

/** The most index segments of a store, if it has no others. This limits the index, and so the number of keys. */
export function mostIndexSlots(geometry: Geometry): number {
  return Math.floor(mostParts(geometry) / partsOf(geometry, 1, 1));
}
