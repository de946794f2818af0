/** Keys without values: `has` and `keys` read leaves of the index, and never a record. Device reads are counted. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { RangeOptions, Store, StoreOptions } from '@aiokv/kv';

const KEYS = 6000;
const OPTIONS = { segmentBytes: 256 * 1024, queueDepth: 16 };

function keyOf(number: number): string {
  return `key ${String(number).padStart(5, '0')}`;
}

/** A store with values of all kinds, of which some keys and a range were deleted; and its keys. */
async function filled(disk: SimulatedDisk): Promise<{ store: Store; keys: Set<string> }> {
  const store = await open('/store', { ...OPTIONS, platform: disk });
  const keys = new Set<string>();
  for (let number = 0; number < KEYS; number++) {
    const value = Buffer.alloc(number === 777 ? 300_000 : number % 3 === 0 ? 5 : 200);
    keys.add(keyOf(number));
    await store.put(keyOf(number), value, { durability: 'buffered' });
  }
  await store.checkpoint();
  for (let number = 0; number < KEYS; number += 7) {
    keys.delete(keyOf(number));
    await store.del(keyOf(number), { durability: 'buffered' });
  }
  await store.deleteRange({ gte: keyOf(2000), lt: keyOf(3000) });
  for (let number = 2000; number < 3000; number++) keys.delete(keyOf(number));
  await store.put(keyOf(2500), 'again');
  keys.add(keyOf(2500));
  return { store, keys };
}

async function walked(store: Store, options?: Partial<RangeOptions>): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.keys(options)) keys.push(key.toString());
  return keys;
}

const budgets: Record<string, Partial<StoreOptions>> = {
  'all leaves in memory': {},
  'hardly a leaf in memory': { memoryBytes: 32 * 1024 },
};

test('keys and has see what iterators and gets see, and read no record', async (t) => {
  for (const [name, options] of Object.entries(budgets)) {
    const disk = new SimulatedDisk({ seed: 4 });
    const { store: first, keys } = await filled(disk);
    t.deepEqual(await walked(first), [...keys].sort(), 'from memtables, too');
    await first.close();
    const store = await open('/store', { ...OPTIONS, platform: disk, ...options });
    // What the opening has replayed is merged now, and no run reads beside the counted calls.
    await store.checkpoint();
    const before = store.statistics();
    t.deepEqual(await walked(store), [...keys].sort(), name);
    const random = new Random(5);
    for (let i = 0; i < 200; i++) {
      const key = keyOf(random.below(KEYS + 100));
      t.is(await store.has(key), keys.has(key), `${name}: ${key}`);
    }
    const after = store.statistics();
    const reads = after.queue.accepted - before.queue.accepted;
    t.true(reads <= after.pageReads - before.pageReads, `${name}: every read is of leaves, of one at least`);
    t.is(reads > 0, options.memoryBytes !== undefined, name);
    const range = { gt: keyOf(1990), lte: keyOf(3010), reverse: true, limit: 9 };
    const rows: string[] = [];
    for await (const [key] of store.iterator(range)) rows.push(key.toString());
    t.deepEqual(await walked(store, range), rows, name);
    await store.close();
  }
});

test('a walk over keys is of the moment at which it began', async (t) => {
  const { store, keys } = await filled(new SimulatedDisk({ seed: 4 }));
  const walk = store.keys();
  const answer = store.has(keyOf(1));
  await store.clear();
  await store.put('new', '1');
  t.true(await answer);
  const found: string[] = [];
  for await (const key of walk) found.push(key.toString());
  t.deepEqual(found, [...keys].sort());
  t.deepEqual(await walked(store), ['new']);
  await store.close();
});
