/** The table of segments in memory beside a map: packages/kv/src/file/segment-table.ts, SEGMENTS-1 and SEGMENTS-2. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SegmentTable } from '../../packages/kv/src/file/segment-table.ts';
import { isPossibleSegmentEntry } from '../../packages/kv/src/format/segment-table.ts';
import type { SegmentEntry } from '../../packages/kv/src/format/segment-table.ts';
import { LAST_KIND, SegmentKind } from '../../packages/kv/src/format/segment.ts';
import { seedOf } from '../helpers/seed.ts';

const SEGMENT_BYTES = 64 * 1024;
const SLOTS = 300;

interface Segment extends Omit<SegmentEntry, 'liveBytes' | 'liveRecords'> {
  /** Bytes of each. */
  readonly live: number[];
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

function entryOf({ live, ...segment }: Segment): SegmentEntry {
  return { ...segment, liveBytes: sum(live), liveRecords: live.length };
}

/** A table and the map that it is compared with. */
class Pair {
  table = new SegmentTable({ segmentBytes: SEGMENT_BYTES, headerBytes: 0 });
  readonly model = new Map<number, Segment>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  step(): void {
    const random = this.#random;
    const slot = random.below(SLOTS);
    const segment = this.model.get(slot);
    if (segment === undefined) this.#begin(slot);
    else if (random.chance(0.02)) this.#drop(segment);
    else if (random.chance(0.3)) this.#write(segment);
    else if (random.chance(0.5)) this.#count(segment);
    else this.#uncount(segment);
  }

  #begin(slot: number): void {
    const kind = this.#random.below(2) === 0 ? SegmentKind.log : SegmentKind.index;
    const sequence = this.#random.below(1000);
    const bornMs = 1_790_000_000_000 + this.#random.below(1000);
    this.table.begin(slot, kind, sequence, bornMs);
    this.model.set(slot, { slot, kind, sequence, bornMs, live: [], usedBytes: 0, firstSequence: 0, lastSequence: 0 });
  }

  #write(segment: Segment): void {
    const bytes = 8 * this.#random.below(1000);
    if (segment.usedBytes + bytes > SEGMENT_BYTES) return;
    const hasSequences = segment.kind === SegmentKind.log;
    const first = hasSequences ? 1 + this.#random.below(2 ** 31) : 0;
    const last = hasSequences ? first + this.#random.below(100) : 0;
    this.table.wrote(segment.slot, bytes, first, last);
    const firstSequence = segment.firstSequence === 0 ? first : Math.min(first, segment.firstSequence);
    const lastSequence = Math.max(last, segment.lastSequence);
    const usedBytes = segment.usedBytes + bytes;
    this.model.set(segment.slot, { ...segment, usedBytes, firstSequence, lastSequence });
  }

  #count({ slot, live }: Segment): void {
    const bytes = 8 * (1 + this.#random.below(500));
    if (sum(live) + bytes > SEGMENT_BYTES) return;
    this.table.count(slot, bytes);
    live.push(bytes);
  }

  #uncount({ slot, live }: Segment): void {
    const [bytes] = live.splice(this.#random.below(live.length), 1);
    if (bytes !== undefined) this.table.uncount(slot, bytes);
  }

  #drop({ slot, live }: Segment): void {
    for (const bytes of live) this.table.uncount(slot, bytes);
    this.table.drop(slot);
    this.model.delete(slot);
  }

  /** As an opening does it. */
  restore(): void {
    const restored = new SegmentTable({ segmentBytes: SEGMENT_BYTES, headerBytes: 0 });
    for (const slot of this.table.slotsFrom(0, Infinity)) restored.restore(this.table.entryOf(slot));
    this.table = restored;
  }
}

test('the table is like a map of segments, restored ones too', (t) => {
  const random = new Random(seedOf('AIOKV_SEGMENT_TABLE_SEED'));
  t.log(`AIOKV_SEGMENT_TABLE_SEED=${random.seed}`);
  const pair = new Pair(random);
  for (let round = 0; round < 40; round++) {
    for (let n = 0; n < 2000; n++) pair.step();
    if (random.chance(0.3)) pair.restore();
    const { table, model } = pair;
    const segments = [...model.values()].sort((a, b) => a.slot - b.slot);
    const slots = table.slotsFrom(0, Infinity);
    const wanted = segments.map((segment) => entryOf(segment));
    t.deepEqual(
      slots.map((slot) => table.entryOf(slot)),
      wanted,
    );
    t.true(wanted.every((entry) => isPossibleSegmentEntry(entry, SEGMENT_BYTES, SLOTS)));
    t.is(table.size, model.size);
    for (let kind = 1; kind <= LAST_KIND; kind++) {
      const same = wanted.filter((entry) => entry.kind === kind);
      t.is(table.segmentsOfKind(kind), same.length);
      t.is(table.liveBytesOfKind(kind), sum(same.map(({ liveBytes }) => liveBytes)));
      t.is(table.usedBytesOfKind(kind), sum(same.map(({ usedBytes }) => usedBytes)));
    }
    for (let slot = 0; slot < SLOTS + 10; slot++) t.is(table.has(slot), model.has(slot));
  }
});

test('slots are told in parts, and each value by itself', (t) => {
  const table = new SegmentTable({ segmentBytes: SEGMENT_BYTES, headerBytes: 0 });
  for (const slot of [5, 1000, 70, 6]) table.begin(slot, SegmentKind.log, slot + 1, 7);
  table.wrote(6, 800, 3, 9);
  table.count(6, 40);
  t.deepEqual(table.slotsFrom(0, 2), [5, 6]);
  t.deepEqual(table.slotsFrom(7, 2), [70, 1000]);
  t.deepEqual(table.slotsFrom(1001, 2), []);
  t.deepEqual(
    [table.kindOf(6), table.sequenceOf(6), table.liveBytesOf(6), table.liveRecordsOf(6), table.usedBytesOf(6)],
    [SegmentKind.log, 7, 40, 1, 800],
  );
  t.deepEqual([table.lastSequenceOf(6), table.bornMsOf(6)], [9, 7]);
  t.is(table.writtenBytesOfKind(SegmentKind.log), 800);
  const restored = new SegmentTable({ segmentBytes: SEGMENT_BYTES, headerBytes: 0 });
  restored.restore(table.entryOf(6));
  t.is(restored.writtenBytesOfKind(SegmentKind.log), 0, 'what an opening finds was not written since');
});

test('SEGMENTS-1, SEGMENTS-2: what cannot be is refused, and changes nothing', (t) => {
  const table = new SegmentTable({ segmentBytes: SEGMENT_BYTES, headerBytes: 0 });
  table.begin(3, SegmentKind.log, 1, 0);
  table.wrote(3, SEGMENT_BYTES - 8, 1, 2);
  table.count(3, SEGMENT_BYTES - 64);
  table.count(3, 56);
  const before = table.entryOf(3);
  const refused: readonly (readonly [what: string, call: () => void])[] = [
    ['more lives than there is room', () => table.count(3, 16)],
    ['more dies than lived', () => table.uncount(3, SEGMENT_BYTES)],
    ['no multiple of 8', () => table.count(3, 7)],
    ['nothing', () => table.uncount(3, 0)],
    ['more is written than there is room', () => table.wrote(3, 16, 3, 3)],
    ['a slot in use', () => table.begin(3, SegmentKind.index, 2, 0)],
    ['no kind', () => table.begin(4, 0, 2, 0)],
    ['something lives in it', () => table.drop(3)],
    ['a slot not in use', () => table.count(4, 8)],
    ['a slot not in use', () => table.uncount(4, 8)],
    ['a slot not in use', () => table.wrote(4, 8, 1, 1)],
    ['a slot not in use', () => table.drop(4)],
    ['a slot not in use', () => table.entryOf(4)],
  ];
  for (const [what, call] of refused) t.throws(call, { code: 'ERR_AIOKV_INTERNAL' }, what);
  table.uncount(3, 56);
  // One record is left, so not all of its bytes can die with another.
  t.throws(() => table.uncount(3, 8), { code: 'ERR_AIOKV_INTERNAL' });
  table.count(3, 56);
  t.deepEqual(table.entryOf(3), before);
  t.is(table.liveBytesOfKind(SegmentKind.log), SEGMENT_BYTES - 8);
  table.uncount(3, 56);
  table.uncount(3, SEGMENT_BYTES - 64);
  table.drop(3);
  t.is(table.size, 0);
  t.is(table.usedBytesOfKind(SegmentKind.log), 0);
});
