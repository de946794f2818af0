/**
 * Many snapshots of a store that is overwritten several times, on a real disk. Stops at the first thing that is wrong.
 * Exit code 0: all as it should be.
 *
 * ```
 *   load ─► overwrites, a snapshot now and then ─► samples of each snapshot, some walked over ─► release ─► idle
 *                  memory is within the budget          as they were                                space is back
 * ```
 *
 * Each value begins with the number of its key and its version, so that a read can tell one of another time.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { BatchOperation, Snapshot, Store } from '@aiokv/kv';
import { forgetHighestRss, highestRssBytes, spaceBytesOf } from '../../benchmarks/meters/footprint.ts';
import { numbersOf } from './settings.ts';

const USAGE = `npm run -s soak:snapshots -- [options]
  --records N      (200000)
  --value-bytes N  (300)
  --times N        that the records are overwritten (10)
  --snapshots N    taken meanwhile, at even distances (1000)
  --memory-mib N   that the store is given (256)
  --seed N         of the requests (1)
`;
const BATCH_RECORDS = 20;
const BATCHES_AT_ONCE = 16;
const SAMPLES = 200;
/** Of so many snapshots one is walked over. */
const WALKED = 100;
const HEAD_BYTES = 8;
/** What a process may take beside the budget of its store: node itself, and what garbage is not collected yet. */
const BESIDE_BYTES = 120 * MIB;
/** Node with nothing in it takes so much of that. The loader of these sources takes more, which is not the store's. */
const NODE_BYTES = 60 * MIB;
const IDLE_MS = 30_000;
/** Afterwards blocks may take so many times what lives, and so much beside it. */
const SPACE_MOST = 1.8;
const SPACE_BESIDE_BYTES = 64 * MIB;

type Settings = Record<'records' | 'valueBytes' | 'times' | 'snapshots' | 'memoryMiB' | 'seed', number>;

/** A snapshot, and the versions of some keys at its moment. */
interface Moment {
  readonly snapshot: Snapshot;
  readonly keys: readonly number[];
  readonly versions: readonly number[];
}

function settings(): Settings | null {
  const given = numbersOf({
    records: 200_000,
    'value-bytes': 300,
    times: 10,
    snapshots: 1000,
    'memory-mib': 256,
    seed: 1,
  });
  if (given === null) return null;
  return {
    records: given.records,
    valueBytes: Math.max(HEAD_BYTES, given['value-bytes']),
    times: given.times,
    snapshots: given.snapshots,
    memoryMiB: given['memory-mib'],
    seed: given.seed,
  };
}

function fail(what: string): never {
  throw new Error(`FAILED: ${what}`);
}

/** Neighbours in number are none in the order of keys. */
function keyOf(n: number): string {
  return `user${String(Math.imul(n, 0x9e3779b1) >>> 0).padStart(10, '0')}-${n}`;
}

class Soak {
  readonly #settings: Settings;
  readonly #directory: string;
  readonly #store: Store;
  readonly #random: Random;
  readonly #versions: Uint32Array;
  readonly #moments: Moment[] = [];
  /** Memory of the process before it had a store. */
  readonly #baseBytes: number;
  readonly #beganMs = performance.now();

  constructor(chosen: Settings, directory: string, store: Store, baseBytes: number) {
    this.#settings = chosen;
    this.#directory = directory;
    this.#store = store;
    this.#random = new Random(chosen.seed);
    this.#versions = new Uint32Array(chosen.records);
    this.#baseBytes = baseBytes;
  }

  async run(): Promise<void> {
    const { records } = this.#settings;
    for (let first = 0; first < records; first += BATCH_RECORDS) {
      await this.#put(Array.from({ length: Math.min(BATCH_RECORDS, records - first) }, (_, n) => first + n));
    }
    this.#say(`${records} records are there`);
    await this.#overwrite();
    this.#say('overwritten');
    this.#requireMemory();
    await this.#look();
    this.#say('samples of all snapshots were right');
    this.#requireMemory();
    for (const { snapshot } of this.#moments) snapshot.release();
    await this.#requireSpace();
  }

  async #put(keys: readonly number[]): Promise<void> {
    const batch = keys.map((n): BatchOperation => {
      const value = Buffer.alloc(this.#settings.valueBytes, 'v');
      value.writeUInt32LE(n, 0);
      value.writeUInt32LE(++(this.#versions[n] as number), 4);
      return { type: 'put', key: keyOf(n), value };
    });
    await this.#store.batch(batch);
  }

  async #overwrite(): Promise<void> {
    const { records, times, snapshots } = this.#settings;
    const total = records * times;
    const written = BATCHES_AT_ONCE * BATCH_RECORDS;
    for (let puts = 0; puts < total; puts += written) {
      await Promise.all(
        Array.from({ length: BATCHES_AT_ONCE }, () =>
          this.#put([...new Set(Array.from({ length: BATCH_RECORDS }, () => this.#random.below(records)))]),
        ),
      );
      if (this.#moments.length < (puts / total) * snapshots) this.#take();
    }
    while (this.#moments.length < snapshots) this.#take();
  }

  #take(): void {
    const keys = Array.from({ length: SAMPLES }, () => this.#random.below(this.#settings.records));
    const versions = keys.map((n) => this.#versions[n] as number);
    this.#moments.push({ snapshot: this.#store.snapshot(), keys, versions });
  }

  async #look(): Promise<void> {
    for (const [at, { snapshot, keys, versions }] of this.#moments.entries()) {
      const values = await snapshot.getMany(keys.map(keyOf));
      for (const [i, value] of values.entries())
        this.#requireRight(at, keys[i] as number, versions[i] as number, value);
      const [n, version] = [keys[0] as number, versions[0] as number];
      this.#requireRight(at, n, version, snapshot.getSync(keyOf(n)));
      if (at % WALKED !== 0) continue;
      let count = 0;
      for await (const key of snapshot.keys()) if (key.length > 0) count++;
      if (count !== this.#settings.records) fail(`a walk over snapshot ${at} has met ${count} keys`);
    }
  }

  #requireRight(at: number, n: number, version: number, value: Buffer | undefined): void {
    const isRight = value?.readUInt32LE(0) === n && value.readUInt32LE(4) === version;
    if (!isRight) fail(`snapshot ${at} has ${value?.readUInt32LE(4)} of key ${n}, not version ${version}`);
  }

  #requireMemory(): void {
    const { ended, heldBytes } = this.#store.statistics().snapshots;
    if (ended > 0) fail(`${ended} snapshots have ended`);
    const ownBytes = highestRssBytes() - this.#baseBytes + NODE_BYTES;
    const mostBytes = this.#settings.memoryMiB * MIB + BESIDE_BYTES;
    this.#say(`${mebibytes(ownBytes)} MiB at most, ${mebibytes(mostBytes)} allowed; ${mebibytes(heldBytes)} MiB held`);
    if (ownBytes > mostBytes) fail('that is too much memory');
  }

  async #requireSpace(): Promise<void> {
    const { records, valueBytes } = this.#settings;
    const liveBytes = records * (valueBytes + keyOf(records).length);
    const mostBytes = SPACE_MOST * liveBytes + SPACE_BESIDE_BYTES;
    const beforeBytes = spaceBytesOf(this.#directory);
    const untilMs = performance.now() + IDLE_MS;
    while (spaceBytesOf(this.#directory) > mostBytes && performance.now() < untilMs) await sleep(1000);
    const afterBytes = spaceBytesOf(this.#directory);
    this.#say(`${mebibytes(beforeBytes)} MiB of blocks, and ${mebibytes(afterBytes)} MiB after the release`);
    if (afterBytes > mostBytes) fail(`${mebibytes(mostBytes)} MiB are allowed`);
  }

  #say(what: string): void {
    const seconds = Math.round((performance.now() - this.#beganMs) / 1000);
    console.log(`${String(seconds).padStart(4)} s  ${what}`);
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / MIB);
}

const chosen = settings();
if (chosen === null) console.log(USAGE);
else {
  const directory = await mkdtemp(resolve('.tmp-snapshots-'));
  forgetHighestRss();
  const baseBytes = process.memoryUsage.rss();
  try {
    const store = await open(directory, { memoryBytes: chosen.memoryMiB * MIB });
    try {
      await new Soak(chosen, directory, store, baseBytes).run();
    } finally {
      await store.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
