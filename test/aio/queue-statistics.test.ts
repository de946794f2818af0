/** What a queue counts and tells: statistics, histograms, diagnostics channels; and how shards share the load. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { Queue, Shards, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import type { CompleteMessage, DirectFile, FallbackMessage, QueueMessage, SubmitMessage } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import { Histogram } from '../../packages/aio/src/statistics.ts';

const BLOCK = 4096;

async function boot(): Promise<{ disk: SimulatedDisk; file: DirectFile }> {
  const disk = new SimulatedDisk({ seed: 3 });
  const file = await disk.open('/data', { create: true });
  await file.preallocate(0, 64 * BLOCK);
  return { disk, file };
}

function readAll(queue: Queue, file: DirectFile, count: number): Promise<number[]> {
  return Promise.all(
    Array.from({ length: count }, (_, n) => queue.read(file, allocateAligned(BLOCK), { offset: (n % 64) * BLOCK })),
  );
}

test('a histogram has every value in the bucket that says so', (t) => {
  const histogram = new Histogram();
  const random = new Random(1);
  const values = [0, 1, 2, 3, 4, 5, 7, 8, 1023, 1024, 2 ** 31 - 1];
  for (let i = 0; i < 1000; i++) values.push(random.below(2 ** random.below(31)));
  for (const value of values) histogram.record(value);
  const { buckets, count, max, mean, p50, p99 } = histogram.snapshot();
  t.is(count, values.length);
  t.is(max, 2 ** 31 - 1);
  t.true(Math.abs(mean - values.reduce((sum, value) => sum + value, 0) / values.length) < 1e-6 * mean);
  for (const { from, below, count: held } of buckets) {
    t.is(held, values.filter((value) => value >= from && value < below).length, `${from} to ${below}`);
    t.true(below - from <= Math.max(1, from / 4), `${from} to ${below} is narrow`);
  }
  values.sort((a, b) => a - b);
  for (const [part, found] of [
    [0.5, p50],
    [0.99, p99],
  ] as const) {
    const exact = values[Math.ceil(values.length * part) - 1] as number;
    t.true(found >= exact && found <= exact * 1.25 + 1, `${part}: ${found} for ${exact}`);
  }
  t.deepEqual(new Histogram().snapshot(), { count: 0, mean: 0, max: 0, p50: 0, p99: 0, buckets: [] });
});

test('the queue looks for completions while little is in flight, but not while a flush is', async (t) => {
  const { disk, file } = await boot();
  const queue = new Queue(disk, { depth: 16 });
  const peeks = async (...requests: (() => Promise<unknown>)[]): Promise<number> => {
    // A look that was due before.
    await nextTurn();
    const before = queue.statistics().peeks;
    await Promise.all(requests.map((request) => request()));
    return queue.statistics().peeks - before;
  };
  const buffer = allocateAligned(BLOCK);
  const write = (): Promise<unknown> => queue.write(file, buffer, { offset: 0 });
  t.true((await peeks(write)) > 0);
  t.is(await peeks(() => queue.fdatasync(file)), 0);
  t.is(await peeks(() => queue.fsync(file)), 0);
  t.is(await peeks(() => queue.write(file, buffer, { offset: 0, dsync: true })), 0);
  t.is(await peeks(() => queue.writev(file, [buffer], { offset: 0, dsync: true })), 0);
  t.is(
    await peeks(
      () => queue.fdatasync(file),
      () => readAll(queue, file, 1),
    ),
    0,
  );
  t.true((await peeks(write)) > 0, 'the flush is over');
  // One that is withdrawn, and one that fails, are over, too.
  const heal = disk.inject({ at: ({ kind }) => kind === 'fdatasync', kind: 'flush-failure' });
  await t.throwsAsync(queue.fdatasync(file), { code: 'EIO' });
  heal();
  const controller = new AbortController();
  const withdrawn = queue.fsync(file, { signal: controller.signal });
  controller.abort();
  await t.throwsAsync(withdrawn, { code: 'ERR_AIOKV_ABORTED' });
  t.true((await peeks(write)) > 0);
  await queue.close();
});

test('a snapshot counts requests, batches, depths and latencies', async (t) => {
  const { disk, file } = await boot();
  const queue = new Queue(disk, { depth: 16, batchMin: 1000 });
  const reading = readAll(queue, file, 40);
  t.is(queue.statistics().waiting, 40);
  t.is(queue.statistics().inFlight, 0);
  await reading;
  const { accepted, completed, withdrawn, waiting, inFlight, submitCalls, ...more } = queue.statistics();
  t.deepEqual([accepted, completed, withdrawn, waiting, inFlight], [40, 40, 0, 0, 0]);
  t.is(more.batches.count, submitCalls);
  t.is(more.batches.max, 16, 'the first batch fills the depth');
  t.is(more.depths.max, 16);
  t.is(more.latencyUs.count, 40);
  t.true(more.latencyUs.p50 <= more.latencyUs.p99 && more.latencyUs.p99 <= more.latencyUs.max);
  t.true(more.meanInFlight > 1 && more.meanInFlight <= 16, String(more.meanInFlight));
  t.true(more.wakeups > 0);
  t.is(more.fallbacks + more.retries, 0);
  await queue.close();
});

test('refusals for lack of room are counted as retries', async (t) => {
  const disk = new SimulatedDisk({ seed: 9, refusalChance: 0.5 });
  const file = await disk.open('/data', { create: true });
  await file.preallocate(0, 64 * BLOCK);
  const queue = new Queue(disk, { depth: 8 });
  await readAll(queue, file, 100);
  t.true(queue.statistics().retries > 0);
  t.is(queue.statistics().completed, 100);
  await queue.close();
});

test('subscribers hear of queues, batches, completions and fallbacks', async (t) => {
  const { disk, file } = await boot();
  const heard: Record<string, { readonly queue: number }[]> = {
    open: [],
    close: [],
    submit: [],
    complete: [],
    fallback: [],
  };
  const listeners = Object.keys(heard).map((name) => {
    const listener = (message: unknown): void => void heard[name]?.push(message as { queue: number });
    subscribe(`aiokv:queue:${name}`, listener);
    return [name, listener] as const;
  });
  disk.inject({ at: ({ offset }) => offset === 5 * BLOCK, kind: 'would-block' });
  const queue = new Queue(disk, { depth: 13, neverBlock: true });
  await readAll(queue, file, 32);
  await queue.close();
  for (const [name, listener] of listeners) unsubscribe(`aiokv:queue:${name}`, listener);
  await readAll(new Queue(disk), file, 1);
  // Tests beside this one have queues of their own.
  const opened = (heard['open'] as QueueMessage[]).find(({ depth }) => depth === 13) as QueueMessage;
  t.is(opened.engine, 'simulated');
  const ours = (name: string): unknown[] => heard[name]?.filter((message) => message.queue === opened.queue) ?? [];
  t.deepEqual(ours('close'), [opened]);
  const submits = ours('submit') as SubmitMessage[];
  t.is(
    submits.reduce((sum, { result }) => sum + result, 0),
    32,
  );
  t.true(submits.every(({ durationMs }) => durationMs >= 0));
  const completes = ours('complete') as CompleteMessage[];
  // The one that a thread carried out came back from the engine, too.
  t.is(
    completes.reduce((sum, { count }) => sum + count, 0),
    32,
  );
  const [fallback, ...others] = ours('fallback') as FallbackMessage[];
  t.is(fallback?.path, '/data');
  t.true((fallback?.result ?? 0) < 0);
  t.deepEqual(others, []);
});

test('shards share ranges and files evenly, and always in the same way', async (t) => {
  const { disk, file } = await boot();
  const other = await disk.open('/other', { create: true });
  const shards = new Shards(disk, { contexts: 4, rangeBytes: 4096 }, { depth: 8 });
  t.is(shards.queues.length, 4);
  const counts = new Map<Queue, number>();
  for (let n = 0; n < 4000; n++) {
    const queue = shards.queueFor(file, n * BLOCK);
    t.is(queue, shards.queueFor(file, n * BLOCK + 512), 'the same range');
    counts.set(queue, (counts.get(queue) ?? 0) + 1);
  }
  for (const count of counts.values()) t.true(count > 800 && count < 1200, String(count));
  t.is(counts.size, 4);
  t.is(await shards.queueFor(file, 0).read(file, allocateAligned(BLOCK), { offset: 0 }), BLOCK);
  await shards.close();
  const byFile = new Shards(disk, { contexts: 8, by: 'file' });
  t.is(byFile.queueFor(file, 0), byFile.queueFor(file, 2 ** 40));
  t.is(byFile.queueFor(other, 0), byFile.queueFor(other, 12345));
  await byFile.close();
  t.throws(() => new Shards(disk, { contexts: 0 }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  t.throws(() => byFile.queueFor(file, -1), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
});
