/** The index against a sorted array: see tree-model.ts. AIOKV_TREE_SEED says which runs. */
import test from 'ava';
import * as fc from 'fast-check';
import { MIB, Random } from '@aiokv/core';
import { EXTRA_WORDS_MAX, Entry, FOUND, MISSING, NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';
import { keyFamilies, randomRun, TreeAndModel, verifyAll } from './tree-model.ts';

const SEED = seedOf('AIOKV_TREE_SEED');

for (const family of Object.keys(keyFamilies)) {
  const heavy = ['long', 'longest', 'burst', 'mixed'].includes(family);
  test(`${family} keys: a tree behaves as a sorted array, and its snapshots as frozen ones`, (t) => {
    const property = fc.property(
      fc.integer(),
      fc.nat({ max: heavy ? 4000 : 12_000 }),
      fc.constantFrom(512, 512, 1024, 4096),
      fc.constantFrom(0, 1, 12),
      fc.constantFrom(0, 1, 4, EXTRA_WORDS_MAX),
      (seed, steps, nodeBytes, snapshots, extraWords) =>
        randomRun({ seed, steps, family, nodeBytes, snapshots, extraWords }),
    );
    const numRuns = heavy ? 8 : 12;
    t.notThrows(
      () => fc.assert(property, { numRuns, seed: SEED, includeErrorInReport: true }),
      `AIOKV_TREE_SEED=${SEED}`,
    );
  });
}

/** The most bytes of nodes a key, from a quarter of `count` keys on. */
function mostBytesPerKey(count: number, keyOf: (number: number) => string): number {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const tree = new Tree(memory);
  let most = 0;
  for (let number = 0; number < count; number++) {
    const key = Buffer.from(keyOf(number));
    tree.set(key, key.length, number, 0);
    if (number > count / 4 && number % 1000 === 0) most = Math.max(most, memory.bytesUsed / tree.size);
  }
  tree.verify();
  return most;
}

const padded = (number: number, digits: number): string => String(number).padStart(digits, '0');
const random = new Random(11);

/** Keys of 24 bytes, and what one may take: the whole of it is 8 bytes of head and slot, 8 of payload and the key's tail. */
const orders: readonly (readonly [string, number, (number: number) => string])[] = [
  ['ascending', 17, (n) => `user${padded(n, 20)}`],
  ['descending', 17, (n) => `user${padded(1e9 - n, 20)}`],
  ['ascending at seven places in turn', 18, (n) => `use${n % 7}${padded(Math.floor(n / 7), 20)}`],
  ['descending at seven places in turn', 19, (n) => `use${n % 7}${padded(1e9 - Math.floor(n / 7), 20)}`],
  ['random', 44, () => `user${padded(random.below(1e9), 10)}${padded(random.below(1e9), 10)}`],
  // Without sharing all leaves are full, and then half full, at the same time: 60 bytes.
  ['evenly spread', 44, (n) => `user${padded(Math.imul(n, 0x9e3779b1) >>> 0, 10)}${padded(n, 10)}`],
  [
    'in ascending runs of 60',
    52,
    (n) => `${padded(Math.imul(Math.floor(n / 60), 0x9e3779b1) >>> 0, 12)}${padded(n % 60, 12)}`,
  ],
];

for (const [name, limit, keyOf] of orders) {
  test(`keys that come ${name} fill leaves well`, (t) => {
    const most = mostBytesPerKey(120_000, keyOf);
    t.log(`${most.toFixed(1)} bytes a key`);
    t.true(most < limit, `${most} bytes a key`);
  });
}

test('an entry takes another number of extra words, in place where it fits', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  const key = Buffer.alloc(4);
  const extra = Uint32Array.from({ length: EXTRA_WORDS_MAX }, (_, i) => i + 1);
  const entry = new Entry();
  const setAll = (extraWords: number): void => {
    for (let number = 0; number < 2000; number++) {
      key.writeUInt32BE(number);
      tree.set(key, 4, number, extraWords, extra, extraWords);
    }
    tree.verify();
    for (let number = 0; number < 2000; number++) {
      key.writeUInt32BE(number);
      t.is(tree.get(key, 4, entry), FOUND);
      t.deepEqual(
        [entry.word0, entry.word1, entry.extraWords, ...entry.extra.subarray(0, extraWords)],
        [number, extraWords, extraWords, ...extra.subarray(0, extraWords)],
      );
    }
  };
  setAll(0);
  const leanest = memory.bytesUsed;
  setAll(EXTRA_WORDS_MAX);
  t.true(memory.bytesUsed > 4 * leanest);
  setAll(1);
  t.true(memory.bytesUsed < 3 * leanest, 'leaves that are nearly empty are merged');
  setAll(0);
  t.is(tree.size, 2000);
});

test('with no snapshot alive writes are in place: nothing is copied', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  const key = Buffer.alloc(4);
  for (let number = 0; number < 5000; number++) {
    key.writeUInt32BE(number);
    tree.set(key, 4, number, 0);
  }
  const before = memory.nodesUsed;
  for (let number = 0; number < 5000; number++) {
    key.writeUInt32BE(number);
    tree.set(key, 4, 1, 2);
  }
  t.is(memory.nodesUsed, before);
  const snapshot = tree.snapshot();
  tree.set(key, 4, 4, 5);
  t.true(memory.nodesUsed > before);
  snapshot.release();
  t.is(memory.nodesUsed, before);
});

class CountingMemory extends NodeMemory {
  allocations = 0;

  override allocate(units: number): number {
    this.allocations++;
    return super.allocate(units);
  }
}

test('a snapshot makes the first write to a leaf copy its path, once, and not after its release', (t) => {
  const memory = new CountingMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  const key = Buffer.alloc(4);
  const write = (number: number): number => {
    const before = memory.allocations;
    key.writeUInt32BE(number);
    tree.set(key, 4, number, 0);
    return memory.allocations - before;
  };
  for (let number = 0; number < 5000; number++) write(number);
  const snapshot = tree.snapshot();
  const levels = write(0);
  t.true(levels >= 3, 'the whole path');
  t.is(write(0), 0, 'once');
  t.is(write(4999), levels - 1, 'all but the root, which was copied already');
  snapshot.release();
  t.is(write(2500), 0, 'nobody looks any more');
});

test('keys outside of a long prefix begin nodes of their own instead of bursting one', (t) => {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const pair = new TreeAndModel(memory);
  const inside = (number: number): Buffer =>
    Buffer.concat([Buffer.alloc(4020, 'm'), Buffer.from([number >>> 8, number])]);
  for (let number = 0; number < 80; number++) pair.set(inside(number), [number, 0]);
  for (const outside of ['z', 'a', '', 'mmm', 'mn']) pair.set(Buffer.from(outside), [1, 2]);
  verifyAll(memory, [pair], new Random(1));
  t.true(memory.bytesUsed < 20 * 4096, `${memory.bytesUsed} bytes`);
});

test('lookups and steps make no garbage', (t) => {
  const tree = new Tree(new NodeMemory());
  const random = new Random(3);
  const keys = Array.from({ length: 5000 }, () => random.fill(Buffer.alloc(16)) as Buffer);
  for (const key of keys) tree.set(key, 16, random.uint32(), random.uint32());
  const entry = new Entry();
  const cursor = tree.snapshot().cursor();
  let found = 0;
  const round = (): void => {
    for (const key of keys) found += +(tree.get(key, 16, entry) === FOUND);
    for (let more = cursor.first(); more; more = cursor.next()) found++;
  };
  // Compiled code makes none; until everything is compiled there is some, hence the repetition.
  // Half of the numbers boxed would be 1.6 MB in 200,000 operations.
  let grown = Infinity;
  for (let attempt = 0; attempt < 10 && (grown < 0 || grown > 600_000); attempt++) {
    // What other tests left behind must not be collected while this one counts.
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let count = 0; count < 20; count++) round();
    grown = process.memoryUsage().heapUsed - before;
  }
  t.true(grown >= 0 && grown < 600_000, `${grown} bytes`);
  t.true(found % 10_000 === 0);
});

test('a cleared tree is empty at once, and its nodes go back in slices', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const pair = new TreeAndModel(memory);
  const random = new Random(1);
  for (let number = 0; number < 3000; number++) pair.set(random.fill(Buffer.alloc(12)) as Buffer, [number, 0]);
  pair.freeze();
  const used = memory.nodesUsed;
  pair.clear();
  t.is(pair.tree.size, 0);
  t.is(pair.tree.get(Buffer.alloc(12), 12, new Entry()), MISSING);
  while (!memory.reclaimSome(10));
  t.is(memory.nodesUsed, used, 'the snapshot keeps them');
  verifyAll(memory, [pair], random);
  pair.release(0);
  while (!memory.reclaimSome(10)) t.true(memory.nodesUsed > 0);
  t.is(memory.nodesUsed, 0);
});

test('RANGE-1: a range is cut off in subtrees, whose nodes go back in slices', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const pair = new TreeAndModel(memory);
  const random = new Random(7);
  const keyOf = (number: number): Buffer => Buffer.from(String(number).padStart(6, '0'));
  for (let number = 0; number < 30_000; number++) pair.set(keyOf(number), [number, 0]);
  const full = memory.nodesUsed;
  pair.deleteRange(keyOf(1234), keyOf(28_765));
  t.false(pair.tree.isCounted);
  t.true(memory.nodesUsed > 0.9 * full, 'nothing walks over the nodes in the call');
  t.true(pair.tree.bytes > 0.9 * full * 512, 'they count until they go back');
  verifyAll(memory, [pair], random);
  while (!memory.reclaimSome(10));
  t.true(memory.nodesUsed < 0.11 * full);
  t.is(pair.tree.bytes, memory.bytesUsed);
  verifyAll(memory, [pair], random);
  pair.freeze();
  pair.deleteRange(keyOf(0), keyOf(1000));
  pair.deleteRange(keyOf(29_000), null);
  while (!memory.reclaimSome(10));
  verifyAll(memory, [pair], random);
  pair.deleteRange(Buffer.alloc(0), null);
  t.is(pair.tree.size, 0);
  t.true(pair.tree.isCounted);
  pair.release(0);
  while (!memory.reclaimSome(10));
  t.is(memory.nodesUsed, 0);
});

test('the keys of whole leaves are counted when a range without subtrees is deleted', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const pair = new TreeAndModel(memory);
  const keyOf = (number: number): Buffer => Buffer.from(String(number).padStart(6, '0'));
  for (let number = 0; number < 3000; number++) pair.set(keyOf(number), [number, 0]);
  for (let number = 500; number < 2500; number += 40) pair.deleteRange(keyOf(number), keyOf(number + 40));
  t.true(pair.tree.isCounted);
  t.is(pair.tree.size, 1000);
  verifyAll(memory, [pair], new Random(1));
});

test('a cursor refuses to work after its snapshot was released', (t) => {
  const tree = new Tree(new NodeMemory());
  tree.set(Buffer.from('a'), 1, 1, 2);
  const snapshot = tree.snapshot();
  const cursor = snapshot.cursor();
  t.true(cursor.first());
  snapshot.release();
  snapshot.release();
  t.throws(() => cursor.first(), { code: 'ERR_AIOKV_INTERNAL' });
});

test('an empty tree has an empty snapshot', (t) => {
  const tree = new Tree(new NodeMemory());
  const snapshot = tree.snapshot();
  tree.set(Buffer.from('a'), 1, 1, 2);
  const cursor = snapshot.cursor();
  t.false(cursor.first());
  t.false(cursor.last());
  t.false(cursor.seek(Buffer.from('a'), 1, '>='));
  snapshot.release();
  tree.verify();
});

test('a memory that is restored has its nodes absent, and gives no id twice', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const ids = [1, 3, 1023, 1024, 1025, 5000];
  memory.restore(
    ids,
    ids.map((_, i) => i + 1),
  );
  t.is(memory.bytesUsed, 0);
  for (const [i, id] of ids.entries()) {
    t.is(memory.units(id), i + 1);
    t.false(memory.isResident(id));
    memory.admit(id);
  }
  const used = new Set(ids);
  for (let count = 0; count < 6000; count++) {
    const id = memory.allocate(1);
    t.false(used.has(id));
    used.add(id);
  }
  memory.evict(5000);
  t.is(memory.bytesUsed, (1 + 2 + 3 + 4 + 5 + 6000) * 512);
  memory.verify(used);
});

test('what is written next is told ahead, once and part after part', (t) => {
  const told = new Map<ArrayBufferLike, number>();
  const memory = new NodeMemory({ nodeBytes: 4096, arenaBytes: 4 * MIB });
  for (let nodes = 0; nodes < 5000; nodes++) {
    const id = memory.allocate(1 + (nodes % 3));
    for (let part = memory.untouchedAhead(); part !== null; part = memory.untouchedAhead()) {
      const { arena, fromByte, lengthBytes } = part;
      t.is(fromByte, told.get(arena) ?? 0, 'part after part');
      t.true(lengthBytes > 0 && fromByte + lengthBytes <= arena.byteLength, 'within the arena');
      told.set(arena, fromByte + lengthBytes);
    }
    const end = memory.base(id) * 4 + memory.units(id) * 4096;
    const toldEnd = told.get(memory.words(id).buffer) ?? 0;
    t.true(end <= toldEnd && toldEnd <= end + 4 * MIB, 'ahead of the node, and not far');
  }
  t.true(told.size > 5);
});
