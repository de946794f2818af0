/** What an opening tells of itself, how often, and what becomes of a listener that throws. */
import test from 'ava';
import { Random, systemClock } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { OpenProgress } from '@aiokv/kv';
import { GEOMETRY as TEST_GEOMETRY } from './crash/explorer.ts';

/** Memory for all of the index. */
const GEOMETRY = { ...TEST_GEOMETRY, memoryBytes: 32 * 1024 * 1024 };
const KEYS = 4000;
/** It lies in the leaf as it is: keys alone would be packed to a few bytes each. */
const valueOf = (n: number): string => String(n).padStart(16, '0');

/** A store with a checkpoint of many pages and several segments of log behind it, as a power cut leaves it. */
async function makeDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 3 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  for (let n = 0; n < KEYS; n++) await store.put(`key${n}`, valueOf(n), { durability: 'buffered' });
  await store.checkpoint();
  for (let n = 0; n < 20; n++) await store.put(`key${n}`, 'x'.repeat(20_000));
  disk.stop();
  return disk.powerCut('none', new Random(1));
}

/** Each look at it takes a millisecond. */
function clockOfLooks(): Clock & { looks: number } {
  const clock = {
    looks: 0,
    nowMs: () => ++clock.looks,
    after: (delayMs: number, callback: () => void) => systemClock.after(delayMs, callback),
  };
  return clock;
}

test('an opening tells of both phases, from nothing to all, and not too often', async (t) => {
  const platform = await makeDisk();
  const told: OpenProgress[] = [];
  const clock = clockOfLooks();
  const store = await open('/store', { ...GEOMETRY, platform, clock, onProgress: (progress) => told.push(progress) });
  t.is((await store.get('key0'))?.length, 20_000);
  await store.close();
  t.deepEqual([...new Set(told.map(({ phase }) => phase))], ['index', 'log']);
  for (const phase of ['index', 'log'] as const) {
    const steps = told.filter((progress) => progress.phase === phase);
    t.is(steps[0]?.doneBytes, 0);
    t.true((steps[0]?.totalBytes ?? 0) > 40_000);
    const last = steps.at(-1);
    t.is(last?.doneBytes, last?.totalBytes);
    t.true((last?.totalBytes ?? 0) > 40_000);
    steps.reduce((before, step) => {
      t.true(step.doneBytes >= before.doneBytes && step.doneBytes <= step.totalBytes);
      return step;
    });
  }
  t.true(told.length <= 4 + clock.looks / 200, `${told.length} times in ${clock.looks} ms`);
});

test('a store without a checkpoint has one phase, a new one no bytes', async (t) => {
  const told: OpenProgress[] = [];
  const platform = new SimulatedDisk({ seed: 3 });
  const options = { ...GEOMETRY, platform, onProgress: (progress: OpenProgress) => told.push(progress) };
  await (await open('/store', options)).close();
  t.deepEqual(
    told.map(({ phase, doneBytes }) => `${phase} ${doneBytes}`),
    ['log 0', 'log 0'],
  );
});

test('what a listener throws is how the opening fails, and the store can be opened again', async (t) => {
  const platform = await makeDisk();
  for (const wanted of ['index', 'log'] as const) {
    for (const isFirst of [true, false]) {
      const stop = new Error(`stopped in ${wanted}`);
      const onProgress = ({ phase, doneBytes }: OpenProgress): void => {
        if (phase === wanted && (isFirst || doneBytes > 0)) throw stop;
      };
      const error = await t.throwsAsync(open('/store', { ...GEOMETRY, platform, onProgress }));
      t.is(error, stop);
    }
  }
  const store = await open('/store', { ...GEOMETRY, platform, onProgress: null });
  t.is((await store.get(`key${KEYS - 1}`))?.toString(), valueOf(KEYS - 1));
  await store.close();
  await t.throwsAsync(open('/store', { platform, onProgress: 1 as unknown as null }), {
    code: 'ERR_AIOKV_INVALID_OPTION',
  });
});
