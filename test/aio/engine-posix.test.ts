/** The engine `posix` on real files: the conformance suite with each foreign-function interface, and its own edges. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { DirectFile, Engine, EngineOptions, ForeignInterface, Platform } from '@aiokv/aio';
import {
  AlignedBuffer,
  Completions,
  Opcode,
  Queue,
  allocateAligned,
  linuxPlatform,
  raw,
  requireForeignInterface,
} from '@aiokv/aio';
import type { AiokvError } from '@aiokv/core';
import test from 'ava';
import { PosixEngine } from '../../packages/aio/src/engines/posix.ts';
import type { ForeignLibrary } from '../../packages/aio/src/ffi/port.ts';
import { engineConformance } from './engine-conformance.ts';
import { EngineDriver, filled, isFilled } from './engine-driver.ts';
import { isLoadable } from './loadable.ts';

const BLOCK = 4096;
const { EAGAIN, EBADF, EFAULT, EINPROGRESS, EINVAL } = constants.errno;
const FFIS = (['koffi', 'ffi-napi'] as const).filter((ffi) => {
  if (!isLoadable(ffi)) test.skip(`${ffi} is not installed here, which needs a C++ toolchain`, () => undefined);
  return isLoadable(ffi);
});
/** Twice, with a turn of the event loop in between: what held the last reference may go, too. */
async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 2; i++) {
    globalThis.gc?.();
    await nextTurn();
  }
}

/** For processes of their own: they find the package as this one does. */
const FLAGS = process.execArgv.filter((flag) => flag.startsWith('--import') || flag.startsWith('--conditions'));

function posixPlatform(ffi: 'koffi' | 'ffi-napi'): Platform {
  const linux = linuxPlatform({ ffi });
  return { ...linux, createEngine: (options) => linux.createEngine({ ...options, engine: 'posix' }) };
}

for (const ffi of FFIS) {
  engineConformance(test, `posix, ${ffi}`, async () => {
    const directory = await mkdtemp(resolve('.tmp-posix-'));
    return { platform: posixPlatform(ffi), directory, cleanup: () => rm(directory, { recursive: true, force: true }) };
  });
}

interface Bench {
  readonly platform: Platform;
  readonly directory: string;
  readonly file: DirectFile;
  /** 64 slots and a depth of 32. */
  readonly driver: EngineDriver;
}

async function withBench(ffi: 'koffi' | 'ffi-napi', body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-posix-'));
  const platform = posixPlatform(ffi);
  const file = await platform.open(join(directory, 'data'), { create: true });
  const driver = new EngineDriver(platform, { slots: 64, depth: 32 });
  try {
    await file.preallocate(0, 64 * BLOCK);
    await body({ platform, directory, file, driver });
  } finally {
    await driver.engine.close();
    await file.close();
    await rm(directory, { recursive: true, force: true });
  }
}

for (const ffi of FFIS) {
  test(`${ffi}: a vector is the sum of its buffers, up to the first that is short`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      const { engine } = driver;
      engine.prepareVector(0, Opcode.writev, file.handle, [filled(BLOCK, 1), filled(2 * BLOCK, 2)], 60 * BLOCK);
      t.deepEqual(await driver.run(0), [3 * BLOCK]);
      const targets = Array.from({ length: 8 }, () => filled(BLOCK, 9));
      engine.prepareVector(0, Opcode.readv, file.handle, targets, 60 * BLOCK);
      driver.read(1, file, allocateAligned(BLOCK), { offset: 0 });
      t.deepEqual(await driver.run(0, 1), [4 * BLOCK, BLOCK], 'the file ends behind the fourth');
      t.deepEqual(
        targets.map(({ bytes }) => bytes[0]),
        [1, 2, 2, 0, 9, 9, 9, 9],
      );
      engine.prepareVector(2, Opcode.readv, file.handle, targets.slice(0, 2), 70 * BLOCK);
      engine.prepareVector(3, Opcode.readv, 1_000_000, targets.slice(0, 2), 0);
      t.deepEqual(await driver.run(2, 3), [0, -EBADF]);
      const nowhere = new AlignedBuffer(new Uint8Array(BLOCK), BLOCK);
      const [good, behind] = [targets[4], targets[5]] as [AlignedBuffer, AlignedBuffer];
      engine.prepareVector(2, Opcode.readv, file.handle, [good, nowhere, behind], 60 * BLOCK);
      engine.prepareVector(3, Opcode.readv, file.handle, [nowhere, good, behind], 60 * BLOCK);
      t.deepEqual(await driver.run(2, 3), [BLOCK, -EFAULT], 'what comes behind a failure does not count');
      engine.prepareVector(4, Opcode.readv, file.handle, new Array(1025).fill(targets[0]), 0);
      t.is(driver.submit(4), -EINVAL, 'as many buffers as the kernel takes, and no more');
      engine.prepareVector(4, Opcode.readv, file.handle, new Array(1024).fill(targets[0]), 0);
      engine.prepareVector(5, Opcode.readv, file.handle, targets, 0);
      t.deepEqual(await driver.run(4, 5), [64 * BLOCK, 8 * BLOCK], 'more than one call of lio_listio');
    }));

  test(`${ffi}: transfers and flushes of one submit go down in order, and the depth is a limit`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      const slots = Array.from({ length: 40 }, (_, i) => i);
      for (const i of slots) {
        if (i % 5 === 4) driver.flush(i, file, i % 2 === 0 ? Opcode.fsync : Opcode.fdatasync);
        else driver.write(i, file, filled(BLOCK, i), { offset: i * BLOCK });
      }
      t.is(driver.submit(...slots), 32);
      t.is(driver.submit(32), -EAGAIN);
      await driver.settle();
      const results = await driver.run(...slots.slice(32));
      t.deepEqual(results, [BLOCK, BLOCK, 0, BLOCK, BLOCK, BLOCK, BLOCK, 0]);
    }));

  test(`${ffi}: a flush that glibc refuses is refused alone (ENGINE-3)`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      driver.write(0, file, filled(BLOCK, 1), { offset: 0 });
      driver.engine.prepare(1, Opcode.fdatasync, 1_000_000, null, 0, 0, 0);
      driver.write(2, file, filled(BLOCK, 2), { offset: BLOCK });
      t.is(driver.submit(0, 1, 2), 1);
      t.is(driver.submit(1, 2), -EBADF);
      t.is(driver.submit(2), 1);
      await driver.settle();
      t.deepEqual(
        driver.reported.map(({ result }) => result),
        [BLOCK, BLOCK],
      );
    }));

  test(`${ffi}: wait returns with as many as were asked for, or when the time is up`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      const slots = Array.from({ length: 16 }, (_, i) => i);
      for (const i of slots) driver.read(i, file, allocateAligned(BLOCK), { offset: i * BLOCK });
      t.is(driver.submit(...slots), 16);
      driver.engine.wait(20_000, 16);
      t.is(driver.reap(), 16);
      driver.engine.wait(20_000, 1);
      t.is(driver.reap(), 0, 'nothing is in flight: nothing to wait for');
      for (const i of slots)
        driver.flush(i, file, Opcode.fsync).write(i, file, filled(BLOCK, 1), { offset: i * BLOCK });
      driver.submit(...slots);
      driver.engine.wait(0, 16);
      await driver.settle();
      t.is(driver.reported.length, 32);
    }));

  test(`${ffi}: requests of two files are told of though the one waits for the other`, (t) =>
    withBench(ffi, async ({ platform, directory, file, driver }) => {
      const other = await platform.open(join(directory, 'other'), { create: true });
      await other.preallocate(0, 64 * BLOCK);
      driver.engine.setActive(true);
      for (let round = 0; round < 50; round++) {
        driver.write(0, file, filled(16 * BLOCK, round), { offset: 0 }).submit(0);
        await nextTurn();
        driver.read(1, other, allocateAligned(BLOCK), { offset: 0 }).submit(1);
        await driver.settle();
        driver.engine.setActive(true);
      }
      t.is(driver.reported.length, 100);
      await other.close();
    }));

  test(`${ffi}: what is in flight holds the memory and the engine (GLIBC-1)`, (t) =>
    withBench(ffi, async ({ platform, file, driver }) => {
      await driver.write(0, file, filled(64 * BLOCK, 5), { offset: 0 }).run(0);
      for (let round = 0; round < 20; round++) {
        // Nobody holds this engine, its buffers or their vectors.
        const engine = platform.createEngine({ slots: 8, depth: 8 });
        for (let slot = 0; slot < 4; slot++)
          engine.prepare(slot, Opcode.read, file.handle, filled(BLOCK, 1), 0, BLOCK, 0);
        for (let slot = 4; slot < 8; slot++) {
          engine.prepareVector(slot, Opcode.readv, file.handle, [filled(BLOCK, 1), filled(BLOCK, 1)], 0);
        }
        t.is(engine.submit(Uint32Array.of(0, 1, 2, 3, 4, 5, 6, 7), 0, 8), 8);
        await collectGarbage();
      }
      t.deepEqual(await driver.read(0, file, filled(BLOCK, 1), { offset: 0 }).run(0), [BLOCK]);
    }));

  test(`${ffi}: an engine that nobody holds stays until its requests are reaped, and then goes (GLIBC-1)`, (t) =>
    withBench(ffi, async ({ platform, file }) => {
      const begin = (): WeakRef<Engine> => {
        const engine = platform.createEngine({ slots: 1, depth: 1 });
        engine.prepare(0, Opcode.read, file.handle, allocateAligned(BLOCK), 0, BLOCK, 0);
        t.is(engine.submit(Uint32Array.of(0), 0, 1), 1);
        return new WeakRef(engine);
      };
      const end = (): void => {
        const engine = held.deref();
        engine?.wait(20_000);
        t.is(engine?.reap(new Completions(1)), 1);
      };
      const held = begin();
      await collectGarbage();
      end();
      await collectGarbage();
      t.is(held.deref(), undefined);
    }));

  test(`${ffi}: it is enough to be active when a request is submitted, or to become active after a wait`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      const isReported = async (): Promise<boolean> => {
        const untilMs = performance.now() + 20_000;
        while (driver.inFlight > 0 && performance.now() < untilMs) await nextTurn();
        return driver.inFlight === 0;
      };
      driver.engine.setActive(true);
      driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).submit(0);
      t.true(await isReported());
      driver.engine.setActive(false);
      driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).submit(0);
      driver.wait(20_000);
      t.is(driver.inFlight, 1);
      driver.engine.setActive(true);
      t.is(driver.inFlight, 1, 'not told from inside setActive');
      t.true(await isReported());
    }));

  test(`${ffi}: vectors that grow while the loop waits for them keep their places`, (t) =>
    withBench(ffi, async ({ file, driver }) => {
      driver.engine.setActive(true);
      for (let round = 1; round <= 64; round++) {
        const buffers = Array.from({ length: round }, () => allocateAligned(BLOCK));
        driver.engine.prepareVector(0, Opcode.readv, file.handle, buffers, 0);
        driver.submit(0);
        driver.read(1, file, allocateAligned(BLOCK), { offset: 0 }).submit(1);
        driver.engine.wait(20_000, 1);
        driver.reap();
        if (round % 16 === 0) await collectGarbage();
        await driver.settle();
        driver.engine.setActive(true);
      }
      t.is(driver.reported.length, 128);
    }));

  test(`${ffi}: a queue stands on it: batches, readSync, getEvents`, (t) =>
    withBench(ffi, async ({ platform, file }) => {
      const queue = new Queue(platform, { depth: 8 });
      t.is(queue.engine.name, 'posix');
      const writes = Array.from({ length: 64 }, (_, i) => queue.write(file, filled(BLOCK, i), { offset: i * BLOCK }));
      t.deepEqual(await Promise.all(writes), new Array<number>(64).fill(BLOCK));
      await queue.fdatasync(file);
      const target = allocateAligned(BLOCK);
      t.is(queue.readSync(file, target, { offset: 42 * BLOCK }), BLOCK);
      t.true(isFilled(target.bytes, 42));
      const read = queue.read(file, target, { offset: 17 * BLOCK });
      t.is(queue.getEvents({ min: 1 }), 1);
      t.is(await read, BLOCK);
      await queue.close();
    }));

  test(`${ffi}: the calls are usable alone`, (t) =>
    withBench(ffi, async ({ file }) => {
      const interface_ = requireForeignInterface(ffi);
      const calls = raw.posixAio(interface_);
      const aiocbs = new raw.AiocbArray(interface_, 3);
      const list = new raw.AiocbList(interface_, 3);
      const settle = (index: number): number => {
        list.clear();
        list.add(aiocbs.addressOf(index));
        list.setTimeout(20_000);
        while (calls.aioError(aiocbs.addressOf(index)) === EINPROGRESS) {
          calls.aioSuspend(list.address, list.count, list.timeoutAddress);
        }
        const error = calls.aioError(aiocbs.addressOf(index));
        return error === 0 ? calls.aioReturn(aiocbs.addressOf(index)) : -error;
      };
      const [source, target] = [filled(BLOCK, 3), filled(BLOCK, 9)];
      aiocbs.prepare(0, raw.LioOpcode.write, file.handle, source.address, BLOCK, 5 * BLOCK);
      t.is(calls.aioError(aiocbs.addressOf(0)), raw.NEVER_SUBMITTED);
      t.is(calls.aioWrite(aiocbs.addressOf(0)), 0);
      t.is(settle(0), BLOCK);
      aiocbs.prepareFlush(1, file.handle);
      t.is(calls.aioFsync(raw.SyncFlag.dsync, aiocbs.addressOf(1)), 0);
      t.is(settle(1), 0);
      t.is(calls.aioFsync(12_345, aiocbs.addressOf(1)), -EINVAL, 'errors of the calls are negative numbers');
      aiocbs.prepare(2, raw.LioOpcode.read, file.handle, target.address, BLOCK, 5 * BLOCK);
      t.is(calls.aioRead(aiocbs.addressOf(2)), 0);
      t.is(settle(2), BLOCK);
      t.true(isFilled(target.bytes, 3));
      aiocbs.prepare(2, raw.LioOpcode.read, 1_000_000, target.address, BLOCK, 0);
      list.clear();
      list.add(aiocbs.addressOf(2));
      t.is(calls.lioListio(raw.LIO_NOWAIT, list.address, list.count, 0), 0);
      t.is(settle(2), -EBADF);
      t.false(aiocbs.seemsInProgress(2));
    }));

  test(`${ffi}: a process may end with requests in flight, in each way`, async (t) => {
    const directory = await mkdtemp(resolve('.tmp-posix-'));
    const script = join(directory, 'ends.mjs');
    await writeFile(
      script,
      `import { allocateAligned, linuxPlatform, Opcode } from '@aiokv/aio';
      const platform = linuxPlatform({ ffi: '${ffi}' });
      const file = await platform.open('${join(directory, 'data')}', { create: true });
      const engine = platform.createEngine({ slots: 256, depth: 256, engine: 'posix' });
      const slots = Uint32Array.from({ length: 256 }, (_, i) => i);
      for (const i of slots) engine.prepare(i, Opcode.write, file.handle, allocateAligned(65536), 0, 65536, i * 65536);
      console.log(engine.submit(slots, 0, 256));
      if (process.argv[2] === 'exit') process.exit(7);
      if (process.argv[2] === 'throw') throw new Error('on purpose');
      process.exitCode = 7;
      engine.setActive(true);
      await engine.close();`,
    );
    for (const [way, status] of [
      ['exit', 7],
      ['throw', 1],
      ['close', 7],
    ] as const) {
      const result = spawnSync(process.execPath, [...FLAGS, script, way], { encoding: 'utf8', timeout: 60_000 });
      t.is(result.status, status, `${way}: ${result.signal} ${result.stderr}`);
      t.regex(result.stdout, /^256$/mu);
    }
    await rm(directory, { recursive: true, force: true });
  });
}

/** The real interface, with another function in the place of one. */
function altered(
  ffi: 'koffi' | 'ffi-napi',
  alter: (library: ForeignLibrary) => Partial<ForeignLibrary>,
): ForeignInterface {
  const real = requireForeignInterface(ffi);
  return {
    ...real,
    load(name) {
      const library = real.load(name);
      return { ...library, ...alter(library) };
    },
  };
}

for (const ffi of FFIS) {
  test(`${ffi}: when glibc is short of something, what it did not take is refused or fails with EAGAIN (ENGINE-1, ENGINE-3)`, (t) =>
    withBench(ffi, async ({ platform, file }) => {
      /** Which entries of a list are taken; undefined: all. */
      let takes: readonly number[] | undefined;
      const short = altered(ffi, (library) => ({
        bind(symbol, arity) {
          const native = library.bind(symbol, arity);
          if (symbol !== 'lio_listio') return native;
          return (mode, list = 0, count = 0, signal) => {
            if (takes === undefined) return native(mode, list, count, signal);
            for (const i of takes) native(mode, list + 8 * i, 1, signal);
            return native(99, list, count, signal); // EINVAL
          };
        },
      }));
      const createEngine = (options: EngineOptions): Engine =>
        new PosixEngine({ ...options, ffi: short, reason: 'a test' });
      const driver = new EngineDriver({ ...platform, createEngine }, { slots: 16, depth: 16 });
      const prepare = (...slots: number[]): void => {
        for (const i of slots) driver.write(i, file, filled(BLOCK, i), { offset: i * BLOCK });
      };
      const results = (): number[] => driver.reported.splice(0).map(({ result }) => result);
      const seen = async (...slots: number[]): Promise<number> => {
        const accepted = driver.submit(...slots);
        await driver.settle();
        return accepted;
      };
      prepare(0, 1, 2, 3);
      takes = [];
      t.is(await seen(0, 1, 2, 3), -EAGAIN);
      takes = [0, 1];
      t.is(await seen(0, 1, 2, 3), 2);
      t.deepEqual(results(), [BLOCK, BLOCK]);
      takes = undefined;
      t.is(await seen(2, 3), 2, 'they can be submitted again');
      t.deepEqual(results(), [BLOCK, BLOCK]);
      prepare(0, 1, 2, 3);
      takes = [0, 2];
      t.is(await seen(0, 1, 2, 3), 3);
      t.deepEqual(
        results().sort((a, b) => a - b),
        [-EAGAIN, BLOCK, BLOCK],
      );
      prepare(0, 1, 3);
      driver.flush(2, file);
      takes = [0];
      t.is(await seen(0, 1, 2, 3), 1, 'the flush behind them was not sent');
      t.deepEqual(results(), [BLOCK]);
      driver.engine.prepareVector(4, Opcode.writev, file.handle, [filled(BLOCK, 1), filled(BLOCK, 1)], 0);
      t.is(await seen(4), 1);
      t.deepEqual(results(), [BLOCK], 'the first of two buffers');
      await driver.engine.close();
    }));

  test(`${ffi}: the aiocbs that a thread waits for are held until it is back (GLIBC-1)`, (t) =>
    withBench(ffi, async ({ file }) => {
      const suspended: (() => void)[] = [];
      const memories: WeakRef<ArrayBuffer>[] = [];
      const interface_ = altered(ffi, (library) => ({
        bindAsync: (symbol, arity) =>
          symbol === 'aio_suspend'
            ? () =>
                new Promise((resolve) => {
                  suspended.push(() => resolve(0));
                })
            : library.bindAsync(symbol, arity),
      }));
      const engine = new PosixEngine({
        ffi: {
          ...interface_,
          addressOf(buffer) {
            memories.push(new WeakRef(buffer));
            return interface_.addressOf(buffer);
          },
        },
        slots: 2,
        depth: 2,
        reason: 'a test',
      });
      const read = (handle: number, count: number): void => {
        const buffers = Array.from({ length: count }, () => allocateAligned(BLOCK));
        engine.prepareVector(0, Opcode.readv, handle, buffers, 0);
        t.is(engine.submit(Uint32Array.of(0), 0, 1), 1);
      };
      const end = (): void => {
        engine.wait(20_000);
        t.is(engine.reap(new Completions(2)), 1);
      };
      // A read of an empty pipe is in flight for as long as the test likes.
      const ends = new Int32Array(2);
      t.is(raw.libcOf(interface_).pipe2(interface_.addressOf(ends.buffer), 0), 0);
      const [readEnd, writeEnd] = ends as unknown as [number, number];
      engine.setActive(true);
      const before = memories.length;
      read(readEnd, 1);
      const pieces = memories[before] as WeakRef<ArrayBuffer>;
      t.is(suspended.length, 1);
      writeSync(writeEnd, 'x');
      end();
      closeSync(readEnd);
      closeSync(writeEnd);
      read(file.handle, 2);
      end();
      await collectGarbage();
      t.not(pieces.deref(), undefined);
      await nextTurn();
      suspended[0]?.();
      await nextTurn();
      await collectGarbage();
      t.is(pieces.deref(), undefined, 'and not for longer');
      engine.setActive(false);
      await engine.close();
    }));

  test(`${ffi}: an aiocb that a thread waits for is not submitted again before it is back (GLIBC-3)`, (t) =>
    withBench(ffi, async ({ file }) => {
      let comeBack: () => void = () => undefined;
      const named: bigint[] = [];
      const submitted: bigint[] = [];
      const note = (list: bigint[], address: number, count: number): void => {
        const { buffer, byteOffset } = real.viewOf(address, count * 8) as Uint8Array<ArrayBuffer>;
        for (const one of new BigUint64Array(buffer, byteOffset, count)) list.push(one);
      };
      const real = requireForeignInterface(ffi);
      const interface_ = altered(ffi, (library) => ({
        bind(symbol, arity) {
          const native = library.bind(symbol, arity);
          if (symbol === 'aio_fsync') return (flag, aiocb = 0) => (submitted.push(BigInt(aiocb)), native(flag, aiocb));
          if (symbol !== 'lio_listio') return native;
          return (mode, address = 0, count = 0, event) => {
            note(submitted, address, count);
            return native(mode, address, count, event);
          };
        },
        bindAsync: (symbol, arity) =>
          symbol === 'aio_suspend'
            ? (address = 0, count = 0) =>
                new Promise((done) => {
                  note(named, address, count);
                  comeBack = () => done(0);
                })
            : library.bindAsync(symbol, arity),
      }));
      const engine = new PosixEngine({ ffi: interface_, slots: 1, depth: 1, reason: 'a test' });
      const run = (): bigint[] => {
        submitted.length = 0;
        t.is(engine.submit(Uint32Array.of(0), 0, 1), 1);
        return submitted.slice();
      };
      const end = (): void => {
        engine.wait(20_000);
        t.is(engine.reap(new Completions(1)), 1);
      };
      const one = [allocateAligned(BLOCK)];
      const again: Record<string, () => void> = {
        read: () => engine.prepare(0, Opcode.read, file.handle, one[0] as AlignedBuffer, 0, BLOCK, 0),
        readv: () => engine.prepareVector(0, Opcode.readv, file.handle, one, 0),
        flush: () => engine.prepare(0, Opcode.fsync, file.handle, null, 0, 0, 0),
      };
      for (const isVector of [false, true]) {
        // A read of an empty pipe is in flight for as long as the test likes.
        const ends = new Int32Array(2);
        t.is(raw.libcOf(real).pipe2(real.addressOf(ends.buffer), 0), 0);
        const [readEnd, writeEnd] = ends as unknown as [number, number];
        engine.setActive(true);
        named.length = 0;
        if (isVector) engine.prepareVector(0, Opcode.readv, readEnd, one, 0);
        else engine.prepare(0, Opcode.read, readEnd, one[0] as AlignedBuffer, 0, BLOCK, 0);
        t.deepEqual(run(), named, 'the thread waits for what was submitted');
        t.is(named.length, 1);
        writeSync(writeEnd, 'x');
        end();
        closeSync(readEnd);
        closeSync(writeEnd);
        for (const prepare of [again['read'], again['readv'], again['flush'], again['read'], again['readv']]) {
          prepare?.();
          t.false(run().includes(named[0] as bigint));
          end();
        }
        engine.setActive(false);
        comeBack();
        await nextTurn();
      }
      await engine.close();
    }));
}

test('a worker is refused, and told what to use', async (t) => {
  // A worker does not inherit tsx, which is why it registers it by itself.
  const script = `
    import('tsx/esm/api')
      .then(({ register }) => register())
      .then(() => import('@aiokv/aio'))
      .then(({ linuxPlatform }) => {
        linuxPlatform({ ffi: 'koffi' }).createEngine({ slots: 1, depth: 1, engine: 'posix' });
      });`;
  const conditions = FLAGS.filter((flag) => flag.startsWith('--conditions'));
  const worker = new Worker(script, { eval: true, execArgv: conditions });
  const [error] = (await once(worker, 'error')) as [AiokvError];
  t.is(error.code, 'ERR_AIOKV_ENGINE_UNAVAILABLE');
  t.regex(error.message, /worker.*libaio.*threads/u);
});

test('after close nothing is handed out and nothing is taken', async (t) => {
  const engine = linuxPlatform().createEngine({ slots: 1, depth: 1, engine: 'posix' });
  await engine.close();
  engine.setActive(true);
  engine.wait(1000);
  t.is(engine.reap(new Completions(1)), 0);
  t.throws(() => engine.submit(Uint32Array.of(0), 0, 1), { code: 'ERR_AIOKV_INTERNAL' });
});
