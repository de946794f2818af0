/**
 * Tiny and empty values are in the leaves of the index: no read of a record, and no live bytes in the log. Device reads
 * are counted.
 */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { INLINE_BYTES_MAX } from '../../packages/kv/src/format/index-entry.ts';
import { outcomes } from './settling.ts';

const OPTIONS = { segmentBytes: 64 * 1024, queueDepth: 16 };
const BUFFERED = { durability: 'buffered' } as const;

class Bench {
  readonly t: ExecutionContext;
  disk = new SimulatedDisk({ seed: 1 });
  readonly model = new Map<string, Buffer>();
  readonly random = new Random(7);
  #store: Store | null = null;

  constructor(t: ExecutionContext) {
    this.t = t;
  }

  get store(): Store {
    return this.#store as Store;
  }

  async open(options: Partial<StoreOptions> = {}, isClosing = true): Promise<void> {
    if (isClosing) await this.#store?.close();
    this.#store = await open('/store', { ...OPTIONS, platform: this.disk, ...options });
  }

  /** A value of so many bytes that no other is equal to, but for those of few bytes. */
  value(length: number): Buffer {
    return this.random.fill(Buffer.alloc(length)) as Buffer;
  }

  async put(key: string, value: Buffer): Promise<void> {
    this.model.set(key, value);
    await this.store.put(key, value, BUFFERED);
  }

  /** Device requests that `work` makes. */
  async requestsOf(work: () => unknown): Promise<number> {
    const before = this.store.statistics().queue.accepted;
    await work();
    return this.store.statistics().queue.accepted - before;
  }

  /** All ways of asking for a key, and for all of them. */
  async requireAll(): Promise<void> {
    const { t, store, model } = this;
    const keys = [...model.keys()].sort();
    for (const key of keys) {
      const value = model.get(key) as Buffer;
      t.deepEqual(await store.get(key), value);
      t.deepEqual(store.getSync(key), value);
      const versioned = await store.getVersioned(key);
      t.deepEqual(versioned?.value, value);
    }
    t.deepEqual(
      await store.getMany(keys),
      keys.map((key) => model.get(key)),
    );
    const walked: [string, Buffer][] = [];
    for await (const [key, value] of store.iterator()) walked.push([key.toString('latin1'), value]);
    t.deepEqual(
      walked,
      keys.map((key) => [key, model.get(key)]),
    );
  }
}

/** Values on both sides of the limit, the empty one too. */
async function fill(bench: Bench, keys: number): Promise<void> {
  for (let n = 0; n < keys; n++) {
    await bench.put(`key${String(n).padStart(6, '0')}`, bench.value(n % (INLINE_BYTES_MAX + 3)));
  }
}

test('values of every small length are the same in memory, on the device, and after a replay', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  await fill(bench, 300);
  await bench.put('', bench.value(3));
  await bench.put('k'.repeat(4096), bench.value(INLINE_BYTES_MAX));
  await bench.store.batch(
    Array.from({ length: 600 }, (_, n) => {
      const value = bench.value(n % 40);
      bench.model.set(`batch${n}`, value);
      return { type: 'put' as const, key: `batch${n}`, value };
    }),
  );
  await bench.requireAll();
  const versions = (): Promise<unknown[]> =>
    Promise.all([...bench.model.keys()].map((key) => bench.store.getVersioned(key)));
  const before = await versions();
  bench.disk = bench.disk.powerCut('all', bench.random);
  await bench.open({}, false);
  await bench.requireAll();
  t.deepEqual(await versions(), before, 'a replay gives the versions that were there');
  await bench.store.checkpoint();
  await bench.open();
  await bench.requireAll();
  t.deepEqual(await versions(), before, 'leaves hold the versions');
  bench.store.verifyIndex();
  await bench.store.verifySegments();
  await bench.store.close();
});

test('a tiny value costs the read of its leaf, and none when that is in memory', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  for (let n = 0; n < 4000; n++) await bench.put(`key${String(n).padStart(6, '0')}`, bench.value(n % 9));
  await bench.open({ memoryBytes: 32 * 1024 });
  await bench.store.checkpoint();
  const { store, model, random } = bench;
  const keys = [...model.keys()];
  let most = 0;
  let total = 0;
  for (let n = 0; n < 300; n++) {
    const key = keys[random.below(keys.length)] as string;
    const cold = await bench.requestsOf(async () => t.deepEqual(await store.get(key), model.get(key)));
    most = Math.max(most, cold);
    total += cold;
    const ways = [
      () => store.get(key),
      () => store.getSync(key),
      () => store.getVersioned(key),
      () => store.getMany([key, key]),
      () => store.iterator({ gte: key, limit: 1 }).next(),
      () => store.has(key),
      () => store.keys({ gte: key, limit: 1 }).next(),
      () => outcomes([store.put(key, 'x', { ifAbsent: true })]),
    ];
    for (const [i, way] of ways.entries()) t.is(await bench.requestsOf(way), 0, `way ${i} with the leaf in memory`);
  }
  t.is(most, 1, 'the leaf');
  t.true(total > 200, `${total} leaves were read for 300 gets`);
  await bench.open();
  t.is(await bench.requestsOf(() => bench.requireAll()), 0, 'all leaves are in memory');
  await bench.store.close();
});

test('a condition on the version of a tiny value reads no record', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  await bench.put('key', bench.value(8));
  await bench.open();
  const { store } = bench;
  const { version } = (await store.getVersioned('key')) ?? t.fail();
  const reads = (): number => store.statistics().queue.accepted;
  const before = reads();
  t.deepEqual(await outcomes([store.put('key', 'other', { ifVersion: version, ...BUFFERED })]), ['ok']);
  t.deepEqual(await outcomes([store.put('key', 'third', { ifVersion: version, ...BUFFERED })]), [
    'ERR_AIOKV_CONDITION_FAILED',
  ]);
  t.is(reads(), before);
  await store.close();
});

test('tiny values keep no segment of the log, and what they replace does not either', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  for (let n = 0; n < 30_000; n++) await bench.put(`key${n % 2000}`, bench.value(n < 1000 ? 200 : 8));
  await bench.open();
  // The second one makes slots free that the first has made free for it.
  for (let round = 0; round < 2; round++) {
    await bench.put('another', bench.value(round));
    await bench.store.checkpoint();
  }
  const { space, memory } = bench.store.statistics();
  const slots = (space.liveBytes + space.deadBytes) / OPTIONS.segmentBytes;
  t.log(`${slots} slots in use, ${space.liveBytes} live bytes in ${memory.pageBytes} bytes of pages`);
  t.true(space.liveBytes <= memory.pageBytes, 'nothing but pages lives');
  t.true(slots <= 8, 'the log took some thirty slots');
  await bench.store.verifySegments();
  await bench.requireAll();
  await bench.store.close();
});

test('a value in an answer is the memory of its receiver', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  await bench.put('key', Buffer.from('value'));
  for (let round = 0; round < 2; round++) {
    const { store } = bench;
    const values = [
      await store.get('key'),
      store.getSync('key'),
      (await store.getVersioned('key'))?.value,
      ...(await store.getMany(['key'])),
      ((await store.iterator().next()).value as [Buffer, Buffer])[1],
    ];
    for (const value of values) {
      // What was done to the answers before is not seen in this one.
      t.is(value?.toString(), 'value');
      value?.fill(0);
    }
    await bench.requireAll();
    await bench.open();
  }
  await bench.store.close();
});

test('many tiny values that are asked for at once leave turns to others', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  for (let n = 0; n < 20_000; n++) await bench.put(`key${n}`, Buffer.from('v'));
  const turnsOf = async (work: () => Promise<unknown>): Promise<number> => {
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    await work();
    isOver = true;
    return turns;
  };
  const { store } = bench;
  const walk = await turnsOf(async () => {
    for await (const row of store.iterator()) t.true(row.length === 2);
  });
  const versions = await turnsOf(async () => {
    for (let n = 0; n < 20_000; n++) await store.getVersioned(`key${n}`);
  });
  t.true(walk >= 5 && versions >= 5, `${walk} turns of a walk, ${versions} of gets`);
  await store.close();
});
