/**
 * A frame is the unit in which the log grows: one write to the device and one link of the chain. It starts and ends
 * at multiples of the write alignment. The rest after its records is padding.
 *
 * ```
 *   0      8       12        16      24        32     36       40      48     56        64        72    80
 *   ├──────┼───────┼─────────┼───────┼─────────┼──────┼────────┼───────┼──────┼─────────┼─────────┼─────┼─────────┬───
 *   │ hash │ magic │ payload │ epoch │ segment │frame │records │ first │ last │ flushed │previous │  0  │ records │ 0
 *   │ u64  │ u32   │ u32     │ u64   │ sequence│number│ u32    │ seq   │ seq  │ through │hash u64 │     │         │
 *   └──────┴───────┴─────────┴───────┴─────────┴──────┴────────┴───────┴──────┴─────────┴─────────┴─────┴─────────┴───
 *   hash = XXH64 of everything after it up to the last record, without the padding
 * ```
 *
 * FRAME-1. A frame is valid only after its predecessor: `previous hash` is the hash of the frame before
 *     it or, for frame 1, of the header of the segment.
 * FRAME-2. Every opening draws a new random epoch, which is part of the hash. So if a batch is written a second
 *     time after a recovery, with the same bytes, a stale frame that followed the first writing stays invalid.
 *
 * docs/format.md, "Frame". Pure encoding and decoding, no files.
 */
import { matchesXxh64, writeXxh64 } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { readU53, readU64, writeU53, writeU64 } from './words.ts';
import type { Block } from './words.ts';

export const FRAME_HEADER_BYTES = 80;
export const MAX_FRAME_BYTES = 256 * 1024;
const FRAME_MAGIC = 0x52464b41; // 'AKFR'

export interface FrameHeader {
  /** Bytes of the records after the header, without the padding of the frame. */
  readonly payloadBytes: number;
  readonly epoch: number;
  readonly segmentSequence: number;
  /** Counts from 1 in each segment. */
  readonly frameNumber: number;
  readonly recordCount: number;
  readonly firstSequence: Sequence;
  readonly lastSequence: Sequence;
  /** The last sequence that had been flushed when the frame was written. */
  readonly flushedThrough: Sequence;
  readonly previousHash: bigint;
}

/** Writes the header in front of the records, which must be in place already. Returns the hash of the frame. */
export function sealFrame(frame: Block, header: FrameHeader): bigint {
  const { bytes, view } = frame;
  view.setUint32(8, FRAME_MAGIC, true);
  view.setUint32(12, header.payloadBytes, true);
  writeU53(view, 16, header.epoch);
  writeU53(view, 24, header.segmentSequence);
  view.setUint32(32, header.frameNumber, true);
  view.setUint32(36, header.recordCount, true);
  writeU53(view, 40, header.firstSequence);
  writeU53(view, 48, header.lastSequence);
  writeU53(view, 56, header.flushedThrough);
  writeU64(view, 64, header.previousHash);
  writeU53(view, 72, 0);
  writeXxh64(bytes.subarray(8, FRAME_HEADER_BYTES + header.payloadBytes), view, 0);
  return readU64(view, 0);
}

/** A block over part of another block's memory. */
export function windowOf(block: Block, offset: number, lengthBytes = block.bytes.length - offset): Block {
  const { bytes } = block;
  return {
    bytes: bytes.subarray(offset, offset + lengthBytes),
    view: new DataView(bytes.buffer, bytes.byteOffset + offset, lengthBytes),
  };
}

/** Reads the header of the frame at the start of `frame`; null if there is no whole, intact frame. */
export function readFrame(frame: Block): FrameHeader | null {
  const { bytes, view } = frame;
  const header = readUncheckedFrame(frame);
  if (header === null) return null;
  return matchesXxh64(bytes.subarray(8, FRAME_HEADER_BYTES + header.payloadBytes), view, 0) ? header : null;
}

/** As `readFrame`, without checking the hash. */
export function readUncheckedFrame({ bytes, view }: Block): FrameHeader | null {
  if (bytes.length < FRAME_HEADER_BYTES || view.getUint32(8, true) !== FRAME_MAGIC) return null;
  const payloadBytes = view.getUint32(12, true);
  if (payloadBytes > Math.min(bytes.length, MAX_FRAME_BYTES) - FRAME_HEADER_BYTES) return null;
  return {
    payloadBytes,
    epoch: readU53(view, 16),
    segmentSequence: readU53(view, 24),
    frameNumber: view.getUint32(32, true),
    recordCount: view.getUint32(36, true),
    firstSequence: readU53(view, 40) as Sequence,
    lastSequence: readU53(view, 48) as Sequence,
    flushedThrough: readU53(view, 56) as Sequence,
    previousHash: readU64(view, 64),
  };
}

/** The segment that the frame at the start of `frame` names, without checking the hash; null if there is no frame. */
export function segmentNamedBy({ view }: Block): number | null {
  return view.getUint32(8, true) === FRAME_MAGIC ? readU53(view, 24) : null;
}

/** The hash of a frame that `readFrame` has accepted. The next frame or segment names it. */
export function frameHash(frame: Block): bigint {
  return readU64(frame.view, 0);
}
