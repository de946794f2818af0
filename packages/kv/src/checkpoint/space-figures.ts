/** What `statistics()` says of the file and of what was written to it, from the tables of slots and segments. */
import type { SegmentTable } from '../file/segment-table.ts';
import type { Slots } from '../file/slots.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Geometry } from '../format/superblock.ts';

interface Parts {
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
}

/** See `SpaceStatistics`. */
export type SpaceFigures = Record<
  'fileBytes' | 'liveBytes' | 'deadBytes' | 'heldBytes' | 'reservedBytes' | 'freeBytes',
  number
>;

/** See `WrittenStatistics`. */
export type WrittenFigures = Record<'recordBytes' | 'logBytes' | 'movedBytes' | 'indexBytes', number>;

/** @param heldSlots that only older versions need */
export function spaceFigures({ slots, segments, geometry }: Parts, heldSlots: number): SpaceFigures {
  const { liveBytes } = segments;
  const fileBytes = slots.count * geometry.segmentBytes;
  const unusedBytes = slots.freeCount * geometry.segmentBytes;
  const freeBytes = Math.max(0, slots.availableFor('put')) * geometry.segmentBytes;
  const deadBytes = fileBytes - unusedBytes - liveBytes;
  const heldBytes = heldSlots * geometry.segmentBytes;
  return { fileBytes, liveBytes, deadBytes, heldBytes, reservedBytes: unusedBytes - freeBytes, freeBytes };
}

/** @param recordBytes since the opening */
export function writtenFigures(segments: SegmentTable, recordBytes: number): WrittenFigures {
  return {
    recordBytes,
    logBytes: segments.writtenBytesOfKind(SegmentKind.log),
    movedBytes: segments.writtenBytesOfKind(SegmentKind.cleaned),
    indexBytes: segments.writtenBytesOfKind(SegmentKind.index),
  };
}
