/**
 * The engine `io_uring` on real files: the conformance suite with each foreign-function interface and with a thread of
 * the kernel, and its own edges. Skipped where the system forbids it.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep, setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { DirectFile, EngineOptions, Platform, UringOptions } from '@aiokv/aio';
import {
  AlignedBuffer,
  BufferPool,
  Completions,
  Opcode,
  Queue,
  RequestFlag,
  allocateAligned,
  linuxPlatform,
  raw,
  requireForeignInterface,
} from '@aiokv/aio';
import type { AiokvError } from '@aiokv/core';
import test from 'ava';
import { engineConformance } from './engine-conformance.ts';
import { EngineDriver, filled, isFilled } from './engine-driver.ts';
import { garbageOf } from './garbage.ts';
import { isLoadable } from './loadable.ts';
import { whyNoUring } from './uring-available.ts';

type FfiName = 'koffi' | 'ffi-napi';

const BLOCK = 4096;
const POLLIN = 1;
const { EAGAIN, ECANCELED, EFAULT, EINVAL, EOPNOTSUPP } = constants.errno;
const MODES: [string, UringOptions][] = [
  ['plain', {}],
  ['sqpoll', { sqpoll: true, sqpollIdleMs: 20 }],
];
/** For processes of their own: they find the package as this one does. */
const FLAGS = process.execArgv.filter((flag) => flag.startsWith('--import') || flag.startsWith('--conditions'));
const FFIS = (['koffi', 'ffi-napi'] as const).filter((ffi) => {
  const whyNot = isLoadable(ffi) ? whyNoUring(ffi) : `${ffi} is not installed here, which needs a C++ toolchain`;
  if (whyNot !== null) test.skip(`${ffi}: ${whyNot}`, () => undefined);
  return whyNot === null;
});

function uringPlatform(ffi: FfiName, uring: UringOptions = {}): Platform {
  const linux = linuxPlatform({ ffi });
  const createEngine = (options: EngineOptions) => linux.createEngine({ uring, ...options, engine: 'io_uring' });
  return { ...linux, createEngine };
}

for (const ffi of FFIS) {
  for (const [mode, uring] of MODES) {
    engineConformance(test, `io_uring, ${ffi}, ${mode}`, async () => {
      const directory = await mkdtemp(resolve('.tmp-uring-'));
      return {
        platform: uringPlatform(ffi, uring),
        directory,
        cleanup: () => rm(directory, { recursive: true, force: true }),
        acceptsBadHandles: true,
      };
    });
  }
}

interface Bench {
  readonly platform: Platform;
  readonly file: DirectFile;
  /** 64 slots and a depth of 32. */
  readonly driver: EngineDriver;
  /** Another engine. */
  readonly drive: (uring: UringOptions) => EngineDriver;
}

/** With a file of 64 blocks, the n-th full of n. */
async function withBench(ffi: FfiName, uring: UringOptions, body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-uring-'));
  const platform = uringPlatform(ffi, uring);
  const file = await platform.open(join(directory, 'data'), { create: true });
  const drivers: EngineDriver[] = [];
  const drive = (others: UringOptions): EngineDriver => {
    const driver = new EngineDriver(platform, { slots: 64, depth: 32, uring: { ...uring, ...others } });
    drivers.push(driver);
    return driver;
  };
  try {
    const driver = drive({});
    const content = allocateAligned(64 * BLOCK);
    for (let i = 0; i < 64; i++) content.bytes.fill(i, i * BLOCK, (i + 1) * BLOCK);
    await driver.write(0, file, content, { offset: 0 }).run(0);
    await body({ platform, file, driver, drive });
  } finally {
    await Promise.all(drivers.map(({ engine }) => engine.close()));
    await file.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** An eventfd, which is ready to be read once it was signalled. */
function makeEventfd(ffi: FfiName): { fd: number; signal: () => void } {
  const fd = raw.libcOf(requireForeignInterface(ffi)).eventfd(0, 0) | 0;
  return { fd, signal: () => writeSync(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)) };
}

for (const ffi of FFIS) {
  for (const [mode, uring] of MODES) {
    const name = `${ffi}, ${mode}`;

    test(`${name}: vectors, and hints that reach the kernel`, (t) =>
      withBench(ffi, uring, async ({ file, driver }) => {
        const { engine } = driver;
        engine.prepareVector(0, Opcode.writev, file.handle, [filled(BLOCK, 101), filled(2 * BLOCK, 102)], 8 * BLOCK);
        t.deepEqual(await driver.run(0), [3 * BLOCK]);
        const targets = Array.from({ length: 4 }, () => allocateAligned(BLOCK));
        engine.prepareVector(1, Opcode.readv, file.handle, targets, 7 * BLOCK);
        t.deepEqual(await driver.run(1), [4 * BLOCK]);
        t.deepEqual(
          targets.map(({ bytes }) => bytes[0]),
          [7, 101, 102, 102],
        );
        t.is(engine.features.flags, RequestFlag.dsync | RequestFlag.nowait);
        t.true(engine.features.priority);
        driver.write(2, file, filled(BLOCK, 1), { offset: 0 });
        engine.setHints(2, RequestFlag.dsync, 0);
        driver.read(3, file, allocateAligned(BLOCK), { offset: 0 });
        engine.setHints(3, RequestFlag.nowait, 2 << 13);
        driver.read(4, file, allocateAligned(BLOCK), { offset: 0 });
        engine.setHints(4, 1 << 30, 0);
        driver.read(5, file, allocateAligned(BLOCK), { offset: 0 });
        engine.setHints(5, 0, 7 << 13);
        t.deepEqual(await driver.run(2), [BLOCK]);
        // What does not want to wait may be told that it would have to, by a disk that is busy.
        const [nowait, ...refused] = await driver.run(3, 4, 5);
        t.true(nowait === BLOCK || nowait === -EAGAIN, String(nowait));
        t.deepEqual(refused, [-EOPNOTSUPP, -EINVAL], 'there is no such flag, and no such class');
      }));

    test(`${name}: registered buffers and handles are used, others are served beside them`, (t) =>
      withBench(ffi, uring, async ({ platform, file, drive }) => {
        const pool = new BufferPool(2 * BLOCK, 4);
        const buffers = [pool.lease(), pool.lease()] as [AlignedBuffer, AlignedBuffer];
        const apart = allocateAligned(BLOCK);
        const fd = openSync(file.path, 'r+');
        const registered = { ...file, handle: fd } as DirectFile;
        const other = await platform.open(file.path);
        const driver = drive({ buffers: [...buffers, apart], handles: [file.handle, fd, fd] });
        // From here on only the ring can find this file.
        closeSync(fd);
        for (const from of [file, other]) {
          driver
            .write(0, from, filled(BLOCK, 200), { offset: 3 * BLOCK })
            .read(1, from, buffers[0], { offset: 5 * BLOCK, bufferOffset: BLOCK, lengthBytes: BLOCK })
            .read(2, from, buffers[1], { offset: 6 * BLOCK })
            .read(3, from, apart, { offset: 60 * BLOCK });
          t.deepEqual(await driver.run(0, 1, 2, 3), [BLOCK, BLOCK, 2 * BLOCK, BLOCK]);
          t.deepEqual([buffers[0].bytes[BLOCK], buffers[1].bytes[0], buffers[1].bytes[BLOCK]], [5, 6, 7]);
          t.true(isFilled(apart.bytes, 60));
        }
        driver.write(0, registered, buffers[1], { offset: 50 * BLOCK }).flush(1, registered, Opcode.fsync);
        t.deepEqual(await driver.run(0, 1), [2 * BLOCK, 0]);
        driver.engine.prepareVector(0, Opcode.readv, fd, [apart, buffers[0]], 50 * BLOCK);
        t.deepEqual(await driver.run(0), [3 * BLOCK]);
        t.deepEqual([apart.bytes[0], buffers[0].bytes[0]], [6, 7]);
        const liar = new AlignedBuffer(buffers[0].bytes, allocateAligned(2 * BLOCK).address);
        driver.read(0, file, liar, { offset: 0 });
        t.deepEqual(await driver.run(0), [-EFAULT], 'the kernel looks it up in what is registered');
        await driver.engine.close();
        await other.close();
      }));

    test(`${name}: a poll is cancelled, is ready, or goes on beside others`, (t) =>
      withBench(ffi, uring, async ({ file, driver }) => {
        const { engine } = driver;
        const first = makeEventfd(ffi);
        for (let round = 0; round < 20; round++) {
          const from = driver.reported.length;
          const second = makeEventfd(ffi);
          engine.preparePoll(40, first.fd, POLLIN);
          engine.preparePoll(41, second.fd, POLLIN);
          driver.read(42, file, allocateAligned(BLOCK), { offset: 0 });
          t.is(driver.submit(40, 41, 42), 3);
          await driver.settleSome(1);
          t.deepEqual(driver.reported.slice(from), [{ slot: 42, result: BLOCK }]);
          engine.cancel(40);
          engine.cancel(39);
          await driver.settleSome(1);
          t.deepEqual(driver.reported.slice(from + 1), [{ slot: 40, result: -ECANCELED }]);
          driver.wait(1);
          t.is(driver.reap(), 0, 'nobody is told how the cancelling went');
          second.signal();
          await driver.settle();
          t.deepEqual(driver.reported.slice(from + 2), [{ slot: 41, result: POLLIN }]);
          engine.cancel(41);
          engine.preparePoll(41, second.fd, POLLIN);
          t.deepEqual(await driver.run(41), [POLLIN], 'a late cancel does not reach the next in that slot');
          closeSync(second.fd);
        }
        closeSync(first.fd);
      }));

    test(`${name}: the depth is a limit, and wait returns with as many as were asked for`, (t) =>
      withBench(ffi, uring, async ({ file, driver }) => {
        const slots = Array.from({ length: 40 }, (_, i) => i);
        for (let round = 0; round < 10; round++) {
          for (const i of slots) driver.read(i, file, allocateAligned(BLOCK), { offset: i * BLOCK });
          t.is(driver.submit(...slots), 32);
          t.is(driver.submit(32), -EAGAIN);
          driver.engine.wait(20_000, 32);
          t.is(driver.reap(), 32);
          t.is(driver.submit(...slots.slice(32)), 8);
          driver.engine.wait(20_000, 32);
          t.is(driver.reap(), 8, 'no more is in flight to be waited for');
        }
        const eventfd = makeEventfd(ffi);
        driver.engine.preparePoll(0, eventfd.fd, POLLIN);
        driver.submit(0);
        const startMs = performance.now();
        driver.engine.wait(30);
        const tookMs = performance.now() - startMs;
        t.true(tookMs >= 29, `${tookMs} ms`);
        eventfd.signal();
        await driver.settle();
        closeSync(eventfd.fd);
      }));

    test(`${name}: what completed while nobody listened is told of afterwards`, (t) =>
      withBench(ffi, uring, async ({ file, driver }) => {
        for (let round = 0; round < 5; round++) {
          const before = driver.wakeups;
          for (let i = 0; i < 8; i++) driver.read(i, file, allocateAligned(BLOCK), { offset: i * BLOCK });
          driver.submit(0, 1, 2, 3, 4, 5, 6, 7);
          driver.wait(20_000);
          // The loop reads the eventfd meanwhile, and the wait sees the thread of the kernel go to sleep.
          for (let turn = 0; turn < 10; turn++) await sleep(5);
          t.is(driver.wakeups, before);
          await driver.settle();
          t.true(driver.wakeups > before);
        }
      }));

    test(`${name}: close waits for what is in flight, twenty times over (ENGINE-5)`, (t) =>
      withBench(ffi, uring, async ({ file, drive }) => {
        const pool = new BufferPool(BLOCK, 32);
        const targets = Array.from({ length: 32 }, () => pool.lease() as AlignedBuffer);
        const slots = targets.map((_, i) => i);
        for (let round = 0; round < 20; round++) {
          const driver = drive(round % 2 === 0 ? {} : { buffers: targets, handles: [file.handle] });
          for (const i of slots) driver.read(i, file, targets[i] as AlignedBuffer, { offset: i * BLOCK });
          t.is(driver.submit(...slots), 32);
          const startMs = performance.now();
          await driver.engine.close();
          if (round === 19) t.log(`close took ${(performance.now() - startMs).toFixed(2)} ms`);
          t.true(targets.every(({ bytes }, i) => isFilled(bytes, i)));
          for (const { bytes } of targets) bytes.fill(0xaa);
        }
        await nextTurn();
        t.true(targets.every(({ bytes }) => isFilled(bytes, 0xaa)));
      }));

    test.serial(`${name}: a request costs no memory`, (t) =>
      withBench(ffi, uring, ({ file, driver: { engine } }) => {
        const buffers = Array.from({ length: 16 }, () => allocateAligned(BLOCK));
        const slots = Uint32Array.from({ length: 16 }, (_, i) => i);
        const completions = new Completions(16);
        const round = (): void => {
          for (let i = 0; i < 16; i++) {
            engine.prepare(i, Opcode.read, file.handle, buffers[i] as AlignedBuffer, 0, BLOCK, i * BLOCK);
          }
          if (engine.submit(slots, 0, 16) !== 16) throw new Error('not all were accepted');
          for (let reaped = 0; reaped < 16;) reaped += engine.reap(completions);
        };
        for (let i = 0; i < 500; i++) round();
        const bytes = garbageOf(round, 100) / 16;
        t.log(`${bytes.toFixed(1)} bytes a request`);
        t.true(bytes < 16, `${bytes} bytes`);
        return Promise.resolve();
      }),
    );

    test(`${name}: a queue stands on it: batches, readSync, getEvents, polls, an end`, (t) =>
      withBench(ffi, uring, async ({ platform, file }) => {
        const queue = new Queue(platform, { depth: 8, engine: 'io_uring', uring });
        t.is(queue.engine.name, 'io_uring');
        const writes = Array.from({ length: 64 }, (_, i) => queue.write(file, filled(BLOCK, i), { offset: i * BLOCK }));
        t.deepEqual(await Promise.all(writes), new Array<number>(64).fill(BLOCK));
        await queue.fdatasync(file);
        const target = allocateAligned(BLOCK);
        t.is(queue.readSync(file, target, { offset: 42 * BLOCK }), BLOCK);
        t.true(isFilled(target.bytes, 42));
        const read = queue.read(file, target, { offset: 17 * BLOCK });
        t.is(queue.getEvents({ min: 1 }), 1);
        t.is(await read, BLOCK);
        const bad = { ...file, alignment: file.alignment, handle: 987_654 } as DirectFile;
        await t.throwsAsync(queue.read(bad, target, { offset: 0 }), { code: 'EBADF' });
        const eventfd = makeEventfd(ffi);
        const polls = [queue.poll(eventfd.fd), queue.poll(eventfd.fd)];
        await nextTurn();
        const settled = Promise.allSettled(polls);
        await queue.close();
        for (const { status } of await settled) t.is(status, 'rejected');
        closeSync(eventfd.fd);
      }));
  }

  test(`${ffi}: a thread of the kernel that went to sleep is woken`, (t) =>
    withBench(ffi, { sqpoll: true, sqpollIdleMs: 1 }, async ({ file, driver }) => {
      for (let round = 0; round < 10; round++) {
        await sleep(15);
        t.deepEqual(await driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).run(0), [BLOCK]);
      }
    }));

  test(`${ffi}: iopoll reads where the device has poll queues, and says where it has not`, (t) =>
    withBench(ffi, {}, async ({ file, drive }) => {
      for (const uring of [{ iopoll: true }, { iopoll: true, sqpoll: true, sqpollIdleMs: 20 }]) {
        const driver = drive(uring);
        t.false(driver.engine.features.poll);
        const slots = Array.from({ length: 32 }, (_, i) => i);
        const targets = slots.map(() => filled(BLOCK, 0xee));
        const prepare = (): void => {
          for (const i of slots) driver.read(i, file, targets[i] as AlignedBuffer, { offset: i * BLOCK });
        };
        prepare();
        const results = await driver.run(...slots);
        t.log(`a read: ${results[0]}`);
        if (results[0] === BLOCK) t.true(targets.every(({ bytes }, i) => isFilled(bytes, i)));
        else t.deepEqual(new Set(results), new Set([-EOPNOTSUPP]));
        t.deepEqual(await driver.flush(0, file).run(0), [-EINVAL]);
        prepare();
        t.is(driver.submit(...slots), 32);
        driver.engine.wait(20_000, 32);
        t.is(driver.reap(), 32);
        prepare();
        t.is(driver.submit(...slots), 32);
        await driver.engine.close();
      }
    }));

  test.serial(`${ffi}: what cannot be registered is refused, and nothing is left behind`, (t) =>
    withBench(ffi, {}, async ({ platform, file }) => {
      const holdings = (): [number, number] => [
        readdirSync('/proc/self/fd').length,
        readFileSync('/proc/self/maps', 'utf8').match(/io_uring/gu)?.length ?? 0,
      ];
      const create = (uring: UringOptions) => platform.createEngine({ slots: 4, depth: 4, uring });
      await create({ handles: [file.handle] }).close();
      const before = holdings();
      t.throws(() => create({ handles: [file.handle, -1] }), { code: 'ERR_AIOKV_INVALID_OPTION', message: /closed/u });
      t.throws(() => create({ handles: [987_654] }), { code: 'EBADF', message: /uring\.handles/u });
      const huge = new AlignedBuffer(new Uint8Array(new ArrayBuffer(2 ** 30 + 1), 0, BLOCK), 0);
      t.throws(() => create({ buffers: [huge] }), { code: 'ERR_AIOKV_INVALID_OPTION', message: /1 GiB/u });
      t.deepEqual(holdings(), before);
    }),
  );

  test(`${ffi}: a registered file is let go of by close`, (t) =>
    withBench(ffi, {}, async ({ platform, file, drive }) => {
      for (let round = 0; round < 10; round++) {
        const locked = await platform.open(file.path);
        t.is(await locked.lock(), undefined, 'nobody else has it');
        const driver = drive({ handles: [locked.handle] });
        await driver.engine.close();
        await locked.close();
      }
    }));

  test(`${ffi}: a process may end with requests in flight, in each way`, async (t) => {
    const directory = await mkdtemp(resolve('.tmp-uring-'));
    const script = join(directory, 'ends.mjs');
    await writeFile(
      script,
      `import { allocateAligned, linuxPlatform, Opcode } from '@aiokv/aio';
      const platform = linuxPlatform({ ffi: '${ffi}' });
      const file = await platform.open('${join(directory, 'data')}', { create: true });
      const engine = platform.createEngine({ slots: 256, depth: 256, engine: 'io_uring' });
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

test('a worker is refused, and told what to use', async (t) => {
  // A worker does not inherit tsx, which is why it registers it by itself.
  const script = `
    import('tsx/esm/api')
      .then(({ register }) => register())
      .then(() => import('@aiokv/aio'))
      .then(({ linuxPlatform }) => {
        linuxPlatform({ ffi: 'koffi' }).createEngine({ slots: 1, depth: 1, engine: 'io_uring' });
      });`;
  const conditions = FLAGS.filter((flag) => flag.startsWith('--conditions'));
  const worker = new Worker(script, { eval: true, execArgv: conditions });
  const [error] = (await once(worker, 'error')) as [AiokvError];
  t.is(error.code, 'ERR_AIOKV_ENGINE_UNAVAILABLE');
  t.regex(error.message, /worker.*libaio/u);
});

for (const ffi of FFIS.slice(0, 1)) {
  test('after close nothing is handed out and nothing is taken', async (t) => {
    const engine = uringPlatform(ffi).createEngine({ slots: 1, depth: 1 });
    await engine.close();
    engine.setActive(true);
    engine.cancel(0);
    engine.wait(1000);
    t.is(engine.reap(new Completions(1)), 0);
    t.throws(() => engine.submit(Uint32Array.of(0), 0, 1), { code: 'ERR_AIOKV_INTERNAL' });
  });
}
