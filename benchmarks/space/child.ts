/**
 * The process that is measured: one preset. What to do comes as JSON in its argument; the lines of its sampler go to
 * stdout, everything else to stderr. It writes no file but its store's, so that what it wrote is what the store wrote.
 *
 * ```
 *   open ─► │ load │ ─► │ overwrite, beside readers │ ─► │ delete │ ─► │ idle │ ─► look that nothing is left ─► close
 *                                                         └── with isDeleted ──┘
 * ```
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { Uniform } from '../ycsb/generators/uniform.ts';
import { Zipfian } from '../ycsb/generators/zipfian.ts';
import type { NumberGenerator } from '../ycsb/generators/number-generator.ts';
import { Breather } from '../ycsb/breather.ts';
import type { Task } from './options.ts';
import { Sampler } from './sampler.ts';
import { VersionedRecords } from './versions.ts';

const BATCH_RECORDS = 1000;
const CHECKED_RECORDS = 1000;
/** Calls that are answered from memory would keep the loop from its timers, and look like a store that holds it. */
const LONGEST_TURN_MS = 1;

class Run {
  readonly #task: Task;
  readonly #store: Store;
  readonly #records: VersionedRecords;
  readonly #sampler: Sampler;
  readonly #breather = new Breather(LONGEST_TURN_MS);
  readonly #overwritten: NumberGenerator;

  constructor(task: Task, store: Store) {
    this.#task = task;
    this.#store = store;
    // Before anything is measured: for the zipfian distribution it sums up as many terms as there are records.
    this.#overwritten = overwrittenOf(task);
    this.#records = new VersionedRecords(task.records, task.valueBytes);
    this.#sampler = new Sampler(task.directory, store, (line) => {
      process.stdout.write(`${JSON.stringify(line)}\n`);
    });
  }

  async all(): Promise<void> {
    await this.#phase('load', () => this.#load());
    if (this.#task.times > 0) await this.#phase('overwrite', () => this.#overwrite());
    if (!this.#task.isDeleted) return;
    await this.#phase('delete', () => this.#delete());
    await this.#phase('idle', () => sleep(this.#task.idleSeconds * 1000));
    await this.#requireEmpty();
  }

  async #phase(name: Parameters<Sampler['begin']>[0], work: () => Promise<unknown>): Promise<void> {
    this.#sampler.begin(name);
    try {
      await work();
    } finally {
      this.#sampler.end();
    }
  }

  async #load(): Promise<void> {
    for (const batch of batchesOf(this.#task.records)) {
      const puts = batch.map((n) => {
        const version = this.#records.nextVersion(n);
        return { type: 'put' as const, key: this.#records.key(n), value: this.#records.value(n, version) };
      });
      await this.#store.batch(puts, { durability: 'buffered' });
      for (const n of batch) this.#records.acknowledge(n, 1);
      this.#sampler.putBytes += batch.length * this.#records.recordBytes;
      this.#sampler.liveBytes += batch.length * this.#records.recordBytes;
    }
    await this.#store.flush();
  }

  async #overwrite(): Promise<void> {
    const { records, times, writers, readers, secondsMax, seed } = this.#task;
    const untilMs = performance.now() + (secondsMax ?? Infinity) * 1000;
    let left = records * times;
    let isOver = false;
    const writer = async (): Promise<void> => {
      while (left > 0 && performance.now() < untilMs) {
        left--;
        await this.#put(this.#overwritten.next());
      }
    };
    const read = new Uniform(new Random(seed + 1), 0, records - 1);
    const reader = async (): Promise<void> => {
      while (!isOver) await this.#get(read.next());
    };
    const writing = Promise.all(Array.from({ length: writers }, writer)).finally(() => {
      isOver = true;
    });
    // A read that is wrong ends the run at once.
    await Promise.all([writing, ...Array.from({ length: readers }, reader)]);
    await this.#store.flush();
  }

  async #put(n: number): Promise<void> {
    if (this.#breather.due()) await this.#breather.turn();
    const version = this.#records.nextVersion(n);
    const value = this.#records.value(n, version);
    const key = this.#records.key(n);
    const startMs = performance.now();
    await this.#store.put(key, value, { durability: this.#task.durability });
    this.#sampler.puts.record(performance.now() - startMs);
    this.#records.acknowledge(n, version);
    this.#sampler.putBytes += this.#records.recordBytes;
  }

  async #get(n: number): Promise<void> {
    if (this.#breather.due()) await this.#breather.turn();
    const key = this.#records.key(n);
    const oldest = this.#records.oldestVersion(n);
    const startMs = performance.now();
    const found = await this.#store.get(key);
    this.#sampler.gets.record(performance.now() - startMs);
    this.#records.check(n, oldest, found);
  }

  async #delete(): Promise<void> {
    for (const batch of batchesOf(this.#task.records)) {
      await this.#store.batch(batch.map((n) => ({ type: 'del' as const, key: this.#records.key(n) })));
      this.#sampler.liveBytes -= batch.length * this.#records.recordBytes;
    }
  }

  async #requireEmpty(): Promise<void> {
    const random = new Random(this.#task.seed);
    for (let i = 0; i < CHECKED_RECORDS; i++) {
      const n = random.below(this.#task.records);
      if ((await this.#store.get(this.#records.key(n))) !== undefined) throw new Error(`record ${n} was deleted`);
    }
  }
}

/** The numbers of the records that are put. Popular ones lie scattered over the order of the load, and of the keys. */
function overwrittenOf({ records, distribution, seed }: Task): NumberGenerator {
  const random = new Random(seed);
  if (distribution === 'uniform') return new Uniform(random, 0, records - 1);
  const ranks = new Zipfian(random, 0, records - 1);
  const scattered = Uint32Array.from(random.shuffle(Array.from({ length: records }, (_, n) => n)));
  return { next: () => scattered[ranks.next()] as number };
}

/** The numbers of records below `count`, a batch at a time. */
function* batchesOf(count: number): Generator<number[]> {
  for (let first = 0; first < count; first += BATCH_RECORDS) {
    yield Array.from({ length: Math.min(BATCH_RECORDS, count - first) }, (_, i) => first + i);
  }
}

const task = JSON.parse(process.argv[2] as string) as Task;
const store = await open(task.directory, { ...task.storeOptions });
try {
  await new Run(task, store).all();
} finally {
  await store.close();
}
