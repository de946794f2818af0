/** `AioLevel` beyond abstract-level's suite: options, stores of any kind, what it asks of a store, what it refuses. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { KeyValueIterator, KeyValueStore } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { AioLevel } from '@aiokv/level';
import type { AioWriteOptions, OpenRequest } from '@aiokv/level';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { directoryOf } from './child.ts';
import { MemoryStore } from './memory-store.ts';

/** What not every store has. */
const OPTIONAL: readonly PropertyKey[] = ['has', 'keys', 'deleteRange', 'approximateSize', 'compact', 'snapshot'];

/** A store of @aiokv/kv with the calls alone that every store has. It tells which calls it gets. */
async function watchedStore(): Promise<{ store: KeyValueStore; calls: [string | symbol, ...unknown[]][] }> {
  const store = await open('store', { platform: new SimulatedDisk(), memoryBytes: 16 << 20 });
  const calls: [string | symbol, ...unknown[]][] = [];
  const watched = new Proxy(store, {
    get(target, name: keyof Store) {
      if (OPTIONAL.includes(name)) return undefined;
      const member = target[name] as unknown;
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        calls.push([name, ...args]);
        const answer: unknown = member.apply(target, args);
        return name === 'iterator' ? withoutSeek(answer as KeyValueIterator<[Buffer, Buffer]>) : answer;
      };
    },
  });
  return { store: watched, calls };
}

function withoutSeek<T>(iterator: KeyValueIterator<T>): KeyValueIterator<T> {
  return { next: () => iterator.next(), return: () => iterator.return() };
}

async function filled(t: ExecutionContext, count: number) {
  const watched = await watchedStore();
  const db = new AioLevel(() => watched.store);
  t.teardown(() => db.close());
  await db.batch(
    Array.from({ length: count }, (_, i) => ({ type: 'put', key: String(i).padStart(4, '0'), value: `value ${i}` })),
  );
  watched.calls.length = 0;
  return { db, calls: watched.calls };
}

test('a directory is a path or a file URL', async (t) => {
  const directory = join(directoryOf(t), 'a b');
  await using db = new AioLevel(pathToFileURL(directory));
  t.is(db.location, directory);
  await db.put('key', 'value');
  t.true(existsSync(directory));
  const relative = new AioLevel('a');
  t.is(relative.location, resolve('a'));
  await relative.close();
  for (const wrong of ['', null, 7]) {
    t.throws(() => new AioLevel(wrong as never), { instanceOf: TypeError, code: 'ERR_AIOKV_INVALID_ARGUMENT' });
  }
});

test('options of the store reach it, those of hooks and of LevelDB do not', async (t) => {
  const requests: OpenRequest[] = [];
  const db = new AioLevel<string, unknown>(
    (request) => {
      requests.push(request);
      return new MemoryStore();
    },
    // The types allow no others, but programs in JavaScript have them.
    Object.assign(
      { valueEncoding: 'json', memoryBytes: 1 << 26 },
      { compression: false, cacheSize: 7, userland: true },
    ),
  );
  t.is(db.location, null);
  await db.open({ createIfMissing: false });
  t.deepEqual(requests, [{ memoryBytes: 1 << 26, createIfMissing: false, errorIfExists: false }]);
  await db.put('key', { a: [1] });
  t.deepEqual(await db.get('key'), { a: [1] });
  await db.close();
});

test('how safe a write is: durability, or the sync of classic-level', async (t) => {
  const { db, calls } = await filled(t, 0);
  const options: [AioWriteOptions | undefined, unknown][] = [
    [undefined, undefined],
    [{ durability: 'buffered' }, { durability: 'buffered' }],
    [{ sync: true }, { durability: 'flushed' }],
    [{ sync: false }, { durability: 'written' }],
    [{ durability: 'buffered', sync: true }, { durability: 'buffered' }],
  ];
  for (const [given, passed] of options) {
    await (given === undefined ? db.put('key', 'value') : db.put('key', 'value', given));
    t.deepEqual(calls.pop()?.[3], passed);
    await db.batch([{ type: 'del', key: 'key' }], (given ?? {}) as object);
    t.deepEqual(calls.pop()?.slice(1), [[{ type: 'del', key: Buffer.from('key') }], passed]);
  }
  await db
    .batch()
    .put('a', '1')
    .write({ sync: false } as object);
  t.deepEqual(calls.pop()?.[2], { durability: 'written' });
});

test('a database in use, or damaged, is told in codes of Level', async (t) => {
  const directory = directoryOf(t);
  await using first = new AioLevel(directory);
  await first.open();
  const error = await t.throwsAsync(new AioLevel(directory).open());
  t.is((error as { code?: string }).code, 'LEVEL_DATABASE_NOT_OPEN');
  t.like(error?.cause, { code: 'LEVEL_LOCKED', cause: { code: 'ERR_AIOKV_LOCKED' } });

  const corrupt = new AioLevel(() => Promise.reject(Object.assign(new Error('x'), { code: 'ERR_AIOKV_CORRUPT' })));
  t.like((await t.throwsAsync(corrupt.open()))?.cause, { code: 'LEVEL_CORRUPTION' });
  // A function may throw anything.
  const odd = new AioLevel(() => Promise.reject(null));
  t.like(await t.throwsAsync(odd.open()), { code: 'LEVEL_DATABASE_NOT_OPEN', cause: undefined });
});

test('a close that fails lets the database be closed and opened again', async (t) => {
  let isBroken = true;
  class Broken extends MemoryStore {
    override async close(): Promise<void> {
      if (isBroken) throw new Error('the last writes were not flushed');
    }
  }
  const db = new AioLevel(() => new Broken());
  await db.open();
  await t.throwsAsync(db.close(), { code: 'LEVEL_DATABASE_NOT_CLOSED' });
  await db.close();
  t.is(db.status, 'closed');
  await db.open();
  isBroken = false;
  await db.close();
});

test('a read belongs to the moment of its call', async (t) => {
  const { db } = await filled(t, 2);
  const reads = [db.get('0000'), db.getMany(['0000']), db.has('0001'), db.hasMany(['0001'])] as const;
  const iterator = db.iterator();
  const keys = db.keys();
  const writes = [db.put('0000', 'later'), db.del('0001'), db.put('0002', 'later')];
  t.is(db.getSync('0000'), 'later');
  t.deepEqual(await Promise.all(reads), ['value 0', ['value 0'], true, [true]]);
  await Promise.all(writes);
  t.deepEqual(await iterator.all(), [
    ['0000', 'value 0'],
    ['0001', 'value 1'],
  ]);
  t.deepEqual(await keys.all(), ['0000', '0001']);
  t.deepEqual(await db.keys().all(), ['0000', '0002']);
});

test('a store without deleteRange is cleared in chunks, and the last one is as safe as was asked for', async (t) => {
  const { db, calls } = await filled(t, 700);
  await db.clear({ gt: '0009', lt: '0690', sync: true });
  const batches = calls.filter(([name]) => name === 'batch');
  t.deepEqual(
    batches.map(([, operations]) => (operations as unknown[]).length),
    [256, 256, 168],
  );
  t.deepEqual(
    batches.map(([, , options]) => options),
    [{ durability: 'buffered' }, { durability: 'buffered' }, { durability: 'flushed' }],
  );
  t.deepEqual((await db.keys().all()).length, 20);
  await db.clear({ reverse: true, limit: 5 });
  t.deepEqual((await db.keys().all()).slice(-1), ['0694']);
});

test('chained batches, sublevels and hooks write one batch', async (t) => {
  const { db, calls } = await filled(t, 0);
  const users = db.sublevel<string, { name: string }>('users', { valueEncoding: 'json' });
  const index = users.sublevel('by-name');
  users.hooks.prewrite.add((operation, batch) => {
    if (operation.type === 'put') {
      batch.add({ type: 'put', key: operation.value.name, value: operation.key, sublevel: index } as never);
    }
  });
  await db
    .batch()
    .put('a', '1')
    .put('7', { name: 'ada' } as never, { sublevel: users as never })
    .write();
  await users.put('8', { name: 'bob' });
  t.deepEqual(
    calls.filter(([name]) => name !== 'close').map(([name]) => name),
    ['batch', 'batch'],
  );
  t.deepEqual(await users.get('7'), { name: 'ada' });
  t.is(await index.get('bob'), '8');
  t.deepEqual(await db.keys().all(), ['!users!!by-name!bob', '!users!7', '!users!8', 'a']);
  await users.clear();
  t.deepEqual(await db.keys().all(), ['a']);
});

test('approximateSize and compactRange', async (t) => {
  const { db, calls } = await filled(t, 100);
  // 10 keys of 4 bytes and values of 8.
  t.is(await db.approximateSize('0010', '0020'), 120);
  t.is(await db.approximateSize(Buffer.from('0010'), Buffer.from('0020'), { keyEncoding: 'buffer' }), 120);
  await db.compactRange('0', '1');
  t.is(calls.at(-1)?.[0], 'checkpoint');
  for (const call of ['approximateSize', 'compactRange'] as const) {
    await t.throwsAsync((db[call] as () => Promise<unknown>)(), { instanceOf: TypeError });
    const closed = new AioLevel(() => new MemoryStore());
    await closed.close();
    await t.throwsAsync(closed[call]('a', 'b'), { code: 'LEVEL_DATABASE_NOT_OPEN' });
  }
});

test('of a store that has more calls, they are used', async (t) => {
  const store = new MemoryStore();
  // Before it is open: the calls wait.
  const db = new AioLevel(() => store);
  await db.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: key })));
  t.is(await db.approximateSize('a', 'c'), 200);
  await Promise.all([db.compactRange('a', 'b'), db.compactRange('b', 'c')]);
  t.true(await db.has('a'));
  t.deepEqual(await db.hasMany(['a', 'x']), [true, false]);
  t.deepEqual(await db.keys({ gt: 'a' }).all(), ['b', 'c']);
  await db.clear({ limit: 1 });
  await db.clear({ lt: 'c' });
  t.deepEqual(await db.keys().all(), ['c']);
  t.is(store.calls.get('deleteRange'), 1);
  // The two were under way together.
  t.is(store.calls.get('compact'), 1);
  await db.compactRange('a', 'b');
  t.is(store.calls.get('compact'), 2);
  t.is(store.calls.get('checkpoint'), undefined);
  // Neither has nor a walk over keys alone reads a value.
  for (const reading of ['get', 'getMany', 'iterator']) t.is(store.calls.get(reading), undefined, reading);
  await db.close();
});

test('seek: iterators without one go back once, in the state in which they began', async (t) => {
  const { db } = await filled(t, 50);
  for (const options of [{}, { limit: 20 }]) {
    const iterator = db.keys(options);
    t.is(await iterator.next(), '0000');
    await db.put('0007x', 'later');
    await db.del('0030');
    iterator.seek('0030');
    t.is(await iterator.next(), '0030');
    iterator.seek('0031x');
    t.is(await iterator.next(), '0032');
    iterator.seek('0007');
    const back = iterator.nextv(2);
    if ('limit' in options) await t.throwsAsync(back, { code: 'LEVEL_NOT_SUPPORTED' });
    else t.deepEqual(await back, ['0007', '0008']);
    await iterator.close();
    await db.batch([
      { type: 'del', key: '0007x' },
      { type: 'put', key: '0030', value: 'value 30' },
    ]);
  }
});

test('nextv and all take many entries of the store at once, also behind a seek', async (t) => {
  const store = await open('store', { platform: new SimulatedDisk(), memoryBytes: 16 << 20 });
  const counts = { next: 0, nextMany: 0 };
  const counting = <T extends object>(walk: T): T =>
    new Proxy(walk, {
      get(target, name: keyof typeof counts | 'return' | 'seek') {
        if (name in counts) counts[name as keyof typeof counts]++;
        const member = target[name as keyof T] as unknown;
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
  const watched = new Proxy(store, {
    get(target, name: keyof Store) {
      const member = target[name] as unknown;
      if (typeof member !== 'function') return member;
      return (...args: unknown[]): unknown => {
        const answer: unknown = member.apply(target, args);
        return name === 'iterator' || name === 'keys' ? counting(answer as object) : answer;
      };
    },
  });
  const db = new AioLevel(() => watched);
  const expected = Array.from({ length: 2500 }, (_, i): [string, string] => [
    String(i).padStart(4, '0'),
    `value ${i}`.repeat(i % 50),
  ]);
  await db.batch(expected.map(([key, value]) => ({ type: 'put', key, value })));
  for (const [read, values] of [
    [() => db.iterator().all(), expected],
    [() => db.iterator({ reverse: true, limit: 1700 }).all(), expected.toReversed().slice(0, 1700)],
    [() => db.keys().all(), expected.map(([key]) => key)],
    [() => db.values().all(), expected.map(([, value]) => value)],
  ] as const) {
    counts.next = 0;
    t.deepEqual(await read(), values as never);
    t.is(counts.next, 0);
    t.true(counts.nextMany < 100);
    counts.nextMany = 0;
  }
  const iterator = db.iterator();
  t.deepEqual(await iterator.nextv(3), expected.slice(0, 3));
  iterator.seek('1000');
  t.deepEqual(await iterator.nextv(1200), expected.slice(1000, 2200));
  iterator.seek('0001');
  t.deepEqual(await iterator.nextv(2), expected.slice(1, 3));
  t.is(await iterator.next().then((entry) => entry?.[0]), '0003');
  await iterator.close();
  await db.close();
});

test('a signal ends a read under way, and leaves no listener', async (t) => {
  let answer = (): void => undefined;
  class Slow extends MemoryStore {
    override iterator(): ReturnType<MemoryStore['iterator']> {
      const pending = new Promise<IteratorResult<[Buffer, Buffer]>>((done) => {
        answer = () => done({ done: true, value: undefined });
      });
      return {
        next: () => pending,
        return: async () => answer(),
        seek: () => undefined,
      };
    }
  }
  const db = new AioLevel(() => new Slow());
  await db.open();
  for (const method of ['next', 'nextv', 'all'] as const) {
    const controller = new AbortController();
    const iterator = db.iterator({ signal: controller.signal });
    const read = method === 'nextv' ? iterator.nextv(3) : iterator[method]();
    controller.abort(new Error('enough'));
    const error = await t.throwsAsync(read, { code: 'LEVEL_ABORTED', name: 'AbortError' });
    t.like(error?.cause, { message: 'enough' });
    await iterator.close();
  }
  await db.close();
});

test('what the store refuses is told with its own code', async (t) => {
  const { db } = await filled(t, 0);
  await t.throwsAsync(db.put('k'.repeat(5000), 'value'), { code: 'ERR_AIOKV_KEY_TOO_LARGE' });
  await t.throwsAsync(db.put('key', 'value', { durability: 'never' as 'flushed' }), {
    code: 'ERR_AIOKV_INVALID_OPTION',
  });
});

test('a snapshot is read from in its own database only, and not over a store that has none', async (t) => {
  const [one, other] = [new AioLevel(() => new MemoryStore()), new AioLevel(() => new MemoryStore())];
  t.teardown(() => Promise.all([one.close(), other.close()]));
  await Promise.all([one.open(), other.open()]);
  const snapshot = one.snapshot();
  const wrong = { name: 'TypeError', message: 'The snapshot is one of another database' };
  await t.throwsAsync(other.get('key', { snapshot }), wrong);
  await t.throwsAsync(other.keys({ snapshot }).all(), wrong);
  await t.throwsAsync(other.clear({ snapshot }), wrong);
  const { db } = await filled(t, 1);
  t.throws(() => db.snapshot(), { code: 'LEVEL_NOT_SUPPORTED' });
});

test('a snapshot of a sublevel keeps its moment, and clear goes by it', async (t) => {
  const db = new AioLevel(directoryOf(t));
  t.teardown(() => db.close());
  const part = db.sublevel('part');
  await part.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: 'old' })));
  const snapshot = part.snapshot();
  await part.batch(['c', 'd', 'e'].map((key) => ({ type: 'put', key, value: 'new' })));
  t.deepEqual(await part.getMany(['a', 'c', 'e'], { snapshot }), ['old', 'old', undefined]);
  t.deepEqual(await part.hasMany(['a', 'e'], { snapshot }), [true, false]);
  t.is(part.getSync('c', { snapshot }), 'old');
  t.deepEqual(await part.keys({ snapshot, reverse: true }).all(), ['c', 'b', 'a']);
  await part.clear({ snapshot });
  t.deepEqual(await part.keys().all(), ['d', 'e']);
  t.deepEqual(await part.keys({ snapshot }).all(), ['a', 'b', 'c']);
  await snapshot.close();
  await t.throwsAsync(part.get('a', { snapshot }), { code: 'LEVEL_SNAPSHOT_NOT_OPEN' });
});
