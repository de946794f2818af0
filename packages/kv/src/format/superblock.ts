/**
 * The superblock says what a store is, where its log begins and, after a clean close, where it ends. Four
 * copies are at the front of the data file, at a distance from one another. A new superblock is written to
 * copies 0 and 1, flushed, then written to copies 2 and 3, flushed. The one with the highest sequence that
 * has two valid copies counts.
 *
 * ```
 *     0  magic "AIOKV\0SB"                 88  superblock sequence u64
 *     8  format version u32                96  hash of the superblock before this one u64
 *    12  0                                104  checkpoint root u64: its file offset, 0 none
 *    16  compatible feature bits u64      112  checkpoint sequence u64
 *    24  read-only compatible bits u64    120  log start: segment sequence u64
 *    32  incompatible bits u64            128  log start: slot u32
 *    40  store uuid, 16 bytes             132  1 when the end below is known u32
 *    56  page bytes u32                   136  log end: segment sequence u64
 *    60  write alignment u32              144  log end: frame number u32
 *    64  segment bytes u32                148  0
 *    68  header bytes u32 (slot 0 starts) 152  log end: hash u64
 *    72  longest key u32                  160  log end: last sequence u64
 *    76  longest frame u32
 *    80  comparator id u32, 1 bytewise    168  log start: last sequence before it u64
 *                                         176  expiry horizon u64, ms since 1970
 *                                         184  0 ...
 *                                         504  XXH64 of bytes 0 to 503
 *    84  longest value u32, 0 in stores without extents
 *
 *   512  number of this copy u32            520  XXH64 of bytes 504 to 519
 *   516  0                                       (both with FEATURE_COPY_NUMBERS)
 * ```
 *
 * The first 512 bytes are the same in all copies; copies with the same hash count together. The number says where a
 * copy belongs, so that a block that is read from, or was written to, the place of another copy does not count twice.
 *
 * SUPER-1. A recorded log end has been flushed: if a reader misses anything before it, that is rot, not a torn
 *     tail. There may be frames after it, and they count too.
 *
 * docs/format.md, "Superblock". Pure encoding and decoding, no files.
 */
import { matchesXxh64, writeXxh64 } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import type { ChainLink } from './segment.ts';
import { readU53, readU64, writeU53, writeU64 } from './words.ts';
import type { Block } from './words.ts';

export const SUPERBLOCK_COPIES = 4;
export const FORMAT_VERSION = 1;
export const COMPARATOR_BYTEWISE = 1;
/** Incompatible features: values may be in fragments (extent.ts); ... */
export const FEATURE_EXTENTS = 1n;
/** ... there is a checkpoint, so the log alone is not the whole store; ... */
export const FEATURE_CHECKPOINT = 2n;
/** ... each copy has its number. Every writer sets this; stores of version 0.1 do not have it; ... */
export const FEATURE_COPY_NUMBERS = 4n;
/** ... the checkpoint names a segment table, which decides what is in use: see checkpoint-root.ts; ... */
export const FEATURE_SEGMENT_TABLE = 8n;
/** ... records and entries of the index may expire. The first checkpoint after the first one that does sets this. */
export const FEATURE_EXPIRY = 16n;
export const KNOWN_FEATURES =
  FEATURE_EXTENTS | FEATURE_CHECKPOINT | FEATURE_COPY_NUMBERS | FEATURE_SEGMENT_TABLE | FEATURE_EXPIRY;
const MAGIC = 'AIOKV\0SB';
const HASH_AT = 504;
const NUMBER_AT = 512;
const NUMBER_HASH_AT = 520;

/** Sizes in bytes, fixed when the store is created. */
export interface Geometry {
  readonly pageBytes: number;
  readonly writeAlignment: number;
  readonly segmentBytes: number;
  /** File offset of slot 0. The copies of the superblock are at quarters of it. */
  readonly headerBytes: number;
}

/** Where a replay starts: at the first frame of this segment. */
export interface LogStart {
  readonly segmentSequence: number;
  readonly slot: number;
  /** The last sequence before that frame. */
  readonly lastSequenceBefore: Sequence;
}

export interface LogEnd {
  readonly link: ChainLink;
  readonly lastSequence: Sequence;
}

export interface Superblock {
  readonly formatVersion: number;
  readonly compatibleFeatures: bigint;
  readonly readOnlyCompatibleFeatures: bigint;
  readonly incompatibleFeatures: bigint;
  readonly uuid: Uint8Array;
  readonly geometry: Geometry;
  readonly maxKeyBytes: number;
  readonly maxFrameBytes: number;
  readonly comparator: number;
  readonly maxValueBytes: number;
  readonly sequence: number;
  readonly previousHash: bigint;
  readonly checkpointRoot: number;
  readonly checkpointSequence: Sequence;
  readonly logStart: LogStart;
  readonly logEnd: LogEnd | null;
  /** What expires at this time, or before, is over, whatever a clock says; 0 if nothing expires. Milliseconds since 1970. */
  readonly expiryHorizonMs: number;
}

/** File offset of copy `index`. */
export function superblockOffset(headerBytes: number, index: number): number {
  return (headerBytes / SUPERBLOCK_COPIES) * index;
}

/** Writes a copy of the superblock to a zeroed block. Returns its hash, which is the same for all copies. */
export function encodeSuperblock(block: Block, superblock: Superblock, copy: number): bigint {
  const { bytes, view } = block;
  bytes.set(Buffer.from(MAGIC, 'latin1'), 0);
  view.setUint32(8, superblock.formatVersion, true);
  writeU64(view, 16, superblock.compatibleFeatures);
  writeU64(view, 24, superblock.readOnlyCompatibleFeatures);
  writeU64(view, 32, superblock.incompatibleFeatures);
  bytes.set(superblock.uuid, 40);
  view.setUint32(56, superblock.geometry.pageBytes, true);
  view.setUint32(60, superblock.geometry.writeAlignment, true);
  view.setUint32(64, superblock.geometry.segmentBytes, true);
  view.setUint32(68, superblock.geometry.headerBytes, true);
  view.setUint32(72, superblock.maxKeyBytes, true);
  view.setUint32(76, superblock.maxFrameBytes, true);
  view.setUint32(80, superblock.comparator, true);
  view.setUint32(84, superblock.maxValueBytes, true);
  writeU53(view, 88, superblock.sequence);
  writeU64(view, 96, superblock.previousHash);
  writeU53(view, 104, superblock.checkpointRoot);
  writeU53(view, 112, superblock.checkpointSequence);
  writeU53(view, 120, superblock.logStart.segmentSequence);
  view.setUint32(128, superblock.logStart.slot, true);
  view.setUint32(132, superblock.logEnd === null ? 0 : 1, true);
  if (superblock.logEnd !== null) {
    const { link, lastSequence } = superblock.logEnd;
    writeU53(view, 136, link.segmentSequence);
    view.setUint32(144, link.frameNumber, true);
    writeU64(view, 152, link.hash);
    writeU53(view, 160, lastSequence);
  }
  writeU53(view, 168, superblock.logStart.lastSequenceBefore);
  writeU53(view, 176, superblock.expiryHorizonMs);
  writeXxh64(bytes.subarray(0, HASH_AT), view, HASH_AT);
  if ((superblock.incompatibleFeatures & FEATURE_COPY_NUMBERS) !== 0n) {
    view.setUint32(NUMBER_AT, copy, true);
    writeXxh64(bytes.subarray(HASH_AT, NUMBER_HASH_AT), view, NUMBER_HASH_AT);
  }
  return readU64(view, HASH_AT);
}

/** Whether the block starts like a superblock, intact or not. */
export function hasSuperblockMagic(block: Block): boolean {
  return Buffer.from(block.bytes.subarray(0, MAGIC.length)).toString('latin1') === MAGIC;
}

/** Reads the superblock in `block`; null if there is no intact one. */
export function readSuperblock(block: Block): Superblock | null {
  const { bytes, view } = block;
  if (!hasSuperblockMagic(block) || !matchesXxh64(bytes.subarray(0, HASH_AT), view, HASH_AT)) return null;
  const link = {
    segmentSequence: readU53(view, 136),
    frameNumber: view.getUint32(144, true),
    hash: readU64(view, 152),
  };
  return {
    formatVersion: view.getUint32(8, true),
    compatibleFeatures: readU64(view, 16),
    readOnlyCompatibleFeatures: readU64(view, 24),
    incompatibleFeatures: readU64(view, 32),
    uuid: bytes.slice(40, 56),
    geometry: {
      pageBytes: view.getUint32(56, true),
      writeAlignment: view.getUint32(60, true),
      segmentBytes: view.getUint32(64, true),
      headerBytes: view.getUint32(68, true),
    },
    maxKeyBytes: view.getUint32(72, true),
    maxFrameBytes: view.getUint32(76, true),
    comparator: view.getUint32(80, true),
    maxValueBytes: view.getUint32(84, true),
    sequence: readU53(view, 88),
    previousHash: readU64(view, 96),
    checkpointRoot: readU53(view, 104),
    checkpointSequence: readU53(view, 112) as Sequence,
    logStart: {
      segmentSequence: readU53(view, 120),
      slot: view.getUint32(128, true),
      lastSequenceBefore: readU53(view, 168) as Sequence,
    },
    logEnd: view.getUint32(132, true) === 1 ? { link, lastSequence: readU53(view, 160) as Sequence } : null,
    expiryHorizonMs: readU53(view, 176),
  };
}

/** Whether the block, which holds this superblock, is the copy with this number. */
export function isCopy({ bytes, view }: Block, { incompatibleFeatures }: Superblock, copy: number): boolean {
  if ((incompatibleFeatures & FEATURE_COPY_NUMBERS) === 0n) return true;
  return (
    view.getUint32(NUMBER_AT, true) === copy &&
    matchesXxh64(bytes.subarray(HASH_AT, NUMBER_HASH_AT), view, NUMBER_HASH_AT)
  );
}

/** The hash of the superblock in `block`. The next superblock names it. */
export function superblockHash(block: Block): bigint {
  return readU64(block.view, HASH_AT);
}
