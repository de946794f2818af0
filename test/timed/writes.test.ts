/** What writes cost that wait, and conditions that have to be read: time of the processor, as ratios within one run. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store } from '@aiokv/kv';

async function withDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(resolve('.tmp-writes-'));
  try {
    await work(join(parent, 'store'));
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** Milliseconds of the processor that some work takes. */
async function cpuMsOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function putAllAtOnce(store: Store, count: number): Promise<void> {
  const value = Buffer.alloc(100, 'v');
  const calls: Promise<void>[] = [];
  for (let n = 0; n < count; n++) calls.push(store.put(`key${n}`, value));
  await Promise.all(calls);
}

test('puts that are called in one turn cost time in proportion to their number', (t) =>
  withDirectory(async (directory) => {
    const store = await open(directory);
    await putAllAtOnce(store, 20_000);
    const few = await cpuMsOf(() => putAllAtOnce(store, 30_000));
    const many = await cpuMsOf(() => putAllAtOnce(store, 240_000));
    t.log(`30,000: ${few.toFixed(0)} ms, 240,000: ${many.toFixed(0)} ms`);
    t.true(many / few < 8 * 2.5, `${many} ms beside ${few} ms`);
    await store.close();
  }));

test('a batch of many conditions costs little more than reading its keys at once', (t) =>
  withDirectory(async (directory) => {
    const count = 20_000;
    let store = await open(directory);
    const value = Buffer.alloc(300, 'v');
    const keys = Array.from({ length: count }, (_, n) => `key${n}`);
    for (const key of keys) await store.put(key, value, { durability: 'buffered' });
    await store.flush();
    const operations: BatchOperation[] = [];
    for (const key of keys) {
      const found = await store.getVersioned(key);
      if (found !== undefined) operations.push({ type: 'put', key, value: 'new', ifVersion: found.version });
    }
    await store.close();
    store = await open(directory);
    const reading = await cpuMsOf(() => store.getMany(keys));
    const writing = await cpuMsOf(() => store.batch(operations));
    t.log(`getMany ${reading.toFixed(0)} ms, batch ${writing.toFixed(0)} ms`);
    t.is((await store.get('key7'))?.toString(), 'new');
    t.true(writing < 4 * reading, `${writing} ms beside ${reading} ms`);
    await store.close();
  }));
