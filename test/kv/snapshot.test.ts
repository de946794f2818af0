/**
 * Snapshots: whatever is written, merged, cleaned, compacted or evicted, a snapshot reads what there was. SNAPSHOT-1 and
 * SNAPSHOT-2 are those of packages/kv/src/read/snapshot.ts, SNAPSHOT-3 is that of index/open-snapshots.ts.
 */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Snapshot, Store, StoreOptions } from '@aiokv/kv';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';
import { shorten } from './sound.ts';

const SEED = seedOf('AIOKV_SNAPSHOT_SEED');
const OPTIONS = { segmentBytes: 64 * KIB, writeBufferBytes: MIB, queueDepth: 8, checkpointBytes: 512 * KIB };

/** A moment of the store, and what there was. */
interface Moment {
  readonly snapshot: Snapshot;
  readonly model: ReadonlyMap<string, string>;
}

/** A store on a simulated disk, what it must hold, and snapshots of it. */
class History {
  readonly t: ExecutionContext;
  readonly random: Random;
  readonly disk: SimulatedDisk;
  readonly model = new Map<string, string>();
  readonly moments: Moment[] = [];
  keyBytes = 9;
  readonly #seed: number;
  readonly #options: Partial<StoreOptions>;
  readonly #keys: number;
  #store: Store | null = null;
  #values = 0;

  constructor(t: ExecutionContext, seed: number, keys: number, options: Partial<StoreOptions>) {
    this.t = t;
    this.#seed = seed;
    this.random = new Random(seed);
    this.disk = new SimulatedDisk({ seed });
    this.#keys = keys;
    this.#options = { ...OPTIONS, platform: this.disk, ...options };
  }

  get store(): Store {
    return this.#store as Store;
  }

  async open(planted: Planted = {}): Promise<void> {
    const eagerCleaning = this.random.chance(0.7);
    const oldPages = this.random.chance(0.5) ? { oldPages: 'eager' as const } : {};
    this.#store = await openPlanted('/store', this.#options, { eagerCleaning, ...oldPages, ...planted });
  }

  key(): string {
    return `key${String(this.random.below(this.#keys)).padStart(6, '0')}`.padEnd(this.keyBytes, '-');
  }

  /** Puts and deletions, none of which is waited for alone. */
  async write(count: number): Promise<void> {
    const { random, model, store } = this;
    const done: Promise<void>[] = [];
    for (let n = 0; n < count; n++) {
      const key = this.key();
      if (random.chance(0.15)) {
        model.delete(key);
        done.push(store.del(key, { durability: 'buffered' }));
      } else {
        const length = random.chance(0.2) ? random.below(24) : random.chance(0.01) ? 100_000 : random.below(1500);
        const value = `${this.#values++}:`.padEnd(length, 'v');
        model.set(key, value);
        done.push(store.put(key, value, { durability: 'buffered' }));
      }
    }
    if (random.chance(0.1)) {
      const [gte, lt] = [this.key(), this.key()].sort() as [string, string];
      for (const key of model.keys()) if (key >= gte && key < lt) model.delete(key);
      done.push(store.deleteRange({ gte, lt }, { durability: 'buffered' }));
    }
    await Promise.all(done);
  }

  take(): void {
    this.moments.push({ snapshot: this.store.snapshot(), model: new Map(this.model) });
  }

  #same(what: string, key: string, found: string | undefined, expected: string | undefined): void {
    if (found === expected) return;
    this.t.fail(
      `AIOKV_SNAPSHOT_SEED=${this.#seed}: ${what} of ${key} is ${shorten(found)}, expected ${shorten(expected)}`,
    );
  }

  /** Some keys in a snapshot, by each kind of read, with reads of the store beside it. */
  async look({ snapshot, model }: Moment): Promise<void> {
    const keys = Array.from({ length: 20 }, () => this.key());
    const now = new Map(this.model);
    const text = (value: Buffer | undefined): string | undefined => value?.toString();
    const [values, many, versioned, existing, live] = await Promise.all([
      Promise.all(keys.map((key) => snapshot.get(key))),
      snapshot.getMany(keys),
      Promise.all(keys.map((key) => snapshot.getVersioned(key))),
      Promise.all(keys.map((key) => snapshot.has(key))),
      Promise.all(keys.map((key) => this.store.get(key))),
    ]);
    for (const [i, key] of keys.entries()) {
      this.#same('get', key, text(values[i]), model.get(key));
      this.#same('getMany', key, text(many[i]), model.get(key));
      this.#same('getVersioned', key, text(versioned[i]?.value), model.get(key));
      this.#same('has', key, String(existing[i]), String(model.has(key)));
      this.#same('getSync', key, text(snapshot.getSync(key)), model.get(key));
      this.#same('get of the store', key, text(live[i]), now.get(key));
    }
  }

  /** All keys of a snapshot, in both directions. */
  async lookAtAll({ snapshot, model }: Moment): Promise<void> {
    for (const reverse of [false, true]) {
      let count = 0;
      for await (const [key, value] of snapshot.iterator({ reverse })) {
        this.#same('iterator', key.toString(), value.toString(), model.get(key.toString()));
        count++;
      }
      if (count !== model.size) this.t.fail(`AIOKV_SNAPSHOT_SEED=${this.#seed}: ${count} of ${model.size} keys`);
    }
  }

  async sound(): Promise<void> {
    await this.store.verifySegments();
    this.store.verifyIndex();
  }
}

/** Waits until something is so, for some time. */
async function settled(isSo: () => boolean): Promise<void> {
  for (let turns = 0; turns < 200 && !isSo(); turns++) await new Promise((resolve) => setTimeout(resolve, 10));
}

const sizes: Record<string, { keys: number; options: Partial<StoreOptions> }> = {
  'all in memory': { keys: 300, options: { memoryBytes: 8 * MIB } },
  'leaves out of memory': { keys: 6000, options: { memoryBytes: 1536 * KIB, valueCachePart: 0.1 } },
};

for (const [name, { keys, options }] of Object.entries(sizes)) {
  test(`SNAPSHOT-1: reads of a snapshot see what there was, ${name}`, async (t) => {
    t.timeout(300_000);
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const one = new History(t, seed, keys, options);
      const { random, moments } = one;
      await one.open();
      await one.write(2 * keys);
      let looks = 0;
      for (let step = 0; step < 30; step++) {
        await one.write(random.below(200));
        if (random.chance(0.4)) one.take();
        if (random.chance(0.3)) await one.store.checkpoint();
        if (random.chance(0.03)) await one.store.compact();
        for (const moment of moments) {
          if (!random.chance(0.5)) continue;
          await one.look(moment);
          looks++;
        }
        if (moments.length > 5) {
          const [moment] = moments.splice(random.below(moments.length), 1) as [Moment];
          await one.lookAtAll(moment);
          moment.snapshot.release();
        }
        if (step % 15 === 0) await one.sound();
      }
      const { snapshots } = one.store.statistics();
      t.is(snapshots.open, moments.length);
      t.is(snapshots.ended, 0);
      t.true(looks > 30);
      for (const moment of moments) await one.lookAtAll(moment);
      for (const { snapshot } of moments) snapshot.release();
      t.is(one.store.statistics().snapshots.heldBytes, 0);
      await one.sound();
      await one.store.close();
    }
  });
}

/** A store whose leaves do not fit into memory, a snapshot of it, and other values in the store. */
async function withAbsentLeaves(
  t: ExecutionContext,
): Promise<{ store: Store; snapshot: Snapshot; keys: readonly string[]; overwrite: (value: string) => Promise<void> }> {
  const one = new History(t, SEED + 10, 0, { memoryBytes: 48 * KIB, valueCachePart: 0 });
  await one.open();
  const keys = Array.from({ length: 400 }, (_, n) => `${String(n).padStart(4, '0')}${'-'.repeat(300)}`);
  const overwrite = async (value: string): Promise<void> => {
    for (const key of keys) await one.store.put(key, `${value} of ${key}`, { durability: 'buffered' });
    await one.store.checkpoint();
  };
  await overwrite('old value');
  const snapshot = one.store.snapshot();
  await overwrite('new value');
  return { store: one.store, snapshot, keys, overwrite };
}

test('SNAPSHOT-1: a snapshot does not go by the addresses of the store', async (t) => {
  const { store, snapshot, keys } = await withAbsentLeaves(t);
  for (let round = 0; round < 3; round++) {
    for (const key of keys) t.is((await store.get(key))?.toString(), `new value of ${key}`);
  }
  t.true(store.statistics().addresses.hits > keys.length / 4);
  for (const key of keys) t.is((await snapshot.get(key))?.toString(), `old value of ${key}`);
  for (const key of keys) t.is((await snapshot.getVersioned(key))?.value.toString(), `old value of ${key}`);
  for (const key of keys) t.is(snapshot.getSync(key)?.toString(), `old value of ${key}`);
  for (const value of await snapshot.getMany(keys)) t.regex(String(value), /^old value/);
  await store.close();
});

/** Each gives what was in the snapshot of all keys, as text. */
const reads: Record<string, (snapshot: Snapshot, keys: readonly string[]) => Promise<string[]>> = {
  get: (snapshot, keys) => Promise.all(keys.map(async (key) => String(await snapshot.get(key)))),
  getMany: async (snapshot, keys) => (await snapshot.getMany(keys)).map(String),
  getVersioned: (snapshot, keys) =>
    Promise.all(keys.map(async (key) => String((await snapshot.getVersioned(key))?.value))),
  has: (snapshot, keys) =>
    Promise.all(keys.map(async (key) => ((await snapshot.has(key)) ? `old value of ${key}` : 'missing'))),
  iterator: async (snapshot) => {
    const values: string[] = [];
    for await (const [, value] of snapshot.iterator()) values.push(value.toString());
    return values;
  },
};

for (const [name, read] of Object.entries(reads)) {
  test(`SNAPSHOT-2: lookups of ${name} that wait for their leaves go on when the snapshot is released`, async (t) => {
    const { store, snapshot, keys, overwrite } = await withAbsentLeaves(t);
    const values = read(snapshot, keys);
    snapshot.release();
    await overwrite('newer value');
    t.deepEqual(
      await values,
      keys.map((key) => `old value of ${key}`),
    );
    t.is(store.statistics().snapshots.heldBytes, 0);
    await store.verifySegments();
    store.verifyIndex();
    await store.close();
  });
}

test('SNAPSHOT-2: what has begun goes on when a snapshot is released, and later reads are refused', async (t) => {
  const one = new History(t, SEED + 4, 300, { memoryBytes: 8 * MIB });
  await one.open();
  await one.write(600);
  const expected = 'old'.padEnd(2000, 'v');
  await one.store.put('key000001', expected);
  await one.store.checkpoint();
  const snapshot = one.store.snapshot();
  await one.store.put('key000001', 'new');
  const iterator = snapshot.iterator({ gte: 'key000001' });
  const value = snapshot.get('key000001');
  t.is(one.store.statistics().snapshots.open, 1);
  snapshot.release();
  snapshot.release();
  t.is(one.store.statistics().snapshots.open, 0);
  await one.store.checkpoint();
  t.is((await value)?.toString(), expected);
  t.is((await iterator.next()).value?.[1].toString(), expected);
  await iterator.return();
  const code = 'ERR_AIOKV_SNAPSHOT_ENDED';
  await t.throwsAsync(snapshot.get('a'), { code });
  await t.throwsAsync(snapshot.has('a'), { code });
  await t.throwsAsync(snapshot.getMany(['a']), { code });
  await t.throwsAsync(snapshot.getVersioned('a'), { code });
  for (const call of ['getSync', 'iterator', 'keys', 'values'] as const) t.throws(() => snapshot[call]('a'), { code });
  await one.store.close();
});

test('a snapshot ends with its block, and with the store', async (t) => {
  const one = new History(t, SEED + 5, 300, { memoryBytes: 8 * MIB });
  await one.open();
  await one.store.put('a', '1');
  const { snapshots } = one.store.statistics();
  t.deepEqual(snapshots, { open: 0, oldestMs: 0, heldBytes: 0, ended: 0 });
  {
    using snapshot = one.store.snapshot();
    t.is(snapshot.sequence, one.store.statistics().sequence);
    await one.store.put('a', '2');
    t.is(snapshot.getSync('a')?.toString(), '1');
    t.is(one.store.statistics().snapshots.open, 1);
  }
  t.is(one.store.statistics().snapshots.open, 0);
  const snapshot = one.store.snapshot();
  await one.store.close();
  const code = 'ERR_AIOKV_CLOSED';
  t.throws(() => snapshot.getSync('a'), { code });
  await t.throwsAsync(snapshot.get('a'), { code });
  t.notThrows(() => snapshot.release());
  t.throws(() => one.store.snapshot(), { code });
});

test('wrong keys are refused in a snapshot as in the store', async (t) => {
  const one = new History(t, SEED + 6, 300, { memoryBytes: 8 * MIB });
  await one.open();
  using snapshot = one.store.snapshot();
  for (const store of [one.store, snapshot]) {
    await t.throwsAsync(store.get(1 as never), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
    await t.throwsAsync(store.getMany('ab' as never), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
    await t.throwsAsync(store.getMany([1 as never]), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
    t.throws(() => store.iterator({ gt: 'a', gte: 'a' }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  }
  await one.store.close();
});

test('a hundred thousand snapshots at once are read from, and leave nothing behind', async (t) => {
  const one = new History(t, SEED + 11, 300, { memoryBytes: 8 * MIB });
  await one.open();
  await one.store.put('key', '1');
  const snapshots = Array.from({ length: 100_000 }, () => one.store.snapshot());
  await one.store.put('key', '2');
  await one.store.checkpoint();
  t.is(one.store.statistics().snapshots.open, snapshots.length);
  const values = await Promise.all(snapshots.map((snapshot) => snapshot.get('key')));
  t.true(values.every((value) => value?.toString() === '1'));
  for (const snapshot of snapshots) snapshot.release();
  const { open, heldBytes } = one.store.statistics().snapshots;
  t.deepEqual([open, heldBytes], [0, 0]);
  await one.sound();
  await one.store.close();
});

test('the space of what only a snapshot needs comes back when it is released, without a write', async (t) => {
  const one = new History(t, SEED + 7, 300, { memoryBytes: 8 * MIB });
  await one.open();
  await one.write(600);
  await one.store.checkpoint();
  const snapshot = one.store.snapshot();
  for (let round = 0; round < 6; round++) {
    await one.write(600);
    await one.store.checkpoint();
  }
  const { heldBytes } = one.store.statistics().space;
  t.true(heldBytes > 4 * OPTIONS.segmentBytes);
  snapshot.release();
  await settled(() => one.store.statistics().space.heldBytes === 0);
  t.is(one.store.statistics().space.heldBytes, 0);
  await one.sound();
  await one.store.close();
});

test('a snapshot behind a checkpoint holds no memory', async (t) => {
  const one = new History(t, SEED + 9, 3000, { memoryBytes: 8 * MIB });
  await one.open();
  for (let step = 0; step < 4; step++) {
    await one.write(2000);
    await one.store.checkpoint();
    one.take();
    t.is(one.store.statistics().snapshots.heldBytes, 0);
  }
  for (const moment of one.moments) await one.lookAtAll(moment);
  await one.sound();
  await one.store.close();
});

/** What snapshots hold is no garbage that a cleaning could remove: writers would wait for it in vain, and the test with them. */
const UNHURRIED = { spaceAmplificationMax: 10 };

/** Snapshots amid memtables, each of which is merged later. Returns the most memory that they held at once. */
async function takeAmidMemtables(one: History, memoryBytes: number, steps: number): Promise<number> {
  const { t } = one;
  await one.write(3000);
  let most = 0;
  for (let step = 0; step < steps; step++) {
    await one.write(600);
    one.take();
    await one.write(600);
    await one.store.checkpoint();
    const { memory, snapshots } = one.store.statistics();
    most = Math.max(most, snapshots.heldBytes);
    t.true(snapshots.heldBytes <= memoryBytes / 2, `${snapshots.heldBytes}`);
    t.true(memory.memtableBytes + memory.pageBytes <= memoryBytes, `${memory.memtableBytes} ${memory.pageBytes}`);
    t.is(snapshots.open + snapshots.ended, step + 1);
    t.true(snapshots.open === 0 || snapshots.oldestMs > 0);
  }
  return most;
}

test('OLD-1: memtables that only snapshots need leave memory, and are read back', async (t) => {
  t.timeout(300_000);
  const memoryBytes = MIB;
  const one = new History(t, SEED + 12, 1000, { memoryBytes, valueCachePart: 0, ...UNHURRIED });
  // So that there are many leaves, of the histories, too.
  one.keyBytes = 200;
  await one.open({ oldPages: 'eager' });
  const most = await takeAmidMemtables(one, memoryBytes, 16);
  const { snapshots, pageReads } = one.store.statistics();
  t.log(`at most ${Math.round(most / KIB)} KiB`);
  t.is(snapshots.ended, 0);
  await one.sound();
  // Each alone, so that each kind of read meets leaves that are absent.
  for (const { snapshot, model } of one.moments) {
    for (let n = 0; n < 20; n++) {
      const key = one.key();
      const expected = model.get(key);
      t.is(snapshot.getSync(key)?.toString(), expected);
      const other = one.key();
      const late = [snapshot.get(other), snapshot.has(other), snapshot.getSync(other)] as const;
      t.is((await late[0])?.toString(), model.get(other));
      t.is(await late[1], model.has(other));
      t.is(late[2]?.toString(), model.get(other));
    }
  }
  t.true(one.store.statistics().pageReads > pageReads + 100);
  for (const [n, moment] of one.moments.entries()) {
    await one.look(moment);
    if (n % 4 === 0) await one.lookAtAll(moment);
  }
  await one.sound();
  const held = one.store.statistics().space;
  for (const { snapshot } of one.moments) snapshot.release();
  await settled(() => one.store.statistics().space.deadBytes < held.deadBytes / 2);
  await one.store.checkpoint();
  await one.sound();
  await one.store.close();
});

test('SNAPSHOT-3: the oldest snapshots end when they hold too much memory, and the store keeps to its own', async (t) => {
  t.timeout(300_000);
  const memoryBytes = MIB;
  const one = new History(t, SEED + 8, 3000, { memoryBytes, ...UNHURRIED });
  await one.open({ oldPages: 'resident' });
  const most = await takeAmidMemtables(one, memoryBytes, 24);
  const { open, ended } = one.store.statistics().snapshots;
  t.log(`${open} open, ${ended} ended, at most ${Math.round(most / KIB)} KiB`);
  t.true(ended > 0 && open > 0);
  for (const [n, { snapshot }] of one.moments.entries()) {
    if (n < ended) t.throws(() => snapshot.getSync('a'), { code: 'ERR_AIOKV_SNAPSHOT_ENDED' });
  }
  for (const moment of one.moments.slice(ended)) await one.look(moment);
  await one.sound();
  await one.store.close();
});
