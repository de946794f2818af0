/**
 * The process that is measured: one engine, one phase, in the memory cgroup that main.ts put it into. What to do comes
 * as JSON in its argument; the figures go to stdout as one line of JSON, everything else to stderr.
 *
 * ```
 *   load   open ─► │ write, …, write ─► flush │ ─► close ─► open again ─► some records are checked
 *   read   open ─► │ get, get, …, for so many seconds │ ─► close           │ … │ is what is timed
 *   scan   open ─► │ all in key order; or short scans, for so many seconds │ ─► close
 * ```
 */
import { Random } from '@aiokv/core';
import { spaceBytesOf, writtenBytes } from '../meters/footprint.ts';
import { openStore } from '../stores/catalog.ts';
import type { BenchStore } from '../stores/store.ts';
import { LoopMeter } from '../meters/loop-meter.ts';
import type { EngineName, Options, Phase } from './options.ts';
import { Records } from './records.ts';
import type { Figures } from './report.ts';

type Wanted = 'records' | 'valueBytes' | 'batch' | 'writers' | 'readers' | 'seconds' | 'isInOrder';

export interface Task extends Pick<Options, Wanted | 'scanRecords' | 'reverse' | 'compact'> {
  readonly engine: EngineName;
  readonly phase: Phase;
  readonly directory: string;
  readonly seed: number;
}

const CHECKED_RECORDS = 1000;
/** Batches that are made before the time runs: what is measured is not how records are made in a cold process. */
const WARM_UP_BATCHES = 10;
/** An engine whose gets do not wait would keep the loop from everything else. */
const LONGEST_TURN_MS = 1;

class Bench {
  readonly #task: Task;
  readonly #records: Records;

  constructor(task: Task) {
    this.#task = task;
    this.#records = new Records(task.valueBytes, undefined, task.isInOrder);
    for (let i = 0; i < WARM_UP_BATCHES; i++) this.#records.puts(0, task.batch);
  }

  async load(): Promise<Figures> {
    const { directory } = this.#task;
    const engine = await this.#open('load');
    const timed = await measured(async () => {
      await this.#writeAll(engine);
      await engine.flush();
      return this.#task.records;
    });
    const startMs = performance.now();
    await engine.close();
    const closeSeconds = (performance.now() - startMs) / 1000;
    await this.#check();
    if (this.#task.compact) await this.#compact();
    return { ...timed, closeSeconds, spaceBytes: spaceBytesOf(directory) };
  }

  async read(): Promise<Figures> {
    const { directory } = this.#task;
    const engine = await this.#open('read');
    const timed = await measured(() => this.#readSome(engine));
    const startMs = performance.now();
    await engine.close();
    return { ...timed, closeSeconds: (performance.now() - startMs) / 1000, spaceBytes: spaceBytesOf(directory) };
  }

  async scan(): Promise<Figures> {
    const { directory, scanRecords } = this.#task;
    const engine = await this.#open('scan');
    const timed = await measured(() => (scanRecords === 0 ? this.#scanAll(engine) : this.#scanSome(engine)));
    const startMs = performance.now();
    await engine.close();
    return { ...timed, closeSeconds: (performance.now() - startMs) / 1000, spaceBytes: spaceBytesOf(directory) };
  }

  /** Writes are not synced one by one: the flush at the end makes all of them durable. */
  #open(phase: Phase): Promise<BenchStore> {
    const { engine, directory, valueBytes } = this.#task;
    return openStore(engine, { directory, durability: 'none', isForScans: phase === 'scan', valueBytes });
  }

  async #compact(): Promise<void> {
    const engine = await this.#open('load');
    await engine.compact();
    await engine.close();
  }

  /** @returns how many */
  async #scanAll(engine: BenchStore): Promise<number> {
    const { records, reverse, valueBytes } = this.#task;
    let found = 0;
    let bytes = 0;
    await engine.scan({ limit: Infinity, reverse }, (key, value) => {
      found++;
      bytes += key.length + value.length;
    });
    const expected = records * (this.#records.key(0).length + valueBytes);
    if (found === records && bytes === expected) return found;
    throw new Error(`a scan has found ${found} records with ${bytes} bytes, not ${records} with ${expected}`);
  }

  /** From random keys on, and forward. @returns how many records */
  async #scanSome(engine: BenchStore): Promise<number> {
    const { records, readers, seconds, seed, scanRecords } = this.#task;
    const random = new Random(seed);
    const untilMs = performance.now() + seconds * 1000;
    let found = 0;
    const reader = async (): Promise<void> => {
      while (performance.now() < untilMs) {
        await engine.scan({ gte: this.#records.key(random.below(records)), limit: scanRecords, reverse: false }, () => {
          found++;
        });
        await nextTurn();
      }
    };
    await Promise.all(Array.from({ length: readers }, reader));
    return found;
  }

  async #writeAll(engine: BenchStore): Promise<void> {
    const { records, batch, writers } = this.#task;
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < records) {
        const first = next;
        next = Math.min(records, first + batch);
        await engine.write(this.#records.puts(first, next - first));
      }
    };
    await Promise.all(Array.from({ length: writers }, writer));
  }

  /** @returns how many */
  async #readSome(engine: BenchStore): Promise<number> {
    const { records, readers, seconds, seed } = this.#task;
    const random = new Random(seed);
    const untilMs = performance.now() + seconds * 1000;
    let done = 0;
    let turnMs = 0;
    const reader = async (): Promise<void> => {
      for (;;) {
        const nowMs = performance.now();
        if (nowMs >= untilMs) return;
        if (turnMs === 0) {
          turnMs = nowMs;
          setImmediate(() => {
            turnMs = 0;
          });
        } else if (nowMs - turnMs > LONGEST_TURN_MS) await nextTurn();
        const n = random.below(records);
        this.#require(n, await engine.get(this.#records.key(n)));
        done++;
      }
    };
    await Promise.all(Array.from({ length: readers }, reader));
    return done;
  }

  /** Records of everywhere, by a store that was opened anew. */
  async #check(): Promise<void> {
    const { records, seed } = this.#task;
    const engine = await this.#open('read');
    const random = new Random(seed);
    for (let i = 0; i < CHECKED_RECORDS; i++) {
      const n = i === 0 ? records - 1 : random.below(records);
      this.#require(n, await engine.get(this.#records.key(n)));
    }
    await engine.close();
  }

  #require(n: number, found: Uint8Array | null | undefined): void {
    if (this.#records.isValue(n, found)) return;
    throw new Error(
      `record ${n} came back wrong: ${found === undefined || found === null ? 'missing' : 'other bytes'}`,
    );
  }
}

type Timed = Omit<Figures, 'closeSeconds' | 'spaceBytes'>;

async function measured(work: () => Promise<number>): Promise<Timed> {
  const meter = new LoopMeter();
  const writtenBefore = writtenBytes();
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const operations = await work();
  const seconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const loop = meter.stop();
  return {
    perSecond: operations / seconds,
    seconds,
    cpuSeconds: (user + system) / 1e6,
    ...loop,
    writtenBytes: writtenBytes() - writtenBefore,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    peakCgroupBytes: null,
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const task = JSON.parse(process.argv[2] as string) as Task;
const bench = new Bench(task);
console.log(JSON.stringify(await bench[task.phase]()));
