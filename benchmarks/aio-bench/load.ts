/**
 * The measured loops: `depth` requests in flight, each followed by the next, for some seconds.
 *
 * ```
 *   start          countFrom                                       end
 *     ├── warm-up ────┼──────────────── counted ─────────────────────┤ what is in flight completes
 *       a tenth         requests that complete here, and the CPU time of the whole process
 * ```
 *
 * MEASURE-1. Nothing is in flight any more when `measure` settles, even when it throws.
 * MEASURE-2. A transfer that is short or fails ends the measurement: figures of failed requests say nothing.
 */
import { Random, SystemCallError } from '@aiokv/core';
import { DriftMeter } from './drift.ts';
import type { Drift } from './drift.ts';
import type { Target } from './engines.ts';
import type { Options, Workload } from './options.ts';

export interface Load {
  readonly rw: Workload;
  readonly blockBytes: number;
  /** Whole blocks of the file that are used. */
  readonly blocks: number;
  readonly depth: number;
  readonly seconds: number;
  readonly readPercent: number;
  readonly form: Options['form'];
  readonly seed: number;
  readonly drift: boolean;
}

export interface Figures {
  readonly iops: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly cpuUsPerRequest: number;
  readonly drift: Drift | null;
}

/** @throws Error when a transfer fails or is short, or none completed in time */
export async function measure(target: Target, load: Load): Promise<Figures> {
  const requests = new Requests(load);
  const counted = new Counted(load.seconds, load.drift);
  try {
    if (load.form === 'callback') await new Callbacks(target, requests, counted, load).done;
    else await Promise.all(Array.from({ length: load.depth }, (_, slot) => call(target, requests, counted, slot)));
  } finally {
    counted.end();
  }
  return counted.figures();
}

/** One of the concurrent callers of the promise form. It never rejects, so that all are waited for (MEASURE-1). */
async function call(target: Target, requests: Requests, counted: Counted, slot: number): Promise<void> {
  let fromMs = performance.now();
  while (!counted.isOver) {
    try {
      requests.next();
      const result = await target.transfer(requests.isWrite, slot, requests.offset);
      requests.check(result);
      fromMs = counted.completed(fromMs);
    } catch (error) {
      counted.fail(error);
    }
  }
}

/** The handler form: one object for all requests, the token is the slot, and no promise is made. */
class Callbacks {
  readonly done: Promise<void>;
  readonly #target: Target;
  readonly #requests: Requests;
  readonly #counted: Counted;
  readonly #fromMs: Float64Array;
  #running: number;
  #resolve: () => void = () => {};

  constructor(target: Target, requests: Requests, counted: Counted, { depth }: Load) {
    this.#target = target;
    this.#requests = requests;
    this.#counted = counted;
    this.#running = depth;
    this.#fromMs = new Float64Array(depth).fill(performance.now());
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (let slot = 0; slot < depth; slot++) this.#start(slot);
  }

  complete(slot: number, result: number): void {
    try {
      this.#requests.check(result);
      this.#fromMs[slot] = this.#counted.completed(this.#fromMs[slot] as number);
    } catch (error) {
      this.#counted.fail(error);
    }
    this.#start(slot);
  }

  #start(slot: number): void {
    if (!this.#counted.isOver) {
      try {
        this.#requests.next();
        this.#target.start(this.#requests.isWrite, slot, this.#requests.offset, this);
        return;
      } catch (error) {
        this.#counted.fail(error);
      }
    }
    if (--this.#running === 0) this.#resolve();
  }
}

/** What is asked for next: `isWrite` and `offset`, set by `next`, so that a request allocates nothing here. */
class Requests {
  isWrite: boolean;
  offset = 0;
  readonly #random: Random;
  readonly #isRandom: boolean;
  readonly #isMixed: boolean;
  readonly #readShare: number;
  readonly #blockBytes: number;
  readonly #blocks: number;
  /** Shared by all callers: each takes the next block, and behind the last comes the first. */
  #cursor = 0;

  constructor({ rw, blockBytes, blocks, readPercent, seed }: Load) {
    this.isWrite = rw === 'write' || rw === 'randwrite';
    this.#isRandom = rw.startsWith('rand');
    this.#isMixed = rw === 'randrw';
    this.#readShare = readPercent / 100;
    this.#random = new Random(seed);
    this.#blockBytes = blockBytes;
    this.#blocks = blocks;
  }

  next(): void {
    if (this.#isMixed) this.isWrite = !this.#random.chance(this.#readShare);
    let block = this.#cursor;
    if (this.#isRandom) block = this.#random.below(this.#blocks);
    else this.#cursor = block + 1 === this.#blocks ? 0 : block + 1;
    this.offset = block * this.#blockBytes;
  }

  /** See MEASURE-2. */
  check(result: number): void {
    if (result === this.#blockBytes) return;
    if (result < 0) throw new SystemCallError('transfer', result);
    throw new Error(`a transfer of ${this.#blockBytes} bytes ended after ${result}`);
  }
}

/** Latencies are counted by whole microseconds; a second and longer are one bucket. */
const LONGEST_US = 1_000_000;

class Counted {
  isOver = false;
  readonly #countFromMs: number;
  readonly #endMs: number;
  readonly #withDrift: boolean;
  readonly #latencies = new Uint32Array(LONGEST_US + 1);
  #requests = 0;
  #error: unknown;
  #since: { readonly atMs: number; readonly cpu: NodeJS.CpuUsage } | null = null;
  #meter: DriftMeter | null = null;
  #drift: Drift | null = null;
  #seconds = 0;
  #cpuUs = 0;

  constructor(seconds: number, withDrift: boolean) {
    const startMs = performance.now();
    this.#countFromMs = startMs + seconds * 100;
    this.#endMs = startMs + seconds * 1000;
    this.#withDrift = withDrift;
  }

  /** Counts a request that began at `fromMs`. Returns the time, at which its follower begins. */
  completed(fromMs: number): number {
    const nowMs = performance.now();
    if (this.#since === null) {
      if (nowMs >= this.#countFromMs) this.#begin(nowMs);
      return nowMs;
    }
    if (this.isOver) return nowMs;
    const us = Math.min(LONGEST_US, Math.floor((nowMs - fromMs) * 1000));
    this.#latencies[us] = (this.#latencies[us] as number) + 1;
    this.#requests++;
    if (nowMs >= this.#endMs) this.end();
    return nowMs;
  }

  fail(error: unknown): void {
    this.#error ??= error;
    this.end();
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    if (this.#since === null) return;
    const { user, system } = process.cpuUsage(this.#since.cpu);
    this.#cpuUs = user + system;
    this.#seconds = (performance.now() - this.#since.atMs) / 1000;
    this.#drift = this.#meter?.stop() ?? null;
  }

  figures(): Figures {
    if (this.#error !== undefined) throw this.#error;
    if (this.#requests === 0) throw new Error('no request completed in the counted time: --runtime is too short');
    return {
      iops: this.#requests / this.#seconds,
      p50us: this.#percentile(0.5),
      p99us: this.#percentile(0.99),
      cpuUsPerRequest: this.#cpuUs / this.#requests,
      drift: this.#drift,
    };
  }

  #begin(nowMs: number): void {
    if (nowMs >= this.#endMs) {
      this.isOver = true;
      return;
    }
    if (this.#withDrift) this.#meter = new DriftMeter();
    this.#since = { atMs: nowMs, cpu: process.cpuUsage() };
  }

  #percentile(part: number): number {
    let seen = 0;
    let us = 0;
    while (us < LONGEST_US) {
      seen += this.#latencies[us] as number;
      if (seen >= this.#requests * part) break;
      us++;
    }
    return us;
  }
}
