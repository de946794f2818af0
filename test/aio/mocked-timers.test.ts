/** A test framework that replaces timers: queues go on all the same, and so do their deadlines and their end. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { Queue, SimulatedDisk, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { QueueOptions } from '@aiokv/aio';
import test from 'ava';
import { whyNoUring } from './uring-available.ts';

const BLOCK = 4096;
const timers = createRequire(import.meta.url)('node:timers') as Record<string, unknown>;
const NAMES = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'queueMicrotask',
];

function restore(object: object, name: string, own: PropertyDescriptor | undefined): void {
  if (own === undefined) Reflect.deleteProperty(object, name);
  else Object.defineProperty(object, name, own);
}

/** Replaces them as sinon does: nothing fires, and time stands still. */
async function withMockedTimers(use: () => Promise<void>): Promise<void> {
  const global = globalThis as unknown as Record<string, unknown>;
  const before = NAMES.map((name) => [name, global[name], timers[name]] as const);
  const own = [
    Object.getOwnPropertyDescriptor(process, 'nextTick'),
    Object.getOwnPropertyDescriptor(performance, 'now'),
  ];
  const dead = (): unknown => ({ ref: () => undefined, unref: () => undefined });
  for (const name of NAMES) {
    global[name] = dead;
    if (name in timers) timers[name] = dead;
  }
  Object.defineProperty(process, 'nextTick', { value: dead, configurable: true });
  Object.defineProperty(performance, 'now', { value: () => 0, configurable: true });
  try {
    await use();
  } finally {
    for (const [name, one, other] of before) {
      global[name] = one;
      if (name in timers) timers[name] = other;
    }
    restore(process, 'nextTick', own[0]);
    restore(performance, 'now', own[1]);
  }
}

const cases: [string, Partial<QueueOptions>][] = [
  ['simulated', { engine: 'simulated' }],
  ['libaio', { engine: 'libaio' }],
  ['libaio, never blocking', { engine: 'libaio', neverBlock: true }],
  ['libaio, without spinning', { engine: 'libaio', spinTurns: 0, ownContext: true }],
  ['threads', { engine: 'threads' }],
  ['posix', { engine: 'posix' }],
];
const why = whyNoUring('koffi');
if (why === null) cases.push(['io_uring', { engine: 'io_uring' }]);
else test.skip(`io_uring: ${why}`, () => undefined);

for (const [name, options] of cases) {
  test.serial(`${name}: requests, deadlines and close with timers that never fire`, async (t) => {
    const directory = await mkdtemp(resolve('.tmp-mocked-'));
    const isSimulated = options.engine === 'simulated';
    await withMockedTimers(async () => {
      const platform = isSimulated ? new SimulatedDisk() : linuxPlatform();
      const file = await platform.open(isSimulated ? '/data' : join(directory, 'data'), { create: true });
      await file.preallocate(0, 64 * BLOCK);
      const queue = new Queue(platform, { ...options, depth: 4, maxWaiting: 2 });
      const writes = Array.from({ length: 300 }, (_, i) =>
        queue.write(file, allocateAligned(BLOCK), { offset: (i % 64) * BLOCK }),
      );
      t.deepEqual([...new Set(await Promise.all(writes))], [BLOCK]);
      await queue.fdatasync(file);
      t.is(queue.readSync(file, allocateAligned(BLOCK), { offset: 0 }), BLOCK);
      t.is(await queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 60_000 }), BLOCK);
      await t.throwsAsync(
        Promise.all(
          Array.from({ length: 2000 }, () => queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 0 })),
        ),
        { code: 'ERR_AIOKV_DEADLINE' },
      );
      const late = queue.read(file, allocateAligned(BLOCK), { offset: 0, onShort: 'continue' });
      const closing = queue.close();
      t.is(await late, BLOCK);
      await closing;
      await file.close();
    });
    await rm(directory, { recursive: true, force: true });
  });
}
