/**
 * Many requests at once: what a waiting one costs, that time and memory grow with their number and not with its square,
 * and that all of them are settled when the device fails.
 */
import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, QueueOptions } from '@aiokv/aio';
import test from 'ava';

const BLOCK = 512;

async function withQueue(
  options: Partial<QueueOptions>,
  use: (queue: Queue, file: DirectFile, disk: SimulatedDisk) => Promise<void>,
): Promise<void> {
  const disk = new SimulatedDisk({ seed: 5, latencyTurns: 1 });
  const file = await disk.open('/data', { create: true });
  await file.preallocate(0, 8 * BLOCK);
  const queue = new Queue(disk, options);
  try {
    await use(queue, file, disk);
  } finally {
    await queue.close();
    await file.close();
  }
}

/** Milliseconds of processor time. */
async function processorMs(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/**
 * That ten times as many take about ten times as long: with its square it would be a hundred times. The least of some
 * attempts counts, for other programs and collections of garbage make it more, and nothing makes it less.
 */
async function growth(work: (count: number) => Promise<void>, count: number): Promise<number> {
  await work(count);
  const least = async (n: number): Promise<number> => {
    let ms = Infinity;
    for (let i = 0; i < 2; i++) ms = Math.min(ms, await processorMs(() => work(n)));
    return ms;
  };
  return (await least(10 * count)) / (await least(count));
}

async function readAll(queue: Queue, file: DirectFile, buffer: AlignedBuffer, count: number): Promise<void> {
  const reads: Promise<number>[] = [];
  for (let i = 0; i < count; i++) reads.push(queue.read(file, buffer, { offset: 0 }));
  await Promise.all(reads);
}

test.serial('ten times as many that wait for a slot take ten times as long', (t) =>
  withQueue({ depth: 128, maxWaiting: 0 }, async (queue, file) => {
    const buffer = allocateAligned(BLOCK);
    const factor = await growth((count) => readAll(queue, file, buffer, count), 5000);
    t.true(factor < 35, `${factor.toFixed(1)} times`);
  }),
);

test.serial('ten times as many that have a slot and wait for the depth take ten times as long', (t) =>
  withQueue({ depth: 128, maxWaiting: 1 << 20 }, async (queue, file) => {
    const buffer = allocateAligned(BLOCK);
    const factor = await growth((count) => readAll(queue, file, buffer, count), 5000);
    t.true(factor < 35, `${factor.toFixed(1)} times`);
  }),
);

for (const maxWaiting of [0, 1 << 20]) {
  const where = maxWaiting === 0 ? 'wait for a slot' : 'have a slot';
  test.serial(`ten times as many that one signal ends take ten times as long, where they ${where}`, (t) =>
    withQueue({ depth: 128, maxWaiting }, async (queue, file) => {
      const buffer = allocateAligned(BLOCK);
      const factor = await growth(async (count) => {
        const controller = new AbortController();
        const { signal } = controller;
        const reads: Promise<number>[] = [];
        for (let i = 0; i < count; i++) reads.push(queue.read(file, buffer, { offset: 0, signal }));
        queueMicrotask(() => controller.abort());
        const outcomes = await Promise.allSettled(reads);
        const ended = outcomes.filter(({ status }) => status === 'rejected').length;
        if (ended < count - 256) throw new Error(`only ${ended} of ${count} were ended`);
      }, 2500);
      t.true(factor < 35, `${factor.toFixed(1)} times`);
      t.is(buffer.pins, 0);
    }),
  );
}

test.serial('200,000 that wait need less than 500 bytes each', (t) =>
  withQueue({ depth: 128 }, async (queue, file) => {
    const count = 200_000;
    const buffer = allocateAligned(BLOCK);
    const reads: Promise<number>[] = [];
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < count; i++) reads.push(queue.read(file, buffer, { offset: 0 }));
    globalThis.gc?.();
    const bytes = (process.memoryUsage().heapUsed - before) / count;
    t.log(`${bytes.toFixed(0)} bytes a request`);
    t.true(bytes < 500, `${bytes} bytes`);
    t.is((await Promise.all(reads)).length, count);
  }),
);

test.serial('150,000 that wait when the device fails are all settled', (t) =>
  withQueue({ depth: 128, maxWaiting: 1024 }, async (queue, file, disk) => {
    const buffer = allocateAligned(BLOCK);
    disk.inject({ at: 0, kind: 'EIO', sticky: true });
    const reads: Promise<number>[] = [];
    for (let i = 0; i < 150_000; i++) {
      reads.push(i % 2 === 0 ? queue.read(file, buffer, { offset: 0 }) : queue.fdatasync(file).then(() => 0));
    }
    const outcomes = await Promise.allSettled(reads);
    t.true(outcomes.every((outcome) => outcome.status === 'rejected' && outcome.reason.code === 'EIO'));
    t.is(queue.pending, 0);
    t.is(buffer.pins, 0);
  }),
);

test.serial('callers that give up and try again while nothing completes do not pile up', (t) =>
  withQueue({ depth: 2, maxWaiting: 0 }, async (queue, file, disk) => {
    const stuck = disk.inject({ at: 0, kind: 'never-completes', sticky: true });
    const held = [0, 1].map(() => queue.read(file, allocateAligned(BLOCK), { offset: 0 }));
    const freed: WeakRef<AlignedBuffer>[] = [];
    const giveUp = async (): Promise<void> => {
      const buffer = allocateAligned(BLOCK);
      freed.push(new WeakRef(buffer));
      const controller = new AbortController();
      const read = queue.read(file, buffer, { offset: 0, signal: controller.signal });
      controller.abort();
      await t.throwsAsync(read, { code: 'ERR_AIOKV_ABORTED' });
    };
    for (let i = 0; i < 1000; i++) await giveUp();
    await new Promise((done) => setImmediate(done));
    globalThis.gc?.();
    const kept = freed.filter((one) => one.deref() !== undefined).length;
    t.true(kept <= 130, `${kept} buffers of 1000 are still held`);
    stuck();
    void held;
    disk.stop();
    // The disk is dead: what is in flight never comes back, and the queue cannot be closed.
    Object.assign(queue, { close: () => Promise.resolve() });
    Object.assign(file, { close: () => Promise.resolve() });
  }),
);

test.serial('a synchronous read behind 25,000 others takes no time of their square', (t) =>
  withQueue({ depth: 128, maxWaiting: 1 << 20, batchMin: 4096 }, async (queue, file) => {
    const buffer = allocateAligned(BLOCK);
    const factor = await growth(async (count) => {
      const reads: Promise<number>[] = [];
      for (let i = 0; i < count; i++) reads.push(queue.read(file, buffer, { offset: 0 }));
      if (queue.readSync(file, allocateAligned(BLOCK), { offset: BLOCK }) !== BLOCK) throw new Error('a short read');
      await Promise.all(reads);
    }, 5000);
    t.true(factor < 35, `${factor.toFixed(1)} times`);
  }),
);

test('a queue takes so many: 65,536 that wait, and refuses what it cannot', (t) =>
  withQueue({ depth: 1024, maxWaiting: 65_536 }, async (queue, file, disk) => {
    t.is(queue.room, 1024 + 65_536);
    let told = 0;
    const handler = { complete: () => void told++ };
    const buffer = allocateAligned(BLOCK);
    while (queue.submitRead(file, buffer, 0, BLOCK, 0, handler, 0));
    t.is(queue.pending, 1024 + 65_536);
    t.is(queue.room, 0);
    await queue.close();
    t.is(told, 1024 + 65_536);
    for (const maxWaiting of [-1, 1.5, (1 << 20) + 1, Infinity, '64']) {
      t.throws(() => new Queue(disk, { maxWaiting } as Partial<QueueOptions>), {
        code: 'ERR_AIOKV_INVALID_OPTION',
        message: /option 'maxWaiting' must be an integer from 0 to 1048576/u,
      });
    }
  }));
