/** New places of records, and how a merge meets them: packages/kv/src/index/relocations.ts, merge-input.ts. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { MergeInput } from '../../packages/kv/src/index/merge-input.ts';
import { Relocations } from '../../packages/kv/src/index/relocations.ts';
import { fileOffsetOf, highWordOf, lengthOf, lowWordOf } from '../../packages/kv/src/format/index-entry.ts';
import { NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';

function entryOf(fileOffset: number, lengthBytes: number): { readonly word0: number; readonly word1: number } {
  return { word0: lowWordOf(fileOffset), word1: highWordOf(fileOffset, lengthBytes) };
}

/** Random keys, some of them long, as binary strings in their order. */
function keysOf(random: Random, count: number): string[] {
  const keys = new Set<string>();
  while (keys.size < count) {
    const bytes = random.fill(new Uint8Array(random.below(keys.size % 50 === 0 ? 4097 : 12)));
    keys.add(Buffer.from(bytes).toString('latin1'));
  }
  return [...keys].toSorted();
}

test('a merge meets entries and relocations in one order, and of one key the relocation first', (t) => {
  const random = new Random(1);
  for (let round = 0; round < 40; round++) {
    const tree = new Tree(new NodeMemory());
    const relocations = new Relocations();
    const wanted: string[] = [];
    for (const key of keysOf(random, random.below(200))) {
      tree.set(Buffer.from(key, 'latin1'), key.length, 1, 2);
      wanted.push(`${key} entry`);
    }
    const runs = random.below(5);
    let added = 0;
    for (let run = 0; run < runs; run++) {
      for (const key of keysOf(random, random.below(300))) {
        const old = 8 * random.below(2 ** 40);
        const fileOffset = 8 * random.below(2 ** 40);
        const source = Buffer.from(`xx${key}`, 'latin1');
        const pieces = random.chance(0.1) ? [{ from: 8, to: 16, lengthBytes: 100 + added }] : null;
        relocations.add(source, 2, key.length, entryOf(old, 100 + added), fileOffset, pieces);
        wanted.push(`${key} ${old} ${fileOffset} ${100 + added} ${pieces === null ? '' : 'pieces'}`);
        added++;
      }
    }
    t.is(relocations.count, added);
    const snapshot = tree.snapshot();
    const input = new MergeInput(snapshot, relocations);
    const other = new MergeInput(snapshot, relocations);
    const met: string[] = [];
    let last: string | null = null;
    let hasEntry = false;
    input.first();
    other.first();
    for (; input.valid; input.next()) {
      const key = Buffer.from(input.keyBytes.subarray(0, input.keyLength)).toString('latin1');
      t.true(last === null || last <= key);
      if (key !== last) hasEntry = false;
      const { relocation } = input;
      t.false(hasEntry, 'an entry is the last of its key');
      hasEntry = relocation === null;
      if (relocation === null) met.push(`${key} entry`);
      else {
        const { old, new: moved, pieces } = relocation;
        t.is(lengthOf(old), lengthOf(moved));
        if (pieces !== null) t.is(pieces[0]?.lengthBytes, lengthOf(old));
        const what = pieces === null ? '' : 'pieces';
        met.push(`${key} ${fileOffsetOf(old)} ${fileOffsetOf(moved)} ${lengthOf(old)} ${what}`);
      }
      if (random.chance(0.05)) {
        other.goTo(input);
        t.is(Buffer.compare(other.keyBytes.subarray(0, other.keyLength), Buffer.from(key, 'latin1')), 0);
        t.is(other.relocation === null, relocation === null);
      }
      last = key;
    }
    t.deepEqual(met.toSorted(), wanted.toSorted());
    snapshot.release();
  }
});
