/** Copies of records, sorted by key: packages/kv/src/clean/survivors.ts. */
import test from 'ava';
import { MIB, Random } from '@aiokv/core';
import { Survivors } from '../../packages/kv/src/clean/survivors.ts';
import { isInFragments, lengthOf, lengthWordOf } from '../../packages/kv/src/format/index-entry.ts';
import type { Block } from '../../packages/kv/src/format/words.ts';
import { NodeMemory } from '../../packages/kv/src/tree/index.ts';

function blockOf(byteLength: number): Block {
  const bytes = new Uint8Array(byteLength);
  return { bytes, view: new DataView(bytes.buffer) };
}

test('survivors come out in key order, as they went in', (t) => {
  const random = new Random(1);
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const survivors = new Survivors(memory);
  for (let round = 0; round < 4; round++) {
    const model = new Map<string, { copy: Buffer; inFragments: boolean }>();
    const words0 = new Map<string, number>();
    const source = blockOf(2 * MIB);
    random.fill(source.bytes);
    let copied = 0;
    for (let n = 0; n < 300; n++) {
      const key = random.fill(new Uint8Array(random.below(n % 20 === 0 ? 4097 : 30)));
      const lengthBytes = 24 + random.below(n % 10 === 0 ? 200_000 : 3000);
      const at = random.below(source.bytes.length - lengthBytes);
      const inFragments = random.chance(0.2);
      const name = Buffer.from(key).toString('latin1');
      if (model.has(name)) continue;
      const entry = { word0: n, word1: lengthWordOf(lengthBytes, inFragments) };
      survivors.add(key, key.length, source, at, entry);
      words0.set(name, n);
      model.set(name, { copy: Buffer.from(source.bytes.slice(at, at + lengthBytes)), inFragments });
      copied += lengthBytes;
    }
    // What was copied from may change.
    source.bytes.fill(0);
    t.true(survivors.bytes >= copied && survivors.bytes < copied + copied / 3 + MIB, `${survivors.bytes} of ${copied}`);
    const snapshot = survivors.tree.snapshot();
    const walk = snapshot.cursor();
    const sorted = [...model].sort(([a], [b]) => Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1')));
    walk.first();
    for (const [name, { copy, inFragments }] of sorted) {
      t.is(Buffer.from(walk.keyBytes.subarray(0, walk.keyLength)).toString('latin1'), name);
      const target = blockOf(copy.length + 16);
      const lengthBytes = lengthOf(walk.entry);
      t.is(lengthBytes, copy.length);
      t.is(isInFragments(walk.entry), inFragments);
      t.is(walk.entry.extra[0], words0.get(name));
      survivors.copyTo(walk.entry, lengthBytes, target, 8);
      t.is(Buffer.compare(target.bytes.subarray(8, 8 + lengthBytes), copy), 0);
      walk.next();
    }
    t.false(walk.valid);
    snapshot.release();
    survivors.clear();
    t.is(survivors.bytes, 0);
    t.is(survivors.tree.size, 0);
  }
});
