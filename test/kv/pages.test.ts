/** Every size of index pages: contents, checkpoints, openings, long keys and power cuts are the same with each. */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import test from 'ava';
import { KIB, Random } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';
import { GEOMETRY, explore } from './crash/explorer.ts';

const PAGE_BYTES = [4, 8, 16, 32, 64].map((size) => size * KIB);
const IMAGES = Number(process.env['AIOKV_CRASH_IMAGES'] ?? 20_000) / 40;
const SEED = seedOf('AIOKV_CRASH_SEED');

/** Two pages to a segment at least. */
function sizesOf(pageBytes: number): { pageBytes: number; segmentBytes: number } {
  return { pageBytes, segmentBytes: Math.max(GEOMETRY.segmentBytes, 2 * pageBytes) };
}

const places = {
  simulated: (use: (platform: Platform, directory: string) => Promise<void>) =>
    use(new SimulatedDisk({ seed: 7 }), '/store'),
  linux: async (use: (platform: Platform, directory: string) => Promise<void>) => {
    const directory = await mkdtemp(resolve('.tmp-pages-'));
    try {
      await use(localPlatform(), directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

/** Short keys mostly, some as long as a key may be, with common beginnings and without. */
function randomKey(random: Random): string {
  const id = String(random.below(700));
  if (random.chance(0.85)) return `key${id}`;
  return random.chance(0.5) ? id.padEnd(4096, 'k') : id.padStart(4000 + random.below(97), 'k');
}

async function scribble(store: Store, model: Map<string, string>, random: Random, count: number): Promise<void> {
  const writes: Promise<void>[] = [];
  for (let n = 0; n < count; n++) {
    const key = randomKey(random);
    if (random.chance(0.25)) {
      model.delete(key);
      writes.push(store.del(key, { durability: 'buffered' }));
    } else {
      const value = `${random.uint32()}`;
      model.set(key, value);
      writes.push(store.put(key, value, { durability: 'buffered' }));
    }
    if (n % 200 === 199) await Promise.all(writes.splice(0));
  }
  await Promise.all(writes);
}

async function requireSame(store: Store, model: ReadonlyMap<string, string>): Promise<void> {
  for (const reverse of [false, true]) {
    const wanted = [...model].sort(([a], [b]) => (a < b !== reverse ? -1 : 1));
    let at = 0;
    for await (const [key, value] of store.iterator({ reverse })) {
      const [wantedKey, wantedValue] = wanted[at++] ?? ['nothing', ''];
      if (key.toString() !== wantedKey || value.toString() !== wantedValue) {
        throw new Error(`${key.toString().slice(0, 40)} instead of ${wantedKey.slice(0, 40)}`);
      }
    }
    if (at !== wanted.length) throw new Error(`${at} keys instead of ${wanted.length}`);
  }
  for (const [key, value] of [...model].slice(0, 50)) {
    const got = await store.get(key);
    if (got?.toString() !== value) throw new Error(`${key.slice(0, 40)} is ${got?.toString()}`);
  }
}

for (const pageBytes of PAGE_BYTES) {
  for (const [name, at] of Object.entries(places)) {
    test(`${name}: pages of ${pageBytes} bytes hold keys of all lengths, from checkpoint to checkpoint`, (t) =>
      at(async (platform, directory) => {
        t.timeout(120_000);
        const random = new Random(pageBytes);
        const model = new Map<string, string>();
        const options = { ...GEOMETRY, ...sizesOf(pageBytes), platform };
        // What the store was made with, nothing in particular, and the same again.
        for (const asked of [pageBytes, 0, pageBytes]) {
          const store = await open(directory, { ...options, pageBytes: asked });
          await requireSame(store, model);
          for (let part = 0; part < 3; part++) {
            await scribble(store, model, random, 500);
            await store.checkpoint();
          }
          await scribble(store, model, random, 200);
          await requireSame(store, model);
          await store.close();
        }
        const other = pageBytes === 4 * KIB ? 8 * KIB : pageBytes / 2;
        await t.throwsAsync(open(directory, { ...options, pageBytes: other }), { code: 'ERR_AIOKV_PAGE_SIZE' });
        const store = await open(directory, { ...options, pageBytes: 0 });
        t.true(store.statistics().checkpointSequence > 0);
        await requireSame(store, model);
        // Down to nothing: pages join, and are no more.
        for (const key of model.keys()) await store.del(key, { durability: 'buffered' });
        await store.checkpoint();
        await store.close();
        const empty = await open(directory, { ...options, pageBytes: 0 });
        await requireSame(empty, new Map());
        await empty.close();
      }));
  }

  test(`a power cut loses nothing with pages of ${pageBytes} bytes`, async (t) => {
    t.timeout(240_000);
    const { violation, images } = await explore(SEED, IMAGES, {}, 60, sizesOf(pageBytes));
    if (violation !== null) t.log(violation);
    t.is(violation, null);
    t.true(images >= IMAGES);
  });
}

test('a segment has room for two pages', async (t) => {
  const platform = new SimulatedDisk({ seed: 7 });
  const sizes = { segmentBytes: 64 * KIB, pageBytes: 64 * KIB };
  await t.throwsAsync(open('/store', { platform, ...sizes }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  t.is(await platform.list('/store'), undefined);
});
