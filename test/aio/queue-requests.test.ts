/**
 * What a request can ask of the queue beyond being carried out: vectors, hints, polls, early ends, the rest of a
 * short transfer, and waiting for completions. Over the simulated disk and over real files where both can do it.
 */
import { writeSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';
import { AbortedError, RequestFlag, allocateAligned, foreignInterface, ioPriority, raw } from '@aiokv/aio';
import type { AlignedBuffer, Queue, SimulatedDisk } from '@aiokv/aio';
import { filled, isFilled } from './engine-driver.ts';
import { BLOCK, BLOCKS, onLinux, onSimulated, places } from './queue-place.ts';

const POLLIN = 1;

/** A pipe that nobody has written to. */
function openPipe(): { readonly readEnd: number; readonly writeEnd: number; readonly close: () => void } {
  const ffi = foreignInterface();
  if (ffi === undefined) throw new Error('a foreign-function interface is there');
  const libc = raw.libcOf(ffi);
  const ends = new Int32Array(2);
  if ((libc.pipe2(ffi.addressOf(ends.buffer), 0) | 0) < 0) throw new Error('pipe2 failed');
  const [readEnd, writeEnd] = ends as unknown as [number, number];
  const close = (): void => {
    libc.close(readEnd);
    libc.close(writeEnd);
  };
  return { readEnd, writeEnd, close };
}

for (const [name, at] of Object.entries(places)) {
  test(`${name}: vectors scatter and gather in order, and hold every buffer`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const targets = [filled(BLOCK, 0xee), filled(3 * BLOCK, 0xee), filled(BLOCK, 0xee)];
      const reading = queue.readv(file, targets, { offset: 4 * BLOCK });
      t.deepEqual(
        targets.map(({ pins }) => pins),
        [1, 1, 1],
      );
      t.is(await reading, 5 * BLOCK);
      t.deepEqual(
        targets.map(({ pins }) => pins),
        [0, 0, 0],
      );
      t.true(isFilled((targets[0] as AlignedBuffer).bytes, 5));
      for (const n of [0, 1, 2]) {
        t.true(isFilled((targets[1] as AlignedBuffer).bytes.subarray(n * BLOCK, (n + 1) * BLOCK), 6 + n));
      }
      t.true(isFilled((targets[2] as AlignedBuffer).bytes, 9));
      const acrossEnd = [filled(BLOCK, 0xee), filled(BLOCK, 0xee)];
      t.is(await queue.readv(file, acrossEnd, { offset: (BLOCKS - 1) * BLOCK }), BLOCK);
      await t.throwsAsync(queue.readv(file, [], { offset: 0 }), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      const many = Array.from({ length: 1025 }, () => targets[0] as AlignedBuffer);
      await t.throwsAsync(queue.writev(file, many, { offset: 0 }), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      await t.throwsAsync(queue.writev(file, targets, { offset: 100 }), { code: 'ERR_AIOKV_ALIGNMENT' });
    }));

  test(`${name}: the handler form has every operation`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const told = new Map<number, number>();
      await new Promise<void>((done) => {
        const handler = {
          complete(token: number, result: number): void {
            told.set(token, result);
            if (told.size === 6) done();
          },
        };
        t.true(queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, 0, handler, 1));
        t.true(queue.submitWrite(file, filled(BLOCK, 9), 0, BLOCK, BLOCK, handler, 2));
        t.true(queue.submitReadv(file, [allocateAligned(BLOCK), allocateAligned(BLOCK)], 0, handler, 3));
        t.true(queue.submitWritev(file, [filled(BLOCK, 9), filled(BLOCK, 9)], 4 * BLOCK, handler, 4));
        t.true(queue.submitFsync(file, handler, 5));
        t.true(queue.submitFdatasync(file, handler, 6));
      });
      t.deepEqual(
        [...told].sort(([a], [b]) => a - b).map(([, result]) => result),
        [BLOCK, BLOCK, 2 * BLOCK, 2 * BLOCK, 0, 0],
      );
    }));

  test(`${name}: what waits is withdrawn by its signal, at once, and nothing is transferred`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 1, maxWaiting: 3 });
      const abort = new AbortController();
      const buffers = Array.from({ length: 6 }, () => filled(BLOCK, 0xee));
      const { signal } = abort;
      const reads = buffers.map((buffer, n) =>
        queue.read(file, buffer, { offset: n * BLOCK, ...(n === 0 || n === 3 ? {} : { signal }) }),
      );
      const results = Promise.allSettled(reads);
      await Promise.resolve();
      abort.abort('enough');
      const settled = await results;
      for (const [n, result] of settled.entries()) {
        if (n === 0 || n === 3) t.is(result.status, 'fulfilled', `read ${n} was not aborted`);
        else {
          const error = (result as PromiseRejectedResult).reason as AbortedError;
          t.true(error instanceof AbortedError);
          t.is(error.code, 'ERR_AIOKV_ABORTED');
          t.is(error.outcome, 'withdrawn');
          t.is(error.result, null);
          t.is(error.cause, 'enough');
          t.true(isFilled((buffers[n] as AlignedBuffer).bytes, 0xee));
          t.is(buffers[n]?.pins, 0);
        }
      }
      t.is(queue.pending, 0);
      t.is(queue.statistics().withdrawn, 4);
      t.is(await queue.read(file, allocateAligned(BLOCK), { offset: 0 }), BLOCK, 'the queue goes on');
      const late = queue.read(file, allocateAligned(BLOCK), { offset: 0, signal });
      t.is((await t.throwsAsync<AbortedError>(late)).outcome, 'withdrawn', 'aborted before the call');
    }));

  test(`${name}: what is in flight is rejected when the kernel lets go of it, with its result`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const abort = new AbortController();
      const buffer = filled(BLOCK, 0xee);
      const reading = queue.read(file, buffer, { offset: 2 * BLOCK, signal: abort.signal });
      await new Promise<void>((done) => process.nextTick(done));
      t.is(queue.statistics().inFlight, 1);
      abort.abort();
      t.is(buffer.pins, 1, 'the buffer is the kernel’s still');
      const error = await t.throwsAsync<AbortedError>(reading);
      t.is(error.outcome, 'completed');
      t.is(error.result, BLOCK);
      t.is(buffer.pins, 0);
      t.true(isFilled(buffer.bytes, 3));
    }));

  test(`${name}: a deadline rejects what waits, and changes nothing for what is in time`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 1, maxWaiting: 4 });
      t.is(await queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 60_000 }), BLOCK);
      const blocker = queue.read(file, allocateAligned(BLOCK), { offset: 0 });
      const behind = queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 0 });
      // The loop stands still, so the timer is due before any completion is told.
      const untilMs = performance.now() + 5;
      await Promise.resolve();
      while (performance.now() < untilMs);
      const error = await t.throwsAsync<AbortedError>(behind);
      t.is(error.code, 'ERR_AIOKV_DEADLINE');
      t.is(await blocker, BLOCK);
      await t.throwsAsync(queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: Number.NaN }), {
        code: 'ERR_AIOKV_INVALID_ARGUMENT',
      });
    }));

  test(`${name}: getEvents waits for min, tells max, and knows when nothing will come`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 16 });
      const told: number[] = [];
      const handler = { complete: (token: number) => void told.push(token) };
      const submit = (count: number): void => {
        for (let n = 0; n < count; n++) {
          t.true(queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, n * BLOCK, handler, n));
        }
      };
      t.is(queue.getEvents({ min: 3 }), 0, 'nothing is in flight');
      submit(8);
      t.is(queue.getEvents({ min: 8, max: 8 }), 8);
      t.is(told.length, 8, 'told inside the call');
      submit(8);
      t.is(queue.getEvents({ min: 3, max: 3 }), 3);
      t.is(told.length, 11);
      t.is(queue.getEvents({ min: 5, max: 5 }), 5);
      submit(24);
      let all = 0;
      while (all < 24) {
        const count = queue.getEvents({ min: 1, max: 4, timeoutMs: 10_000 });
        t.true(count >= 1 && count <= 4, String(count));
        all += count;
      }
      t.is(queue.getEvents({ min: 0 }), 0);
      t.is(queue.pending, 0);
      for (const bad of [{ min: -1 }, { min: 2, max: 1 }, { max: 0 }, { timeoutMs: -1 }]) {
        t.throws(() => queue.getEvents(bad), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      }
      let error: unknown;
      const nested = {
        complete(): void {
          try {
            queue.getEvents();
          } catch (caught) {
            error = caught;
          }
        },
      };
      t.true(queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, 0, nested, 0));
      queue.getEvents();
      t.is((error as { code: string }).code, 'ERR_AIOKV_UNSUPPORTED');
    }));

  test(`${name}: every policy brings everything back`, (t) =>
    at(async ({ file, open }) => {
      for (const policy of ['latency', 'throughput', { minComplete: 4, maxComplete: 2, timeoutMs: 1 }] as const) {
        const queue = open({ depth: 16, policy });
        const reads = Array.from({ length: 200 }, (_, n) =>
          queue.read(file, allocateAligned(BLOCK), { offset: (n % BLOCKS) * BLOCK }),
        );
        t.true((await Promise.all(reads)).every((count) => count === BLOCK));
        t.is(await queue.read(file, allocateAligned(BLOCK), { offset: 0 }), BLOCK, 'one alone does not wait for more');
      }
      for (const policy of [{ minComplete: 0, maxComplete: 1, timeoutMs: 0 }, 'fast', { minComplete: 1 }, 7]) {
        t.throws(() => open({ policy } as never), { code: 'ERR_AIOKV_INVALID_OPTION' });
      }
    }));
}

test('simulated: the rest of a short transfer is transferred, to the end of the file', (t) =>
  onSimulated(async ({ platform, file, open }) => {
    const disk = platform as SimulatedDisk;
    const queue = open();
    const whole = filled(8 * BLOCK, 0xee);
    disk.inject({ at: disk.operations, kind: 'short' });
    const reported = await queue.read(file, whole, { offset: 0 });
    t.true(reported < 8 * BLOCK, 'a short result is reported');
    disk.inject({ at: (request) => request.lengthBytes > 2 * BLOCK, kind: 'short', sticky: true });
    whole.bytes.fill(0xee);
    t.is(await queue.read(file, whole, { offset: 0, onShort: 'continue' }), 8 * BLOCK);
    for (let n = 0; n < 8; n++) t.true(isFilled(whole.bytes.subarray(n * BLOCK, (n + 1) * BLOCK), n + 1));
    whole.bytes.fill(77);
    t.is(await queue.write(file, whole, { offset: 16 * BLOCK, onShort: 'continue' }), 8 * BLOCK);
    t.true(isFilled(disk.bytesOf('/data').subarray(16 * BLOCK, 24 * BLOCK), 77));
    const end = (BLOCKS - 2) * BLOCK;
    t.is(await queue.read(file, whole, { offset: end, onShort: 'continue' }), 2 * BLOCK, 'the end is no error');
  }));

test('simulated: what the kernel would block on is carried out by a thread, the rest is not', (t) =>
  onSimulated(async ({ platform, file, open }) => {
    const disk = platform as SimulatedDisk;
    const queue = open({ neverBlock: true });
    disk.inject({ at: (request) => request.offset === BLOCK, kind: 'would-block', sticky: true });
    const buffers = Array.from({ length: 8 }, () => filled(BLOCK, 0xee));
    const counts = await Promise.all(buffers.map((buffer, n) => queue.read(file, buffer, { offset: n * BLOCK })));
    t.true(counts.every((count) => count === BLOCK));
    for (const [n, { bytes }] of buffers.entries()) t.true(isFilled(bytes, n + 1), `block ${n}`);
    t.is(queue.statistics().fallbacks, 1);
    t.is(await queue.writev(file, [filled(BLOCK, 50), filled(BLOCK, 51)], { offset: BLOCK }), 2 * BLOCK);
    t.is(queue.statistics().fallbacks, 2);
    t.true(isFilled(disk.bytesOf('/data').subarray(2 * BLOCK, 3 * BLOCK), 51));
    // Who asks with NOWAIT gets the answer.
    await t.throwsAsync(queue.read(file, filled(BLOCK, 0), { offset: BLOCK, nowait: true }), { code: 'EAGAIN' });
    const plain = open();
    t.is(await plain.read(file, filled(BLOCK, 0), { offset: BLOCK }), BLOCK);
    t.is(plain.statistics().fallbacks, 0);
    const closing = open({ neverBlock: true });
    const last = closing.read(file, filled(BLOCK, 0), { offset: BLOCK });
    await closing.close();
    t.is(await last, BLOCK, 'close waits for threads, too');
  }));

test('simulated: a write with RWF_DSYNC is durable also where a thread carries it out', (t) =>
  onSimulated(async ({ platform, file, open }) => {
    const disk = platform as SimulatedDisk;
    const queue = open({ neverBlock: true });
    disk.inject({ at: ({ kind }) => kind === 'write', kind: 'would-block', sticky: true });
    t.true(queue.supports(RequestFlag.dsync));
    const kept = (): number | undefined => disk.powerCut('none', new Random(1)).bytesOf('/data')[0];
    await queue.write(file, filled(BLOCK, 50), { offset: 0 });
    t.not(kept(), 50);
    await queue.write(file, filled(BLOCK, 51), { offset: 0, dsync: true });
    t.is(kept(), 51);
    await queue.writev(file, [filled(BLOCK, 52), filled(BLOCK, 53)], { offset: 0, dsync: true });
    t.is(kept(), 52);
    t.is(queue.statistics().fallbacks, 3);
    // The flush of the thread fails.
    disk.inject({ at: ({ kind }) => kind === 'fsync', kind: 'flush-failure' });
    await t.throwsAsync(queue.write(file, filled(BLOCK, 54), { offset: 0, dsync: true }), { code: 'EIO' });
  }));

test('linux: never blocking, a write of new blocks falls back, an overwrite does not', (t) =>
  onLinux(async ({ platform, file, open }) => {
    const queue = open({ neverBlock: true });
    t.is(await queue.write(file, filled(BLOCK, 200), { offset: 3 * BLOCK }), BLOCK);
    const back = filled(BLOCK, 0);
    t.is(await queue.read(file, back, { offset: 3 * BLOCK }), BLOCK);
    t.true(isFilled(back.bytes, 200));
    const before = queue.statistics().fallbacks;
    const other = await platform.open(`${file.path}-new`, { create: true });
    t.is(await queue.write(other, filled(BLOCK, 9), { offset: 4 * BLOCK }), BLOCK);
    t.is(await queue.read(other, back, { offset: 4 * BLOCK }), BLOCK);
    t.true(isFilled(back.bytes, 9));
    t.true(queue.statistics().fallbacks > before, 'growing a file blocks');
    await other.close();
  }));

test('linux: hints are passed on, and refused where they would be ignored', (t) =>
  onLinux(async ({ file, open }) => {
    const queue = open();
    const buffer = filled(BLOCK, 0xd5);
    t.is(await queue.write(file, buffer, { offset: 0, dsync: true }), BLOCK);
    t.is(await queue.read(file, buffer, { offset: 0, priority: ioPriority('best-effort', 7) }), BLOCK);
    t.is(await queue.read(file, buffer, { offset: 0, priority: ioPriority('idle', 0) }), BLOCK);
    // A class that does not exist shows that the kernel has seen it.
    await t.throwsAsync(queue.read(file, buffer, { offset: 0, priority: 5 << 13 }), { code: 'EINVAL' });
    t.throws(() => ioPriority('best-effort', 8), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
    const told = await new Promise<number>((done) => {
      const handler = { complete: (_: number, result: number) => done(result) };
      queue.submitWrite(file, buffer, 0, BLOCK, 0, handler, 0, RequestFlag.dsync, ioPriority('best-effort', 0));
    });
    t.is(told, BLOCK);
  }));

test('simulated: hints that the engine does not have are refused before anything is accepted', (t) =>
  onSimulated(async ({ file, open }) => {
    const queue = open();
    const buffer = filled(BLOCK, 1);
    const before = queue.statistics().accepted;
    const unsupported = { code: 'ERR_AIOKV_UNSUPPORTED' };
    await t.throwsAsync(queue.read(file, buffer, { offset: 0, priority: 1 << 14 }), unsupported);
    await t.throwsAsync(queue.poll(0), unsupported);
    t.throws(() => queue.submitPoll(0, 1, { complete: () => undefined }, 0), unsupported);
    t.is(queue.statistics().accepted, before);
  }));

test('linux: a poll completes with what is there, is aborted, and ends with its queue', (t) =>
  onLinux(async ({ open }) => {
    const queue = open();
    const { readEnd, writeEnd, close } = openPipe();
    const POLLOUT = 4;
    t.is(await queue.poll(writeEnd, { events: POLLOUT }), POLLOUT);
    const waiting = queue.poll(readEnd);
    await sleep(10);
    writeSync(writeEnd, 'x');
    // The kernel may say more than what was asked for, such as POLLRDNORM.
    t.is((await waiting) & POLLIN, POLLIN);
    const silent = openPipe();
    const abort = new AbortController();
    const aborted = queue.poll(silent.readEnd, { signal: abort.signal });
    await sleep(5);
    abort.abort();
    t.is((await t.throwsAsync<AbortedError>(aborted)).outcome, 'withdrawn');
    await t.throwsAsync(queue.poll(silent.readEnd, { deadlineMs: 5 }), { code: 'ERR_AIOKV_DEADLINE' });
    const left = queue.poll(silent.readEnd);
    await sleep(5);
    const [, closed] = await Promise.allSettled([queue.close(), left]);
    t.is(((closed as PromiseRejectedResult).reason as { code: string }).code, 'ECANCELED');
    close();
    silent.close();
  }));

test('linux: queues of a thread share a context, and each is told of its own', async (t: ExecutionContext) => {
  await onLinux(async ({ file, open }) => {
    const queues = Array.from({ length: 4 }, (_, n) => open({ depth: 8, ownContext: n === 3 }));
    const reads = Array.from({ length: 400 }, async (_, n) => {
      const buffer = filled(BLOCK, 0);
      const at = n % BLOCKS;
      t.is(await (queues[n % 4] as Queue).read(file, buffer, { offset: at * BLOCK }), BLOCK);
      return isFilled(buffer.bytes, at + 1);
    });
    // A synchronous read meets the completions of all queues of its context, and loses none.
    const buffer = filled(BLOCK, 0);
    await nextTurn();
    t.is(queues[0]?.readSync(file, buffer, { offset: 7 * BLOCK }), BLOCK);
    t.true(isFilled(buffer.bytes, 8));
    t.true((await Promise.all(reads)).every(Boolean));
    for (const queue of queues) t.is(queue.statistics().completed, queue === queues[0] ? 101 : 100);
  });
});
