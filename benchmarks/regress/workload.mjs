/**
 * One process that is measured: runs one workload against the `@aiokv/kv` that Node finds from here, and prints its
 * figures as one line of JSON. `main.ts` copies this file into each version's tree, so that the same text runs against
 * both; `../profile` bundles it. It uses only names that have been public since the first release, and it is plain
 * JavaScript, so that no loader stands between Node and the built `dist`.
 *
 * ```
 *   prepare   open ─► load ─► close                           one store for each version, which the reads share
 *   others    open ─► warm up ─► │ so many seconds or records │ ─► close               │ … │ is what is measured
 * ```
 */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { open } from '@aiokv/kv';

const KEY_BYTES = 24;
const COMMIT_BYTES = 200;
const BATCH_RECORDS = 1000;
const READERS = 128;
const WRITERS = 128;
const SCAN_RECORDS = 1000;
const MANY = 128;
const HOT_KEYS = 1000;
const HOT_READERS = 8;
/** So much of each turn is taken by work of the process's own. */
const BUSY_MS = 10;
/** Puts that a busy process calls before it leaves the turn. */
const BUSY_PUTS = 64;
/** Cold reads have memory for the index, and for few values. */
const COLD_BYTES = 32 * 2 ** 20;
const INDEX_BYTES_OF_KEY = 100;
/** Reads settle in any order, and one whose value is in memory never yields: the clock is looked at once in so many. */
const CLOCK_EVERY = 32;
const WARM_UP_SHARE = 0.25;
/**
 * Who replaces records warms up with this part of them: the first thousand puts of a process take 200 us of processor time each, until
 * they are compiled, and cleaning has to begin. It takes so many times the usual warm-up at most.
 */
const REPLACED_SHARE = 0.05;
const MOST_WARM_UPS = 20;
const SOURCE_BYTES = 2 ** 24;

/** @typedef {{ operations: number, seconds: number, cpuSeconds: number }} Figures */

/**
 * @type {{
 *   workload: string, directory: string, records: number, valueBytes: number, seconds: number, burnNs: number,
 *   profile?: { kind: 'cpu' | 'heap', path: string }
 * }}
 */
const task = JSON.parse(process.argv[2]);
const { records, valueBytes, directory } = task;
const source = randomBytes(SOURCE_BYTES);

/** @type {Record<string, () => Promise<Figures | null>>} */
const workloads = {
  async prepare() {
    const store = await open(directory);
    for (let n = 0; n < records; n += BATCH_RECORDS) await store.batch(puts(n), { durability: 'buffered' });
    await store.flush();
    await store.close();
    return null;
  },

  get: () => cold((store, meter, random) => getting(store, meter, () => random(records))),

  'hot-get': () => reading((store, meter, random) => getting(store, meter, () => random(HOT_KEYS))),

  getsync: () => cold((store, meter, random) => gettingSync(store, meter, () => random(records))),

  'hot-getsync': () => reading((store, meter, random) => gettingSync(store, meter, () => random(HOT_KEYS))),

  getmany: () =>
    cold(async (store, meter, random) => {
      while (meter.goesOn()) {
        const values = await store.getMany(Array.from({ length: MANY }, () => keyOf(random(records))));
        for (const value of values)
          if (value?.length !== valueBytes) throw new Error('a value is missing or cut short');
        meter.count(MANY);
      }
    }),

  scan: () =>
    reading(async (store, meter, random) => {
      while (meter.goesOn()) {
        for await (const [, value] of store.iterator({ gte: keyOf(random(records)), limit: SCAN_RECORDS })) {
          if (value.length !== valueBytes) throw new Error('a value is cut short');
          meter.count(1);
        }
      }
    }),

  /** What one writer waits for: each put survives power loss before the next is called. */
  commit: () =>
    timed(async (store, meter, random) => {
      const value = source.subarray(0, COMMIT_BYTES);
      while (meter.goesOn()) {
        await store.put(keyOf(random(2 ** 32)), value, { durability: 'flushed' });
        meter.count(1);
      }
    }),

  churn: () => churning((store, meter, random) => replacing(store, meter, () => random(records))),

  /** Readers who never wait for the device must leave their turns to the cleaning. */
  'churn-hot-gets': () =>
    churning(async (store, meter, random) => {
      const reader = async () => {
        while (meter.goesOn()) {
          const value = await store.get(keyOf(random(HOT_KEYS)));
          if (value?.length !== valueBytes) throw new Error('a value is missing or cut short');
        }
      };
      const next = () => HOT_KEYS + random(records - HOT_KEYS);
      await Promise.all([replacing(store, meter, next), ...Array.from({ length: HOT_READERS }, reader)]);
    }),

  /** So must a process that has work of its own in every turn. */
  'churn-busy': () =>
    churning(async (store, meter, random) => {
      let isOver = false;
      const work = () => {
        if (isOver) return;
        burn(BUSY_MS * 1e6);
        setImmediate(work);
      };
      setImmediate(work);
      await replacing(store, meter, () => random(records), BUSY_PUTS);
      isOver = true;
    }),

  'load-batches': () =>
    loading(async (store, write) => {
      for (let n = 0; n < records; n += BATCH_RECORDS) {
        const batch = puts(n);
        await write(batch.length, () => store.batch(batch, { durability: 'buffered' }));
      }
    }),

  'load-writers': () =>
    loading(async (store, write) => {
      let next = 0;
      const writer = async () => {
        while (next < records) {
          const n = next++;
          await write(1, () => store.put(keyOf(n), valueOf(n), { durability: 'buffered' }));
        }
      };
      await Promise.all(Array.from({ length: WRITERS }, writer));
    }),
};

/**
 * Replaces records of those that are there, so that their space is cleaned.
 *
 * @param putsOfATurn after so many the event loop goes on
 */
async function replacing(store, meter, next, putsOfATurn = Infinity) {
  let puts = 0;
  const writer = async () => {
    while (meter.goesOn()) {
      const n = next();
      await store.put(keyOf(n), valueOf(n), { durability: 'buffered' });
      meter.count(1);
      if (++puts % putsOfATurn === 0) await nextTurn();
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function getting(store, meter, next) {
  const reader = async () => {
    while (meter.goesOn()) {
      if ((await store.get(keyOf(next())))?.length !== valueBytes) throw new Error('a value is missing or cut short');
      meter.count(1);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
}

async function gettingSync(store, meter, next) {
  while (meter.goesOn()) {
    if (store.getSync(keyOf(next()))?.length !== valueBytes) throw new Error('a value is missing or cut short');
    meter.count(1);
  }
}

/** A workload that runs for so many seconds over the store that `prepare` left. */
function reading(work, options = {}) {
  return timed(work, { createIfMissing: false, ...options });
}

/** As `reading`, with a warm-up that is as long as it takes to replace a part of the records. */
function churning(work) {
  return timed(work, { createIfMissing: false }, REPLACED_SHARE * records);
}

/** As `reading`, with little memory for values. */
function cold(work) {
  return reading(work, { memoryBytes: Math.max(COLD_BYTES, INDEX_BYTES_OF_KEY * records) });
}

async function timed(work, options = {}, warmUpOperations = 0) {
  const store = await open(directory, options);
  const random = generator(1);
  const { seconds } = task;
  await work(store, new Meter(seconds * WARM_UP_SHARE, warmUpOperations), random);
  const stopProfile = await startProfile();
  const meter = new Meter(seconds);
  await work(store, meter, random);
  const figures = meter.figures();
  await stopProfile();
  await store.close();
  return figures;
}

/** A workload that writes so many records into a new store; the first of them warm the process up. */
async function loading(work) {
  const store = await open(directory);
  let meter = null;
  let profile = Promise.resolve(async () => {});
  let done = 0;
  await work(store, async (count, write) => {
    await write();
    done += count;
    if (meter !== null) meter.count(count);
    else if (done >= records * WARM_UP_SHARE) {
      meter = new Meter(Infinity);
      profile = startProfile();
    }
  });
  await store.flush();
  const figures = meter.figures();
  const stopProfile = await profile;
  await stopProfile();
  await store.close();
  return figures;
}

/** @returns {Promise<() => Promise<void>>} ends the profile and writes it, if the task wants one */
async function startProfile() {
  if (task.profile === undefined) return async () => {};
  const { kind, path } = task.profile;
  const session = new Session();
  session.connect();
  if (kind === 'cpu') {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 200 });
    await session.post('Profiler.start');
  } else {
    const collected = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
    await session.post('HeapProfiler.startSampling', { samplingInterval: 16_384, ...collected });
  }
  return async () => {
    const { profile } = await session.post(kind === 'cpu' ? 'Profiler.stop' : 'HeapProfiler.stopSampling');
    session.disconnect();
    writeFileSync(path, JSON.stringify(profile));
  };
}

/** Counts operations, from when it is made. */
class Meter {
  #operations = 0;
  #looks = 0;
  #isOver = false;
  #startMs = performance.now();
  #cpu = process.cpuUsage();
  #untilMs;
  #leastOperations;
  #mostMs;

  /** @param leastOperations goes on until there are so many, unless that takes too long */
  constructor(seconds, leastOperations = 0) {
    this.#untilMs = this.#startMs + seconds * 1000;
    this.#leastOperations = leastOperations;
    this.#mostMs = this.#startMs + MOST_WARM_UPS * seconds * 1000;
  }

  goesOn() {
    if (++this.#looks % CLOCK_EVERY === 0) this.#isOver ||= this.#isDone(performance.now());
    return !this.#isOver;
  }

  #isDone(nowMs) {
    return nowMs >= this.#untilMs && (this.#operations >= this.#leastOperations || nowMs >= this.#mostMs);
  }

  count(operations) {
    this.#operations += operations;
    if (task.burnNs > 0) burn(operations * task.burnNs);
  }

  /** @returns {Figures} */
  figures() {
    const { user, system } = process.cpuUsage(this.#cpu);
    const seconds = (performance.now() - this.#startMs) / 1000;
    return { operations: this.#operations, seconds, cpuSeconds: (user + system) / 1e6 };
  }
}

/** The planted slowdown, with which the comparison itself is tested. */
function burn(ns) {
  const until = process.hrtime.bigint() + BigInt(Math.round(ns));
  while (process.hrtime.bigint() < until);
}

/** Records `first` and following, in an order that is not that of their keys. */
function puts(first) {
  const count = Math.min(BATCH_RECORDS, records - first);
  return Array.from({ length: count }, (_, i) => ({ type: 'put', key: keyOf(first + i), value: valueOf(first + i) }));
}

function keyOf(n) {
  const key = Buffer.allocUnsafe(KEY_BYTES);
  key.writeUInt32BE(mixed(n), 0);
  key.fill(107, 4);
  return key;
}

function valueOf(n) {
  const start = mixed(n + 1) % (SOURCE_BYTES - valueBytes);
  return source.subarray(start, start + valueBytes);
}

/** One to one on 32 bits. */
function mixed(n) {
  let bits = Math.imul(n ^ (n >>> 16), 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 15), 0x27d4eb2f);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** The same numbers in every process: whole ones below what it is called with. */
function generator(seed) {
  let state = seed;
  return (below) => Math.floor((mixed((state = (state + 0x6d2b79f5) | 0)) / 2 ** 32) * below);
}

function randomBytes(count) {
  const words = new Uint32Array(count / 4);
  for (let i = 0; i < words.length; i++) words[i] = mixed(i);
  return Buffer.from(words.buffer);
}

if (!Object.hasOwn(workloads, task.workload)) throw new Error(`there is no workload ${task.workload}`);
console.log(JSON.stringify(await workloads[task.workload]()));
