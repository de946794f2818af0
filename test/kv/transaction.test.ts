/**
 * Transactions: those that commit are as if they had run one after the other, in the order of their commits. COMMITS-1 to COMMITS-3 are
 * those of packages/kv/src/index/commit-history.ts, READS-1 that of write/read-check.ts, OWN-1 and OWN-2 those of
 * transaction/own-writes.ts, TXITER-1 and TXITER-2 of transaction-iterator.ts, TX-1 to TX-3 of transaction.ts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, ManualClock, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store, StoreOptions, Transaction } from '@aiokv/kv';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { Backoff } from '../../packages/kv/src/transaction/backoff.ts';
import { seedOf } from '../helpers/seed.ts';
import { TransactionHistory, rowsOf } from './transaction-history.ts';

const SEED = seedOf('AIOKV_TRANSACTION_SEED');
const OPTIONS = { segmentBytes: 64 * KIB, writeBufferBytes: MIB, durability: 'buffered' } as const;

async function opened(options: Partial<StoreOptions> = {}, planted: Planted = {}): Promise<Store> {
  return openPlanted('/store', { platform: new SimulatedDisk({ seed: SEED }), ...OPTIONS, ...options }, planted);
}

async function textOf(value: Promise<Buffer | undefined>): Promise<string | undefined> {
  return (await value)?.toString();
}

async function allOf(rows: AsyncIterable<[key: Buffer, value: Buffer]>): Promise<string[]> {
  const all: string[] = [];
  for await (const [key, value] of rows) all.push(`${key.toString()}=${value.toString()}`);
  return all;
}

/** On a machine that is busy with other things, waits end together, so that more of them are needed. */
const PATIENT = { maxAttempts: 1000 };
const CONFLICT = { code: 'ERR_AIOKV_CONFLICT' };
const ENDED = { code: 'ERR_AIOKV_TRANSACTION_ENDED' };
const CLOSED = { code: 'ERR_AIOKV_CLOSED' };
const TOO_LARGE = { code: 'ERR_AIOKV_TRANSACTION_TOO_LARGE' };

test('64 transfers at once keep the sum of a thousand accounts, over crashes too', async (t) => {
  const random = new Random(SEED);
  const accounts = Array.from({ length: 1000 }, (_, n) => `account${n}`);
  let disk = new SimulatedDisk({ seed: SEED });
  const first = await opened({ platform: disk });
  await first.batch(accounts.map((key) => ({ type: 'put', key, value: '100' })));
  await first.close();
  // Most are between few accounts, so that they meet.
  const some = (): string => accounts[random.below(random.chance(0.7) ? 8 : 1000)] as string;
  const transfer = async (store: Store): Promise<void> => {
    const [from, to, amount] = [some(), some(), 1 + random.below(20)];
    if (from === to) return;
    await store.transaction(async (tx) => {
      const [has, had] = await Promise.all([tx.get(from), tx.get(to)]);
      if (random.chance(0.3)) await nextTurn();
      if (Number(has) < amount) return;
      tx.put(from, String(Number(has) - amount));
      tx.put(to, String(Number(had) + amount));
    }, PATIENT);
  };
  const requireSum = async (store: Store, what: string): Promise<void> => {
    let sum = 0;
    for await (const value of store.values()) sum += Number(value);
    t.is(sum, 100_000, what);
  };
  let committed = 0;
  let conflicts = 0;
  for (let life = 0; life < 12; life++) {
    const what = `AIOKV_TRANSACTION_SEED=${SEED}, life ${life}`;
    const store = await opened({ platform: disk, checkpointBytes: 64 * KIB }, { eagerCleaning: true });
    await requireSum(store, what);
    let isStopped = false;
    const work = async (): Promise<void> => {
      for (let n = 0; n < 10 && !isStopped; n++) await transfer(store);
    };
    const working = Promise.all(Array.from({ length: 64 }, work));
    working.catch(() => undefined);
    if (random.chance(0.5)) {
      for (let n = random.below(60); n > 0; n--) await nextTurn();
      isStopped = true;
      const image = disk.powerCut('subset', random);
      disk.stop();
      disk = image;
    } else {
      await store.checkpoint();
      await working;
      await requireSum(store, what);
      await store.close();
    }
    const { transactions } = store.statistics();
    committed += transactions.committed;
    conflicts += transactions.conflicts;
  }
  t.true(committed > 2000 && conflicts > 100, `${committed} committed, ${conflicts} conflicts`);
});

test('no update is lost: 64 callers count up one key', async (t) => {
  const store = await opened();
  await Promise.all(
    Array.from({ length: 64 }, () =>
      store.transaction(async (tx) => {
        const before = Number(await tx.get('count'));
        tx.put('count', String((Number.isNaN(before) ? 0 : before) + 1));
      }, PATIENT),
    ),
  );
  t.is(await textOf(store.get('count')), '64');
  await store.close();
});

interface Story {
  /** What the transaction does before the others. */
  readonly reads: (tx: Transaction) => unknown;
  /** What others write meanwhile. */
  readonly others: (store: Store) => Promise<unknown>;
}

/** The store holds b, d, f, h; the transaction reads, others write, and then it writes `own`. */
async function tell({ reads, others }: Story, planted: Planted = {}): Promise<'committed' | 'conflict'> {
  const store = await opened({}, planted);
  for (const key of ['b', 'd', 'f', 'h']) await store.put(key, key);
  const tx = store.begin();
  await reads(tx);
  await others(store);
  tx.put('own', '');
  try {
    await tx.commit();
    return 'committed';
  } catch (error) {
    if ((error as { code?: string }).code !== CONFLICT.code) throw error;
    if (await store.has('own')) throw new Error('a refused commit has written', { cause: error });
    return 'conflict';
  } finally {
    await store.close();
  }
}

/** The first so many rows of a range. */
async function take(rows: AsyncIterableIterator<unknown>, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await rows.next();
}

const conflicts: Record<string, Story> = {
  'a key that was replaced': { reads: (tx) => tx.get('b'), others: (store) => store.put('b', 'new') },
  'a key that was deleted': { reads: (tx) => tx.get('b'), others: (store) => store.del('b') },
  'a key that was replaced by the same': { reads: (tx) => tx.get('b'), others: (store) => store.put('b', 'b') },
  'a key that did not exist and does now': { reads: (tx) => tx.get('c'), others: (store) => store.put('c', '') },
  'a key that came and went': {
    reads: (tx) => tx.get('c'),
    others: async (store) => {
      await store.put('c', '');
      await store.del('c');
    },
  },
  'one of many keys': { reads: (tx) => tx.getMany(['a', 'b', 'c']), others: (store) => store.put('c', '') },
  'a key that was looked for': { reads: (tx) => tx.has('c'), others: (store) => store.put('c', '') },
  'a key that was read at once': { reads: (tx) => tx.getSync('d'), others: (store) => store.put('d', 'new') },
  'a key in a range that was deleted': {
    reads: (tx) => tx.get('d'),
    others: (store) => store.deleteRange({ gte: 'c', lt: 'e' }),
  },
  'a key that did not exist in a range that was deleted': {
    reads: (tx) => tx.get('c'),
    others: (store) => store.deleteRange({ gte: 'c', lt: 'e' }),
  },
  'all was deleted': { reads: (tx) => tx.get('c'), others: (store) => store.clear() },
  'a key in a batch': {
    reads: (tx) => tx.get('b'),
    others: (store) =>
      store.batch([
        { type: 'put', key: 'x', value: '' },
        { type: 'deleteRange', gte: 'a', lt: 'c' },
      ]),
  },
  'a key in the transaction of another': {
    reads: (tx) => tx.get('b'),
    others: (store) => store.transaction((other) => other.put('b', 'new')),
  },
  'the last row of a range that was returned': {
    reads: (tx) => take(tx.iterator(), 2),
    others: (store) => store.put('d', 'new'),
  },
  'the last row that was returned backwards': {
    reads: (tx) => take(tx.iterator({ reverse: true }), 2),
    others: (store) => store.put('f', 'new'),
  },
  'a key of a range was deleted': {
    reads: (tx) => allOf(tx.iterator({ gte: 'c', lt: 'g' })),
    others: (store) => store.del('d'),
  },
  'a range meets one that was deleted': {
    reads: (tx) => allOf(tx.iterator({ gte: 'c', lt: 'g' })),
    others: (store) => store.deleteRange({ gte: 'f', lt: 'z' }),
  },
  'a range lies in one that was deleted': {
    reads: (tx) => allOf(tx.iterator({ gte: 'c', lt: 'e' })),
    others: (store) => store.clear(),
  },
};

const phantoms: Record<string, Story> = {
  'in a range': { reads: (tx) => allOf(tx.iterator({ gte: 'c', lt: 'g' })), others: (store) => store.put('e', '') },
  'in an empty range': {
    reads: (tx) => allOf(tx.iterator({ gt: 'b', lt: 'd' })),
    others: (store) => store.put('c', ''),
  },
  'behind the last key': { reads: (tx) => allOf(tx.iterator({ gte: 'g' })), others: (store) => store.put('zz', '') },
  'before the first key': { reads: (tx) => allOf(tx.iterator()), others: (store) => store.put('', '') },
  'in a range of keys': { reads: (tx) => take(tx.keys({ lt: 'c' }), 2), others: (store) => store.put('a', '') },
  'in a range of values': { reads: (tx) => take(tx.values({ lt: 'c' }), 2), others: (store) => store.put('a', '') },
  'in a range backwards': {
    reads: (tx) => take(tx.iterator({ reverse: true }), 2),
    others: (store) => store.put('g', ''),
  },
  'before what the limit has allowed': {
    reads: (tx) => allOf(tx.iterator({ limit: 2 })),
    others: (store) => store.put('c', ''),
  },
  'in what nextMany has returned': {
    reads: (tx) => tx.iterator({ gte: 'c', lt: 'g' }).nextMany(2),
    others: (store) => store.put('e', ''),
  },
  'in the part of a range before the loop was left': {
    reads: async (tx) => {
      for await (const [key] of tx.iterator()) if (key.toString() === 'd') break;
    },
    others: (store) => store.put('c', ''),
  },
  'between own keys': {
    reads: async (tx) => {
      tx.put('j', '');
      tx.put('l', '');
      await allOf(tx.iterator({ gte: 'i', lt: 'm' }));
    },
    others: (store) => store.put('k', ''),
  },
};

const harmless: Record<string, Story> = {
  'another key': { reads: (tx) => tx.get('b'), others: (store) => store.put('c', '') },
  'a key that was only written': {
    reads: (tx) => tx.put('b', 'own'),
    others: (store) => store.put('b', 'new'),
  },
  'a key that was read after it was written': {
    reads: (tx) => {
      tx.put('b', 'own');
      tx.del('d');
      tx.deleteRange({ gte: 'f', lt: 'g' });
      tx.getSync('b');
      return Promise.all([tx.get('b'), tx.getMany(['d', 'f']), tx.has('d')]);
    },
    others: (store) => store.batch(['b', 'd', 'f'].map((key) => ({ type: 'put', key, value: 'new' }))),
  },
  'a key that does not exist was deleted': { reads: (tx) => tx.get('c'), others: (store) => store.del('c') },
  'before a range': { reads: (tx) => allOf(tx.iterator({ gte: 'c' })), others: (store) => store.put('b', '') },
  'at the bound of a range': {
    reads: (tx) => allOf(tx.iterator({ gt: 'b', lt: 'd' })),
    others: (store) => store.batch(['b', 'd'].map((key) => ({ type: 'put', key, value: 'new' }))),
  },
  'a deleted range beside what was read': {
    reads: (tx) => Promise.all([tx.get('b'), allOf(tx.iterator({ gte: 'g' }))]),
    others: (store) => store.deleteRange({ gt: 'b', lt: 'g' }),
  },
  'behind what the limit has allowed': {
    reads: (tx) => allOf(tx.iterator({ limit: 2 })),
    others: (store) => store.put('e', ''),
  },
  'before what was read backwards': {
    reads: (tx) => take(tx.iterator({ reverse: true }), 2),
    others: (store) => store.put('e', ''),
  },
  'in what an iterator has read ahead and not returned': {
    reads: (tx) => take(tx.iterator(), 1),
    others: (store) => store.put('d', 'new'),
  },
  'what an iterator has not been asked for': { reads: (tx) => tx.iterator(), others: (store) => store.clear() },
  'an empty range that nothing can be in': {
    reads: (tx) => allOf(tx.iterator({ gte: 'x', lt: 'a' })),
    others: (store) => store.clear(),
  },
};

for (const [name, story] of Object.entries(conflicts)) {
  test(`a conflict: ${name}`, async (t) => {
    t.is(await tell(story), 'conflict');
  });
}
for (const [name, story] of Object.entries(phantoms)) {
  test(`a phantom is a conflict: ${name}`, async (t) => {
    t.is(await tell(story), 'conflict');
    t.is(await tell(story, { phantoms: true }), 'committed', 'the planted defect is found');
  });
}
for (const [name, story] of Object.entries(harmless)) {
  test(`no conflict: ${name}`, async (t) => {
    t.is(await tell(story), 'committed');
  });
}

test('what was written before it began is no conflict, be it noted for another', async (t) => {
  const store = await opened();
  await store.put('b', 'b');
  const other = store.begin();
  await other.get('b');
  await store.put('b', 'new');
  await store.deleteRange({ gte: 'c', lt: 'e' });
  const tx = store.begin();
  await tx.getMany(['b', 'c']);
  await allOf(tx.iterator());
  await store.put('x', '');
  const ranged = store.begin();
  await allOf(ranged.iterator());
  for (const [each, outcome] of [
    [ranged, 'committed'],
    [tx, 'conflict'],
    [other, 'conflict'],
  ] as const) {
    each.put(`own of ${outcome}`, '');
    if (outcome === 'committed') await each.commit();
    else await t.throwsAsync(each.commit(), CONFLICT);
  }
  const reader = store.begin();
  const keeper = store.begin();
  await keeper.get('b');
  await reader.getMany(['b', 'c', 'x']);
  await store.put('another', '');
  reader.put('own', '');
  await reader.commit();
  keeper.rollback();
  await store.close();
});

test('write skew: of two that read both keys and write one each, one commits', async (t) => {
  for (const held of [true, false]) {
    const store = await opened();
    if (held) await store.batch(['x', 'y'].map((key) => ({ type: 'put', key, value: '1' })));
    const [one, other] = [store.begin(), store.begin()];
    await Promise.all([one.getMany(['x', 'y']), other.getMany(['x', 'y'])]);
    one.put('x', '0');
    other.put('y', '0');
    const outcomes = await Promise.allSettled([one.commit(), other.commit()]);
    t.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    await store.close();
  }
});

test('TX-3: one that has written nothing never has a conflict', async (t) => {
  const store = await opened();
  await store.put('a', '1');
  const tx = store.begin();
  t.is(await textOf(tx.get('a')), '1');
  await store.put('a', '2');
  await store.put('b', '2');
  t.is(await textOf(tx.get('a')), '1');
  t.deepEqual(await allOf(tx.iterator()), ['a=1']);
  await tx.commit();
  t.deepEqual(store.statistics().transactions, { ...store.statistics().transactions, open: 0, conflicts: 0 });
  await store.close();
});

test('a record that is moved, and a checkpoint, are no conflict', async (t) => {
  let moved = 0;
  const planted = { eagerCleaning: true, onMoved: (records: number) => (moved += records) };
  const store = await opened({ memoryBytes: 4 * MIB }, planted);
  const keys = Array.from({ length: 60 }, (_, n) => `key${n}`);
  for (const key of keys) await store.put(key, key.padEnd(4000, '.'));
  for (let n = 0; n < 60; n += 2) await store.put(`key${n}`, 'new'.padEnd(4000, '.'));
  const tx = store.begin();
  await tx.getMany(keys);
  await allOf(tx.iterator());
  const before = moved;
  await store.checkpoint();
  await store.compact();
  t.true(moved > before, 'records were moved');
  tx.put('key0', 'own');
  await tx.commit();
  t.is(await textOf(store.get('key0')), 'own');
  await store.close();
});

/** The operations of a transaction on itself, against a sorted map. */
test('own writes are seen inside, by each kind of read', async (t) => {
  for (let seed = SEED; seed < SEED + 80; seed++) {
    const random = new Random(seed);
    const store = await opened();
    const model = new Map<string, string>();
    const keyOf = (): string => `k${random.below(14)}`;
    for (let n = random.below(14); n > 0; n--) {
      const key = keyOf();
      model.set(key, `s${n}`);
      await store.put(key, `s${n}`);
    }
    const before = new Map(model);
    const tx = store.begin();
    const late: { rows: ReturnType<Transaction['iterator']>; expected: string[] }[] = [];
    const what = `AIOKV_TRANSACTION_SEED=${seed}`;
    for (let step = 0; step < 25; step++) {
      const key = keyOf();
      const choice = random.float();
      if (choice < 0.3) {
        tx.put(key, `t${step}`);
        model.set(key, `t${step}`);
      } else if (choice < 0.45) {
        tx.del(key);
        model.delete(key);
      } else if (choice < 0.52) {
        const [gte, lt] = [key, keyOf()].sort() as [string, string];
        tx.deleteRange({ gte, lt });
        for (const each of model.keys()) if (each >= gte && each < lt) model.delete(each);
      } else if (choice < 0.7) {
        t.is(await textOf(tx.get(key)), model.get(key), what);
        t.is(tx.getSync(key)?.toString(), model.get(key), what);
        t.is(await tx.has(key), model.has(key), what);
        const keys = [key, keyOf(), keyOf()];
        const values = await tx.getMany(keys);
        t.deepEqual(
          values.map((value) => value?.toString()),
          keys.map((each) => model.get(each)),
          what,
        );
      } else {
        const [gte, lt] = [key, keyOf()].sort() as [string, string];
        const limit = random.chance(0.4) ? random.below(4) : Infinity;
        const range = { gte, lt: random.chance(0.5) ? lt : 'z', reverse: random.chance(0.5), limit };
        const expected = rowsOf(model, range);
        // OWN-2: some go on while the transaction goes on writing.
        if (random.chance(0.3)) late.push({ rows: tx.iterator(range), expected });
        else if (random.chance(0.5)) t.deepEqual(await allOf(tx.iterator(range)), expected, what);
        else {
          const keys: string[] = [];
          const rows = tx.keys(range);
          for (;;) {
            const some = await rows.nextMany(1 + random.below(4));
            if (some.length === 0) break;
            for (const each of some) keys.push(each.toString());
          }
          t.deepEqual(
            keys,
            expected.map((row) => row.split('=')[0]),
            what,
          );
        }
      }
    }
    for (const { rows, expected } of late) t.deepEqual(await allOf(rows), expected, what);
    const nobody = { gte: '', lt: 'z', reverse: false, limit: Infinity };
    t.deepEqual(await allOf(store.iterator()), rowsOf(before, nobody), `${what}: nobody else sees them`);
    await tx.commit();
    t.deepEqual(await allOf(store.iterator()), rowsOf(model, nobody), `${what}: committed`);
    await store.close();
  }
});

test('calls of an iterator that overlap are answered in order', async (t) => {
  const store = await opened();
  for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key);
  const tx = store.begin();
  tx.put('bb', 'own');
  tx.del('c');
  const rows = tx.keys();
  const [one, many, end] = await Promise.all([rows.next(), rows.nextMany(10), rows.next()]);
  t.is(String(one.value), 'a');
  t.true(many.length > 0);
  const rest = [...many, ...(end.done === true ? [] : [end.value])].map(String);
  for await (const key of rows) rest.push(String(key));
  t.deepEqual(rest, ['b', 'bb', 'd']);
  await t.throwsAsync(tx.keys().nextMany(0), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
  const broken = new Error('enough');
  await t.throwsAsync(tx.keys().throw(broken), { is: broken });
  t.deepEqual(await tx.values({ limit: 0 }).next(), { done: true, value: undefined });
  tx.rollback();
  await store.close();
});

test('what goes in and what comes out is copied', async (t) => {
  const store = await opened();
  const [key, value] = [Buffer.from('key'), Buffer.from('value')];
  const tx = store.begin();
  tx.put(key, value);
  key.fill(0);
  value.fill(0);
  const seen = (await tx.get('key')) as Buffer;
  t.is(seen.toString(), 'value');
  seen.fill(1);
  for await (const [each, its] of tx.iterator()) {
    each.fill(1);
    its.fill(1);
  }
  await tx.commit();
  t.is(await textOf(store.get('key')), 'value');
  await store.close();
});

test('the function runs again after a conflict, as often as is allowed', async (t) => {
  const store = await opened();
  let runs = 0;
  const always = async (tx: Transaction): Promise<string> => {
    runs++;
    await tx.get('a');
    await store.put('a', String(runs));
    tx.put('b', String(runs));
    return `run ${runs}`;
  };
  await t.throwsAsync(store.transaction(always, { maxAttempts: 4 }), CONFLICT);
  t.is(runs, 4);
  t.false(await store.has('b'));
  await t.throwsAsync(store.transaction(always, { maxAttempts: 1 }), CONFLICT);
  t.is(runs, 5);
  const last = await store.transaction(async (tx) => (runs < 7 ? always(tx) : 'done'));
  t.is(last, 'done');
  t.is(runs, 7);
  t.is(store.statistics().transactions.conflicts, 7);
  await store.close();
});

test('a function that throws has written nothing, and is not run again', async (t) => {
  const store = await opened();
  const broken = Object.assign(new Error('broken'), { code: 'ERR_AIOKV_CONFLICT' });
  let runs = 0;
  const thrown = await t.throwsAsync(
    store.transaction((tx) => {
      runs++;
      tx.put('a', '');
      throw broken;
    }),
  );
  t.is(thrown, broken);
  t.is(runs, 1);
  t.false(await store.has('a'));
  t.is(store.statistics().transactions.open, 0);
  // It may commit or roll back by itself.
  t.is(
    await store.transaction(async (tx) => {
      tx.put('a', '1');
      await tx.commit();
      return 'committed';
    }),
    'committed',
  );
  await store.transaction((tx) => {
    tx.put('a', '2');
    tx.rollback();
  });
  t.is(await textOf(store.get('a')), '1');
  await t.throwsAsync(store.transaction(null as never), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
  await t.throwsAsync(
    store.transaction(() => 0, { maxAttempts: 0 }),
    { code: 'ERR_AIOKV_INVALID_OPTION' },
  );
  await t.throwsAsync(
    store.transaction(() => 0, { durability: 'soon' } as never),
    {
      code: 'ERR_AIOKV_INVALID_OPTION',
    },
  );
  t.throws(() => store.begin({ maxAttempts: 3 } as never), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await store.close();
});

test('the wait after a conflict is bounded, and random', async (t) => {
  const clock = new ManualClock();
  const delays: number[] = [];
  const backoff = new Backoff(
    {
      nowMs: () => clock.nowMs(),
      after: (delayMs, callback) => (delays.push(delayMs), clock.after(delayMs, callback)),
    },
    new Random(SEED),
  );
  await backoff.wait(1);
  t.is(delays.length, 0, 'at once, in the next turn');
  for (let conflict = 2; conflict < 300; conflict++) {
    let isOver = false;
    const waited = backoff.wait(conflict).then(() => (isOver = true));
    await nextTurn();
    t.false(isOver);
    clock.advance(256);
    await waited;
  }
  for (const [i, delayMs] of delays.entries())
    t.true(delayMs >= 0 && delayMs < Math.min(256, 2 ** i), `${i}: ${delayMs}`);
  t.true(Math.max(...delays.slice(10)) > 200 && Math.min(...delays.slice(10)) < 50);
});

test('after its end a transaction is of no use, and what it held is let go', async (t) => {
  const store = await opened();
  await store.put('a', '1');
  const end: Record<string, (tx: Transaction) => unknown> = {
    commit: (tx) => tx.commit(),
    rollback: (tx) => tx.rollback(),
    dispose: (tx) => tx[Symbol.asyncDispose](),
  };
  for (const [name, by] of Object.entries(end)) {
    const tx = store.begin();
    t.true(tx.isOpen);
    tx.put('b', name);
    // TXITER-2.
    const rows = tx.iterator();
    await rows.next();
    await by(tx);
    t.false(tx.isOpen);
    await t.throwsAsync(rows.next(), ENDED, name);
    await t.throwsAsync(tx.get('a'), ENDED, name);
    await t.throwsAsync(tx.getMany(['a']), ENDED, name);
    await t.throwsAsync(tx.has('a'), ENDED, name);
    t.throws(() => tx.getSync('a'), ENDED, name);
    t.throws(() => tx.iterator(), ENDED, name);
    t.throws(() => tx.put('a', ''), ENDED, name);
    t.throws(() => tx.del('a'), ENDED, name);
    t.throws(() => tx.deleteRange({}), ENDED, name);
    await t.throwsAsync(tx.commit(), ENDED, name);
    tx.rollback();
    await tx[Symbol.asyncDispose]();
    t.is(await textOf(store.get('b')), name === 'commit' ? 'commit' : undefined, name);
    await store.del('b');
    const { snapshots, transactions, iterators } = store.statistics();
    t.deepEqual([snapshots.open, transactions.open, iterators], [0, 0, 0], name);
  }
  await store.close();
});

test('the store is closed while transactions are open', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await opened({ platform: disk });
  await store.put('a', '1');
  const [idle, committing, waiting] = [store.begin(), store.begin({ durability: 'flushed' }), store.begin()];
  await committing.get('a');
  committing.put('b', '2');
  idle.put('c', '3');
  const rows = idle.iterator();
  await waiting.get('a');
  const committed = committing.commit();
  const closing = store.close();
  await committed;
  await t.throwsAsync(idle.get('a'), CLOSED);
  await t.throwsAsync(rows.next(), CLOSED);
  await t.throwsAsync(idle.commit(), CLOSED);
  waiting.put('c', '4');
  await t.throwsAsync(waiting.commit(), CLOSED);
  await closing;
  t.throws(() => store.begin(), CLOSED);
  await t.throwsAsync(
    store.transaction(() => 0),
    CLOSED,
  );
  const again = await opened({ platform: disk });
  t.deepEqual(await allOf(again.iterator()), ['a=1', 'b=2']);
  await again.close();
});

test('a transaction is bounded in memory', async (t) => {
  const store = await opened({ maxBatchBytes: 64 * KIB });
  const tx = store.begin();
  t.throws(() => {
    for (let n = 0; n < 1000; n++) tx.put(`key${n}`, 'v'.repeat(1000));
  }, TOO_LARGE);
  // What is replaced does not count.
  tx.deleteRange({});
  for (let n = 0; n < 1000; n++) tx.put('key', 'v'.repeat(1000));
  for (let n = 0; n < 1000; n++) {
    tx.del('other');
    tx.put('other', 'v'.repeat(1000));
  }
  await tx.commit();
  t.is((await allOf(store.iterator())).length, 2);
  const reading = store.begin();
  await t.throwsAsync(async () => {
    for (let n = 0; n < 10_000; n++) await reading.get(`a key that does not exist, with the number ${n}`);
  }, TOO_LARGE);
  // A range takes the room of two keys, and what it covers takes none.
  reading.rollback();
  const ranged = store.begin();
  for (let n = 0; n < 5000; n++) await allOf(ranged.iterator({ gte: `a${n}`, lt: 'b' }));
  ranged.put('key', '');
  await ranged.commit();
  t.true(store.statistics().transactions.heldBytes < 64 * KIB);
  // One value alone is limited as one write is.
  await store.transaction((one) => one.put('long', 'v'.repeat(200_000)));
  t.is((await store.get('long'))?.length, 200_000);
  t.throws(() => store.begin().put('a', Buffer.alloc(65 * MIB)), { code: 'ERR_AIOKV_RECORD_TOO_LARGE' });
  await store.close();
});

test('ten thousand small transactions at once take little memory each', async (t) => {
  const store = await opened();
  const before = process.memoryUsage().arrayBuffers;
  const begun = Array.from({ length: 10_000 }, (_, n) => {
    const tx = store.begin();
    tx.getSync(`key${n}`);
    tx.put(`key${n}`, 'x');
    return tx;
  });
  const bytes = (process.memoryUsage().arrayBuffers - before) / begun.length;
  t.log(`${Math.round(bytes)} bytes of buffers each`);
  // Two nodes of a KiB, of arenas that are not full. With room for the longest keys it was ten times as much.
  t.true(bytes < 8 * KIB);
  await Promise.all(begun.map((tx) => tx.commit()));
  t.is(await store.count(), begun.length);
  t.like(store.statistics().transactions, { open: 0, committed: begun.length, conflicts: 0 });
  await store.close();
});

test('COMMITS-2: what others write meanwhile takes bounded memory, and what is forgotten counts as a conflict', async (t) => {
  const store = await opened({ memoryBytes: 16 * MIB });
  await store.put('a', '1');
  const fill = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await store.put(`another key, of some length, with the number ${n}`, '');
  };
  const [short, old] = [store.begin(), store.begin()];
  await Promise.all([short.get('a'), old.get('a')]);
  await fill(1000);
  short.put('b', '');
  await short.commit();
  await fill(30_000);
  t.true(store.statistics().transactions.heldBytes < 700 * KIB);
  old.put('b', '');
  await t.throwsAsync(old.commit(), CONFLICT);
  t.true(store.statistics().transactions.heldBytes < 700 * KIB, 'until the memory is used again');
  // Nothing is noted while none is open, and one that has read nothing does not care.
  await fill(1000);
  const blind = store.begin();
  await fill(30_000);
  blind.put('b', 'blind');
  await blind.commit();
  t.is(await textOf(store.get('b')), 'blind');
  await store.close();
});

/** A long batch, and transactions that begin when so much of it is in the log, as long as the batch is not seen. */
async function beginDuringBatch(
  t: ExecutionContext,
  records: number,
  loggedBytes: number,
  wasUsed: boolean,
): Promise<{ unseen: number; refused: number }> {
  const store = await opened({ memoryBytes: 64 * MIB });
  await store.put('key1', 'old');
  if (wasUsed) await store.transaction((tx) => tx.put('used', ''));
  const operations = Array.from({ length: records }, (_, n) => {
    return { type: 'put' as const, key: `key${n}`, value: 'new'.padEnd(2000, '.') };
  });
  const whole = store.batch([{ type: 'deleteRange', gte: 'x', lt: 'y' }, ...operations]);
  const logBytes = store.statistics().written.logBytes + loggedBytes;
  while (store.statistics().written.logBytes < logBytes) await nextTurn();
  const meeting: Transaction[] = [];
  const beside: Transaction[] = [];
  while (store.getSync('key1')?.toString() === 'old') {
    const [one, other, third] = [store.begin(), store.begin(), store.begin()];
    one.getSync('key1');
    other.getSync('xx');
    third.getSync('elsewhere');
    meeting.push(one, other);
    beside.push(third);
    for (let n = 0; n < 4; n++) await nextTurn();
  }
  await whole;
  for (const tx of meeting) {
    tx.put('over', '');
    await t.throwsAsync(tx.commit(), CONFLICT, `${loggedBytes} logged`);
  }
  let refused = 0;
  for (const tx of beside) {
    tx.put('over', '');
    await tx.commit().catch(() => refused++);
  }
  await store.close();
  return { unseen: beside.length, refused };
}

for (const records of [300, 1500]) {
  test(`COMMITS-1: a transaction that begins during a batch of ${records} does not commit over it`, async (t) => {
    for (const wasUsed of [false, true]) {
      let unseen = 0;
      let refused = 0;
      for (const loggedBytes of [0, 100 * KIB, 300 * KIB]) {
        const found = await beginDuringBatch(t, records, loggedBytes, wasUsed);
        if (loggedBytes > 0) unseen += found.unseen;
        refused += found.refused;
      }
      t.true(unseen > 0);
      // What is read beside the batch: only the first transactions of a store may be told that it is not known.
      if (wasUsed) t.is(refused, 0);
    }
  });
}

test('READS-1: a commit that waits for room is judged when it is its turn', async (t) => {
  const store = await opened({ writeBufferBytes: MIB });
  await store.put('a', '1');
  const one = store.begin();
  await one.get('a');
  one.put('b', '');
  const other = store.begin();
  await other.get('c');
  other.put('d', '');
  // The queue is not empty: the frames are full.
  const waiting = Array.from({ length: 40 }, (_, n) => store.put(`long${n}`, 'v'.repeat(60_000)));
  const overtaken = store.put('a', '2');
  const outcomes = await Promise.allSettled([one.commit(), other.commit()]);
  await Promise.all([...waiting, overtaken]);
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
  t.is((outcomes[0] as PromiseRejectedResult).reason.code, CONFLICT.code);
  await store.close();
});

test('many reads and a long batch are judged in slices', async (t) => {
  for (const isWritten of [false, true]) {
    const store = await opened({ memoryBytes: 64 * MIB });
    const keys = Array.from({ length: 3000 }, (_, n) => `key${n}`);
    await store.batch(keys.map((key) => ({ type: 'put', key, value: key })));
    const tx = store.begin();
    await tx.getMany(keys);
    await allOf(tx.iterator({ lt: 'key2' }));
    await store.put(isWritten ? 'key2999' : 'other', '');
    for (const key of keys) tx.put(key, 'new'.padEnd(1500, '.'));
    const committed = tx.commit();
    if (isWritten) await t.throwsAsync(committed, CONFLICT);
    else await committed;
    t.is(await textOf(store.get('key7')), isWritten ? 'key7' : 'new'.padEnd(1500, '.'));
    await store.close();
  }
});

test('a commit is as durable as was asked, and all of it is there or nothing', async (t) => {
  for (let seed = SEED; seed < SEED + 20; seed++) {
    const random = new Random(seed);
    const disk = new SimulatedDisk({ seed });
    const store = await opened({ platform: disk });
    await store.transaction(
      (tx) => {
        for (let n = 0; n < 20; n++) tx.put(`flushed${n}`, 'v'.repeat(500));
      },
      { durability: 'flushed' },
    );
    await store.transaction((tx) => {
      for (let n = 0; n < 20; n++) tx.put(`buffered${n}`, 'v'.repeat(500));
    });
    const image = disk.powerCut('subset', random);
    disk.stop();
    const again = await opened({ platform: image });
    t.is((await allOf(again.iterator({ gte: 'flushed' }))).length, 20);
    t.true([0, 20].includes((await allOf(again.iterator({ lt: 'flushed' }))).length));
    await again.close();
  }
});

/** Lives of a store with workers, checkpoints, crashes; see transaction-history.ts. */
async function live(seed: number, planted: Planted): Promise<{ wrong: string[]; conflicts: number; crashes: number }> {
  const random = new Random(seed);
  let disk = new SimulatedDisk({ seed });
  let found: ReadonlyMap<string, string> = new Map();
  const total = { wrong: [] as string[], conflicts: 0, crashes: 0 };
  for (let life = 0; life < 3; life++) {
    const options = { checkpointBytes: 128 * KIB, memoryBytes: random.chance(0.5) ? 4 * MIB : 600 * KIB };
    const store = await opened({ ...options, platform: disk }, { eagerCleaning: true, ...planted });
    const history = new TransactionHistory(random, life, found);
    let isStopped = false;
    const work = async (): Promise<void> => {
      for (let n = 0; n < 30 && !isStopped; n++)
        await (random.chance(0.15) ? history.write(store) : history.run(store));
    };
    let isDone = false;
    const working = Promise.all(Array.from({ length: 6 }, work)).then(() => (isDone = true));
    if (random.chance(0.5)) {
      for (let n = random.below(400); n > 0; n--) await nextTurn();
      isStopped = true;
      const image = disk.powerCut(random.chance(0.5) ? 'subset' : 'none', random);
      disk.stop();
      disk = image;
      total.crashes++;
    } else {
      while (!isDone) {
        await store.checkpoint();
        for (let n = random.below(20); n > 0; n--) await nextTurn();
      }
      await working;
      await store.close();
    }
    const again = await opened({ ...options, platform: disk });
    total.wrong.push(...(await history.check(again)));
    await again.close();
    total.conflicts += history.conflicts;
    found = history.found;
  }
  return total;
}

test('random histories are serializable in the order of their commits, over crashes too', async (t) => {
  t.timeout(240_000);
  const total = { conflicts: 0, crashes: 0 };
  for (let seed = SEED; seed < SEED + 60; seed++) {
    const { wrong, conflicts, crashes } = await live(seed, {});
    t.deepEqual(wrong, [], `AIOKV_TRANSACTION_SEED=${seed}`);
    total.conflicts += conflicts;
    total.crashes += crashes;
  }
  t.log(`${total.conflicts} conflicts, ${total.crashes} crashes`);
  t.true(total.conflicts > 1000 && total.crashes > 30);
});

test('a commit over a phantom is found in random histories', async (t) => {
  let found = 0;
  for (let seed = SEED; seed < SEED + 6; seed++) if ((await live(seed, { phantoms: true })).wrong.length > 0) found++;
  t.true(found >= 5, `${found} of 6`);
});
