/**
 * Order on demand: where scans meet scattered records they find them in order after a while, without a call. The files
 * behind it are scan-order.ts, scattered-ranges.ts and key-order-mover.ts in packages/kv/src/clean. On the simulated disk.
 */
import test from 'ava';
import { AiokvError, KIB, ManualClock, MIB, Random, nextTurn } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store, StoreIterator, StoreOptions } from '@aiokv/kv';
import { ScanOrder } from '../../packages/kv/src/clean/scan-order.ts';
import type { ScanOrderParts } from '../../packages/kv/src/clean/scan-order.ts';
import { ScatteredRanges } from '../../packages/kv/src/clean/scattered-ranges.ts';
import { FailureGate } from '../../packages/kv/src/failure/failure-gate.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_ORDER_SEED');
const SEGMENT_BYTES = 64 * KIB;
const COUNT = 6000;
/** Where it does not depend on how many there are. */
const FEW = 1500;
const VALUE_BYTES = 500;
const IN_SCAN = 50;

const keyOf = (n: number): string => `key${String(n).padStart(6, '0')}`;
const valueOf = (n: number, length = VALUE_BYTES): string => `${n}:`.padEnd(length, 'v');
const inOrder = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const shuffled = (count: number): number[] => new Random(SEED).shuffle(inOrder(count));

function openOn(disk: SimulatedDisk, options: Partial<StoreOptions> = {}, planted: Planted = {}): Promise<Store> {
  const own = { platform: disk, segmentBytes: SEGMENT_BYTES, queueDepth: 32, memoryBytes: 16 * MIB, valueCachePart: 0 };
  return openPlanted('/store', { ...own, ...options }, planted);
}

async function load(store: Store, order: readonly number[], model?: Map<string, string>): Promise<void> {
  for (let first = 0; first < order.length; first += 250) {
    const some = order.slice(first, first + 250);
    await store.batch(
      some.map((n) => ({ type: 'put', key: keyOf(n), value: valueOf(n) })),
      { durability: 'buffered' },
    );
    for (const n of some) model?.set(keyOf(n), valueOf(n));
  }
  await store.checkpoint();
}

async function rowsOf(iterator: StoreIterator): Promise<[string, string][]> {
  const rows: [string, string][] = [];
  for await (const [key, value] of iterator) rows.push([key.toString(), value.toString()]);
  return rows;
}

/** Reads of the device a scan, those of the order with them, over so many scans of places that the random numbers choose. */
async function scans(disk: SimulatedDisk, store: Store, random: Random, count: number): Promise<number> {
  let reads = 0;
  disk.onOperation = (_, phase, { kind }) => {
    if (phase === 'submitted' && kind === 'read') reads++;
  };
  for (let i = 0; i < count; i++) {
    const first = random.below(COUNT - IN_SCAN);
    const rows = await rowsOf(store.iterator({ gte: keyOf(first), limit: IN_SCAN }));
    const expected = inOrder(IN_SCAN).map((n): [string, string] => [keyOf(first + n), valueOf(first + n)]);
    requireRows(rows, expected);
  }
  disk.onOperation = undefined;
  return reads / count;
}

function requireRows(rows: readonly [string, string][], expected: readonly [string, string][]): void {
  if (JSON.stringify(rows) !== JSON.stringify(expected))
    throw new Error(`a scan gives ${JSON.stringify(rows).slice(0, 200)}`);
}

const keys = (ranges: ScatteredRanges): string[] =>
  ranges.all.map(({ from, to }) => `${Buffer.from(from).toString()}-${Buffer.from(to).toString()}`);
const add = (ranges: ScatteredRanges, from: string, to: string, weight: number): void =>
  ranges.add({ from: Buffer.from(from), to: Buffer.from(to), weight });

test('ranges that overlap become one, and the heaviest is taken first (SCATTERED-1)', (t) => {
  const ranges = new ScatteredRanges();
  add(ranges, 'm', 'p', 5000);
  add(ranges, 'a', 'c', 3000);
  add(ranges, 'x', 'z', 9000);
  t.deepEqual(keys(ranges), ['a-c', 'm-p', 'x-z']);
  add(ranges, 'c', 'n', 4000);
  t.deepEqual(keys(ranges), ['a-p', 'x-z']);
  t.is(ranges.take()?.weight, 12_000);
  t.is(ranges.take()?.weight, 9000);
  t.is(ranges.take(), null);
  t.true(ranges.isEmpty);
});

test('there are few ranges: the lightest neighbours become one, and a hot range stays narrow', (t) => {
  const ranges = new ScatteredRanges();
  const random = new Random(SEED);
  for (let i = 0; i < 900; i++) {
    add(ranges, 'key0500', 'key0501', 8000);
    const n = random.below(1000);
    if (n < 490 || n > 510) add(ranges, keyOf(n).slice(-4), keyOf(n + 5).slice(-4), 8000);
    t.true(ranges.all.length <= 64);
  }
  for (const [i, { from }] of ranges.all.entries()) {
    if (i > 0) t.true(Buffer.compare((ranges.all[i - 1] as { to: Uint8Array }).to, from) < 0);
  }
  const hottest = ranges.take();
  t.is(Buffer.from(hottest?.from ?? []).toString(), 'key0500');
  t.is(Buffer.from(hottest?.to ?? []).toString(), 'key0501');
});

test('ranges that nobody scans any more are forgotten', (t) => {
  const ranges = new ScatteredRanges();
  add(ranges, 'a', 'b', 16_000);
  for (let i = 0; i < 6 * 1024; i++) add(ranges, 'x', 'y', 16_000);
  t.deepEqual(keys(ranges), ['x-y']);
  // It does not grow without end.
  t.true((ranges.take()?.weight ?? 0) < 3 * 1024 * 16_000);
});

/** The decisions alone. `asked` are the bytes that a cleaning was asked for. */
function decider(more: Partial<ScanOrderParts> = {}): { order: ScanOrder; asked: number[] } {
  const asked: number[] = [];
  const plan = {
    roomForOrderBytes: 100 * MIB,
    askFor: (bytes: number) => void asked.push(bytes),
    leaveOut: () => undefined,
  };
  const order = new ScanOrder({
    isOn: true,
    planted: {},
    geometry: { segmentBytes: MIB },
    slots: { isFull: false, prepare: () => Promise.resolve() },
    clock: new ManualClock(),
    gate: new FailureGate(),
    plan,
    ...more,
  } as unknown as ScanOrderParts);
  return { order, asked };
}

const scan = (recordBytes: number, costBytes: number): Parameters<ScanOrder['meet']>[0] => ({
  recordBytes,
  costBytes,
  endKeys: () => [Buffer.from('z'), Buffer.from('a')],
});

test('scans pay for the order with half of what they have read in vain, and not before (DEMAND-1)', (t) => {
  const { order } = decider();
  let vainBytes = 0;
  while (!order.isDue) {
    t.true(order.meet(scan(50_000, 450_000)));
    vainBytes += 400_000;
    t.true(vainBytes < 40 * MIB);
  }
  // A segment costs some 16 times its bytes.
  t.true(vainBytes > 2 * 16 * MIB);
  t.true(order.takesRun());
});

test('scans that meet their records in order pay nothing (DEMAND-1)', (t) => {
  const { order } = decider();
  for (let i = 0; i < 100_000; i++) t.false(order.meet(scan(50_000, 50_000 + 3 * 8192)));
  // Two reads for two short records.
  for (let i = 0; i < 100_000; i++) t.false(order.meet(scan(200, 2 * 8192)));
  t.false(order.isDue);
});

test('with the option off, and after the end, nothing is due (DEMAND-4)', (t) => {
  const off = decider({ isOn: false }).order;
  const ended = decider().order;
  for (let i = 0; i < 1000; i++) for (const order of [off, ended]) order.meet(scan(50_000, 450_000));
  t.false(off.isDue);
  t.true(ended.isDue);
  ended.end();
  t.false(ended.isDue);
  t.false(ended.takesRun());
});

test('without room a cleaning is asked for, which is paid for, and nothing is moved on a full device (DEMAND-1, DEMAND-2)', (t) => {
  const asked: number[] = [];
  const plan = { roomForOrderBytes: 0, askFor: (bytes: number) => void asked.push(bytes), leaveOut: () => undefined };
  const slots = { isFull: false };
  const { order } = decider({ plan, slots: slots as unknown as ScanOrderParts['slots'] });
  for (let i = 0; i < 1000; i++) order.meet(scan(50_000, 450_000));
  while (order.isDue) t.false(order.takesRun());
  // Otherwise runs that free nothing would follow one another for ever.
  t.true(asked.length > 0 && asked.length < 30, `${asked.length}`);
  for (let i = 0; i < 1000; i++) order.meet(scan(50_000, 450_000));
  t.true(order.isDue);
  slots.isFull = true;
  t.false(order.isDue);
});

test('a leaf that cannot be read ends a step, not the store; what is wrong with the store does', async (t) => {
  for (const code of ['ERR_AIOKV_CORRUPT', 'ERR_AIOKV_INTERNAL'] as const) {
    const version = {
      retain: () => {
        throw new AiokvError(code, 'planted');
      },
    };
    const superblocks = { current: { uuid: new Uint8Array(16) } };
    const geometry = { segmentBytes: MIB, writeAlignment: 4096, pageBytes: 4096, headerBytes: 0 };
    const parts = { superblocks, geometry, index: { version, pager: {} }, survivorBytes: MIB };
    const { order } = decider(parts as unknown as Partial<ScanOrderParts>);
    for (let i = 0; i < 1000; i++) order.meet(scan(50_000, 450_000));
    t.true(order.takesRun());
    const run = order.run(1, () => false);
    if (code === 'ERR_AIOKV_INTERNAL') await t.throwsAsync(run, { code });
    else await t.notThrowsAsync(run);
    t.false(order.isDue);
  }
});

test('scans of scattered records find them in order after a while, without a call, and the file stays small', async (t) => {
  t.timeout(120_000);
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await openOn(disk);
  await load(store, shuffled(COUNT));
  const random = new Random(SEED);
  const before = await scans(disk, store, random, 20);
  const { liveBytes } = store.statistics().space;
  let most = 0;
  for (let i = 0; i < 40; i++) {
    await scans(disk, store, random, 20);
    const { space } = store.statistics();
    most = Math.max(most, space.deadBytes + space.liveBytes);
  }
  const after = await scans(disk, store, random, 40);
  const { order, written } = store.statistics();
  t.log(
    `${before} reads a scan, then ${after}; ${order.records} of ${COUNT} records moved, at most ${most / liveBytes} x`,
  );
  t.true(before > 25, `${before}`);
  t.true(after < 7, `${after}`);
  t.true(order.records > COUNT / 2 && order.records < 3 * COUNT && order.ranges > 0);
  t.true(order.bytes <= written.movedBytes);
  // The ceiling is 1.5, and what a run takes comes on top.
  t.true(most < 1.9 * liveBytes, `${most / liveBytes}`);
  await store.verifySegments();
  store.verifyIndex();
  t.is((await rowsOf(store.iterator())).length, COUNT);
  // Then nothing is left to do (DEMAND-3).
  for (let i = 0; i < 5; i++) await scans(disk, store, random, 20);
  const { records } = store.statistics().order;
  await scans(disk, store, random, 100);
  t.true(store.statistics().order.records - records < COUNT / 20);
  await store.close();
});

test('a full scan has the store put in order, too, and reverse scans do', async (t) => {
  for (const reverse of [false, true]) {
    const disk = new SimulatedDisk({ seed: SEED });
    const store = await openOn(disk, { memoryBytes: 4 * MIB });
    await load(store, shuffled(COUNT));
    for (let i = 0; i < 6; i++) t.is((await rowsOf(store.iterator({ reverse }))).length, COUNT);
    // The first windows are short; longer ones have neighbours in so small a store.
    t.true(store.statistics().order.records > 100, `${store.statistics().order.records}`);
    await store.verifySegments();
    await store.close();
  }
});

test('off by the option: nothing is moved', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await openOn(disk, { orderForScans: false });
  await load(store, shuffled(COUNT));
  for (let i = 0; i < 5; i++) await scans(disk, store, new Random(i), 20);
  t.deepEqual(store.statistics().order, { ranges: 0, records: 0, bytes: 0 });
  t.is(store.statistics().written.movedBytes, 0);
  await store.close();
});

test('nothing is moved without scans, for scans of what lies in order, or for walks over keys alone (DEMAND-1)', async (t) => {
  const loaded = await openOn(new SimulatedDisk({ seed: SEED }));
  await load(loaded, shuffled(FEW));
  for (let n = 0; n < FEW; n++) await loaded.get(keyOf(n));
  let keyCount = 0;
  for await (const key of loaded.keys()) keyCount += Math.sign(key.length);
  t.is(keyCount, FEW);
  t.is(loaded.statistics().order.records + loaded.statistics().written.movedBytes, 0);
  await loaded.close();
  const disk = new SimulatedDisk({ seed: SEED });
  const sorted = await openOn(disk);
  await load(sorted, inOrder(COUNT));
  await scans(disk, sorted, new Random(SEED), 100);
  t.is(sorted.statistics().order.records, 0);
  await sorted.close();
});

test('of a store that is half in order only the other half is moved (ORDER-3)', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await openOn(disk);
  const half = COUNT / 2;
  await load(store, inOrder(half));
  await load(
    store,
    shuffled(half).map((n) => half + n),
  );
  // Windows of both halves: a full scan does not know where one begins.
  for (let i = 0; i < 40; i++) await rowsOf(store.iterator({ gte: keyOf(half - 200), lt: keyOf(half + 200) }));
  await store.checkpoint();
  const { records } = store.statistics().order;
  t.log(`${records} records moved`);
  t.true(records > 100 && records <= 330, `${records}`);
  await store.close();
});

test('an iterator from before keeps its moment while everything is moved, deleted and replaced', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await openOn(disk, { memoryBytes: MIB }, { eagerOrder: true, eagerCleaning: true });
  const model = new Map<string, string>();
  await load(store, shuffled(1000), model);
  const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
  const old = store.iterator();
  const firsts = await old.nextMany(10);
  for (let round = 0; round < 6; round++) {
    const writes: Promise<void>[] = [];
    for (let n = round; n < 1000; n += 7) {
      const isDeleted = n % 5 === 0;
      if (isDeleted) model.delete(keyOf(n));
      else model.set(keyOf(n), valueOf(1000 * round + n, 300));
      writes.push(
        isDeleted
          ? store.del(keyOf(n), { durability: 'buffered' })
          : store.put(keyOf(n), model.get(keyOf(n)) as string, { durability: 'buffered' }),
      );
    }
    await Promise.all(writes);
    t.deepEqual(
      await rowsOf(store.iterator()),
      [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    await store.checkpoint();
  }
  t.true(store.statistics().order.records > 1000);
  const rows = [...firsts.map(([key, value]) => [key.toString(), value.toString()]), ...(await rowsOf(old))];
  t.deepEqual(rows, expected);
  await store.verifySegments();
  store.verifyIndex();
  await store.close();
});

test('what is written while records are moved is kept, and a later put is not undone (MERGE-4)', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const model = new Map<string, string>();
  let store = await openOn(disk, { memoryBytes: MIB }, { eagerOrder: true });
  await load(store, shuffled(1500), model);
  const random = new Random(SEED);
  let records = 0;
  for (let round = 0; round < 5; round++) {
    // Not awaited: the run begins behind it, amid the writes.
    const walks = rowsOf(store.iterator({ limit: 1000 }));
    for (let i = 0; i < 300; i++) {
      const n = random.below(1500);
      if (random.chance(0.2)) {
        model.delete(keyOf(n));
        void store.del(keyOf(n), { durability: 'buffered' });
      } else {
        const value = valueOf(i, 100 + random.below(500));
        model.set(keyOf(n), value);
        void store.put(keyOf(n), value, { durability: 'buffered' });
      }
      if (i % 3 === 0) await nextTurn();
    }
    await walks;
    await store.flush();
    records += store.statistics().order.records;
    await store.close();
    store = await openOn(disk, { memoryBytes: MIB }, { eagerOrder: true });
    t.deepEqual(
      await rowsOf(store.iterator()),
      [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    await store.verifySegments();
    store.verifyIndex();
  }
  t.true(records > 1500, `${records}`);
  await store.close();
});

test('a close in the middle of a step leaves all records, and does not wait for the rest (DEMAND-4)', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  for (let turns = 0; turns < 60; turns += 3) {
    const store = await openOn(disk, {}, { eagerOrder: true });
    if (turns === 0) await load(store, shuffled(FEW));
    await rowsOf(store.iterator({ gte: keyOf(20 * turns), limit: 500 }));
    for (let i = 0; i < turns; i++) await nextTurn();
    await store.close();
    const again = await openOn(disk, { orderForScans: false });
    const rows = await rowsOf(again.iterator());
    t.deepEqual(
      rows,
      inOrder(FEW).map((n): [string, string] => [keyOf(n), valueOf(n)]),
    );
    await again.verifySegments();
    await again.close();
  }
});

test('values in pieces stay where they are, and are read beside what has moved', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  let pieces = 0;
  let moved = 0;
  const planted = {
    eagerOrder: true,
    onMovedPieces: (count: number) => (pieces += count),
    onOrdered: (count: number) => (moved += count),
  };
  // Without a cleaning, which moves them.
  const store = await openOn(disk, { spaceAmplificationMax: 10 }, planted);
  const model = new Map<string, string>();
  for (const n of shuffled(300)) {
    const value = valueOf(n, n % 20 === 0 ? 150_000 : 400);
    model.set(keyOf(n), value);
    await store.put(keyOf(n), value, { durability: 'buffered' });
  }
  await store.checkpoint();
  for (let i = 0; i < 3; i++) {
    const rows = await rowsOf(store.iterator());
    t.deepEqual(
      rows,
      [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    await store.checkpoint();
  }
  t.is(pieces, 0);
  t.true(moved >= 285, `${moved}`);
  await store.verifySegments();
  await store.close();
});

test('on a device that is full nothing is moved, and what has no room stays (DEMAND-2)', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const limitBytes = 256 * KIB + 40 * SEGMENT_BYTES;
  const at = ({ kind, offset, lengthBytes }: { kind: string; offset: number; lengthBytes: number }): boolean =>
    kind === 'preallocate' && offset + lengthBytes > limitBytes;
  disk.inject({ at, kind: 'ENOSPC', sticky: true });
  const store = await openOn(disk, { memoryBytes: 4 * MIB });
  const model = new Map<string, string>();
  for (const n of shuffled(COUNT)) {
    try {
      await store.put(keyOf(n), valueOf(n), { durability: 'written' });
    } catch (error) {
      t.is((error as { code?: unknown }).code, 'ERR_AIOKV_NO_SPACE');
      break;
    }
    model.set(keyOf(n), valueOf(n));
  }
  t.true(model.size < COUNT);
  const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
  for (let i = 0; i < 5; i++) requireRows(await rowsOf(store.iterator()), expected);
  t.is(store.statistics().order.records, 0);
  await store.verifySegments();
  // Deletions make room.
  for (const [key] of expected.slice(0, expected.length / 2)) await store.del(key, { durability: 'buffered' });
  await store.checkpoint();
  await store.put('a', 'b');
  await store.close();
});
