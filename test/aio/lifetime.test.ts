/**
 * Who lives how long: buffers, files and queues that their owner dropped or closed with requests in flight, and
 * queues that come and go by the thousand. What counts descriptors, contexts or memory runs in a process of its own
 * (lifetime-child.ts). Workers are in worker-lifetime.test.ts; case 18 of libaio's harness is the first test here.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, EngineName, Platform } from '@aiokv/aio';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { filled, isFilled } from './engine-driver.ts';
import { isLoadable } from './loadable.ts';
import { PlainTree } from './plain-tree.ts';
import { whyNoUring } from './uring-available.ts';

const BLOCK = 4096;
const BLOCKS = 1024;
const MIB = 1 << 20;
const QUEUES = 10_000;
const CONTEXTS = 200;
const FFIS = (['koffi', 'ffi-napi'] as const).filter(isLoadable);
const ENGINES = (['libaio', 'io_uring', 'posix', 'threads'] as const).filter((engine) => {
  const why = engine === 'io_uring' ? whyNoUring('koffi') : null;
  if (why !== null) test.skip(`io_uring: ${why}`, () => undefined);
  return why === null;
});

let tree: PlainTree;
let directory: string;
let path: string;

test.before(async () => {
  tree = await PlainTree.make(['lifetime-child', 'footprint']);
  directory = await mkdtemp(resolve('.tmp-lifetime-'));
  path = join(directory, 'data');
  const image = new Uint8Array(BLOCKS * BLOCK);
  for (let i = 0; i < BLOCKS; i++) image.fill(i & 0x7f, i * BLOCK, (i + 1) * BLOCK);
  await writeFile(path, image);
});

test.after.always(async () => {
  await tree.remove();
  await rm(directory, { recursive: true, force: true });
});

type Opened = (engine: EngineName, use: (queue: Queue, file: DirectFile) => Promise<void>) => Promise<void>;

/** A queue over a copy of the file, both closed afterwards. */
const withQueue: Opened = async (engine, use) => {
  const platform = linuxPlatform();
  const file = await platform.open(path);
  const queue = new Queue(platform, { engine, depth: 64 });
  try {
    await use(queue, file);
  } finally {
    await queue.close();
    await file.close();
  }
};

/** Takes the memory that a collection has freed, and tells whether it was somebody's after all. */
async function disturb(): Promise<() => boolean> {
  globalThis.gc?.();
  await nextTurn();
  globalThis.gc?.();
  const taken = Array.from({ length: 128 }, (_, i) => new Uint8Array(BLOCK << (i % 3)).fill(0xee));
  return () => taken.every((bytes) => isFilled(bytes, 0xee));
}

for (const engine of ENGINES) {
  test.serial(`${engine}: memory that was in flight is left alone once its queue is closed (18)`, (t) =>
    withQueue(engine, async (queue, file) => {
      const buffers = Array.from({ length: 96 }, () => filled(BLOCK, 0xee));
      const reads = buffers.map((buffer, i) => queue.read(file, buffer, { offset: i * BLOCK }));
      const vector = [filled(BLOCK, 0xee), filled(2 * BLOCK, 0xee)];
      const vectored = queue.readv(file, vector, { offset: 200 * BLOCK });
      await queue.close();
      // Nothing is left unsettled, and nobody had to look.
      const order: string[] = [];
      void Promise.all([...reads, vectored]).then(() => order.push('settled'));
      await nextTurn();
      t.deepEqual(order, ['settled']);
      t.true(buffers.every(({ bytes }, i) => isFilled(bytes, i & 0x7f)));
      for (const { bytes } of [...buffers, ...vector]) bytes.fill(0xaa);
      await new Promise((done) => setTimeout(done, 30));
      t.true([...buffers, ...vector].every(({ bytes }) => isFilled(bytes, 0xaa)));
      t.true([...buffers, ...vector].every(({ pins }) => pins === 0));
    }),
  );

  test.serial(`${engine}: buffers and vectors that the caller dropped are held while they are in flight`, (t) =>
    withQueue(engine, async (queue, file) => {
      for (let round = 0; round < 12; round++) {
        const pending: Promise<number>[] = [];
        for (let i = 0; i < 24; i++) {
          const offset = (round * 24 + i) * BLOCK;
          pending.push(queue.read(file, allocateAligned(BLOCK), { offset }));
          pending.push(queue.readv(file, [allocateAligned(BLOCK), allocateAligned(BLOCK)], { offset }));
        }
        // What is written must still be what it was when the kernel comes to it.
        const written = (512 + round) * BLOCK;
        pending.push(queue.write(file, filled(BLOCK, 0x33), { offset: written }));
        pending.push(queue.writev(file, [filled(BLOCK, 0x44)], { offset: written + 100 * BLOCK }));
        const isIntact = await disturb();
        await Promise.all(pending);
        t.true(isIntact(), 'memory was freed too early');
        const back = allocateAligned(BLOCK);
        await queue.read(file, back, { offset: written });
        t.true(isFilled(back.bytes, 0x33));
        await queue.read(file, back, { offset: written + 100 * BLOCK });
        t.true(isFilled(back.bytes, 0x44));
      }
    }),
  );

  test.serial(`${engine}: a buffer is collected once nobody needs it any more`, (t) =>
    withQueue(engine, async (queue, file) => {
      const references: WeakRef<AlignedBuffer>[] = [];
      const readOnce = async (): Promise<void> => {
        const buffers = Array.from({ length: 8 }, () => allocateAligned(BLOCK));
        references.push(...buffers.map((buffer) => new WeakRef(buffer)));
        await Promise.all(buffers.map((buffer, i) => queue.read(file, buffer, { offset: i * BLOCK })));
      };
      await readOnce();
      let held = references.length;
      for (let attempt = 0; attempt < 20 && held > 0; attempt++) {
        await nextTurn();
        globalThis.gc?.();
        held = references.filter((reference) => reference.deref() !== undefined).length;
      }
      t.is(held, 0, 'the queue has let go of them');
    }),
  );
}

test.serial('a transfer that was withdrawn is forgotten, also by a queue that never blocks', (t) =>
  withQueue('libaio', async (_, file) => {
    const platform = linuxPlatform();
    const queue = new Queue(platform, { depth: 1, maxWaiting: 4, neverBlock: true });
    const abort = new AbortController();
    const first = queue.read(file, allocateAligned(BLOCK), { offset: 0 });
    const withdrawn = queue.write(file, filled(2 * BLOCK, 0x66), { offset: 700 * BLOCK, signal: abort.signal });
    abort.abort();
    await t.throwsAsync(withdrawn, { code: 'ERR_AIOKV_ABORTED' });
    // It has the slot of the one before it, and is refused.
    const behind = queue.write(file, filled(BLOCK, 0x55), { offset: 2 * BLOCKS * BLOCK, nowait: true });
    await t.throwsAsync(behind, { message: /EAGAIN|EOPNOTSUPP/ });
    await first;
    await queue.close();
    const back = allocateAligned(2 * BLOCK);
    await queueRead(platform, file, back, 700 * BLOCK);
    t.false(back.bytes.includes(0x66), 'nothing was transferred');
  }),
);

async function queueRead(platform: Platform, file: DirectFile, into: AlignedBuffer, offset: number): Promise<void> {
  const queue = new Queue(platform);
  await queue.read(file, into, { offset });
  await queue.close();
}

interface Held {
  readonly contexts: number;
  readonly descriptors: number;
}

/** Runs a scenario of lifetime-child.ts; it has to end well, and silently. */
async function run(t: ExecutionContext, ffi: string, name: string, engine: string, count: number): Promise<unknown> {
  const args = [name, engine, path, String(count)];
  const { stdout, stderr, code, signal } = await tree.run('lifetime-child', args, { env: { AIOKV_FFI: ffi } });
  t.deepEqual([code, signal, stderr], [0, null, '']);
  return JSON.parse(stdout) as unknown;
}

for (const ffi of FFIS) {
  test.serial(`${ffi}: ${QUEUES} queues come and go and leave nothing behind`, async (t) => {
    type Report = Record<'before' | 'after', Held & { readonly rssBytes: number }>;
    const { before, after } = (await run(t, ffi, 'queues', 'libaio', QUEUES)) as Report;
    t.is(after.descriptors, before.descriptors);
    // The one that the thread's queues share may linger for a moment.
    t.true(after.contexts <= 1);
    const grown = after.rssBytes - before.rssBytes;
    t.log(`${(grown / MIB).toFixed(1)} MiB of growth`);
    t.true(grown < 64 * MIB, `${grown} bytes`);
  });

  test.serial(`${ffi}: ${CONTEXTS} contexts come and go and leave nothing behind`, async (t) => {
    type Report = Record<'before' | 'during' | 'after', Held>;
    const { before, during, after } = (await run(t, ffi, 'contexts', 'libaio', CONTEXTS)) as Report;
    t.is(during.contexts - before.contexts, CONTEXTS, 'each has its own');
    t.is(after.contexts, 0);
    t.is(after.descriptors, before.descriptors);
  });
}

for (const engine of ENGINES) {
  test.serial(`${engine}: queues that are dropped with everything in flight break nothing`, async (t) => {
    t.like(await run(t, 'koffi', 'dropped', engine, 20), { reads: 640, whole: 640 });
  });

  test.serial(`${engine}: a file that is closed under its requests breaks nothing`, async (t) => {
    t.like(await run(t, 'koffi', 'closedFile', engine, 1), { settled: 64 });
  });
}
