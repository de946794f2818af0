/**
 * Deletions on a device that has become full while segments were cleaned: SLOTS-1 and SLOTS-2 of
 * packages/kv/src/file/slots.ts. On the simulated disk, with many writers, so that a run is under way at any moment.
 */
import test from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_FULL_SEED');
const SEEDS = Number(process.env['AIOKV_FULL_SEEDS'] ?? '8');
const SEGMENT_BYTES = 64 * KIB;
const WRITERS = 16;
/** Without an end of the device, others take the rest of it behind so many puts at most. */
const MOST_PUTS = 30_000;

interface Outcome {
  readonly seed: number;
  slots: number;
  puts: number;
  refusedPuts: number;
  deletions: number;
  refusedDeletions: number;
  /** Puts behind the deletions that were refused. */
  refusedAgain: number;
}

function isNoSpace(error: unknown): boolean {
  return (error as { code?: string }).code === 'ERR_AIOKV_NO_SPACE';
}

/** Fills a small device by overwrites and new keys, and deletes half of its keys, one by one, while others put. */
async function fillAndDelete(seed: number): Promise<Outcome> {
  const random = new Random(seed);
  // Of every second device others take the rest at any moment, so that a cleaning may be under way.
  const isTaken = random.below(2) === 0;
  const takenBehind = isTaken ? random.below(MOST_PUTS) : Infinity;
  const slots = isTaken ? 4096 : 32 + random.below(64);
  let limitBytes = slots * SEGMENT_BYTES;
  const disk = new SimulatedDisk({ seed });
  disk.inject({
    at: ({ kind, offset, lengthBytes }) => kind === 'preallocate' && offset + lengthBytes > limitBytes,
    kind: 'ENOSPC',
    sticky: true,
  });
  const outcome = { seed, slots, puts: 0, refusedPuts: 0, deletions: 0, refusedDeletions: 0, refusedAgain: 0 };
  const store: Store = await open('/store', {
    segmentBytes: SEGMENT_BYTES,
    writeBufferBytes: MIB,
    queueDepth: 8,
    memoryBytes: 512 * KIB,
    checkpointBytes: 128 * KIB * (1 + random.below(4)),
    spaceAmplificationMax: 1.2 + random.below(3) / 2,
    platform: disk,
  });
  // At once, or when the store has tried all that it can.
  const refusals = random.below(2) === 0 ? 1 : 20;
  const most = 100 + random.below(2000);
  const known = new Set<string>();
  let keys = 100 + random.below(1000);
  const grows = 1 + random.below(64);
  let isEnding = false;
  const write = async (): Promise<void> => {
    while (!isEnding) {
      // Overwrites, so that there is something to clean, and ever more keys.
      keys = Math.min(200_000, keys + (random.below(grows) === 0 ? 1 : 0));
      const key = `key${random.below(keys)}`;
      try {
        await store.put(key, 'v'.repeat(30 + random.below(most)), { durability: 'buffered' });
        known.add(key);
        if (++outcome.puts > takenBehind) limitBytes = 0;
      } catch (error) {
        if (!isNoSpace(error)) throw error;
        outcome.refusedPuts++;
        isEnding = outcome.refusedPuts >= refusals;
      }
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
  const doomed = [...known].filter((_, n) => n % 2 === 0);
  for (const [n, key] of doomed.entries()) {
    try {
      await store.del(key, { durability: n % 8 === 0 ? 'flushed' : 'buffered' });
      known.delete(key);
      outcome.deletions++;
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      outcome.refusedDeletions++;
    }
  }
  for (const key of [...known].slice(0, 20)) {
    if ((await store.get(key)) === undefined) throw new Error(`seed ${seed}: ${key} is lost`);
  }
  for (let n = 0; n < 20; n++) {
    try {
      await store.put(`new${n}`, 'v'.repeat(100));
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      outcome.refusedAgain++;
    }
  }
  await store.close();
  return outcome;
}

test('SLOTS-1, SLOTS-2: no deletion is refused, and puts go on behind them', async (t) => {
  t.timeout(600_000);
  for (let seed = SEED; seed < SEED + SEEDS; seed++) {
    const outcome = await fillAndDelete(seed);
    t.log(JSON.stringify(outcome));
    t.true(outcome.refusedPuts > 0, `seed ${seed}: the device is full`);
    t.is(outcome.refusedDeletions, 0, `seed ${seed}: deletions`);
    t.is(outcome.refusedAgain, 0, `seed ${seed}: puts behind them`);
  }
});

test('PLAN-4: a device that is full is cleaned, however much garbage may lie in the file', async (t) => {
  t.timeout(300_000);
  const random = new Random(SEED);
  const limitBytes = 40 * SEGMENT_BYTES;
  const disk = new SimulatedDisk({ seed: SEED });
  disk.inject({
    at: ({ kind, offset, lengthBytes }) => kind === 'preallocate' && offset + lengthBytes > limitBytes,
    kind: 'ENOSPC',
    sticky: true,
  });
  const store = await open('/store', {
    segmentBytes: SEGMENT_BYTES,
    writeBufferBytes: MIB,
    memoryBytes: 512 * KIB,
    spaceAmplificationMax: 10,
    platform: disk,
  });
  // A third of the device, ten times.
  const keys = (13 * SEGMENT_BYTES) / KIB;
  for (let n = 0; n < 10 * keys; n++) {
    await t.notThrowsAsync(store.put(`key${random.below(keys)}`, 'v'.repeat(KIB), { durability: 'buffered' }));
  }
  await store.close();
});
