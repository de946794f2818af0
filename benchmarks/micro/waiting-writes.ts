/**
 * Puts that are all called in one turn, and a batch of conditions on a store that was just opened.
 *
 * ```
 * node --import=tsx --conditions=@aiokv/source benchmarks/micro/waiting-writes.ts [puts] [conditions]
 * ```
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB, nowMs } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { BatchOperation } from '@aiokv/kv';

const [puts = 400_000, conditions = 20_000] = process.argv.slice(2).map(Number);

/** The longest time between two ticks of a timer of a millisecond, while some work goes on. */
async function longestStallMs(work: () => Promise<unknown>): Promise<number> {
  const going = work();
  let lastMs = nowMs();
  let mostMs = 0;
  const tick = (): void => {
    mostMs = Math.max(mostMs, nowMs() - lastMs);
    lastMs = nowMs();
  };
  const timer = setInterval(tick, 1);
  await going;
  tick();
  clearInterval(timer);
  return mostMs;
}

const parent = await mkdtemp(resolve('.tmp-waiting-'));
try {
  let store = await open(join(parent, 'puts'));
  const value = Buffer.alloc(100, 'v');
  const startMs = nowMs();
  let callsMs = 0;
  const stallMs = await longestStallMs(() => {
    const calls: Promise<void>[] = [];
    for (let n = 0; n < puts; n++) calls.push(store.put(`key${n}`, value));
    callsMs = nowMs() - startMs;
    return Promise.all(calls);
  });
  const { rss } = process.memoryUsage();
  console.log(
    `${puts} puts in one turn: calls ${callsMs.toFixed(0)} ms, all ${(nowMs() - startMs).toFixed(0)} ms, ` +
      `longest stall after the calls ${stallMs.toFixed(0)} ms, ${(rss / MIB).toFixed(0)} MiB`,
  );
  await store.close();

  const directory = join(parent, 'conditions');
  store = await open(directory);
  const operations: BatchOperation[] = [];
  for (let n = 0; n < conditions; n++) await store.put(`key${n}`, Buffer.alloc(300, 'v'), { durability: 'buffered' });
  for (let n = 0; n < conditions; n++) {
    const found = await store.getVersioned(`key${n}`);
    if (found !== undefined) operations.push({ type: 'put', key: `key${n}`, value: 'new', ifVersion: found.version });
  }
  await store.close();
  store = await open(directory);
  const judgedMs = nowMs();
  await store.batch(operations);
  console.log(`a batch of ${conditions} with ifVersion, all to be read: ${(nowMs() - judgedMs).toFixed(0)} ms`);
  await store.close();
} finally {
  await rm(parent, { recursive: true, force: true });
}
