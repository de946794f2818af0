/**
 * A program that asks for something and ends without waiting for it; see alive.test.ts. At its exit it says how many of
 * the promises that it made were kept.
 */
import { Queue, Shards, SimulatedDisk, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { EngineName, QueueOptions } from '@aiokv/aio';

const BLOCK = 4096;
const [scenario, engine, path] = process.argv.slice(2) as [string, EngineName, string];

const platform = engine === 'simulated' ? new SimulatedDisk({ seed: 9 }) : linuxPlatform();
const file = await platform.open(path, { create: true });
await file.preallocate(0, 16 * BLOCK);

let promised = 0;
let kept = 0;
process.on('exit', () => process.stdout.write(JSON.stringify({ promised, kept })));

function expect(work: Promise<unknown>): void {
  promised++;
  void work.then(() => kept++);
}

function open(options: Partial<QueueOptions> = {}): Queue {
  return new Queue(platform, { engine, ...options });
}

function read(queue: Queue): void {
  expect(queue.read(file, allocateAligned(BLOCK), { offset: 0 }));
}

const scenarios: Record<string, () => unknown> = {
  reads: () => read(open()),
  'more than have a slot'() {
    const queue = open({ depth: 1, maxWaiting: 0 });
    for (let i = 0; i < 50; i++) read(queue);
  },
  'one after another'() {
    const queue = open({ spinTurns: 0 });
    const next = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await queue.read(file, allocateAligned(BLOCK), { offset: 0 });
    };
    expect(next());
  },
  handlers() {
    const queue = open();
    for (let i = 0; i < 10; i++) {
      promised++;
      queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, 0, { complete: () => void kept++ }, i);
    }
  },
  'beside a synchronous read'() {
    const queue = open({ depth: 4 });
    for (let i = 0; i < 20; i++) read(queue);
    queue.readSync(file, allocateAligned(BLOCK), { offset: 0 });
    read(queue);
  },
  'after one that was withdrawn'() {
    const queue = open({ depth: 1, maxWaiting: 4, batchMin: 4096 });
    const controller = new AbortController();
    const { signal } = controller;
    const reads = Array.from({ length: 9 }, () => queue.read(file, allocateAligned(BLOCK), { offset: 0, signal }));
    for (const one of reads) one.catch(() => undefined);
    controller.abort();
    read(queue);
  },
  flushes() {
    const queue = open();
    expect(queue.write(file, allocateAligned(BLOCK), { offset: 0 }));
    expect(queue.fdatasync(file));
    expect(queue.fsync(file));
  },
  'never blocking'() {
    const queue = open({ neverBlock: true, depth: 2, maxWaiting: 1 });
    for (let i = 0; i < 20; i++) expect(queue.write(file, allocateAligned(BLOCK), { offset: (16 + i) * BLOCK }));
  },
  async shards() {
    const shards = new Shards(platform, { contexts: 3 }, { engine });
    for (let i = 0; i < 30; i++) {
      expect(shards.queueFor(file, i * BLOCK).read(file, allocateAligned(BLOCK), { offset: (i % 16) * BLOCK }));
    }
    await Promise.resolve();
    expect(shards.close());
  },
  close() {
    const queue = open();
    read(queue);
    expect(queue.close());
  },
  'a close of an idle queue': () => expect(open().close()),
  'in the last turn'() {
    const queue = open();
    process.once('beforeExit', () => read(queue));
  },
  'in a tick, a microtask and a turn of its own'() {
    const queue = open();
    process.nextTick(() => read(queue));
    queueMicrotask(() => read(queue));
    setImmediate(() => {
      read(queue);
      process.nextTick(() => read(queue));
    });
  },
  'with a deadline that is far'() {
    expect(open().read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 60_000 }));
  },
};

await scenarios[scenario]?.();
