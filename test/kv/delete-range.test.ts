/** Ranges that are deleted: what every kind of read says of them, at once and later, and what they cost. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { BatchOperation, KeyRange, Store, StoreIterator } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';

const GEOMETRY = { segmentBytes: 64 * 1024, writeBufferBytes: 1024 * 1024, queueDepth: 8, memoryBytes: 1024 * 1024 };

const openOn = (disk: SimulatedDisk, sizes: { memoryBytes?: number } = {}): Promise<Store> =>
  open('/store', { ...GEOMETRY, ...sizes, platform: disk });

const keyOf = (number: number): string => `key${String(number).padStart(6, '0')}`;

async function keysOf(iterator: StoreIterator): Promise<string[]> {
  const keys: string[] = [];
  for await (const [key] of iterator) keys.push(key.toString());
  return keys;
}

async function putAll(store: Store, count: number, value = 'v'): Promise<void> {
  for (let first = 0; first < count; first += 200) {
    const operations = Array.from({ length: Math.min(200, count - first) }, (_, i): BatchOperation => {
      return { type: 'put', key: keyOf(first + i), value: `${value}${first + i}` };
    });
    await store.batch(operations, { durability: 'buffered' });
  }
}

test('every read sees it at once, and iterators that are open do not', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 1 }));
  await putAll(store, 60);
  await store.checkpoint();
  await store.put(keyOf(25), 'newer');
  const [version] = [await store.getVersioned(keyOf(30))];
  const before = store.iterator();
  const backwards = store.iterator({ reverse: true });
  const done = store.deleteRange({ gte: keyOf(20), lt: keyOf(40) });
  t.is(store.getSync(keyOf(25)), undefined);
  const [get, many, versioned, edge, last] = await Promise.all([
    store.get(keyOf(20)),
    store.getMany([keyOf(19), keyOf(25), keyOf(39), keyOf(40)]),
    store.getVersioned(keyOf(30)),
    store.get(keyOf(19)),
    store.get(keyOf(40)),
  ]);
  t.is(get, undefined);
  t.deepEqual(
    many.map((value) => value?.toString()),
    ['v19', undefined, undefined, 'v40'],
  );
  t.is(versioned, undefined);
  t.is(edge?.toString(), 'v19');
  t.is(last?.toString(), 'v40');
  const left = [
    ...Array.from({ length: 20 }, (_, i) => keyOf(i)),
    ...Array.from({ length: 20 }, (_, i) => keyOf(40 + i)),
  ];
  t.deepEqual(await keysOf(store.iterator()), left);
  t.deepEqual(await keysOf(store.iterator({ reverse: true })), [...left].reverse());
  t.deepEqual(await keysOf(store.iterator({ gte: keyOf(25), limit: 1 })), [keyOf(40)]);
  await t.throwsAsync(store.put(keyOf(30), 'x', { ifVersion: version?.version as never }), {
    code: 'ERR_AIOKV_CONDITION_FAILED',
  });
  await store.put(keyOf(31), 'again', { ifAbsent: true });
  await done;
  await store.checkpoint();
  t.is((await keysOf(before)).length, 60);
  t.is((await keysOf(backwards)).length, 60);
  t.deepEqual(await keysOf(store.iterator({ gt: keyOf(19), lte: keyOf(40) })), [keyOf(31), keyOf(40)]);
  await store.verifySegments();
  store.verifyIndex();
  await store.close();
});

test('its bounds are those of iterators', async (t) => {
  const longest = Buffer.alloc(4096, 'z');
  const last = Buffer.alloc(4096, 0xff);
  const keys = [
    '',
    '\0',
    'a',
    'a\0',
    'a\0\0',
    'b',
    'ba',
    longest,
    last,
    Buffer.concat([longest.subarray(1), Buffer.of(1)]),
  ];
  const random = new Random(3);
  const pick = (): Buffer => Buffer.from(keys[random.below(keys.length)] as string | Buffer);
  for (let round = 0; round < 150; round++) {
    const store = await openOn(new SimulatedDisk({ seed: round }));
    await store.batch(keys.map((key) => ({ type: 'put', key, value: 'v' })));
    if (random.chance(0.5)) await store.checkpoint();
    const range: Partial<KeyRange> = {};
    if (random.chance(0.8)) range[random.chance(0.5) ? 'gt' : 'gte'] = pick();
    if (random.chance(0.8)) range[random.chance(0.5) ? 'lt' : 'lte'] = pick();
    const all = await keysOf(store.iterator());
    const within = new Set(await keysOf(store.iterator(range)));
    if (random.chance(0.5)) await store.deleteRange(range);
    else await store.batch([{ type: 'deleteRange', ...range }]);
    t.deepEqual(
      await keysOf(store.iterator()),
      all.filter((key) => !within.has(key)),
    );
    if (random.chance(0.3)) await store.checkpoint();
    t.deepEqual(await keysOf(store.iterator({ reverse: true })), all.filter((key) => !within.has(key)).reverse());
    await store.close();
  }
});

test('a range without keys writes nothing, and bad ranges are refused', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 1 }));
  await store.put('a', '1');
  const { sequence } = store.statistics();
  for (const range of [{ gte: 'b', lt: 'a' }, { gt: 'a', lt: 'a' }, { gte: 'a', lt: 'a' }, { lt: '' }]) {
    await store.deleteRange(range);
    await store.batch([{ type: 'deleteRange', ...range }]);
  }
  t.is(store.statistics().sequence, sequence);
  const invalid = (code: string) => ({ code });
  await t.throwsAsync(store.deleteRange(undefined as never), invalid('ERR_AIOKV_INVALID_ARGUMENT'));
  await t.throwsAsync(store.deleteRange({ gt: 'a', gte: 'a' }), invalid('ERR_AIOKV_INVALID_OPTION'));
  await t.throwsAsync(store.deleteRange({ limit: 1 } as never), invalid('ERR_AIOKV_INVALID_OPTION'));
  await t.throwsAsync(store.deleteRange({ gte: 5 as never }), invalid('ERR_AIOKV_INVALID_OPTION'));
  await t.throwsAsync(store.deleteRange({ gte: 'x'.repeat(5000) }), invalid('ERR_AIOKV_KEY_TOO_LARGE'));
  await t.throwsAsync(store.clear({ ifAbsent: true }), invalid('ERR_AIOKV_INVALID_OPTION'));
  const withKey = { type: 'deleteRange', key: 'a' } as never;
  await t.throwsAsync(store.batch([withKey]), invalid('ERR_AIOKV_INVALID_OPTION'));
  t.is((await store.get('a'))?.toString(), '1');
  await store.clear({ durability: 'written' });
  t.is(await store.get('a'), undefined);
  await store.close();
  await t.throwsAsync(store.clear(), invalid('ERR_AIOKV_CLOSED'));
});

test('operations of a batch count in their order, of a long one too', async (t) => {
  for (const filler of [0, 3000]) {
    const disk = new SimulatedDisk({ seed: 1 });
    let store = await openOn(disk);
    await putAll(store, 50, 'old');
    const filling = Array.from({ length: filler }, (_, i): BatchOperation => {
      return { type: 'put', key: `filler${i}`, value: 'f' };
    });
    const done = store.batch([
      { type: 'put', key: keyOf(10), value: 'swallowed' },
      ...filling,
      { type: 'deleteRange', gte: keyOf(5), lt: keyOf(20) },
      { type: 'put', key: keyOf(11), value: 'kept' },
      { type: 'deleteRange', gt: keyOf(30), lte: keyOf(40) },
      { type: 'put', key: keyOf(35), value: 'kept' },
      { type: 'del', key: keyOf(36) },
    ]);
    await done;
    const expected = Array.from({ length: 50 }, (_, i) => i).filter(
      (i) => i === 11 || i === 35 || !((i >= 5 && i < 20) || (i > 30 && i <= 40)),
    );
    for (let round = 0; round < 3; round++) {
      t.deepEqual(await keysOf(store.iterator({ gte: 'key' })), expected.map(keyOf));
      t.is((await store.get(keyOf(11)))?.toString(), 'kept');
      t.is(await store.get(keyOf(10)), undefined);
      t.is((await keysOf(store.iterator({ lt: 'key' }))).length, filler);
      store.verifyIndex();
      await store.verifySegments();
      if (round === 0) await store.checkpoint();
      if (round === 1) {
        await store.close();
        store = await openOn(disk);
      }
    }
    await store.close();
  }
});

test('a long batch that deletes everything deletes everything that is older', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 1 }));
  await putAll(store, 500);
  await store.checkpoint();
  await putAll(store, 100, 'newer');
  const later = Array.from({ length: 400 }, (_, i): BatchOperation => ({ type: 'put', key: `x${i}`, value: 'x' }));
  await store.batch([{ type: 'deleteRange' }, ...later, { type: 'deleteRange', gte: 'x1', lt: 'x2' }]);
  const expected = later.map((operation) => (operation as { key: string }).key).filter((key) => !key.startsWith('x1'));
  t.deepEqual(await keysOf(store.iterator()), [...expected].sort());
  await store.checkpoint();
  t.deepEqual(await keysOf(store.iterator()), [...expected].sort());
  await store.verifySegments();
  store.verifyIndex();
  await store.close();
});

test('a power cut after it leaves it deleted, and a merge that is cut off is made again', async (t) => {
  const disk = new SimulatedDisk({ seed: 4 });
  const store = await openOn(disk);
  await putAll(store, 3000);
  await store.checkpoint();
  await store.deleteRange({ gte: keyOf(100), lt: keyOf(2900) });
  await store.put(keyOf(150), 'again');
  const images = [disk.powerCut('none', new Random(1))];
  const checkpoint = store.checkpoint().catch(() => undefined);
  for (let turn = 0; turn < 6; turn++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
    images.push(disk.powerCut('subset', new Random(turn)));
  }
  await checkpoint;
  images.push(disk.powerCut('none', new Random(1)));
  for (const image of images) {
    const again = await openOn(image);
    const keys = await keysOf(again.iterator());
    t.is(keys.length, 201);
    t.is((await again.get(keyOf(150)))?.toString(), 'again');
    await again.checkpoint();
    t.is((await keysOf(again.iterator())).length, 201);
    await again.verifySegments();
    again.verifyIndex();
    await again.close();
  }
  await store.close();
});

test('WALK-1: a walk across a deleted range reads no leaf of it', async (t) => {
  const disk = new SimulatedDisk({ seed: 5 });
  const store = await openOn(disk, { memoryBytes: 64 * 1024 });
  await putAll(store, 20_000);
  await store.checkpoint();
  await store.deleteRange({ gte: keyOf(100), lt: keyOf(19_900) });
  for (const reverse of [false, true]) {
    const before = store.statistics().pageReads;
    const range = { gte: keyOf(95), lt: keyOf(19_905), reverse };
    t.is((await keysOf(store.iterator(range))).length, 10);
    const reads = store.statistics().pageReads - before;
    t.true(reads <= 4, `${reads} leaves were read`);
  }
  await store.checkpoint();
  await store.verifySegments();
  store.verifyIndex();
  t.is((await keysOf(store.iterator())).length, 200);
  await store.close();
});

test('WALK-1: a walk beside a deleted range goes on where it is when its leaf is evicted', async (t) => {
  // Two leaves fit into memory at most, and the range ends inside of one.
  const store = await openOn(new SimulatedDisk({ seed: 7 }), { memoryBytes: 32 * 1024 });
  await putAll(store, 3000);
  await store.checkpoint();
  const expected = Array.from({ length: 3000 }, (_, i) => i);
  for (let from = 2940; from > 100; from -= 50) {
    await store.deleteRange({ gte: keyOf(from), lt: keyOf(from + 30) });
    expected.splice(from, 30);
  }
  const walks = [store.iterator(), store.iterator({ reverse: true })] as const;
  const others = Array.from({ length: 6 }, (_, i) => keysOf(store.iterator({ gte: keyOf(400 * i) })));
  t.deepEqual(await keysOf(walks[0]), expected.map(keyOf));
  t.deepEqual(await keysOf(walks[1]), expected.map(keyOf).reverse());
  await Promise.all(others);
  await store.close();
});

test('MERGE-3: everything is deleted without reading a leaf, and nothing lives afterwards', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const store = await openOn(disk, { memoryBytes: 64 * 1024 });
  await putAll(store, 20_000);
  await store.put('long', 'l'.repeat(300_000));
  await store.checkpoint();
  const { pageReads } = store.statistics();
  const reading = store.get(keyOf(12_345));
  await store.clear();
  await store.put(keyOf(7), 'new');
  await store.checkpoint();
  t.is((await reading)?.toString(), 'v12345', 'a read from before is answered');
  const reads = store.statistics().pageReads - pageReads;
  t.true(reads <= 2, `${reads} leaves were read`);
  t.deepEqual(await keysOf(store.iterator()), [keyOf(7)]);
  await store.verifySegments();
  store.verifyIndex();
  t.true(store.statistics().space.liveBytes < 2 * 4096 + 1000, `${store.statistics().space.liveBytes} bytes live`);
  await store.close();
});

test('many ranges in one memtable, over leaves that are not in memory, against a sorted map', async (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = new Random(seed);
    const disk = new SimulatedDisk({ seed });
    const store = await openOn(disk, { memoryBytes: 128 * 1024 });
    const model = new Set<number>();
    for (let round = 0; round < 4; round++) {
      await putAll(store, 5000, `${round}:`);
      for (let n = 0; n < 5000; n++) model.add(n);
      await store.checkpoint();
      for (let writes = 0; writes < 300; writes++) {
        const from = random.below(5000);
        if (random.chance(0.4)) {
          await store.put(keyOf(from), 'p', { durability: 'buffered' });
          model.add(from);
          continue;
        }
        const to = from + 1 + random.below(random.chance(0.1) ? 1500 : 40);
        await store.deleteRange({ gte: keyOf(from), lt: keyOf(to) }, { durability: 'buffered' });
        for (let n = from; n < to; n++) model.delete(n);
      }
      const expected = [...model].sort((a, b) => a - b).map(keyOf);
      t.deepEqual(await keysOf(store.iterator()), expected);
      await store.checkpoint();
      t.deepEqual(await keysOf(store.iterator()), expected);
      await store.verifySegments();
      store.verifyIndex();
    }
    await store.close();
  }
});

/** Whether a story ends right: a range is deleted, something is put into it, and both are merged. */
async function tell(planted: Planted): Promise<string> {
  const store = await openPlanted('/store', { ...GEOMETRY, platform: new SimulatedDisk({ seed: 1 }) }, planted);
  await putAll(store, 100);
  await store.checkpoint();
  await store.deleteRange({ gte: keyOf(10), lt: keyOf(20) });
  await store.put(keyOf(15), 'later');
  const before = await keysOf(store.iterator());
  await store.checkpoint();
  const after = await keysOf(store.iterator());
  await store.close();
  if (before.length !== 91) return 'wrong at once';
  return after.length > 91 ? 'back' : after.length < 91 ? 'swallowed' : 'right';
}

test('ranges that are forgotten too early, and that swallow later puts, are found', async (t) => {
  t.is(await tell({}), 'right');
  t.is(await tell({ earlyForgottenRanges: true }), 'back');
  t.is(await tell({ swallowedPuts: true }), 'swallowed');
});
