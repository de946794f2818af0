/** The scenarios of lifetime.test.ts, each in a process of its own; what they find goes to the output as JSON. */
import { closeSync, openSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { EngineName, QueueOptions } from '@aiokv/aio';
import { footprint, settledFootprint } from './footprint.js';

const BLOCK = 4096;
const CONTEXT_DEPTH = 8;

const [name, engine, path, count] = process.argv.slice(2) as [string, EngineName, string, string];

/** Node makes some descriptors when they are first needed. */
async function warmUp(): Promise<void> {
  const queue = openQueue({ engine, depth: 4, maxWaiting: 4 });
  const file = await openFile(path);
  await queue.read(file, allocateAligned(BLOCK), { offset: 0 });
  await queue.close();
  await file.close();
  await sleep(50);
}

/** Opens and closes queues, one after another in some lanes, each with requests. */
async function comeAndGo(options: Partial<QueueOptions>, total: number, lanes: number): Promise<void> {
  const file = await openFile(path);
  let started = 0;
  const lane = async (): Promise<void> => {
    const buffer = allocateAligned(BLOCK);
    while (started < total) {
      const number = started++;
      const queue = openQueue({ engine, maxWaiting: 4, ...options });
      // Some are closed with a request in flight, some after it, some without one.
      if (number % 3 === 0) await queue.read(file, buffer, { offset: 0 });
      const last = number % 3 === 1 ? queue.read(file, buffer, { offset: 0 }) : null;
      await queue.close();
      if (last !== null && (await last) !== BLOCK) throw new Error('a closed queue has settled what it had');
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  await file.close();
}

const scenarios: Record<string, () => Promise<unknown>> = {
  /** Many queues, a few at a time. */
  async queues() {
    await comeAndGo({ depth: 4 }, Number(count) / 10, 8);
    globalThis.gc?.();
    const before = { ...footprint(), rssBytes: process.memoryUsage().rss };
    await comeAndGo({ depth: 4 }, Number(count), 8);
    globalThis.gc?.();
    return { before, after: { ...(await settledFootprint(before)), rssBytes: process.memoryUsage().rss } };
  },

  /** Many contexts, many at a time: they take long to give back. */
  async contexts() {
    const before = footprint();
    const options = { engine, depth: CONTEXT_DEPTH, maxWaiting: 4, ownContext: true };
    const queues = Array.from({ length: Number(count) }, () => openQueue(options));
    const during = footprint();
    await Promise.all(queues.map((queue) => queue.close()));
    return { before, during, after: await settledFootprint(before) };
  },

  /** Queues, files and buffers that nobody holds any more, with everything in flight: they stay, and nothing breaks. */
  async dropped() {
    const results: number[] = [];
    for (let round = 0; round < Number(count); round++) {
      let queue: ReturnType<typeof openQueue> | null = openQueue({ engine, depth: 16, maxWaiting: 64 });
      const file = await openFile(path);
      for (let i = 0; i < 32; i++) {
        void queue.read(file, allocateAligned(BLOCK), { offset: i * BLOCK }).then((length) => results.push(length));
      }
      queue = null;
      globalThis.gc?.();
      await nextTurn();
      globalThis.gc?.();
      const others = Array.from({ length: 32 }, () => new Uint8Array(2 * BLOCK).fill(0xee));
      await sleep(5);
      if (others.some((bytes) => bytes.some((byte) => byte !== 0xee))) throw new Error('freed too early');
    }
    await sleep(200);
    globalThis.gc?.();
    return { reads: results.length, whole: results.filter((length) => length === BLOCK).length };
  },

  /** Descriptors that come to an end while requests name them: the kernel holds the file. */
  async closedFile() {
    const queue = openQueue({ engine, depth: 64 });
    const file = await openFile(path);
    const buffers = Array.from({ length: 64 }, () => allocateAligned(16 * BLOCK));
    const reads = buffers.map((buffer, i) => queue.read(file, buffer, { offset: i * 16 * BLOCK }));
    // Those that a thread has not begun yet find the descriptor closed.
    const settling = Promise.allSettled(reads);
    await new Promise((done) => process.nextTick(() => process.nextTick(done)));
    await file.close();
    // Its number may belong to another file by now.
    const other = openSync('/dev/null', 'r');
    const settled = await settling;
    closeSync(other);
    await queue.close();
    return { settled: settled.length };
  },
};

const run = scenarios[name];
if (run === undefined) throw new Error(`there is no scenario ${name}`);
await warmUp();
process.stdout.write(JSON.stringify(await run()));
