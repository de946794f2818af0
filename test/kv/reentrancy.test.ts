/**
 * Every public call of a store from inside every callback of ours: what runs when a promise of ours settles, an opening
 * that tells how far it is, and whoever takes entries of an iterator.
 */
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';

const KEYS = 200;

function keyOf(number: number): string {
  return `key ${String(number).padStart(4, '0')}`;
}

async function filled(): Promise<Store> {
  const store = await open('/store', {
    platform: new SimulatedDisk({ seed: 9 }),
    segmentBytes: 256 * 1024,
    queueDepth: 4,
    flushIntervalMs: 5,
  });
  await store.batch(
    Array.from({ length: KEYS }, (_, i) => ({ type: 'put' as const, key: keyOf(i), value: `value ${i}` })),
  );
  await store.put('long', 'x'.repeat(300_000));
  return store;
}

/** Places from which callers run: each calls `inside` once, in the midst of other work of the store. */
const callbacks: Record<string, (store: Store, inside: () => Promise<void>) => Promise<unknown>> = {
  'a get from the device': async (store, inside) => store.get(keyOf(1)).then(inside),
  'a get from the index alone': async (store, inside) => store.get('none').then(inside),
  'a get of a long value': async (store, inside) => store.get('long').then(inside),
  'a get beside many': async (store, inside) =>
    Promise.all([
      ...Array.from({ length: 300 }, (_, i) => store.get(keyOf(i % KEYS))),
      store.get(keyOf(5)).then(inside),
      ...Array.from({ length: 300 }, (_, i) => store.get(keyOf(i % KEYS))),
    ]),
  has: async (store, inside) => store.has(keyOf(2)).then(inside),
  keys: async (store, inside) => {
    for await (const _ of store.keys({ limit: 1 })) await inside();
  },
  getVersioned: async (store, inside) => store.getVersioned(keyOf(2)).then(inside),
  getMany: async (store, inside) => store.getMany(Array.from({ length: 50 }, (_, i) => keyOf(i))).then(inside),
  'an iterator': async (store, inside) => {
    let count = 0;
    for await (const _ of store.iterator()) if (++count === 20) await inside();
    return count;
  },
  'the end of an iterator': async (store, inside) => {
    const iterator = store.iterator({ limit: 3 });
    while ((await iterator.next()).done !== true);
    return inside();
  },
  'a read that is refused': async (store, inside) => store.get(5 as unknown as string).catch(inside),
  'a flushed put': async (store, inside) => store.put('a', 'b').then(inside),
  'a buffered put': async (store, inside) => store.put('a', 'b', { durability: 'buffered' }).then(inside),
  'a del': async (store, inside) => store.del(keyOf(199)).then(inside),
  'a long batch': async (store, inside) =>
    store
      .batch(Array.from({ length: 1000 }, (_, i) => ({ type: 'put' as const, key: `b ${i}`, value: 'x' })))
      .then(inside),
  'a put whose condition fails': async (store, inside) => store.put(keyOf(3), 'b', { ifAbsent: true }).catch(inside),
  flush: async (store, inside) => store.flush().then(inside),
  checkpoint: async (store, inside) => store.checkpoint().then(inside),
};

type Call = (store: Store) => unknown;

/** What is called, and what it answers. */
const calls: Record<string, Call> = {
  get: async (store) => (await store.get(keyOf(7)))?.toString(),
  getSync: (store) => store.getSync(keyOf(7))?.toString(),
  'getSync of a long value': (store) => (store.getSync('long') as Buffer).length === 300_000 && 'value 7',
  'many getSync': (store) => Array.from({ length: 50 }, () => store.getSync(keyOf(7))?.toString()).at(-1),
  getVersioned: async (store) => (await store.getVersioned(keyOf(7)))?.value.toString(),
  getMany: async (store) => (await store.getMany([keyOf(7)]))[0]?.toString(),
  has: async (store) => (await store.has(keyOf(7))) && !(await store.has('none')) && 'value 7',
  keys: async (store) => (await store.keys({ gte: keyOf(7) }).next()).value?.toString() === keyOf(7) && 'value 7',
  iterator: async (store) => {
    const iterator = store.iterator({ gte: keyOf(7) });
    const { value } = await iterator.next();
    await iterator.return();
    return (value as [Buffer, Buffer])[1].toString();
  },
  put: async (store) => {
    await store.put('inside', 'value 7');
    return (await store.get('inside'))?.toString();
  },
  del: async (store) => {
    await store.del('inside', { durability: 'written' });
    return (await store.get('inside')) ?? 'value 7';
  },
  batch: async (store) => {
    await store.batch(
      Array.from({ length: 600 }, (_, i) => ({ type: 'put' as const, key: `in ${i}`, value: 'value 7' })),
    );
    return (await store.get('in 599'))?.toString();
  },
  'put with a condition': async (store) => {
    await store.del('fresh');
    await store.put('fresh', 'value 7', { ifAbsent: true });
    return store.getSync('fresh')?.toString();
  },
  flush: async (store) => (await store.flush()) ?? 'value 7',
  checkpoint: async (store) => (await store.checkpoint()) ?? 'value 7',
  statistics: (store) => store.statistics().sequence > 0 && 'value 7',
};

for (const [where, run] of Object.entries(callbacks)) {
  test(`every call from inside ${where}`, async (t) => {
    const store = await filled();
    for (const [name, call] of Object.entries(calls)) {
      let answer: unknown = 'never called';
      await run(store, async () => {
        answer = await call(store);
      });
      t.is(answer, 'value 7', name);
    }
    await store.close();
  });

  test(`close from inside ${where}`, async (t) => {
    const store = await filled();
    let closed = false;
    await run(store, async () => {
      await store.close();
      closed = true;
    }).catch((error: unknown) => t.is((error as { code?: string }).code, 'ERR_AIOKV_CLOSED'));
    // Reads that were called before the close may have failed the callback's own promise; the close goes on.
    await store.close();
    t.true(closed);
    await t.throwsAsync(store.get('a'), { code: 'ERR_AIOKV_CLOSED' });
  });
}

test('an opening that tells how far it is may be asked for another store, and be left by an error', async (t) => {
  const platform = new SimulatedDisk({ seed: 9 });
  const first = await open('/store', { platform });
  await first.put('a', 'b');
  await first.close();
  const others: Promise<Store>[] = [];
  const store = await open('/store', {
    platform,
    onProgress: () => {
      if (others.length === 0) others.push(open('/other', { platform }));
    },
  });
  t.is(others.length, 1);
  for (const other of others) await (await other).close();
  t.is((await store.get('a'))?.toString(), 'b');
  await store.close();
  const mine = new Error('mine');
  const left = open('/store', {
    platform,
    onProgress: () => {
      throw mine;
    },
  });
  t.is(await t.throwsAsync(left), mine);
  const again = await open('/store', { platform });
  t.is((await again.get('a'))?.toString(), 'b');
  await again.close();
});
