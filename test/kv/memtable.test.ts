/** The memtable: entries with their sequences, against a map. */
import test from 'ava';
import { Random } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import {
  fileOffsetOf,
  isDeletion,
  INLINE_BYTES_MAX,
  inlineValueOf,
  isInFragments,
  isInline,
  lengthOf,
  lengthWordOf,
} from '../../packages/kv/src/format/index-entry.ts';
import { Memtable, OLDER } from '../../packages/kv/src/index/memtable.ts';
import type { MemtableLookup } from '../../packages/kv/src/index/memtable.ts';
import { Entry, FOUND, MISSING, NodeMemory } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_MEMTABLE_SEED');
const AFTER = (2 ** 52 + 12_345) as Sequence;
const entry = new Entry();

/** What was written last of a key. */
interface Write {
  readonly sequence: number;
  /** Not null: the value is inline. */
  readonly value: Buffer | null;
  /** Null, and no value: a deletion. */
  readonly place: { readonly fileOffset: number; readonly lengthBytes: number; readonly inFragments: boolean } | null;
}

function keyOf(number: number): Buffer {
  return Buffer.from(`key${'x'.repeat(number % 40)}${number}`);
}

/** Writes at random to a memtable and a map. Returns the last sequence. */
function write(memtable: Memtable, expected: Map<number, Write>, random: Random, from: number, count: number): number {
  let sequence = from;
  for (let i = 0; i < count; i++) {
    sequence += random.chance(0.1) ? random.below(1000) + 1 : 1;
    const number = random.below(500);
    const key = keyOf(number);
    if (random.chance(0.3)) {
      memtable.delete(key, key.length, sequence);
      expected.set(number, { sequence, value: null, place: null });
    } else if (random.chance(0.5)) {
      const value = random.fill(Buffer.alloc(random.below(INLINE_BYTES_MAX + 1))) as Buffer;
      memtable.putInline(key, key.length, Buffer.concat([key, value]), key.length, value.length, sequence);
      expected.set(number, { sequence, value, place: null });
    } else {
      const place = {
        fileOffset: random.below(2 ** 44) * 8,
        lengthBytes: random.below(2 ** 18),
        inFragments: random.chance(0.1),
      };
      const lengthWord = lengthWordOf(place.lengthBytes, place.inFragments);
      memtable.putRecord(key, key.length, place.fileOffset, lengthWord, sequence);
      expected.set(number, { sequence, value: null, place });
    }
  }
  return sequence;
}

function requireEntry(
  t: { is(a: unknown, b: unknown): void },
  memtable: Memtable,
  { sequence, value, place }: Write,
): void {
  t.is(memtable.sequenceOf(entry), sequence);
  t.is(isDeletion(entry), place === null && value === null);
  t.is(isInline(entry), value !== null);
  if (value !== null) t.is(inlineValueOf(entry).toString('hex'), value.toString('hex'));
  t.is(isInFragments(entry), place?.inFragments === true);
  if (place === null) return;
  t.is(fileOffsetOf(entry), place.fileOffset);
  t.is(lengthOf(entry), place.lengthBytes);
}

function outcomeOf(known: Write | undefined): MemtableLookup {
  if (known === undefined) return OLDER;
  return known.place === null && known.value === null ? MISSING : FOUND;
}

test('MEMTABLE-1: each entry has the sequence of its write, above 2^52 too', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const random = new Random(SEED);
  const memtable = new Memtable(memory, AFTER);
  const expected = new Map<number, Write>();
  let sequence: number = AFTER;
  for (let round = 0; round < 20; round++) {
    sequence = write(memtable, expected, random, sequence, 300);
    t.is(memtable.size, expected.size);
    memtable.verify(new Set());
    for (let number = 0; number < 500; number++) {
      const key = keyOf(number);
      const known = expected.get(number);
      t.is(memtable.find(key, key.length, entry), outcomeOf(known), `AIOKV_MEMTABLE_SEED=${SEED}`);
      if (known !== undefined) requireEntry(t, memtable, known);
    }
  }
  memtable.clear();
  while (!memory.reclaimSome(100));
  t.is(memory.nodesUsed, 0);
});

test('the entries of another memtable keep their sequences', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const random = new Random(SEED);
  const expected = new Map<number, Write>();
  const memtable = new Memtable(memory, AFTER);
  const before = write(memtable, expected, random, AFTER, 1000);
  const stage = new Memtable(memory, before as Sequence);
  write(stage, expected, random, before, 1000);
  const snapshot = stage.snapshot();
  const cursor = snapshot.keys.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    memtable.take(cursor.keyBytes, cursor.keyLength, cursor.entry, stage);
  }
  snapshot.release();
  for (const [number, known] of expected) {
    const key = keyOf(number);
    t.is(memtable.find(key, key.length, entry), outcomeOf(known));
    requireEntry(t, memtable, known);
  }
});

test('MEMTABLE-2: a range removes the entries that it deletes, and hides what is older; later entries stand', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const memtable = new Memtable(memory, AFTER);
  const nameOf = (number: number): Buffer => Buffer.from(String(number).padStart(3, '0'));
  for (let n = 0; n < 300; n += 2) memtable.putRecord(nameOf(n), 3, 800, 100, AFTER + 1 + n);
  t.false(memtable.isEmpty);
  const before = memtable.snapshot();
  memtable.deleteRange(nameOf(50), 3, nameOf(250), 3, AFTER + 400);
  memtable.putRecord(nameOf(100), 3, 1600, 100, AFTER + 401);
  memtable.delete(nameOf(102), 3, AFTER + 402);
  const look = (n: number): MemtableLookup => memtable.find(nameOf(n), 3, entry);
  t.deepEqual([48, 49, 50, 51, 100, 102, 249, 250, 251].map(look), [
    FOUND,
    OLDER,
    MISSING,
    MISSING,
    FOUND,
    MISSING,
    MISSING,
    FOUND,
    OLDER,
  ]);
  const after = memtable.snapshot();
  t.deepEqual(
    [48, 51, 60, 100].map((n) => before.find(nameOf(n), 3, entry)),
    [FOUND, OLDER, FOUND, FOUND],
  );
  t.deepEqual(
    [48, 51, 60, 100].map((n) => after.find(nameOf(n), 3, entry)),
    [FOUND, MISSING, MISSING, FOUND],
  );
  t.is(before.ranges, null);
  t.false(memtable.deletesAll);
  memtable.deleteRange(Buffer.alloc(0), 0, null, 0, AFTER + 500);
  t.true(memtable.deletesAll);
  t.false(memtable.isEmpty);
  t.is(memtable.size, 0);
  t.is(look(100), MISSING);
  before.release();
  after.release();
  const reachable = new Set<number>();
  memtable.verify(reachable);
  memory.verify(reachable);
  memtable.clear();
  t.true(memtable.isEmpty);
  while (!memory.reclaimSome(100));
  t.is(memory.nodesUsed, 0);
});

test('MEMTABLE-1: no write is as old as what the memtable is behind', (t) => {
  const memtable = new Memtable(new NodeMemory(), AFTER);
  const key = keyOf(1);
  t.throws(() => memtable.delete(key, key.length, AFTER), { message: /MEMTABLE-1/u });
});

test('a memtable is spent before its sequences need more than 32 bits', (t) => {
  const memtable = new Memtable(new NodeMemory(), AFTER);
  const key = keyOf(1);
  memtable.putRecord(key, key.length, 8, 100, AFTER + 2 ** 31 - 1);
  t.false(memtable.isSpent);
  memtable.delete(key, key.length, AFTER + 2 ** 31);
  t.true(memtable.isSpent);
  memtable.putRecord(key, key.length, 8, 100, AFTER + 2 ** 32 - 1);
  t.is(memtable.find(key, key.length, entry), FOUND);
  t.is(memtable.sequenceOf(entry), AFTER + 2 ** 32 - 1);
  t.throws(() => memtable.putRecord(key, key.length, 8, 100, AFTER + 2 ** 32), { message: /MEMTABLE-1/u });
});
