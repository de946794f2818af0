/** What a store promises its callers, over the simulated disk and on the real one alike. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { SimulatedDisk, localPlatform, portablePlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { RangeOptions, Store } from '@aiokv/kv';

interface Place {
  readonly platform: Platform;
  readonly directory: string;
}

const GEOMETRY = { segmentBytes: 64 * 1024, queueDepth: 16 };

async function onSimulated(_: ExecutionContext, use: (place: Place) => Promise<void>): Promise<void> {
  await use({ platform: new SimulatedDisk({ seed: 7 }), directory: '/store' });
}

function onDisk(platform: () => Platform) {
  return async (_: ExecutionContext, use: (place: Place) => Promise<void>): Promise<void> => {
    const directory = await mkdtemp(resolve('.tmp-store-'));
    try {
      await use({ platform: platform(), directory });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  };
}

async function collect(store: Store, options?: Partial<RangeOptions>): Promise<string[]> {
  const entries: string[] = [];
  for await (const [key, value] of store.iterator(options)) entries.push(`${key.toString()}=${value.toString()}`);
  return entries;
}

for (const [name, at] of [
  ['simulated', onSimulated],
  ['here', onDisk(localPlatform)],
  ['portable', onDisk(portablePlatform)],
] as const) {
  const openAt = (place: Place, options = {}): Promise<Store> =>
    open(place.directory, { ...GEOMETRY, platform: place.platform, ...options });

  test(`${name}: what was put is got, in every way of asking`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      await store.put('a', 'one');
      await store.put(Buffer.from([0, 255]), Buffer.from([1, 2, 3]));
      await store.put('', 'empty key');
      await store.put('empty value', '');
      t.is((await store.get('a'))?.toString(), 'one');
      t.deepEqual(await store.get(new Uint8Array([0, 255])), Buffer.from([1, 2, 3]));
      t.is(store.getSync('')?.toString(), 'empty key');
      t.is((await store.get('empty value'))?.length, 0);
      t.is(await store.get('missing'), undefined);
      t.is(store.getSync('missing'), undefined);
      const many = await store.getMany(['missing', 'a', '']);
      t.deepEqual(
        many.map((value) => value?.toString()),
        [undefined, 'one', 'empty key'],
      );
      await store.put('a', 'two');
      t.is((await store.get('a'))?.toString(), 'two');
      await store.del('a');
      t.is(await store.get('a'), undefined);
      await store.close();
    }));

  test(`${name}: a closed store reopens with everything, again and again`, (t) =>
    at(t, async (place) => {
      for (let round = 0; round < 5; round++) {
        const store = await openAt(place);
        for (let n = 0; n < round * 20; n++) {
          t.is(store.getSync(`key${n}`)?.toString(), n % 7 === 3 ? undefined : `${n}`.repeat(50));
        }
        const writes: Promise<void>[] = [];
        for (let n = round * 20; n < round * 20 + 20; n++) {
          writes.push(store.put(`key${n}`, `${n}`.repeat(50), { durability: 'buffered' }));
          if (n % 7 === 3) writes.push(store.del(`key${n}`));
        }
        await Promise.all(writes);
        await store.close();
      }
    }));

  test(`${name}: values of all sizes over many segments, cold and from memory`, (t) =>
    at(t, async (place) => {
      const sizes = [0, 1, 511, 512, 513, 4096, 8191, 30_000, 50_000];
      let store = await openAt(place);
      const expected = new Map<string, Buffer>();
      for (let n = 0; n < 90; n++) {
        const value = Buffer.alloc(sizes[n % sizes.length] as number, n + 1);
        expected.set(`key${n}`, value);
        await store.put(`key${n}`, value, { durability: n % 2 === 0 ? 'written' : 'buffered' });
        t.deepEqual(await store.get(`key${n}`), value);
      }
      for (let reopening = 0; reopening < 2; reopening++) {
        const got = await store.getMany([...expected.keys()]);
        t.deepEqual(got, [...expected.values()]);
        for (const [key, value] of expected) t.deepEqual(store.getSync(key), value);
        await store.close();
        store = await openAt(place);
      }
      await store.close();
    }));

  test(`${name}: ranges, in both directions`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      for (const key of ['d', 'a', 'c', 'b', 'e', 'aa'])
        await store.put(key, key.toUpperCase(), { durability: 'buffered' });
      await store.del('c');
      t.deepEqual(await collect(store), ['a=A', 'aa=AA', 'b=B', 'd=D', 'e=E']);
      t.deepEqual(await collect(store, { reverse: true }), ['e=E', 'd=D', 'b=B', 'aa=AA', 'a=A']);
      t.deepEqual(await collect(store, { gt: 'a', lt: 'd' }), ['aa=AA', 'b=B']);
      t.deepEqual(await collect(store, { gte: 'a', lte: 'd', reverse: true }), ['d=D', 'b=B', 'aa=AA', 'a=A']);
      t.deepEqual(await collect(store, { gte: 'c', limit: 1 }), ['d=D']);
      t.deepEqual(await collect(store, { lt: 'c', limit: 1, reverse: true }), ['b=B']);
      t.deepEqual(await collect(store, { gt: 'e' }), []);
      t.deepEqual(await collect(store, { limit: 0 }), []);
      await store.close();
    }));

  test(`${name}: a read sees the store as it was when it was called`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      for (let n = 0; n < 300; n++) await store.put(`key${n}`, `old${n}`, { durability: 'buffered' });
      await store.flush();
      const value = store.get('key7');
      const many = store.getMany(['key8', 'new']);
      const iterator = store.iterator({ gte: 'key', lt: 'l' });
      for (let n = 0; n < 300; n++) await store.put(`key${n}`, `new${n}`, { durability: 'buffered' });
      await store.del('key9', { durability: 'buffered' });
      await store.put('key9999', 'new', { durability: 'buffered' });
      t.is((await value)?.toString(), 'old7');
      t.deepEqual(
        (await many).map((one) => one?.toString()),
        ['old8', undefined],
      );
      let seen = 0;
      for await (const [key, got] of iterator) {
        t.is(got.toString(), `old${key.toString().slice(3)}`);
        seen++;
      }
      t.is(seen, 300);
      t.is((await store.get('key7'))?.toString(), 'new7');
      await store.close();
    }));

  test(`${name}: a batch applies in its order, across frames`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place, { writeBufferBytes: 2 * 1024 * 1024 });
      await store.batch([]);
      await store.batch([
        { type: 'put', key: 'a', value: '1' },
        { type: 'del', key: 'a' },
        { type: 'put', key: 'b', value: '2' },
        { type: 'put', key: 'b', value: '3' },
      ]);
      t.deepEqual(await collect(store), ['b=3']);
      const operations = Array.from({ length: 40 }, (_, n) => ({
        type: 'put' as const,
        key: `long${n}`,
        value: Buffer.alloc(3000, n),
      }));
      await store.batch(operations);
      await store.close();
      const again = await openAt(place);
      for (const { key, value } of operations) t.deepEqual(await again.get(key), value);
      await again.close();
    }));

  test(`${name}: 128 writers at once, each durability`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      for (const durability of ['flushed', 'written', 'buffered'] as const) {
        let next = 0;
        await Promise.all(
          Array.from({ length: 128 }, async () => {
            while (next < 1000) {
              const n = next++;
              await store.put(`${durability}${n}`, `${n}:`.padEnd(300, 'x'), { durability });
            }
          }),
        );
      }
      await store.flush();
      t.is(store.statistics().flushedThrough, 3000);
      await store.close();
      const again = await openAt(place);
      t.is((await collect(again)).length, 3000);
      await again.close();
    }));

  test(`${name}: a second opener is refused and told who has it`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      const error = await t.throwsAsync(openAt(place), { code: 'ERR_AIOKV_LOCKED' });
      t.regex(error?.message ?? '', /open already/);
      await store.put('still', 'works');
      await store.close();
      await (await openAt(place)).close();
    }));

  test(`${name}: closing settles everything and is for good`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place);
      await store.put('a', 'b'.repeat(100));
      const put = store.put('c', 'd');
      const get = store.get('a');
      const iterator = store.iterator();
      await store.close();
      await store.close();
      await put;
      t.is((await get)?.length, 100);
      await t.throwsAsync(iterator.next(), { code: 'ERR_AIOKV_CLOSED' });
      await t.throwsAsync(store.get('a'), { code: 'ERR_AIOKV_CLOSED' });
      await t.throwsAsync(store.put('a', 'b'), { code: 'ERR_AIOKV_CLOSED' });
      await t.throwsAsync(store.flush(), { code: 'ERR_AIOKV_CLOSED' });
      t.throws(() => store.iterator(), { code: 'ERR_AIOKV_CLOSED' });
      t.throws(() => store.getSync('a'), { code: 'ERR_AIOKV_CLOSED' });
    }));

  test(`${name}: closing answers every get under way, however many wait`, (t) =>
    at(t, async (place) => {
      let store = await openAt(place);
      for (let n = 0; n < 100; n++) await store.put(`key${n}`, `${n}`, { durability: 'buffered' });
      await store.close();
      store = await openAt(place, { queueDepth: 4 });
      const gets = Array.from({ length: 100 }, (_, n) => store.get(`key${n}`));
      const many = store.getMany(Array.from({ length: 50 }, (_, n) => `key${n}`));
      await store.close();
      const values = await Promise.all(gets);
      values.forEach((value, n) => t.is(value?.toString(), `${n}`));
      t.is((await many).length, 50);
    }));

  test(`${name}: bad input is refused before anything changes`, (t) =>
    at(t, async (place) => {
      const store = await openAt(place, { maxBatchBytes: 1024 * 1024 });
      const bad = undefined as unknown as string;
      await t.throwsAsync(store.put(bad, 'x'), { code: 'ERR_AIOKV_INVALID_ARGUMENT', instanceOf: TypeError });
      await t.throwsAsync(store.put('x', bad), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      await t.throwsAsync(store.put('\ud800', 'x'), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      await t.throwsAsync(store.get('k'.repeat(4097)), { code: 'ERR_AIOKV_KEY_TOO_LARGE' });
      await t.throwsAsync(store.put('x', Buffer.alloc(64 * 1024 * 1024 + 1)), {
        code: 'ERR_AIOKV_RECORD_TOO_LARGE',
        message: /a value has at most 67108864 bytes/,
      });
      await t.throwsAsync(store.put('x', 'y', { durability: 'safe' as 'flushed' }), {
        code: 'ERR_AIOKV_INVALID_OPTION',
      });
      await t.throwsAsync(
        store.batch([
          { type: 'put', key: 'good', value: 'x' },
          { type: 'putt' as 'del', key: 'bad' },
        ]),
        { code: 'ERR_AIOKV_INVALID_ARGUMENT' },
      );
      const huge = Array.from({ length: 400 }, (_, n) => ({
        type: 'put' as const,
        key: `${n}`,
        value: Buffer.alloc(20_000),
      }));
      await t.throwsAsync(store.batch(huge), { code: 'ERR_AIOKV_BATCH_TOO_LARGE', message: /maxBatchBytes/ });
      t.throws(() => store.iterator({ gt: 'a', gte: 'b' }), { code: 'ERR_AIOKV_INVALID_OPTION' });
      t.throws(() => store.iterator({ lmit: 3 } as object), { code: 'ERR_AIOKV_INVALID_OPTION' });
      t.is(store.statistics().sequence, 0);
      t.deepEqual(await collect(store), []);
      await store.close();
      await t.throwsAsync(openAt(place, { segmentBytes: 100 }), { code: 'ERR_AIOKV_INVALID_OPTION' });
    }));

  test(`${name}: a store is there or not, as the options want it`, (t) =>
    at(t, async (place) => {
      const elsewhere = { ...place, directory: `${place.directory}/none` };
      await t.throwsAsync(openAt(elsewhere, { createIfMissing: false }), { code: 'ERR_AIOKV_NOT_FOUND' });
      await (await openAt(place)).close();
      await t.throwsAsync(openAt(place, { errorIfExists: true }), { code: 'ERR_AIOKV_EXISTS' });
      await t.throwsAsync(openAt(place, { pageBytes: 16384 }), { code: 'ERR_AIOKV_PAGE_SIZE' });
      await (await openAt(place, { pageBytes: 4096 })).close();
    }));
}

test('linux: a directory with other files is no store and stays as it is', (t) =>
  onDisk(localPlatform)(t, async ({ directory }) => {
    await writeFile(`${directory}/notes.txt`, 'mine');
    await t.throwsAsync(open(directory), { code: 'ERR_AIOKV_NOT_A_STORE' });
    await rm(`${directory}/notes.txt`);
    await writeFile(`${directory}/data.aiokv`, Buffer.alloc(1 << 20, 7));
    await t.throwsAsync(open(directory), { code: 'ERR_AIOKV_NOT_A_STORE' });
  }));

test('linux: an empty store takes at most 8 MiB', (t) =>
  onDisk(localPlatform)(t, async ({ directory }) => {
    await (await open(directory)).close();
    const { stat } = await import('node:fs/promises');
    const { blocks } = await stat(`${directory}/data.aiokv`);
    t.true(blocks * 512 <= 8 * 1024 * 1024);
  }));
