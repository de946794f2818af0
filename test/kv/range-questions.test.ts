/**
 * What a store and its snapshots are asked about a range: over leaves that are not in memory, deletions and deleted ranges.
 * LOOKUPS-1 and LOOKUPS-2 are those of packages/kv/src/read/range-lookups.ts, WALK-3 is that of index/index-cursor.ts, SIZE-1 and SIZE-2 those of index/range-size.ts.
 */
import test from 'ava';
import { KIB, MIB, ManualClock, Random, nextTurn } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Snapshot, Store, StoreOptions } from '@aiokv/kv';
import { LeafRange, NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_RANGES_SEED');

function keyOf(n: number): string {
  return `key${String(n).padStart(6, '0')}`;
}

function openOn(platform: SimulatedDisk, options: Partial<StoreOptions> = {}): Promise<Store> {
  const small = { segmentBytes: 64 * KIB, queueDepth: 16, writeBufferBytes: MIB, memoryBytes: 512 * KIB };
  return open('/store', { platform, ...small, ...options });
}

type Model = Map<number, number>;

/** Bytes of the value of each key, or none. */
async function change(store: Store, model: Model, keys: number, count: number, random: Random): Promise<void> {
  const done: Promise<void>[] = [];
  for (let n = 0; n < count; n++) {
    const at = random.below(keys);
    if (random.chance(0.3)) {
      done.push(store.del(keyOf(at), { durability: 'buffered' }));
      model.delete(at);
    } else {
      const bytes = random.below(200);
      done.push(store.put(keyOf(at), 'v'.repeat(bytes), { durability: 'buffered' }));
      model.set(at, bytes);
    }
  }
  for (let n = random.below(4); n > 0; n--) {
    const from = random.below(keys);
    const to = from + random.below(random.chance(0.2) ? keys : 300);
    done.push(store.deleteRange({ gte: keyOf(from), lt: keyOf(to) }, { durability: 'buffered' }));
    for (const at of model.keys()) if (at >= from && at < to) model.delete(at);
  }
  await Promise.all(done);
}

function bytesOf(keyBytes: number, valueBytes: number): number {
  return valueBytes <= 24 ? keyBytes + valueBytes : (24 + keyBytes + valueBytes + 7) & ~7;
}

test('a store and its snapshots answer as a sorted map does, beside writes and merges', async (t) => {
  t.timeout(120_000);
  let worst = 0;
  for (let seed = SEED; seed < SEED + 6; seed++) {
    const message = `AIOKV_RANGES_SEED=${seed}`;
    const random = new Random(seed);
    const keys = 12_000;
    const memoryBytes = random.chance(0.5) ? 2 * MIB : 16 * MIB;
    const store = await openOn(new SimulatedDisk({ seed }), { memoryBytes });
    const model: Model = new Map();
    const moments: { reads: Snapshot; model: Model }[] = [];
    await change(store, model, keys, 20_000, random);
    await store.checkpoint();
    for (let round = 0; round < 25; round++) {
      await change(store, model, keys, random.below(500), random);
      if (random.chance(0.2)) await store.checkpoint();
      if (moments.length > 2) moments.shift()?.reads.release();
      if (random.chance(0.3)) moments.push({ reads: store.snapshot(), model: new Map(model) });
      const one = random.chance(0.5) ? moments[random.below(moments.length)] : undefined;
      const { reads, model: then } = one ?? { reads: store, model };
      const from = random.below(keys);
      const to = from + 1 + random.below(random.chance(0.5) ? keys : 50);
      const at = from + random.below(to - from);
      const [gte, lt] = [keyOf(from), keyOf(to)];
      const within = [...then.keys()].filter((n) => n >= from && n < to).sort((a, b) => a - b);
      const calls = Promise.all([
        reads.first({ gte, lt }),
        reads.last({ gte, lt }),
        reads.floor(keyOf(at), { gte }),
        reads.ceiling(keyOf(at), { lt }),
      ]);
      const counting = reads.count({ gte, lt });
      const sizing = reads.approximateSize({ gte, lt });
      // What comes later is not seen.
      const before = new Map(then);
      await change(store, model, keys, 50, random);
      t.deepEqual(
        (await calls).map((got) => (got === undefined ? null : [got[0].toString(), got[1].length])),
        [within[0], within.at(-1), within.findLast((n) => n <= at), within.find((n) => n >= at)].map((n) =>
          n === undefined ? null : [keyOf(n), before.get(n)],
        ),
        `${message}, ${JSON.stringify([from, to, at])}`,
      );
      t.is(await counting, within.length, message);
      const expected = within.reduce((sum, n) => sum + bytesOf(9, before.get(n) as number), 0);
      const size = await sizing;
      if (expected > 100_000) worst = Math.max(worst, Math.abs(size / expected - 1));
    }
    for (const { reads } of moments) reads.release();
    await store.close();
  }
  t.log(`a size was off by ${(100 * worst).toFixed(1)} % at most`);
  t.true(worst < 0.4, String(worst));
});

test('SIZE-1, SIZE-2: a size is told from few leaves, and a short range exactly', async (t) => {
  const keys = 60_000;
  const disk = new SimulatedDisk({ seed: 2 });
  let store = await openOn(disk, { memoryBytes: 8 * MIB });
  const random = new Random(SEED);
  const bytes: number[] = [];
  for (let n = 0; n < keys; n++) {
    bytes.push(bytesOf(9, 30 + random.below(100)));
    const done = store.put(keyOf(n), 'v'.repeat((bytes[n] as number) - 33), { durability: 'buffered' });
    bytes[n] = bytesOf(9, (bytes[n] as number) - 33);
    if (n % 512 === 0) await done;
  }
  await store.checkpoint();
  await store.close();
  store = await openOn(disk);
  const sum = (from: number, to: number): number => bytes.slice(from, to).reduce((total, one) => total + one, 0);
  for (const [from, to] of [
    [0, keys],
    [10_000, 50_000],
    [31_000, 36_000],
  ] as const) {
    const { pageReads } = store.statistics();
    const size = await store.approximateSize({ gte: keyOf(from), lt: keyOf(to) });
    const read = store.statistics().pageReads - pageReads;
    t.log(`${size} of ${sum(from, to)}, ${read} pages`);
    t.true(read <= 32, `${read} pages`);
    t.true(Math.abs(size / sum(from, to) - 1) < 0.05, `${size} of ${sum(from, to)}`);
  }
  const { pageReads } = store.statistics();
  t.is(await store.approximateSize({ gte: keyOf(20_000), lt: keyOf(20_600) }), sum(20_000, 20_600));
  t.true(store.statistics().pageReads - pageReads <= 32);
  t.is(await store.approximateSize({ gt: keyOf(7), lt: keyOf(8) }), 0);
  t.is(await store.approximateSize({ gte: 'x', lt: 'a' }), 0);
  // What is not merged yet counts, and what it replaces does not.
  await store.deleteRange({ gte: keyOf(10_000) });
  const put = (n: number): Promise<void> => store.put(keyOf(n), 'w'.repeat(200), { durability: 'buffered' });
  for (let n = 0; n < 10_000; n += 5) await put(n);
  for (let n = 0; n < 300; n++) await put(n);
  let rest = 300 * bytesOf(9, 200);
  for (let n = 300; n < 10_000; n++) rest += n % 5 === 0 ? bytesOf(9, 200) : (bytes[n] as number);
  t.true(Math.abs((await store.approximateSize()) / rest - 1) < 0.25, `${await store.approximateSize()} of ${rest}`);
  t.is(await store.approximateSize({ lt: keyOf(300) }), 300 * bytesOf(9, 200));
  await store.close();
});

test('one entry costs the leaf that holds it, and its record', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  let store = await openOn(disk, { memoryBytes: 8 * MIB });
  for (let n = 0; n < 20_000; n++) {
    const done = store.put(keyOf(n), `${n}`.padEnd(100, '.'), { durability: 'buffered' });
    if (n % 512 === 0) await done;
  }
  await store.checkpoint();
  await store.close();
  store = await openOn(disk);
  for (const [ask, expected] of [
    [() => store.floor(`${keyOf(5000)}x`), 5000],
    [() => store.ceiling(`${keyOf(9000)}x`), 9001],
    [() => store.first({ gt: keyOf(15_000) }), 15_001],
    [() => store.last({ lt: keyOf(3000) }), 2999],
  ] as const) {
    const { pageReads } = store.statistics();
    const entry = await ask();
    t.is(entry?.[0].toString(), keyOf(expected));
    t.is(Number.parseInt(String(entry?.[1]), 10), expected);
    t.true(store.statistics().pageReads - pageReads <= 2, `${store.statistics().pageReads - pageReads} pages`);
  }
  await store.close();
});

test('WALK-3: a walk reads the leaves of its range, and none behind its end', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const keys = 40_000;
  let store = await openOn(disk, { memoryBytes: 8 * MIB });
  for (let n = 0; n < keys; n++) {
    const done = store.put(keyOf(n), 'v', { durability: 'buffered' });
    if (n % 512 === 0) await done;
  }
  await store.close();
  const memoryBytes = 256 * KIB;
  store = await openOn(disk, { memoryBytes });
  const pagesOf = async (work: () => Promise<unknown>): Promise<number> => {
    const { pageReads } = store.statistics();
    await work();
    return store.statistics().pageReads - pageReads;
  };
  // The first key of a leaf that is not in memory, as the leaf before it is not: to ask for it reads a page.
  let boundary = 30_000;
  await store.has(keyOf(boundary));
  while (boundary < keys && (await pagesOf(() => store.has(keyOf(boundary)))) === 0) boundary++;
  t.true(boundary < keys);
  const [before, at] = [keyOf(boundary - 1), keyOf(boundary)];
  const ranges = [
    { gte: before, lt: at },
    { gte: at, lte: at, reverse: true },
  ];
  for (const { gte, lt, lte, reverse = false } of ranges) {
    const calls = {
      keys: () => store.keys({ gte, lt, lte, reverse }).nextMany(9),
      count: () => store.count({ gte, lt, lte }),
      nearest: () => (reverse ? store.last({ gte, lt, lte }) : store.first({ gte, lt, lte })),
      'a walk to its end': async () => {
        let rows = 0;
        for await (const _ of store.iterator({ gte, lt, lte, reverse })) rows++;
        t.is(rows, 1);
      },
    };
    for (const [name, call] of Object.entries(calls)) {
      await store.close();
      store = await openOn(disk, { memoryBytes });
      const pages = await pagesOf(call);
      t.true(pages <= 1, `${name}: ${pages} pages`);
    }
  }
  await store.close();
});

test('a long count leaves turns to others, and is ended by its signal', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 4 }), { memoryBytes: 8 * MIB });
  const keys = 30_000;
  for (let n = 0; n < keys; n++) {
    const done = store.put(keyOf(n), 'v', { durability: 'buffered' });
    if (n % 512 === 0) await done;
  }
  let turns = 0;
  let isOver = false;
  const counted = store.count().finally(() => (isOver = true));
  while (!isOver) {
    turns++;
    await nextTurn();
  }
  t.is(await counted, keys);
  t.true(turns > 4, `${turns} turns`);
  const controller = new AbortController();
  const aborted = store.count({ signal: controller.signal });
  const reason = new Error('enough');
  await nextTurn();
  controller.abort(reason);
  t.like(await t.throwsAsync(aborted), { code: 'ERR_AIOKV_ABORTED', cause: reason });
  await t.throwsAsync(store.count({ signal: controller.signal }), { code: 'ERR_AIOKV_ABORTED' });
  await store.close();
});

test('LOOKUPS-1, LOOKUPS-2: questions that are under way when the store is closed end, and hold nothing', async (t) => {
  for (let seed = SEED; seed < SEED + 4; seed++) {
    const random = new Random(seed);
    const disk = new SimulatedDisk({ seed });
    const store = await openOn(disk);
    await change(store, new Map(), 8000, 12_000, random);
    await store.checkpoint();
    const snapshot = store.snapshot();
    const asked = [store, snapshot].flatMap((reads) => [
      reads.count(),
      reads.approximateSize(),
      reads.first({ gte: keyOf(random.below(8000)) }),
      reads.floor(keyOf(random.below(8000))),
    ]);
    const settled = Promise.allSettled<unknown>(asked);
    for (let turn = random.below(5); turn > 0; turn--) await nextTurn();
    await store.close();
    for (const one of await settled) {
      if (one.status === 'rejected')
        t.is((one.reason as { code?: string }).code, 'ERR_AIOKV_CLOSED', String(one.reason));
    }
    const { operations } = disk;
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    t.is(disk.operations, operations);
    store.verifyIndex();
  }
});

test('LOOKUPS-2: a question that waits for a leaf when the store is closed goes no further', async (t) => {
  const disk = new SimulatedDisk({ seed: 7 });
  let store = await openOn(disk, { memoryBytes: 8 * MIB });
  for (let n = 0; n < 20_000; n++) {
    const done = store.put(keyOf(n), 'v'.repeat(50), { durability: 'buffered' });
    if (n % 512 === 0) await done;
  }
  await store.close();
  for (const ask of [
    () => store.first({ gte: keyOf(15_000) }),
    () => store.count({ gte: keyOf(15_000) }),
    () => store.approximateSize({ gte: keyOf(15_000) }),
  ]) {
    store = await openOn(disk, { memoryBytes: 128 * KIB });
    const asked = t.throwsAsync(ask(), { code: 'ERR_AIOKV_CLOSED' }, String(ask));
    await store.close();
    await asked;
  }
});

test('LOOKUPS-1: what was asked keeps nothing, and a snapshot gives its own value, not a later one', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 8 }), { memoryBytes: 8 * MIB });
  const putAll = async (letter: string): Promise<void> => {
    for (let n = 0; n < 500; n++) await store.put(keyOf(n), letter.repeat(1000), { durability: 'buffered' });
  };
  await putAll('a');
  await store.checkpoint();
  const snapshot = store.snapshot();
  await putAll('b');
  for (let n = 0; n < 500; n += 50) {
    t.is(String(await store.get(keyOf(n))).at(0), 'b');
    t.is(String((await snapshot.floor(keyOf(n)))?.[1]).at(0), 'a');
    t.is(String((await store.ceiling(keyOf(n)))?.[1]).at(0), 'b');
  }
  for (const reads of [store, snapshot]) {
    await reads.count();
    await reads.approximateSize();
    await reads.first({ gte: 'x' });
    const aborted = reads.count({ signal: AbortSignal.abort() });
    await t.throwsAsync(aborted, { code: 'ERR_AIOKV_ABORTED' });
    await t.throwsAsync(reads.count({ gt: 'a', gte: 'a' }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  }
  snapshot.release();
  await putAll('c');
  await store.checkpoint();
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  t.is(store.statistics().space.heldBytes, 0);
  await store.close();
});

test('what is asked for wrongly is refused', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 5 }), { clock: new ManualClock() });
  for (const reads of [store, store.snapshot()]) {
    const refused = { code: 'ERR_AIOKV_INVALID_OPTION' };
    await t.throwsAsync(reads.first({ gt: 'a', gte: 'a' }), refused);
    await t.throwsAsync(reads.last({ limit: 1 } as never), refused);
    await t.throwsAsync(reads.floor('a', { lt: 'b' } as never), refused);
    await t.throwsAsync(reads.ceiling('a', { gt: 'b' } as never), refused);
    await t.throwsAsync(reads.count({ reverse: true } as never), refused);
    await t.throwsAsync(reads.count({ signal: 1 as never }), refused);
    await t.throwsAsync(reads.approximateSize({ lt: 'a', lte: 'b' }), refused);
    await t.throwsAsync(reads.floor(undefined as never), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
    await t.throwsAsync(reads.ceiling('k'.repeat(5000)), { code: 'ERR_AIOKV_KEY_TOO_LARGE' });
    t.is(await reads.first(), undefined);
    t.is(await reads.last({ gte: 'b', lt: 'a' }), undefined);
    t.is(await reads.count(), 0);
    t.is(await reads.approximateSize(), 0);
  }
  await store.put('\u{10ffff}'.repeat(1024), 'last');
  await store.put('', 'first');
  for (const reads of [store, store.snapshot()]) {
    t.is(String((await reads.floor('a'))?.[1]), 'first');
    t.is(String((await reads.ceiling('a'))?.[1]), 'last');
    t.is(String((await reads.last())?.[1]), 'last');
    t.is(await reads.count(), 2);
  }
  await store.close();
});

test('the leaves of a range are those that a walk meets, and begin where the tree says', (t) => {
  for (let seed = SEED; seed < SEED + 8; seed++) {
    const random = new Random(seed);
    const tree = new Tree(new NodeMemory({ nodeBytes: 1024 }));
    const count = random.below(12_000);
    const bytes = (text: string): Uint8Array => Buffer.from(text);
    const keys = new Set<string>();
    for (let n = 0; n < count; n++) {
      const key = random.chance(0.1) ? `${random.below(1000)}`.repeat(60) : `${random.below(1e9)}`;
      keys.add(key);
      tree.set(bytes(key), key.length, 1, 0);
    }
    const sorted = [...keys].sort();
    const leafOf = (key: string): number => tree.leafOf(bytes(key), key.length);
    const firsts = new Map<number, string>();
    for (const key of sorted) if (!firsts.has(leafOf(key))) firsts.set(leafOf(key), key);
    const wrong: unknown[] = [];
    for (let round = 0; round < 12; round++) {
      const [from, to] = [`${random.below(1e9)}`, `${random.below(1e9)}`].sort() as [string, string];
      const end = random.chance(0.1) ? null : to;
      if (from === end) continue;
      const leaves = new LeafRange(tree.memory, tree.root, bytes(from), end === null ? null : bytes(end));
      const within = sorted.filter((key) => key >= from && (end === null || key < end));
      // The first may hold none of them.
      const met = [...new Set([...(count > 0 ? [leafOf(from)] : []), ...within.map(leafOf)])];
      if (leaves.count !== met.length && leaves.count !== met.length + 1) wrong.push([from, end, leaves.count]);
      for (let at = 1; at < Math.min(leaves.count, met.length); at++) {
        const fence = Buffer.from(leaves.fenceOf(at)).toString();
        const first = firsts.get(met[at] as number) as string;
        if (fence > first || leafOf(fence) !== met[at]) wrong.push([from, end, at, fence, first]);
      }
    }
    t.deepEqual(wrong, [], `AIOKV_RANGES_SEED=${seed}`);
    tree.clear();
  }
});
