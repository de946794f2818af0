/** Which part of what is written adds keys: as it is estimated, and across a merge of the index. */
import test from 'ava';
import { KIB, MIB } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import { ExpiryClock } from '../../packages/kv/src/file/expiry-clock.ts';
import { SegmentTable } from '../../packages/kv/src/file/segment-table.ts';
import { SegmentKind } from '../../packages/kv/src/format/segment.ts';
import { lengthWordOf } from '../../packages/kv/src/format/index-entry.ts';
import { recordBytes } from '../../packages/kv/src/format/record.ts';
import { KeyIndex } from '../../packages/kv/src/index/key-index.ts';
import { NewKeys } from '../../packages/kv/src/index/new-keys.ts';
import { divideMemory } from '../../packages/kv/src/memory/budget.ts';

test('bytes decide which keys are looked up', (t) => {
  const keys = new NewKeys();
  const samplesOf = (recordBytes: number, records: number): number => {
    let samples = 0;
    for (let n = 0; n < records; n++) if (keys.isSample(recordBytes)) samples++;
    return samples;
  };
  t.is(samplesOf(KIB, 3200), 100);
  t.is(samplesOf(64 * KIB, 100), 100);
});

test('a part is said of enough lookups only', (t) => {
  const keys = new NewKeys();
  for (let n = 0; n < 15; n++) keys.note(true);
  t.is(keys.part, 0);
  t.is(keys.mostPart, 1, 'any of them may be new');
  keys.note(false);
  t.is(keys.part, 15 / 16);
  t.is(keys.mostPart, 15 / 16);
});

test('what is not known may be new', (t) => {
  const keys = new NewKeys();
  for (let n = 0; n < 16; n++) keys.note(null);
  t.deepEqual([keys.part, keys.mostPart], [0, 1]);
  keys.freeze();
  for (let n = 0; n < 32; n++) keys.note(n < 8);
  t.deepEqual([keys.part, keys.mostPart], [8 / 48, 24 / 48]);
  keys.forgetFrozen();
  t.deepEqual([keys.part, keys.mostPart], [8 / 32, 8 / 32]);
});

/** All in memory: nothing is read. */
class Bench {
  readonly #segments = new SegmentTable({ segmentBytes: 64 * MIB, headerBytes: 0 });
  readonly index = new KeyIndex({
    queue: {} as Queue,
    file: { alignment: { offset: 512 } } as DirectFile,
    pageBytes: 4 * KIB,
    budget: divideMemory(64 * MIB, 0, { writeBufferBytes: 0, readBufferBytes: 0 }),
    segments: this.#segments,
    expiry: new ExpiryClock(() => 0, false, 0),
    planted: {},
  });
  readonly #value = new Uint8Array(64 * KIB);
  #sequence = 0;

  constructor() {
    for (let slot = 0; slot < 8; slot++) {
      this.#segments.begin(slot, SegmentKind.log, slot + 1, 0);
      this.#segments.found(slot, 64 * MIB, 1, 1);
    }
  }

  /** Long records: each is looked up. */
  put(from: number, count: number): void {
    for (let n = from; n < from + count; n++) {
      const key = Buffer.from(`key${n}`);
      const bytes = recordBytes(key.length, this.#value.length);
      const sequence = ++this.#sequence as Sequence;
      this.index.admitPut(key, key.length, sequence * MIB, lengthWordOf(bytes, false), sequence, this.#value);
      this.index.admitted(sequence);
    }
  }

  merge(): void {
    const merge = this.index.startMerge();
    while (merge.run(() => false) !== 'done');
    this.index.endMerge();
  }
}

test('what was merged does not count any more, and what was written meanwhile does', (t) => {
  const bench = new Bench();
  t.is(bench.index.newKeysPart, 0);
  bench.put(0, 100);
  t.is(bench.index.newKeysPart, 1);
  bench.index.freeze();
  // A quarter of these is in the memtable that is merged.
  bench.put(75, 100);
  t.is(bench.index.newKeysPart, 175 / 200, 'nothing is merged yet');
  bench.merge();
  t.is(bench.index.newKeysPart, 75 / 100);
  bench.index.freeze();
  bench.put(0, 20);
  t.is(bench.index.newKeysPart, 75 / 120);
  bench.merge();
  t.is(bench.index.newKeysPart, 0, 'all of them are overwritten');
  bench.index.freeze();
  bench.merge();
  t.is(bench.index.newKeysPart, 0);
});
