/**
 * What an opening, and the book-keeping of slots, cost in stores of hundreds of thousands of segments: they grow with the
 * segments and with the log behind the checkpoint, not with one times the other. Times are compared with one another, never
 * with a clock on a wall.
 */
import test from 'ava';
import type { DirectFile } from '@aiokv/aio';
import { Slots } from '../../packages/kv/src/file/slots.ts';
import { SyntheticLog, leastCpuMs } from './recovery/synthetic.ts';

test.serial('a store of 200,000 segments opens', async (t) => {
  t.timeout(240_000);
  const log = new SyntheticLog({ before: 200_000, chain: 20, frames: 15, free: 3 });
  const { position, usedSlots, slotCount, records } = await log.recover();
  t.is(slotCount, 200_023);
  t.is(usedSlots.size, 200_020);
  t.is(records, 300);
  t.is(position.nextSegmentSequence, 200_021);
  t.is(Number(position.lastSequence), 300);
  t.true(log.reads < 200_023 + 200, `${log.reads} reads`);
});

test.serial('a log of 1,000 segments beside 200,000 free slots', async (t) => {
  t.timeout(240_000);
  const log = new SyntheticLog({ before: 0, chain: 1000, frames: 1, free: 200_000 });
  const { position, usedSlots, records } = await log.recover();
  t.is(records, 1000);
  t.is(usedSlots.size, 1000);
  t.is(position.segments.length, 1000);
});

/** Sixteen times as much of both takes some sixteen times as long if it is linear, 256 times if it is not. */
const MOST_RATIO = 64;

test.serial('an opening takes time for segments and frames, not for segments times frames', async (t) => {
  t.timeout(240_000);
  const small = new SyntheticLog({ before: 2500, chain: 50, frames: 15, free: 250 });
  const large = new SyntheticLog({ before: 40_000, chain: 800, frames: 15, free: 4000 });
  await small.recover();
  const ratio = (await leastCpuMs(2, () => large.recover())) / (await leastCpuMs(8, () => small.recover()));
  t.log(`sixteen times the segments and frames: ${ratio.toFixed(1)} times the time`);
  t.true(ratio < MOST_RATIO, `${ratio.toFixed(1)} times the time`);
});

/** Takes all slots of a file, gives half of them back one by one, takes them again, and lets the file grow. */
async function useSlots(count: number): Promise<void> {
  const file = { path: '/f', preallocate: () => Promise.resolve() } as unknown as DirectFile;
  const geometry = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 65536, headerBytes: 262144 };
  const slots = new Slots(file, geometry, count, new Set());
  const taken = Array.from({ length: count - 10 }, () => slots.take());
  for (let n = 0; n < taken.length; n += 2) slots.giveBack([taken[n] as number]);
  for (let n = 0; n < taken.length; n += 2) slots.take();
  await slots.settle();
  await slots.prepare(5000, 'checkpoint');
}

test.serial('slots are taken and given back in time that does not depend on how many are ready', async (t) => {
  t.timeout(240_000);
  await useSlots(5000);
  const ratio = (await leastCpuMs(2, () => useSlots(160_000))) / (await leastCpuMs(8, () => useSlots(10_000)));
  t.log(`sixteen times the slots: ${ratio.toFixed(1)} times the time`);
  t.true(ratio < MOST_RATIO, `${ratio.toFixed(1)} times the time`);
});
