/**
 * Warm restart: what was hot at the end is in memory again after an opening, whatever has become of the note of it, and no answer
 * depends on it. AIOKV_WARM_SEED says where the random runs begin.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store, StoreOptions } from '@aiokv/kv';
import { ExpiryClock } from '../../packages/kv/src/file/expiry-clock.ts';
import { ValueCache } from '../../packages/kv/src/cache/value-cache.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import type { HotKey } from '../../packages/kv/src/format/hot-keys.ts';
import { HOT_BLOCK_BYTES, HotBlockReader, HotBlockWriter } from '../../packages/kv/src/format/hot-keys.ts';
import { RecordKind, encodeRecord, paddedRecordBytes } from '../../packages/kv/src/format/record.ts';
import type { Block } from '../../packages/kv/src/format/words.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { NodeMemory } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_WARM_SEED');
const HOT = '/store/data.aiokv.hot';
const KEYS = 600;
const LITTLE: Partial<StoreOptions> = {
  segmentBytes: 64 * KIB,
  writeBufferBytes: MIB,
  queueDepth: 8,
  memoryBytes: 2 * MIB,
};

const nameOf = (n: number): string => `key${String(n).padStart(6, '0')}`;
const valueOf = (n: number, version = 0): string => `${n}/${version}:`.padEnd(200, 'v');

function openOn(disk: SimulatedDisk, options: Partial<StoreOptions> = {}, planted: Planted = {}): Promise<Store> {
  return openPlanted('/store', { ...LITTLE, ...options, platform: disk }, { eagerNotes: true, ...planted });
}

async function warmed(store: Store): Promise<Store> {
  while (store.statistics().warm.isRunning) await nextTurn();
  return store;
}

/** A store of `KEYS` keys in which every third is asked for three times. It is not closed. */
async function heated(disk: SimulatedDisk, options: Partial<StoreOptions> = {}, planted: Planted = {}): Promise<Store> {
  const store = await openOn(disk, options, planted);
  for (let n = 0; n < KEYS; n++) await store.put(nameOf(n), valueOf(n), { durability: 'buffered' });
  await store.flush();
  for (let times = 0; times < 3; times++) for (let n = 0; n < KEYS; n += 3) await store.get(nameOf(n));
  return store;
}

async function requireAll(t: ExecutionContext, store: Store, expected = valueOf): Promise<void> {
  for (let n = 0; n < KEYS; n++) t.is((await store.get(nameOf(n)))?.toString(), expected(n), nameOf(n));
}

test('WARM-1: what was hot is answered from memory after an opening, and nothing else', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  const names = (await disk.list('/store')) as string[];
  t.deepEqual(names, ['data.aiokv', 'data.aiokv.hot']);
  const store = await warmed(await openOn(disk));
  t.deepEqual(store.statistics().warm, { keys: KEYS / 3, values: KEYS / 3, isRunning: false });
  t.deepEqual(store.statistics().cache, { hits: 0, misses: 0, values: KEYS / 3 });
  const before = disk.operations;
  for (let n = 0; n < KEYS; n += 3) t.is(store.getSync(nameOf(n))?.toString(), valueOf(n));
  t.is(disk.operations, before, 'no request');
  t.is(store.statistics().cache.hits, KEYS / 3);
  await requireAll(t, store);
  store.verifyIndex();
  await store.close();
});

test('an option turns it off, and then no keys are left in the directory', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  const store = await warmed(await openOn(disk, { warmRestart: false }));
  t.deepEqual(store.statistics().warm, { keys: 0, values: 0, isRunning: false });
  t.is(store.statistics().cache.values, 0);
  await store.close();
  t.deepEqual(await disk.list('/store'), ['data.aiokv']);
  await (await heated(disk, { warmRestart: false })).close();
  t.deepEqual(await disk.list('/store'), ['data.aiokv']);
});

test('NOTE-1: little that was hot is not noted, and takes the place of no note', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk, {}, { eagerNotes: false })).close();
  t.deepEqual(await disk.list('/store'), ['data.aiokv'], '200 keys are few');
  await (await heated(disk)).close();
  const note = disk.bytesOf(HOT);
  const store = await openOn(disk, {}, { eagerNotes: false });
  await store.close();
  t.deepEqual(disk.bytesOf(HOT), note);
});

test('NOTE-1: the hottest come first where there is room for few', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await heated(disk, { memoryBytes: 4 * MIB });
  for (let times = 0; times < 3; times++) for (let n = 0; n < 30; n += 3) await store.get(nameOf(n));
  for (let n = 1; n < KEYS; n += 3) {
    await store.get(nameOf(n));
    await store.get(nameOf(n));
  }
  await store.close();
  // A share of 8 units and no more: nodes have the rest.
  const less = await warmed(await openOn(disk, { memoryBytes: 96 * KIB }));
  const { keys, values } = less.statistics().warm;
  t.true(keys >= 10 && keys < (2 * KEYS) / 3, `${keys} keys`);
  t.true(values > 0 && values <= keys, `${values} of ${keys}`);
  const before = disk.operations;
  for (let n = 0; n < 30; n += 3) t.is(less.getSync(nameOf(n))?.toString(), valueOf(n));
  t.is(disk.operations, before, 'the hottest are there');
  await less.close();
});

test('WARM-1: a note that is old, or of another store, changes no answer', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  const note = disk.bytesOf(HOT);
  const changed = await openOn(disk);
  // While it warms up, too.
  for (let n = 0; n < KEYS; n += 6) await changed.put(nameOf(n), valueOf(n, 1));
  await changed.deleteRange({ gte: nameOf(300), lt: nameOf(450) });
  await changed.close();
  const now = (n: number): string | undefined => (n >= 300 && n < 450 ? undefined : valueOf(n, n % 6 === 0 ? 1 : 0));
  disk.placeRaw(HOT, note);
  const store = await warmed(await openOn(disk));
  const { keys, values } = store.statistics().warm;
  t.is(keys, KEYS / 3);
  t.is(values, KEYS / 3 - 50, 'those of the range are not there');
  for (let n = 0; n < KEYS; n++) t.is(store.getSync(nameOf(n))?.toString(), now(n), nameOf(n));
  await store.close();
  const other = new SimulatedDisk({ seed: SEED });
  await (await heated(other, { warmRestart: false })).close();
  other.placeRaw(HOT, note);
  const foreign = await warmed(await openOn(other));
  t.is(foreign.statistics().warm.keys, 0, 'the uuid is another one');
  await requireAll(t, foreign);
  await foreign.close();
});

test('HOT-1: a note that is damaged in any way is no error', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  const note = disk.bytesOf(HOT);
  const random = new Random(SEED);
  const noise = Uint8Array.from({ length: 3 * HOT_BLOCK_BYTES }, () => random.below(256));
  const damaged: Uint8Array[] = [new Uint8Array(0), new Uint8Array(HOT_BLOCK_BYTES), noise];
  for (const cut of [1, 100, 4096, HOT_BLOCK_BYTES - 1]) damaged.push(note.slice(0, cut));
  for (let bit = 0; bit < 48 * 8; bit += 1 + random.below(9)) {
    const flipped = note.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    damaged.push(flipped);
  }
  for (let i = 0; i < 20; i++) {
    const flipped = note.slice();
    const at = random.below(6000);
    flipped[at] = (flipped[at] as number) ^ (1 << random.below(8));
    damaged.push(flipped);
  }
  for (const [i, bytes] of damaged.entries()) {
    disk.placeRaw(HOT, bytes);
    const store = await warmed(await openOn(disk, {}, { eagerNotes: false }));
    const { keys, values } = store.statistics().warm;
    t.true(keys === 0 || keys === KEYS / 3, `${i}: ${keys}`);
    t.is(values, keys, `${i}`);
    t.is(store.getSync(nameOf(3))?.toString(), valueOf(3));
    await store.close();
  }
});

test('a block of the note goes over none but its keys, whatever its lengths say', (t) => {
  const block = blockOf(HOT_BLOCK_BYTES);
  const uuid = new Uint8Array(16).fill(7);
  const writer = new HotBlockWriter(block);
  const reader = new HotBlockReader(block);
  const random = new Random(SEED);
  for (let round = 0; round < 20; round++) {
    const written: string[] = [];
    for (;;) {
      const key = 'k'.repeat(random.below(300));
      if (!writer.add(wordsOf(key, written.length))) break;
      written.push(key);
    }
    writer.seal(uuid);
    reader.begin(uuid);
    for (const [i, key] of written.entries()) {
      t.true(reader.next());
      t.is(reader.valueBytes, i);
      t.is(Buffer.from(reader.bytes.subarray(reader.keyAt, reader.keyAt + reader.keyBytes)).toString(), key);
    }
    t.false(reader.next());
    reader.begin(new Uint8Array(16));
    t.false(reader.next(), 'another store');
  }
  // Whole, and its lengths are nonsense.
  writer.add(wordsOf('k'.repeat(4000), 1));
  writer.seal(uuid);
  reader.begin(uuid);
  block.view.setUint16(48, 0xffff, true);
  t.false(reader.next());
});

test('HOT-1: faults of the requests to the note are no errors, and reads that fail leave values out', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  for (const kind of ['EIO', 'short', 'bit-flip'] as const) {
    const heal = disk.inject({ at: ({ path, kind: what }) => path === HOT && what === 'read', kind, sticky: true });
    const store = await warmed(await openOn(disk, {}, { eagerNotes: false }));
    // A bit behind the last key does not count.
    t.true(store.statistics().warm.keys === 0 || kind === 'bit-flip', kind);
    heal();
    await requireAll(t, store);
    await store.close();
  }
  const note = disk.bytesOf(HOT);
  for (const kind of ['EIO', 'ENOSPC', 'short', 'flush-failure'] as const) {
    const heal = disk.inject({ at: ({ path }) => path.startsWith(HOT), kind, sticky: true });
    await (await heated(disk)).close();
    heal();
    t.deepEqual(disk.bytesOf(HOT), note, kind);
    t.deepEqual(await disk.list('/store'), ['data.aiokv', 'data.aiokv.hot'], kind);
  }
  const store = await openOn(disk);
  const heal = disk.inject({ at: ({ kind }) => kind === 'read', kind: 'EIO', sticky: true });
  await warmed(store);
  heal();
  t.is(store.statistics().warm.values, 0);
  await requireAll(t, store);
  await store.close();
});

test('HOT-2: a crash at any step of the note leaves a store with all its data, and a note or none', async (t) => {
  const random = new Random(SEED);
  let [without, withOne] = [0, 0];
  for (let life = 0; life < 3; life++) {
    const disk = new SimulatedDisk({ seed: SEED + life });
    if (life > 0) await (await heated(disk)).close();
    const images: SimulatedDisk[] = [];
    const store = await heated(disk);
    disk.onOperation = (_, __, { path }) => {
      if (path === '/store/data.aiokv') return;
      for (const mode of ['none', 'all', 'subset', 'torn'] as const) images.push(disk.powerCut(mode, random));
    };
    await store.close();
    images.push(disk.powerCut('none', random));
    t.true(images.length > 8, `${images.length} images`);
    for (const image of images) {
      const after = await warmed(await openOn(image));
      const { keys, values } = after.statistics().warm;
      t.true(keys === values && (keys === 0 || keys === KEYS / 3), `${keys} keys, ${values} values`);
      if (keys === 0) without++;
      else withOne++;
      await requireAll(t, after);
      t.false((await image.list('/store'))?.includes('data.aiokv.hot.new'), 'nothing is left behind');
      await after.close();
    }
  }
  t.true(without > 0 && withOne > 0, `${without} without, ${withOne} with a note`);
});

test('WARM-2: a close and a failure end it, however far it is', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await heated(disk)).close();
  const filled = new Set<number>();
  for (let turns = 0; turns < 60; turns += 2) {
    const store = await openOn(disk, {}, { eagerNotes: false });
    for (let i = 0; i < turns; i++) await nextTurn();
    await store.close();
    const { values, isRunning } = store.statistics().warm;
    t.false(isRunning);
    filled.add(values);
  }
  t.true(filled.size > 2, 'it was ended in between');
  const store = await openOn(disk, {}, { eagerNotes: false });
  const heal = disk.inject({ at: ({ kind }) => kind === 'write' || kind === 'fdatasync', kind: 'EIO', sticky: true });
  await t.throwsAsync(store.put('a', 'b'), { code: 'ERR_AIOKV_LATCHED' });
  await warmed(store);
  heal();
  await store.close();
});

test('CACHE-5: what is filled in by a warm restart lets no other value go', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const expiry = new ExpiryClock(() => 0, false, 0);
  const cache = new ValueCache({ memory, limitBytes: 40 * 512, shareBytes: 40 * 512, expiry, planted: {} });
  const fill = (name: string, isHot: boolean): boolean => {
    const block = blockOf(paddedRecordBytes(name.length, 100));
    encodeRecord(block, 0, RecordKind.put, 0, 1 as Sequence, Buffer.from(name), name.length, Buffer.alloc(100));
    if (isHot) return cache.fillHot(block, 0, 1 as Sequence);
    cache.fill(block, 0, 1 as Sequence);
    return true;
  };
  t.true(fill('unasked', true));
  t.is(cache.statistics.values, 0, 'writes were not noted');
  cache.use();
  const own = Array.from({ length: 20 }, (_, i) => `own${i}`);
  for (const name of own) fill(name, false);
  let hot = 0;
  while (fill(`hot${hot}`, true)) hot++;
  t.true(hot > 20, `${hot}`);
  t.is(cache.statistics.values, own.length + hot);
  t.true(own.every((name) => cache.has(Buffer.from(name), name.length)));
  t.deepEqual(cache.statistics, { hits: 0, misses: 0, values: own.length + hot }, 'nothing was asked for');
});

/** Writes and reads while the store warms up. Returns what was wrong, or null. */
async function overlap(seed: number, planted: Planted): Promise<string | null> {
  const disk = new SimulatedDisk({ seed });
  const random = new Random(seed);
  const options = { memoryBytes: random.chance(0.5) ? 2 * MIB : 64 * KIB };
  await (await heated(disk)).close();
  const store = await openOn(disk, options, { eagerCleaning: true, ...planted });
  const model = new Map(Array.from({ length: KEYS }, (_, n) => [nameOf(n), valueOf(n)]));
  const wrong: string[] = [];
  const pending: Promise<void>[] = [];
  // Seen at once, or waited for: a write that waits in the queue is not seen yet, and a read called meanwhile has the older value. A model
  // that did not wait called such reads wrong, and only these: in 1,000 runs nothing else was.
  const write = async (begin: () => Promise<void>): Promise<void> => {
    const before = store.statistics().sequence;
    const done = begin();
    pending.push(done);
    if (store.statistics().sequence === before) await done;
  };
  const durability = 'buffered';
  for (let step = 0; step < 300; step++) {
    const n = random.below(KEYS);
    const name = nameOf(n);
    const dice = random.below(10);
    if (dice < 4) {
      model.set(name, valueOf(n, step));
      await write(() => store.put(name, valueOf(n, step), { durability }));
    } else if (dice === 4) {
      model.delete(name);
      await write(() => store.del(name, { durability }));
    } else if (dice === 5 && random.chance(0.1)) {
      const end = Math.min(KEYS, n + 20);
      for (let at = n; at < end; at++) model.delete(nameOf(at));
      await write(() => store.deleteRange({ gte: name, lt: nameOf(end) }, { durability }));
    } else if (dice === 6 && random.chance(0.1)) pending.push(store.checkpoint());
    else {
      const expected = model.get(name);
      const check = async (): Promise<void> => {
        const got = (await store.get(name))?.toString();
        if (got !== expected)
          wrong.push(`seed ${seed}: ${name} gave ${got?.slice(0, 12)}, not ${expected?.slice(0, 12)}`);
      };
      pending.push(check());
    }
    if (random.chance(0.5)) await nextTurn();
  }
  await Promise.all(pending);
  await warmed(store);
  for (let n = 0; n < KEYS; n++) {
    const [got, expected] = [store.getSync(nameOf(n))?.toString(), model.get(nameOf(n))];
    if (got !== expected) wrong.push(`seed ${seed}: at the end ${nameOf(n)} gave ${got?.slice(0, 12)}`);
  }
  store.verifyIndex();
  await store.close();
  return wrong[0] ?? null;
}

test('CACHE-2: writes beside a warm restart leave no old value in memory', async (t) => {
  for (let run = 0; run < 12; run++) t.is(await overlap(SEED + run, {}), null);
});

test('a warm restart that fills in without asking is found', async (t) => {
  let found = 0;
  for (let run = 0; run < 25 && found === 0; run++) {
    if ((await overlap(SEED + run, { uncheckedFills: true })) !== null) found++;
  }
  t.is(found, 1);
});

function wordsOf(key: string, valueBytes: number): HotKey {
  const words = new Uint32Array(Math.ceil(key.length / 4));
  new Uint8Array(words.buffer).set(Buffer.from(key));
  return { words, base: 0, keyBytes: key.length, valueBytes };
}

function blockOf(bytes: number): Block {
  const memory = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(memory), view: new DataView(memory) };
}
