/**
 * How fast a store takes records: many writers, random key order, the final flush counted in.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/load.ts [records] [writers] [durability] [directory]
 *
 * Default: 1,000,000 records of 1 KB, 128 writers, buffered, a temporary directory under the working directory.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { open } from '@aiokv/kv';
import type { Durability } from '@aiokv/kv';
import { keyOf, valueOf } from '../demo/records.ts';

const [records = '1000000', writers = '128', durability = 'buffered', parent = '.'] = process.argv.slice(2);
const count = Number(records);
const directory = await mkdtemp(join(resolve(parent), '.tmp-load-'));
let peakRssBytes = 0;
let maxDriftMs = 0;
let dueMs = performance.now() + 1;
const sampler = setInterval(() => {
  const nowMs = performance.now();
  maxDriftMs = Math.max(maxDriftMs, nowMs - dueMs);
  dueMs = nowMs + 1;
}, 1);
const rssSampler = setInterval(() => {
  peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss());
}, 50);
try {
  const store = await open(directory);
  const startMs = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: Number(writers) }, async () => {
      while (next < count) {
        const n = next++;
        await store.put(keyOf(n), valueOf(n), { durability: durability as Durability });
      }
    }),
  );
  await store.flush();
  const seconds = (performance.now() - startMs) / 1000;
  const { memtableBytes, pageBytes } = store.statistics().memory;
  console.log(
    `${count} records, ${writers} writers, ${durability}: ${Math.round(count / seconds)} records/s, ` +
      `peak RSS ${Math.round(peakRssBytes / 2 ** 20)} MiB, index ${Math.round((memtableBytes + pageBytes) / 2 ** 20)} MiB, ` +
      `longest timer drift ${maxDriftMs.toFixed(1)} ms`,
  );
  await store.close();
} finally {
  clearInterval(sampler);
  clearInterval(rssSampler);
  await rm(directory, { recursive: true, force: true });
}
