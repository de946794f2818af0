/** Conditional writes: `ifAbsent`, `ifVersion`, alone, in batches, in one turn, from disk, and when there is no room. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, Version } from '@aiokv/kv';
import { version } from './version.ts';
import { GEOMETRY } from './crash/explorer.ts';

const FAILED = { code: 'ERR_AIOKV_CONDITION_FAILED' };

function openOn(disk: SimulatedDisk): Promise<Store> {
  return open('/store', { ...GEOMETRY, platform: disk });
}

async function versionOf(store: Store, key: string): Promise<Version> {
  return (await store.getVersioned(key))?.version ?? version(0);
}

/** Brings everything to the device, and out of memory. */
async function reopen(store: Store, disk: SimulatedDisk): Promise<Store> {
  await store.close();
  return openOn(disk);
}

test('two conditional writes in one turn see each other', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 1 }));
  const results = await Promise.allSettled([
    store.put('key', 'first', { ifAbsent: true }),
    store.put('key', 'second', { ifAbsent: true }),
    store.put('other', 'third', { ifAbsent: true }),
  ]);
  t.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  t.is((results[1] as PromiseRejectedResult).reason.code, FAILED.code);
  t.is((await store.get('key'))?.toString(), 'first');
  const once = await versionOf(store, 'key');
  const next = await Promise.allSettled([
    store.put('key', 'fourth', { ifVersion: once }),
    store.put('key', 'fifth', { ifVersion: once }),
  ]);
  // Both have to read the version; whose read is back first is written.
  t.deepEqual(next.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  await store.del('key', { ifVersion: await versionOf(store, 'key') });
  t.is(await store.getVersioned('key'), undefined);
  await t.throwsAsync(store.del('key', { ifVersion: once }), FAILED);
  await store.put('key', 'again', { ifAbsent: true });
  t.not(await versionOf(store, 'key'), once, 'versions are never used again');
  await store.close();
});

test('versions come from disk, and are the same after reopening', async (t) => {
  const disk = new SimulatedDisk({ seed: 2 });
  let store = await openOn(disk);
  for (let n = 0; n < 50; n++) await store.put(`key${n}`, `value${n}`, { durability: 'buffered' });
  const versions = await Promise.all(Array.from({ length: 50 }, (_, n) => versionOf(store, `key${n}`)));
  t.deepEqual(
    versions,
    Array.from({ length: 50 }, (_, n) => version(n + 1)),
  );
  store = await reopen(store, disk);
  t.deepEqual(await Promise.all(Array.from({ length: 50 }, (_, n) => versionOf(store, `key${n}`))), versions);
  await t.throwsAsync(store.put('key7', 'wrong', { ifVersion: version(7) }), FAILED);
  await t.throwsAsync(store.put('key7', 'wrong', { ifAbsent: true }), FAILED);
  t.is((await store.get('key7'))?.toString(), 'value7');
  // Both have to read the record first; only one of them may win.
  const both = await Promise.allSettled([
    store.put('key7', 'one', { ifVersion: version(8) }),
    store.put('key7', 'two', { ifVersion: version(8) }),
  ]);
  t.is(both.filter(({ status }) => status === 'fulfilled').length, 1);
  // A write that has to read first keeps its place: what is called after it comes after it.
  const first = store.put('key9', 'first', { ifVersion: version(10) });
  const second = store.put('key9', 'second');
  const third = store.put('key9', 'third', { ifVersion: version(10) });
  await first;
  await second;
  await t.throwsAsync(third, FAILED);
  t.is((await store.get('key9'))?.toString(), 'second');
  await store.close();
});

test('a batch is written when all its conditions hold, and about the state before it', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  let store = await openOn(disk);
  await store.batch([
    { type: 'put', key: 'a', value: '1' },
    { type: 'put', key: 'b', value: '2' },
  ]);
  store = await reopen(store, disk);
  const [a, b] = [await versionOf(store, 'a'), await versionOf(store, 'b')];
  await t.throwsAsync(
    store.batch([
      { type: 'put', key: 'a', value: 'x', ifVersion: a },
      { type: 'put', key: 'b', value: 'x', ifVersion: version(1_000_000) },
    ]),
    FAILED,
  );
  t.is((await store.get('a'))?.toString(), '1');
  await store.batch([
    { type: 'put', key: 'a', value: 'x', ifVersion: a },
    { type: 'del', key: 'b', ifVersion: b },
    { type: 'put', key: 'c', value: 'x', ifAbsent: true },
    { type: 'put', key: 'c', value: 'y', ifAbsent: true },
  ]);
  t.deepEqual((await store.getMany(['a', 'b', 'c'])).map(String), ['x', 'undefined', 'y']);
  await store.close();
});

test('a condition is judged when the write has room, not when it was called', async (t) => {
  const disk = new SimulatedDisk({ seed: 4 });
  const store = await openOn(disk);
  const filler = Array.from({ length: 60 }, (_, n) => store.put(`filler${n}`, 'x'.repeat(50_000)));
  const first = store.put('key', 'first');
  const absent = store.put('key', 'second', { ifAbsent: true });
  const other = store.put('other', 'value', { ifAbsent: true });
  await Promise.all([...filler, first, other]);
  await t.throwsAsync(absent, FAILED);
  t.is((await store.get('key'))?.toString(), 'first');
  t.is((await store.get('other'))?.toString(), 'value');
  await store.close();
});

test('wrong conditions are refused before anything is written', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 5 }));
  const { sequence } = store.statistics();
  const invalid = { code: 'ERR_AIOKV_INVALID_OPTION' };
  await t.throwsAsync(store.put('k', 'v', { ifVersion: version(0) }), invalid);
  await t.throwsAsync(store.put('k', 'v', { ifVersion: version(1.5) }), invalid);
  await t.throwsAsync(store.put('k', 'v', { ifAbsent: 'yes' } as never), invalid);
  await t.throwsAsync(store.put('k', 'v', { ifAbsent: true, ifVersion: version(1) }), invalid);
  await t.throwsAsync(store.batch([{ type: 'put', key: 'k', value: 'v' }], { ifAbsent: true }), invalid);
  t.is(store.statistics().sequence, sequence);
  await store.put('k', 'v', { ifAbsent: false });
  await store.close();
});

test('counters that many raise at the same time lose nothing', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  let store = await openOn(disk);
  await Promise.all(Array.from({ length: 4 }, (_, n) => store.put(`counter${n}`, '0')));
  store = await reopen(store, disk);
  const random = new Random(6);
  let failures = 0;
  const raise = async (key: string): Promise<void> => {
    for (;;) {
      const found = await store.getVersioned(key);
      if (found === undefined) throw new Error('a counter is there');
      try {
        await store.put(key, String(Number(found.value) + 1), { ifVersion: found.version });
        return;
      } catch (error) {
        if ((error as { code?: string }).code !== FAILED.code) throw error;
        failures++;
      }
    }
  };
  await Promise.all(Array.from({ length: 200 }, () => raise(`counter${random.below(4)}`)));
  t.true(failures > 0, 'some met each other');
  const values = (await store.getMany([0, 1, 2, 3].map((n) => `counter${n}`))).map(Number);
  t.is(
    values.reduce((sum, value) => sum + value, 0),
    200,
  );
  await store.close();
});

test('the conditions of a batch are read at depth, all at once', async (t) => {
  const disk = new SimulatedDisk({ seed: 12 });
  let store = await openOn(disk);
  const count = 5000;
  for (let n = 0; n < count; n++) await store.put(`key${n}`, 'first', { durability: 'buffered' });
  const versions: Version[] = [];
  for (let n = 0; n < count; n++) versions.push(await versionOf(store, `key${n}`));
  store = await reopen(store, disk);
  const before = store.statistics().queue;
  const operations = versions.map((ifVersion, n) => ({
    type: 'put' as const,
    key: `key${n}`,
    value: 'second',
    ifVersion,
  }));
  // Something else waits behind it, and is admitted after it.
  const behind = store.put('key0', 'third', { durability: 'buffered' });
  const batch = store.batch(operations.slice(1), { durability: 'buffered' });
  const after = store.put('key1', 'third', { durability: 'buffered' });
  await Promise.all([behind, batch, after]);
  const { completed, submitCalls } = store.statistics().queue;
  const reads = completed - before.completed;
  t.true(reads < 3 * count, `${reads} reads for ${count} conditions`);
  t.true(reads / (submitCalls - before.submitCalls) > 2, 'several reads are submitted together');
  t.is((await store.get('key1'))?.toString(), 'third');
  t.is((await store.get(`key${count - 1}`))?.toString(), 'second');
  await t.throwsAsync(store.batch(operations.slice(1), { durability: 'buffered' }), FAILED);
  await store.close();
});
