/** The records that a walk over a segment in memory finds: packages/kv/src/clean/segment-records.ts. */
import test from 'ava';
import { KIB, Random, alignUp } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { SegmentRecords } from '../../packages/kv/src/clean/segment-records.ts';
import { FRAME_HEADER_BYTES, sealFrame, windowOf } from '../../packages/kv/src/format/frame.ts';
import {
  MAX_KEY_BYTES,
  RECORD_ALIGNMENT,
  RecordKind,
  encodeRecord,
  paddedRecordBytes,
  recordBytes,
  recordFault,
} from '../../packages/kv/src/format/record.ts';
import { SegmentKind } from '../../packages/kv/src/format/segment.ts';

const GEOMETRY = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 64 * KIB, headerBytes: 0 };
const { segmentBytes, writeAlignment } = GEOMETRY;

interface WrittenRecord {
  readonly kind: RecordKind;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Where a record was written. */
interface WrittenPlace {
  readonly kind: RecordKind;
  readonly at: number;
  readonly lengthBytes: number;
}

function record(random: Random, kind: RecordKind = RecordKind.put, keyBytes = random.below(40)): WrittenRecord {
  const valueBytes = kind === RecordKind.del ? 0 : random.below(random.chance(0.2) ? 5000 : 200);
  return { kind, key: random.fill(new Uint8Array(keyBytes)), value: random.fill(new Uint8Array(valueBytes)) };
}

function place(buffer: AlignedBuffer, at: number, { kind, key, value }: WrittenRecord): WrittenPlace {
  encodeRecord(buffer, at, kind, 0, 7 as Sequence, key, key.length, value);
  return { kind, at, lengthBytes: recordBytes(key.length, value.length) };
}

/** Writes a segment of the log, frame by frame. */
class LogSegment {
  readonly buffer = allocateAligned(segmentBytes);
  readonly places: WrittenPlace[] = [];
  readonly frames: number[] = [];
  #next = writeAlignment;
  readonly #sequence: number;

  constructor(sequence: number, filler = 0) {
    this.buffer.bytes.fill(filler);
    this.#sequence = sequence;
  }

  /** @returns whether it had room */
  frame(records: readonly WrittenRecord[], frameNumber = this.frames.length + 1, sequence = this.#sequence): boolean {
    const payloadBytes = records.reduce((sum, { key, value }) => sum + paddedRecordBytes(key.length, value.length), 0);
    const end = this.#next + alignUp(FRAME_HEADER_BYTES + payloadBytes, writeAlignment);
    if (end > segmentBytes) return false;
    this.buffer.bytes.fill(0, this.#next, end);
    let at = this.#next + FRAME_HEADER_BYTES;
    for (const each of records) {
      this.places.push(place(this.buffer, at, each));
      at += paddedRecordBytes(each.key.length, each.value.length);
    }
    sealFrame(windowOf(this.buffer, this.#next), {
      payloadBytes,
      epoch: 1,
      segmentSequence: sequence,
      frameNumber,
      recordCount: records.length,
      firstSequence: 1 as Sequence,
      lastSequence: 1 as Sequence,
      flushedThrough: 0 as Sequence,
      previousHash: 0n,
    });
    this.frames.push(this.#next);
    this.#next = end;
    return true;
  }
}

function found(buffer: AlignedBuffer, kind: number, sequence: number, endBytes = segmentBytes): WrittenPlace[] {
  const records = new SegmentRecords({ buffer, kind, sequence, endBytes }, GEOMETRY);
  const places: WrittenPlace[] = [];
  while (records.next()) {
    const { at, lengthBytes, isOfExtent } = records;
    places.push({ kind: isOfExtent ? RecordKind.fragment : RecordKind.put, at, lengthBytes });
  }
  return places;
}

const movable = (places: readonly WrittenPlace[]): WrittenPlace[] =>
  places.filter(({ kind }) => kind === RecordKind.put || kind === RecordKind.fragment);

function randomSegment(random: Random, sequence: number, filler: number): LogSegment {
  const segment = new LogSegment(sequence, filler);
  const kinds = [RecordKind.put, RecordKind.put, RecordKind.del, RecordKind.fragment];
  for (;;) {
    const records = Array.from({ length: 1 + random.below(20) }, () =>
      record(random, kinds[random.below(kinds.length)] as RecordKind, random.chance(0.05) ? MAX_KEY_BYTES : undefined),
    );
    if (!segment.frame(records)) return segment;
  }
}

test('all puts and fragments in the frames of a log segment are found, and nothing else', (t) => {
  const random = new Random(1);
  for (let run = 0; run < 200; run++) {
    const segment = randomSegment(random, 5, run % 2 === 0 ? 0 : 0xff);
    const places = found(segment.buffer, SegmentKind.log, 5);
    t.deepEqual(places, movable(segment.places));
    for (const { at, lengthBytes } of places) t.is(recordFault(segment.buffer, at, lengthBytes), null);
  }
});

test('frames of an older segment behind the end are passed over', (t) => {
  const random = new Random(2);
  const segment = new LogSegment(9);
  segment.frame([record(random), record(random)]);
  segment.frame([record(random)]);
  const own = movable(segment.places);
  // With the number that would come next.
  segment.frame([record(random)], 3, 4);
  segment.frame([record(random)], 4, 4);
  t.deepEqual(found(segment.buffer, SegmentKind.log, 9), own);
});

test('a frame of the segment itself that is not the next one is passed over', (t) => {
  const random = new Random(3);
  const segment = new LogSegment(9);
  segment.frame([record(random)]);
  segment.frame([record(random)], 3);
  t.is(found(segment.buffer, SegmentKind.log, 9).length, 1);
});

test('a damaged frame ends the walk', (t) => {
  const random = new Random(4);
  for (let run = 0; run < 50; run++) {
    const segment = randomSegment(random, 5, 0);
    const damaged = random.below(segment.frames.length);
    const at = segment.frames[damaged] as number;
    segment.buffer.bytes[at + random.below(FRAME_HEADER_BYTES + 24)]! ^= 1 << random.below(8);
    const places = found(segment.buffer, SegmentKind.log, 5);
    t.deepEqual(
      places,
      movable(segment.places).filter((each) => each.at < at),
    );
  }
});

test('an empty segment, and one of another kind of bytes, has no records', (t) => {
  const random = new Random(5);
  const buffer = allocateAligned(segmentBytes);
  for (const filler of [0, 0xff]) {
    buffer.bytes.fill(filler);
    t.deepEqual(found(buffer, SegmentKind.log, 1), []);
    t.deepEqual(found(buffer, SegmentKind.cleaned, 1), []);
  }
  // A cleaned one is not framed, so that anything may look like a record; whoever moves one checks it.
  for (let run = 0; run < 200; run++) {
    random.fill(buffer.bytes);
    t.deepEqual(found(buffer, SegmentKind.log, 1), []);
    for (const { at, lengthBytes } of found(buffer, SegmentKind.cleaned, 1)) {
      t.true(at % RECORD_ALIGNMENT === 0 && at >= writeAlignment && at + lengthBytes <= segmentBytes);
    }
  }
});

test('the records of a cleaned segment are found, also behind zeros between chunks', (t) => {
  const random = new Random(6);
  for (let run = 0; run < 200; run++) {
    const buffer = allocateAligned(segmentBytes);
    const places: WrittenPlace[] = [];
    let at = writeAlignment;
    for (;;) {
      const next = record(random, RecordKind.put, random.chance(0.05) ? MAX_KEY_BYTES : undefined);
      // A chunk ends at a multiple of the write alignment.
      if (random.chance(0.1)) at = alignUp(at, writeAlignment);
      const bytes = paddedRecordBytes(next.key.length, next.value.length);
      if (at + bytes > segmentBytes) break;
      places.push(place(buffer, at, next));
      at += bytes;
    }
    t.deepEqual(found(buffer, SegmentKind.cleaned, 3, alignUp(at, writeAlignment)), places);
    t.deepEqual(found(buffer, SegmentKind.cleaned, 3, 2 * segmentBytes), places);
  }
});

test('what lies behind the used bytes of a cleaned segment is not found', (t) => {
  const random = new Random(7);
  const buffer = allocateAligned(segmentBytes);
  const first = place(buffer, writeAlignment, record(random));
  place(buffer, 3 * writeAlignment, record(random));
  t.deepEqual(found(buffer, SegmentKind.cleaned, 3, 3 * writeAlignment), [first]);
});
