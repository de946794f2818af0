/**
 * The process that is measured, one for each phase: what the load left in memory is not there when it is read. What to do
 * comes as JSON in its argument; its lines of JSON go to stdout.
 *
 * ```
 *   load   open ─► │ batch, batch, …, flush │ ─► close          beside: the same, by another engine
 *                    second, second, step, …
 *   read   │ open ─► checkpoint ─► gets │ ─► │ many gets, many puts in a turn │ ─► close
 *                                              └── with isBurst ──┘
 * ```
 *
 * The order of keys is random by itself: record n has the key that n is mixed to, one to one, so nothing is kept of the
 * records that were loaded.
 */
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { forgetHighestRss, highestRssBytes } from '../meters/footprint.ts';
import { LoopMeter } from '../meters/loop-meter.ts';
import { Records } from '../compare/records.ts';
import type { Burst, Cold, Line, Loaded, Step } from './lines.ts';
import type { Phase, Task } from './options.ts';
import { openRocksdbNative, openStore } from './targets.ts';
import type { Target } from './targets.ts';

export interface PhaseTask extends Task {
  readonly phase: Phase;
  /** Where other engines are installed. */
  readonly packages: string;
}

const PERIOD_MS = 1000;
const GETS_OF_A_TURN = 100_000;
const PUTS_OF_A_TURN = 400_000;
const SEED = 7;

class Bench {
  readonly #task: PhaseTask;
  readonly #records: Records;
  #loaded = 0;

  constructor(task: PhaseTask) {
    this.#task = task;
    this.#records = new Records(task.valueBytes, MIB);
  }

  async load(): Promise<void> {
    forgetHighestRss();
    emit({ kind: 'base', rssBytes: process.memoryUsage.rss() });
    const { phase, directory, memoryBytes, storeOptions, durability, packages } = this.#task;
    const target =
      phase === 'beside'
        ? await openRocksdbNative(directory, memoryBytes, packages)
        : await openStore(directory, { memoryBytes, ...storeOptions }, durability);
    try {
      await this.#load(target);
    } finally {
      await target.close();
    }
  }

  async read(): Promise<void> {
    const { records, isBurst } = this.#task;
    forgetHighestRss();
    const startMs = performance.now();
    const store = await this.#open();
    try {
      await this.#readCold(store, (performance.now() - startMs) / 1000);
      if (isBurst) {
        await this.#burst('gets', GETS_OF_A_TURN, (n) => store.get(this.#records.key(n % records)));
        await this.#burst('puts', PUTS_OF_A_TURN, (n) => store.put(this.#records.key(n), this.#records.value(n)));
      }
    } finally {
      await store.close();
    }
  }

  #open(): Promise<Store> {
    const { directory, memoryBytes, storeOptions } = this.#task;
    return open(directory, { memoryBytes, ...storeOptions });
  }

  async #load(target: Target): Promise<void> {
    const { records, batch, writers, phase } = this.#task;
    const startMs = performance.now();
    const cpuBefore = process.cpuUsage();
    const step = new Steps(this.#task.step, startMs, phase === 'beside');
    const stopTelling = this.#tellSeconds(target, startMs);
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < records) {
        const first = next;
        next = Math.min(records, first + batch);
        await target.write(this.#records.puts(first, next - first));
        this.#loaded += Math.min(records, first + batch) - first;
        step.reached(this.#loaded, target);
      }
    };
    try {
      await Promise.all(Array.from({ length: writers }, writer));
      await target.flush();
    } finally {
      stopTelling();
    }
    const seconds = (performance.now() - startMs) / 1000;
    const { user, system } = process.cpuUsage(cpuBefore);
    const cpuUs = (user + system) / records;
    const isBeside = phase === 'beside';
    emit({ kind: 'loaded', isBeside, seconds, perSecond: records / seconds, cpuUs, ...memoryNow() } satisfies Loaded);
  }

  /** @returns a function that ends it */
  #tellSeconds(target: Target, startMs: number): () => void {
    let before = { ms: startMs, loaded: 0, loop: new LoopMeter() };
    const timer = setInterval(() => {
      const ms = performance.now();
      emit({
        kind: 'second',
        isBeside: this.#task.phase === 'beside',
        atSeconds: (ms - startMs) / 1000,
        records: this.#loaded,
        perSecond: ((this.#loaded - before.loaded) * 1000) / (ms - before.ms),
        ...memoryNow(),
        ...before.loop.stop(),
        statistics: target.statistics(),
      });
      before = { ms, loaded: this.#loaded, loop: new LoopMeter() };
    }, PERIOD_MS);
    return () => {
      clearInterval(timer);
      before.loop.stop();
    };
  }

  /** Few keys are read twice, so few values are found in memory; of the index is there as much as there is memory for. */
  async #readCold(store: Store, openSeconds: number): Promise<void> {
    const { records, gets, readers } = this.#task;
    // What an opening left to write would be counted as reads.
    await store.checkpoint();
    const random = new Random(SEED);
    const readsBefore = store.statistics().queue.accepted;
    const pageReadsBefore = store.statistics().pageReads;
    const startMs = performance.now();
    let called = 0;
    const reader = async (): Promise<void> => {
      while (called < gets) {
        called++;
        const n = random.below(records);
        if (!this.#records.isValue(n, await store.get(this.#records.key(n)))) throw new Error(`record ${n} is wrong`);
      }
    };
    await Promise.all(Array.from({ length: readers }, reader));
    const { queue, pageReads } = store.statistics();
    emit({
      kind: 'cold',
      openSeconds,
      gets,
      perSecond: (gets * 1000) / (performance.now() - startMs),
      readsPerGet: (queue.accepted - readsBefore) / gets,
      pageReadsPerGet: (pageReads - pageReadsBefore) / gets,
      ...memoryNow(),
    } satisfies Cold);
  }

  async #burst(what: Burst['what'], count: number, call: (n: number) => Promise<unknown>): Promise<void> {
    forgetHighestRss();
    const startMs = performance.now();
    await Promise.all(Array.from({ length: count }, (_, n) => call(n)));
    const seconds = (performance.now() - startMs) / 1000;
    emit({ kind: 'burst', what, count, seconds, ...memoryNow() } satisfies Burst);
  }
}

/** Tells the rate each time so many records more have been loaded. */
class Steps {
  readonly #isBeside: boolean;
  readonly #size: number;
  #due: number;
  #atMs: number;
  #at = 0;

  constructor(size: number, startMs: number, isBeside: boolean) {
    this.#isBeside = isBeside;
    this.#size = size;
    this.#due = size;
    this.#atMs = startMs;
  }

  reached(records: number, target: Target): void {
    if (records < this.#due) return;
    const ms = performance.now();
    const perSecond = ((records - this.#at) * 1000) / (ms - this.#atMs);
    emit({
      kind: 'step',
      isBeside: this.#isBeside,
      records,
      perSecond,
      ...memoryNow(),
      statistics: target.statistics(),
    } satisfies Step);
    this.#due += this.#size;
    this.#at = records;
    this.#atMs = ms;
  }
}

function memoryNow(): { rssBytes: number; highestRssBytes: number; heapBytes: number; externalBytes: number } {
  const { rss, heapTotal, external } = process.memoryUsage();
  return { rssBytes: rss, highestRssBytes: highestRssBytes(), heapBytes: heapTotal, externalBytes: external };
}

function emit(line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const task = JSON.parse(process.argv[2] as string) as PhaseTask;
const bench = new Bench(task);
await (task.phase === 'read' ? bench.read() : bench.load());
