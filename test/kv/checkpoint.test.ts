/** Checkpoints: what they hold, how often pages are written, what becomes of their segments, and damage to them. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { GEOMETRY as TEST_GEOMETRY } from './crash/explorer.ts';

/** Memory for all of the index, so that checkpoints are written when the test says so. */
const GEOMETRY = { ...TEST_GEOMETRY, memoryBytes: 32 * 1024 * 1024 };

interface Place {
  readonly open: (options?: Partial<StoreOptions>) => Promise<Store>;
  readonly fileBytes: () => Promise<number>;
}

const places = {
  simulated: async (use: (place: Place) => Promise<void>) => {
    const platform = new SimulatedDisk({ seed: 7 });
    await use({
      open: (options) => open('/store', { ...GEOMETRY, platform, ...options }),
      fileBytes: async () => platform.bytesOf('/store/data.aiokv').length,
    });
  },
  linux: async (use: (place: Place) => Promise<void>) => {
    const platform: Platform = localPlatform();
    const directory = await mkdtemp(resolve('.tmp-checkpoint-'));
    try {
      await use({
        open: (options) => open(directory, { ...GEOMETRY, platform, ...options }),
        fileBytes: async () => (await stat(`${directory}/data.aiokv`)).size,
      });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

/** Random writes to the store and to a map. */
async function scribble(store: Store, model: Map<string, string>, random: Random, count: number): Promise<void> {
  const writes: Promise<void>[] = [];
  for (let n = 0; n < count; n++) {
    const key = `key${'x'.repeat(random.below(40))}${random.below(3000)}`;
    if (random.chance(0.1)) {
      model.delete(key);
      writes.push(store.del(key, { durability: 'buffered' }));
    } else {
      const value = `${random.uint32()}`;
      model.set(key, value);
      writes.push(store.put(key, value, { durability: 'buffered' }));
    }
  }
  await Promise.all(writes);
}

async function requireSame(store: Store, model: ReadonlyMap<string, string>): Promise<void> {
  const wanted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
  let at = 0;
  for await (const [key, value] of store.iterator()) {
    const [wantedKey, wantedValue] = wanted[at++] ?? ['nothing', ''];
    if (key.toString() !== wantedKey || value.toString() !== wantedValue) {
      throw new Error(`${key.toString()} is ${value.toString()} instead of ${wantedKey}, ${wantedValue}`);
    }
  }
  if (at !== wanted.length) throw new Error(`${at} keys instead of ${wanted.length}`);
}

for (const [name, at] of Object.entries(places)) {
  test(`${name}: a store opens from checkpoints as it was, again and again`, (t) =>
    at(async ({ open: openStore }) => {
      const random = new Random(11);
      const model = new Map<string, string>();
      for (let round = 0; round < 4; round++) {
        const store = await openStore();
        await requireSame(store, model);
        for (let part = 0; part < 3; part++) {
          await scribble(store, model, random, 1000);
          const before = store.statistics().sequence;
          await store.checkpoint();
          t.true(store.statistics().checkpointSequence >= before);
          await scribble(store, model, random, random.below(300));
        }
        await requireSame(store, model);
        await store.close();
      }
    }));

  test(`${name}: checkpoints happen by themselves, and their segments are used again`, (t) =>
    at(async ({ open: openStore, fileBytes }) => {
      const random = new Random(12);
      const model = new Map<string, string>();
      const store = await openStore({ checkpointBytes: 4096 });
      await scribble(store, model, random, 15_000);
      await store.flush();
      const untilMs = performance.now() + 60_000;
      while (store.statistics().checkpointSequence === 0 && performance.now() < untilMs) await nextTurn();
      t.true(store.statistics().checkpointSequence > 0);
      const sizeBytes = await fileBytes();
      for (let n = 0; n < 150; n++) {
        await store.put('one', String(n));
        model.set('one', String(n));
        await store.checkpoint();
      }
      // Each has taken a segment of its own.
      const grownBytes = (await fileBytes()) - sizeBytes;
      t.true(grownBytes < 75 * GEOMETRY.segmentBytes, `${grownBytes} bytes more than ${sizeBytes}`);
      await requireSame(store, model);
      await store.close();
      const again = await openStore();
      await requireSame(again, model);
      await again.close();
    }));
}

test('writes go on while a checkpoint is written, and none of them is in it', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  const random = new Random(5);
  const model = new Map<string, string>();
  await scribble(store, model, random, 3000);
  const checkpoint = store.checkpoint();
  const writes = scribble(store, model, random, 3000);
  await Promise.all([checkpoint, writes, store.checkpoint(), store.checkpoint()]);
  await requireSame(store, model);
  await store.flush();
  disk.stop();
  const image = disk.powerCut('none', random);
  const again = await open('/store', { ...GEOMETRY, platform: image });
  t.true(again.statistics().checkpointSequence > 0);
  await requireSame(again, model);
  await again.close();
});

test('an empty store, and one that was emptied, have checkpoints', async (t) => {
  const disk = new SimulatedDisk({ seed: 4 });
  let store = await open('/store', { ...GEOMETRY, platform: disk });
  await store.put('a', '1');
  await store.del('a');
  await store.checkpoint();
  await store.close();
  store = await open('/store', { ...GEOMETRY, platform: disk });
  t.is(await store.get('a'), undefined);
  await store.put('b', '2');
  await store.checkpoint();
  await store.close();
  store = await open('/store', { ...GEOMETRY, platform: disk });
  t.is((await store.get('b'))?.toString(), '2');
  await store.close();
});

test('damage to a checkpoint is found when the store is opened', async (t) => {
  const random = new Random(6);
  const disk = new SimulatedDisk({ seed: 6 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  const model = new Map<string, string>();
  await scribble(store, model, random, 2000);
  await store.checkpoint();
  await store.close();
  const sound = disk.bytesOf('/store/data.aiokv');
  let [refused, right] = [0, 0];
  for (let n = 0; n < 150; n++) {
    const image = disk.powerCut('all', random);
    const at = 262_144 + random.below(sound.length - 262_144);
    image.writeRaw('/store/data.aiokv', at, Uint8Array.of((sound[at] as number) ^ (1 << random.below(8))));
    try {
      const again = await open('/store', { ...GEOMETRY, platform: image });
      try {
        await requireSame(again, model);
        right++;
      } finally {
        await again.close();
      }
    } catch (error) {
      t.is((error as { code?: string }).code, 'ERR_AIOKV_CORRUPT', (error as Error).message);
      refused++;
    }
  }
  t.true(refused > 10 && right > 10, `${refused} refused, ${right} right`);
});

test('no room for a checkpoint is no harm', async (t) => {
  const disk = new SimulatedDisk({ seed: 8 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  const model = new Map<string, string>();
  const random = new Random(8);
  await scribble(store, model, random, 100);
  await store.checkpoint();
  const heal = disk.inject({ at: ({ kind }) => kind === 'preallocate', kind: 'ENOSPC', sticky: true });
  await scribble(store, model, random, 300);
  let failures = 0;
  for (let n = 0; n < 20; n++) await store.checkpoint().catch(() => failures++);
  t.log(`${failures} of 20 failed`);
  await requireSame(store, model);
  heal();
  await store.checkpoint();
  await store.close();
  const again = await open('/store', { ...GEOMETRY, platform: disk });
  await requireSame(again, model);
  t.true(again.statistics().checkpointSequence > 0);
  await again.close();
});

test('a write or a flush of a checkpoint that fails latches, and leaves the one before', async (t) => {
  for (const kind of ['EIO', 'flush-failure'] as const) {
    const disk = new SimulatedDisk({ seed: 9 });
    let store = await open('/store', { ...GEOMETRY, platform: disk });
    const model = new Map<string, string>();
    const random = new Random(9);
    await scribble(store, model, random, 500);
    await store.checkpoint();
    await scribble(store, model, random, 500);
    await store.flush();
    disk.inject({ at: (request) => kind === 'flush-failure' || request.kind === 'write', kind });
    const error = await t.throwsAsync(store.checkpoint());
    t.is((error as unknown as { code: string }).code, 'ERR_AIOKV_LATCHED');
    await t.throwsAsync(store.put('more', '1'), { code: 'ERR_AIOKV_LATCHED' });
    await store.close();
    store = await open('/store', { ...GEOMETRY, platform: disk });
    await requireSame(store, model);
    await store.close();
  }
});
