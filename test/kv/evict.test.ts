/** An index larger than its memory: every answer is right, a get costs at most two reads, memory stays bounded. */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import test from 'ava';
import { ManualClock, Random, systemClock } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { RangeOptions, Store, StoreOptions } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';

interface Place {
  readonly keys: number;
  readonly nodesBytes: number;
  readonly open: (options?: Partial<StoreOptions>) => Promise<Store>;
}

/** What an index of these keys takes when all of it is in memory. Of a budget as small as these, nodes have half. */
const BYTES_PER_KEY = 46;

async function onSimulated(seed: number, use: (place: Place) => Promise<void>): Promise<void> {
  const platform = new SimulatedDisk({ seed });
  const keys = 4000;
  const nodesBytes = Math.floor((keys * BYTES_PER_KEY) / 10);
  const geometry = {
    segmentBytes: 64 * 1024,
    queueDepth: 16,
    memoryBytes: 2 * nodesBytes,
    checkpointBytes: 128 * 1024,
  };
  await use({ keys, nodesBytes, open: (options) => open('/store', { ...geometry, platform, ...options }) });
}

async function onLinux(_seed: number, use: (place: Place) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-evict-'));
  const keys = 60_000;
  const nodesBytes = Math.floor((keys * BYTES_PER_KEY) / 10);
  try {
    const geometry = { platform: localPlatform(), memoryBytes: 2 * nodesBytes, checkpointBytes: 4 * 1024 * 1024 };
    await use({ keys, nodesBytes, open: (options) => open(directory, { ...geometry, ...options }) });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** 24 bytes, in no order. */
function keyOf(number: number): string {
  return `user${String((number * 2_654_435_761) % 4_294_967_296).padStart(10, '0')}${String(number).padStart(10, '0')}`;
}

/** Too long for a leaf. */
function valueOf(number: number): string {
  return `${number}`.padStart(40, '0');
}

async function load(store: Store, model: Map<string, string>, keys: number): Promise<void> {
  for (let first = 0; first < keys; first += 500) {
    const operations = Array.from({ length: Math.min(500, keys - first) }, (_, i) => {
      const key = keyOf(first + i);
      model.set(key, valueOf(first + i));
      return { type: 'put' as const, key, value: valueOf(first + i) };
    });
    await store.batch(operations, { durability: 'buffered' });
  }
}

function inRange(model: ReadonlyMap<string, string>, options: Partial<RangeOptions>): string[] {
  const { gte, lt, reverse } = options as { gte?: string; lt?: string; reverse?: boolean };
  const isIn = (key: string): boolean => (gte === undefined || key >= gte) && (lt === undefined || key < lt);
  const isBefore = reverse === true ? (a: string, b: string) => a > b : (a: string, b: string) => a < b;
  const { limit = Infinity } = options;
  let keys: string[] = [];
  // Of many keys few are wanted: they are not all sorted.
  let last: string | null = null;
  const keepFirst = (): void => {
    keys = keys.sort((a, b) => (isBefore(a, b) ? -1 : 1)).slice(0, limit);
    last = keys.length === limit ? (keys.at(-1) ?? null) : null;
  };
  for (const key of model.keys()) {
    if (!isIn(key) || (last !== null && isBefore(last, key))) continue;
    keys.push(key);
    if (keys.length >= 4 * limit) keepFirst();
  }
  keepFirst();
  return keys.map((key) => `${key}=${model.get(key)}`);
}

async function collect(store: Store, options: Partial<RangeOptions>): Promise<string[]> {
  const found: string[] = [];
  for await (const [key, value] of store.iterator(options)) found.push(`${key.toString()}=${value.toString()}`);
  return found;
}

class Storm {
  readonly #store: Store;
  readonly #model: Map<string, string>;
  readonly #random: Random;
  readonly #keys: number;
  readonly wrong: string[] = [];
  readonly #name: string;
  #under: Promise<void>[] = [];
  readonly #start: number;
  #writes = 0;

  constructor(name: string, store: Store, model: Map<string, string>, random: Random, keys: number) {
    this.#name = name;
    this.#store = store;
    this.#model = model;
    this.#random = random;
    this.#start = store.statistics().sequence;
    this.#keys = keys;
  }

  /** Calls of every kind, up to a hundred of them under way; each read is compared with the model at its call. */
  async run(steps: number): Promise<void> {
    const random = this.#random;
    for (let step = 0; step < steps && this.wrong.length === 0; step++) {
      const choice = random.below(100);
      // What reads may answer is known only if all writes called were admitted.
      if (choice >= 40 && this.#store.statistics().sequence < this.#start + this.#writes) await this.#settle();
      this.#take(choice, step);
      if (this.#under.length > random.below(100)) {
        await this.#settle();
      }
    }
    await this.#settle();
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#under);
    this.#under = [];
  }

  #take(choice: number, step: number): void {
    const store = this.#store;
    const model = this.#model;
    const key = keyOf(this.#random.below(this.#keys * 1.1));
    const expected = model.get(key);
    if (choice < 30) {
      this.#writes++;
      model.set(key, `new ${step}`);
      this.#call(store.put(key, `new ${step}`, { durability: 'buffered' }));
    } else if (choice < 40) {
      this.#writes++;
      model.delete(key);
      // A `del` of a key that is not there takes no sequence number, which `run` counts.
      this.#call(store.batch([{ type: 'del', key }], { durability: 'buffered' }));
    } else if (choice < 70) {
      this.#call(store.get(key).then((value) => this.#expect(`get ${key}`, value?.toString(), expected)));
    } else if (choice < 80) {
      this.#expect(`getSync ${key}`, store.getSync(key)?.toString(), expected);
    } else if (choice < 88) {
      const keys = Array.from({ length: 1 + this.#random.below(20) }, () => keyOf(this.#random.below(this.#keys)));
      const values = keys.map((one) => model.get(one));
      this.#call(
        store
          .getMany(keys)
          .then((got) => got.forEach((value, i) => this.#expect(`getMany ${keys[i]}`, value?.toString(), values[i]))),
      );
    } else if (choice < 91) {
      this.#call(
        store.has(key).then((exists) => this.#expect(`has ${key}`, String(exists), String(expected !== undefined))),
      );
    } else if (choice < 94) {
      this.#call(
        store.getVersioned(key).then((found) => this.#expect(`getVersioned ${key}`, found?.value.toString(), expected)),
      );
    } else if (choice < 97) {
      // The outcome is settled at the admission, which may come later; nobody else writes this key, or reads it now.
      const fresh = `${key} ${this.#name} ${step}`;
      this.#writes++;
      model.set(fresh, 'x');
      this.#call(store.put(fresh, 'x', { ifAbsent: true, durability: 'buffered' }));
    } else {
      const options = { gte: key, limit: 1 + this.#random.below(60), reverse: this.#random.chance(0.5) };
      const rows = this.#random.chance(0.1) ? inRange(model, options) : null;
      this.#call(
        collect(store, options).then((found) => {
          if (rows !== null) this.#expect(`range from ${key}`, found.join(), rows.join());
        }),
      );
    }
  }

  #call(work: Promise<unknown>): void {
    this.#under.push(
      work.then(
        () => undefined,
        (error: unknown) => void this.wrong.push(String(error)),
      ),
    );
  }

  #expect(what: string, found: string | undefined, expected: string | undefined): void {
    if (found !== expected) this.wrong.push(`${what}: ${found?.slice(0, 200)} instead of ${expected?.slice(0, 200)}`);
  }
}

for (const [name, at] of [
  ['simulated', onSimulated],
  ['linux', onLinux],
] as const) {
  const seed = seedOf('AIOKV_EVICT_SEED');

  test(`${name}: with memory for a tenth of the index every call is right, and memory stays bounded`, (t) =>
    at(seed, async ({ keys, nodesBytes, open: openStore }) => {
      t.log(`AIOKV_EVICT_SEED=${seed}`);
      t.timeout(300_000);
      const model = new Map<string, string>();
      let store = await openStore();
      await load(store, model, keys);
      for (let life = 0; life < 3; life++) {
        const storm = new Storm(`life ${life}`, store, model, new Random(seed + life), keys);
        await storm.run(name === 'linux' ? 20_000 : 4000);
        t.deepEqual(storm.wrong, []);
        await store.checkpoint();
        store.verifyIndex();
        await store.verifySegments();
        const { pageReads, memory } = store.statistics();
        const used = memory.memtableBytes + memory.pageBytes;
        t.log(`${pageReads} pages read, ${used} bytes of index for a limit of ${nodesBytes}`);
        t.true(pageReads > keys / 100);
        // Nodes of the overlays, and what one of them changes, come on top of the limit.
        t.true(used < nodesBytes * 1.5 + 64 * 1024, `${used} bytes of index`);
        await store.close();
        store = await openStore();
      }
      t.deepEqual(await collect(store, {}), inRange(model, {}));
      t.deepEqual(await collect(store, { reverse: true }), inRange(model, { reverse: true }));
      await store.close();
    }));

  test(`${name}: a get costs one read or two, whatever is in memory`, (t) =>
    at(seed, async ({ keys, open: openStore }) => {
      const model = new Map<string, string>();
      let store = await openStore();
      await load(store, model, keys);
      await store.close();
      store = await openStore();
      // What the opening replayed is on its way into pages still.
      await store.checkpoint();
      const random = new Random(seed);
      let most = 0;
      let total = 0;
      for (let n = 0; n < 1000; n++) {
        const number = random.below(keys);
        const before = store.statistics();
        t.is((await store.get(keyOf(number)))?.toString(), valueOf(number));
        const after = store.statistics();
        const reads = after.queue.accepted - before.queue.accepted;
        // The record of another key with the same hash is read in vain.
        most = Math.max(most, reads - (after.addresses.wrong - before.addresses.wrong));
        if (n >= 500) total += reads;
      }
      t.is(most, 2);
      const { pageReads, addresses } = store.statistics();
      t.true(pageReads > 0 && addresses.hits > 0, `${pageReads} pages read, ${addresses.hits} hits`);
      t.log(`${total} reads for the last 500 gets, ${addresses.wrong} of other keys`);
      await store.close();
    }));
}

test('with memory for all of the index nothing is read twice after an opening', (t) =>
  onSimulated(1, async ({ keys, open: openStore }) => {
    const model = new Map<string, string>();
    let store = await openStore({ memoryBytes: 32 * 1024 * 1024 });
    await load(store, model, keys);
    await store.close();
    store = await openStore({ memoryBytes: 32 * 1024 * 1024 });
    for (let number = 0; number < keys; number += 7)
      t.is((await store.get(keyOf(number)))?.toString(), valueOf(number));
    t.is(store.statistics().pageReads, 0);
    await store.close();
  }));

/** A store of a thousand keys on a disk whose faults are ours, opened with few of its leaves in memory. */
async function openFaulty(clock: Clock = systemClock): Promise<{ disk: SimulatedDisk; store: Store }> {
  const disk = new SimulatedDisk({ seed: 3 });
  const options = { segmentBytes: 64 * 1024, queueDepth: 16, memoryBytes: 32 * 1024, platform: disk, clock };
  const store = await open('/store', options);
  await load(store, new Map(), 1000);
  await store.checkpoint();
  await store.close();
  return { disk, store: await open('/store', options) };
}

/** A key whose leaf is not in memory, found while reads fail. */
async function absentKey(store: Store): Promise<number> {
  for (let number = 0; number < 1000; number++) {
    const error = await store.get(keyOf(number)).catch((failure: unknown) => failure);
    if (error instanceof Error && error.message.includes('index page')) return number;
  }
  throw new Error('the leaves stay in memory');
}

test('one bad read of an index page is tried again', async (t) => {
  for (const kind of ['EIO', 'bit-flip', 'short'] as const) {
    const { disk, store } = await openFaulty();
    for (let number = 0; number < 200; number += 2) {
      disk.inject({ at: ({ kind: request }) => request === 'read', kind });
      t.is((await store.get(keyOf(number)))?.toString(), valueOf(number), kind);
      disk.inject({ at: ({ kind: request }) => request === 'read', kind });
      t.is(store.getSync(keyOf(number + 1))?.toString(), valueOf(number + 1), kind);
    }
    await store.close();
  }
});

test('an index page that cannot be read fails the reads that need it, and nothing else', async (t) => {
  for (const [kind, code] of [
    ['EIO', 'ERR_AIOKV_IO'],
    ['bit-flip', 'ERR_AIOKV_CORRUPT'],
  ] as const) {
    // The clock stands still: a merge of an idle store would read the leaves that the faults are for, and latch it.
    const { disk, store } = await openFaulty(new ManualClock());
    await store.put('new', 'value');
    const heal = disk.inject({ at: ({ kind: request }) => request === 'read', kind, sticky: true });
    // A bit may flip beside the page, which is shorter than its sectors. Then the page is in memory, and calls are answered.
    const rest = [code, undefined, 'ERR_AIOKV_CONDITION_FAILED'];
    const rounds = kind === 'EIO' ? 1 : 8;
    let number = -1;
    const codes: unknown[] = [];
    for (let round = 0; round < rounds; round++) {
      number = await absentKey(store);
      const key = keyOf(number);
      const calls: (() => unknown)[] = [
        () => store.get(key),
        () => store.getVersioned(key),
        () => store.getMany([key, key]),
        () => store.getSync(key),
        () => store.has(key),
        () => store.keys({ gte: key }).next(),
        () => store.put(key, 'x', { ifAbsent: true }),
        () => collect(store, {}),
      ];
      for (const call of calls) {
        const error = await Promise.resolve()
          .then(call)
          .catch((failure: unknown) => failure);
        codes.push((error as { code?: string }).code);
      }
    }
    if (kind === 'EIO') for (const one of codes) t.is(one, code);
    else t.true(codes.includes(code) && codes.every((one) => rest.includes(one as string)), codes.join());
    heal();
    t.is((await store.get(keyOf(number)))?.toString(), valueOf(number));
    t.is((await store.get('new'))?.toString(), 'value');
    t.is((await collect(store, {})).length, 1001);
    await store.close();
  }
});

test('writes whose leaves cannot be read latch the store; what is there is read on, and nothing flushed is lost', async (t) => {
  const { disk, store } = await openFaulty();
  disk.inject({ at: ({ kind: request }) => request === 'read', kind: 'EIO', sticky: true });
  const flushed: number[] = [];
  const error = await t.throwsAsync(async () => {
    for (let number = 2000; number < 4000; number++) {
      await store.put(keyOf(number), valueOf(number));
      flushed.push(number);
    }
  });
  t.is((error as unknown as { code: string }).code, 'ERR_AIOKV_LATCHED');
  t.is((error?.cause as { code?: string } | undefined)?.code, 'ERR_AIOKV_IO');
  t.true(flushed.length > 0);
  await t.throwsAsync(store.checkpoint(), { code: 'ERR_AIOKV_LATCHED' });
  await store.close();
  const image = disk.powerCut('none', new Random(1));
  const again = await open('/store', { platform: image, memoryBytes: 32 * 1024 });
  for (const number of [0, 500, 999, ...flushed]) t.is((await again.get(keyOf(number)))?.toString(), valueOf(number));
  await again.close();
});

test('a store that is closed settles the reads that wait for index pages', async (t) => {
  const { store } = await openFaulty();
  const reads = Array.from({ length: 1000 }, (_, number) => store.get(keyOf(number)));
  const walk = collect(store, {});
  const closing = store.close();
  const outcomes = await Promise.allSettled([...reads, walk]);
  await closing;
  for (const [number, outcome] of outcomes.slice(0, 1000).entries()) {
    if (outcome.status === 'fulfilled') t.is((outcome.value as Buffer).toString(), valueOf(number));
    else t.is((outcome.reason as { code: string }).code, 'ERR_AIOKV_CLOSED');
  }
});
