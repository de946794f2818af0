/** Objects after their end: every method of every object that a store gives, after each way in which it can end. */
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreIterator } from '@aiokv/kv';

const KEYS = 300;

function keyOf(number: number): string {
  return `key ${String(number).padStart(4, '0')}`;
}

interface Place {
  readonly disk: SimulatedDisk;
  readonly store: Store;
}

/** A store with entries on the device; an iterator over them reads some ahead. */
async function filled(): Promise<Place> {
  const disk = new SimulatedDisk({ seed: 4 });
  const store = await open('/store', { platform: disk, segmentBytes: 256 * 1024, queueDepth: 8 });
  await store.batch(
    Array.from({ length: KEYS }, (_, i) => ({ type: 'put' as const, key: keyOf(i), value: `value ${i}` })),
  );
  return { disk, store };
}

async function fail({ disk, store }: Place): Promise<void> {
  disk.inject({ at: ({ kind }) => kind === 'write', kind: 'EIO' });
  await store.put('lost', 'value').catch(() => undefined);
}

/** What became of a call: its answer, `done`, or the code of its error. */
async function outcomeOf(call: () => unknown): Promise<string> {
  try {
    const answer = await call();
    if (answer !== null && typeof answer === 'object' && 'done' in answer)
      return answer.done === true ? 'done' : 'entry';
    return answer === undefined ? 'undefined' : 'answer';
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
}

type StoreCall = (store: Store) => unknown;

const reads: Record<string, StoreCall> = {
  get: (store) => store.get(keyOf(1)),
  getSync: (store) => store.getSync(keyOf(1)),
  getVersioned: (store) => store.getVersioned(keyOf(1)),
  getMany: (store) => store.getMany([keyOf(1)]),
  'getMany of many': (store) => store.getMany(Array.from({ length: 2000 }, (_, i) => keyOf(i))),
  iterator: (store) => store.iterator().next(),
  has: (store) => store.has(keyOf(1)),
  keys: (store) => store.keys().next(),
  first: (store) => store.first(),
  last: (store) => store.last({ lt: 'lost' }),
  floor: (store) => store.floor(keyOf(1)),
  ceiling: (store) => store.ceiling(keyOf(1)),
  count: (store) => store.count({ lt: keyOf(9) }),
  approximateSize: (store) => store.approximateSize(),
};
const writes: Record<string, StoreCall> = {
  put: (store) => store.put('a', 'b'),
  del: (store) => store.del('a'),
  batch: (store) => store.batch([{ type: 'put', key: 'a', value: 'b' }]),
  'put with a condition': (store) => store.put('new', 'b', { ifAbsent: true }),
  flush: (store) => store.flush(),
  checkpoint: (store) => store.checkpoint(),
};
const always: Record<string, StoreCall> = {
  statistics: (store) => store.statistics(),
};

test('a store that is closed refuses every call but close', async (t) => {
  const { store } = await filled();
  const closing = store.close();
  for (const when of ['while it closes', 'afterwards']) {
    for (const [name, call] of Object.entries({ ...reads, ...writes })) {
      t.is(await outcomeOf(() => call(store)), 'ERR_AIOKV_CLOSED', `${name} ${when}`);
    }
    for (const [name, call] of Object.entries(always)) t.is(await outcomeOf(() => call(store)), 'answer', name);
    t.is(await outcomeOf(() => store.close()), 'undefined', when);
    t.is(await outcomeOf(() => store[Symbol.asyncDispose]()), 'undefined', when);
    await closing;
  }
});

test('a store that has failed answers reads of what is flushed, and refuses the rest', async (t) => {
  const place = await filled();
  const { store } = place;
  await fail(place);
  const entry = { iterator: 'entry', keys: 'entry' } as Record<string, string>;
  for (const [name, call] of Object.entries(reads)) {
    t.is(await outcomeOf(() => call(store)), entry[name] ?? 'answer', name);
  }
  for (const [name, call] of Object.entries(writes))
    t.is(await outcomeOf(() => call(store)), 'ERR_AIOKV_LATCHED', name);
  for (const [name, call] of Object.entries(always)) t.is(await outcomeOf(() => call(store)), 'answer', name);
  for (const lost of [
    () => store.get('lost'),
    () => store.getSync('lost'),
    () => store.getVersioned('lost'),
    () => store.getMany(['lost']),
    () => store.iterator({ gte: 'lost' }).next(),
    () => store.has('lost'),
    () => store.keys({ gte: 'lost' }).next(),
    () => store.floor('lost'),
    () => store.ceiling('lost'),
    () => store.first({ gte: 'lost' }),
    () => store.count(),
  ]) {
    t.is(await outcomeOf(lost), 'ERR_AIOKV_LATCHED', String(lost));
  }
  t.is(await outcomeOf(() => store.close()), 'undefined');
});

type IteratorEnd = (place: Place, iterator: StoreIterator) => Promise<unknown>;

/** How an iterator over all entries ends, and what its `next` answers from then on. */
const ends: Record<string, { end: IteratorEnd; next: string }> = {
  'it was returned': { end: (_, iterator) => iterator.return(), next: 'done' },
  'it was thrown into': { end: (_, iterator) => outcomeOf(() => iterator.throw(new Error('mine'))), next: 'done' },
  'it was disposed of': { end: (_, iterator) => iterator[Symbol.asyncDispose](), next: 'done' },
  'it came to its last entry': {
    end: async (_, iterator) => {
      while ((await iterator.next()).done !== true);
    },
    next: 'done',
  },
  'the store was closed': { end: ({ store }) => store.close(), next: 'ERR_AIOKV_CLOSED' },
  'it was returned, and the store closed': {
    end: async ({ store }, iterator) => {
      await iterator.return();
      await store.close();
    },
    next: 'done',
  },
  'a read of it failed': {
    end: async ({ disk }, iterator) => {
      const heal = disk.inject({ at: ({ kind }) => kind === 'read', kind: 'EIO', sticky: true });
      while ((await outcomeOf(() => iterator.next())) === 'entry');
      heal();
    },
    next: 'done',
  },
};

for (const [name, { end, next }] of Object.entries(ends)) {
  for (const taken of [0, 1, 20]) {
    test(`an iterator with ${taken} entries taken, after ${name}, gives none (ITERATOR-1, ITERATOR-2)`, async (t) => {
      const place = await filled();
      const iterator = place.store.iterator();
      for (let i = 0; i < taken; i++) t.is((await iterator.next()).value?.[0].toString(), keyOf(i));
      await end(place, iterator);
      const mine = new Error('mine');
      for (const again of ['at once', 'later']) {
        t.is(await outcomeOf(() => iterator.next()), next, again);
        t.deepEqual(await Promise.all([1, 2, 3].map(() => outcomeOf(() => iterator.next()))), [next, next, next]);
        t.is(await outcomeOf(() => iterator.return()), 'done');
        t.is(await t.throwsAsync(iterator.throw(mine)), mine);
        t.is(await outcomeOf(() => iterator[Symbol.asyncDispose]()), 'undefined');
        t.is(iterator[Symbol.asyncIterator](), iterator);
        await place.store.close();
      }
    });
  }
}

test('calls that are under way when an iterator ends are answered, in order', async (t) => {
  for (const [name, end, expected] of [
    ['return', (_: Store, iterator: StoreIterator) => iterator.return(), 'done'],
    ['close', (store: Store) => store.close(), 'ERR_AIOKV_CLOSED'],
  ] as const) {
    const { store } = await filled();
    const iterator = store.iterator();
    const order: number[] = [];
    const calls = Array.from({ length: 10 }, (_, i) =>
      outcomeOf(() => iterator.next()).then((outcome) => {
        order.push(i);
        return outcome;
      }),
    );
    await end(store, iterator);
    t.deepEqual(await Promise.all(calls), Array<string>(10).fill(expected), name);
    t.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
      name,
    );
    await store.close();
  }
});

test('calls of next that overlap get the entries in order, and then the end', async (t) => {
  const { store } = await filled();
  for (const reverse of [false, true]) {
    const iterator = store.iterator({ reverse });
    const answers = await Promise.all(Array.from({ length: KEYS + 5 }, () => iterator.next()));
    const keys = answers.map(({ value }) => value?.[0].toString());
    const all = Array.from({ length: KEYS }, (_, i) => keyOf(i));
    t.deepEqual(keys, [...(reverse ? all.reverse() : all), ...Array<undefined>(5).fill(undefined)]);
    t.true(answers.slice(KEYS).every(({ done }) => done));
  }
  await store.close();
});

test('return waits until nothing is read for the iterator, and gives back what it was given', async (t) => {
  const { disk, store } = await filled();
  const iterator = store.iterator();
  void iterator.next();
  t.deepEqual(await iterator.return('mine'), { done: true, value: 'mine' } as never);
  const { operations } = disk;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  t.is(disk.operations, operations);
  await store.close();
});

test('a loop that is left ends its iterator, as does `await using`', async (t) => {
  const { store } = await filled();
  const iterator = store.iterator();
  for await (const [key] of iterator) if (key.toString() === keyOf(3)) break;
  t.is(await outcomeOf(() => iterator.next()), 'done');
  let used: StoreIterator;
  {
    await using disposed = store.iterator();
    used = disposed;
    await disposed.next();
  }
  t.is(await outcomeOf(() => used.next()), 'done');
  await store.close();
});

test('what a read has returned stays as it is when the store is closed', async (t) => {
  const { store } = await filled();
  const value = (await store.get(keyOf(5))) as Buffer;
  const versioned = (await store.getVersioned(keyOf(5))) as { value: Buffer; version: unknown };
  const { version } = versioned;
  const many = await store.getMany([keyOf(5), 'none']);
  const row = (await store.iterator({ gte: keyOf(5) }).next()).value as [Buffer, Buffer];
  await store.close();
  t.deepEqual([value, versioned.value, many[0], row[1]].map(String), Array<string>(4).fill('value 5'));
  t.is(versioned.version, version);
  t.is(row[0].toString(), keyOf(5));
});
