/**
 * One slice of the soak: random requests through some queues of one engine, every read compared with the reference,
 * while queues come and go and memory is wanted for other things. Ends with 0 when everything was as it should be.
 *
 *   child.ts DIRECTORY '{ "engine": …, "seconds": …, "sizeMiB": …, "seed": … }'
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AbortedError, allocateAligned, foreignInterface, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, EngineName, Queue } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import { footprint, settledFootprint, systemwideAioNr } from '../aio/footprint.ts';
import { BLOCK_BYTES, Reference } from './reference.ts';
import type { Range } from './reference.ts';

export interface Slice {
  readonly engine: EngineName;
  readonly seconds: number;
  readonly sizeMiB: number;
  readonly seed: number;
}

const MIB = 1 << 20;
const QUEUES = 4;
const LANES = 96;
/** A request that takes longer has been forgotten. */
const PATIENCE_MS = 60_000;
/** A short slice is looked at four times all the same. */
const STATUS_MS = 10_000;
/** How long memory may grow before it is looked at; in a short slice, a third of it. */
const WARM_UP_MS = 15_000;
const MOST_GROWTH_BYTES = 192 * MIB;
/** Queues hold one each, and some are being closed. */
const MOST_DESCRIPTORS_MORE = 64;
const MOST_CONTEXTS = 32;

class Soak {
  readonly #slice: Slice;
  readonly #random: Random;
  readonly #file: DirectFile;
  readonly #reference: Reference;
  readonly #queues: Queue[] = [];
  readonly #closing = new Set<Promise<void>>();
  /** Bytes that have nothing to do with one another. */
  readonly #noise: Uint8Array;
  /** When each lane's request began; 0 while it has none. */
  readonly #since = new Float64Array(LANES);
  readonly #untilMs: number;
  #requests = 0;
  #aborted = 0;
  #collections = 0;

  constructor(slice: Slice, file: DirectFile) {
    this.#slice = slice;
    this.#random = new Random(slice.seed);
    this.#file = file;
    this.#reference = new Reference(slice.sizeMiB * MIB);
    this.#noise = new Uint8Array(MIB);
    for (let i = 0; i < MIB; i++) this.#noise[i] = this.#random.below(256);
    this.#untilMs = performance.now() + slice.seconds * 1000;
  }

  get #isOver(): boolean {
    return performance.now() >= this.#untilMs;
  }

  async run(): Promise<void> {
    await this.#file.preallocate(0, this.#reference.bytes.length);
    for (let i = 0; i < QUEUES; i++) this.#queues.push(this.#openQueue());
    const before = footprint();
    const lanes = Array.from({ length: LANES }, (_, lane) => this.#lane(lane));
    const others = [this.#comeAndGo(), this.#pressure(), this.#watch(before.descriptors)];
    await Promise.all([...lanes, ...others]);
    await Promise.all([...this.#closing, ...this.#queues.map((queue) => queue.close())]);
    const after = await settledFootprint({ contexts: 0, descriptors: before.descriptors - QUEUES });
    if (after.contexts > 0) throw new Error(`${after.contexts} contexts are left`);
    if (after.descriptors > before.descriptors) {
      throw new Error(`${before.descriptors} descriptors before, ${after.descriptors} after`);
    }
    this.#say(`${this.#requests} requests, ${this.#aborted} ended early: all as they should be`);
  }

  #openQueue(): Queue {
    const random = this.#random;
    return openQueue({
      engine: this.#slice.engine,
      depth: 8 << random.below(5),
      maxWaiting: random.below(64),
      ownContext: random.chance(0.3),
      neverBlock: random.chance(0.2),
      policy: random.chance(0.3) ? 'throughput' : 'latency',
      spinTurns: random.chance(0.5) ? 0 : 160,
    });
  }

  async #lane(lane: number): Promise<void> {
    const own = Array.from({ length: 4 }, (_, i) => allocateAligned(BLOCK_BYTES << i));
    while (!this.#isOver) {
      this.#since[lane] = performance.now();
      await this.#request(own);
      this.#since[lane] = 0;
      this.#requests++;
    }
  }

  /** One request of any kind. */
  async #request(own: readonly AlignedBuffer[]): Promise<void> {
    const random = this.#random;
    const queue = this.#queues[random.below(QUEUES)] as Queue;
    if (random.chance(0.01)) return queue.fdatasync(this.#file);
    const isWrite = random.chance(0.4);
    const pieces = this.#pieces(own);
    const blocks = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0) / BLOCK_BYTES;
    const range = this.#reference.take(random, blocks, isWrite);
    if (range === null) return;
    try {
      await (isWrite ? this.#write(queue, pieces, range) : this.#read(queue, pieces, range));
    } finally {
      this.#reference.giveBack(range);
    }
  }

  /** The lane's own memory, or some that nobody holds but the request. */
  #pieces(own: readonly AlignedBuffer[]): AlignedBuffer[] {
    const random = this.#random;
    if (random.chance(0.6)) return [own[random.below(own.length)] as AlignedBuffer];
    const count = random.chance(0.5) ? 1 : 1 + random.below(4);
    return Array.from({ length: count }, () => allocateAligned(BLOCK_BYTES * (1 + random.below(8))));
  }

  async #write(queue: Queue, pieces: AlignedBuffer[], range: Range): Promise<void> {
    for (const { bytes } of pieces) {
      bytes.set(this.#noise.subarray(0, bytes.length));
      for (let at = 0; at < bytes.length; at += 64) bytes[at] = this.#random.below(256);
    }
    const length = await this.#transfer(queue, pieces, range, true);
    const all = pieces.map(({ bytes }) => bytes);
    this.#reference.wrote(range, all, length);
  }

  async #read(queue: Queue, pieces: AlignedBuffer[], range: Range): Promise<void> {
    for (const { bytes } of pieces) bytes.fill(0xdb);
    const length = await this.#transfer(queue, pieces, range, false);
    if (length === 0) return;
    const wrong = this.#reference.firstWrongByte(
      range,
      pieces.map(({ bytes }) => bytes),
    );
    if (wrong >= 0) throw new Error(`byte ${wrong} of the file is wrong`);
  }

  /** Carries it out in one of the forms; 0 when it was ended before it began, else the whole length. */
  async #transfer(queue: Queue, pieces: AlignedBuffer[], range: Range, isWrite: boolean): Promise<number> {
    const random = this.#random;
    const lengthBytes = range.blocks * BLOCK_BYTES;
    const offset = range.block * BLOCK_BYTES;
    const [first] = pieces as [AlignedBuffer];
    let length: number;
    try {
      const early = random.chance(0.05) ? this.#earlyEnd() : {};
      if (pieces.length > 1) {
        length = await (isWrite
          ? queue.writev(this.#file, pieces, { offset, ...early })
          : queue.readv(this.#file, pieces, { offset, ...early }));
      } else if (isWrite) length = await queue.write(this.#file, first, { offset, ...early });
      else if (random.chance(0.02)) length = queue.readSync(this.#file, first, { offset });
      else length = await queue.read(this.#file, first, { offset, ...early });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_AIOKV_QUEUE_FULL') return 0;
      if (!(error instanceof AbortedError)) throw error;
      this.#aborted++;
      if (error.outcome === 'withdrawn') return 0;
      length = error.result ?? -1;
    }
    if (length !== lengthBytes) throw new Error(`${length} of ${lengthBytes} bytes were transferred`);
    return length;
  }

  #earlyEnd(): { signal: AbortSignal } | { deadlineMs: number } {
    if (this.#random.chance(0.5)) return { deadlineMs: this.#random.below(3) };
    const abort = new AbortController();
    if (this.#random.chance(0.5)) process.nextTick(() => abort.abort());
    else setTimeout(() => abort.abort(), this.#random.below(3));
    return { signal: abort.signal };
  }

  /** Closes queues, with whatever they have in flight, and opens others. */
  async #comeAndGo(): Promise<void> {
    while (!this.#isOver) {
      await sleep(this.#random.below(200));
      const place = this.#random.below(QUEUES);
      const closed = (this.#queues[place] as Queue).close();
      this.#closing.add(closed);
      void closed.then(() => this.#closing.delete(closed));
      this.#queues[place] = this.#openQueue();
    }
  }

  /** Takes memory, lets go of it, and has it collected. */
  async #pressure(): Promise<void> {
    const held: Uint8Array[] = [];
    while (!this.#isOver) {
      await sleep(20);
      held.push(new Uint8Array(BLOCK_BYTES << this.#random.below(10)).fill(0xdb));
      if (held.length > 40) held.splice(0, this.#random.below(40));
      if (this.#random.chance(0.05)) {
        globalThis.gc?.();
        this.#collections++;
      }
    }
  }

  async #watch(descriptorsBefore: number): Promise<void> {
    let [warmBytes, requestsBefore, sinceMs] = [0, 0, performance.now()];
    const startMs = sinceMs;
    const sliceMs = this.#slice.seconds * 1000;
    const statusMs = Math.min(STATUS_MS, sliceMs / 4);
    const warmUpMs = Math.min(WARM_UP_MS, sliceMs / 3);
    while (!this.#isOver) {
      await sleep(Math.max(1, Math.min(statusMs, this.#untilMs - performance.now())));
      globalThis.gc?.();
      const nowMs = performance.now();
      const { descriptors, contexts } = footprint();
      const rssBytes = process.memoryUsage().rss;
      const perSecond = Math.round(((this.#requests - requestsBefore) / (nowMs - sinceMs)) * 1000);
      this.#say(
        `${perSecond} ops/s, RSS ${(rssBytes / MIB).toFixed(0)} MiB, ${descriptors} fds, ${contexts} contexts, ` +
          `aio-nr ${systemwideAioNr()}, ${this.#aborted} ended early, ${this.#collections} collections`,
      );
      [requestsBefore, sinceMs] = [this.#requests, nowMs];
      if (descriptors > descriptorsBefore + MOST_DESCRIPTORS_MORE)
        throw new Error(`${descriptors} descriptors are open`);
      if (contexts > MOST_CONTEXTS) throw new Error(`there are ${contexts} contexts`);
      if (nowMs - startMs < warmUpMs) continue;
      if (warmBytes === 0) warmBytes = rssBytes;
      if (rssBytes > warmBytes + MOST_GROWTH_BYTES)
        throw new Error(`${rssBytes} bytes of memory, ${warmBytes} once warm`);
    }
  }

  /** Fails when a request is forgotten. Runs on while the others come to their end. */
  watchForgotten(): NodeJS.Timeout {
    return setInterval(() => {
      const nowMs = performance.now();
      const forgotten = this.#since.filter((sinceMs) => sinceMs > 0 && nowMs - sinceMs > PATIENCE_MS).length;
      if (forgotten === 0 && nowMs < this.#untilMs + 2 * PATIENCE_MS) return;
      this.#say(`${forgotten} requests have not settled for ${PATIENCE_MS / 1000} s`);
      process.exit(1);
    }, 1000);
  }

  #say(text: string): void {
    const { engine, seconds } = this.#slice;
    const leftSeconds = Math.max(0, (this.#untilMs - performance.now()) / 1000);
    const atSeconds = (seconds - leftSeconds).toFixed(0).padStart(4);
    process.stderr.write(`${foreignInterface()?.name ?? 'no FFI'} ${engine} ${atSeconds} s: ${text}\n`);
  }
}

async function main(): Promise<void> {
  const [directory, json] = process.argv.slice(2) as [string, string];
  const slice = JSON.parse(json) as Slice;
  // What is made once is made before anything is counted.
  await openQueue({ engine: slice.engine }).close();
  const path = join(directory, 'data');
  await rm(path, { force: true });
  const file = await openFile(path, { create: true, exclusive: true });
  const soak = new Soak(slice, file);
  const watching = soak.watchForgotten();
  await soak.run();
  clearInterval(watching);
  await file.close();
}

await main();
