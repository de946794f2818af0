/**
 * An opening whose memory is smaller than that with which the log was written. REPLAY-5 is that of
 * packages/kv/src/recovery/replay.ts.
 */
import test from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store, StoreOptions } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';
import { requireSound } from './sound.ts';

const SEED = seedOf('AIOKV_REPLAY_SEED', 1);
const LARGE = 64 * MIB;
const SMALL = MIB;

type Model = Map<string, string>;

function openOn(platform: SimulatedDisk, options: Partial<StoreOptions>): Promise<Store> {
  return open('/store', { platform, segmentBytes: 256 * KIB, queueDepth: 16, writeBufferBytes: MIB, ...options });
}

/** What a killed process leaves that has merged nothing. */
async function unmerged(model: Model, random: Random, keys: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await openOn(disk, { memoryBytes: LARGE });
  for (let n = 0; n < keys;) {
    const count = random.chance(0.02) ? 1000 : 1 + random.below(20);
    const operations: BatchOperation[] = [];
    for (let i = 0; i < count; i++, n++) {
      const key = `key${random.below(keys)}`;
      const isDeletion = random.chance(0.1);
      if (isDeletion) operations.push({ type: 'del', key });
      else operations.push({ type: 'put', key, value: `${n}` });
      if (isDeletion) model.delete(key);
      else model.set(key, `${n}`);
    }
    await store.batch(operations, { durability: 'buffered' });
  }
  await store.flush();
  disk.stop();
  return disk.powerCut('none', random);
}

test('REPLAY-5: an opening merges what it replays when the memory is full', async (t) => {
  const model: Model = new Map();
  const random = new Random(SEED);
  const disk = await unmerged(model, random, 40_000);
  const image = disk.powerCut('none', random);
  const store = await openOn(image, { memoryBytes: SMALL });
  const { memory, checkpointSequence, sequence } = store.statistics();
  t.log(`seed ${SEED}: ${memory.memtableBytes + memory.pageBytes} bytes, ${checkpointSequence} of ${sequence} merged`);
  t.true(checkpointSequence > sequence / 2 && checkpointSequence < sequence);
  // One batch may exceed it.
  t.true(memory.memtableBytes + memory.pageBytes <= SMALL + 128 * KIB);
  await requireSound(t, store, model, `seed ${SEED}`);
  await store.put('later', 'x');
  await store.close();
  const again = await openOn(image, { memoryBytes: SMALL });
  model.set('later', 'x');
  await requireSound(t, again, model, `seed ${SEED}`);
  await again.close();
  // With the memory with which it was written, nothing is merged.
  const large = await openOn(disk, { memoryBytes: LARGE });
  t.is(large.statistics().checkpointSequence, 0);
  await large.close();
});

test('REPLAY-5: an opening that is cut off between its merges loses nothing', async (t) => {
  const model: Model = new Map();
  const random = new Random(SEED);
  const disk = await unmerged(model, random, 12_000);
  const images: SimulatedDisk[] = [];
  disk.onOperation = () => {
    const mode = (['none', 'all', 'subset', 'torn'] as const)[random.below(4)];
    if (random.chance(0.05)) images.push(disk.powerCut(mode ?? 'none', random));
  };
  const store = await openOn(disk, { memoryBytes: 128 * KIB });
  delete disk.onOperation;
  t.true(store.statistics().checkpointSequence > 0);
  await store.close();
  t.true(images.length > 10, `${images.length} images`);
  for (const [n, image] of images.entries()) {
    const again = await openOn(image, { memoryBytes: n % 2 === 0 ? 128 * KIB : LARGE });
    await requireSound(t, again, model, `seed ${SEED}`);
    await again.close();
  }
});

test('REPLAY-5: without space for a merge the memtable takes it all', async (t) => {
  const model: Model = new Map();
  const random = new Random(SEED);
  const disk = await unmerged(model, random, 20_000);
  const { length } = disk.bytesOf('/store/data.aiokv');
  let isFull = true;
  const at = (request: { kind: string; offset: number; lengthBytes: number }): boolean =>
    isFull && request.kind === 'preallocate' && request.offset + request.lengthBytes > length - 2 * MIB;
  disk.inject({ at, kind: 'ENOSPC', sticky: true });
  const store = await openOn(disk, { memoryBytes: 256 * KIB });
  await requireSound(t, store, model, `seed ${SEED}`);
  isFull = false;
  await store.checkpoint();
  await requireSound(t, store, model, `seed ${SEED}`);
  await store.close();
});

test('CHECK-1: an opening does not merge between the fragments of a value', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const options = { platform: disk, segmentBytes: 64 * KIB, queueDepth: 16, writeBufferBytes: MIB };
  const store = await open('/store', options);
  const model: Model = new Map([1, 2, 3].map((n) => [`long${n}`, String(n).repeat(150_000)]));
  await store.put('before', 'x');
  await store.del('before');
  await store.batch([...model].map(([key, value]) => ({ type: 'put', key, value })));
  disk.stop();
  const image = disk.powerCut('none', new Random(SEED));
  const planted = { eagerMerges: true, eagerCleaning: true };
  for (let opening = 0; opening < 2; opening++) {
    const again = await openPlanted('/store', { ...options, platform: image }, planted);
    await requireSound(t, again, model, `seed ${SEED}`);
    await again.close();
  }
});
