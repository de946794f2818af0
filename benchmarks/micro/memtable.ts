/**
 * What a memtable costs, alone: bytes of nodes and processor time for each entry.
 *
 *   node --expose-gc --import=tsx --conditions=@aiokv/source benchmarks/micro/memtable.ts [entries] [nodeBytes]
 *
 * The defaults are 1,000,000 entries and 4096 bytes. Keys have 24 bytes and come in random order, then in ascending
 * order. Each round fills a memtable in memory that was never touched, walks over it in key order as a merge does, drops
 * it, and fills the next one in the same memory, as `KeyIndex` does.
 */
import { Random } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { Memtable } from '../../packages/kv/src/index/memtable.ts';
import { Entry, FOUND, NodeMemory } from '../../packages/kv/src/tree/index.ts';

const [count = '1000000', unit = '4096'] = process.argv.slice(2);
const entries = Number(count);
const nodeBytes = Number(unit);
const KEY_BYTES = 24;
const RECORD_BYTES = 1064;
const ROUNDS = 3;
/** Bytes for each entry are noted so many times while a memtable fills: leaves that fill evenly split together. */
const LOOKS = 32;

/** One key behind the other, so that making them costs nothing while the clock runs. */
function pack(names: readonly string[]): Buffer {
  const packed = Buffer.alloc(names.length * KEY_BYTES);
  for (const [n, name] of names.entries()) packed.write(name, n * KEY_BYTES, KEY_BYTES, 'latin1');
  return packed;
}

/** The same keys in random and in ascending order. No string is kept: a large heap would be measured too. */
function makeKeys(): Readonly<Record<'random' | 'ascending', Buffer>> {
  const random = new Random(42);
  const digits = (): string => `${random.below(9e9) + 1e9}${random.below(9e9) + 1e9}`;
  const names = Array.from({ length: entries }, () => `user${digits()}`);
  const shuffled = pack(names);
  names.sort();
  return { random: shuffled, ascending: pack(names) };
}

const key = new Uint8Array(4096);
const entry = new Entry();

function load(keys: Buffer, n: number): void {
  const from = n * KEY_BYTES;
  for (let at = 0; at < KEY_BYTES; at++) key[at] = keys[from + at] as number;
}

/** Microseconds of processor time, user and system, for each entry. */
function cpuOf(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / entries;
}

/** Fills a memtable as `KeyIndex.admitPut` does. Returns bytes of nodes for each entry at each look. */
function fill(memory: NodeMemory, memtable: Memtable, keys: Buffer): number[] {
  const bytes: number[] = [];
  const step = Math.ceil(entries / LOOKS);
  for (let n = 0; n < entries; n++) {
    load(keys, n);
    memtable.putRecord(key, KEY_BYTES, n * RECORD_BYTES, RECORD_BYTES, n + 1);
    if ((n + 1) % step === 0) bytes.push(memory.bytesUsed / memtable.size);
  }
  return bytes;
}

/** In key order. */
function walk(memtable: Memtable): void {
  const cursor = memtable.cursor();
  let seen = 0;
  for (let more = cursor.first(); more; more = cursor.next()) seen += cursor.keyLength > 0 ? 1 : 0;
  if (seen !== memtable.size) throw new Error('the walk ended early');
}

/** Every key, in an order that has nothing to do with that of the insertions. */
function find(memtable: Memtable, keys: Buffer): void {
  let found = 0;
  for (let n = 0; n < entries; n++) {
    load(keys, (n * 7919) % entries);
    found += memtable.find(key, KEY_BYTES, entry) === FOUND ? 1 : 0;
  }
  if (found !== entries) throw new Error('a key was not found');
}

function drop(memory: NodeMemory, memtable: Memtable): void {
  memtable.drop();
  while (!memory.reclaimSome(1000));
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >>> 1] as number;
}

function measure(name: string, keys: Buffer): void {
  const lines = new Map<string, number[]>();
  const note = (what: string, us: number): void => void lines.set(what, [...(lines.get(what) ?? []), us]);
  let bytes: number[] = [];
  let total = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const memory = new NodeMemory({ nodeBytes });
    let memtable = new Memtable(memory, 0 as Sequence);
    note(
      'fill, memory never touched',
      cpuOf(() => (bytes = fill(memory, memtable, keys))),
    );
    total = memory.bytesUsed / memtable.size;
    note(
      'walk in key order',
      cpuOf(() => walk(memtable)),
    );
    note(
      'find',
      cpuOf(() => find(memtable, keys)),
    );
    note(
      'drop',
      cpuOf(() => drop(memory, memtable)),
    );
    memtable = new Memtable(memory, 0 as Sequence);
    note(
      'fill, memory used before',
      cpuOf(() => void fill(memory, memtable, keys)),
    );
    globalThis.gc?.();
  }
  // The first looks see few leaves.
  const later = bytes.slice(LOOKS / 8).sort((a, b) => a - b);
  const range = `${later[0]?.toFixed(1)} to ${later.at(-1)?.toFixed(1)} on the way`;
  console.log(`\n${name}: ${total.toFixed(1)} bytes of nodes an entry (${range})`);
  for (const [what, us] of lines) {
    console.log(`  ${what.padEnd(28)} ${middle(us).toFixed(2)} us an entry, least ${Math.min(...us).toFixed(2)}`);
  }
}

console.log(`${entries} entries, keys of ${KEY_BYTES} bytes, nodes of ${nodeBytes}, Node ${process.version}`);
console.log(`processor time; median and least of ${ROUNDS} rounds; each with the copying of its key`);
const { random, ascending } = makeKeys();
globalThis.gc?.();
measure('random', random);
measure('ascending', ascending);
