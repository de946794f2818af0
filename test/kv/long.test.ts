/**
 * Groups that take more than the write buffer, and values that take more than a record: on the simulated disk and on
 * the real one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { fragmentValueBytes, maxRecordBytes } from '../../packages/kv/src/format/extent.ts';
import { encodeSuperblock, readSuperblock } from '../../packages/kv/src/format/superblock.ts';
import { windowOf } from '../../packages/kv/src/format/frame.ts';
import { GEOMETRY as TEST_GEOMETRY } from './crash/explorer.ts';
import { version } from './version.ts';

/** Of a budget that allows batches of 16 MiB. */
const GEOMETRY = { ...TEST_GEOMETRY, memoryBytes: 64 * MIB };

interface Place {
  readonly platform: Platform;
  readonly open: (options?: Partial<StoreOptions>) => Promise<Store>;
}

const places = {
  simulated: async (use: (place: Place) => Promise<void>): Promise<void> => {
    const platform = new SimulatedDisk({ seed: 7 });
    await use({ platform, open: (options) => open('/store', { ...GEOMETRY, platform, ...options }) });
  },
  linux: async (use: (place: Place) => Promise<void>): Promise<void> => {
    const platform = localPlatform();
    const directory = await mkdtemp(resolve('.tmp-long-'));
    try {
      await use({ platform, open: (options) => open(directory, { ...GEOMETRY, platform, ...options }) });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

const LOG_GEOMETRY = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: GEOMETRY.segmentBytes, headerBytes: 0 };
/** The longest value that is one record, of a key of three bytes. */
const ONE_RECORD = maxRecordBytes(LOG_GEOMETRY) - 24 - 3;
const FRAGMENT = fragmentValueBytes(LOG_GEOMETRY, 3);

/** Bytes of which no two parts are the same. */
function bytesOf(seed: number, length: number): Buffer {
  return Buffer.from(new Random(seed).fill(new Uint8Array(length)));
}

function putsOf(count: number, valueBytes: number, seed = 1): { type: 'put'; key: string; value: Buffer }[] {
  const all = bytesOf(seed, valueBytes + count);
  return Array.from({ length: count }, (_, n) => ({
    type: 'put',
    key: `key${String(n).padStart(8, '0')}`,
    value: all.subarray(n, n + valueBytes),
  }));
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

for (const [name, at] of Object.entries(places)) {
  test(`${name}: values of every length around those where something changes`, (t) =>
    at(async ({ open: openStore }) => {
      t.timeout(540_000);
      const around = [ONE_RECORD, FRAGMENT, 2 * FRAGMENT, 3 * FRAGMENT, 5 * FRAGMENT, MIB];
      const lengths = [...around.flatMap((length) => [-8, -1, 0, 1, 8].map((more) => length + more)), 20 * FRAGMENT];
      const values = lengths.map((length, n) => bytesOf(n, length));
      const keys = lengths.map((_, n) => String(n + 100));
      let store = await openStore();
      for (const [n, key] of keys.entries()) {
        const put = store.put(key, values[n] as Buffer, { durability: n % 2 === 0 ? 'buffered' : 'written' });
        await put;
        // Parts of it may be in memory.
        t.true(same(await store.get(key), values[n] as Buffer), `${lengths[n]} bytes, just written`);
        t.true(same(store.getSync(key), values[n] as Buffer));
      }
      for (let round = 0; round < 3; round++) {
        const many = await store.getMany(keys);
        for (const [n, value] of values.entries()) t.true(same(many[n], value), `${lengths[n]} bytes, round ${round}`);
        let n = 0;
        for await (const [key, value] of store.iterator()) {
          t.is(key.toString(), keys[n] as string);
          t.true(same(value, values[n++] as Buffer));
        }
        t.is(n, keys.length);
        t.true(same(store.getSync(keys[7] as string), values[7] as Buffer));
        t.true(same((await store.getVersioned(keys[9] as string))?.value, values[9] as Buffer));
        if (round === 1) await store.checkpoint();
        await store.close();
        store = await openStore();
      }
      await store.close();
    }));

  test(`${name}: long values are overwritten, deleted, and judged by conditions`, (t) =>
    at(async ({ open: openStore }) => {
      t.timeout(540_000);
      let store = await openStore();
      const [one, two] = [bytesOf(1, 500 * KIB), bytesOf(2, 700 * KIB)];
      await store.put('a', one, { ifAbsent: true });
      await t.throwsAsync(store.put('a', two, { ifAbsent: true }), { code: 'ERR_AIOKV_CONDITION_FAILED' });
      for (let round = 0; round < 2; round++) {
        const found = await store.getVersioned('a');
        t.true(same(found?.value, one));
        const other = version(1_000_000);
        await t.throwsAsync(store.put('a', two, { ifVersion: other }), { code: 'ERR_AIOKV_CONDITION_FAILED' });
        if (round === 1) await store.put('a', two, { ifVersion: found?.version ?? other });
        await store.close();
        store = await openStore();
      }
      t.true(same(await store.get('a'), two));
      await store.put('a', 'short');
      t.is((await store.get('a'))?.toString(), 'short');
      await store.batch([
        { type: 'put', key: 'a', value: one },
        { type: 'del', key: 'a' },
        { type: 'put', key: 'b', value: one },
        { type: 'put', key: 'b', value: two },
        { type: 'put', key: '', value: two },
        { type: 'put', key: 'k'.repeat(4096), value: one },
      ]);
      for (let round = 0; round < 2; round++) {
        t.is(await store.get('a'), undefined);
        t.true(same(await store.get('b'), two));
        t.true(same(await store.get(''), two));
        t.true(same(await store.get('k'.repeat(4096)), one));
        await store.close();
        store = await openStore();
      }
      await store.del('b');
      t.is(await store.get('b'), undefined);
      await store.close();
    }));

  test(`${name}: a long batch is seen as a whole, and others wait in order`, (t) =>
    at(async ({ open: openStore }) => {
      t.timeout(540_000);
      let store = await openStore();
      const operations = putsOf(3000, 1000);
      const [first, last] = ['key00000000', 'key00002999'];
      await store.put(first, 'old');
      const sequence = store.statistics().sequence;
      const iterator = store.iterator({ gte: 'key' });
      const batch = store.batch(operations);
      const behind = store.put(last, 'behind');
      const conditional = store.put(first, 'never', { ifAbsent: true });
      let seen = 0;
      while (store.statistics().sequence === sequence) {
        const [a, b] = await store.getMany([first, last]);
        if (store.statistics().sequence !== sequence) break;
        t.is(a?.toString(), 'old');
        t.is(b, undefined);
        t.is(store.getSync(last), undefined);
        seen++;
        await nextTurn();
      }
      t.true(seen > 3, `looked ${seen} times`);
      t.is(store.getSync(first)?.length, 1000);
      t.not(store.getSync(last), undefined);
      await Promise.all([batch, behind]);
      await t.throwsAsync(conditional, { code: 'ERR_AIOKV_CONDITION_FAILED' });
      t.is((await store.get(last))?.toString(), 'behind');
      const old: string[] = [];
      for await (const [key, value] of iterator) old.push(`${key.toString()}=${value.toString()}`);
      t.deepEqual(old, [`${first}=old`]);
      for (let round = 0; round < 2; round++) {
        let n = 0;
        for await (const [key, value] of store.iterator({ lt: last })) {
          const operation = operations[n++] as { key: string; value: Buffer };
          if (key.toString() !== operation.key || !same(value, operation.value)) t.fail(`${key.toString()} differs`);
        }
        t.is(n, 2999);
        await store.close();
        store = await openStore();
      }
      await store.close();
    }));

  test(`${name}: checkpoints go on beside long batches, and are exact`, (t) =>
    at(async ({ open: openStore }) => {
      t.timeout(540_000);
      let store = await openStore({ checkpointBytes: 64 * KIB });
      const expected = new Map<string, Buffer>();
      for (let round = 0; round < 4; round++) {
        const operations = putsOf(1500, 300 + 100 * round, round);
        for (const { key, value } of operations) expected.set(key, value);
        const batch = store.batch(operations, { durability: 'buffered' });
        const checkpoint = store.checkpoint();
        const long = bytesOf(round, 300 * KIB);
        expected.set('long', long);
        await Promise.all([batch, checkpoint, store.put('long', long), store.checkpoint()]);
        if (round % 2 === 1) {
          await store.close();
          store = await openStore({ checkpointBytes: 64 * KIB });
        }
        const values = await store.getMany([...expected.keys()]);
        t.true([...expected.values()].every((value, n) => same(values[n], value)));
      }
      await store.close();
    }));
}

test.serial('linux: 64 MiB in one batch, and in one value, with the default geometry', (t) =>
  places.linux(async ({ open: openStore }) => {
    t.timeout(540_000);
    const defaults = { segmentBytes: 4 * MIB, writeBufferBytes: 4 * MIB, queueDepth: 128, memoryBytes: 1024 * MIB };
    let store = await openStore(defaults);
    const operations = putsOf(64_000, 1000);
    const value = bytesOf(5, 64 * MIB);
    const gaps: number[] = [];
    let beforeMs = 0;
    const timer = setInterval(() => {
      const nowMs = performance.now();
      gaps.push(nowMs - beforeMs);
      beforeMs = nowMs;
    }, 1);
    const batch = store.batch(operations, { durability: 'written' });
    beforeMs = performance.now();
    await batch;
    const batchGaps = gaps.splice(0).sort((a, b) => a - b);
    const put = store.put('value', value, { durability: 'written' });
    beforeMs = performance.now();
    await put;
    const putGaps = gaps.splice(0).sort((a, b) => a - b);
    const get = store.get('value');
    beforeMs = performance.now();
    const got = await get;
    const getGaps = gaps.splice(0).sort((a, b) => a - b);
    clearInterval(timer);
    t.true(same(got, value));
    for (const [what, all] of Object.entries({ batch: batchGaps, put: putGaps, get: getGaps })) {
      const at = (part: number): number => all[Math.min(all.length - 1, Math.floor(all.length * part))] as number;
      t.log(
        `${what}: ${all.length} turns, p50 ${at(0.5).toFixed(1)} p99 ${at(0.99).toFixed(1)} most ${at(1).toFixed(1)} ms`,
      );
      // Others are let in between.
      t.true(all.length >= 20, `${what}: ${all.length} turns`);
    }
    await store.close();
    store = await openStore(defaults);
    t.true(same(store.getSync('value'), value));
    let n = 0;
    for await (const [key, found] of store.iterator({ lt: 'value' })) {
      const operation = operations[n++] as { key: string; value: Buffer };
      if (key.toString() !== operation.key || !same(found, operation.value)) t.fail(`${key.toString()} differs`);
    }
    t.is(n, operations.length);
    await store.close();
  }),
);

function openOn(disk: SimulatedDisk, options: Partial<StoreOptions> = {}): Promise<Store> {
  return open('/store', { ...GEOMETRY, platform: disk, ...options });
}

const PATH = '/store/data.aiokv';

test('no room for a long group is told before anything changes', async (t) => {
  const disk = new SimulatedDisk({ seed: 1 });
  const store = await openOn(disk);
  await store.put('key00000000', 'old');
  const before = store.statistics().sequence;
  const heal = disk.inject({ at: ({ kind }) => kind === 'preallocate', kind: 'ENOSPC', sticky: true });
  const refused = t.throwsAsync(store.batch(putsOf(2000, 1000)), { code: 'ERR_AIOKV_NO_SPACE' });
  const behind = store.put('behind', 'goes on');
  await refused;
  await behind;
  await t.throwsAsync(store.put('value', bytesOf(1, MIB)), { code: 'ERR_AIOKV_NO_SPACE' });
  t.is(store.statistics().sequence, before + 1);
  t.is((await store.get('key00000000'))?.toString(), 'old');
  t.is(await store.get('key00000001'), undefined);
  heal();
  await store.batch(putsOf(2000, 1000));
  await store.put('value', bytesOf(1, MIB));
  await store.close();
  const again = await openOn(disk);
  t.is((await again.get('key00001999'))?.length, 1000);
  t.true(same(await again.get('value'), bytesOf(1, MIB)));
  await again.close();
});

test('a long group that has begun has room for all of it, whoever has frames sealed meanwhile', async (t) => {
  for (const valueBytes of [20, 300, 3000, 9000]) {
    const disk = new SimulatedDisk({ seed: valueBytes });
    const store = await openOn(disk, { flushIntervalMs: 1 });
    let writes = 0;
    disk.inject({
      at: ({ kind }) => {
        if (kind === 'write') writes++;
        return kind === 'preallocate' && writes > 2;
      },
      kind: 'ENOSPC',
      sticky: true,
    });
    const count = Math.ceil((2 * MIB) / (valueBytes + 40));
    await store.batch(putsOf(count, valueBytes), { durability: 'buffered' });
    await store.close();
    const again = await openOn(disk);
    let n = 0;
    for await (const [, value] of again.iterator()) if (value.length === valueBytes) n++;
    t.is(n, count);
    await again.close();
  }
});

test('a store that latches amid a long group shows nothing of it, and has all or nothing of it afterwards', async (t) => {
  for (const at of [1, 3, 10, 30]) {
    for (const kind of ['write', 'fdatasync'] as const) {
      const disk = new SimulatedDisk({ seed: at });
      const store = await openOn(disk);
      await store.put('key00000000', 'old');
      let left = kind === 'write' ? at : 1;
      disk.inject({
        at: (request) => request.kind === kind && --left === 0,
        kind: kind === 'write' ? 'EIO' : 'flush-failure',
      });
      const batch = t.throwsAsync(store.batch(putsOf(2000, 1000)), { code: 'ERR_AIOKV_LATCHED' });
      const behind = t.throwsAsync(store.put('behind', 'x'), { code: 'ERR_AIOKV_LATCHED' });
      if (kind === 'fdatasync') await t.throwsAsync(store.flush(), { code: 'ERR_AIOKV_LATCHED' });
      await Promise.all([batch, behind]);
      if (kind === 'write') {
        t.is((await store.get('key00000000'))?.toString(), 'old');
        t.is(await store.get('key00000001'), undefined);
      }
      await store.close();
      const again = await openOn(disk);
      const last = (await again.get('key00001999')) !== undefined;
      t.is((await again.get('key00000000'))?.length, last ? 1000 : 3);
      t.is((await again.get('key00000001')) !== undefined, last);
      await again.put('key00000002', 'new');
      await again.close();
      const third = await openOn(disk);
      t.is((await third.get('key00000001')) !== undefined, last);
      t.is((await third.get('key00000002'))?.toString(), 'new');
      await third.close();
    }
  }
});

test('a close waits for a long group that was called before it', async (t) => {
  const disk = new SimulatedDisk({ seed: 2 });
  const store = await openOn(disk);
  const batch = store.batch(putsOf(3000, 500), { durability: 'buffered' });
  const put = store.put('value', bytesOf(3, MIB), { durability: 'buffered' });
  await store.close();
  await Promise.all([batch, put]);
  const again = await openOn(disk);
  t.is((await again.get('key00002999'))?.length, 500);
  const get = again.get('value');
  await again.close();
  t.true(same(await get, bytesOf(3, MIB)));
});

test('a conditional batch of many long values is written, or not at all', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  let store = await openOn(disk);
  const value = bytesOf(1, 300 * KIB);
  await store.put('there', value);
  await store.close();
  store = await openOn(disk);
  const there = (await store.getVersioned('there'))?.version ?? version(1_000_000);
  const wrong = [
    { type: 'put' as const, key: 'there', value: bytesOf(2, 300 * KIB), ifVersion: there },
    { type: 'put' as const, key: 'new', value, ifVersion: version(1) },
  ];
  const { sequence } = store.statistics();
  await t.throwsAsync(store.batch(wrong), { code: 'ERR_AIOKV_CONDITION_FAILED' });
  t.is(store.statistics().sequence, sequence);
  const right = [wrong[0] as (typeof wrong)[0], { type: 'put' as const, key: 'new', value, ifAbsent: true }];
  await store.batch(right);
  t.true(same(await store.get('there'), bytesOf(2, 300 * KIB)));
  t.true(same(await store.get('new'), value));
  await store.close();
});

test('the bytes of a caller are copied before the call returns, also when it has to wait', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 4 }));
  const batch = store.batch(putsOf(2000, 1000));
  const [value, long, key] = [Buffer.alloc(100, 1), Buffer.alloc(MIB, 1), Buffer.from('a')];
  const writes = [
    store.put('value', value),
    store.put('long', long),
    store.put('if', value, { ifAbsent: true }),
    store.batch([{ type: 'put', key, value }]),
  ];
  for (const bytes of [value, long, key]) bytes.fill(2);
  await Promise.all([batch, ...writes]);
  for (const name of ['value', 'if', 'a']) t.true(same(await store.get(name), Buffer.alloc(100, 1)), name);
  t.true(same(await store.get('long'), Buffer.alloc(MIB, 1)));
  await store.close();
});

test('a fragment of another value, and a damaged one, fail their key alone', async (t) => {
  const disk = new SimulatedDisk({ seed: 5 });
  let store = await openOn(disk);
  const [old, now] = [bytesOf(1, 3 * FRAGMENT), bytesOf(2, 3 * FRAGMENT)];
  await store.put('abc', old);
  await store.put('abc', now);
  await store.put('abd', old);
  await store.close();
  const bytes = Buffer.from(disk.bytesOf(PATH));
  const recordOf = (value: Buffer, fragment: number): number =>
    bytes.indexOf(value.subarray(fragment * FRAGMENT, fragment * FRAGMENT + 64)) - 24 - 3;
  const stale = bytes.subarray(recordOf(old, 1), recordOf(old, 1) + 24 + 3 + FRAGMENT);
  for (const [at, put] of [
    [recordOf(now, 1), stale],
    [recordOf(now, 2) + 1000, Uint8Array.of((bytes[recordOf(now, 2) + 1000] as number) ^ 1)],
  ] as const) {
    store = await openOn(disk);
    disk.writeRaw(PATH, at, put);
    await t.throwsAsync(store.get('abc'), { code: 'ERR_AIOKV_CORRUPT' });
    t.throws(() => store.getSync('abc'), { code: 'ERR_AIOKV_CORRUPT' });
    await t.throwsAsync(store.getMany(['abd', 'abc']), { code: 'ERR_AIOKV_CORRUPT' });
    t.true(same(await store.get('abd'), old));
    disk.writeRaw(PATH, at, bytes.subarray(at, at + put.length));
    t.true(same(await store.get('abc'), now));
    await store.close();
  }
});

test('many long values are read at once, and bad devices are met', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const store = await openOn(disk, { queueDepth: 4 });
  const values = Array.from({ length: 12 }, (_, n) => bytesOf(n, 100 * KIB + n * FRAGMENT));
  await Promise.all(values.map((value, n) => store.put(`${n}`, value)));
  const shorts = Array.from({ length: 30 }, (_, n) => store.put(`short${n}`, `${n}`));
  await Promise.all(shorts);
  const heal = disk.inject({ at: ({ kind }) => kind === 'read', kind: 'short' });
  const [many, ...others] = await Promise.all([
    store.getMany(values.map((_, n) => `${n}`)),
    ...Array.from({ length: 30 }, (_, n) => store.get(`short${n}`)),
  ]);
  heal();
  t.true(
    values.every((value, n) => same((many as Buffer[])[n], value)),
    'one bad read is tried again',
  );
  t.true(others.every((other, n) => String(other) === `${n}`));
  const gets = values.map((_, n) => store.get(`${n}`));
  await store.close();
  const got = await Promise.all(gets);
  t.true(values.every((value, n) => same(got[n], value)));
});

test('a store of a version without extents gets them, one of a later version is refused', async (t) => {
  const disk = new SimulatedDisk({ seed: 7 });
  await (await openOn(disk)).close();
  const rewrite = (incompatibleFeatures: bigint, maxValueBytes: number): void => {
    const bytes = new Uint8Array(disk.bytesOf(PATH));
    for (let copy = 0; copy < 4; copy++) {
      const block = windowOf({ bytes, view: new DataView(bytes.buffer) }, copy * 64 * KIB, 4096);
      const superblock = readSuperblock(block);
      if (superblock === null) throw new Error('there is no superblock');
      encodeSuperblock(block, { ...superblock, incompatibleFeatures, maxValueBytes }, copy);
      disk.writeRaw(PATH, copy * 64 * KIB, block.bytes);
    }
  };
  rewrite(0n, 0);
  let store = await openOn(disk);
  await store.put('value', bytesOf(1, MIB));
  await store.close();
  store = await openOn(disk);
  t.true(same(await store.get('value'), bytesOf(1, MIB)));
  await store.close();
  // The last bit to be given.
  rewrite((1n << 63n) | 1n, 64 * MIB);
  await t.throwsAsync(openOn(disk), { code: 'ERR_AIOKV_FORMAT_NEWER' });
});
