/**
 * The process that is measured. It loads twice as many records as are wanted, in random order of keys, deletes every
 * second one, opens the store again, and compacts it. What to do comes as JSON in its argument; its figures go to stdout.
 */
import { statSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store } from '@aiokv/kv';
import { forgetHighestRss, highestRssBytes, spaceBytesOf, writtenBytes } from '../meters/footprint.ts';

export interface Task {
  /** Records that are left. */
  readonly records: number;
  readonly valueBytes: number;
  /** 0: what the store takes by itself. */
  readonly memoryBytes: number;
  readonly directory: string;
}

export interface Figures {
  /** Keys and values of what is left. */
  readonly liveBytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly writtenBytes: number;
  /** Blocks of the directory before it, at most, and after it; and the length of the file then. */
  readonly beforeBytes: number;
  readonly mostBytes: number;
  readonly afterBytes: number;
  readonly fileBytes: number;
  readonly rssBytes: number;
  readonly driftP99Ms: number;
  readonly driftMaxMs: number;
  /** Records a second of a scan before it and after it. */
  readonly scanBefore: number;
  readonly scanAfter: number;
}

const KEY_BYTES = 24;
const BATCH_RECORDS = 1000;
const SCANNED = 200_000;
const LOOK_MS = 50;
/** Odd, and no multiple of a small prime: steps through all numbers in an order that is not theirs. */
const STRIDE = 15_485_863;

/** Neighbours in number are none in order. */
function keyOf(n: number): string {
  const scattered = Math.imul(n, 2_654_435_761) >>> 0;
  return `user${String(scattered).padStart(10, '0')}${String(n).padStart(10, '0')}`;
}

async function load(store: Store, { records, valueBytes }: Task): Promise<void> {
  const random = new Random(1);
  const bytes = random.fill(new Uint8Array(valueBytes + 65_536));
  const all = 2 * records;
  for (let n = 0; n < all; n += BATCH_RECORDS) {
    const batch: BatchOperation[] = [];
    for (let i = n; i < Math.min(all, n + BATCH_RECORDS); i++) {
      const from = random.below(65_536);
      batch.push({ type: 'put', key: keyOf((i * STRIDE) % all), value: bytes.subarray(from, from + valueBytes) });
    }
    await store.batch(batch, { durability: 'buffered' });
  }
  for (let n = 0; n < all; n += 2 * BATCH_RECORDS) {
    const batch: BatchOperation[] = [];
    for (let i = n; i < Math.min(all, n + 2 * BATCH_RECORDS); i += 2) batch.push({ type: 'del', key: keyOf(i) });
    await store.batch(batch, { durability: 'buffered' });
  }
}

async function scan(store: Store): Promise<number> {
  const startMs = performance.now();
  let count = 0;
  for await (const _ of store.iterator({ limit: SCANNED })) count++;
  return (count * 1000) / (performance.now() - startMs);
}

async function run(task: Task): Promise<Figures> {
  const { records, valueBytes, memoryBytes, directory } = task;
  const memory = memoryBytes === 0 ? {} : { memoryBytes };
  const liveBytes = records * (KEY_BYTES + valueBytes);
  // Nothing is cleaned during the load.
  const loading = await open(directory, { ...memory, spaceAmplificationMax: 10 });
  await load(loading, task);
  await loading.close();
  const store = await open(directory, memory);
  const scanBefore = await scan(store);
  const beforeBytes = spaceBytesOf(directory);
  let mostBytes = beforeBytes;
  const look = setInterval(() => {
    mostBytes = Math.max(mostBytes, spaceBytesOf(directory));
  }, LOOK_MS);
  const loop = monitorEventLoopDelay({ resolution: 1 });
  forgetHighestRss();
  const written = writtenBytes();
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  loop.enable();
  await store.compact();
  const seconds = (performance.now() - startMs) / 1000;
  loop.disable();
  clearInterval(look);
  const { user, system } = process.cpuUsage(cpu);
  const figures = {
    liveBytes,
    seconds,
    cpuSeconds: (user + system) / 1e6,
    writtenBytes: writtenBytes() - written,
    beforeBytes,
    mostBytes,
    afterBytes: spaceBytesOf(directory),
    fileBytes: statSync(`${directory}/data.aiokv`).size,
    rssBytes: highestRssBytes(),
    driftP99Ms: loop.percentile(99) / 1e6,
    driftMaxMs: loop.max / 1e6,
    scanBefore,
    scanAfter: await scan(store),
  };
  await store.close();
  return figures;
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2] as string) as Task)));
