/**
 * A device without room: what is refused, what goes on, and what comes back when there is room again. On the simulated
 * disk, on a small file system of a loop device where that may be mounted, and under a limit of the size of files.
 * SLOTS-1 to SLOTS-3 are those of packages/kv/src/file/slots.ts.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { mountSmall, run, whyNoMount } from '../helpers/mount.ts';
import { skipWhere } from '../helpers/skip.ts';
import { GEOMETRY } from './crash/explorer.ts';
import { readAll } from './crash/history.ts';
import { version } from './version.ts';

type Model = Map<string, string>;

/** A disk on which files cannot grow beyond a limit that can be moved. */
class SmallDisk {
  readonly disk = new SimulatedDisk({ seed: 8 });
  limitBytes: number;
  attempts = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
    const at = (request: { kind: string; offset: number; lengthBytes: number }): boolean => {
      if (request.kind !== 'preallocate') return false;
      this.attempts++;
      return request.offset + request.lengthBytes > this.limitBytes;
    };
    this.disk.inject({ at, kind: 'ENOSPC', sticky: true });
  }

  open(options?: Partial<StoreOptions>): Promise<Store> {
    return open('/store', { ...GEOMETRY, platform: this.disk, ...options });
  }
}

/** Puts until one is refused; what was acknowledged is in the model. */
async function fill(store: Store, model: Model, valueBytes: number, prefix = 'key'): Promise<Error> {
  for (let n = 0; ; n++) {
    const [key, value] = [`${prefix}${n}`, String(n).padEnd(valueBytes, 'x')];
    try {
      await store.put(key, value, { durability: n % 8 === 0 ? 'flushed' : 'written' });
    } catch (error) {
      return error as Error;
    }
    model.set(key, value);
  }
}

async function requireSame(t: ExecutionContext, store: Store, model: Model): Promise<void> {
  const found = await readAll(store);
  t.is(found.size, model.size);
  for (const [key, value] of model) if (found.get(key) !== value) t.fail(`${key} is ${found.get(key)}`);
  const [first] = model;
  if (first !== undefined) t.is((await store.get(first[0]))?.toString(), first[1]);
}

/** Deletes one key after the other, flushed; returns how many before one was refused. */
async function deleteSome(t: ExecutionContext, store: Store, model: Model, most: number): Promise<number> {
  let count = 0;
  for (const key of [...model.keys()].slice(0, most)) {
    try {
      await store.del(key);
    } catch (error) {
      t.is((error as { code?: string }).code, 'ERR_AIOKV_NO_SPACE');
      return count;
    }
    model.delete(key);
    count++;
  }
  return count;
}

test('SLOTS-1, SLOTS-2: puts end before deletions, deletions before checkpoints', async (t) => {
  const small = new SmallDisk(2 * MIB);
  const model: Model = new Map();
  let store = await small.open();
  let error = await fill(store, model, 800);
  // Each checkpoint gives back what the one before it has left, until there is nothing more.
  for (let n = 1; n < 6; n++) {
    await store.checkpoint();
    error = await fill(store, model, 800, `more${n}-`);
  }
  t.like(error, { code: 'ERR_AIOKV_NO_SPACE' });
  t.is((error.cause as { code?: string }).code, 'ENOSPC');
  // Growth in halves has used the device up to its last segment.
  t.true(small.disk.bytesOf('/store/data.aiokv').length > 2 * MIB - GEOMETRY.segmentBytes);
  const { sequence } = store.statistics();
  const put = { type: 'put', key: 'b', value: 'x'.repeat(3000) } as const;
  await t.throwsAsync(store.batch([put, { type: 'del', key: 'key1' }]), { code: 'ERR_AIOKV_NO_SPACE' });
  await t.throwsAsync(store.put('b', put.value, { ifAbsent: true }), { code: 'ERR_AIOKV_NO_SPACE' });
  t.is(store.statistics().sequence, sequence, 'a refused write changes nothing');
  await store.batch([
    { type: 'del', key: 'key1' },
    { type: 'del', key: 'key2' },
  ]);
  await store.del('key3', { ifVersion: (await store.getVersioned('key3'))?.version ?? version(-1) });
  for (const key of ['key1', 'key2', 'key3']) model.delete(key);
  await requireSame(t, store, model);
  // Checkpoints give back what they take, as often as one likes.
  for (let n = 0; n < 12; n++) {
    t.is(await deleteSome(t, store, model, 1), 1);
    await store.checkpoint();
    t.is(store.statistics().checkpointSequence, store.statistics().sequence);
  }
  const deleted = await deleteSome(t, store, model, Infinity);
  t.true(deleted > 5, `${deleted} deleted, ${model.size} left`);
  await store.checkpoint();
  t.is(store.statistics().checkpointSequence, store.statistics().sequence);
  await requireSame(t, store, model);
  await store.close();
  store = await small.open();
  await requireSame(t, store, model);
  await store.checkpoint();
  // The deletions have made room: segments in which nothing lives any more.
  await store.put('c', 'x'.repeat(9000));
  model.set('c', 'x'.repeat(9000));
  t.like(await fill(store, model, 800, 'again'), { code: 'ERR_AIOKV_NO_SPACE' });
  small.limitBytes *= 2;
  await fill(store, model, 5000, 'more');
  await requireSame(t, store, model);
  await store.close();
  store = await small.open();
  await requireSame(t, store, model);
  await store.close();
});

for (const [mib, valueBytes] of [
  [2, 700],
  [3, 700],
  [4, 300],
] as const) {
  test(`of ${mib} MiB full of values of ${valueBytes} bytes every second is deleted, and puts go on`, async (t) => {
    const small = new SmallDisk(mib * MIB);
    const model: Model = new Map();
    // All deletions fit into one memtable: its merge is the first to find what they have left, after the cleaning.
    const store = await small.open({ memoryBytes: 64 * MIB, checkpointBytes: 64 * MIB });
    let isFull = false;
    const writer = async (id: number): Promise<void> => {
      for (let n = id; !isFull; n += 16) {
        const [key, value] = [`key${model.size}-${n}`, String(n).padEnd(valueBytes, 'x')];
        try {
          await store.put(key, value, { durability: 'written' });
          model.set(key, value);
        } catch (error) {
          t.like(error, { code: 'ERR_AIOKV_NO_SPACE' });
          isFull = true;
        }
      }
    };
    // Each checkpoint gives back what the one before it has left.
    for (let n = 0; n < 3; n++) {
      isFull = false;
      await Promise.all(Array.from({ length: 16 }, (_, id) => writer(id)));
      await store.checkpoint();
    }
    const half = [...model.keys()].sort().filter((_, n) => n % 2 === 0);
    for (let n = 0; n < half.length; n += 64) {
      await Promise.all(half.slice(n, n + 64).map((key) => store.del(key, { durability: 'buffered' })));
    }
    for (const key of half) model.delete(key);
    for (let n = 0; n < half.length / 2; n++) {
      const value = String(n).padEnd(valueBytes, 'y');
      await store.put(`again${n}`, value, { durability: 'written' });
      model.set(`again${n}`, value);
    }
    await requireSame(t, store, model);
    await store.close();
  });
}

test('a power cut while the device is full loses nothing', async (t) => {
  const small = new SmallDisk(2 * MIB);
  const model: Model = new Map();
  const store = await small.open();
  await fill(store, model, 2000);
  await store.checkpoint();
  await deleteSome(t, store, model, 5);
  small.disk.stop();
  const image = small.disk.powerCut('none', new Random(3));
  const { length } = image.bytesOf('/store/data.aiokv');
  const isGrowth = (request: { kind: string; offset: number; lengthBytes: number }): boolean =>
    request.kind === 'preallocate' && request.offset + request.lengthBytes > length;
  image.inject({ at: isGrowth, kind: 'ENOSPC', sticky: true });
  const again = await open('/store', { ...GEOMETRY, platform: image });
  await requireSame(t, again, model);
  t.true((await deleteSome(t, again, model, 5)) > 0, 'a new segment for a deletion');
  await again.checkpoint();
  await requireSame(t, again, model);
  await again.close();
});

test('SLOTS-3: a storm of refused writes asks the device once, and a write behind it asks again', async (t) => {
  const small = new SmallDisk(2 * MIB);
  const model: Model = new Map();
  const store = await small.open();
  await fill(store, model, 9000);
  // Each run gives back what the one before it has left, until there is nothing more.
  for (let n = 1; n < 6; n++) {
    await store.checkpoint();
    await fill(store, model, 9000, `more${n}-`);
  }
  // No growth ahead of need is left over from before.
  await store.flush();
  const before = small.attempts;
  const value = 'x'.repeat(9000);
  const writes = Array.from({ length: 400 }, (_, n) => store.put(`storm${n}`, value));
  const deletion = store.del('key0');
  const results = await Promise.allSettled(writes);
  t.true(results.every(({ status }) => status === 'rejected'));
  await deletion;
  model.delete('key0');
  t.true(small.attempts - before < 10, `${small.attempts - before} attempts`);
  const between = small.attempts;
  await t.throwsAsync(store.put('one', value), { code: 'ERR_AIOKV_NO_SPACE' });
  t.true(small.attempts > between);
  small.limitBytes *= 2;
  await Promise.all(Array.from({ length: 20 }, (_, n) => store.put(`storm${n}`, value)));
  for (let n = 0; n < 20; n++) model.set(`storm${n}`, value);
  await requireSame(t, store, model);
  await store.close();
});

test('a store that could never grow holds what its first segment holds', async (t) => {
  const small = new SmallDisk(256 * KIB + GEOMETRY.segmentBytes);
  const model: Model = new Map();
  let store = await small.open();
  t.like(await fill(store, model, 3000), { code: 'ERR_AIOKV_NO_SPACE' });
  t.true(model.size > 5);
  await store.close();
  store = await small.open();
  await requireSame(t, store, model);
  await t.throwsAsync(store.checkpoint(), { code: 'ERR_AIOKV_NO_SPACE' });
  small.limitBytes = MIB;
  await store.checkpoint();
  await fill(store, model, 3000, 'more');
  await requireSame(t, store, model);
  await store.close();
});

test('a device of a few segments gets its room back by itself', async (t) => {
  for (const slots of [9, 12, 15]) {
    const small = new SmallDisk(256 * KIB + slots * GEOMETRY.segmentBytes);
    const store = await small.open({ memoryBytes: 8 * MIB });
    const random = new Random(slots);
    const model: Model = new Map();
    // A fifth of the device lives, and some of it in each segment.
    const keys = Math.floor((slots * GEOMETRY.segmentBytes) / 5 / 1000);
    for (let n = 0; n < 8 * keys; n++) {
      const [key, value] = [`key${random.below(keys)}`, String(n).padEnd(1000, 'x')];
      await t.notThrowsAsync(store.put(key, value, { durability: 'written' }), `put ${n} of ${slots} segments`);
      model.set(key, value);
    }
    await requireSame(t, store, model);
    await store.close();
  }
});

interface FullPlace {
  readonly directory: string;
  /** Gives back some 16 MiB. */
  readonly makeRoom: () => Promise<void>;
  /** What the kernel says, and what the store makes of it. */
  readonly cause: { readonly code: string; readonly message: RegExp };
}

/** Real requests: fills the place, and uses what is left of it in every way. */
async function useFullPlace(t: ExecutionContext, { directory, makeRoom, cause }: FullPlace): Promise<void> {
  const options = { platform: localPlatform(), segmentBytes: MIB, checkpointBytes: 4 * MIB };
  const model: Model = new Map();
  let store = await open(directory, options);
  const error = await fill(store, model, 60_000);
  t.like(error, { code: 'ERR_AIOKV_NO_SPACE' });
  t.like(error.cause, { code: cause.code });
  t.regex(error.message, cause.message);
  t.true(model.size > 200, `${model.size} records before the device was full`);
  const storm = Array.from({ length: 200 }, (_, n) => store.put(`storm${n}`, 'x'.repeat(100_000)));
  const results = await Promise.allSettled(storm);
  t.true(results.slice(20).every(({ status }) => status === 'rejected'));
  for (const [n, { status }] of results.entries()) {
    if (status === 'fulfilled') model.set(`storm${n}`, 'x'.repeat(100_000));
  }
  t.is(await deleteSome(t, store, model, 50), 50);
  await store.checkpoint();
  await requireSame(t, store, model);
  await store.close();
  store = await open(directory, options);
  await requireSame(t, store, model);
  t.is(await deleteSome(t, store, model, 50), 50);
  for (let n = 0; n < 5; n++) await store.checkpoint();
  t.like(await fill(store, model, 200_000, 'large'), { code: 'ERR_AIOKV_NO_SPACE' });
  await makeRoom();
  for (let n = 0; n < 100; n++) {
    await store.put(`room${n}`, 'x'.repeat(60_000));
    model.set(`room${n}`, 'x'.repeat(60_000));
  }
  await requireSame(t, store, model);
  await store.close();
  store = await open(directory, options);
  await requireSame(t, store, model);
  await store.close();
}

const whereMounted = skipWhere(whyNoMount(), test.serial);

whereMounted('a small file system that is full', async (t) => {
  t.timeout(120_000);
  const place = await mkdtemp(resolve('.tmp-full-'));
  const [image, directory] = [join(place, 'image'), join(place, 'mounted')];
  try {
    t.is(mountSmall(image, directory, 64 * MIB), null);
    try {
      const foreign = join(directory, 'foreign');
      const cause = { code: 'ENOSPC', message: /free space on the device/ };
      await writeFile(foreign, Buffer.alloc(16 * MIB, 1));
      await useFullPlace(t, { directory: join(directory, 'store'), makeRoom: () => rm(foreign), cause });
    } finally {
      // A failed test may have left the store open.
      t.is(run('umount', directory) && run('umount', '--lazy', directory), null);
    }
  } finally {
    await rm(place, { recursive: true, force: true });
  }
});

/** The most bytes that this process may make a file of; null, or why that cannot be set. */
const limit = (bytes: number | 'unlimited'): string | null =>
  run('prlimit', `--pid=${process.pid}`, `--fsize=${bytes}:`);
const whereLimited = skipWhere(limit('unlimited'), test.serial);

whereLimited('a file that may not grow any more', async (t) => {
  t.timeout(120_000);
  const directory = await mkdtemp(resolve('.tmp-full-'));
  try {
    t.is(limit(24 * MIB), null);
    const makeRoom = async (): Promise<void> => {
      t.is(limit(40 * MIB), null);
    };
    const cause = { code: 'EFBIG', message: /its size is limited: raise the limit/ };
    await useFullPlace(t, { directory: join(directory, 'store'), makeRoom, cause });
  } finally {
    limit('unlimited');
    await rm(directory, { recursive: true, force: true });
  }
});
