/** The engine `threads`: the conformance suite over direct files and over the portable platform, and its own edges. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { constants } from 'node:os';
import type { Platform } from '@aiokv/aio';
import { Completions, Opcode, Queue, RequestFlag, allocateAligned, linuxPlatform, portablePlatform } from '@aiokv/aio';
import test from 'ava';
import type { PlatformFixture } from './engine-conformance.ts';
import { engineConformance } from './engine-conformance.ts';
import { EngineDriver, filled, isFilled } from './engine-driver.ts';
import { macos, windows } from './hosts.ts';
import { isLoadable } from './loadable.ts';
import { platformConformance } from './platform-conformance.ts';
import { withoutDirectIo } from '../../packages/kv/src/file/direct-io.ts';

const BLOCK = 4096;
const { EAGAIN, EBADF, EINVAL } = constants.errno;

async function fixture(platform: Platform, canRemoveOpen = true): Promise<PlatformFixture> {
  const directory = await mkdtemp(resolve('.tmp-threads-'));
  return { platform, directory, canRemoveOpen, cleanup: () => rm(directory, { recursive: true, force: true }) };
}

engineConformance(test, 'threads, portable', () => fixture(portablePlatform()));
platformConformance(test, 'threads, portable, as on Windows', () => fixture(windows(), false));
platformConformance(test, 'threads, portable, as on macOS', () => fixture(macos()));

if (isLoadable('koffi')) {
  engineConformance(test, 'threads, direct files', () => {
    const linux = linuxPlatform({ ffi: 'koffi' });
    return fixture({ ...linux, createEngine: (o) => linux.createEngine({ ...o, engine: 'threads' }) });
  });
  engineConformance(test, 'threads, files of Linux through the page cache', () =>
    fixture(withoutDirectIo(linuxPlatform({ ffi: 'koffi' }))),
  );
} else {
  test.skip('threads over direct files: koffi is not installed here', () => undefined);
}

/** A portable file of 64 blocks and an engine with 8 slots and a depth of 4. */
async function withDriver(
  body: (driver: EngineDriver, file: Awaited<ReturnType<Platform['open']>>, platform: Platform) => Promise<void>,
): Promise<void> {
  const { platform, directory, cleanup } = await fixture(portablePlatform());
  const file = await platform.open(join(directory, 'data'), { create: true });
  const driver = new EngineDriver(platform, { slots: 8, depth: 4 });
  try {
    await file.preallocate(0, 64 * BLOCK);
    await body(driver, file, platform);
  } finally {
    await driver.engine.close();
    await file.close();
    await cleanup();
  }
}

test('a write with RWF_DSYNC is refused: threads do not have it', (t) =>
  withDriver(async (_driver, file, platform) => {
    const queue = new Queue(platform, { depth: 2 });
    t.false(queue.supports(RequestFlag.dsync));
    t.true(queue.supports(0));
    await t.throwsAsync(queue.write(file, allocateAligned(BLOCK), { offset: 0, dsync: true }), {
      code: 'ERR_AIOKV_UNSUPPORTED',
    });
    await queue.close();
  }));

test('the depth is a limit, and a descriptor that is not open a completion', (t) =>
  withDriver(async (driver, file) => {
    const buffer = allocateAligned(BLOCK);
    for (let i = 0; i < 5; i++) driver.read(i, file, buffer, { offset: 0 });
    t.is(driver.submit(0, 1, 2, 3, 4), 4);
    t.is(driver.submit(4), -EAGAIN);
    await driver.settle();
    driver.engine.prepare(5, Opcode.read, 1_000_000, buffer, 0, BLOCK, 0);
    driver.engine.prepare(6, Opcode.fdatasync, 1_000_000, null, 0, 0, 0);
    t.deepEqual(await driver.run(5, 6), [-EBADF, -EBADF]);
  }));

test('an offset below 0 is refused and never means the place where the descriptor stands', (t) =>
  withDriver(async (driver, file) => {
    for (const offset of [-1, -BLOCK]) {
      t.is(driver.write(0, file, filled(BLOCK, 7), { offset }).submit(0), -EINVAL);
      t.is(driver.engine.perform?.(0), -EINVAL);
    }
    const target = allocateAligned(64 * BLOCK);
    await driver.read(0, file, target, { offset: 0 }).run(0);
    t.true(isFilled(target.bytes, 0));
  }));

test('vectors are read and written in one request, on a thread and at once', (t) =>
  withDriver(async (driver, file) => {
    const { engine } = driver;
    engine.prepareVector(0, Opcode.writev, file.handle, [filled(BLOCK, 1), filled(2 * BLOCK, 2)], BLOCK);
    t.deepEqual(await driver.run(0), [3 * BLOCK]);
    engine.prepareVector(1, Opcode.writev, file.handle, [filled(BLOCK, 3)], 63 * BLOCK);
    t.is(engine.perform?.(1), BLOCK);
    const [a, b, c] = [filled(2 * BLOCK, 9), filled(2 * BLOCK, 9), filled(2 * BLOCK, 9)];
    engine.prepareVector(2, Opcode.readv, file.handle, [a, b], 0);
    t.deepEqual(await driver.run(2), [4 * BLOCK]);
    t.true(isFilled(a.bytes.subarray(BLOCK), 1) && isFilled(b.bytes, 2));
    engine.prepareVector(3, Opcode.readv, file.handle, [c, a], 62 * BLOCK);
    t.is(engine.perform?.(3), 2 * BLOCK, 'short at the end of the file');
    t.true(isFilled(c.bytes.subarray(BLOCK), 3));
    engine.prepare(4, Opcode.fsync, file.handle, null, 0, 0, 0);
    t.is(engine.perform?.(4), 0);
    engine.prepare(4, Opcode.fdatasync, 1_000_000, null, 0, 0, 0);
    t.is(engine.perform?.(4), -EBADF);
  }));

test('what completed while inactive is told when the engine is active again, and in a later turn', (t) =>
  withDriver(async (driver, file) => {
    driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).submit(0);
    await sleep(100);
    t.is(driver.wakeups, 0);
    driver.engine.setActive(true);
    t.is(driver.wakeups, 0, 'not from inside setActive');
    for (let turn = 0; turn < 1000 && driver.inFlight > 0; turn++) await nextTurn();
    t.is(driver.wakeups, 1);
    t.is(driver.inFlight, 0);
  }));

test('nobody may wait for it, and a closed engine hands nothing out', (t) =>
  withDriver(async (driver, file) => {
    t.throws(() => driver.wait(1), { code: 'ERR_AIOKV_INTERNAL' });
    driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).submit(0);
    await driver.engine.close();
    t.is(driver.engine.reap(new Completions(4)), 0);
    t.throws(() => driver.engine.submit(Uint32Array.of(0), 0, 1), { code: 'ERR_AIOKV_INTERNAL' });
  }));

test('a queue stands on it: batches, readSync, and no waiting', async (t) => {
  const { platform, directory, cleanup } = await fixture(portablePlatform());
  const file = await platform.open(join(directory, 'data'), { create: true });
  const queue = new Queue(platform, { depth: 8, engine: 'auto' });
  t.is(queue.engine.name, 'threads');
  const writes = Array.from({ length: 100 }, (_, i) => queue.write(file, filled(BLOCK, i), { offset: i * BLOCK }));
  t.deepEqual(await Promise.all(writes), new Array<number>(100).fill(BLOCK));
  await queue.fdatasync(file);
  const target = allocateAligned(BLOCK);
  t.is(queue.readSync(file, target, { offset: 42 * BLOCK }), BLOCK);
  t.true(isFilled(target.bytes, 42));
  t.throws(() => queue.getEvents({ min: 1 }), { code: 'ERR_AIOKV_UNSUPPORTED' });
  await queue.close();
  await file.close();
  await cleanup();
});
