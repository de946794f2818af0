/**
 * Conditions on fakes of the index and the reader: what is known without a read, what is read, and what holds. COND-1 and
 * COND-2 are those of packages/kv/src/write/conditions.ts.
 */
import test from 'ava';
import { ManualClock, TurnBudget } from '@aiokv/core';
import { highWordOf, lowWordOf } from '../../packages/kv/src/format/index-entry.ts';
import { ExpiryClock } from '../../packages/kv/src/file/expiry-clock.ts';
import { ReadEpochs } from '../../packages/kv/src/file/read-epochs.ts';
import { RecordKind, encodeRecord } from '../../packages/kv/src/format/record.ts';
import type { Block } from '../../packages/kv/src/format/words.ts';
import type { ReadResult } from '../../packages/kv/src/read/results.ts';
import { Entry, FOUND, MISSING } from '../../packages/kv/src/tree/index.ts';
import type { AbsentLeaf, Lookup } from '../../packages/kv/src/tree/index.ts';
import { Conditions } from '../../packages/kv/src/write/conditions.ts';
import { WriteBatch } from '../../packages/kv/src/write/write-batch.ts';
import { outcomes } from './settling.ts';

const GEOMETRY = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 65536, headerBytes: 262144 };
const LIMITS = { geometry: GEOMETRY, valueBytes: 1000, batchBytes: 10_000, stepBytes: 10_000 };
const ABSENT = 7 as unknown as AbsentLeaf;

/** Where the record of a key is: in memory or on the device, its leaf in memory or not. */
interface Place {
  readonly fileOffset: number;
  readonly version: number;
  readonly isInMemory?: boolean;
  readonly isLeafAbsent?: boolean;
  readonly isUnreadable?: boolean;
}

const NO_EXPIRY = new ExpiryClock(() => 0, false, 0);

class World {
  readonly places = new Map<string, Place>();
  reads = 0;
  leafReads = 0;
  readonly epochs = new ReadEpochs();
  readonly #late: (() => void)[] = [];
  readonly conditions = new Conditions({
    index: {
      expiry: NO_EXPIRY,
      find: (key, keyBytes, into) => this.#find(key, keyBytes, into),
      findLater: (_leaf, answer) => {
        const { key } = answer;
        this.leafReads++;
        const place = this.#placeOf(key, key.length);
        this.#late.push(() => {
          if (place === undefined) answer.missingLate();
          else {
            const entry = new Entry();
            fill(entry, place);
            answer.foundLate(entry);
          }
        });
      },
    },
    log: {
      unwritten: (fileOffset) => {
        const place = [...this.places.values()].find((one) => one.fileOffset === fileOffset);
        return place?.isInMemory === true ? { block: recordOf(place.version), offset: 0 } : null;
      },
    },
    reader: {
      read: (
        fileOffset: number,
        _length: number,
        _key: Uint8Array,
        _bytes: number,
        result: ReadResult,
        token: number,
      ) => {
        this.reads++;
        const place = [...this.places.values()].find((one) => one.fileOffset === fileOffset);
        this.#late.push(() => {
          if (place === undefined || place.isUnreadable === true) result.failed(token, new Error('cannot be read'));
          else result.found(token, Buffer.alloc(0), place.version, 0);
        });
      },
    },
    epochs: this.epochs,
    budget: new TurnBudget(new ManualClock()),
  });

  /** Lets the reads come back, and those that they lead to. */
  answer(): void {
    for (let late = this.#late.shift(); late !== undefined; late = this.#late.shift()) late();
  }

  /** Whether the conditions hold, while reads come back. */
  async judge(batch: WriteBatch): Promise<string> {
    const judged = this.conditions.judge(batch);
    const answering = setInterval(() => this.answer(), 0);
    const [outcome] = await outcomes([judged], 2000);
    clearInterval(answering);
    return outcome as string;
  }

  #find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    const place = this.#placeOf(key, keyBytes);
    if (place?.isLeafAbsent === true) return ABSENT;
    if (place === undefined) return MISSING;
    fill(into, place);
    return FOUND;
  }

  #placeOf(key: Uint8Array, keyBytes: number): Place | undefined {
    return this.places.get(Buffer.from(key.subarray(0, keyBytes)).toString());
  }
}

function fill(entry: { word0: number; word1: number }, { fileOffset }: Place): void {
  entry.word0 = lowWordOf(fileOffset);
  entry.word1 = highWordOf(fileOffset, 100);
}

function recordOf(sequence: number): Block {
  const bytes = new Uint8Array(128);
  const block = { bytes, view: new DataView(bytes.buffer) };
  encodeRecord(block, 0, RecordKind.put, 0, sequence as never, Buffer.from('k'), 1, Buffer.from('v'));
  return block;
}

/** A batch of conditional puts: key and version, 0 for ifAbsent. */
function batchOf(...wanted: readonly (readonly [string, number])[]): WriteBatch {
  const batch = new WriteBatch(LIMITS);
  for (const [key, version] of wanted) {
    batch.addCondition(version);
    batch.add(RecordKind.put, Buffer.from(key), key.length, Buffer.from('v'));
  }
  batch.own();
  return batch;
}

const FAILED = 'ERR_AIOKV_CONDITION_FAILED';

test('what a condition needs, and what becomes of it', async (t) => {
  const device: Place = { fileOffset: 4096, version: 5 };
  const rows: readonly [string, Place | undefined, number, string, { reads: number; leafReads: number }][] = [
    ['ifAbsent, not there', undefined, 0, 'ok', { reads: 0, leafReads: 0 }],
    ['ifAbsent, there', device, 0, FAILED, { reads: 0, leafReads: 0 }],
    ['ifAbsent, its leaf not in memory', { ...device, isLeafAbsent: true }, 0, FAILED, { reads: 0, leafReads: 1 }],
    ['ifVersion, not there', undefined, 5, FAILED, { reads: 0, leafReads: 0 }],
    ['ifVersion, in memory', { ...device, isInMemory: true }, 5, 'ok', { reads: 0, leafReads: 0 }],
    ['ifVersion, another in memory', { ...device, isInMemory: true }, 4, FAILED, { reads: 0, leafReads: 0 }],
    ['ifVersion, on the device', device, 5, 'ok', { reads: 1, leafReads: 0 }],
    ['ifVersion, another on the device', device, 6, FAILED, { reads: 1, leafReads: 0 }],
    ['ifVersion, its leaf not in memory', { ...device, isLeafAbsent: true }, 5, 'ok', { reads: 1, leafReads: 1 }],
    ['unreadable', { ...device, isUnreadable: true }, 5, 'Error: cannot be read', { reads: 1, leafReads: 0 }],
  ];
  for (const [name, place, version, outcome, { reads, leafReads }] of rows) {
    const world = new World();
    if (place !== undefined) world.places.set('k', place);
    const batch = batchOf(['k', version]);
    t.is(world.conditions.areKnown(batch), reads + leafReads === 0, name);
    t.is(await world.judge(batch), outcome, name);
    t.deepEqual([world.reads, world.leafReads], [reads, leafReads], name);
  }
});

test('COND-2: what was read ahead counts while the key leads to the same record', async (t) => {
  const world = new World();
  world.places.set('k', { fileOffset: 4096, version: 5 });
  const [same, moved] = [batchOf(['k', 5]), batchOf(['k', 5])];
  for (const batch of [same, moved]) {
    t.false(world.conditions.areKnown(batch));
    const ahead = world.conditions.readAhead(batch);
    world.answer();
    await ahead;
  }
  t.is(world.reads, 2);
  t.is(await world.judge(same), 'ok');
  t.is(world.reads, 2, 'nothing is read again');
  world.places.set('k', { fileOffset: 8192, version: 9 });
  t.is(await world.judge(moved), FAILED);
  t.is(world.reads, 3);
});

test('COND-2: what was read ahead does not count when the place may have been used again', async (t) => {
  const world = new World();
  world.places.set('k', { fileOffset: 4096, version: 5 });
  const batch = batchOf(['k', 5]);
  const ahead = world.conditions.readAhead(batch);
  const ended = world.epochs.olderEnded();
  t.deepEqual(await outcomes([ended], 10), ['pending']);
  world.answer();
  await ahead;
  await ended;
  world.places.set('k', { fileOffset: 4096, version: 9 });
  t.is(await world.judge(batch), FAILED);
  t.is(world.reads, 2);
});

test('EPOCH-1: judging is in an epoch until its last read has ended, well or not', async (t) => {
  for (const isUnreadable of [false, true]) {
    const world = new World();
    world.places.set('k', { fileOffset: 4096, version: 5, isUnreadable });
    world.places.set('l', { fileOffset: 8192, version: 6, isLeafAbsent: true });
    const judged = world.conditions.judge(batchOf(['k', 5], ['l', 6])).catch(() => undefined);
    const ended = world.epochs.olderEnded();
    t.deepEqual(await outcomes([ended], 10), ['pending']);
    world.answer();
    t.deepEqual(await outcomes([judged, ended], 10), ['ok', 'ok']);
  }
});

test('all reads of a batch are under way at once', async (t) => {
  const world = new World();
  const wanted: [string, number][] = [];
  for (let n = 0; n < 100; n++) {
    world.places.set(`k${n}`, { fileOffset: 4096 * (n + 1), version: n + 1 });
    wanted.push([`k${n}`, n + 1]);
  }
  const judged = world.conditions.judge(batchOf(...wanted));
  await new Promise((resolve) => setImmediate(resolve));
  t.is(world.reads, 100);
  world.answer();
  await judged;
});
