/**
 * Ends workers that have requests in flight, again and again, in a process that goes on: the process of
 * worker-lifetime.test.ts, which reads the report on its output. Meanwhile this thread reads through a queue of its
 * own, and holds memory, taken where the workers' was freed, that nobody may write to.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { allocateAligned, foreignInterface, openFile, openQueue, raw } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import { footprint, settledFootprint } from './footprint.js';
import type { Footprint } from './footprint.js';
import type { ReaderData } from './worker-reader.js';

export interface ChurnArguments {
  readonly path: string;
  readonly ending: ReaderData['ending'];
  readonly workers: number;
  readonly seed: number;
}

export interface ChurnReport {
  readonly ffi: string;
  /** Workers that had said that their requests were in flight when they were ended. */
  readonly ready: number;
  readonly exitCodes: readonly number[];
  readonly errors: readonly string[];
  /** Bytes of memory of this thread that have changed by themselves. */
  readonly changedBytes: number;
  readonly ownReads: number;
  readonly before: Footprint;
  readonly after: Footprint;
  /** After the bare contexts were given back by hand. */
  readonly cleared: Footprint;
}

const FILE_BYTES = 16 << 20;
const BLOCK = 4096;
const CANARY = 0xc5;
const CANARIES = 512;
const AT_ONCE = 2;
/** What a worker takes to make some queues. */
const LONGEST_START_MS = 2;
const LONGEST_LIFE_MS = 12;

const { path, ending, workers, seed } = JSON.parse(process.argv[2] ?? '') as ChurnArguments;
const random = new Random(seed);
const canaries: Uint8Array[] = [];
const exitCodes: number[] = [];
const errors: string[] = [];
const bareContexts: number[] = [];
let [ready, changedBytes, ownReads, started] = [0, 0, 0, 0];

/** Takes memory, most likely that of the worker that has just ended. */
function allocateCanaries(): void {
  for (let i = 0; i < 24; i++) canaries.push(new Uint8Array(BLOCK << (i % 6)).fill(CANARY));
  checkCanaries(canaries.splice(0, Math.max(0, canaries.length - CANARIES)));
}

function checkCanaries(some: readonly Uint8Array[]): void {
  for (const bytes of some) for (const byte of bytes) if (byte !== CANARY) changedBytes++;
}

function busyWait(timeMs: number): void {
  const untilMs = performance.now() + timeMs;
  while (performance.now() < untilMs);
}

/** Starts one worker, ends it, or waits for its end. */
async function churn(): Promise<void> {
  const workerData: ReaderData = { path, fileBytes: FILE_BYTES, ownContext: random.chance(0.5), ending };
  const worker = new Worker(new URL('worker-reader.js', import.meta.url), { workerData });
  worker.on('error', (error) => errors.push(error.message));
  let hasReported: () => void = () => undefined;
  const reported = new Promise<void>((resolve) => (hasReported = resolve));
  worker.on('message', (message: unknown) => {
    ready++;
    if (typeof message === 'number') bareContexts.push(message);
    hasReported();
  });
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', (code) => {
      exitCodes.push(code);
      hasReported();
      resolve();
    });
  });
  await reported;
  if (ending === 'starting') busyWait(random.float() * LONGEST_START_MS);
  else if (ending === 'terminate') await sleep(random.below(LONGEST_LIFE_MS));
  if (!['end', 'throw', 'exit'].includes(ending)) await worker.terminate();
  await exited;
  allocateCanaries();
}

/** The queue of this thread, which must not notice. */
async function readMeanwhile(isOver: () => boolean): Promise<void> {
  const queue = openQueue({ depth: 8, ownContext: true });
  const file = await openFile(`${path}.own`, { create: true });
  const source = allocateAligned(64 * BLOCK);
  for (let i = 0; i < 64; i++) source.bytes.fill(i, i * BLOCK, (i + 1) * BLOCK);
  await queue.write(file, source, { offset: 0 });
  const lane = async (buffer: AlignedBuffer): Promise<void> => {
    while (!isOver()) {
      const block = random.below(64);
      buffer.bytes.fill(0xff);
      await queue.read(file, buffer, { offset: block * BLOCK });
      for (const byte of buffer.bytes) if (byte !== block) changedBytes++;
      ownReads++;
      await sleep(1);
    }
  };
  await Promise.all(Array.from({ length: 4 }, () => lane(allocateAligned(BLOCK))));
  await queue.close();
  await file.close();
}

async function main(): Promise<void> {
  // The first queue, and the first worker, leave things behind that are made once.
  const first = openQueue({ ownContext: true });
  await first.close();
  await once(new Worker('', { eval: true }), 'exit');
  await sleep(100);
  const before = footprint();
  let isOver = false;
  const reading = readMeanwhile(() => isOver);
  const lane = async (): Promise<void> => {
    while (started++ < workers) await churn();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  isOver = true;
  await reading;
  checkCanaries(canaries);
  // What the ending does not give back need not be waited for.
  const after = await settledFootprint({
    contexts: before.contexts + bareContexts.length,
    descriptors: ending === 'starting' ? Infinity : before.descriptors,
  });
  const ffi = foreignInterface();
  for (const context of bareContexts) if (ffi !== undefined) raw.aioCalls(ffi).ioDestroySync(context);
  const cleared = bareContexts.length > 0 ? await settledFootprint(before) : after;
  const report: ChurnReport = {
    ffi: ffi?.name ?? 'none',
    ready,
    exitCodes,
    errors,
    changedBytes,
    ownReads,
    before,
    after,
    cleared,
  };
  process.stdout.write(JSON.stringify(report));
}

await main();
