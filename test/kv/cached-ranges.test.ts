/**
 * Short ranges take cached values and fill the cache; long ones do neither, and none gives a value of another moment than its own.
 * AIOKV_RANGES_SEED says where the random runs begin.
 */
import test from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { BatchOperation, RangeOptions, Store } from '@aiokv/kv';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_RANGES_SEED');
const KEYS = 1000;
const OPTIONS = { segmentBytes: 256 * KIB, writeBufferBytes: MIB, queueDepth: 16, memoryBytes: 4 * MIB };

const nameOf = (n: number): string => `key${String(n).padStart(6, '0')}`;
const valueOf = (n: number, version = 0): string => `${n}/${version}:`.padEnd(100, 'v');

async function entriesOf(store: Store, options: Partial<RangeOptions>): Promise<string[]> {
  const entries: string[] = [];
  for await (const [key, value] of store.iterator(options)) entries.push(`${key.toString()}=${value.toString()}`);
  return entries;
}

/** A store that was opened again, so that all records are on the disk. */
async function filled(platform: SimulatedDisk): Promise<Store> {
  const store = await open('/store', { ...OPTIONS, platform });
  const operations: BatchOperation[] = [];
  for (let n = 0; n < KEYS; n++) operations.push({ type: 'put', key: nameOf(n), value: valueOf(n) });
  await store.batch(operations);
  await store.close();
  return open('/store', { ...OPTIONS, platform });
}

test('WINDOW-3: a short range is answered from memory the second time', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await filled(disk);
  for (const range of [
    { gte: nameOf(100), limit: 50 },
    { lt: nameOf(500), limit: 256, reverse: true },
  ]) {
    const first = await entriesOf(store, range);
    t.is(first.length, range.limit);
    t.is(store.statistics().cache.misses, store.statistics().cache.values);
    const before = disk.operations;
    t.deepEqual(await entriesOf(store, range), first);
    t.is(disk.operations, before, 'no request');
  }
  const { hits, values } = store.statistics().cache;
  t.deepEqual([hits, values], [306, 306]);
  // Gets know what ranges have read, and ranges what gets have.
  const before = disk.operations;
  t.is(store.getSync(nameOf(120))?.toString(), valueOf(120));
  t.is(disk.operations, before);
  await store.get(nameOf(700));
  const asked = disk.operations;
  t.deepEqual(await entriesOf(store, { gte: nameOf(700), limit: 1 }), [`${nameOf(700)}=${valueOf(700)}`]);
  t.is(disk.operations, asked);
  await store.close();
});

test('long ranges leave the cache alone', async (t) => {
  const store = await filled(new SimulatedDisk({ seed: SEED }));
  const wanted = Array.from({ length: KEYS }, (_, n) => `${nameOf(n)}=${valueOf(n)}`);
  t.deepEqual(await entriesOf(store, { limit: 257 }), wanted.slice(0, 257));
  t.deepEqual(store.statistics().cache, { hits: 0, misses: 0, values: 0 });
  const many = store.iterator();
  const rows: unknown[] = [];
  for (let some = await many.nextMany(1000); some.length > 0; some = await many.nextMany(1000)) rows.push(...some);
  t.is(rows.length, KEYS);
  t.deepEqual(store.statistics().cache, { hits: 0, misses: 0, values: 0 });
  // It may end at any moment: the first of them count as a short range.
  t.deepEqual(await entriesOf(store, {}), wanted);
  t.true(store.statistics().cache.values < 256, `${store.statistics().cache.values}`);
  for await (const key of store.keys({ limit: 10 })) t.true(key.length > 0);
  t.true(store.statistics().cache.misses < 256, 'keys need no values');
  await store.close();
});

/** Short ranges that overlap with writes. Each must give what was there when it was opened. Returns what was wrong, or null. */
async function overlap(seed: number, planted: Planted): Promise<string | null> {
  const platform = new SimulatedDisk({ seed });
  const random = new Random(seed);
  const memoryBytes = random.chance(0.5) ? 2 * MIB : 64 * KIB;
  const options = { ...OPTIONS, segmentBytes: 64 * KIB, memoryBytes, platform };
  const store = await openPlanted('/store', options, { eagerCleaning: true, ...planted });
  const model = new Map<string, string>();
  const wrong: string[] = [];
  const pending: Promise<unknown>[] = [];
  const durability = 'buffered';
  // Seen at once, or waited for.
  const write = async (begin: () => Promise<void>): Promise<void> => {
    const before = store.statistics().sequence;
    const done = begin();
    pending.push(done);
    if (store.statistics().sequence === before) await done;
  };
  const scan = async (from: string, limit: number, isLate: boolean): Promise<void> => {
    const names = [...model.keys()].filter((name) => name >= from).sort((a, b) => (a < b ? -1 : 1));
    const expected = names.slice(0, limit).map((name) => `${name}=${model.get(name)}`);
    const iterator = store.iterator({ gte: from, limit });
    // The first of its entries are looked up when the first is asked for.
    if (isLate) for (let turns = random.below(8); turns > 0; turns--) await new Promise((done) => setImmediate(done));
    const got: string[] = [];
    for await (const [key, value] of iterator) got.push(`${key.toString()}=${value.toString()}`);
    const at = expected.findIndex((entry, i) => entry !== got[i]);
    if (at >= 0 || got.length !== expected.length) wrong.push(`seed ${seed}: ${got[at]}, not ${expected[at]}`);
  };
  for (let step = 0; step < 500; step++) {
    const n = random.below(60);
    const name = nameOf(n);
    const dice = random.below(20);
    if (dice < 7) {
      model.set(name, valueOf(n, step));
      await write(() => store.put(name, valueOf(n, step), { durability }));
    } else if (dice === 7) {
      model.delete(name);
      await write(() => store.del(name, { durability }));
    } else if (dice === 8 && random.chance(0.3)) {
      for (let at = n; at < n + 10; at++) model.delete(nameOf(at));
      await write(() => store.deleteRange({ gte: name, lt: nameOf(n + 10) }, { durability }));
    } else if (dice === 9 && random.chance(0.2)) pending.push(store.checkpoint());
    else if (dice < 12) {
      const expected = model.get(name);
      const got = store.getSync(name)?.toString();
      if (got !== expected) wrong.push(`seed ${seed}: getSync ${got}, not ${expected}`);
    } else if (dice < 17) pending.push(scan(name, 1 + random.below(20), random.chance(0.5)));
    else await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(pending);
  for (const [name, value] of model) {
    const got = store.getSync(name)?.toString();
    if (got !== value) wrong.push(`seed ${seed}: at the end ${got}, not ${value}`);
  }
  await store.close();
  return wrong[0] ?? null;
}

test('WINDOW-3, CACHE-2: a short range gives what was there at its call, and leaves no old value in memory', async (t) => {
  for (let run = 0; run < 12; run++) t.is(await overlap(SEED + run, {}), null);
});

test('ranges that fill the cache without asking are found', async (t) => {
  let found = 0;
  for (let run = 0; run < 40 && found === 0; run++) {
    if ((await overlap(SEED + run, { uncheckedFills: true })) !== null) found++;
  }
  t.is(found, 1);
});
