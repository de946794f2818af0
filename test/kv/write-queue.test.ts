/**
 * Writes that wait: who wakes them, in which order, and what waiting costs. WQ-1 to WQ-4 are those of
 * packages/kv/src/write/write-queue.ts.
 */
import test from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { GEOMETRY } from './crash/history.ts';
import { outcomes, turns } from './settling.ts';
import { SlowGrowth } from './slow-growth.ts';

function openOn(platform: SimulatedDisk, options?: Partial<StoreOptions>): Promise<Store> {
  return open('/store', { ...GEOMETRY, platform, ...options });
}

/** A store whose file has this many bytes already, so that writes need not wait for it to grow. */
async function openRoomy(disk: SimulatedDisk, bytes: number, options: Partial<StoreOptions>): Promise<Store> {
  await (await openOn(disk)).close();
  const file = await disk.open('/store/data.aiokv');
  await file.preallocate(0, bytes);
  await file.close();
  return openOn(disk, options);
}

test('WQ-2: a log that fails while the file grows leaves nobody waiting', async (t) => {
  let waited = 0;
  for (let slots = 1; slots <= 12; slots++) {
    const disk = new SlowGrowth({ seed: slots });
    const store = await openRoomy(disk, 256 * KIB + slots * GEOMETRY.segmentBytes, {});
    disk.hold();
    const value = Buffer.alloc(55 * KIB, 'x');
    disk.inject({ at: ({ kind }) => kind === 'write', kind: 'EIO', sticky: true });
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 12; n++) calls.push(store.put(`key${n}`, value, { durability: 'written' }));
    await turns(100);
    if (disk.isWaitedFor) waited++;
    disk.letGo();
    // Whether close finds the failure or meets it depends on the turn.
    const found = await outcomes([...calls, store.close().catch(() => undefined)]);
    t.is(found.pop(), 'ok', `${slots} slots`);
    t.deepEqual([...new Set(found)], ['ERR_AIOKV_LATCHED'], `${slots} slots`);
  }
  t.true(waited > 0, 'some writes waited for the file to grow');
});

test('as many frames as the write buffer has may be on their way', async (t) => {
  const disk = new SimulatedDisk({ seed: 5 });
  const options = { queueDepth: 1, writeBufferBytes: 300 * MIB, memoryBytes: 1280 * MIB };
  const store = await openRoomy(disk, 100 * MIB, options);
  const value = Buffer.alloc(55 * KIB, 'x');
  const calls: Promise<unknown>[] = [];
  for (let n = 0; n < 1150; n++) calls.push(store.put(`key${n}`, value, { durability: 'written' }));
  const found = await outcomes(calls);
  t.deepEqual([...new Set(found)], ['ok']);
  t.is((await store.get('key1149'))?.length, value.length);
  await store.close();
});

test('WQ-1: writes of all kinds are admitted in the order of their calls', async (t) => {
  const disk = new SimulatedDisk({ seed: 6 });
  const store = await openOn(disk);
  const random = new Random(9);
  const calls: Promise<unknown>[] = [];
  let last = '';
  for (let n = 0; n < 3000; n++) {
    last = `${n} `.padEnd(20 + random.below(2000), '.');
    const choice = random.below(10);
    if (choice < 6) calls.push(store.put('key', last, { durability: 'buffered' }));
    else if (choice < 9) {
      const filler = Array.from({ length: 1 + random.below(400) }, (_, i) => put(`filler${i}`, 'x'));
      calls.push(store.batch([put('key', `${n} before`), ...filler, put('key', last)], { durability: 'buffered' }));
    } else {
      calls.push(store.del('key', { durability: 'buffered' }));
      calls.push(store.put('key', last, { durability: 'buffered', ifAbsent: true }));
    }
  }
  await Promise.all(calls);
  t.is((await store.get('key'))?.toString(), last);
  await store.close();
});

function put(key: string, value: string): { type: 'put'; key: string; value: string } {
  return { type: 'put', key, value };
}

test('WQ-4: a store with many writes waiting forgets them as they are admitted', async (t) => {
  const disk = new SimulatedDisk({ seed: 7 });
  const store = await openOn(disk);
  const value = Buffer.alloc(100, 'v');
  const calls: Promise<void>[] = [];
  for (let n = 0; n < 30_000; n++) calls.push(store.put(`key${n}`, value, { durability: 'written' }));
  const flushed = store.flush();
  await Promise.all(calls);
  await flushed;
  t.is(store.statistics().flushedThrough, 30_000);
  t.deepEqual(await store.get('key29999'), value);
  await store.close();
});

test('flush and checkpoint wait for the writes that were called before them', async (t) => {
  const disk = new SimulatedDisk({ seed: 8 });
  const store = await openOn(disk);
  const value = Buffer.alloc(10 * KIB, 'x');
  const calls: Promise<void>[] = [];
  for (let n = 0; n < 500; n++) calls.push(store.put(`key${n}`, value, { durability: 'buffered' }));
  await store.flush();
  t.true(store.statistics().flushedThrough >= 500);
  for (let n = 0; n < 500; n++) calls.push(store.put(`key${n}`, value, { durability: 'buffered' }));
  await store.checkpoint();
  t.true(store.statistics().checkpointSequence >= 1000);
  await Promise.all(calls);
  await store.close();
});

test('a key that is not there need not be deleted, but whoever deletes it waits for what was written before', async (t) => {
  const disk = new SimulatedDisk({ seed: 9 });
  const store = await openOn(disk);
  await store.put('key', 'value', { durability: 'buffered' });
  const gone = store.del('key', { durability: 'buffered' });
  const again = store.del('key');
  t.is(store.statistics().sequence, 2);
  await gone;
  await again;
  t.is(store.statistics().flushedThrough, 2);
  await store.del('other');
  t.is(store.statistics().sequence, 2);
  t.is(await store.get('key'), undefined);
  await store.close();
});

test('options and properties that are not known are refused, with the nearest name', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 10 }));
  await store.put('key', 'value');
  const unknown = { code: 'ERR_AIOKV_INVALID_OPTION' };
  const wrong = (value: object): never => value as never;
  await t.throwsAsync(store.put('key', 'x', wrong({ ifabsent: true })), { ...unknown, message: /ifAbsent/ });
  await t.throwsAsync(store.put('key', 'x', wrong({ durabilty: 'written' })), { ...unknown, message: /durability/ });
  await t.throwsAsync(store.del('key', wrong({ ifversion: 1 })), { ...unknown, message: /ifVersion/ });
  await t.throwsAsync(store.del('key', wrong([])), unknown);
  await t.throwsAsync(store.put('key', 'x', wrong({ durability: 'flush' })), unknown);
  const operation = { type: 'put', key: 'key', value: 'x' };
  await t.throwsAsync(store.batch([wrong({ ...operation, ifabsent: true })]), { ...unknown, message: /ifAbsent/ });
  await t.throwsAsync(store.batch([wrong({ ...operation, durability: 'written' })]), unknown);
  await t.throwsAsync(store.batch([wrong({ type: 'del', key: 'key', value: 'x' })]), {
    code: 'ERR_AIOKV_INVALID_ARGUMENT',
  });
  await t.throwsAsync(store.batch([wrong(operation)], wrong({ sync: true })), unknown);
  t.is((await store.get('key'))?.toString(), 'value');
  t.is(store.statistics().sequence, 1);
  await store.close();
});

test('150,000 callers that wait for one flush are told when it fails', async (t) => {
  const disk = new SimulatedDisk({ seed: 11 });
  const store = await openOn(disk);
  disk.inject({ at: ({ kind }) => kind === 'fdatasync', kind: 'EIO', sticky: true });
  const calls: Promise<unknown>[] = [store.put('key', 'value')];
  for (let n = 0; n < 150_000; n++) calls.push(store.flush());
  t.deepEqual([...new Set(await outcomes(calls))], ['ERR_AIOKV_LATCHED']);
  t.deepEqual(await outcomes([store.close()]), ['ok']);
});
