/**
 * A data file with any number of segments that nobody has written: what is in a slot is made when it is read. For what a
 * recovery costs in a store of hundreds of thousands of segments.
 *
 * ```
 *   slot 0 … before-1      segments of the log from before the start, headers only
 *   slot before …          the chain from the start on: frames of one record and one block each
 *   the rest               free
 * ```
 */
import { SegmentTable } from '../../../packages/kv/src/file/segment-table.ts';
import { ManualClock, TurnBudget } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES, sealFrame, windowOf } from '../../../packages/kv/src/format/frame.ts';
import { RecordKind, encodeRecord, paddedRecordBytes } from '../../../packages/kv/src/format/record.ts';
import { SegmentKind, encodeSegmentHeader } from '../../../packages/kv/src/format/segment.ts';
import type { ChainLink } from '../../../packages/kv/src/format/segment.ts';
import type { Geometry, Superblock } from '../../../packages/kv/src/format/superblock.ts';
import type { ReplayTarget } from '../../../packages/kv/src/index/replay-target.ts';
import { ProgressReporter } from '../../../packages/kv/src/recovery/progress.ts';
import { Recovery } from '../../../packages/kv/src/recovery/recovery.ts';
import type { Recovered } from '../../../packages/kv/src/recovery/recovery.ts';

const GEOMETRY: Geometry = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 65536, headerBytes: 262144 };
const UUID = new Uint8Array(16).fill(7);
const KEY = Buffer.from('key');

export interface Shape {
  readonly before: number;
  /** Segments of the chain, and frames in each, at most 15. */
  readonly chain: number;
  readonly frames: number;
  readonly free: number;
}

/** A file with these segments, and what its superblock says. */
export class SyntheticLog {
  readonly #shape: Shape;
  readonly #chain: Uint8Array[] = [];
  /** Of a segment from before the start, with its numbers to be filled in. */
  readonly #block = allocateAligned(GEOMETRY.writeAlignment);
  reads = 0;

  constructor(shape: Shape) {
    this.#shape = shape;
    let link: ChainLink = { segmentSequence: shape.before, frameNumber: 1, hash: 1n };
    let sequence = 0;
    for (let n = 0; n < shape.chain; n++) {
      const segment = allocateAligned(GEOMETRY.segmentBytes);
      const segmentSequence = shape.before + 1 + n;
      const header = { kind: SegmentKind.log, uuid: UUID, sequence: segmentSequence, epoch: 1, slot: shape.before + n };
      link = {
        segmentSequence,
        frameNumber: 0,
        hash: encodeSegmentHeader(segment, { ...header, predecessor: link }),
      };
      for (let frameNumber = 1; frameNumber <= shape.frames; frameNumber++) {
        const last = ++sequence as Sequence;
        const frame = windowOf(segment, frameNumber * GEOMETRY.writeAlignment, GEOMETRY.writeAlignment);
        encodeRecord(frame, FRAME_HEADER_BYTES, RecordKind.put, 0, last, KEY, KEY.length, KEY);
        const hash = sealFrame(frame, {
          payloadBytes: paddedRecordBytes(KEY.length, KEY.length),
          epoch: 1,
          segmentSequence,
          frameNumber,
          recordCount: 1,
          firstSequence: last,
          lastSequence: last,
          // Nothing is confirmed: the unconfirmed tail is as long as it can be.
          flushedThrough: 0 as Sequence,
          previousHash: link.hash,
        });
        link = { segmentSequence, frameNumber, hash };
      }
      this.#chain.push(segment.bytes);
    }
  }

  get sizeBytes(): number {
    const { before, chain, free } = this.#shape;
    return GEOMETRY.headerBytes + (before + chain + free) * GEOMETRY.segmentBytes;
  }

  get superblock(): Superblock {
    const { before } = this.#shape;
    return {
      formatVersion: 1,
      compatibleFeatures: 0n,
      readOnlyCompatibleFeatures: 0n,
      incompatibleFeatures: 0n,
      uuid: UUID,
      geometry: GEOMETRY,
      maxKeyBytes: 4096,
      maxFrameBytes: MAX_FRAME_BYTES,
      comparator: 1,
      maxValueBytes: 0,
      sequence: 1,
      previousHash: 0n,
      checkpointRoot: 0,
      checkpointSequence: 0 as Sequence,
      logStart: { segmentSequence: before + 1, slot: before, lastSequenceBefore: 0 as Sequence },
      logEnd: null,
      expiryHorizonMs: 0,
    };
  }

  #read(buffer: AlignedBuffer, bufferOffset: number, lengthBytes: number, offset: number): void {
    this.reads++;
    const slot = Math.floor((offset - GEOMETRY.headerBytes) / GEOMETRY.segmentBytes);
    const within = offset - GEOMETRY.headerBytes - slot * GEOMETRY.segmentBytes;
    const target = buffer.bytes.subarray(bufferOffset, bufferOffset + lengthBytes);
    const { before } = this.#shape;
    const chained = this.#chain[slot - before];
    if (chained !== undefined) target.set(chained.subarray(within, within + lengthBytes));
    else if (slot >= before || within > 0) target.fill(0);
    else {
      const predecessor = { segmentSequence: slot, frameNumber: 1, hash: 1n };
      const header = { kind: SegmentKind.log, uuid: UUID, sequence: slot + 1, epoch: 1, slot, predecessor };
      encodeSegmentHeader(this.#block, header);
      target.set(this.#block.bytes.subarray(0, lengthBytes));
    }
  }

  /** Recovers it; returns how many records were replayed, too. */
  async recover(): Promise<Recovered & { readonly records: number }> {
    let records = 0;
    const target: ReplayTarget = {
      hasMany: false,
      replayPut: () => void records++,
      replayDelete: () => undefined,
      replayDeleteRange: () => undefined,
      admitted: () => undefined,
    };
    const read = async (
      _: DirectFile,
      buffer: AlignedBuffer,
      {
        offset,
        bufferOffset = 0,
        length = buffer.byteLength,
      }: { offset: number; bufferOffset?: number; length?: number },
    ): Promise<number> => {
      this.#read(buffer, bufferOffset, length, offset);
      return length;
    };
    const queue = { read } as unknown as Queue;
    const file = {
      path: '/synthetic',
      alignment: { memory: 512, offset: 512, write: 4096 },
      sizeBytes: () => Promise.resolve(this.sizeBytes),
    } as unknown as DirectFile;
    const clock = new ManualClock();
    const progress = new ProgressReporter(null, clock);
    const budget = new TurnBudget(clock);
    const segments = new SegmentTable(this.superblock.geometry);
    const recovery = new Recovery(queue, file, this.superblock, target, budget, progress, {}, segments);
    const recovered = await recovery.run();
    return { ...recovered, records };
  }
}

/** The least time of the processor that several runs took: other programs do not count. */
export async function leastCpuMs(runs: number, work: () => unknown): Promise<number> {
  let least = Infinity;
  for (let n = 0; n < runs; n++) {
    const start = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(start);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}
