/**
 * Reads of what is in memory: aiokv beside lmdb and classic-level, string keys of 24 bytes, values that are copied.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/hot-get.ts [records] [hot] [valueBytes] [memoryMiB] [engines] [directory]
 *
 * Default: 200,000 records of 1,000 bytes, all of them hot, 1 GiB of memory, all engines, a temporary directory under the working
 * directory. Each way to read runs for two seconds, three times, in turns with those of the other engines; the median counts.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import { installStores, isInstalled } from '../stores/catalog.ts';
import { load } from '../stores/install.ts';

const [
  records = '200000',
  hot = records,
  valueBytes = '1000',
  memoryMiB = '1024',
  engines = 'aiokv,lmdb,classic-level',
  parent = '.',
] = process.argv.slice(2);
const [recordCount, hotCount] = [Number(records), Number(hot)];
const value = Buffer.alloc(Number(valueBytes), 'v');
const MEASURED_MS = 2000;
const ROUNDS = 3;
const AT_ONCE = 128;
/** Reads between two looks at the clock, or at the event loop. */
const BETWEEN = 1024;

/** One way to read: so many random keys, and no more. */
interface Way {
  readonly name: string;
  run(keys: readonly string[]): Promise<void> | void;
}

interface Engine {
  readonly ways: readonly Way[];
  close(): Promise<void>;
}

/** Of the packages that are compared with: what is used here. */
interface Lmdb {
  put(key: string, bytes: Buffer): Promise<boolean>;
  getBinary(key: string): Buffer | undefined;
  getBinaryFast(key: string): Buffer | undefined;
  readonly flushed: Promise<unknown>;
  close(): Promise<void>;
}
interface Level {
  open(): Promise<void>;
  batch(operations: readonly object[]): Promise<void>;
  get(key: string): Promise<Buffer | undefined>;
  getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]>;
  close(): Promise<void>;
}

const ENGINES: Readonly<Record<string, (directory: string) => Promise<Engine>>> = {
  aiokv: openAiokv,
  lmdb: openLmdb,
  'classic-level': openLevel,
};

function keyOf(number: number): string {
  const spread = (Math.imul(number, 0x9e3779b1) >>> 0).toString().padStart(10, '0');
  return `user${spread}${number.toString().padStart(10, '0')}`;
}

/** Reads with so many in flight, each followed by the next when it has ended. */
async function inFlight(keys: readonly string[], get: (key: string) => Promise<unknown>): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < keys.length) await get(keys[next++] as string);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, client));
}

async function openAiokv(directory: string): Promise<Engine> {
  const store = await open(directory, { memoryBytes: Number(memoryMiB) * MIB });
  for (let n = 0; n < recordCount; n++) {
    const done = store.put(keyOf(n), value, { durability: 'buffered' });
    if (n % BETWEEN === 0) await done;
  }
  await store.checkpoint();
  const ways: Way[] = [
    {
      name: 'getSync',
      run: (keys) => {
        for (const key of keys) store.getSync(key);
      },
    },
    {
      name: 'getView',
      run: (keys) => {
        for (const key of keys) store.getView(key);
      },
    },
    { name: `get, ${AT_ONCE} in flight`, run: (keys) => inFlight(keys, (key) => store.get(key)) },
    {
      name: `getMany of ${AT_ONCE}`,
      run: async (keys) => {
        for (let at = 0; at < keys.length; at += AT_ONCE) await store.getMany(keys.slice(at, at + AT_ONCE));
      },
    },
  ];
  // What is read once or twice is in the cache.
  for (let n = 0; n < 2 * hotCount; n++) {
    store.getSync(keyOf(n % hotCount));
    if (n % BETWEEN === 0) await new Promise((after) => setImmediate(after));
  }
  return { ways, close: () => store.close() };
}

async function openLmdb(directory: string): Promise<Engine> {
  const lmdb = load('lmdb') as { open(options: object): Lmdb };
  const db = lmdb.open({ path: directory, encoding: 'binary' });
  for (let n = 0; n < recordCount; n++) void db.put(keyOf(n), value);
  await db.flushed;
  const ways: Way[] = [
    {
      name: 'getBinary',
      run: (keys) => {
        for (const key of keys) db.getBinary(key);
      },
    },
    {
      name: 'getBinaryFast (a view)',
      run: (keys) => {
        for (const key of keys) db.getBinaryFast(key);
      },
    },
  ];
  return { ways, close: () => db.close() };
}

async function openLevel(directory: string): Promise<Engine> {
  const { ClassicLevel } = load('classic-level') as {
    ClassicLevel: new (location: string, options: object) => Level;
  };
  const db = new ClassicLevel(directory, { valueEncoding: 'buffer', cacheSize: Number(memoryMiB) * MIB });
  await db.open();
  for (let n = 0; n < recordCount; n += BETWEEN) {
    const count = Math.min(BETWEEN, recordCount - n);
    await db.batch(Array.from({ length: count }, (_, i) => ({ type: 'put', key: keyOf(n + i), value })));
  }
  const ways: Way[] = [
    { name: `get, ${AT_ONCE} in flight`, run: (keys) => inFlight(keys, (key) => db.get(key)) },
    {
      name: `getMany of ${AT_ONCE}`,
      run: async (keys) => {
        for (let at = 0; at < keys.length; at += AT_ONCE) await db.getMany(keys.slice(at, at + AT_ONCE));
      },
    },
  ];
  return { ways, close: () => db.close() };
}

/** Reads a second, and microseconds of processor time for each. */
async function measure(way: Way, random: Random): Promise<{ rate: number; cpuUs: number }> {
  const keys = Array.from({ length: 64 * BETWEEN }, () => keyOf(random.below(hotCount)));
  const [startMs, startCpu] = [performance.now(), process.cpuUsage()];
  let reads = 0;
  for (let at = 0; performance.now() - startMs < MEASURED_MS; at = (at + BETWEEN) % keys.length) {
    await way.run(keys.slice(at, at + BETWEEN));
    reads += BETWEEN;
    // The garbage of values is freed between turns.
    if (at % (16 * BETWEEN) === 0) await new Promise((after) => setImmediate(after));
  }
  const { user, system } = process.cpuUsage(startCpu);
  return { rate: (reads / (performance.now() - startMs)) * 1000, cpuUs: (user + system) / reads };
}

const directory = await mkdtemp(join(resolve(parent), '.tmp-hot-get-'));
try {
  const names = engines.split(',');
  installStores(names as never[], (line) => console.log(line));
  const opened: [string, Engine][] = [];
  for (const name of names) {
    if (isInstalled(name as never))
      opened.push([name, await (ENGINES[name] as (at: string) => Promise<Engine>)(join(directory, name))]);
  }
  const results = new Map<string, { rate: number; cpuUs: number }[]>();
  const random = new Random(1);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, { ways }] of opened) {
      for (const way of ways) {
        const title = `${name.padEnd(14)} ${way.name}`;
        results.set(title, [...(results.get(title) ?? []), await measure(way, random)]);
      }
    }
  }
  for (const [title, all] of results) {
    const { rate, cpuUs } = all.sort((a, b) => a.rate - b.rate)[ROUNDS >> 1] as { rate: number; cpuUs: number };
    console.log(`${title.padEnd(40)} ${Math.round(rate).toLocaleString('en')}/s, ${cpuUs.toFixed(2)} us of CPU each`);
  }
  for (const [, engine] of opened) await engine.close();
} finally {
  await rm(directory, { recursive: true, force: true });
}
