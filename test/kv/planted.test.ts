/**
 * Defects that random histories would meet too seldom: each test runs the one story in which the defect does harm,
 * with it and without. The other planted defects are in crash.test.ts and faults.test.ts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { openPlanted } from '../../packages/kv/src/open.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { GEOMETRY } from './crash/explorer.ts';

/**
 * A crash loses the first frame of a segment and keeps the second. After the recovery the same write comes again, and
 * makes the same frame in the same place: what is behind it must not be taken for its successor.
 *
 * @returns how many images told the story, and in how many of them the lost write was back
 */
async function writeAgainAfterCrash(planted: Planted, seeds: number): Promise<{ told: number; wrong: number }> {
  let told = 0;
  let wrong = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = new Random(seed);
    const disk = new SimulatedDisk({ seed });
    const store = await openPlanted('/store', { ...GEOMETRY, platform: disk }, planted);
    await store.put('before', 'b'.repeat(30_000));
    const repeated = 'r'.repeat(35_000);
    await store.put('repeated', repeated, { durability: 'written' });
    await store.put('once', 'o'.repeat(10_000), { durability: 'written' });
    const images = Array.from({ length: 8 }, () => disk.powerCut('subset', random));
    disk.stop();
    for (const image of images) {
      const second = await openPlanted('/store', { ...GEOMETRY, platform: image }, planted);
      const isLost = (await second.get('repeated')) === undefined;
      if (isLost) await second.put('repeated', repeated);
      image.stop();
      if (!isLost) continue;
      told++;
      const last = image.powerCut('none', random);
      const third = await openPlanted('/store', { ...GEOMETRY, platform: last }, planted);
      const [before, again, once] = await third.getMany(['before', 'repeated', 'once']);
      if (before?.length !== 30_000 || again?.length !== 35_000 || once !== undefined) wrong++;
      await third.close();
    }
  }
  return { told, wrong };
}

test('an identical write after a recovery does not bring back what followed it', async (t) => {
  const { told, wrong } = await writeAgainAfterCrash({}, 40);
  t.true(told > 20, `${told} images`);
  t.is(wrong, 0);
});

test('an epoch that is left out of the hash of frames is found', async (t) => {
  const { told, wrong } = await writeAgainAfterCrash({ sameEpoch: true }, 40);
  t.log(`${wrong} of ${told} images`);
  t.true(wrong > 0);
});

/**
 * The device loses the writes of one checkpoint's pages, in a place that has held older images of the same pages.
 *
 * @returns what became of the opening or the reads: 'right', a code, or 'wrong'
 */
async function loseAPageWrite(planted: Planted, seed: number): Promise<string> {
  const disk = new SimulatedDisk({ seed });
  const options = { ...GEOMETRY, memoryBytes: 2 * 1024 * 1024, platform: disk };
  const store = await openPlanted('/store', options, planted);
  // Sorted, with bytes that share little: so their pages take more than one write.
  const random = new Random(seed);
  const keys = Array.from({ length: 4000 }, () => (random.fill(Buffer.alloc(24)) as Buffer).toString('hex')).sort();
  const versions = 6;
  const lost = 3 + (seed % 3);
  for (let version = 0; version < versions; version++) {
    // All keys at first, then one of each leaf: the log takes few slots, and checkpoints take turns in the same.
    const step = version === 0 ? 1 : 40;
    const operations = Array.from({ length: 4000 / step }, (_, n) => {
      return { type: 'put' as const, key: keys[step * n] as string, value: `${version}` };
    });
    for (let first = 0; first < operations.length; first += 500) {
      await store.batch(operations.slice(first, first + 500), { durability: 'buffered' });
    }
    await store.flush();
    let writes = 0;
    // The first chunk of a checkpoint holds pages; the mapping and the root, which name them, come last.
    const heal =
      version === lost
        ? disk.inject({ at: ({ kind }) => kind === 'write' && writes++ === 0, kind: 'lost-write' })
        : null;
    await store.checkpoint();
    heal?.();
    if (version === lost) break;
  }
  await store.close();
  try {
    const again = await openPlanted(
      '/store',
      { ...options, platform: disk.powerCut('none', new Random(seed)) },
      planted,
    );
    const values = await again.getMany(Array.from({ length: 100 }, (_, n) => keys[40 * n] as string));
    await again.close();
    return values.every((value) => value?.toString() === `${lost}`) ? 'right' : 'wrong';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

test('a page whose write was lost is not taken for the older one in its place', async (t) => {
  const outcomes: string[] = [];
  for (let seed = 1; seed <= 12; seed++) outcomes.push(await loseAPageWrite({}, seed));
  t.deepEqual([...new Set(outcomes)].sort(), ['ERR_AIOKV_CORRUPT']);
});

test('a mapping whose tag is not checked is found', async (t) => {
  const outcomes: string[] = [];
  for (let seed = 1; seed <= 12; seed++) outcomes.push(await loseAPageWrite({ uncheckedTag: true }, seed));
  t.log(outcomes.join(' '));
  t.true(outcomes.includes('wrong'));
});

/**
 * Reads all keys again and again while a cleaning moves their records.
 *
 * @returns how many records were moved, and how many reads failed or were wrong
 */
async function readAmidCleaning(planted: Planted, seed: number): Promise<{ moved: number; wrong: number }> {
  let moved = 0;
  let wrong = 0;
  const onMoved = (records: number): void => {
    moved += records;
  };
  const disk = new SimulatedDisk({ seed });
  const store = await openPlanted(
    '/store',
    { ...GEOMETRY, platform: disk },
    { eagerCleaning: true, onMoved, ...planted },
  );
  const keys = Array.from({ length: 12 }, (_, n) => `key${n}`);
  for (let n = 0; n < 30; n++) await store.put(keys[(n * n) % 12] as string, `${n}`.padEnd(9000, 'x'));
  for (const key of keys) await store.put(key, key.padEnd(5000, 'x'));
  await store.checkpoint();
  const before = moved;
  let isDone = false;
  const cleaning = store.checkpoint().finally(() => {
    isDone = true;
  });
  const reads: Promise<void>[] = [];
  const read = async (key: string): Promise<void> => {
    const value = await store.get(key).catch(() => undefined);
    if (value?.toString() !== key.padEnd(5000, 'x')) wrong++;
  };
  while (!isDone) {
    for (let n = 0; n < 6; n++) reads.push(read(keys[(5 * reads.length) % 12] as string));
    await nextTurn();
  }
  await Promise.all([cleaning, ...reads]);
  await store.close();
  return { moved: moved - before, wrong };
}

test('records are read while a cleaning moves them', async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const { moved, wrong } = await readAmidCleaning({}, seed);
    t.true(moved > 0);
    t.is(wrong, 0);
  }
});

test('places of records that are entered before the records are written are found', async (t) => {
  let found = 0;
  for (let seed = 1; seed <= 12; seed++) found += (await readAmidCleaning({ earlyMoves: true }, seed)).wrong;
  t.log(`${found} reads were wrong`);
  t.true(found > 0);
});
