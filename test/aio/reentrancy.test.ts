/**
 * Every public call of a queue from inside every callback that a queue makes, over every engine: what was on its way
 * comes back once, whole and with its own bytes, and so does what the callback asked for.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Queue, SimulatedDisk, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, EngineName, Platform, QueueOptions } from '@aiokv/aio';
import test from 'ava';
import { filled } from './engine-driver.ts';
import { BLOCK, BLOCKS } from './queue-place.ts';
import { whyNoUring } from './uring-available.ts';

interface Scene {
  readonly queue: Queue;
  readonly file: DirectFile;
  /** Requests that the callbacks made, settled or not. */
  readonly extra: Promise<unknown>[];
  readonly controller: AbortController;
  /** How often the handler was told of each of its requests. */
  readonly told: Map<number, number>;
}

type Act = (scene: Scene) => void;

const SCRATCH = BLOCKS - 8;

/** A request of the handler form, which may be refused; settles when it was told. */
function handled({ extra }: Scene, submit: (handler: { complete(token: number, result: number): void }) => boolean) {
  let calls = 0;
  extra.push(
    new Promise<void>((done, fail) => {
      const handler = {
        complete(_token: number, result: number): void {
          calls++;
          if (calls > 1) fail(new Error('told twice'));
          else if (result < 0) fail(new Error(`failed with ${result}`));
          else setImmediate(done);
        },
      };
      try {
        if (!submit(handler)) done();
      } catch (error) {
        fail(error);
      }
    }),
  );
}

async function whole(read: Promise<number>, buffer: AlignedBuffer, byte: number): Promise<void> {
  const length = await read;
  if (length !== buffer.byteLength) throw new Error(`${length} bytes were read`);
  if (!buffer.bytes.every((one) => one === byte)) throw new Error('other bytes were read');
}

const calls: Record<string, Act> = {
  read({ queue, file, extra }) {
    const buffer = allocateAligned(BLOCK);
    extra.push(whole(queue.read(file, buffer, { offset: 5 * BLOCK }), buffer, 6));
  },
  'read to the end'({ queue, file, extra }) {
    const buffer = allocateAligned(BLOCK);
    extra.push(whole(queue.read(file, buffer, { offset: 5 * BLOCK, onShort: 'continue' }), buffer, 6));
  },
  'many reads'({ queue, file, extra }) {
    for (let i = 0; i < 40; i++) {
      const buffer = allocateAligned(BLOCK);
      extra.push(whole(queue.read(file, buffer, { offset: i * BLOCK }), buffer, i + 1));
    }
  },
  write({ queue, file, extra }) {
    extra.push(queue.write(file, filled(BLOCK, 1), { offset: SCRATCH * BLOCK }));
  },
  readv({ queue, file, extra }) {
    extra.push(queue.readv(file, [allocateAligned(BLOCK), allocateAligned(BLOCK)], { offset: 0 }));
  },
  writev({ queue, file, extra }) {
    extra.push(queue.writev(file, [filled(BLOCK, 1), filled(BLOCK, 2)], { offset: SCRATCH * BLOCK }));
  },
  fsync: ({ queue, file, extra }) => void extra.push(queue.fsync(file)),
  fdatasync: ({ queue, file, extra }) => void extra.push(queue.fdatasync(file)),
  'aborted read'({ queue, file, extra }) {
    const controller = new AbortController();
    const read = queue.read(file, allocateAligned(BLOCK), { offset: 0, signal: controller.signal });
    controller.abort();
    extra.push(read.catch((error: Error) => rethrowUnless(error, 'ERR_AIOKV_ABORTED')));
  },
  'late read'({ queue, file, extra }) {
    const read = queue.read(file, allocateAligned(BLOCK), { offset: 0, deadlineMs: 0 });
    extra.push(read.catch((error: Error) => rethrowUnless(error, 'ERR_AIOKV_DEADLINE')));
  },
  abort: ({ controller }) => controller.abort(),
  submitRead(scene) {
    const { queue, file } = scene;
    handled(scene, (handler) => queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, 0, handler, 77));
  },
  submitWrite(scene) {
    const { queue, file } = scene;
    handled(scene, (handler) => queue.submitWrite(file, filled(BLOCK, 1), 0, BLOCK, SCRATCH * BLOCK, handler, 77));
  },
  submitReadv(scene) {
    const { queue, file } = scene;
    handled(scene, (handler) => queue.submitReadv(file, [allocateAligned(BLOCK)], 0, handler, 77));
  },
  submitWritev(scene) {
    const { queue, file } = scene;
    handled(scene, (handler) => queue.submitWritev(file, [filled(BLOCK, 1)], SCRATCH * BLOCK, handler, 77));
  },
  submitFsync(scene) {
    handled(scene, (handler) => scene.queue.submitFsync(scene.file, handler, 77));
  },
  submitFdatasync(scene) {
    handled(scene, (handler) => scene.queue.submitFdatasync(scene.file, handler, 77));
  },
  readSync({ queue, file, extra }) {
    const buffer = allocateAligned(BLOCK);
    try {
      extra.push(whole(Promise.resolve(queue.readSync(file, buffer, { offset: 7 * BLOCK })), buffer, 8));
    } catch (error) {
      rethrowUnless(error as Error, 'ERR_AIOKV_QUEUE_FULL');
    }
  },
  getEvents({ queue }) {
    try {
      queue.getEvents({ min: 1, timeoutMs: 100 });
    } catch (error) {
      rethrowUnless(error as Error, 'ERR_AIOKV_UNSUPPORTED');
    }
  },
  close: ({ queue, extra }) => void extra.push(queue.close()),
  statistics({ queue }) {
    if (queue.statistics().completed < 0 || queue.pending < 0 || queue.room < 0) throw new Error('a count below 0');
  },
};

/** What may refuse because the queue was closed by a callback before. */
function rethrowUnless(error: Error, code: string): void {
  const found = (error as { code?: string }).code;
  if (found !== code && found !== 'ERR_AIOKV_CLOSED') throw error;
}

/** Has `act` run once, inside of the callback; returns what undoes it. */
const callbacks: Record<string, (act: () => void, scene: Scene) => () => void> = {
  handler: (act, scene) => {
    submitOne(scene, act);
    return () => undefined;
  },
  'handler of a refused request': (act, scene) => {
    const { queue, file } = scene;
    const bad = { ...file, path: file.path, alignment: file.alignment, handle: 987_654 } as DirectFile;
    queue.submitRead(bad, allocateAligned(BLOCK), 0, BLOCK, 0, { complete: act }, 1000);
    return () => undefined;
  },
  'settled promise': (act, { queue, file, extra }) => {
    extra.push(queue.read(file, allocateAligned(BLOCK), { offset: 0 }).then(act));
    return () => undefined;
  },
  'abort listener': (act, { queue, file, extra }) => {
    const controller = new AbortController();
    const { signal } = controller;
    const read = (): void => {
      extra.push(
        queue
          .read(file, allocateAligned(BLOCK), { offset: 0, signal })
          .catch((error: Error) => rethrowUnless(error, 'ERR_AIOKV_ABORTED')),
      );
    };
    read();
    signal.addEventListener('abort', act);
    read();
    queueMicrotask(() => controller.abort());
    return () => undefined;
  },
  'subscriber of submit': (act) => subscribing('aiokv:queue:submit', act),
  'subscriber of complete': (act) => subscribing('aiokv:queue:complete', act),
  'subscriber of fallback': (act) => subscribing('aiokv:queue:fallback', act),
  'subscriber of close': (act) => subscribing('aiokv:queue:close', act),
  'handler inside of getEvents': (act, scene) => {
    submitOne(scene, act);
    try {
      scene.queue.getEvents({ min: 1, max: 2 });
    } catch (error) {
      rethrowUnless(error as Error, 'ERR_AIOKV_UNSUPPORTED');
    }
    return () => undefined;
  },
};

function submitOne({ queue, file }: Scene, act: () => void): void {
  queue.submitRead(file, allocateAligned(BLOCK), 0, BLOCK, 0, { complete: act }, 1000);
}

function subscribing(channel: string, act: () => void): () => void {
  subscribe(channel, act);
  return () => unsubscribe(channel, act);
}

interface Engine {
  readonly name: string;
  readonly options: Partial<QueueOptions>;
  readonly platform: () => Platform;
}

const real = (engine: EngineName, options: Partial<QueueOptions> = {}): Engine => ({
  name: Object.keys(options).length === 0 ? engine : `${engine}, never blocking`,
  options: { engine, ...options },
  platform: linuxPlatform,
});

/** Some of its transfers would block. */
function blockingDisk(): SimulatedDisk {
  const disk = new SimulatedDisk({ seed: 3, refusalChance: 0.1 });
  disk.inject({ at: ({ index }) => index % 3 === 1, kind: 'would-block', sticky: true });
  return disk;
}

const engines: Engine[] = [
  { name: 'simulated', options: {}, platform: () => new SimulatedDisk({ seed: 3, refusalChance: 0.1 }) },
  { name: 'simulated, never blocking', options: { neverBlock: true }, platform: blockingDisk },
  real('libaio'),
  real('libaio', { neverBlock: true }),
  real('threads'),
  real('posix'),
];
const noUring = whyNoUring('koffi');
if (noUring === null) engines.push(real('io_uring'));
else test.skip(`io_uring: ${noUring}`, () => undefined);

async function play(
  { platform, options }: Engine,
  path: string,
  callback: (act: () => void, scene: Scene) => () => void,
  call: Act,
): Promise<boolean> {
  const made = platform();
  const file = await made.open(path, { create: true });
  await file.preallocate(0, BLOCKS * BLOCK);
  const filling = new Queue(made, options);
  for (let n = 0; n < BLOCKS; n++) await filling.write(file, filled(BLOCK, n + 1), { offset: n * BLOCK });
  await filling.close();
  const queue = new Queue(made, { ...options, depth: 4, maxWaiting: 6, batchMin: 2 });
  const scene: Scene = { queue, file, extra: [], controller: new AbortController(), told: new Map() };
  let acted = 0;
  let thrown: unknown;
  const undo = callback(() => {
    if (acted++ > 0) return;
    try {
      call(scene);
    } catch (error) {
      thrown = error;
    }
  }, scene);
  try {
    await around(scene);
    if (thrown !== undefined) throw thrown as Error;
  } finally {
    await queue.close();
    undo();
    await file.close();
  }
  return acted > 0;
}

/** Requests of all kinds, more than there are slots; looks that each comes back once and whole. */
async function around(scene: Scene): Promise<void> {
  const { queue, file, extra, told, controller } = scene;
  const buffers: AlignedBuffer[] = [];
  const handler = {
    complete(token: number, result: number): void {
      told.set(token, (told.get(token) ?? 0) + 1);
      if (result !== BLOCK || buffers[token]?.bytes[100] !== token + 1) extra.push(Promise.reject(new Error('wrong')));
    },
  };
  for (let i = 0; i < 7; i++) {
    const buffer = allocateAligned(BLOCK);
    buffers.push(buffer);
    try {
      if (!queue.submitRead(file, buffer, 0, BLOCK, i * BLOCK, handler, i)) told.set(i, 1);
    } catch (error) {
      rethrowUnless(error as Error, 'ERR_AIOKV_CLOSED');
      told.set(i, 1);
    }
  }
  const promised = Array.from({ length: 12 }, (_, i) => {
    const buffer = allocateAligned(BLOCK);
    const options = i % 3 === 2 ? { offset: i * BLOCK, signal: controller.signal } : { offset: i * BLOCK };
    return whole(queue.read(file, buffer, options), buffer, i + 1).catch((error: Error & { code?: string }) => {
      // A subscriber may have closed the queue, or aborted these, before they were called.
      if (error.code !== 'ERR_AIOKV_CLOSED' && error.code !== 'ERR_AIOKV_ABORTED') throw error;
    });
  });
  await Promise.all(promised);
  await allOf(extra);
  await queue.close();
  await allOf(extra);
  if (queue.pending !== 0) throw new Error(`${queue.pending} requests are pending after the end`);
  for (let i = 0; i < 7; i++) if (told.get(i) !== 1) throw new Error(`request ${i} was told ${told.get(i) ?? 0} times`);
}

/** Waits for those that are added meanwhile, too. */
async function allOf(extra: readonly Promise<unknown>[]): Promise<void> {
  for (let settled = -1; settled < extra.length;) {
    settled = extra.length;
    for (const outcome of await Promise.allSettled(extra)) {
      if (outcome.status === 'rejected') rethrowUnless(outcome.reason as Error, 'ERR_AIOKV_CLOSED');
    }
    if (settled === extra.length) return;
  }
}

let directory: string;

test.before(async () => {
  directory = await mkdtemp(resolve('.tmp-reentrancy-'));
});

test.after.always(() => rm(directory, { recursive: true, force: true }));

async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: not settled after 20 s`)), 20_000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

for (const engine of engines) {
  test.serial(`${engine.name}: each call inside of each callback`, async (t) => {
    const reached = new Set<string>();
    for (const [where, callback] of Object.entries(callbacks)) {
      for (const [what, call] of Object.entries(calls)) {
        const title = `${what} inside of a ${where}`;
        const path = engine.name.startsWith('simulated') ? '/data' : `${directory}/data`;
        try {
          if (await inTime(play(engine, path, callback, call), title)) reached.add(where);
        } catch (error) {
          t.fail(`${title}: ${String((error as Error).stack)}`);
          if (String(error).includes('not settled')) return;
        }
      }
    }
    const all = Object.keys(callbacks).filter(
      (name) => name !== 'subscriber of fallback' && !name.includes('getEvents'),
    );
    for (const name of all) t.true(reached.has(name), `the callback ${name} was never called`);
    if (engine.name === 'simulated, never blocking') t.true(reached.has('subscriber of fallback'));
  });
}
