/**
 * How soon a store answers from memory again after an opening, with a warm restart and without, and what it costs the reads of its
 * user meanwhile.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/warm-restart.ts [records] [hotKeys] [getsPerSecond] [memoryMiB] [directory]
 *
 * Default: 2,000,000 records of 1,000 bytes, 100,000 hot keys among them, 10,000 gets/s of hot keys, 256 MiB, a temporary directory under
 * the working directory. A store is loaded, its hot keys are read three times, and it is closed. Then it is opened with
 * `warmRestart` and without, in turns, twice each: until nine in ten gets of a quarter of a second are answered from memory.
 */
import { copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { fillStore, keyOf } from './filled-store.ts';

const [records = '2000000', hotKeys = '100000', perSecond = '10000', memoryMiB = '256', parent = '.'] =
  process.argv.slice(2);
const [recordCount, hotCount, rate] = [Number(records), Number(hotKeys), Number(perSecond)];
const memoryBytes = Number(memoryMiB) * MIB;
const WINDOW_MS = 250;
const SECONDS_MOST = 60;
const WANTED = 0.9;

async function heat(directory: string): Promise<void> {
  const store = await open(directory, { memoryBytes });
  for (let times = 0; times < 3; times++) {
    for (let first = 0; first < hotCount; first += 128) {
      const count = Math.min(128, hotCount - first);
      await store.getMany(Array.from({ length: count }, (_, i) => keyOf(first + i)));
    }
  }
  console.log(`${store.statistics().cache.values} values are cached of ${hotCount} hot keys`);
  const began = performance.now();
  await store.close();
  console.log(`closed in ${(performance.now() - began).toFixed(0)} ms`);
}

/** Gets at a fixed rate until most are answered from memory. */
async function read(store: Store, opened: number): Promise<void> {
  const random = new Random(1);
  const latencies: number[] = [];
  const get = async (): Promise<void> => {
    const began = performance.now();
    if ((await store.get(keyOf(random.below(hotCount))))?.length !== 1000) throw new Error('a record is missing');
    latencies.push(performance.now() - began);
  };
  let [asked, hits, misses, shownMs, cpu] = [0, 0, 0, opened, process.cpuUsage()];
  for (;;) {
    await delay(1);
    const now = performance.now();
    for (; asked < ((now - opened) * rate) / 1000; asked++) void get();
    if (now - shownMs < WINDOW_MS) continue;
    const { cache, warm } = store.statistics();
    const part = (cache.hits - hits) / (cache.hits - hits + cache.misses - misses);
    latencies.sort((a, b) => a - b);
    const at = (share: number): string => (latencies[Math.floor(share * latencies.length)] ?? 0).toFixed(2);
    const used = process.cpuUsage(cpu);
    const isWarm = part >= WANTED;
    if (isWarm || Math.floor((now - opened) / 1000) > Math.floor((shownMs - opened) / 1000)) {
      console.log(
        `  ${((now - opened) / 1000).toFixed(1)} s: ${part.toFixed(3)} hits; p50 ${at(0.5)} ms, p90 ${at(0.9)}, p99 ${at(0.99)}; ` +
          `${warm.values} of ${warm.keys} read back; ${((used.user + used.system) / 10 / (now - shownMs)).toFixed(0)} % of a processor`,
      );
    }
    [hits, misses, shownMs, cpu] = [cache.hits, cache.misses, now, process.cpuUsage()];
    latencies.length = 0;
    if (isWarm || now - opened > SECONDS_MOST * 1000) return;
  }
}

const root = await mkdtemp(join(resolve(parent), '.tmp-warm-restart-'));
try {
  const directory = join(root, 'store');
  await fillStore(directory, recordCount, memoryBytes);
  await heat(directory);
  const [note, kept] = [join(directory, 'data.aiokv.hot'), join(root, 'kept')];
  await copyFile(note, kept);
  console.log(`${(await stat(note)).size} bytes of keys`);
  for (const warmRestart of [true, false, true, false]) {
    await copyFile(kept, note);
    const store = await open(directory, { memoryBytes, warmRestart });
    console.log(warmRestart ? 'with a warm restart' : 'without');
    await read(store, performance.now());
    const began = performance.now();
    await store.close();
    console.log(`  closed in ${(performance.now() - began).toFixed(0)} ms`);
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
