/**
 * Iterators that stay open: what they read ahead, what they keep from coming back, and that it comes back when they end.
 * AHEAD-1 is that of packages/kv/src/read/range-reads.ts.
 */
import test from 'ava';
import { KIB, MIB, Random, nextTurn } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store, StoreIterator, StoreOptions } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_ITERATORS_SEED');

function openOn(platform: SimulatedDisk, options: Partial<StoreOptions> = {}): Promise<Store> {
  return open('/store', { platform, segmentBytes: 64 * KIB, queueDepth: 16, ...options });
}

function keyOf(n: number): string {
  return `key${String(n).padStart(6, '0')}`;
}

async function putAll(store: Store, keys: number, valueBytes: number, letter: string): Promise<void> {
  for (let n = 0; n < keys; n++) {
    await store.put(keyOf(n), letter.repeat(valueBytes), { durability: 'buffered' });
    if (n % 64 === 0) await store.flush();
  }
}

async function rest(iterator: StoreIterator): Promise<[string, string][]> {
  const rows: [string, string][] = [];
  for await (const [key, value] of iterator) rows.push([key.toString(), value.toString()]);
  return rows;
}

test('AHEAD-1: what all iterators read ahead is bounded, and each gets at least one entry', async (t) => {
  const memoryBytes = 16 * MIB;
  const store = await openOn(new SimulatedDisk({ seed: 1 }), { memoryBytes, segmentBytes: MIB });
  const [keys, valueBytes, count] = [400, 10_000, 300];
  await putAll(store, keys, valueBytes, 'a');
  const iterators = Array.from({ length: count }, (_, n) => store.iterator({ gte: keyOf(n) }));
  t.is(store.statistics().iterators, count);
  for (const iterator of iterators) await iterator.next();
  const { readAheadBytes } = store.statistics().memory;
  t.log(`${readAheadBytes} bytes ahead`);
  // The next entries of the last ones are on their way, too.
  t.true(readAheadBytes <= memoryBytes / 16 + 2 * count * (valueBytes + 400), `${readAheadBytes} bytes`);
  for (const [n, iterator] of iterators.entries()) {
    if (n % 50 === 0) t.is((await rest(iterator)).length, keys - n - 1);
    else await iterator.return();
  }
  t.is(store.statistics().memory.readAheadBytes, 0);
  t.is(store.statistics().iterators, 0);
  const alone = store.iterator();
  let most = 0;
  for (let n = 0; n < 200; n++) {
    await alone.next();
    most = Math.max(most, store.statistics().memory.readAheadBytes);
  }
  t.true(most > 60 * valueBytes && most <= memoryBytes / 16 + 400 + valueBytes, `one reads far ahead: ${most} bytes`);
  await alone.return();
  t.is(store.statistics().memory.readAheadBytes, 0);
  await store.close();
});

test('MEMTABLE-4: iterators that are opened between writes keep what is replaced, within the memory', async (t) => {
  const memoryBytes = 8 * MIB;
  const store = await openOn(new SimulatedDisk({ seed: 3 }), { memoryBytes, segmentBytes: MIB });
  const [keys, count, putsBetween] = [4000, 400, 40];
  await putAll(store, keys, 50, 'a');
  const iterators: StoreIterator[] = [];
  const versions = new Map<number, number>();
  let most = 0;
  for (let n = 0; n < count; n++) {
    const iterator = store.iterator({ gte: keyOf(n) });
    await iterator.next();
    iterators.push(iterator);
    for (let put = 0; put < putsBetween; put++) {
      const key = (n * putsBetween + put) * 7919;
      await store.put(keyOf(key % keys), String(n).repeat(30), { durability: 'buffered' });
      versions.set(key % keys, n);
    }
    const { memtableBytes, pageBytes } = store.statistics().memory;
    most = Math.max(most, memtableBytes + pageBytes);
  }
  t.log(`${(most / MIB).toFixed(1)} MiB of nodes at most`);
  t.true(most < memoryBytes, `${most} bytes`);
  // The first one sees what was there before the others, the last one nearly all.
  const [first, last] = [iterators[0], iterators.at(-1)] as [StoreIterator, StoreIterator];
  t.true((await rest(first)).every(([, value]) => value === 'a'.repeat(50)));
  for (const [key, value] of await rest(last)) {
    const version = versions.get(Number(key.slice(3))) as number;
    if (version < count - 1) t.is(value, version === undefined ? 'a'.repeat(50) : String(version).repeat(30));
  }
  for (const iterator of iterators) await iterator.return();
  await store.close();
});

/** Writes at random, in every way that there is, to the store and to the model. */
async function change(store: Store, model: Map<string, string>, random: Random, keys: number): Promise<void> {
  const at = random.below(keys);
  const value = `${random.below(2 ** 30)}`.repeat(1 + random.below(4));
  const kind = random.below(20);
  if (kind === 0) {
    const end = random.chance(0.05) ? keys : at + 1 + random.below(keys / 3);
    await store.deleteRange({ gte: keyOf(at), lt: keyOf(end) }, { durability: 'buffered' });
    for (let n = at; n < end; n++) model.delete(keyOf(n));
  } else if (kind === 1) {
    // Longer than what is admitted in one step.
    const operations: BatchOperation[] = Array.from({ length: 1100 }, (_, i) => ({
      type: 'put',
      key: keyOf((at + i * 7) % keys),
      value: value + i,
    }));
    if (random.chance(0.5)) operations[0] = { type: 'deleteRange', gte: keyOf(0), lt: keyOf(at) };
    await store.batch(operations, { durability: 'buffered' });
    for (let n = 0; operations[0]?.type === 'deleteRange' && n < at; n++) model.delete(keyOf(n));
    for (const one of operations) if (one.type === 'put') model.set(one.key as string, one.value as string);
  } else if (kind === 2 && random.chance(0.1)) {
    await store.clear({ durability: 'buffered' });
    model.clear();
  } else if (kind < 7) {
    await store.del(keyOf(at), { durability: 'buffered' });
    model.delete(keyOf(at));
  } else {
    await store.put(keyOf(at), value, { durability: 'buffered' });
    model.set(keyOf(at), value);
  }
}

test('MEMTABLE-2, MEMTABLE-3: iterators see what was there, and later reads what was written last, through every write', async (t) => {
  for (let seed = SEED; seed < SEED + 12; seed++) {
    const message = `AIOKV_ITERATORS_SEED=${seed}`;
    const random = new Random(seed);
    const platform = new SimulatedDisk({ seed });
    let store = await openOn(platform, { memoryBytes: 2 * MIB });
    const model = new Map<string, string>();
    const sorted = (): [string, string][] => [...model].sort(([a], [b]) => (a < b ? -1 : 1));
    const opened: { iterator: StoreIterator; expected: [string, string][] }[] = [];
    const endOne = async (): Promise<void> => {
      for (const { iterator, expected } of opened.splice(random.below(opened.length), 1)) {
        t.deepEqual(await rest(iterator), expected, message);
      }
    };
    for (let step = 0; step < 400; step++) {
      if (random.chance(0.05)) {
        const reverse = random.chance(0.3);
        const expected = reverse ? sorted().reverse() : sorted();
        const iterator = store.iterator({ reverse });
        const taken = random.below(3);
        for (let n = 0; n < taken; n++) await iterator.next();
        opened.push({ iterator, expected: expected.slice(taken) });
      } else if (random.chance(0.03)) await endOne();
      else if (random.chance(0.02)) void store.checkpoint();
      else await change(store, model, random, 600);
    }
    if (random.chance(0.5)) await store.checkpoint();
    t.deepEqual(await rest(store.iterator()), sorted(), message);
    while (opened.length > 0) await endOne();
    await store.close();
    store = await openOn(platform, { memoryBytes: 2 * MIB });
    t.deepEqual(await rest(store.iterator()), sorted(), message);
    await store.close();
  }
});

test('CHECK-8: what only an iterator has kept comes back when it ends, without a run', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: 2 }));
  const keys = 500;
  await putAll(store, keys, 1000, 'a');
  await store.checkpoint();
  const iterators = Array.from({ length: 3 }, () => store.iterator());
  for (const iterator of iterators) await iterator.next();
  await putAll(store, keys, 1000, 'b');
  await store.checkpoint();
  const { space: held, checkpointSequence } = store.statistics();
  t.true(held.heldBytes >= 400_000, `${held.heldBytes} bytes are held`);
  t.true(held.heldBytes <= held.deadBytes);
  const [one, ...others] = iterators;
  for (const iterator of others) await iterator.return();
  await nextTurn();
  t.is(store.statistics().space.heldBytes, held.heldBytes);
  t.true((await rest(one as StoreIterator)).every(([, value]) => value === 'a'.repeat(1000)));
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  const { space } = store.statistics();
  t.is(space.heldBytes, 0);
  // Blocks may have been given back to the device.
  t.true(space.deadBytes <= held.deadBytes - held.heldBytes);
  t.is(store.statistics().checkpointSequence, checkpointSequence);
  await store.close();
});
