/**
 * The workloads A to E of YCSB over records that all fit into memory: aiokv beside others, with promises.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/hot-ycsb.ts [workloads] [engines] [records] [seconds] [directory]
 *
 * Default: A to E, all engines but lmdb, 200,000 records of 1,000 bytes, 2 seconds, a temporary directory under the working directory.
 * 128 clients, each with one request under way. Each engine is loaded and every record is read twice; then the engines take turns within
 * each workload, three times, and the median counts. Keys are zipfian (0.99), in D the newest records. Scans of E have 1 to 100
 * entries. Writes are not flushed. Every engine has its memory as benchmarks/stores gives it.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Random } from '@aiokv/core';
import { installStores, isInstalled, openStore } from '../stores/catalog.ts';
import type { StoreName } from '../stores/catalog.ts';
import type { BenchStore } from '../stores/store.ts';
import { Records } from '../compare/records.ts';
import { AcknowledgedCounter } from '../ycsb/generators/acknowledged-counter.ts';
import { Latest } from '../ycsb/generators/latest.ts';
import { ScrambledZipfian } from '../ycsb/generators/scrambled-zipfian.ts';

const [
  workloads = 'ABCDE',
  engines = 'aiokv,rocksdb,rocksdb-native,classic-level',
  records = '200000',
  seconds = '2',
  parent = '.',
] = process.argv.slice(2);
const recordCount = Number(records);
const MEASURED_MS = Number(seconds) * 1000;
const CLIENTS = 128;
const BATCH = 1000;
const ROUNDS = 3;
const SCAN_MOST = 100;

/** Of a hundred operations, so many are not the read of one record, and what they are instead. */
const OTHERS: Readonly<Record<string, readonly [number, 'update' | 'insert' | 'scan']>> = {
  A: [50, 'update'],
  B: [5, 'update'],
  C: [0, 'update'],
  D: [5, 'insert'],
  E: [95, 'scan'],
};

interface Opened {
  readonly name: string;
  readonly engine: BenchStore;
  readonly counter: AcknowledgedCounter;
}

interface Figures {
  readonly rate: number;
  readonly cpuUs: number;
}

const source = new Records(1000);

async function openLoaded(name: string, directory: string): Promise<Opened> {
  await mkdir(directory);
  const engine = await openStore(name as StoreName, { directory, durability: 'none' });
  for (let first = 0; first < recordCount; first += BATCH) {
    await engine.write(source.puts(first, Math.min(BATCH, recordCount - first)));
  }
  await engine.flush();
  const keys = { next: 0 };
  const reader = async (): Promise<void> => {
    while (keys.next < 2 * recordCount) await engine.get(source.key(keys.next++ % recordCount));
  };
  await Promise.all(Array.from({ length: CLIENTS }, reader));
  return { name, engine, counter: new AcknowledgedCounter(recordCount) };
}

async function insert({ engine, counter }: Opened): Promise<void> {
  const n = counter.next();
  await engine.write([{ type: 'put', key: source.key(n), value: source.value(n) }]);
  counter.acknowledge(n);
}

async function scan(engine: BenchStore, n: number, limit: number): Promise<void> {
  let bytes = 0;
  await engine.scan({ gte: source.key(n), limit, reverse: false }, (_, value) => {
    bytes += value.length;
  });
  if (bytes === 0) throw new Error('a scan has found nothing');
}

async function measure(opened: Opened, workload: string, seed: number): Promise<Figures> {
  const { engine, counter } = opened;
  const [others, kind] = OTHERS[workload] as (typeof OTHERS)[string];
  const random = new Random(seed);
  const zipfian = new ScrambledZipfian(random, 0, recordCount - 1);
  const newest = new Latest(random, counter);
  const [startMs, startCpu] = [performance.now(), process.cpuUsage()];
  const endMs = startMs + MEASURED_MS;
  let operations = 0;
  const client = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const isOther = random.below(100) < others;
      const n = workload === 'D' ? newest.next() : zipfian.next();
      if (isOther && kind === 'update') {
        await engine.write([{ type: 'put', key: source.key(n), value: source.value(n + operations) }]);
      } else if (isOther && kind === 'scan') await scan(engine, n, 1 + random.below(SCAN_MOST));
      else if (isOther || kind === 'scan') await insert(opened);
      else if (((await engine.get(source.key(n)))?.length ?? 0) === 0) throw new Error(`record ${n} is missing`);
      operations++;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  const { user, system } = process.cpuUsage(startCpu);
  return { rate: (operations / (performance.now() - startMs)) * 1000, cpuUs: (user + system) / operations };
}

const directory = await mkdtemp(join(resolve(parent), '.tmp-hot-ycsb-'));
try {
  const names = engines.split(',') as StoreName[];
  installStores(names, (line) => console.log(line));
  const all: Opened[] = [];
  for (const name of names) if (isInstalled(name)) all.push(await openLoaded(name, join(directory, name)));
  for (const workload of workloads) {
    const results = all.map((): Figures[] => []);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, opened] of all.entries()) results[i]?.push(await measure(opened, workload, 1 + round));
    }
    for (const [i, { name }] of all.entries()) {
      const figures = results[i]?.sort((a, b) => a.rate - b.rate)[ROUNDS >> 1] as Figures;
      const rate = Math.round(figures.rate).toLocaleString('en');
      console.log(`${workload} ${name.padEnd(16)} ${rate.padStart(9)}/s, ${figures.cpuUs.toFixed(1)} us of CPU each`);
    }
  }
  for (const { engine } of all) await engine.close();
} finally {
  await rm(directory, { recursive: true, force: true });
}
