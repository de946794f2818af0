/**
 * The header of a segment, in the first block of its slot. Slots of the data file have one size and are reused. A
 * segment of the log is a run of frames, and their sequences only grow. Others have the sequence of their checkpoint.
 *
 * ```
 *   0      8       12     16     32        40      48    52   56            64          68  72          80       128
 *   ├──────┼───────┼──────┼──────┼─────────┼───────┼─────┼────┼─────────────┼───────────┼───┼───────────┼────────┤
 *   │ hash │ magic │ kind │ uuid │ segment │ epoch │slot │ 0  │ predecessor │ its last  │ 0 │ its last  │   0    │
 *   │ u64  │ u32   │ u32  │      │ sequence│       │ u32 │    │ sequence    │ frame u32 │   │ hash u64  │        │
 *   └──────┴───────┴──────┴──────┴─────────┴───────┴─────┴────┴─────────────┴───────────┴───┴───────────┴────────┘
 *   hash = XXH64 of bytes 8 to 127; the rest of the block is zero and not covered
 * ```
 *
 * HEADER-1. A segment continues the log only if its predecessor's sequence, last frame number and last hash
 *     match the end of the log. A predecessor without frames has frame number 0 and the hash of its header.
 *
 * docs/format.md, "Segment header". Pure encoding and decoding, no files.
 */
import { matchesXxh64, writeXxh64 } from '@aiokv/core';
import { readU53, readU64, writeU53, writeU64 } from './words.ts';
import type { Block } from './words.ts';

export const SEGMENT_HEADER_BYTES = 128;
const SEGMENT_MAGIC = 0x47534b41; // 'AKSG'

/** What a segment holds: frames of the log, records that a cleaning has moved, or parts of checkpoints. */
export const SegmentKind = { log: 1, cleaned: 2, index: 3 } as const;
/** The highest kind. */
export const LAST_KIND = SegmentKind.index;

/** A position in the chain: after this frame of this segment. The next frame or segment names its hash. */
export interface ChainLink {
  readonly segmentSequence: number;
  /** 0 for the header of the segment itself. */
  readonly frameNumber: number;
  readonly hash: bigint;
}

export interface SegmentHeader {
  readonly kind: number;
  /** 16 bytes, the same in all segments of a store. */
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly slot: number;
  readonly predecessor: ChainLink;
}

/** The predecessor of a store's first segment. */
export const NO_PREDECESSOR: ChainLink = { segmentSequence: 0, frameNumber: 0, hash: 0n };

/** Writes the header to the start of a zeroed block. Returns its hash. */
export function encodeSegmentHeader(block: Block, header: SegmentHeader): bigint {
  const { bytes, view } = block;
  view.setUint32(8, SEGMENT_MAGIC, true);
  view.setUint32(12, header.kind, true);
  bytes.set(header.uuid, 16);
  writeU53(view, 32, header.sequence);
  writeU53(view, 40, header.epoch);
  view.setUint32(48, header.slot, true);
  writeU53(view, 56, header.predecessor.segmentSequence);
  view.setUint32(64, header.predecessor.frameNumber, true);
  writeU64(view, 72, header.predecessor.hash);
  writeXxh64(bytes.subarray(8, SEGMENT_HEADER_BYTES), view, 0);
  return readU64(view, 0);
}

/** Reads the header at the start of `block`; null if there is no intact one. */
export function readSegmentHeader(block: Block): SegmentHeader | null {
  const { bytes, view } = block;
  if (view.getUint32(8, true) !== SEGMENT_MAGIC) return null;
  if (!matchesXxh64(bytes.subarray(8, SEGMENT_HEADER_BYTES), view, 0)) return null;
  return {
    kind: view.getUint32(12, true),
    uuid: bytes.slice(16, 32),
    sequence: readU53(view, 32),
    epoch: readU53(view, 40),
    slot: view.getUint32(48, true),
    predecessor: {
      segmentSequence: readU53(view, 56),
      frameNumber: view.getUint32(64, true),
      hash: readU64(view, 72),
    },
  };
}

/** The hash of the header, which the first frame of the segment names. */
export function segmentHash(block: Block): bigint {
  return readU64(block.view, 0);
}
