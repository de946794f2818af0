/**
 * Iterators that are sent elsewhere, aborted or lost, over stores and over snapshots. ITERATOR-2 and ITERATOR-5 are those of
 * packages/kv/src/read/range-walk.ts, HANDLES-1 and HANDLES-2 those of read/handles.ts.
 */
import { spawnSync } from 'node:child_process';
import test from 'ava';
import { KIB, MIB, Random, nextTurn } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { RangeOptions, Snapshot, Store, StoreIterator } from '@aiokv/kv';
import { fromSource } from '../helpers/from-source.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_SEEK_SEED');

function keyOf(n: number): string {
  return `key${String(n).padStart(5, '0')}`;
}

/** Small enough that leaves are not in memory, and that windows are read from the device. */
function openOn(platform: SimulatedDisk, memoryBytes = 512 * KIB): Promise<Store> {
  return open('/store', { platform, segmentBytes: 64 * KIB, queueDepth: 16, writeBufferBytes: MIB, memoryBytes });
}

async function fill(store: Store, keys: number, random: Random): Promise<Map<string, string>> {
  const model = new Map<string, string>();
  for (let n = 0; n < keys; n += 1 + random.below(3)) {
    const value = `${n}:`.padEnd(random.chance(0.002) ? 90_000 : random.below(300), 'v');
    model.set(keyOf(n), value);
    await store.put(keyOf(n), value, { durability: 'buffered' });
  }
  await store.checkpoint();
  return model;
}

/** Writes, deletions and deleted ranges that are not merged yet. */
async function change(store: Store, keys: number, random: Random, model?: Map<string, string>): Promise<void> {
  for (let n = 0; n < 60; n++) {
    const key = keyOf(random.below(keys));
    if (random.chance(0.4)) {
      await store.del(key, { durability: 'buffered' });
      model?.delete(key);
    } else {
      await store.put(key, `new ${n}`, { durability: 'buffered' });
      model?.set(key, `new ${n}`);
    }
  }
  const from = random.below(keys);
  const [gte, lt] = [keyOf(from), keyOf(from + random.below(60))];
  await store.deleteRange({ gte, lt }, { durability: 'buffered' });
  for (const key of model?.keys() ?? []) if (key >= gte && key < lt) model?.delete(key);
}

/** What an iterator has to answer. */
class Expected {
  readonly #rows: readonly (readonly [string, string])[];
  readonly #reverse: boolean;
  readonly #stayOpen: boolean;
  #left: number;
  #at = 0;
  #isOver = false;

  constructor(model: ReadonlyMap<string, string>, options: Partial<RangeOptions>) {
    this.#reverse = options.reverse === true;
    this.#stayOpen = options.stayOpen === true;
    this.#left = options.limit ?? Infinity;
    const rows = [...model]
      .filter(([key]) => key >= (options.gte as string) && key < (options.lt as string))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    this.#rows = this.#reverse ? rows.reverse() : rows;
  }

  next(): readonly [string, string] | null {
    const row = this.#isOver || this.#left === 0 ? undefined : this.#rows[this.#at];
    if (row === undefined) {
      if (!this.#stayOpen) this.#isOver = true;
      return null;
    }
    this.#left--;
    this.#at++;
    return row;
  }

  seek(key: string): void {
    const found = this.#rows.findIndex(([at]) => (this.#reverse ? at <= key : at >= key));
    this.#at = found < 0 ? this.#rows.length : found;
  }
}

test('ITERATOR-5: an iterator goes on where it is sent, both ways, whatever is on its way', async (t) => {
  let seeks = 0;
  let pages = 0;
  for (let seed = SEED; seed < SEED + 12; seed++) {
    const message = `AIOKV_SEEK_SEED=${seed}`;
    const random = new Random(seed);
    const keys = 3000;
    const store = await openOn(new SimulatedDisk({ seed }), random.chance(0.5) ? 64 * KIB : 16 * MIB);
    const model = await fill(store, keys, random);
    await change(store, keys, random, model);
    for (let round = 0; round < 12; round++) {
      const from = random.below(keys);
      const options = {
        gte: keyOf(from),
        lt: keyOf(from + random.below(keys)),
        reverse: random.chance(0.5),
        stayOpen: random.chance(0.5),
        limit: random.chance(0.3) ? 1 + random.below(400) : Infinity,
      };
      const reads: Store | Snapshot = random.chance(0.5) ? store.snapshot() : store;
      const expected = new Expected(model, options);
      const kind = random.below(3);
      const iterator = kind === 0 ? reads.iterator(options) : kind === 1 ? reads.keys(options) : reads.values(options);
      const shown = (row: readonly [string, string] | null): unknown =>
        row === null ? null : kind === 0 ? row : row[kind - 1];
      const got = (row: unknown): unknown => (Array.isArray(row) ? row.map(String) : String(row));
      await change(store, keys, random, model);
      const answers: Promise<unknown>[] = [];
      const wanted: unknown[] = [];
      for (let step = 0; step < 30; step++) {
        if (random.chance(0.4)) {
          const key = keyOf(random.below(keys));
          iterator.seek(key);
          expected.seek(key);
          seeks++;
        }
        if (random.chance(0.1)) for (let n = random.below(5); n > 0; n--) await nextTurn();
        if (random.chance(0.05)) void store.checkpoint();
        // Overlapping calls, and one after the other.
        const calls = random.chance(0.1) ? 200 : random.below(4);
        for (let n = 0; n < calls; n++) {
          wanted.push(shown(expected.next()));
          answers.push(
            (iterator as StoreIterator<unknown>).next().then(({ done, value }) => (done ? null : got(value))),
          );
        }
        if (random.chance(0.7)) {
          t.deepEqual(await Promise.all(answers), wanted, message);
          answers.length = 0;
          wanted.length = 0;
        }
      }
      t.deepEqual(await Promise.all(answers), wanted, message);
      if (reads !== store) (reads as Snapshot).release();
      // `nextMany` may give fewer than it is asked for, so it is compared by itself.
      const key = keyOf(random.below(keys));
      iterator.seek(key);
      expected.seek(key);
      const many = await (iterator as StoreIterator<unknown>).nextMany(1 + random.below(100));
      t.deepEqual(
        many.map(got),
        many.map(() => shown(expected.next())),
        message,
      );
      if (many.length === 0) t.is(expected.next(), null, message);
      await iterator.return();
      iterator.seek(keyOf(0));
      t.true((await iterator.next()).done, message);
      t.is(store.statistics().iterators, 0, message);
      t.is(store.statistics().memory.readAheadBytes, 0, message);
    }
    pages += store.statistics().pageReads;
    await store.close();
  }
  t.true(seeks > 500, `${seeks} seeks`);
  t.true(pages > 500, `${pages} leaves were absent`);
});

test('ITERATOR-5: entries that were read ahead in vain count neither as read ahead nor against the limit', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 1 }), 16 * MIB);
  for (let n = 0; n < 2000; n++) await store.put(keyOf(n), 'v'.repeat(100), { durability: 'buffered' });
  await store.checkpoint();
  const iterator = store.iterator({ limit: 600 });
  const keys = new Set<string>();
  for (let n = 0; n < 300; n++) keys.add(String((await iterator.next()).value?.[0]));
  for (let n = 0; n < 20; n++) {
    iterator.seek(keyOf(1000));
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    t.is(store.statistics().memory.readAheadBytes, 0);
  }
  let rest = 0;
  for await (const [key] of iterator) {
    keys.add(key.toString());
    rest++;
  }
  t.is(rest, 300);
  t.is(keys.size, 600);
  await store.close();
});

test('a seek refuses what is no key, and leaves the iterator as it is', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 2 }));
  await store.put('a', '1');
  const iterator = store.iterator();
  t.throws(() => iterator.seek(1 as never), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
  t.throws(() => iterator.seek('k'.repeat(5000)), { code: 'ERR_AIOKV_KEY_TOO_LARGE' });
  t.is(String((await iterator.next()).value?.[0]), 'a');
  await store.close();
  iterator.seek('a');
  await t.throwsAsync(iterator.next(), { code: 'ERR_AIOKV_CLOSED' });
});

test('ITERATOR-2: a signal ends an iterator with its error, pending calls and later ones, and all that it holds goes', async (t) => {
  for (let seed = SEED; seed < SEED + 6; seed++) {
    const random = new Random(seed);
    const store = await openOn(new SimulatedDisk({ seed }));
    await fill(store, 3000, random);
    const controller = new AbortController();
    const { signal } = controller;
    const iterators = Array.from({ length: 8 }, (_, n) =>
      store.iterator({ signal, reverse: n % 2 === 0, stayOpen: n > 4 }),
    );
    for (const iterator of iterators.slice(2)) await iterator.next();
    const snapshot = store.snapshot();
    iterators.push(snapshot.iterator({ signal }));
    snapshot.release();
    const ended = store.iterator({ signal });
    await ended.return();
    const pending = iterators.flatMap((iterator) => Array.from({ length: 40 }, () => iterator.next()));
    for (let turn = random.below(4); turn > 0; turn--) await nextTurn();
    const reason = new Error('enough');
    controller.abort(reason);
    const outcomes = await Promise.allSettled(pending);
    const failed = outcomes.filter((one) => one.status === 'rejected').map((one) => one.reason as Error);
    t.true(failed.length > 0);
    for (const error of failed) t.like(error, { code: 'ERR_AIOKV_ABORTED', cause: reason });
    for (const iterator of iterators) {
      iterator.seek('a');
      await t.throwsAsync(iterator.next(), { code: 'ERR_AIOKV_ABORTED' });
      await t.throwsAsync(iterator.nextMany(5), { code: 'ERR_AIOKV_ABORTED' });
      t.true((await iterator.return()).done);
    }
    t.true((await ended.next()).done);
    t.is(store.statistics().iterators, 0);
    t.is(store.statistics().memory.readAheadBytes, 0);
    const late = store.iterator({ signal });
    await t.throwsAsync(late.next(), { code: 'ERR_AIOKV_ABORTED' });
    await t.throwsAsync(
      async () => {
        for await (const _ of store.keys({ signal })) t.fail('no entry is given');
      },
      { code: 'ERR_AIOKV_ABORTED' },
    );
    t.is(store.statistics().iterators, 0);
    await store.close();
  }
});

test('a signal that outlives its iterators keeps none of them', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 3 }));
  await store.put('a', '1');
  const { signal } = new AbortController();
  let listeners = 0;
  const counted = {
    aborted: false,
    addEventListener: (...args: Parameters<AbortSignal['addEventListener']>) => {
      listeners++;
      signal.addEventListener(...args);
    },
    removeEventListener: (...args: Parameters<AbortSignal['removeEventListener']>) => {
      listeners--;
      signal.removeEventListener(...args);
    },
  } as unknown as AbortSignal;
  for await (const [key] of store.iterator({ signal: counted })) t.is(key.toString(), 'a');
  await store.iterator({ signal: counted }).return();
  await using disposed = store.iterator({ signal: counted });
  t.is(listeners, 1);
  await disposed[Symbol.asyncDispose]();
  t.is(listeners, 0);
  t.throws(() => store.iterator({ signal: {} as AbortSignal }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await store.close();
});

test('await using ends an iterator', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 4 }));
  await store.put('a', '1');
  {
    await using iterator = store.iterator({ stayOpen: true });
    await iterator.nextMany(10);
    t.deepEqual(await iterator.nextMany(10), []);
    t.is(store.statistics().iterators, 1);
  }
  t.is(store.statistics().iterators, 0);
  await store.close();
});

test('HANDLES-1, HANDLES-2: iterators and snapshots that are lost are let go, and it is said once', (t) => {
  const args = ['--expose-gc', ...fromSource('test/kv/lost-child.ts')];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 });
  t.is(status, 0, stderr);
  t.is(stderr.match(/AIOKV_ABANDONED/g)?.length, 2, stderr);
  t.regex(stderr, /an iterator was not ended/);
  t.regex(stderr, /a snapshot was not ended/);
  t.deepEqual(JSON.parse(stdout), {
    begun: { iterators: 60, snapshots: 30 },
    left: { iterators: 1, snapshots: 1 },
    answered: 40,
    kept: ['a', 'b'],
  });
});
