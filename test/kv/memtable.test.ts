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
import { MemtableReader } from '../../packages/kv/src/index/memtable-reader.ts';
import type { MemtableCursor } from '../../packages/kv/src/index/memtable-reader.ts';
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
  memtable.drop();
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
  const cursor = stage.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    memtable.take(cursor.keyBytes, cursor.keyLength, cursor.entry, stage);
  }
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
  const before = new MemtableReader(memtable, (AFTER + 300) as Sequence);
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
  const after = new MemtableReader(memtable, (AFTER + 402) as Sequence);
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
  t.is(look(100), MISSING);
  before.release();
  after.release();
  memtable.deleteRange(Buffer.alloc(0), 0, null, 0, AFTER + 501);
  t.is(memtable.size, 0, 'nobody reads it any more');
  const reachable = new Set<number>();
  memtable.verify(reachable);
  memory.verify(reachable);
  memtable.drop();
  t.true(memtable.isEmpty);
  while (!memory.reclaimSome(100));
  t.is(memory.nodesUsed, 0);
});

/** What a reader sees of a key: the sequence of a put, `null` for a deletion, `undefined` if older layers decide. */
type Seen = number | null | undefined;

/** Everything that a reader sees, by looking up each key, by walking forward, and by walking backward. */
function readAll(memtable: Memtable, reader: MemtableReader, keys: readonly Buffer[]): Map<string, Seen> {
  const found = new Map<string, Seen>();
  for (const key of keys) {
    const outcome = reader.find(key, key.length, entry);
    found.set(key.toString(), outcome === OLDER ? undefined : outcome === MISSING ? null : memtable.sequenceOf(entry));
  }
  return found;
}

function walkAll(memtable: Memtable, cursor: MemtableCursor, forward: boolean): [string, Seen][] {
  const rows: [string, Seen][] = [];
  for (let more = forward ? cursor.first() : cursor.last(); more; more = forward ? cursor.next() : cursor.previous()) {
    if (cursor.isUnseen) continue;
    const key = Buffer.from(cursor.keyBytes.subarray(0, cursor.keyLength)).toString();
    rows.push([key, isDeletion(cursor.entry) ? null : memtable.sequenceOf(cursor.entry)]);
  }
  return rows;
}

interface ReaderCase {
  readonly reader: MemtableReader;
  /** What it must see. */
  readonly seen: ReadonlyMap<string, Seen>;
  /** A walk that goes on while the memtable changes, and the keys that it must meet. */
  readonly cursor: MemtableCursor;
  readonly left: string[];
}

test('MEMTABLE-3: a reader sees what was there when it began, however the memtable changes', (t) => {
  const keys = Array.from({ length: 120 }, (_, n) => Buffer.from(`k${'y'.repeat(n % 7)}${n}`)).sort((a, b) =>
    Buffer.compare(a, b),
  );
  for (let seed = SEED; seed < SEED + 40; seed++) {
    const message = `AIOKV_MEMTABLE_SEED=${seed}`;
    const random = new Random(seed);
    const memory = new NodeMemory({ nodeBytes: 512 });
    const memtable = new Memtable(memory, AFTER);
    const model = new Map<string, Seen>(keys.map((key) => [key.toString(), undefined]));
    const cases: ReaderCase[] = [];
    let sequence: number = AFTER;
    const begin = (): void => {
      const reader = new MemtableReader(memtable, sequence as Sequence);
      const seen = new Map(model);
      const entries = walkAll(memtable, reader.cursor(), true);
      for (const [key, what] of entries) t.is(what, seen.get(key), message);
      const left = entries.map(([key]) => key);
      for (const [key, what] of seen) if (typeof what === 'number') t.true(left.includes(key), message);
      cases.push({ reader, seen, cursor: reader.cursor(), left });
    };
    const change = (): void => {
      const at = random.below(keys.length);
      const key = keys[at] as Buffer;
      sequence += 1 + random.below(3);
      if (random.chance(0.03)) {
        const end = random.chance(0.1) ? keys.length : Math.min(keys.length, at + 1 + random.below(40));
        const to = keys[end] ?? null;
        memtable.deleteRange(key, key.length, to, to?.length ?? 0, sequence);
        for (const other of keys.slice(at, end)) model.set(other.toString(), null);
      } else if (random.chance(0.2)) {
        memtable.delete(key, key.length, sequence);
        model.set(key.toString(), null);
      } else {
        if (random.chance(0.3)) memtable.putInline(key, key.length, key, 0, 1, sequence);
        else memtable.putRecord(key, key.length, 800, 100, sequence);
        model.set(key.toString(), sequence);
      }
    };
    const end = (): void => {
      for (const one of cases.splice(random.below(cases.length), 1)) one.reader.release();
    };
    for (let step = 0; step < 1500; step++) {
      if (random.chance(0.03)) begin();
      else if (random.chance(0.02)) end();
      else change();
      if (random.chance(0.01)) while (cases.length > 0) end();
      for (const { cursor, left, seen } of cases) {
        if (left.length === 0 || !random.chance(0.2)) continue;
        let more = cursor.valid ? cursor.next() : cursor.first();
        while (more && cursor.isUnseen) more = cursor.next();
        t.true(more, message);
        const key = Buffer.from(cursor.keyBytes.subarray(0, cursor.keyLength)).toString();
        t.is(key, left.shift() as string, message);
        t.is(
          isDeletion(cursor.entry) ? null : memtable.sequenceOf(cursor.entry),
          seen.get(key) as number | null,
          message,
        );
      }
      if (step % 100 > 0) continue;
      memtable.verify(new Set());
      for (const key of keys) {
        const outcome = memtable.find(key, key.length, entry);
        const known = model.get(key.toString());
        t.is(outcome === FOUND ? memtable.sequenceOf(entry) : outcome === MISSING ? null : undefined, known, message);
      }
      for (const { reader, seen } of cases) {
        t.deepEqual(readAll(memtable, reader, keys), new Map(seen), message);
        const backward = walkAll(memtable, reader.cursor(), false).reverse();
        t.deepEqual(walkAll(memtable, reader.cursor(), true), backward, message);
        for (const [key, what] of backward) t.is(what, seen.get(key), message);
      }
    }
    memtable.drop();
    while (cases.length > 0) end();
    while (!memory.reclaimSome(100));
    t.is(memory.nodesUsed, 0, message);
  }
});

test('MEMTABLE-4: what readers keep is what was replaced, counts, and is let go with the last of them', (t) => {
  const memory = new NodeMemory();
  const memtable = new Memtable(memory, AFTER);
  const [keys, rounds] = [2000, 50];
  let sequence: number = AFTER;
  const putAll = (): void => {
    for (let n = 0; n < keys; n++) {
      const key = keyOf(n);
      memtable.putRecord(key, key.length, 800, 100, ++sequence);
    }
  };
  putAll();
  const alone = memtable.bytes;
  putAll();
  t.is(memtable.bytes, alone, 'nothing is kept for nobody');
  const readers: MemtableReader[] = [];
  for (let round = 0; round < rounds; round++) {
    readers.push(new MemtableReader(memtable, sequence as Sequence));
    for (let n = 0; n < 20; n++) {
      const key = keyOf((n * 97 + round) % keys);
      memtable.putRecord(key, key.length, 800, 100, ++sequence);
    }
  }
  t.is(memtable.history?.size, rounds * 20);
  t.true(memtable.bytes > alone && memtable.bytes < alone + rounds * 20 * 200, `${memtable.bytes - alone} bytes more`);
  t.is(memory.bytesUsed, memtable.bytes);
  const before = memtable.history?.size;
  putAll();
  putAll();
  t.true((memtable.history?.size as number) - (before as number) <= keys, 'what no reader sees is not kept');
  for (const reader of readers) reader.release();
  while (!memory.reclaimSome(100));
  t.is(memtable.bytes, alone);
  t.is(memory.bytesUsed, alone);
});

test('MEMTABLE-3: the longest keys have a history', (t) => {
  const memtable = new Memtable(new NodeMemory(), AFTER);
  const key = Buffer.alloc(4096, 'k');
  memtable.putRecord(key, key.length, 800, 100, AFTER + 1);
  const reader = new MemtableReader(memtable, (AFTER + 1) as Sequence);
  memtable.delete(key, key.length, AFTER + 2);
  t.is(memtable.find(key, key.length, entry), MISSING);
  t.is(reader.find(key, key.length, entry), FOUND);
  t.is(memtable.sequenceOf(entry), AFTER + 1);
  reader.release();
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
