/**
 * Merges and checkpoints in the background: what is counted as covered, and the end of everything at any moment.
 * MAINT-1 and MAINT-2 are those of packages/kv/src/maintenance/maintenance.ts.
 */
import test from 'ava';
import { KIB, MIB, ManualClock, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { Checkpointer } from '../../packages/kv/src/checkpoint/checkpointer.ts';
import type { CheckpointerOptions } from '../../packages/kv/src/checkpoint/checkpointer.ts';
import type { Standing } from '../../packages/kv/src/checkpoint/standing.ts';
import { GEOMETRY, readAll } from './crash/history.ts';
import { outcomes, turns } from './settling.ts';
import { Maintenance } from '../../packages/kv/src/maintenance/maintenance.ts';
import type { MaintenanceParts } from '../../packages/kv/src/maintenance/maintenance.ts';
import { SlowGrowth } from './slow-growth.ts';

const REPLAYED_AFTER_CLOSE = 4 * MIB;

function openOn(platform: SimulatedDisk, options?: Partial<StoreOptions>): Promise<Store> {
  return open('/store', { ...GEOMETRY, platform, ...options });
}

/** Bytes of the log that an opening may have to replay. */
async function replayedBytes(platform: SimulatedDisk): Promise<number> {
  let bytes = 0;
  const store = await openOn(platform, {
    onProgress: ({ phase, totalBytes }) => {
      if (phase === 'log') bytes = totalBytes;
    },
  });
  await store.close();
  return bytes;
}

/** What is begun with a segment that the checkpoint covers in part, and one that is open. */
const SLACK_BYTES = 4 * GEOMETRY.segmentBytes;

test('MAINT-1: what is written while a memtable is merged is not covered by its checkpoint', async (t) => {
  const disk = new SimulatedDisk({ seed: 1 });
  await (await openOn(disk)).close();
  const file = await disk.open('/store/data.aiokv');
  await file.preallocate(0, 64 * MIB);
  await file.close();
  const store = await openOn(disk, { memoryBytes: 512 * MIB, writeBufferBytes: 64 * MIB });
  for (let n = 0; n < 4000; n++) await store.put(`before${n}`, 'x', { durability: 'buffered' });
  const checkpoint = store.checkpoint();
  // The merge has begun and needs more than one slice.
  await turns(2);
  const value = Buffer.alloc(8 * KIB, 'x');
  for (let n = 0; n < 1000; n++) void store.put(`meanwhile${n}`, value, { durability: 'buffered' });
  await checkpoint;
  await store.close();
  const bytes = await replayedBytes(disk);
  t.true(bytes <= REPLAYED_AFTER_CLOSE + SLACK_BYTES, `${bytes} bytes are replayed`);
});

test('what an opening has replayed counts as not covered', async (t) => {
  const disk = new SimulatedDisk({ seed: 2 });
  const value = Buffer.alloc(8 * KIB, 'x');
  for (let session = 0; session < 4; session++) {
    const store = await openOn(disk, { memoryBytes: 128 * MIB });
    for (let n = 0; n < 300; n++) await store.put(`key${n}`, value, { durability: 'buffered' });
    await store.close();
  }
  const bytes = await replayedBytes(disk);
  t.true(bytes <= REPLAYED_AFTER_CLOSE + SLACK_BYTES, `${bytes} bytes are replayed`);
});

test('MAINT-4: an opening replays what it may, also where a run took its time beside writers', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const checkpointBytes = MIB;
  const options = { checkpointBytes, memoryBytes: 64 * MIB };
  const store = await openOn(disk, options);
  const keys = 60_000;
  for (let n = 0; n < keys; n += 200) {
    const put = (_: unknown, i: number): { type: 'put'; key: string; value: string } => {
      return { type: 'put', key: `key${((n + i) * 7919) % keys}`, value: 'x' };
    };
    await store.batch(Array.from({ length: 200 }, put), { durability: 'buffered' });
  }
  const random = new Random(6);
  const value = Buffer.alloc(8 * KIB, 'v');
  let mostBytes = 0;
  for (let round = 0; round < 12; round++) {
    // Some of all leaves, so that a run is long; then much log for few keys, so that the memtable has room for all of it.
    for (let n = 0; n < keys; n += 300) void store.put(`key${n + round}`, 'y', { durability: 'buffered' });
    const hot = Array.from({ length: 400 }, (_, i) => store.put(`hot${i % 10}`, value, { durability: 'written' }));
    await Promise.all(hot);
    mostBytes = Math.max(mostBytes, await replayedBytes(disk.powerCut('all', random)));
  }
  t.log(`${mostBytes} bytes`);
  t.true(mostBytes <= checkpointBytes + 0.75 * MIB, `${mostBytes} bytes are replayed`);
  await store.close();
});

/** A checkpointer whose checkpoint covers nothing of what an opening has replayed. */
function checkpointerOf(checkpointBytes: number, replayedBytes: number, log: { appendedBytes: number }): Checkpointer {
  const index = { version: { retain: () => null } };
  const options = {
    clock: new ManualClock(),
    slots: { expectCheckpoints: () => undefined },
    index,
    log,
    checkpointBytes,
  };
  const standing = { slots: [] } as unknown as Standing;
  return new Checkpointer(options as unknown as CheckpointerOptions, standing, replayedBytes);
}

test('MAINT-4: a run leaves writers what an opening may replay beyond what it has to already, and a quarter at least', (t) => {
  const log = { appendedBytes: 0 };
  const checkpointBytes = 64 * MIB;
  for (const [replayedMiB, appendedMiB, leftMiB] of [
    [0, 0, 64],
    [0, 10, 54],
    [20, 10, 34],
    [40, 0, 24],
    // From when it is due on.
    [0, 48, 16],
    [30, 30, 16],
    [1000, 1000, 16],
  ] as const) {
    log.appendedBytes = 0;
    const checkpointer = checkpointerOf(checkpointBytes, replayedMiB * MIB, log);
    log.appendedBytes = appendedMiB * MIB;
    t.is(checkpointer.uncoveredBytes, (replayedMiB + appendedMiB) * MIB);
    t.is(checkpointer.isDue, replayedMiB + appendedMiB >= 48);
    const begunAt = log.appendedBytes;
    // What is written during the run changes nothing of it.
    log.appendedBytes += 7 * MIB;
    t.is(checkpointer.runBytes(begunAt) / MIB, leftMiB, `${replayedMiB} replayed, ${appendedMiB} appended`);
  }
});

test('what was in vain for a put a moment ago is tried for a deletion, and not the other way round', async (t) => {
  const clock = new ManualClock();
  const log = { appendedBytes: 5 };
  let runs = 0;
  class Futile extends Maintenance {
    override checkpoint(): Promise<void> {
      runs++;
      return Promise.resolve();
    }
  }
  const checkpointer = {
    released: { giveBackParked: () => Promise.resolve() },
    hasSpaceFor: () => false,
    uncoveredBytes: 0,
  };
  const parts = { log, checkpointer, segments: { liveBytes: 1 }, slots: { freeCount: 1 }, clock };
  const maintenance = new Futile(parts as unknown as MaintenanceParts);
  const full = Object.assign(new Error('full'), { code: 'ERR_AIOKV_NO_SPACE' });
  const runsOf = async (use: 'put' | 'delete'): Promise<number> => {
    const before = runs;
    t.is(await t.throwsAsync(maintenance.makeSpace(full, use)), full);
    return runs - before;
  };
  t.is(await runsOf('put'), 1);
  t.is(await runsOf('put'), 0, 'a moment ago');
  t.is(await runsOf('delete'), 1, 'a deletion needs less');
  t.is(await runsOf('delete'), 0);
  t.is(await runsOf('put'), 0, 'a put needs more');
  log.appendedBytes++;
  t.is(await runsOf('delete'), 1, 'something was written');
  clock.advance(1000);
  t.is(await runsOf('put'), 1, 'another time');
});

/** Keeps a store busy with everything that it does; returns the calls. */
function makeBusy(store: Store, round: number): Promise<unknown>[] {
  const calls: Promise<unknown>[] = [];
  const value = Buffer.alloc(300, 'x');
  for (let n = 0; n < 40; n++) {
    calls.push(store.put(`key${n}`, value, { durability: n % 3 === 0 ? 'flushed' : 'written' }));
    calls.push(store.get(`key${n + 7}`));
    if (n % 5 === 0) calls.push(store.checkpoint());
    if (n % 7 === 0) calls.push(store.put(`once${n}`, 'x', { ifAbsent: round % 2 === 0 }));
    if (n % 9 === 0) calls.push(store.getMany(Array.from({ length: 30 }, (_, i) => `key${i}`)));
  }
  const long = Array.from({ length: 300 }, (_, i) => ({ type: 'put' as const, key: `long${i}`, value: `${round}` }));
  calls.push(store.batch(long), store.flush(), readAll(store));
  return calls;
}

test('a load of new keys begins no run for garbage, overwrites do', async (t) => {
  const disk = new SimulatedDisk({ seed: 5 });
  const store = await openOn(disk, { memoryBytes: 512 * MIB });
  const value = Buffer.alloc(KIB, 'x');
  const load = async (keys: number): Promise<void> => {
    for (let n = 0; n < keys; n++) await store.put(`key${n}`, value, { durability: 'buffered' });
  };
  await load(6000);
  await turns(20);
  t.is(store.statistics().checkpointSequence, 0);
  await load(6000);
  await turns(20);
  t.true(store.statistics().checkpointSequence > 6000);
  await store.close();
});

test('MAINT-6: a merge for a full memtable goes along with the writers', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const store = await openOn(disk, { memoryBytes: 32 * MIB, checkpointBytes: 1024 * MIB, segmentBytes: MIB });
  const random = new Random(6);
  /** Of the memtables, when a merge has ended, over what they have when one begins. */
  const parts: number[] = [];
  let [before, full] = [0, 0];
  while (parts.length < 4) {
    const puts = Array.from({ length: 500 }, () => {
      return { type: 'put' as const, key: `key${random.below(2 ** 31)}`, value: 'a value that is not tiny any more' };
    });
    await store.batch(puts, { durability: 'buffered' });
    const { memory, written } = store.statistics();
    if (written.indexBytes === 0) full = memory.memtableBytes;
    if (memory.memtableBytes < before - full / 2) parts.push(memory.memtableBytes / full);
    before = memory.memtableBytes;
  }
  t.log(parts.map((part) => part.toFixed(2)).join(', '));
  t.true(parts.every((part) => part > 0.7));
  await store.close();
});

test('MAINT-2: a busy store may be closed at any moment', async (t) => {
  const allowed = new Set(['ok', 'ERR_AIOKV_CLOSED', 'ERR_AIOKV_CONDITION_FAILED']);
  for (let round = 0; round < 60; round++) {
    const disk = new SimulatedDisk({ seed: 100 + round });
    const store = await openOn(disk, { checkpointBytes: 4 * KIB });
    for (let n = 0; n < 100; n++) await store.put(`key${n}`, 'first', { durability: 'buffered' });
    const calls = makeBusy(store, round);
    await turns(round);
    const found = await outcomes([...calls, store.close(), store.close()]);
    const others = found.filter((outcome) => !allowed.has(outcome));
    if (others.length > 0) t.fail(`closed after ${round} turns: ${[...new Set(others)].join(', ')}`);
    t.is(found.at(-1), 'ok');
    const again = await openOn(disk);
    const keys = [...(await readAll(again)).keys()].filter((key) => key.startsWith('long')).length;
    t.true(keys === 0 || keys === 300, `${keys} keys of a long batch`);
    await again.close();
  }
});

test('MAINT-2: no checkpoint begins while close waits for the file to grow', async (t) => {
  const disk = new SlowGrowth({ seed: 4 });
  const options = { checkpointBytes: 4 * KIB };
  let store = await openOn(disk, options);
  for (let n = 0; n < 3000; n++) await store.put(`key${n}`, 'first', { durability: 'buffered' });
  await store.close();
  const random = new Random(5);
  let waited = 0;
  for (let round = 0; round < 80; round++) {
    store = await openOn(disk, options);
    disk.hold();
    const calls: Promise<unknown>[] = [];
    // Each merge has to read leaves, and so ends some turns later.
    for (let n = 0; n < 60; n++) {
      const key = `key${random.below(3000)}`;
      calls.push(store.put(key, Buffer.alloc(4 * KIB, 'x'), { durability: 'buffered' }));
    }
    await turns(round % 40);
    const closing = store.close();
    await turns(60);
    if (disk.isWaitedFor) waited++;
    disk.letGo();
    t.deepEqual([...new Set(await outcomes([...calls, closing]))], ['ok'], `round ${round}`);
  }
  t.true(waited > 0, 'some closes waited for the file to grow');
});

test('an index page that cannot be read ends writes, and says so; flushes, reads and close go on', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  let store = await openOn(disk);
  const value = Buffer.alloc(40, 'v');
  for (let n = 0; n < 12_000; n++) await store.put(`key${n}`, value, { durability: 'buffered' });
  await store.close();
  store = await openOn(disk);
  await store.checkpoint();
  const takeOut = disk.inject({ at: ({ kind }) => kind === 'read', kind: 'EIO', sticky: true });
  const calls: Promise<unknown>[] = [];
  // More than the memtable takes: the last ones wait for the merge.
  for (let n = 0; n < 12_000; n++) calls.push(store.put(`key${n}`, 'new', { durability: 'written' }));
  const found = await outcomes(calls);
  t.false(found.includes('pending'));
  t.deepEqual([...new Set(found)].sort(), ['ERR_AIOKV_LATCHED', 'ok']);
  const error = await t.throwsAsync(store.put('key', 'value'));
  t.regex(error?.message ?? '', /part of the index cannot be read/);
  t.is((error?.cause as { code?: string } | undefined)?.code, 'ERR_AIOKV_IO');
  await store.flush();
  takeOut();
  t.is((await store.get('key0'))?.toString(), 'new');
  await store.close();
  store = await openOn(disk);
  const admitted = found.filter((outcome) => outcome === 'ok').length;
  const values = [...(await readAll(store)).values()].filter((one) => one === 'new').length;
  t.true(values >= admitted, `${values} of ${admitted} are there`);
  await store.close();
});
