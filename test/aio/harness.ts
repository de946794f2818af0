/**
 * The cases of libaio's own harness (harness/cases) that concern a queue, as one suite over a platform and an engine.
 * Each title ends in the number of its case. harness.test.ts runs it over every engine, and says where the other
 * cases are.
 */
import { closeSync, constants as fsConstants, openSync, readdirSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Queue, allocateAligned, raw, requireForeignInterface } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, EngineName, Platform, QueueOptions } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import type { ExecutionContext, TestFn } from 'ava';
import { filled, isFilled } from './engine-driver.ts';

export interface HarnessEngine {
  /** Stands in the titles. */
  readonly name: string;
  readonly engine: EngineName;
  readonly platform: Platform;
  /** Whether it knows NOWAIT, and polls. */
  readonly nowait: boolean;
  readonly poll: boolean;
  /** Requests of the case that looks for leaks; 0 leaves it out. */
  readonly requests: number;
}

const { O_DIRECT, O_WRONLY } = fsConstants;
const BLOCK = 4096;
const MIB = 1 << 20;
const POLLIN = 1;

interface Bench extends HarnessEngine {
  readonly t: ExecutionContext;
  readonly file: DirectFile;
  readonly directory: string;
  readonly open: (options?: Partial<QueueOptions>) => Queue;
}

type BenchTest = (bench: Bench) => Promise<void>;

async function withBench(t: ExecutionContext, entry: HarnessEngine, body: BenchTest): Promise<void> {
  const { platform, engine } = entry;
  const directory = await mkdtemp(resolve('.tmp-harness-'));
  const queues: Queue[] = [];
  const open = (options?: Partial<QueueOptions>): Queue => {
    const queue = new Queue(platform, { ...options, engine });
    queues.push(queue);
    return queue;
  };
  try {
    const file = await platform.open(join(directory, 'data'), { create: true });
    try {
      await body({ ...entry, t, file, directory, open });
    } finally {
      await Promise.all(queues.map((queue) => queue.close()));
      await file.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The file under another descriptor. */
function through(file: DirectFile, handle: number): DirectFile {
  return Object.create(file, { handle: { value: handle } }) as DirectFile;
}

const transfers: [string, BenchTest][] = [
  [
    'descriptors of the wrong mode are EBADF, there is nothing before the file or behind it (4)',
    async ({ t, platform, file, open }) => {
      const queue = open();
      const buffer = filled(2 * BLOCK, 7);
      await queue.write(file, buffer, { offset: 0 });
      const reader = await platform.open(file.path, { readOnly: true });
      const writer = openSync(file.path, O_WRONLY | O_DIRECT);
      const neighbour = queue.read(file, buffer, { offset: 0 });
      await t.throwsAsync(queue.write(reader, buffer, { offset: 0 }), { code: 'EBADF' });
      await t.throwsAsync(queue.writev(reader, [buffer], { offset: 0 }), { code: 'EBADF' });
      await t.throwsAsync(queue.read(through(file, writer), buffer, { offset: 0 }), { code: 'EBADF' });
      t.is(await neighbour, 2 * BLOCK);
      await t.throwsAsync(queue.read(file, buffer, { offset: -BLOCK }), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      t.is(await queue.read(file, buffer, { offset: 2 * BLOCK }), 0);
      t.is(await queue.read(file, buffer, { offset: 1000 * BLOCK }), 0);
      t.is(await queue.read(file, buffer, { offset: BLOCK }), BLOCK);
      await reader.close();
      closeSync(writer);
    },
  ],
  [
    'eight transfers of 1 MiB go down in one call (13)',
    async ({ t, file, open }) => {
      const queue = open({ depth: 8, batchMin: 8 });
      const buffers = Array.from({ length: 8 }, (_, i) => filled(MIB, 100 + i));
      await Promise.all(buffers.map((buffer, i) => queue.write(file, buffer, { offset: i * MIB })));
      t.is(queue.statistics().submitCalls, 1);
      for (const { bytes } of buffers) bytes.fill(0);
      await Promise.all(buffers.map((buffer, i) => queue.read(file, buffer, { offset: i * MIB })));
      t.is(queue.statistics().submitCalls, 2);
      t.true(buffers.every(({ bytes }, i) => isFilled(bytes, 100 + i)));
    },
  ],
  [
    'what writev gathered, readv scatters, in pieces of other sizes (15)',
    async ({ t, file, open }) => {
      const queue = open();
      const sizes = [1, 3, 2, 8];
      const random = new Random(15);
      const written = sizes.map((blocks) => {
        const piece = allocateAligned(blocks * BLOCK);
        for (let i = 0; i < piece.byteLength; i++) piece.bytes[i] = random.below(256);
        return piece;
      });
      t.is(await queue.writev(file, written, { offset: 5 * BLOCK }), 14 * BLOCK);
      const read = [4, 4, 5, 1].map((blocks) => allocateAligned(blocks * BLOCK));
      t.is(await queue.readv(file, read, { offset: 5 * BLOCK }), 14 * BLOCK);
      const bytesOf = (pieces: AlignedBuffer[]): Buffer => Buffer.concat(pieces.map(({ bytes }) => bytes));
      t.true(bytesOf(read).equals(bytesOf(written)));
      t.is(await queue.readv(file, read, { offset: 15 * BLOCK }), 4 * BLOCK, 'across the end');
      t.is(await queue.readv(file, read, { offset: 19 * BLOCK }), 0, 'behind it');
    },
  ],
];

const polls: [string, BenchTest][] = [
  [
    'a poll completes when a pipe has something to read, and with 0 or an error when it is cancelled (22)',
    async ({ t, open }) => {
      const libc = raw.libcOf(requireForeignInterface());
      const ends = new Int32Array(2);
      t.is(libc.pipe2(libc.ffi.addressOf(ends.buffer), 0) | 0, 0);
      const [readEnd, writeEnd] = ends as unknown as [number, number];
      const queue = open();
      const abort = new AbortController();
      const readable = queue.poll(readEnd, { events: POLLIN });
      const writable = queue.poll(writeEnd, { events: 4 });
      const aborted = queue.poll(readEnd, { events: POLLIN, signal: abort.signal });
      t.is((await writable) & 4, 4);
      t.is(queue.pending, 2);
      abort.abort();
      await t.throwsAsync(aborted, { code: 'ERR_AIOKV_ABORTED' });
      writeSync(writeEnd, 'x');
      t.is((await readable) & POLLIN, POLLIN);
      const closed = queue.poll(writeEnd, { events: POLLIN });
      // It has gone down before the queue is closed.
      await new Promise((done) => setTimeout(done, 20));
      await Promise.all([queue.close(), t.throwsAsync(closed, { code: 'ECANCELED' })]);
      closeSync(readEnd);
      closeSync(writeEnd);
    },
  ],
];

/** What became of one NOWAIT write: `done`, or the code of its error. */
async function tryWrite(queue: Queue, file: DirectFile, buffer: AlignedBuffer, offset: number): Promise<string> {
  try {
    return (await queue.write(file, buffer, { offset, nowait: true })) === buffer.byteLength ? 'done' : 'short';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const hints: [string, BenchTest][] = [
  [
    'NOWAIT overwrites, and refuses what would have to allocate (21)',
    async ({ t, file, open }) => {
      const queue = open();
      const buffer = filled(BLOCK, 1);
      await file.preallocate(0, 16 * BLOCK);
      for (let i = 0; i < 4; i++) await queue.write(file, buffer, { offset: i * BLOCK });
      await file.sync();
      const overwritten = await tryWrite(queue, file, buffer, BLOCK);
      t.is(overwritten, 'done');
      const unwritten = await tryWrite(queue, file, buffer, 8 * BLOCK);
      t.true(['EAGAIN', 'done'].includes(unwritten), `a block that was allocated and never written: ${unwritten}`);
      await file.punchHole(2 * BLOCK, BLOCK);
      t.is(await tryWrite(queue, file, buffer, 2 * BLOCK), 'EAGAIN', 'a hole');
      t.is(await tryWrite(queue, file, buffer, 16 * BLOCK), 'EAGAIN', 'an append');
      t.is(await file.sizeBytes(), 16 * BLOCK, 'what was refused has changed nothing');
      t.is(await queue.read(file, buffer, { offset: BLOCK, nowait: true }), BLOCK);
    },
  ],
];

/** Bytes of memory and descriptors after a collection. */
function held(): { rssBytes: number; descriptors: number } {
  globalThis.gc?.();
  return { rssBytes: process.memoryUsage().rss, descriptors: readdirSync('/proc/self/fd').length };
}

/** Writes and reads at random with 64 lanes, `count` requests in all; every read is compared. */
async function exercise(queue: Queue, file: DirectFile, buffers: AlignedBuffer[], count: number): Promise<number> {
  const BLOCKS_OF_LANE = 16;
  let wrong = 0;
  const lane = async (buffer: AlignedBuffer, number: number): Promise<void> => {
    for (let i = 0; i < count / buffers.length / 2; i++) {
      const offset = (number * BLOCKS_OF_LANE + (i % BLOCKS_OF_LANE)) * BLOCK;
      buffer.view.setUint32(0, i);
      buffer.view.setUint32(BLOCK - 4, number);
      await queue.write(file, buffer, { offset });
      buffer.view.setUint32(0, 0xffff_ffff);
      buffer.view.setUint32(BLOCK - 4, 0xffff_ffff);
      await queue.read(file, buffer, { offset });
      if (buffer.view.getUint32(0) !== i || buffer.view.getUint32(BLOCK - 4) !== number) wrong++;
    }
  };
  await Promise.all(buffers.map(lane));
  return wrong;
}

async function leakCase({ t, file, open, requests }: Bench): Promise<void> {
  const LANES = 64;
  const MOST_GROWTH_BYTES = 32 * MIB;
  const queue = open({ depth: LANES });
  const buffers = Array.from({ length: LANES }, () => allocateAligned(BLOCK));
  await file.preallocate(0, 16 * LANES * BLOCK);
  t.is(await exercise(queue, file, buffers, requests / 5), 0);
  const before = held();
  t.is(await exercise(queue, file, buffers, requests), 0);
  const after = held();
  const grown = after.rssBytes - before.rssBytes;
  t.log(`${requests} requests, ${(grown / MIB).toFixed(1)} MiB of growth`);
  t.true(grown < MOST_GROWTH_BYTES, `${grown} bytes`);
  t.is(after.descriptors, before.descriptors);
  const { accepted, completed, submitCalls } = queue.statistics();
  t.is(completed, accepted);
  t.true(submitCalls <= accepted);
}

/** Declares the tests. */
export function harness(test: TestFn, entry: HarnessEngine): void {
  const cases = [...transfers, ...(entry.poll ? polls : []), ...(entry.nowait ? hints : [])];
  for (const [title, body] of cases) test(`${entry.name}: ${title}`, (t) => withBench(t, entry, body));
  if (!entry.poll) test.skip(`${entry.name}: polls (22), which this engine does not have`, () => undefined);
  if (!entry.nowait)
    test.skip(`${entry.name}: NOWAIT (21), which this engine or file system does not have`, () => undefined);
  if (entry.requests === 0) return;
  test.serial(`${entry.name}: ${entry.requests} writes and reads leave nothing behind (11)`, (t) =>
    withBench(t, entry, leakCase),
  );
}
