/**
 * What every engine and its platform must do, whatever carries the requests: one suite, run over the
 * simulated disk, over libaio and over whatever comes next. Tests name the invariant of engine.ts that
 * they check.
 */
import type { AlignedBuffer, DirectFile, Platform } from '@aiokv/aio';
import { Opcode, allocateAligned } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import type { ExecutionContext, TestFn } from 'ava';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { seedOf } from '../helpers/seed.ts';
import { EngineDriver, filled, isFilled } from './engine-driver.ts';
import { platformConformance } from './platform-conformance.ts';

export interface PlatformFixture {
  readonly platform: Platform;
  /** An existing, empty directory of the platform. */
  readonly directory: string;
  readonly cleanup: () => Promise<void>;
  /** False where a file that is open keeps all its names, as a strict Windows would have it; default true. */
  readonly canRemoveOpen?: boolean;
  /** True where a bad handle is accepted and completes with EBADF, and is not refused by `submit`; default false. */
  readonly acceptsBadHandles?: boolean;
}

export type MakePlatform = () => Promise<PlatformFixture>;

const { EBADF, EINVAL } = constants.errno;
const BLOCK = 4096;

interface Bench {
  readonly t: ExecutionContext;
  readonly platform: Platform;
  readonly directory: string;
  readonly acceptsBadHandles: boolean;
  readonly file: DirectFile;
  /** An engine with 64 slots and a depth of 32, closed after the test. */
  readonly driver: EngineDriver;
  /** Another engine. */
  readonly drive: (slots: number, depth: number, reapCapacity?: number) => EngineDriver;
}

type BenchTest = (bench: Bench) => Promise<void>;

/** Declares the tests under `name`. */
export function engineConformance(test: TestFn, name: string, makePlatform: MakePlatform): void {
  platformConformance(test, name, makePlatform);
  for (const [title, body] of [...transfers, ...refusals, ...completions, ...endings, ...models]) {
    test(`${name}: ${title}`, async (t) => {
      const { platform, directory, cleanup, acceptsBadHandles = false } = await makePlatform();
      const drivers: EngineDriver[] = [];
      const drive = (slots: number, depth: number, reapCapacity?: number): EngineDriver => {
        const driver = new EngineDriver(platform, { slots, depth }, reapCapacity);
        drivers.push(driver);
        return driver;
      };
      const file = await platform.open(join(directory, 'data'), { create: true });
      try {
        await file.preallocate(0, 256 * BLOCK);
        await file.sync();
        await body({ t, platform, directory, acceptsBadHandles, file, driver: drive(64, 32), drive });
      } finally {
        await Promise.all(drivers.map((driver) => driver.engine.close()));
        await file.close();
        await cleanup();
      }
    });
  }
}

const transfers: [string, BenchTest][] = [
  [
    'what was written is read back, by another handle too',
    async ({ t, platform, file, driver }) => {
      const source = allocateAligned(4 * BLOCK);
      new Random(1).fill(source.bytes);
      t.deepEqual(await driver.write(0, file, source, { offset: 3 * BLOCK }).run(0), [4 * BLOCK]);
      const other = await platform.open(file.path, { readOnly: true });
      for (const from of [file, other]) {
        const target = filled(4 * BLOCK, 0xee);
        t.deepEqual(await driver.read(5, from, target, { offset: 3 * BLOCK }).run(5), [4 * BLOCK]);
        t.deepEqual(target.bytes, source.bytes);
      }
      await other.close();
    },
  ],
  [
    'a transfer touches its part of the buffer and nothing else',
    async ({ t, file, driver }) => {
      const source = filled(3 * BLOCK, 7);
      await driver.write(0, file, source, { offset: 0, bufferOffset: BLOCK, lengthBytes: BLOCK }).run(0);
      const target = filled(4 * BLOCK, 0xee);
      t.deepEqual(
        await driver.read(0, file, target, { offset: 0, bufferOffset: 2 * BLOCK, lengthBytes: BLOCK }).run(0),
        [BLOCK],
      );
      t.true(isFilled(target.bytes.subarray(0, 2 * BLOCK), 0xee));
      t.true(isFilled(target.bytes.subarray(2 * BLOCK, 3 * BLOCK), 7));
      t.true(isFilled(target.bytes.subarray(3 * BLOCK), 0xee));
      const neighbour = allocateAligned(BLOCK);
      await driver.read(0, file, neighbour, { offset: BLOCK }).run(0);
      t.true(isFilled(neighbour.bytes, 0), 'the next block of the file is as it was');
    },
  ],
  [
    'many requests in flight each keep to their own buffer',
    async ({ t, file, drive }) => {
      const driver = drive(128, 128);
      const slots = Array.from({ length: 128 }, (_, i) => i);
      for (const i of slots) driver.write(i, file, filled(BLOCK, i), { offset: i * BLOCK });
      t.true((await driver.run(...slots)).every((result) => result === BLOCK));
      const targets = slots.map(() => allocateAligned(BLOCK));
      for (const i of slots) driver.read(127 - i, file, targets[i] as AlignedBuffer, { offset: i * BLOCK });
      t.true((await driver.run(...slots)).every((result) => result === BLOCK));
      for (const [i, target] of targets.entries()) t.true(isFilled(target.bytes, i), `block ${i}`);
    },
  ],
  [
    'a read across the end of the file is short, one behind it gives 0',
    async ({ t, platform, directory, driver }) => {
      const short = await platform.open(join(directory, 'short'), { create: true });
      await short.preallocate(0, BLOCK + BLOCK / 2);
      const target = filled(2 * BLOCK, 0xee);
      driver.read(0, short, target, { offset: 0 });
      driver.read(1, short, allocateAligned(BLOCK), { offset: 2 * BLOCK });
      driver.read(2, short, allocateAligned(BLOCK), { offset: 1000 * BLOCK });
      t.deepEqual(await driver.run(0, 1, 2), [BLOCK + BLOCK / 2, 0, 0]);
      t.true(isFilled(target.bytes.subarray(0, BLOCK + BLOCK / 2), 0));
      await short.close();
    },
  ],
  [
    'a write behind the end makes the file longer, with zeros in between',
    async ({ t, platform, directory, driver }) => {
      const file = await platform.open(join(directory, 'grows'), { create: true });
      await driver.write(0, file, filled(BLOCK, 9), { offset: 5 * BLOCK }).run(0);
      t.is(await file.sizeBytes(), 6 * BLOCK);
      const target = filled(6 * BLOCK, 0xee);
      t.deepEqual(await driver.read(0, file, target, { offset: 0 }).run(0), [6 * BLOCK]);
      t.true(isFilled(target.bytes.subarray(0, 5 * BLOCK), 0));
      t.true(isFilled(target.bytes.subarray(5 * BLOCK), 9));
      await file.close();
    },
  ],
  [
    'a flush of either kind completes with 0, also with nothing to do (ENGINE-4)',
    async ({ t, platform, file, driver }) => {
      t.deepEqual(await driver.flush(0, file).flush(1, file, Opcode.fsync).run(0, 1), [0, 0]);
      await driver.write(0, file, filled(BLOCK, 3), { offset: 0 }).run(0);
      t.deepEqual(await driver.flush(0, file).run(0), [0]);
      driver
        .write(0, file, filled(BLOCK, 4), { offset: BLOCK })
        .flush(1, file)
        .read(2, file, allocateAligned(BLOCK), { offset: 0 });
      t.deepEqual(await driver.run(0, 1, 2), [BLOCK, 0, BLOCK], 'a flush may be in flight beside others');
      const other = await platform.open(file.path);
      t.deepEqual(await driver.flush(0, other).run(0), [0]);
      await other.close();
    },
  ],
];

const refusals: [string, BenchTest][] = [
  [
    'a bad handle fails alone, its neighbours go down (ENGINE-3)',
    async ({ t, file, driver, acceptsBadHandles }) => {
      const buffers = Array.from({ length: 4 }, () => filled(BLOCK, 0xee));
      const [a, b, c, d] = buffers as [AlignedBuffer, AlignedBuffer, AlignedBuffer, AlignedBuffer];
      driver.read(10, file, a, { offset: 0 }).read(11, file, b, { offset: BLOCK });
      driver.badHandle(12, c).read(13, file, d, { offset: 2 * BLOCK });
      const served = [10, 11, 13].map((slot) => ({ slot, result: BLOCK }));
      if (acceptsBadHandles) {
        await driver.run(10, 11, 12, 13);
        served.splice(2, 0, { slot: 12, result: -EBADF });
      } else {
        t.is(driver.submit(10, 11, 12, 13), 2, 'the prefix in front of it');
        t.is(driver.submit(12, 13), -EBADF, 'its own error, once it stands first');
        t.is(driver.submit(13), 1);
        await driver.settle();
      }
      t.deepEqual(
        driver.reported.toSorted((x, y) => x.slot - y.slot),
        served,
      );
      t.true(isFilled(c.bytes, 0xee));
      t.deepEqual(
        await driver.read(12, file, c, { offset: 0 }).run(12),
        [BLOCK],
        'the slot is good for another request',
      );
    },
  ],
  [
    'a request to a closed file fails',
    async ({ t, platform, file, driver, acceptsBadHandles }) => {
      const other = await platform.open(file.path);
      await other.close();
      const result = driver.read(0, other, allocateAligned(BLOCK), { offset: 0 }).submit(0);
      t.is(result, acceptsBadHandles ? 1 : -EBADF);
      await driver.settle();
      t.deepEqual(driver.reported, acceptsBadHandles ? [{ slot: 0, result: -EBADF }] : []);
    },
  ],
  [
    'a write to a file opened for reading fails and changes nothing',
    async ({ t, platform, file, driver }) => {
      const reader = await platform.open(file.path, { readOnly: true });
      driver.write(0, reader, filled(BLOCK, 1), { offset: 0 });
      const result = driver.submit(0);
      await driver.settle();
      t.is(result === 1 ? driver.reported[0]?.result : result, -EBADF);
      const target = filled(BLOCK, 0xee);
      await driver.read(1, reader, target, { offset: 0 }).run(1);
      t.true(isFilled(target.bytes, 0));
      await reader.close();
    },
  ],
  [
    'a misaligned request fails with EINVAL where the device is particular, and spoils nothing',
    async ({ t, platform, file, driver }) => {
      const odd = file.alignment.offset / 2;
      if (odd < 1) {
        await driver.write(0, file, filled(2 * BLOCK, 5), { offset: 1 }).run(0);
        t.is(driver.reported[0]?.result, 2 * BLOCK, 'every alignment is good');
        return;
      }
      await driver.write(0, file, filled(2 * BLOCK, 5), { offset: 0 }).run(0);
      const transfers = [
        { offset: odd, lengthBytes: BLOCK },
        { offset: 0, lengthBytes: BLOCK + odd },
      ];
      for (const transfer of transfers) {
        driver.read(0, file, allocateAligned(2 * BLOCK), transfer);
        driver.write(1, file, filled(2 * BLOCK, 5), transfer);
        for (const slot of [0, 1]) {
          const accepted = driver.submit(slot);
          await driver.settle();
          const result = accepted === 1 ? driver.reported.at(-1)?.result : accepted;
          // Some file systems fall back to the page cache instead.
          const isServed = platform.name === 'linux' && result === transfer.lengthBytes;
          t.true(result === -EINVAL || isServed, `slot ${slot}: ${result}`);
        }
      }
      const target = allocateAligned(3 * BLOCK);
      await driver.read(0, file, target, { offset: 0 }).run(0);
      t.true(isFilled(target.bytes.subarray(0, 2 * BLOCK), 5));
      t.true(isFilled(target.bytes.subarray(2 * BLOCK), 0));
    },
  ],
  [
    'a negative offset fails with EINVAL',
    async ({ t, file, driver }) => {
      driver.read(0, file, allocateAligned(BLOCK), { offset: -BLOCK });
      const accepted = driver.submit(0);
      await driver.settle();
      t.is(accepted === 1 ? driver.reported[0]?.result : accepted, -EINVAL);
    },
  ],
  [
    'submitting nothing is no error',
    async ({ t, driver }) => {
      t.is(driver.submit(), 0);
      t.is(driver.reap(), 0);
      await nextTurn();
    },
  ],
];

const completions: [string, BenchTest][] = [
  [
    'each slot is reported once, however little is reaped at a time (ENGINE-1)',
    async ({ t, file, drive }) => {
      const driver = drive(32, 32, 3);
      const slots = Array.from({ length: 32 }, (_, i) => i);
      for (let round = 0; round < 20; round++) {
        for (const i of slots) driver.read(i, file, allocateAligned(BLOCK), { offset: i * BLOCK });
        t.true((await driver.run(...slots)).every((result) => result === BLOCK));
      }
      t.is(driver.reported.length, 32 * 20);
      t.is(driver.reap(), 0);
    },
  ],
  [
    'memory is not touched after its completion was reported (ENGINE-2)',
    async ({ t, file, driver }) => {
      const slots = Array.from({ length: 32 }, (_, i) => i);
      const targets = slots.map(() => allocateAligned(BLOCK));
      for (const i of slots) driver.read(i, file, targets[i] as AlignedBuffer, { offset: i * BLOCK });
      await driver.run(...slots);
      for (const target of targets) target.bytes.fill(0xaa);
      for (let turn = 0; turn < 50; turn++) await nextTurn();
      t.true(targets.every(({ bytes }) => isFilled(bytes, 0xaa)));
    },
  ],
  [
    'a source may be used again once its write was reported',
    async ({ t, file, driver }) => {
      const source = filled(BLOCK, 0);
      for (let i = 1; i <= 20; i++) {
        source.bytes.fill(i);
        await driver.write(0, file, source, { offset: i * BLOCK }).run(0);
      }
      const target = allocateAligned(21 * BLOCK);
      await driver.read(0, file, target, { offset: 0 }).run(0);
      for (let i = 1; i <= 20; i++) t.true(isFilled(target.bytes.subarray(i * BLOCK, (i + 1) * BLOCK), i));
    },
  ],
  [
    'reap never waits, wait does; together they need no event loop, or the engine performs without it',
    async ({ t, file, driver }) => {
      const target = filled(BLOCK, 0xee);
      await driver.write(0, file, filled(BLOCK, 8), { offset: 0 }).run(0);
      if (driver.engine.perform !== null) {
        t.is(driver.read(1, file, target, { offset: 0 }).engine.perform?.(1), BLOCK);
        t.true(isFilled(target.bytes, 8));
        t.is(driver.badHandle(1, target).engine.perform?.(1), -EBADF);
        t.is(driver.reap(), 0, 'what was performed has no completion');
        return;
      }
      const before = driver.reported.length;
      driver.engine.setActive(true);
      driver.read(1, file, target, { offset: 0 }).submit(1);
      const deadline = performance.now() + 10_000;
      while (driver.reap() === 0 && performance.now() < deadline) driver.wait(1000);
      t.deepEqual(driver.reported.slice(before), [{ slot: 1, result: BLOCK }]);
      t.true(isFilled(target.bytes, 8));
    },
  ],
  [
    'onCompletion is called while active, and not before',
    async ({ t, file, driver }) => {
      driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).submit(0);
      const deadline = performance.now() + 10_000;
      while (driver.reap() === 0 && performance.now() < deadline) await nextTurn();
      t.is(driver.wakeups, 0);
      t.is(driver.inFlight, 0);
      await driver.read(0, file, allocateAligned(BLOCK), { offset: 0 }).run(0);
      t.true(driver.wakeups > 0);
    },
  ],
  [
    'requests that follow one another each wake the loop',
    async ({ t, file, driver }) => {
      const buffer = allocateAligned(BLOCK);
      driver.engine.setActive(true);
      for (let i = 0; i < 200; i++) {
        driver.read(i % 64, file, buffer, { offset: (i % 256) * BLOCK }).submit(i % 64);
        await driver.settleSome(1);
      }
      t.is(driver.reported.length, 200);
    },
  ],
  [
    'two engines of one platform do not see each other',
    async ({ t, file, drive }) => {
      const [a, b] = [drive(8, 8), drive(8, 8)];
      for (let i = 0; i < 8; i++) {
        a.write(i, file, filled(BLOCK, 1), { offset: i * BLOCK });
        b.write(i, file, filled(BLOCK, 2), { offset: (8 + i) * BLOCK });
      }
      const slots = [0, 1, 2, 3, 4, 5, 6, 7];
      await Promise.all([a.run(...slots), b.run(...slots)]);
      t.is(a.reported.length, 8);
      t.is(b.reported.length, 8);
      await a.engine.close();
      t.deepEqual(await b.read(0, file, allocateAligned(BLOCK), { offset: 0 }).run(0), [BLOCK], 'the other lives on');
    },
  ],
];

const endings: [string, BenchTest][] = [
  [
    'close waits for what is in flight (ENGINE-5) and leaves memory alone afterwards (ENGINE-2)',
    async ({ t, file, drive }) => {
      const driver = drive(32, 32);
      const slots = Array.from({ length: 32 }, (_, i) => i);
      for (const i of slots) driver.write(i, file, filled(BLOCK, 6), { offset: i * BLOCK });
      await driver.run(...slots);
      const targets = slots.map(() => filled(BLOCK, 0xee));
      for (const i of slots) driver.read(i, file, targets[i] as AlignedBuffer, { offset: i * BLOCK });
      t.is(driver.submit(...slots), 32);
      await driver.engine.close();
      t.true(
        targets.every(({ bytes }) => isFilled(bytes, 6)),
        'every read had come to its end',
      );
      for (const target of targets) target.bytes.fill(0xaa);
      for (let turn = 0; turn < 50; turn++) await nextTurn();
      t.true(targets.every(({ bytes }) => isFilled(bytes, 0xaa)));
    },
  ],
  [
    'close is idempotent, also while it is at work',
    async ({ t, drive }) => {
      const { engine } = drive(4, 4);
      await t.notThrowsAsync(Promise.all([engine.close(), engine.close()]));
      await t.notThrowsAsync(engine.close());
    },
  ],
];

const models: [string, BenchTest][] = [
  [
    'thousands of random requests agree with an array of bytes',
    async (bench) => {
      const seed = seedOf('AIOKV_SEED');
      await bench.t.notThrowsAsync(runModel(bench, new Random(seed), 3000), `AIOKV_SEED=${seed}`);
    },
  ],
];

interface Running {
  readonly offset: number;
  readonly lengthBytes: number;
  /** What a read must find, or null. */
  readonly expected: Uint8Array | null;
  readonly target: Uint8Array;
}

/** Random reads, writes and flushes, up to 32 in flight, no write overlapping anything else in flight. */
async function runModel({ file, driver }: Bench, random: Random, requests: number): Promise<void> {
  const unit = Math.max(file.alignment.offset, file.alignment.memory, 512);
  const sizeBytes = 256 * BLOCK;
  const model = new Uint8Array(sizeBytes);
  const running = new Map<number, Running>();
  const free = Array.from({ length: 64 }, (_, i) => i);
  let seen = 0;
  const settle = async (count: number): Promise<void> => {
    await driver.settleSome(count);
    for (; seen < driver.reported.length; seen++) {
      const { slot, result } = driver.reported[seen] as { slot: number; result: number };
      const { expected, target, offset, lengthBytes } = running.get(slot) as Running;
      if (result !== lengthBytes) throw new Error(`${lengthBytes} bytes at ${offset}: result ${result}`);
      if (expected !== null && Buffer.compare(expected, target) !== 0) throw new Error(`wrong bytes at ${offset}`);
      running.delete(slot);
      free.push(slot);
    }
  };
  for (let i = 0; i < requests; i++) {
    while (running.size >= 32) await settle(1 + random.below(running.size));
    const slot = free.splice(random.below(free.length), 1)[0] as number;
    if (random.chance(0.05)) {
      running.set(slot, { offset: 0, lengthBytes: 0, expected: null, target: new Uint8Array(0) });
      driver.flush(slot, file);
    } else prepareTransfer(slot);
    if (driver.submit(slot) !== 1) throw new Error('a good request was refused');
  }
  await settle(running.size);

  function prepareTransfer(slot: number): void {
    const isWrite = random.chance(0.5);
    const lengthBytes = unit * (1 + random.below(16));
    const offset = unit * random.below((sizeBytes - lengthBytes) / unit + 1);
    const bufferOffset = unit * random.below(4);
    const buffer = allocateAligned(bufferOffset + lengthBytes + unit);
    random.fill(buffer.bytes);
    const target = buffer.bytes.subarray(bufferOffset, bufferOffset + lengthBytes);
    const collides = [...running.values()].some(
      (other) =>
        (isWrite || other.expected === null) &&
        other.offset < offset + lengthBytes &&
        offset < other.offset + other.lengthBytes,
    );
    if (collides) {
      // A flush instead; the same slot, and nothing to compare.
      running.set(slot, { offset: 0, lengthBytes: 0, expected: null, target: new Uint8Array(0) });
      driver.flush(slot, file);
    } else if (isWrite) {
      model.set(target, offset);
      running.set(slot, { offset, lengthBytes, expected: null, target });
      driver.write(slot, file, buffer, { offset, bufferOffset, lengthBytes });
    } else {
      running.set(slot, { offset, lengthBytes, expected: model.slice(offset, offset + lengthBytes), target });
      driver.read(slot, file, buffer, { offset, bufferOffset, lengthBytes });
    }
  }
}
