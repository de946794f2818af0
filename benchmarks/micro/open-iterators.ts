/**
 * What iterators cost that stay open: so many are opened at different moments of a write load, and none is ended before
 * all are open. Each has taken its first entry.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/open-iterators.ts [iterators] [putsBetween] [memoryMiB] [keys]
 *
 * Default: 1,000 iterators with 100 puts between two of them, 64 MiB, 200,000 keys of 24 bytes with values of 100.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { forgetHighestRss, highestRssBytes } from '../meters/footprint.ts';

const [iterators = 1000, putsBetween = 100, memoryMiB = 64, keys = 200_000] = process.argv.slice(2).map(Number);
const value = Buffer.alloc(100, 'v');
const random = new Random(7);

function keyOf(number: number): string {
  return `user${(Math.imul(number, 0x9e3779b1) >>> 0).toString().padStart(20, '0')}`;
}

async function putSome(store: Store, count: number, next: () => number): Promise<void> {
  for (let done = 0; done < count;) {
    const some = Math.min(128, count - done);
    const puts = Array.from({ length: some }, () => store.put(keyOf(next()), value, { durability: 'buffered' }));
    await Promise.all(puts);
    done += some;
  }
}

function say(what: string, store: Store, startMs: number): void {
  const { memory, space } = store.statistics();
  const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(
    `${what.padEnd(36)} ${seconds.padStart(6)} s; RSS ${mib(process.memoryUsage.rss())} MiB, highest ${mib(highestRssBytes())};` +
      ` pages ${mib(memory.pageBytes)}, memtables ${mib(memory.memtableBytes)}; file ${mib(space.fileBytes)}, live ${mib(space.liveBytes)}`,
  );
}

const directory = await mkdtemp(resolve('.tmp-iterators-'));
try {
  const store = await open(directory, { memoryBytes: memoryMiB * MIB });
  let startMs = performance.now();
  let loaded = 0;
  await putSome(store, keys, () => loaded++);
  say(`${keys} keys loaded`, store, startMs);
  forgetHighestRss();
  startMs = performance.now();
  const opened = [];
  for (let n = 0; n < iterators; n++) {
    const iterator = store.iterator({ gte: keyOf(random.below(keys)) });
    await iterator.next();
    opened.push(iterator);
    await putSome(store, putsBetween, () => random.below(keys));
    if ((n + 1) % Math.ceil(iterators / 5) === 0) say(`${n + 1} iterators open`, store, startMs);
  }
  startMs = performance.now();
  let entries = 0;
  for (const iterator of opened) {
    for (let n = 0; n < 50; n++) if ((await iterator.next()).done !== true) entries++;
    await iterator.return();
  }
  say(`${entries} entries more, and all ended`, store, startMs);
  startMs = performance.now();
  await store.checkpoint();
  await store.checkpoint();
  say('after two checkpoints', store, startMs);
  await store.close();
} finally {
  await rm(directory, { recursive: true, force: true });
}
