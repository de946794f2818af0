/**
 * What `AioLevel` costs: cold gets at depth 128, batches and scans through it, beside the same through the store below
 * it, in turns. Prints the median rate of each, the median of the ratios of neighbours in time, and the same of the CPU
 * time of an operation. Rounds are many and short, so that other work on the machine hits both alike. Keys are strings,
 * values buffers. Deletes its directory.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/level.ts [records] [rounds]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import { AioLevel } from '@aiokv/level';

const RECORDS = Number(process.argv[2] ?? 10_000);
const ROUNDS = Number(process.argv[3] ?? 41);
const VALUE_BYTES = 1000;
const DEPTH = 128;
const GETS = 4000;
const BATCHES = 40;
const OPERATIONS = 100;
const WRITERS = 8;

type Way = 'store' | 'level';

interface Figure {
  readonly rate: number;
  readonly cpuUs: number;
}

const directory = mkdtempSync(resolve('.tmp-level-bench-'));
const store = await open(directory, { memoryBytes: 256 << 20, durability: 'written' });
const level = new AioLevel<string, Buffer>(() => store, { valueEncoding: 'buffer' });
const random = new Random(1);
const value = Buffer.from(random.fill(new Uint8Array(VALUE_BYTES)).buffer);

function keyOf(number: number): string {
  return `user:${String(number).padStart(12, '0')}`;
}

function operationsOf(number: number): { type: 'put'; key: string; value: Buffer }[] {
  return Array.from({ length: OPERATIONS }, (_, i) => ({ type: 'put', key: keyOf((number + i) % RECORDS), value }));
}

/** So many tasks, of which so many are under way. */
async function run(tasks: number, workers: number, task: (number: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < tasks) await task(next++);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

async function gets(way: Way): Promise<number> {
  const keys = Array.from({ length: GETS }, () => keyOf(random.below(RECORDS)));
  await run(GETS, DEPTH, (i) => (way === 'store' ? store : level).get(keys[i] as string));
  return GETS;
}

async function batches(way: Way): Promise<number> {
  const lists = Array.from({ length: BATCHES }, () => operationsOf(random.below(RECORDS)));
  await run(BATCHES, WRITERS, (i) =>
    way === 'store' ? store.batch(lists[i] as never) : level.batch(lists[i] as never),
  );
  return BATCHES * OPERATIONS;
}

async function scan(way: Way): Promise<number> {
  let count = 0;
  for await (const entry of (way === 'store' ? store : level).iterator()) count += entry.length >> 1;
  return count;
}

async function nextv(way: Way): Promise<number> {
  if (way === 'store') return scan(way);
  const iterator = level.iterator();
  let count = 0;
  for (;;) {
    const { length } = await iterator.nextv(1000);
    if (length === 0) break;
    count += length;
  }
  await iterator.close();
  return count;
}

try {
  await level.open();
  await run(Math.ceil(RECORDS / OPERATIONS), WRITERS, (i) => store.batch(operationsOf(i * OPERATIONS)));
  await store.checkpoint();
  const measures = { 'get, depth 128': gets, 'batch of 100': batches, 'scan, for await': scan, 'scan, nextv': nextv };
  for (const [name, measure] of Object.entries(measures)) {
    const figures: Record<Way, Figure[]> = { store: [], level: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      const order: Way[] = round % 2 === 0 ? ['store', 'level'] : ['level', 'store'];
      for (const way of order) {
        const figure = await figureOf(() => measure(way));
        // The first round warms up.
        if (round > 0) figures[way].push(figure);
      }
    }
    for (const [what, unit] of [
      ['rate', '/s'],
      ['cpuUs', ' us of CPU'],
    ] as const) {
      const [below, above] = [figures.store, figures.level].map((each) => each.map((figure) => figure[what]));
      const ratios = (above as number[]).map((each, i) => each / (below?.[i] as number));
      const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
      const [store, level] = [below, above].map((each) => median(each as number[]).toFixed(what === 'rate' ? 0 : 2));
      console.log(
        `${name}: store ${store}${unit}, AioLevel ${level}${unit}, ratio ${median(ratios).toFixed(2)} (${spread})`,
      );
    }
  }
} finally {
  await level.close();
  rmSync(directory, { recursive: true, force: true });
}

async function figureOf(measure: () => Promise<number>): Promise<Figure> {
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const count = await measure();
  const seconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { rate: count / seconds, cpuUs: (user + system) / count };
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] as number;
}
