/**
 * Records that expire: no read returns what is over, whichever layer has it, whatever the calendar does and whenever the store
 * was opened. EXPIRY-1 to EXPIRY-3 are those of packages/kv/src/file/expiry-clock.ts.
 */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { BatchOperation, Snapshot, Store, StoreOptions } from '@aiokv/kv';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_EXPIRY_SEED');
const OPTIONS = { segmentBytes: 64 * KIB, writeBufferBytes: MIB, queueDepth: 8, checkpointBytes: 512 * KIB };
const START = 1_700_000_000_000;
/** Sizes of values: tiny, in the index; in one record; in fragments. */
const SIZES = [0, 1, 12, 24, 25, 32, 33, 100, 800, 3000];

interface Kept {
  readonly value: string;
  /** Infinity: never. */
  readonly expiresAt: number;
}

/** A store on a simulated disk, a calendar, and what the store must hold. */
class World {
  readonly t: ExecutionContext;
  disk: SimulatedDisk;
  calendarMs = START;
  /** The latest time that has counted. */
  latestMs = 0;
  /** Whether something was put that expires. EXPIRY-3: until then no time counts. */
  isUsed = false;
  /** How often the store has asked what time it is. */
  questions = 0;
  readonly model = new Map<string, Kept>();
  readonly planted: Planted;
  readonly #options: Partial<StoreOptions>;
  #store: Store | null = null;

  constructor(t: ExecutionContext, seed: number, options: Partial<StoreOptions> = {}, planted: Planted = {}) {
    this.t = t;
    this.disk = new SimulatedDisk({ seed });
    this.#options = options;
    this.planted = planted;
  }

  get store(): Store {
    return this.#store as Store;
  }

  async open(): Promise<Store> {
    const calendarMs = (): number => {
      this.questions++;
      return this.calendarMs;
    };
    const options = { ...OPTIONS, ...this.#options, platform: this.disk, calendarMs };
    this.#store = await openPlanted('/store', options, this.planted);
    return this.#store;
  }

  async reopen(): Promise<Store> {
    await this.store.close();
    return this.open();
  }

  /** The power fails, and comes back. What was flushed is there, and the horizon that was. */
  async crash(): Promise<void> {
    await this.store.flush();
    const { expiryHorizonMs } = this.store.statistics();
    const before = this.store;
    this.disk = this.disk.powerCut('none', new Random(1));
    await this.open();
    await before.close();
    const horizonMs = this.store.statistics().expiryHorizonMs;
    this.t.true(horizonMs >= expiryHorizonMs);
    this.latestMs = this.isUsed ? horizonMs : 0;
  }

  get nowMs(): number {
    if (!this.isUsed) return this.calendarMs;
    this.latestMs = Math.max(this.latestMs, this.calendarMs);
    return this.latestMs;
  }

  /** Moves the calendar, when the store has seen where it was. */
  async jump(byMs: number): Promise<void> {
    await this.store.getVersioned('');
    this.t.true(this.nowMs >= this.calendarMs);
    this.calendarMs += byMs;
  }

  /** What the model has of a key at a moment. */
  valueOf(name: string, nowMs = this.nowMs, model: ReadonlyMap<string, Kept> = this.model): string | null {
    const kept = model.get(name);
    return kept !== undefined && kept.expiresAt > nowMs ? kept.value : null;
  }

  alive(nowMs = this.nowMs, model: ReadonlyMap<string, Kept> = this.model): [string, string][] {
    const names = [...model.keys()].sort();
    return names.flatMap((name): [string, string][] => {
      const value = this.valueOf(name, nowMs, model);
      return value === null ? [] : [[name, value]];
    });
  }

  /** Asks for keys in every way, and for a range in every way. */
  async check(names: readonly string[]): Promise<void> {
    const { t, store } = this;
    for (const name of names) {
      const wanted = this.valueOf(name);
      t.is(text(store.getSync(name)), wanted, `getSync ${name}`);
      t.is(text(store.getView(name)), wanted, `getView ${name}`);
      t.is(text(await store.get(name)), wanted, `get ${name}`);
      t.is(await store.has(name), wanted !== null, `has ${name}`);
      const versioned = await store.getVersioned(name);
      t.is(text(versioned?.value), wanted, `getVersioned ${name}`);
      const expiresAt = this.model.get(name)?.expiresAt ?? Infinity;
      if (wanted === null) continue;
      t.is(versioned?.expiresAt ?? Infinity, expiresAt);
      t.is(versioned?.ttlMs ?? Infinity, expiresAt - this.nowMs);
    }
    const wanted = names.map((name) => this.valueOf(name));
    t.deepEqual((await store.getMany(names)).map(text), wanted);
  }

  async checkRange(reverse: boolean): Promise<void> {
    const { t, store } = this;
    const wanted = this.alive();
    if (reverse) wanted.reverse();
    t.deepEqual(await entriesOf(store, { reverse }), wanted);
    const keys: string[] = [];
    for await (const key of store.keys({ reverse })) keys.push(key.toString());
    t.deepEqual(
      keys,
      wanted.map(([name]) => name),
    );
  }
}

function text(value: Buffer | undefined): string | null {
  return value?.toString() ?? null;
}

async function entriesOf(from: Store | Snapshot, options: { reverse?: boolean } = {}): Promise<[string, string][]> {
  const entries: [string, string][] = [];
  for await (const [key, value] of from.iterator(options)) entries.push([key.toString(), value.toString()]);
  return entries;
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)] as T;
}

function keyOf(n: number): string {
  return n % 3 === 0 ? `key${n}` : `key${n}${'-'.repeat(600)}`;
}

test('a record is over at its time, to the millisecond, in every read', async (t) => {
  const world = new World(t, 1);
  const store = await world.open();
  for (const [i, size] of SIZES.entries()) {
    const value = 'v'.repeat(size);
    await store.put(`ttl${i}`, value, { ttlMs: 1000 });
    await store.put(`at${i}`, value, { expiresAt: START + 2000 });
    await store.put(`stays${i}`, value);
    world.model.set(`ttl${i}`, { value, expiresAt: START + 1000 });
    world.model.set(`at${i}`, { value, expiresAt: START + 2000 });
    world.model.set(`stays${i}`, { value, expiresAt: Infinity });
  }
  const long = 'w'.repeat(200_000);
  await store.put('long', long, { ttlMs: 1000 });
  world.model.set('long', { value: long, expiresAt: START + 1000 });
  const names = [...world.model.keys()];
  for (const wait of [0, 999, 1000, 1999, 2000]) {
    world.calendarMs = START + wait;
    await world.check(names);
    await world.checkRange(false);
    await world.checkRange(true);
  }
  await store.close();
});

test('what is over is over in the memtable, in leaves, behind addresses, in caches, after a reopening', async (t) => {
  for (const memoryBytes of [32 * KIB, 64 * MIB]) {
    const world = new World(t, 2, { memoryBytes });
    let store = await world.open();
    const write = async (ttlMs: number): Promise<void> => {
      for (let n = 0; n < 60; n++) {
        const value = `${n}:${'v'.repeat(SIZES[n % SIZES.length] as number)}`;
        const expires = n % 2 === 0;
        await store.put(keyOf(n), value, { durability: 'buffered', ...(expires ? { ttlMs } : {}) });
        world.model.set(keyOf(n), { value, expiresAt: expires ? world.nowMs + ttlMs : Infinity });
      }
    };
    const names = Array.from({ length: 60 }, (_, n) => keyOf(n));
    await write(1000);
    // Twice: the second time values are cached, and addresses known.
    for (let turn = 0; turn < 2; turn++) await world.check(names);
    world.calendarMs += 1000;
    await world.check(names);
    await write(1000);
    await store.checkpoint();
    for (let turn = 0; turn < 3; turn++) await world.check(names);
    await world.checkRange(false);
    world.calendarMs += 1000;
    await world.check(names);
    await world.checkRange(true);
    store = await world.reopen();
    await world.check(names);
    await write(1000);
    store = await world.reopen();
    await world.check(names);
    world.calendarMs += 999;
    await world.checkRange(false);
    world.calendarMs += 1;
    await world.checkRange(false);
    await store.verifySegments();
    store.verifyIndex();
    await store.close();
  }
});

test('what is over hides what it has replaced', async (t) => {
  const world = new World(t, 3);
  const store = await world.open();
  await store.put('a', 'old');
  await store.checkpoint();
  await store.put('a', 'new', { ttlMs: 10 });
  world.calendarMs += 10;
  t.is(store.getSync('a'), undefined);
  t.deepEqual(await entriesOf(store), []);
  await store.checkpoint();
  t.is(store.getSync('a'), undefined);
  t.is(await store.get('a'), undefined);
  await store.verifySegments();
  await store.close();
});

test('MERGE-6: what is over leaves the leaves that a merge changes, and does not count any more', async (t) => {
  const world = new World(t, 14, { memoryBytes: 64 * KIB }, { eagerCleaning: true });
  const store = await world.open();
  const round = async (first: number): Promise<void> => {
    for (let n = first; n < 400; n += 4) {
      const value = `${n}:`.padEnd(n % 8 === 0 ? 10 : 600, 'v');
      const ttlMs = n % 4 === 3 ? {} : { ttlMs: 1000 };
      await store.put(`key${String(n).padStart(4, '0')}`, value, { durability: 'buffered', ...ttlMs });
    }
    await store.checkpoint();
    await store.verifySegments();
    store.verifyIndex();
  };
  for (let first = 0; first < 3; first++) await round(first);
  const { liveBytes: before } = store.statistics().space;
  world.calendarMs += 1000;
  // Its keys lie beside those that are over.
  await round(3);
  const { liveBytes: after } = store.statistics().space;
  t.log(`${before} bytes lived, and ${after} when three quarters of the keys were over`);
  t.is((await entriesOf(store)).length, 100);
  t.true(after < before / 2);
  await store.close();
});

test('a compaction leaves nothing of what is over', async (t) => {
  const world = new World(t, 15);
  const store = await world.open();
  for (let n = 0; n < 300; n++) {
    await store.put(`key${n}`, `${n}:`.padEnd(900, 'v'), { durability: 'buffered', ttlMs: 1000 });
  }
  await store.put('long', 'w'.repeat(150_000), { ttlMs: 1000 });
  await store.put('stays', 's'.repeat(900));
  await store.checkpoint();
  world.calendarMs += 1000;
  await store.compact();
  await store.verifySegments();
  t.deepEqual(
    (await entriesOf(store)).map(([name]) => name),
    ['stays'],
  );
  const { liveBytes } = store.statistics().space;
  t.true(liveBytes < 16 * KIB, `${liveBytes}`);
  await store.close();
});

test('a snapshot, and an iterator, judge by their own time', async (t) => {
  const world = new World(t, 4, { memoryBytes: 4 * MIB });
  const store = await world.open();
  for (let n = 0; n < 40; n++) {
    const value = `${n}:${'v'.repeat(SIZES[n % SIZES.length] as number)}`;
    await store.put(keyOf(n), value, { ttlMs: 100 + n, durability: 'buffered' });
    world.model.set(keyOf(n), { value, expiresAt: START + 100 + n });
  }
  world.calendarMs += 110;
  const wanted = world.alive();
  t.is(wanted.length, 29);
  const snapshot = store.snapshot();
  const iterator = store.iterator();
  const first = await iterator.next();
  await store.getMany(wanted.map(([name]) => name));
  world.calendarMs += 1000;
  t.deepEqual(await entriesOf(store), []);
  await store.checkpoint();
  const rest: [string, string][] = [];
  for await (const [key, value] of iterator) rest.push([key.toString(), value.toString()]);
  t.deepEqual([[String(first.value?.[0]), String(first.value?.[1])], ...rest], wanted);
  t.deepEqual(await entriesOf(snapshot), wanted);
  for (let n = 0; n < 40; n++) {
    const expected = world.valueOf(keyOf(n), START + 110);
    t.is(text(await snapshot.get(keyOf(n))), expected);
    t.is(text(snapshot.getSync(keyOf(n))), expected);
    t.is(await snapshot.has(keyOf(n)), expected !== null);
    const versioned = await snapshot.getVersioned(keyOf(n));
    t.is(versioned?.ttlMs ?? null, expected === null ? null : n - 10);
  }
  snapshot.release();
  await store.close();
});

test('COND-3: a key that is over does not exist for a condition', async (t) => {
  const world = new World(t, 5);
  const store = await world.open();
  for (const [i, size] of SIZES.entries()) {
    const name = `key${i}`;
    await store.put(name, 'v'.repeat(size), { ttlMs: 10 });
    const version = (await store.getVersioned(name))?.version;
    if (version === undefined) throw new Error('it is there');
    await t.throwsAsync(store.put(name, 'x', { ifAbsent: true }), { code: 'ERR_AIOKV_CONDITION_FAILED' });
    world.calendarMs += 10;
    await t.throwsAsync(store.put(name, 'x', { ifVersion: version }), { code: 'ERR_AIOKV_CONDITION_FAILED' });
    await store.put(name, 'again', { ifAbsent: true, ttlMs: 20 });
    t.is(text(await store.get(name)), 'again');
    world.calendarMs += 20;
    await store.batch([{ type: 'put', key: name, value: 'third', ifAbsent: true }]);
    t.is(text(store.getSync(name)), 'third');
  }
  await store.close();
});

test('EXPIRY-1: a calendar that is set back revives nothing', async (t) => {
  const world = new World(t, 6);
  let store = await world.open();
  await store.put('a', 'short', { ttlMs: 100 });
  await store.put('b', 'a value that is not in the index, as it is too long', { ttlMs: 100 });
  await store.put('c', 'long', { ttlMs: 10_000 });
  world.calendarMs += 100;
  t.is(store.getSync('a'), undefined);
  world.calendarMs = START - 5000;
  await world.reopen();
  store = world.store;
  t.is(store.getSync('a'), undefined);
  t.is(await store.get('b'), undefined);
  t.is(text(await store.get('c')), 'long');
  t.is((await store.getVersioned('c'))?.ttlMs, 9900);
  await store.put('d', 'new', { ttlMs: 1 });
  t.is(text(await store.get('d')), 'new');
  world.calendarMs = START + 101;
  t.is(await store.get('d'), undefined);
  await store.close();
});

test('planted: a store that forgets its horizon revives what was over', async (t) => {
  const world = new World(t, 7, {}, { forgottenHorizon: true });
  await world.open();
  await world.store.put('a', 'short', { ttlMs: 100 });
  world.calendarMs += 100;
  t.is(world.store.getSync('a'), undefined);
  world.calendarMs = START;
  await world.reopen();
  t.is(text(world.store.getSync('a')), 'short');
  await world.store.close();
});

test('EXPIRY-2: a checkpoint says by which time it was made', async (t) => {
  const world = new World(t, 8);
  await world.open();
  await world.store.put('a', 'short', { ttlMs: 100 });
  await world.store.put('b', 'long enough to be a record of its own, and not a part of its leaf', { ttlMs: 100 });
  world.calendarMs += 100;
  await world.store.checkpoint();
  t.is(world.store.statistics().expiryHorizonMs, START + 100);
  world.calendarMs = START;
  await world.crash();
  t.deepEqual(await entriesOf(world.store), []);
  await world.store.close();
});

test('a key that is over is deleted all the same: after a crash the calendar may say that it is not', async (t) => {
  const world = new World(t, 9);
  await world.open();
  await world.store.put('a', 'short', { ttlMs: 100 });
  world.calendarMs += 100;
  await world.store.del('a');
  world.calendarMs = START;
  await world.crash();
  t.is(world.store.getSync('a'), undefined);
  await world.store.close();
});

test('EXPIRY-3: a store in which nothing expires never asks what time it is', async (t) => {
  const world = new World(t, 10);
  await world.open();
  for (let n = 0; n < 50; n++) await world.store.put(keyOf(n), 'v'.repeat(n), { durability: 'buffered' });
  await world.store.checkpoint();
  await world.reopen();
  for (let n = 0; n < 50; n++) await world.store.get(keyOf(n));
  t.is((await entriesOf(world.store)).length, 50);
  t.is(world.questions, 0);
  // One that does is asked for those alone.
  await world.store.put('short', 'lived', { ttlMs: 5 });
  const { questions } = world;
  t.is(text(world.store.getSync(keyOf(3))), 'vvv');
  t.is(world.questions, questions);
  await world.store.close();
});

test('expiresAt and ttlMs are checked', async (t) => {
  const world = new World(t, 11);
  const store = await world.open();
  const bad = [
    { ttlMs: 0 },
    { ttlMs: -1 },
    { ttlMs: 1.5 },
    { ttlMs: Infinity },
    { ttlMs: Number.MAX_SAFE_INTEGER },
    { ttlMs: '5' as never },
    { expiresAt: 0 },
    { expiresAt: NaN },
    { expiresAt: new Date() as never },
    { ttlMs: 5, expiresAt: START + 5 },
  ];
  for (const options of bad) {
    await t.throwsAsync(store.put('a', 'b', options), { code: 'ERR_AIOKV_INVALID_OPTION' });
    const operation = { type: 'put', key: 'a', value: 'b', ...options } as BatchOperation;
    await t.throwsAsync(store.batch([operation]), { code: 'ERR_AIOKV_INVALID_OPTION' });
  }
  const ttl = { ttlMs: 5 };
  await t.throwsAsync(store.del('a', ttl), { code: 'ERR_AIOKV_INVALID_OPTION', message: /belong to a put/u });
  await t.throwsAsync(store.clear(ttl), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await t.throwsAsync(store.batch([], ttl), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await t.throwsAsync(store.batch([{ type: 'del', key: 'a', ...ttl }]), {
    code: 'ERR_AIOKV_INVALID_OPTION',
  });
  await t.throwsAsync(store.deleteRange({ gte: 'a', ...ttl }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  t.is(store.statistics().sequence, 0);
  await store.put('past', 'x', { expiresAt: 1 });
  t.is(store.getSync('past'), undefined);
  await store.close();
});

test('touch gives a value another time, and no value to a key without one', async (t) => {
  const world = new World(t, 12);
  const store = await world.open();
  for (const size of [...SIZES, 80_000]) {
    const value = 'v'.repeat(size);
    await store.put('a', value, { ttlMs: 10 });
    world.calendarMs += 9;
    t.true(await store.touch('a', { ttlMs: 10 }));
    world.calendarMs += 9;
    t.is(text(await store.get('a')), value);
    t.true(await store.touch('a', { expiresAt: world.calendarMs + 5, durability: 'buffered' }));
    t.is((await store.getVersioned('a'))?.ttlMs, 5);
    world.calendarMs += 5;
    t.false(await store.touch('a', { ttlMs: 10 }));
    t.is(store.getSync('a'), undefined);
  }
  t.false(await store.touch('never there', { ttlMs: 10 }));
  await t.throwsAsync(store.touch('a', {}), { code: 'ERR_AIOKV_INVALID_OPTION', message: /ttlMs or expiresAt/u });
  const conditional = { ttlMs: 10, ifAbsent: true };
  await t.throwsAsync(store.touch('a', conditional), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await store.close();
  await t.throwsAsync(store.touch('a', { ttlMs: 10 }), { code: 'ERR_AIOKV_CLOSED' });
});

test('touch and puts at once: the last value stays, with the time of the touch', async (t) => {
  const world = new World(t, 13, { memoryBytes: 32 * KIB });
  const store = await world.open();
  for (let n = 0; n < 20; n++) await store.put(keyOf(n), `${n}:`.padEnd(500, 'v'), { durability: 'buffered' });
  await store.checkpoint();
  for (let n = 0; n < 20; n++) {
    const touched = store.touch(keyOf(n), { ttlMs: 1000 });
    const put = store.put(keyOf(n), 'newer');
    t.true(await touched);
    await put;
    const found = await store.getVersioned(keyOf(n));
    t.is(text(found?.value), 'newer');
    t.is(found?.ttlMs, 1000);
  }
  await store.close();
});

/** One history: writes, reads, jumps of the calendar, checkpoints, reopenings and crashes, in any order. */
async function runHistory(t: ExecutionContext, seed: number): Promise<number> {
  let looked = 0;
  const random = new Random(seed);
  const memoryBytes = random.chance(0.7) ? 32 * KIB : 8 * MIB;
  const world = new World(t, seed, { memoryBytes }, { eagerCleaning: random.chance(0.6) });
  await world.open();
  const names = Array.from({ length: 24 }, (_, n) => keyOf(n));
  const snapshots: { snapshot: Snapshot; nowMs: number; model: Map<string, Kept> }[] = [];
  let values = 0;
  /** Reads in all snapshots. Those that had to end for want of memory go. */
  const looks = async (): Promise<void> => {
    for (const one of snapshots.splice(0)) {
      const { snapshot, nowMs, model } = one;
      try {
        const name = pick(random, names);
        t.is(text(snapshot.getSync(name)), world.valueOf(name, nowMs, model));
        t.is(text(await snapshot.get(name)), world.valueOf(name, nowMs, model));
        t.deepEqual(await entriesOf(snapshot), world.alive(nowMs, model));
        snapshots.push(one);
        looked++;
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_AIOKV_SNAPSHOT_ENDED') throw error;
      }
    }
  };
  const release = async (): Promise<void> => {
    await looks();
    for (const { snapshot } of snapshots.splice(0)) snapshot.release();
  };
  for (let step = 0; step < 60; step++) {
    const { store } = world;
    const choice = random.below(100);
    if (choice < 40) {
      const operations = Array.from({ length: 1 + random.below(5) }, (): BatchOperation => {
        const name = pick(random, names);
        if (random.chance(0.15)) {
          world.model.delete(name);
          return { type: 'del', key: name };
        }
        const size = random.chance(0.02) ? 70_000 : pick(random, SIZES);
        const value = `${values++}:${'v'.repeat(size)}`;
        const ttlMs = random.chance(0.6) ? 1 + random.below(1000) : null;
        world.isUsed ||= ttlMs !== null;
        world.model.set(name, { value, expiresAt: ttlMs === null ? Infinity : world.nowMs + ttlMs });
        return { type: 'put', key: name, value, ...(ttlMs === null ? {} : { ttlMs }) };
      });
      await store.batch(operations, { durability: pick(random, ['flushed', 'written', 'buffered']) });
    } else if (choice < 60) await world.check([pick(random, names), pick(random, names), pick(random, names)]);
    else if (choice < 68) await world.checkRange(random.chance(0.5));
    else if (choice < 82) await world.jump(random.chance(0.25) ? -random.below(2000) : random.below(400));
    else if (choice < 88) await store.checkpoint();
    else if (choice < 91) await store.compact();
    else if (choice < 95)
      snapshots.push({ snapshot: store.snapshot(), nowMs: world.nowMs, model: new Map(world.model) });
    else if (choice < 97) await looks();
    else {
      await release();
      if (random.chance(0.5)) await world.reopen();
      else await world.crash();
    }
  }
  await release();
  await world.check(names);
  await world.checkRange(false);
  await world.store.verifySegments();
  world.store.verifyIndex();
  await world.store.close();
  return looked;
}

test('random histories, with a calendar that jumps, reopenings and crashes', async (t) => {
  t.timeout(300_000);
  t.log(`AIOKV_EXPIRY_SEED=${SEED}`);
  let looked = 0;
  for (let n = 0; n < 60; n++) {
    const seed = SEED + n;
    try {
      looked += await runHistory(t, seed);
    } catch (error) {
      t.fail(`AIOKV_EXPIRY_SEED=${seed}: ${String((error as Error).stack)}`);
      return;
    }
    if (!t.passed) {
      t.log(`the history of AIOKV_EXPIRY_SEED=${seed}`);
      return;
    }
  }
  t.true(looked > 60);
});
