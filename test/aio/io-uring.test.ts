/** The raw layer of io_uring used alone, on both foreign-function interfaces. Skipped where the system forbids it. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants as fsConstants, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { Completions, allocateAligned, raw, requireForeignInterface } from '@aiokv/aio';
import type { AlignedBuffer } from '@aiokv/aio';
import type { AiokvError } from '@aiokv/core';
import test from 'ava';
import type { ForeignInterface } from '@aiokv/aio';
import { filled, isFilled } from './engine-driver.ts';
import { isLoadable } from './loadable.ts';
import { whyNoUring } from './uring-available.ts';

const { EBADF, ECANCELED, EFAULT, EINVAL } = constants.errno;
const { O_CREAT, O_DIRECT, O_RDWR } = fsConstants;
const { EnterFlag, FSYNC_DATASYNC, RegisterOpcode, SetupFlag, SqeArray, Uring, UringOpcode } = raw;
const BLOCK = 4096;
const ENTRIES = 8;
const POLLIN = 1;
/** For processes of their own: they find the package as this one does. */
const FLAGS = process.execArgv.filter((flag) => flag.startsWith('--import') || flag.startsWith('--conditions'));

class Bench {
  readonly ffi: ForeignInterface;
  readonly ring: raw.Uring;
  readonly sqes = new SqeArray(64);
  /** Results of all that `finish` has seen, by user data. */
  readonly results = new Map<number, number>();
  /** A file of 64 blocks, the n-th full of n. */
  readonly fd: number;

  constructor(ffi: ForeignInterface, fd: number, flags: number) {
    this.ffi = ffi;
    this.fd = fd;
    this.ring = new Uring(ffi, { entries: ENTRIES, flags: [flags], sqThreadIdleMs: 10 });
  }

  read(index: number, buffer: AlignedBuffer, block: number): void {
    this.sqes.prepare(index, UringOpcode.read, this.fd, buffer.address, BLOCK, block * BLOCK, index);
  }

  /** Pushes, publishes, and has the kernel consume; returns how many it has. */
  submit(...indices: number[]): number {
    for (const index of indices) this.ring.push(this.sqes, index);
    this.ring.publish();
    return this.ring.enter(indices.length, 0, 0);
  }

  /** Waits for `count` completions. */
  finish(count: number): void {
    const until = this.results.size + count;
    while (this.results.size < until) {
      this.ring.wait(1, 20_000);
      const completions = new Completions(3);
      this.ring.reap(completions);
      if (completions.count === 0) throw new Error('nothing has completed');
      for (let i = 0; i < completions.count; i++) {
        const index = completions.slots[i] as number;
        if (this.results.has(index)) throw new Error(`${index} has completed twice`);
        this.results.set(index, completions.results[i] as number);
      }
    }
  }

  /** The result of one request alone. */
  outcome(index: number): number | undefined {
    this.results.delete(index);
    if (this.submit(index) !== 1) throw new Error('it was not consumed');
    this.finish(1);
    return this.results.get(index);
  }
}

async function withBench(ffi: ForeignInterface, body: (bench: Bench) => void, flags = 0): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-uring-'));
  const fd = openSync(join(directory, 'data'), O_RDWR | O_CREAT | O_DIRECT);
  const content = allocateAligned(64 * BLOCK);
  for (let i = 0; i < 64; i++) content.bytes.fill(i, i * BLOCK, (i + 1) * BLOCK);
  writeSync(fd, content.bytes, 0, content.byteLength, 0);
  const bench = new Bench(ffi, fd, flags);
  try {
    body(bench);
  } finally {
    bench.ring.close();
    closeSync(fd);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Descriptors and mappings of rings that this process has. */
function holdings(): { descriptors: number; mappings: number } {
  const mappings = readFileSync('/proc/self/maps', 'utf8').match(/io_uring/gu)?.length ?? 0;
  return { descriptors: readdirSync('/proc/self/fd').length, mappings };
}

for (const name of ['koffi', 'ffi-napi'] as const) {
  if (!isLoadable(name)) {
    test.skip(`${name} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }
  const whyNot = whyNoUring(name);
  if (whyNot !== null) {
    test.skip(`${name}: ${whyNot}`, () => undefined);
    continue;
  }
  const ffi = requireForeignInterface(name);

  test(`${name}: reads, writes, vectors and flushes, through the file and back`, (t) =>
    withBench(ffi, (bench) => {
      const { sqes, fd } = bench;
      const targets = [filled(BLOCK, 99), filled(BLOCK, 99), filled(BLOCK, 99)] as const;
      bench.read(0, targets[0], 7);
      t.is(bench.outcome(0), BLOCK);
      t.true(isFilled(targets[0].bytes, 7));
      const source = filled(BLOCK, 200);
      sqes.prepare(1, UringOpcode.write, fd, source.address, BLOCK, 3 * BLOCK, 1);
      t.is(bench.outcome(1), BLOCK);
      sqes.prepareFlush(2, fd, FSYNC_DATASYNC, 2);
      t.is(bench.outcome(2), 0);
      sqes.prepareFlush(2, fd, 0, 2);
      t.is(bench.outcome(2), 0);
      sqes.prepareFlush(2, fd, 0x8000, 2);
      t.is(bench.outcome(2), -EINVAL, 'there is no such flag');
      const iovecs = new raw.IovecArray(ffi, 3);
      targets.forEach((target, i) => iovecs.set(i, target.address, BLOCK));
      sqes.prepare(3, UringOpcode.readv, fd, iovecs.addressOf(0), 3, 2 * BLOCK, 3);
      t.is(bench.outcome(3), 3 * BLOCK);
      t.deepEqual(
        targets.map(({ bytes }) => bytes[BLOCK - 1]),
        [2, 200, 4],
      );
      sqes.prepare(4, UringOpcode.writev, fd, iovecs.addressOf(1), 2, 60 * BLOCK, 4);
      t.is(bench.outcome(4), 2 * BLOCK);
      bench.read(0, targets[2], 60);
      t.is(bench.outcome(0), BLOCK);
      t.true(isFilled(targets[2].bytes, 200));
    }));

  test(`${name}: the rings go round`, (t) =>
    withBench(ffi, (bench) => {
      const targets = Array.from({ length: ENTRIES }, () => filled(BLOCK, 99));
      for (let round = 0; round < 50; round++) {
        const count = 1 + (round % ENTRIES);
        const indices = Array.from({ length: count }, (_, i) => i);
        for (const i of indices) bench.read(i, targets[i] as AlignedBuffer, (round + i) % 64);
        bench.results.clear();
        t.is(bench.submit(...indices), count);
        bench.finish(count);
        for (const i of indices) t.is((targets[i] as AlignedBuffer).bytes[1234], (round + i) % 64);
      }
    }));

  test(`${name}: what was not consumed is taken back (RAWURING-3)`, (t) =>
    withBench(ffi, (bench) => {
      const { ring } = bench;
      const targets = Array.from({ length: 3 }, () => filled(BLOCK, 99));
      t.is(ring.room, ENTRIES);
      targets.forEach((target, i) => {
        bench.read(i, target, i);
        ring.push(bench.sqes, i);
      });
      t.is(ring.room, ENTRIES - 3);
      ring.publish();
      t.is(ring.enter(1, 0, 0), 1);
      ring.takeBack();
      t.is(ring.room, ENTRIES);
      t.is(ring.enter(3, 0, 0), 0, 'nothing is there to be consumed');
      bench.finish(1);
      t.deepEqual([...bench.results], [[0, BLOCK]]);
      t.is(bench.submit(2), 1);
      bench.finish(1);
      t.deepEqual(
        targets.map(({ bytes }) => bytes[0]),
        [0, 99, 2],
      );
    }));

  test(`${name}: a bad request completes with its error`, (t) =>
    withBench(ffi, (bench) => {
      const { sqes, fd } = bench;
      const buffer = allocateAligned(BLOCK);
      sqes.prepare(0, UringOpcode.read, -1, buffer.address, BLOCK, 0, 0);
      t.is(bench.outcome(0), -EBADF);
      for (const offset of [-1, -BLOCK, -(2 ** 40)]) {
        sqes.prepare(0, UringOpcode.read, fd, buffer.address, BLOCK, offset, 0);
        t.is(bench.outcome(0), -EINVAL, `${offset}`);
      }
      sqes.prepare(0, UringOpcode.read, fd, BLOCK, BLOCK, 0, 0);
      t.is(bench.outcome(0), -EFAULT);
      bench.read(0, buffer, 0);
      sqes.setPriority(0, 7 << 13);
      t.is(bench.outcome(0), -EINVAL, 'there is no such class');
      bench.read(0, buffer, 0);
      sqes.setPriority(0, 2 << 13);
      sqes.addRwFlags(0, raw.RwFlag.nowait);
      t.is(bench.outcome(0), BLOCK);
      sqes.prepare(0, UringOpcode.read, fd, buffer.address, BLOCK, 2 ** 40, 0);
      t.is(bench.outcome(0), 0, 'far behind the end');
    }));

  test(`${name}: waiting ends with the time, or with as many as were asked for`, (t) =>
    withBench(ffi, (bench) => {
      const startMs = performance.now();
      bench.ring.wait(1, 30);
      const tookMs = performance.now() - startMs;
      t.true(tookMs >= 29, `${tookMs} ms`);
      for (let i = 0; i < 5; i++) bench.read(i, allocateAligned(BLOCK), i);
      bench.submit(0, 1, 2, 3, 4);
      bench.ring.wait(5, Infinity);
      t.is(bench.ring.ready, 5);
      t.is(bench.ring.reap(new Completions(8)), 0);
      t.is(bench.ring.ready, 0);
    }));

  test(`${name}: more completions than the ring takes are kept, and fetched by a call`, (t) =>
    withBench(ffi, (bench) => {
      const { ring, sqes, fd } = bench;
      const count = 4 * ENTRIES;
      for (let i = 0; i < count; i++) {
        sqes.prepareFlush(i, fd, 0x8000, i);
        t.is(bench.submit(i), 1);
      }
      t.is(ring.ready, ring.cqEntries);
      t.true(ring.needsEnter);
      const completions = new Completions(count);
      ring.reap(completions);
      while (ring.needsEnter) {
        t.is(ring.enter(0, 0, EnterFlag.getevents), 0);
        ring.reap(completions);
      }
      t.deepEqual(
        [...completions.slots],
        Array.from({ length: count }, (_, i) => i),
      );
    }));

  // A poll, since a read may be complete before its submission returns; then nothing waits.
  test(`${name}: completions that wait for a call are announced`, async (t) => {
    const { deferTaskrun, singleIssuer, taskrunFlag } = SetupFlag;
    await withBench(
      ffi,
      (bench) => {
        const eventfd = raw.libcOf(ffi).eventfd(0, 0) | 0;
        bench.sqes.preparePoll(0, eventfd, POLLIN, 77);
        t.is(bench.submit(0), 1);
        t.false(bench.ring.needsEnter);
        writeSync(eventfd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
        const untilMs = performance.now() + 20_000;
        while (!bench.ring.needsEnter && performance.now() < untilMs);
        t.is(bench.ring.ready, 0);
        t.is(bench.ring.enter(0, 0, EnterFlag.getevents), 0);
        t.is(bench.ring.ready, 1);
        t.false(bench.ring.needsEnter);
        closeSync(eventfd);
      },
      singleIssuer | deferTaskrun | taskrunFlag,
    );
  });

  test(`${name}: registered files and buffers`, (t) =>
    withBench(ffi, (bench) => {
      const { ring, sqes, fd } = bench;
      const target = filled(4 * BLOCK, 99);
      const vector = new raw.IovecArray(ffi, 1);
      vector.set(0, target.address, target.byteLength);
      t.is(ring.register(RegisterOpcode.buffers, vector.addressOf(0), 1), 0);
      const fds = Int32Array.of(fd);
      t.is(ring.register(RegisterOpcode.files, ffi.addressOf(fds.buffer), 1), 0);
      sqes.prepare(0, UringOpcode.readFixed, 0, target.address + BLOCK, BLOCK, 5 * BLOCK, 0);
      sqes.setFixedFile(0);
      t.is(bench.outcome(0), BLOCK);
      t.deepEqual(
        [0, 1, 2].map((i) => target.bytes[i * BLOCK]),
        [99, 5, 99],
      );
      sqes.prepare(0, UringOpcode.writeFixed, fd, target.address + BLOCK, BLOCK, 9 * BLOCK, 0);
      t.is(bench.outcome(0), BLOCK);
      sqes.prepare(0, UringOpcode.readFixed, fd, allocateAligned(BLOCK).address, BLOCK, 0, 0);
      t.is(bench.outcome(0), -EFAULT, 'that memory was not registered');
      sqes.setBufferIndex(0, 1);
      t.is(bench.outcome(0), -EFAULT, 'there is one buffer');
      t.is(ring.register(RegisterOpcode.unregisterFiles, 0, 0), 0);
      t.is(ring.register(RegisterOpcode.unregisterBuffers, 0, 0), 0);
      t.true(ring.register(RegisterOpcode.unregisterBuffers, 0, 0) < 0);
    }));

  test(`${name}: a poll is removed, and nobody is told of the removal`, (t) =>
    withBench(ffi, (bench) => {
      const libc = raw.libcOf(ffi);
      const eventfd = libc.eventfd(0, 0) | 0;
      bench.sqes.preparePoll(0, eventfd, POLLIN, 77);
      t.is(bench.submit(0), 1);
      bench.ring.wait(1, 10);
      t.is(bench.ring.ready, 0);
      bench.ring.pushPollRemoval(77);
      bench.ring.publish();
      t.is(bench.ring.enter(1, 0, 0), 1);
      bench.ring.wait(2, 20_000);
      const completions = new Completions(8);
      t.is(bench.ring.reap(completions), 1);
      t.deepEqual([completions.count, completions.slots[0], completions.results[0]], [1, 77, -ECANCELED]);
      writeSync(eventfd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
      t.is(bench.submit(0), 1);
      bench.finish(1);
      t.is(bench.results.get(77), POLLIN);
      closeSync(eventfd);
    }));

  test(`${name}: a thread of the kernel that sleeps says so`, async (t) => {
    await withBench(
      ffi,
      (bench) => {
        const { ring, sqes } = bench;
        const target = filled(BLOCK, 99);
        for (let round = 0; round < 3; round++) {
          const untilMs = performance.now() + 20_000;
          while (!ring.needsWakeup && performance.now() < untilMs);
          t.true(ring.needsWakeup);
          bench.read(0, target, round);
          ring.push(sqes, 0);
          ring.publish();
          t.is(ring.enter(1, 0, EnterFlag.sqWakeup), 1);
          bench.results.clear();
          bench.finish(1);
          t.true(isFilled(target.bytes, round));
        }
      },
      SetupFlag.sqpoll,
    );
  });

  test.serial(`${name}: a set of flags that the kernel does not know is not the last word`, (t) => {
    const before = holdings();
    const ring = new Uring(ffi, { entries: 5, flags: [1 << 30, SetupFlag.submitAll] });
    t.is(ring.flags & SetupFlag.submitAll, SetupFlag.submitAll);
    t.is(ring.sqEntries, 8);
    t.is(ring.cqEntries, 16);
    t.is(ring.enter(0, 0, 1 << 30), -EINVAL, 'errors of the calls are negative numbers');
    t.is(ring.register(9999, 0, 0), -EINVAL);
    ring.close();
    ring.close();
    t.deepEqual(holdings(), before);
    t.throws(() => ring.ready, { instanceOf: RangeError }, 'the memory is out of reach (RAWURING-2)');
    const error = t.throws<AiokvError>(() => new Uring(ffi, { entries: 5, flags: [1 << 30] }));
    t.is(error?.code, 'ERR_AIOKV_ENGINE_UNAVAILABLE');
    t.like(error?.cause, { code: 'EINVAL', syscall: 'io_uring_setup' });
  });

  test.serial(`${name}: where foreign memory cannot be viewed there is no ring, and nothing is left of it`, (t) => {
    const blind = { ...ffi, viewOf: () => undefined };
    raw.libcOf(blind);
    const before = holdings();
    t.throws(() => new Uring(blind, { entries: 8, flags: [0] }), {
      code: 'ERR_AIOKV_ENGINE_UNAVAILABLE',
      message: /view.*libaio/u,
    });
    t.deepEqual(holdings(), before);
  });

  for (const [call, number] of [
    ['io_uring_setup', 425],
    ['io_uring_enter', 426],
  ] as const) {
    test(`${name}: where a container forbids ${call}, that is the reason`, async (t) => {
      const directory = await mkdtemp(resolve('.tmp-uring-'));
      const script = join(directory, 'forbidden.mjs');
      // A filter for this thread: load the number; if it is the one, return ERRNO | EPERM, else ALLOW.
      await writeFile(
        script,
        `import { Queue, linuxPlatform, raw, requireForeignInterface } from '@aiokv/aio';
        const ffi = requireForeignInterface('${name}');
        const filter = new ArrayBuffer(32);
        const view = new DataView(filter);
        [[0x20, 0, 0, 0], [0x15, 0, 1, ${number}], [0x06, 0, 0, 0x00050001], [0x06, 0, 0, 0x7fff0000]].forEach(
          ([code, whenTrue, whenFalse, k], i) => {
            view.setUint16(i * 8, code, true);
            view.setUint8(i * 8 + 2, whenTrue);
            view.setUint8(i * 8 + 3, whenFalse);
            view.setUint32(i * 8 + 4, k, true);
          });
        const program = new BigUint64Array([4n, BigInt(ffi.addressOf(filter))]);
        const prctl = raw.libcOf(ffi).library.bind('prctl', 5);
        if ((prctl(38, 1, 0, 0, 0) | 0) !== 0 || (prctl(22, 2, ffi.addressOf(program.buffer), 0, 0) | 0) !== 0) throw new Error('no filter');
        const platform = linuxPlatform({ ffi: '${name}' });
        try {
          platform.createEngine({ slots: 1, depth: 1, engine: 'io_uring' });
        } catch (error) {
          console.log(error.code, error.message);
        }`,
      );
      const result = spawnSync(process.execPath, [...FLAGS, script], { encoding: 'utf8', timeout: 60_000 });
      t.regex(result.stdout, /^ERR_AIOKV_ENGINE_UNAVAILABLE io_uring.*forbidden.*libaio/u, result.stderr);
      await rm(directory, { recursive: true, force: true });
    });
  }
}
