/** The address cache, alone against a map and inside a store against the values at the time of each call. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { KIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store } from '@aiokv/kv';
import { AddressCache } from '../../packages/kv/src/cache/address-cache.ts';
import type { EntryWords } from '../../packages/kv/src/format/index-entry.ts';
import { LeafAddresses } from '../../packages/kv/src/index/leaf-lookup.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { NodeMemory, Probe, Tree } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_ADDRESS_SEED');

const memoryOf = (nodeBytes: number): NodeMemory => new NodeMemory({ nodeBytes });

for (const oneAddressTag of [false, true]) {
  const which = oneAddressTag ? 'of one tag' : 'of many tags';
  test(`ADDRESS-1: what is found is the entry of a key as it is now: keys ${which}`, (t) => {
    const random = new Random(SEED);
    const addresses = new AddressCache(memoryOf(512), 256 * KIB, 0, { oneAddressTag });
    const now = new Map<string, EntryWords>();
    const probe = new Probe();
    const found = { word0: 0, word1: 0 };
    let [hits, own, next] = [0, 0, 1];
    const bytes = (key: string): Uint8Array => Buffer.from(key);
    for (let i = 0; i < 60_000; i++) {
      const key = `key ${random.below(1500)}`;
      const old = now.get(key);
      const entry = { word0: next++, word1: (random.below(80) << 18) | (24 + random.below(9000)) };
      const kind = random.below(100);
      if (kind < 30) {
        if (old !== undefined) addresses.changed(bytes(key), key.length, old, entry);
        now.set(key, entry);
      } else if (kind < 35 && old !== undefined) {
        addresses.changed(bytes(key), key.length, old, null);
        now.delete(key);
      } else if (kind < 40 && old !== undefined) {
        probe.load(bytes(key), key.length);
        addresses.gone(probe, old);
        now.delete(key);
      } else if (kind === 40 && random.below(100) === 0) {
        addresses.clear();
        now.clear();
      } else if (kind === 41 && random.below(20) === 0) addresses.keepWithin(random.below(240 * KIB), 400 * KIB, true);
      else if (kind === 42 && random.below(20) === 0) addresses.giveBack(random.below(2 * KIB));
      else if (kind === 43) addresses.keepWithin(0, 400 * KIB, true);
      else if (kind < 70 && old !== undefined && addresses.isOpenTo(now.size)) {
        probe.load(bytes(key), key.length);
        addresses.fill(probe, old, random.below(2) === 0);
      } else if (addresses.find(bytes(key), key.length, found)) {
        hits++;
        const isOwn = old !== undefined && old.word0 === found.word0 && old.word1 === found.word1;
        if (isOwn) own++;
        // No two entries have the same words: those of another key are in the map, too.
        const isOthers = [...now.values()].some((e) => e.word0 === found.word0 && e.word1 === found.word1);
        if (!isOwn && !isOthers) return t.fail(`seed ${SEED}, step ${i}: ${key} has led to an entry that is gone`);
      }
    }
    t.true(hits > 1000, `${hits} hits`);
    if (!oneAddressTag) t.true(own > 0.98 * hits, `${own} of ${hits}`);
    return undefined;
  });
}

test('addresses of all keys fit into little more than eight bytes each', (t) => {
  const keys = 100_000;
  const addresses = new AddressCache(memoryOf(4 * KIB), KIB * KIB, 0, {});
  const probe = new Probe();
  for (let i = 0; i < keys; i++) {
    const key = Buffer.from(`user${String(i * 7919).padStart(20, '0')}`);
    probe.load(key, key.length);
    addresses.keepWithin(0, KIB * KIB, true);
    t.true(addresses.isOpenTo(keys));
    addresses.fill(probe, { word0: i, word1: 1000 }, true);
  }
  let found = 0;
  for (let i = 0; i < keys; i++) {
    const key = Buffer.from(`user${String(i * 7919).padStart(20, '0')}`);
    if (addresses.find(key, key.length, { word0: 0, word1: 0 })) found++;
  }
  t.true(addresses.bytes < 8.6 * keys, `${addresses.bytes} bytes`);
  t.true(found > 0.97 * keys, `${found} found`);
});

test('ADDRESS-3: one segment is taken each time that nodes are within their limit, and none if all leaves fit', (t) => {
  const memory = memoryOf(4 * KIB);
  const addresses = new AddressCache(memory, 16 * KIB * KIB, 0, {});
  const probe = new Probe();
  const fillAll = (): void => {
    for (let i = 0; i < 50_000; i++) {
      const key = Buffer.from(`key ${i}`);
      probe.load(key, key.length);
      addresses.fill(probe, { word0: i, word1: 1000 }, true);
    }
  };
  const grown: number[] = [];
  for (const isWithin of [false, true, false, true]) {
    addresses.keepWithin(0, 40 * KIB * KIB, isWithin);
    t.true(addresses.isOpenTo(500_000));
    const before = addresses.bytes;
    fillAll();
    grown.push(addresses.bytes - before);
  }
  t.deepEqual(grown, [0, 4 * KIB, 0, 4 * KIB]);
  addresses.giveBack(1);
  t.is(addresses.bytes, 4 * KIB);
  t.is(memory.bytesUsed, 4 * KIB);
  addresses.keepWithin(0, 8 * KIB * KIB, true);
  t.is(addresses.bytes, 0);
  t.is(memory.bytesUsed, 0);
  t.false(addresses.isOpenTo(500_000));
});

const OPTIONS = { segmentBytes: 64 * KIB, writeBufferBytes: KIB * KIB, queueDepth: 8, memoryBytes: 48 * KIB };

const KEYS = 400;

interface Outcome {
  /** Values that were not those of the call. */
  readonly wrong: string[];
  readonly hits: number;
  readonly others: number;
}

/** Random writes, merges, cleanings and reads. Keys are long, so that few leaves fit into memory. */
async function history(seed: number, planted: Planted, steps: number, isCached: boolean): Promise<Outcome> {
  const random = new Random(seed);
  const platform = new SimulatedDisk({ seed });
  const valueCachePart = isCached ? 0.25 : 0;
  const options = { ...OPTIONS, platform, valueCachePart };
  const store: Store = await openPlanted('/store', options, { eagerCleaning: true, ...planted });
  const now = new Map<string, string>();
  const keyOf = (n: number): string => `${String(n).padStart(4, '0')}${'-'.repeat(300)}`;
  const wrong: string[] = [];
  const reads: Promise<void>[] = [];
  const check = (how: string, key: string, wanted: string | undefined, value: Buffer | undefined): void => {
    if (value?.toString() !== wanted) wrong.push(`${how} ${key.slice(0, 4)}: ${value?.toString()}, not ${wanted}`);
  };
  const put = (): Promise<unknown> => {
    const key = keyOf(random.below(KEYS));
    const value = `${random.below(1e9)}`.padEnd(100, '.');
    now.set(key, value);
    return store.put(key, value, { durability: 'buffered' });
  };
  for (let i = 0; i < steps && wrong.length === 0; i++) {
    const kind = random.below(100);
    const key = keyOf(random.below(KEYS));
    // A write that waits for room is seen later than a read that is called after it.
    if (kind < 30) await put();
    else if (kind < 33) {
      now.delete(key);
      await store.del(key, { durability: 'buffered' });
    } else if (kind === 33) {
      const to = keyOf(Number(key.slice(0, 4)) + 10);
      for (const old of now.keys()) if (old >= key && old < to) now.delete(old);
      await store.deleteRange({ gte: key, lt: to }, { durability: 'buffered' });
    } else if (kind === 34 && random.below(20) === 0) {
      now.clear();
      await store.clear();
    } else if (kind < 40) reads.push(store.checkpoint());
    else if (kind < 42) await nextTurn();
    else if (kind < 45) check('getSync', key, now.get(key), store.getSync(key));
    else if (kind < 55) {
      const keys = Array.from({ length: 5 }, () => keyOf(random.below(KEYS)));
      const wanted = keys.map((one) => now.get(one));
      const many = store.getMany(keys);
      reads.push(
        many.then((values) => values.forEach((value, n) => check('getMany', keys[n] as string, wanted[n], value))),
      );
    } else if (kind === 55) {
      const keys = Array.from({ length: 1100 }, () => keyOf(random.below(KEYS)));
      const wanted = keys.map((one) => now.get(one));
      const many = store.getMany(keys);
      reads.push(
        many.then((values) => values.forEach((value, n) => check('getMany', keys[n] as string, wanted[n], value))),
      );
    } else {
      const wanted = now.get(key);
      reads.push(store.get(key).then((value) => check('get', key, wanted, value)));
    }
    if (reads.length > 40) await Promise.all(reads.splice(0));
  }
  await Promise.all(reads);
  await store.checkpoint();
  store.verifyIndex();
  const { hits, wrong: others } = store.statistics().addresses;
  await store.close();
  return { wrong, hits, others };
}

async function histories(planted: Planted, most: number, steps = 1000): Promise<Outcome> {
  let all: Outcome = { wrong: [], hits: 0, others: 0 };
  for (let run = 0; run < most && all.wrong.length === 0; run++) {
    const { wrong, hits, others } = await history(SEED + run, planted, steps, run % 3 === 2);
    all = {
      wrong: wrong.map((what) => `seed ${SEED + run}: ${what}`),
      hits: all.hits + hits,
      others: all.others + others,
    };
  }
  return all;
}

test('ADDRESS-1, ADDRESS-2: gets by addresses find the value of their call, whatever is written, merged and moved', async (t) => {
  const { wrong, hits, others } = await histories({}, 6);
  t.log(`${hits} hits, ${others} of other keys`);
  t.deepEqual(wrong, []);
  t.true(hits > 200, `${hits}`);
  t.true(others < hits / 50, `${others} of ${hits}`);
});

test('LATE-2, LATE-3: an address of another key is never answered, and the leaf of the call is', async (t) => {
  const { wrong, hits, others } = await histories({ oneAddressTag: true }, 6);
  t.log(`${hits} hits, ${others} of other keys`);
  t.deepEqual(wrong, []);
  t.true(others > hits / 5, `${others} of ${hits}`);
});

const DEFECTS: readonly Planted[] = [
  { keptAddresses: 'merged' },
  { keptAddresses: 'swept' },
  { lateTree: true, oneAddressTag: true },
];
for (const planted of DEFECTS) {
  test(`the histories find the defect ${JSON.stringify(planted)}`, async (t) => {
    const { wrong } = await histories(planted, 60);
    t.log(wrong[0]);
    t.true(wrong.length > 0);
  });
}

test('ADDRESS-1: records that a compaction has moved are found by their addresses', async (t) => {
  const wrongAfterMoves = async (planted: Planted): Promise<number> => {
    const platform = new SimulatedDisk({ seed: 1 });
    const store = await openPlanted('/store', { ...OPTIONS, platform, valueCachePart: 0 }, planted);
    const keys = Array.from(
      { length: KEYS },
      (_, n) => `${String((n * 173) % KEYS).padStart(4, '0')}${'-'.repeat(300)}`,
    );
    const readAll = async (): Promise<void> => {
      for (const key of keys) t.is((await store.get(key))?.toString(), `value of ${key}`);
    };
    for (const key of keys) await store.put(key, `value of ${key}`, { durability: 'buffered' });
    await store.checkpoint();
    await readAll();
    await readAll();
    const before = store.statistics().addresses;
    t.true(before.hits > 20, `${before.hits} hits`);
    await store.compact();
    await readAll();
    const { wrong } = store.statistics().addresses;
    await store.close();
    return wrong - before.wrong;
  };
  t.true((await wrongAfterMoves({})) < 5);
  const wrong = await wrongAfterMoves({ keptAddresses: 'moved' });
  t.true(wrong > 20, `${wrong}`);
});

for (const uncheckedLeaves of [false, true]) {
  const what = uncheckedLeaves ? 'would fill in' : 'fills in';
  test(`ADDRESS-2: a leaf to which the tree does not lead ${what} ${uncheckedLeaves ? 'old entries' : 'nothing'}`, (t) => {
    const tree = new Tree(new NodeMemory());
    const addresses = new AddressCache(memoryOf(4 * KIB), 64 * KIB, 0, {});
    const leaves = new LeafAddresses(tree, addresses, { uncheckedLeaves });
    const key = Buffer.from('key');
    const found = { word0: 0, word1: 0 };
    const take = (leaf: number): boolean => {
      addresses.keepWithin(0, 40 * KIB, true);
      leaves.take(leaf, tree.memory.words(leaf), tree.memory.base(leaf), key, key.length);
      return addresses.find(key, key.length, found);
    };
    tree.set(key, key.length, 1, 100);
    const before = tree.snapshot();
    const old = tree.root;
    t.true(take(old));
    t.is(found.word0, 1);
    addresses.changed(key, key.length, { word0: 1, word1: 100 }, null);
    tree.set(key, key.length, 2, 100);
    t.is(take(old), uncheckedLeaves);
    if (uncheckedLeaves) t.is(found.word0, 1);
    else t.true(take(tree.root) && found.word0 === 2);
    before.release();
  });
}
