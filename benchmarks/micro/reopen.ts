/**
 * How long a store takes to open, what its index costs, and what a get costs when the index is larger than its
 * memory: keys of 24 bytes in random order.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/reopen.ts [keys] [valueBytes] [memoryMiB] [directory]
 *
 * Default: 1,000,000 keys with values of 100 bytes, the memory that a store takes unless it is told, a temporary directory
 * under the working directory. It loads the store, closes it, opens it; opens it with memory for a tenth of the index and gets 128 random keys at a time; then
 * another process loads a second store, is killed (-9) in the middle of it, and that store is opened.
 */
import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { OpenProgress, Store } from '@aiokv/kv';
import { Drift } from '../common/drift.ts';

const [keyCount = '1000000', valueBytes = '100', memoryMiB = '', parent = '.', mode = ''] = process.argv.slice(2);
const keys = Number(keyCount);
const value = Buffer.alloc(Number(valueBytes), 'v');
const memory = memoryMiB === '' ? {} : { memoryBytes: Number(memoryMiB) * MIB };
const GETS = 100_000;
/** What buffers take at most, with the default options. */
const BUFFER_BYTES = 8.3 * MIB;

function keyOf(number: number): string {
  const spread = (Math.imul(number, 0x9e3779b1) >>> 0).toString().padStart(10, '0');
  return `user${spread}${number.toString().padStart(10, '0')}`;
}

async function load(directory: string, onWritten?: (count: number) => void): Promise<Store> {
  const store = await open(directory, memory);
  let next = 0;
  await Promise.all(
    Array.from({ length: 128 }, async () => {
      while (next < keys) {
        const number = next++;
        await store.put(keyOf(number), value, { durability: 'buffered' });
        if (number % 50_000 === 0) onWritten?.(number);
      }
    }),
  );
  await store.flush();
  return store;
}

function say(what: string, sinceMs: number, more = ''): void {
  console.log(`${what.padEnd(44)} ${((performance.now() - sinceMs) / 1000).toFixed(2).padStart(8)} s  ${more}`);
}

function indexBytesOf(store: Store): number {
  const { memtableBytes, pageBytes } = store.statistics().memory;
  return memtableBytes + pageBytes;
}

/** A budget of which nodes have so much: see packages/kv/src/memory/budget.ts. */
function memoryForNodes(bytes: number): number {
  return Math.floor(Math.min(2 * bytes, ((bytes + BUFFER_BYTES) * 16) / 15));
}

async function loadAndReopen(directory: string): Promise<void> {
  let drift = new Drift();
  let startMs = performance.now();
  let store = await load(directory);
  const rate = Math.round((keys / (performance.now() - startMs)) * 1000);
  say(`load of ${keys} keys`, startMs, `${rate} a second; ${drift.end()}`);
  startMs = performance.now();
  await store.close();
  say('close', startMs);
  drift = new Drift();
  startMs = performance.now();
  store = await open(directory, memory);
  const indexBytes = indexBytesOf(store);
  say('open', startMs, `${(indexBytes / keys).toFixed(1)} bytes of index a key; ${drift.end()}`);
  await store.close();

  startMs = performance.now();
  store = await open(directory, { memoryBytes: memoryForNodes(indexBytes / 10) });
  say('open with memory for a tenth of the index', startMs);
  await store.checkpoint();
  const before = store.statistics();
  const random = new Random(7);
  startMs = performance.now();
  for (let done = 0; done < GETS; done += 128) {
    const wanted = Array.from({ length: 128 }, () => keyOf(random.below(keys)));
    const values = await store.getMany(wanted);
    if (values.some((got) => got?.equals(value) !== true)) throw new Error('a get returned something else');
  }
  const { queue, pageReads } = store.statistics();
  const reads = (queue.accepted - before.queue.accepted) / (Math.ceil(GETS / 128) * 128);
  say(
    `${GETS} gets, 128 at a time`,
    startMs,
    `${reads.toFixed(2)} reads a get, ${pageReads} of pages; index ${indexBytesOf(store)} bytes`,
  );
  await store.close();
}

async function killAndReopen(directory: string): Promise<void> {
  const path = fileURLToPath(import.meta.url);
  const child = fork(path, [keyCount, valueBytes, memoryMiB, directory, 'child'], { execArgv: process.execArgv });
  const killedAt = await new Promise<number>((settle) => {
    child.on('message', (count: number) => {
      if (count < keys * 0.9) return;
      child.kill('SIGKILL');
      settle(count);
    });
  });
  while (child.exitCode === null && child.signalCode === null) await sleep(10);
  const drift = new Drift();
  const startMs = performance.now();
  let replayedBytes = 0;
  const onProgress = ({ phase, doneBytes }: OpenProgress): void => {
    if (phase === 'log') replayedBytes = doneBytes;
  };
  const store = await open(directory, { ...memory, onProgress });
  say(
    'open after kill -9 in the middle of the load',
    startMs,
    `of ${killedAt} keys at least, ${Math.round(replayedBytes / MIB)} MiB replayed; ${drift.end()}`,
  );
  if (store.statistics().sequence < killedAt - 2_000_000) throw new Error('the store is older than a second');
  await store.close();
}

if (mode === 'child') {
  await load(parent, (count) => process.send?.(count));
} else {
  const directory = await mkdtemp(join(resolve(parent), '.tmp-reopen-'));
  try {
    await loadAndReopen(join(directory, 'closed'));
    await killAndReopen(join(directory, 'killed'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
