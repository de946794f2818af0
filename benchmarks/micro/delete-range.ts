/**
 * What it takes to delete many keys at once, and one by one, and to seek across them: keys of 24 bytes in random order,
 * values of 100 bytes.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/delete-range.ts [keys] [memoryMiB] [directory]
 *
 * Default: 5,000,000 keys, the memory that a store takes by itself, a temporary directory under the working directory. It
 * loads the store and deletes all keys but the first and the last 1000 by one range; seeks across them at once and after
 * the merge; deletes the fifth part of a second load one by one, and seeks across those; then clears the store.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store } from '@aiokv/kv';
import { Drift } from '../common/drift.ts';

const [keyCount = '5000000', memoryMiB = '0', parent = '.'] = process.argv.slice(2);
const keys = Number(keyCount);
const LEFT = 1000;
const BATCH = 1000;
const value = Buffer.alloc(100, 'v');

/** In the order of the numbers. */
function keyOf(number: number): string {
  return `user${number.toString().padStart(20, '0')}`;
}

/** Puts or deletes all keys, in an order that is as good as random. */
async function writeAll(store: Store, count: number, type: 'put' | 'del'): Promise<void> {
  // Coprime with any count that is no multiple of it.
  const stride = 1_000_003;
  for (let first = 0; first < count; first += BATCH) {
    const operations = Array.from({ length: Math.min(BATCH, count - first) }, (_, i): BatchOperation => {
      const key = keyOf(((first + i) * stride) % count);
      return type === 'put' ? { type, key, value } : { type, key };
    });
    await store.batch(operations, { durability: 'buffered' });
  }
}

async function measured(what: string, work: () => Promise<string | void>): Promise<void> {
  const drift = new Drift();
  const sinceMs = performance.now();
  const answer = await work();
  const tookMs = performance.now() - sinceMs;
  console.log(`${what.padEnd(46)} ${tookMs.toFixed(1).padStart(9)} ms  ${drift.end()}  ${answer ?? ''}`);
}

/** The first key from `from` on. */
async function seek(store: Store, from: string): Promise<string> {
  const { value: row } = await store.iterator({ gte: from, limit: 1 }).next();
  return row?.[0].toString() ?? 'no key';
}

/** The same, across all keys that were deleted one by one. */
async function seekAll(deleted: number): Promise<string> {
  const sinceMs = performance.now();
  const pagesBefore = store.statistics().pageReads;
  const found = await seek(store, '');
  const nsPerKey = ((performance.now() - sinceMs) * 1e6) / deleted;
  return `${found}, ${nsPerKey.toFixed(0)} ns a key, ${store.statistics().pageReads - pagesBefore} leaves read`;
}

const directory = await mkdtemp(join(resolve(parent), '.tmp-delete-range-'));
const store = await open(directory, Number(memoryMiB) === 0 ? {} : { memoryBytes: Number(memoryMiB) * MIB });
try {
  await measured(`load of ${keys} keys`, () => writeAll(store, keys, 'put'));
  const range = { gte: keyOf(LEFT), lt: keyOf(keys - LEFT) };
  await measured(`deleteRange of ${keys - 2 * LEFT}, flushed`, () => store.deleteRange(range));
  await measured('seek across it', () => seek(store, keyOf(LEFT)));
  await measured('another', () => seek(store, keyOf(LEFT)));
  await measured('the merge', () => store.checkpoint());
  await measured('seek across it', () => seek(store, keyOf(LEFT)));
  const few = Math.floor(keys / 5);
  await writeAll(store, few, 'put');
  await store.checkpoint();
  await writeAll(store, few, 'del');
  await measured(`seek across ${few} keys deleted one by one`, () => seekAll(few));
  await measured('another', () => seekAll(few));
  await measured('clear, flushed', () => store.clear());
  await measured('seek across it', () => seek(store, ''));
  await measured('the merge', () => store.checkpoint());
  const { liveBytes, fileBytes } = store.statistics().space;
  console.log(`${(liveBytes / MIB).toFixed(1)} MiB live of ${(fileBytes / MIB).toFixed(0)} MiB`);
} finally {
  await store.close();
  await rm(directory, { recursive: true });
}
