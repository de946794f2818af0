/** Leaves that are filled: packages/kv/src/tree/packing.ts, over trees of all kinds of keys. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { NodeMemory, node } from '../../packages/kv/src/tree/index.ts';
import type { Tree } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';
import { TreeAndModel, keyFamilies, verifyAll } from './tree-model.ts';

const SEED = seedOf('AIOKV_PACKING_SEED');

function pack(tree: Tree): void {
  const packing = tree.pack();
  while (!packing.isDone) if (packing.step() !== 0) throw new Error('a leaf is absent');
}

for (const [family, keyOf] of Object.entries(keyFamilies)) {
  test(`PACK-1: a tree of ${family} keys has the same entries when its leaves are filled`, (t) => {
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const random = new Random(seed);
      const one = new TreeAndModel(new NodeMemory({ nodeBytes: seed % 2 === 0 ? 512 : 4096 }));
      for (let round = 0; round < 3; round++) {
        for (let n = 0; n < 1500; n++) {
          const key = keyOf(random);
          if (random.chance(0.4)) one.delete(key);
          else one.set(key, [random.below(2 ** 32), random.below(2 ** 31), ...(random.chance(0.3) ? [n, seed] : [])]);
        }
        if (round > 0) one.freeze();
        pack(one.tree);
        verifyAll(one.memory, [one], random);
      }
      for (const { key } of one.rows.slice()) one.delete(key);
      pack(one.tree);
      verifyAll(one.memory, [one], random);
      t.is(one.tree.size, 0);
    }
  });
}

test('leaves are full afterwards, but for the last one of each parent', (t) => {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const one = new TreeAndModel(memory);
  const random = new Random(SEED);
  for (let n = 0; n < 40_000; n++) one.set(Buffer.from(`user${random.below(1e9)}`.padEnd(24, 'x')), [n, 0]);
  for (const { key } of one.rows.slice()) if (random.chance(0.5)) one.delete(key);
  const before = memory.bytesUsed;
  pack(one.tree);
  verifyAll(one.memory, [one], random);
  while (!memory.reclaimSome(1000));
  t.log(`${before} bytes before, ${memory.bytesUsed} after`);
  t.true(memory.bytesUsed < 0.7 * before);
  let leaves = 0;
  let full = 0;
  for (let id = 1; id < memory.idLimit; id++) {
    if (memory.units(id) === 0 || node.level(memory.words(id), memory.base(id)) > 0) continue;
    leaves++;
    if (node.usedWords(memory.words(id), memory.base(id), memory.unitWords) > 0.95 * memory.unitWords) full++;
  }
  t.true(full > 0.9 * leaves, `${full} of ${leaves}`);
});
