/**
 * The raw layer used alone, on both foreign-function interfaces, through libaio and through system calls.
 * The numbers in the titles are the cases of libaio's own harness (harness/cases) that a test follows.
 */
import { closeSync, constants as fsConstants, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Completions, allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import { foreignInterface } from '../../packages/aio/src/ffi/load.ts';
import type { ForeignInterface } from '../../packages/aio/src/ffi/port.ts';
import {
  CompletionRing,
  EventArray,
  IocbArray,
  IovecArray,
  RwFlag,
  aioCalls,
  libcOf,
} from '../../packages/aio/src/raw/index.ts';
import type { AioCalls } from '../../packages/aio/src/raw/index.ts';

const { EAGAIN, EBADF, EFAULT, EINPROGRESS, EINVAL, EOPNOTSUPP } = constants.errno;
const { O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_WRONLY } = fsConstants;
const BLOCK = 4096;
const CAPACITY = 32;
const POLLIN = 1;

interface Bench {
  readonly t: ExecutionContext;
  readonly ffi: ForeignInterface;
  readonly calls: AioCalls;
  readonly context: number;
  readonly iocbs: IocbArray;
  readonly path: string;
  /** A file of 64 blocks, the n-th full of n. */
  readonly fd: number;
  readonly submit: (...indices: number[]) => number;
  /** Waits for `count` completions and returns their results by data word. */
  readonly collect: (count: number) => Map<number, number>;
}

type BenchTest = (bench: Bench) => void | Promise<void>;

async function withBench(t: ExecutionContext, ffi: ForeignInterface, useLibaio: boolean, body: BenchTest) {
  const directory = await mkdtemp(resolve('.tmp-raw-'));
  const path = join(directory, 'data');
  const calls = aioCalls(ffi, useLibaio);
  if (!useLibaio) t.is(calls.through, 'system calls');
  const context = calls.ioSetup(CAPACITY);
  const fd = openSync(path, O_RDWR | O_CREAT | O_DIRECT);
  const iocbs = new IocbArray(ffi, CAPACITY);
  const events = new EventArray(ffi, CAPACITY);
  const timeout = new BigInt64Array([10n, 0n]);
  const timeoutAddress = ffi.addressOf(timeout.buffer);
  const submit = (...indices: number[]): number => {
    indices.forEach((index, place) => iocbs.point(place, index));
    return calls.ioSubmit(context, indices.length, iocbs.pointersAddress);
  };
  const collect = (count: number): Map<number, number> => {
    const results = new Map<number, number>();
    while (results.size < count) {
      const got = calls.ioGetevents(context, count - results.size, CAPACITY, events.address, timeoutAddress);
      if (got <= 0) throw new Error(`io_getevents returned ${got}, ${timeout[0]} s`);
      for (let i = 0; i < got; i++) results.set(events.data(i), events.result(i));
    }
    return results;
  };
  try {
    const image = allocateAligned(64 * BLOCK);
    for (let i = 0; i < 64; i++) image.bytes.fill(i, i * BLOCK, (i + 1) * BLOCK);
    iocbs.prepWrite(0, fd, image.address, image.byteLength, 0);
    t.is(submit(0), 1);
    t.deepEqual([...collect(1)], [[0, image.byteLength]]);
    await body({ t, ffi, calls, context, iocbs, path, fd, submit, collect });
  } finally {
    await calls.ioDestroy(context);
    closeSync(fd);
    await rm(directory, { recursive: true, force: true });
  }
}

const setups: [string, BenchTest][] = [
  [
    'a context that cannot be had is an error with figures (2)',
    ({ t, calls }) => {
      t.throws(() => calls.ioSetup(0), { code: 'EINVAL' });
      const most = Number(readFileSync('/proc/sys/fs/aio-max-nr', 'utf8'));
      const error = t.throws(() => calls.ioSetup(most + 1), { code: 'ERR_AIOKV_NO_CONTEXT' });
      t.regex(error.message, new RegExp(`aio-nr is \\d+, aio-max-nr is ${most}\\b.*fs\\.aio-max-nr`, 's'));
      t.like(error.cause, { code: 'EAGAIN', errno: -EAGAIN, syscall: 'io_setup' });
    },
  ],
  [
    'destroying on this thread works once',
    ({ t, calls }) => {
      const other = calls.ioSetup(1);
      calls.ioDestroySync(other);
      t.throws(() => calls.ioDestroySync(other), { code: 'EINVAL', message: /io_destroy/ });
    },
  ],
  [
    'a destroyed context has come to the end of its requests, and leaves memory alone (18)',
    async ({ t, ffi, calls, fd }) => {
      const other = calls.ioSetup(16);
      const iocbs = new IocbArray(ffi, 16);
      const buffers = Array.from({ length: 16 }, () => allocateAligned(BLOCK));
      buffers.forEach((buffer, i) => {
        buffer.bytes.fill(0xee);
        iocbs.prepRead(i, fd, buffer.address, BLOCK, i * BLOCK);
        iocbs.point(i, i);
      });
      t.is(calls.ioSubmit(other, 16, iocbs.pointersAddress), 16);
      await calls.ioDestroy(other);
      t.true(buffers.every(({ bytes }, i) => bytes.every((byte) => byte === i)));
      for (const { bytes } of buffers) bytes.fill(0xaa);
      await new Promise((done) => setTimeout(done, 20));
      t.true(buffers.every(({ bytes }) => bytes.every((byte) => byte === 0xaa)));
    },
  ],
];

const transfers: [string, BenchTest][] = [
  [
    'eight transfers of 1 MiB go down in one call (13)',
    ({ t, iocbs, fd, submit, collect }) => {
      const buffers = Array.from({ length: 8 }, () => allocateAligned(1 << 20));
      const all = buffers.map((_, i) => i);
      buffers.forEach(({ bytes, address }, i) => {
        bytes.fill(100 + i);
        iocbs.prepWrite(i, fd, address, 1 << 20, i << 20);
      });
      t.is(submit(...all), 8);
      t.deepEqual(new Set(collect(8).values()), new Set([1 << 20]));
      buffers.forEach(({ bytes, address }, i) => {
        bytes.fill(0);
        iocbs.prepRead(i, fd, address, 1 << 20, i << 20);
      });
      t.is(submit(...all), 8);
      collect(8);
      t.true(buffers.every(({ bytes }, i) => bytes[0] === 100 + i && bytes.at(-1) === 100 + i));
    },
  ],
  [
    'a vectored read fills its pieces in order, a vectored write gathers them (15)',
    ({ t, ffi, iocbs, fd, submit, collect }) => {
      const pieces = Array.from({ length: 3 }, () => allocateAligned(BLOCK));
      const iovecs = new IovecArray(ffi, 3);
      pieces.forEach(({ address }, i) => iovecs.set(i, address, BLOCK));
      iocbs.prepReadv(0, fd, iovecs.addressOf(0), 3, 5 * BLOCK);
      t.is(submit(0), 1);
      t.is(collect(1).get(0), 3 * BLOCK);
      t.deepEqual(
        pieces.map(({ bytes }) => [bytes[0], bytes.at(-1)]),
        [
          [5, 5],
          [6, 6],
          [7, 7],
        ],
      );
      iocbs.prepWritev(1, fd, iovecs.addressOf(1), 2, 20 * BLOCK);
      t.is(submit(1), 1);
      t.is(collect(1).get(1), 2 * BLOCK);
      const target = allocateAligned(2 * BLOCK);
      iocbs.prepRead(2, fd, target.address, 2 * BLOCK, 20 * BLOCK);
      submit(2);
      collect(1);
      t.deepEqual([target.bytes[0], target.bytes[BLOCK]], [6, 7]);
    },
  ],
  [
    'flushes complete with 0; a write with DSYNC is one request',
    ({ t, iocbs, fd, submit, collect }) => {
      const source = allocateAligned(BLOCK);
      iocbs.prepFsync(0, fd);
      iocbs.prepFdsync(1, fd);
      iocbs.prepWrite(2, fd, source.address, BLOCK, 0);
      iocbs.setRwFlags(2, RwFlag.dsync);
      t.is(submit(0, 1, 2), 3);
      const results = collect(3);
      t.deepEqual([results.get(0), results.get(1), results.get(2)], [0, 0, BLOCK]);
    },
  ],
  [
    'a read at the end of the file is 0, across it short (4)',
    ({ t, iocbs, fd, submit, collect }) => {
      const target = allocateAligned(2 * BLOCK);
      iocbs.prepRead(0, fd, target.address, BLOCK, 64 * BLOCK);
      iocbs.prepRead(1, fd, target.address, 2 * BLOCK, 63 * BLOCK);
      t.is(submit(0, 1), 2);
      const results = collect(2);
      t.deepEqual([results.get(0), results.get(1)], [0, BLOCK]);
    },
  ],
  [
    'data words and results keep their 32 bits',
    ({ t, iocbs, fd, submit, collect }) => {
      const target = allocateAligned(BLOCK);
      const words = [0xffff_ffff, 0x8000_0000, 0x7fff_ffff];
      words.forEach((data, i) => iocbs.prepRead(i, fd, target.address, BLOCK, 0, data));
      t.is(submit(0, 1, 2), 3);
      t.deepEqual(
        [...collect(3).keys()].sort((a, b) => b - a),
        words,
      );
    },
  ],
];

/** What became of one request, refused by `submit` or completed with an error. */
function outcome({ submit, collect }: Bench, index: number): number {
  const accepted = submit(index);
  return accepted === 1 ? (collect(1).get(index) as number) : accepted;
}

const refusals: [string, BenchTest][] = [
  [
    'submitting nothing is 0, from nowhere EFAULT, to no context EINVAL (3)',
    ({ t, calls, context, iocbs, fd }) => {
      t.is(calls.ioSubmit(context, 0, 0), 0);
      t.is(calls.ioSubmit(context, 1, 8), -EFAULT);
      t.is(calls.ioSubmit(context, -1, iocbs.pointersAddress), -EINVAL);
      iocbs.prepFdsync(0, fd);
      iocbs.point(0, 0);
      // An address of our own that holds no ring.
      t.is(calls.ioSubmit(iocbs.addressOf(0), 1, iocbs.pointersAddress), -EINVAL);
    },
  ],
  [
    'wrong descriptors, offsets, commands and flags are refused by name (4)',
    (bench) => {
      const { t, iocbs, path, fd } = bench;
      const target = allocateAligned(BLOCK);
      const [reader, writer] = [openSync(path, O_RDONLY | O_DIRECT), openSync(path, O_WRONLY | O_DIRECT)];
      iocbs.prepWrite(0, reader, target.address, BLOCK, 0);
      t.is(outcome(bench, 0), -EBADF);
      iocbs.prepRead(0, writer, target.address, BLOCK, 0);
      t.is(outcome(bench, 0), -EBADF);
      iocbs.prepRead(0, fd, target.address, BLOCK, -BLOCK);
      t.is(outcome(bench, 0), -EINVAL);
      iocbs.prepRead(0, fd, 0, BLOCK, 0);
      t.is(outcome(bench, 0), -EFAULT);
      iocbs.prepare(0, 99 as 0, fd, target.address, BLOCK, 0, 0);
      t.is(outcome(bench, 0), -EINVAL);
      iocbs.prepFdsync(0, fd);
      iocbs.setRwFlags(0, RwFlag.dsync);
      t.is(outcome(bench, 0), -EINVAL);
      iocbs.prepRead(0, fd, target.address, BLOCK, 0);
      iocbs.setRwFlags(0, 1 << 30);
      t.is(outcome(bench, 0), -EOPNOTSUPP);
      iocbs.prepRead(0, fd, target.address, BLOCK, 0);
      iocbs.setEventfd(0, fd);
      t.is(outcome(bench, 0), -EINVAL);
      closeSync(reader);
      closeSync(writer);
    },
  ],
  [
    'submit stops in front of a bad request, whose error shows when it stands first',
    ({ t, iocbs, fd, submit, collect }) => {
      const target = allocateAligned(BLOCK);
      for (const i of [0, 1, 3]) iocbs.prepRead(i, fd, target.address, BLOCK, i * BLOCK);
      iocbs.prepRead(2, -1, target.address, BLOCK, 0);
      t.is(submit(0, 1, 2, 3), 2);
      t.is(submit(2, 3), -EBADF);
      t.is(submit(3), 1);
      t.deepEqual(
        [...collect(3).keys()].sort((a, b) => a - b),
        [0, 1, 3],
      );
    },
  ],
];

const polls: [string, BenchTest][] = [
  [
    'a poll completes when there is something to read (22)',
    ({ t, ffi, iocbs, submit, collect, calls, context }) => {
      const [readEnd, writeEnd] = pipe(ffi);
      iocbs.prepPoll(7, readEnd, POLLIN);
      t.is(submit(7), 1);
      t.is(calls.ioGetevents(context, 0, CAPACITY, new EventArray(ffi, CAPACITY).address, 0), 0, 'not yet');
      writeSync(writeEnd, 'x');
      t.is((collect(1).get(7) as number) & POLLIN, POLLIN);
      closeSync(readEnd);
      closeSync(writeEnd);
    },
  ],
  [
    'a poll can be cancelled, its event comes all the same; a request that is no poll cannot',
    ({ t, ffi, fd, iocbs, submit, collect, calls, context }) => {
      const [readEnd, writeEnd] = pipe(ffi);
      const events = new EventArray(ffi, 1);
      iocbs.prepPoll(7, readEnd, POLLIN);
      t.is(submit(7), 1);
      t.is(calls.ioCancel(context, iocbs.addressOf(7), events.address), -EINPROGRESS);
      t.true(collect(1).has(7));
      iocbs.prepFdsync(1, fd);
      submit(1);
      t.is(calls.ioCancel(context, iocbs.addressOf(1), events.address), -EINVAL);
      t.is(collect(1).get(1), 0);
      closeSync(readEnd);
      closeSync(writeEnd);
    },
  ],
];

function pipe(ffi: ForeignInterface): [number, number] {
  const libc = libcOf(ffi);
  const ends = new Int32Array(2);
  if ((libc.pipe2(ffi.addressOf(ends.buffer), 0) | 0) !== 0) throw new Error(`pipe2: ${libc.errno()}`);
  return [ends[0] as number, ends[1] as number];
}

const rings: [string, BenchTest][] = [
  [
    'the ring and io_getevents are two ways out of one queue, and none is lost in overfilling it (17)',
    ({ t, ffi, calls, context, iocbs, fd }) => {
      const ring = CompletionRing.at(context, (address, bytes) => ffi.viewOf(address, bytes)) as CompletionRing;
      t.truthy(ring);
      const buffers = Array.from({ length: CAPACITY }, () => allocateAligned(BLOCK));
      const seen = drain({ calls, context, ffi, ring }, (submitted) => {
        const index = submitted % CAPACITY;
        iocbs.prepRead(index, fd, (buffers[index] as AlignedBuffer).address, BLOCK, 0, submitted);
        iocbs.point(0, index);
        return calls.ioSubmit(context, 1, iocbs.pointersAddress);
      });
      t.true(seen.refusals > 0, 'the context was full at times');
      t.deepEqual(seen.results, new Array<number>(seen.results.length).fill(BLOCK));
      t.true(ring.isEmpty);
      ring.drop();
    },
  ],
];

interface Ways {
  readonly calls: AioCalls;
  readonly context: number;
  readonly ffi: ForeignInterface;
  readonly ring: CompletionRing;
}

/** Submits until the context is full, many times over, reaping by both ways in turn. Every request once. */
function drain({ calls, context, ffi, ring }: Ways, submitOne: (submitted: number) => number) {
  const TOTAL = 3000;
  const events = new EventArray(ffi, 16);
  const completions = new Completions(7);
  const second = new BigInt64Array([1n, 0n]);
  const secondAddress = ffi.addressOf(second.buffer);
  const results = new Array<number>(TOTAL).fill(NaN);
  let [submitted, reaped, refusals, turn] = [0, 0, 0, 0];
  const note = (data: number, result: number): void => {
    if (!Number.isNaN(results[data])) throw new Error(`request ${data} was reported twice`);
    results[data] = result;
    reaped++;
  };
  while (reaped < TOTAL) {
    while (submitted < TOTAL) {
      const accepted = submitOne(submitted);
      if (accepted === 1) submitted++;
      else if (accepted === -EAGAIN) break;
      else throw new Error(`io_submit: ${accepted}`);
    }
    if (submitted < TOTAL) refusals++;
    if (turn++ % 2 === 0) {
      const got = calls.ioGetevents(context, 1, events.capacity, events.address, secondAddress);
      if (got < 1) throw new Error(`io_getevents: ${got} with ${submitted - reaped} in flight, ${second[0]} s`);
      for (let i = 0; i < got; i++) note(events.data(i), events.result(i));
    } else {
      completions.count = 0;
      if (!ring.reap(completions)) throw new Error('head or tail make no sense');
      for (let i = 0; i < completions.count; i++) {
        note(completions.slots[i] as number, completions.results[i] as number);
      }
    }
  }
  return { results, refusals };
}

for (const name of ['koffi', 'ffi-napi'] as const) {
  const ffi = foreignInterface(name);
  if (ffi === undefined) {
    test.skip(`${name} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }
  for (const useLibaio of [true, false]) {
    for (const [title, body] of [...setups, ...transfers, ...refusals, ...polls, ...rings]) {
      test(`${name}, ${useLibaio ? 'libaio' : 'system calls'}: ${title}`, (t) => withBench(t, ffi, useLibaio, body));
    }
  }
}
