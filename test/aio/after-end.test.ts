/**
 * Objects after their end: every method of a file, a queue, shards, a pool and a buffer once they were closed, released
 * or had their memory taken away. Each call settles, with a result that is documented or an error that has a code.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import {
  BufferPool,
  Opcode,
  Queue,
  Shards,
  SimulatedDisk,
  allocateAligned,
  linuxPlatform,
  portablePlatform,
} from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Platform } from '@aiokv/aio';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { BLOCK, BLOCKS, onLinux, onSimulated, places } from './queue-place.ts';

type Calls<T> = Record<string, (object: T) => unknown>;

/** Every call settles in time, and fails with `code`, or gives what `results` says. */
async function afterEnd<T>(
  t: ExecutionContext,
  object: T,
  calls: Calls<T>,
  code: string,
  results: Record<string, unknown> = {},
): Promise<void> {
  for (const [name, call] of Object.entries(calls)) {
    let outcome: unknown;
    try {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((done) => (timer = setTimeout(done, 5000, 'nothing within 5 s')));
      outcome = await Promise.race([(async () => call(object))(), late]).finally(() => clearTimeout(timer));
    } catch (error) {
      outcome = (error as { code?: string }).code ?? String(error);
    }
    t.deepEqual(outcome, name in results ? results[name] : code, name);
  }
}

/** The methods and accessors of a class, which a table must have all of. */
function namesOf(object: object): string[] {
  const names: string[] = [];
  for (let one: object = object; one !== Object.prototype; one = Object.getPrototypeOf(one) as object) {
    names.push(...Object.getOwnPropertyNames(one));
  }
  return [...new Set(names)].filter((name) => name !== 'constructor');
}

const fileCalls: Calls<DirectFile> = {
  sizeBytes: (file) => file.sizeBytes(),
  preallocate: (file) => file.preallocate(0, BLOCK),
  punchHole: (file) => file.punchHole(0, BLOCK),
  truncate: (file) => file.truncate(BLOCK),
  transferOnThread: (file) => file.transferOnThread(Opcode.read, allocateAligned(BLOCK), 0, BLOCK, 0),
  sync: (file) => file.sync(),
  lock: (file) => file.lock(),
  linkTo: (file) => file.linkTo('elsewhere'),
  close: (file) => file.close(),
  path: (file) => file.path.endsWith('data'),
  isDirect: (file) => typeof file.isDirect,
  handle: (file) => file.handle,
  alignment: (file) => typeof file.alignment,
};
const fileResults = {
  close: undefined,
  transferOnThread: -9,
  path: true,
  isDirect: 'boolean',
  handle: -1,
  alignment: 'object',
};

const platforms: Record<string, () => Platform> = {
  linux: linuxPlatform,
  portable: portablePlatform,
  simulated: () => new SimulatedDisk(),
};

for (const [name, platform] of Object.entries(platforms)) {
  test(`${name}: a file that was closed`, async (t) => {
    const directory = name === 'simulated' ? '/' : await mkdtemp(resolve('.tmp-after-'));
    const made = platform();
    const file = await made.open(join(directory, 'data'), { create: true });
    await file.preallocate(0, BLOCK);
    await file.close();
    const inherited = ['opened', 'requireOpen', 'giveName', 'explained'];
    t.deepEqual(
      namesOf(file).filter((each) => !(each in fileCalls) && !inherited.includes(each)),
      [],
    );
    await afterEnd(t, file, fileCalls, 'ERR_AIOKV_CLOSED', fileResults);
    const queue = new Queue(made, name === 'portable' ? { engine: 'threads' } : {});
    await afterEnd(t, queue, requestsOf(file), 'ERR_AIOKV_CLOSED');
    t.is(queue.statistics().accepted, 0);
    await queue.close();
    if (name !== 'simulated') await rm(directory, { recursive: true, force: true });
  });
}

const handler = { complete: () => undefined };

/** All requests to a file, in all forms. */
function requestsOf(file: DirectFile, buffer = allocateAligned(BLOCK)): Calls<Queue> {
  return {
    read: (queue) => queue.read(file, buffer, { offset: 0 }),
    'read with a deadline': (queue) => queue.read(file, buffer, { offset: 0, deadlineMs: 1000 }),
    'read to the end': (queue) => queue.read(file, buffer, { offset: 0, onShort: 'continue' }),
    write: (queue) => queue.write(file, buffer, { offset: 0 }),
    readv: (queue) => queue.readv(file, [buffer], { offset: 0 }),
    writev: (queue) => queue.writev(file, [buffer], { offset: 0 }),
    fsync: (queue) => queue.fsync(file),
    fdatasync: (queue) => queue.fdatasync(file),
    submitRead: (queue) => queue.submitRead(file, buffer, 0, BLOCK, 0, handler, 1),
    submitWrite: (queue) => queue.submitWrite(file, buffer, 0, BLOCK, 0, handler, 1),
    submitReadv: (queue) => queue.submitReadv(file, [buffer], 0, handler, 1),
    submitWritev: (queue) => queue.submitWritev(file, [buffer], 0, handler, 1),
    submitFsync: (queue) => queue.submitFsync(file, handler, 1),
    submitFdatasync: (queue) => queue.submitFdatasync(file, handler, 1),
    readSync: (queue) => queue.readSync(file, buffer, { offset: 0 }),
  };
}

function queueCalls(file: DirectFile): Calls<Queue> {
  return {
    ...requestsOf(file),
    poll: (queue) => queue.poll(0),
    submitPoll: (queue) => queue.submitPoll(0, 1, handler, 1),
    getEvents: (queue) => queue.getEvents(),
    statistics: (queue) => queue.statistics().inFlight,
    pending: (queue) => queue.pending,
    room: (queue) => queue.room > 0,
    depth: (queue) => queue.depth,
    engine: (queue) => typeof queue.engine.name,
    supports: (queue) => queue.supports(0),
    close: (queue) => queue.close(),
  };
}
const queueResults = {
  statistics: 0,
  pending: 0,
  room: true,
  depth: 128,
  engine: 'string',
  supports: true,
  close: undefined,
};

for (const [name, at] of Object.entries(places)) {
  test(`${name}: a queue that was closed, and shards`, (t) =>
    at(async ({ platform, file, open }) => {
      const queue = open();
      await queue.close();
      const calls = queueCalls(file);
      t.deepEqual(
        namesOf(queue).filter((each) => !(each in calls)),
        [],
      );
      await afterEnd(t, queue, calls, 'ERR_AIOKV_CLOSED', queueResults);
      const shards = new Shards(platform, { contexts: 2 });
      await shards.close();
      const ofShards: Calls<Shards> = {
        close: (each) => each.close(),
        queues: (each) => each.queues.length,
        queueFor: (each) => each.queueFor(file, 0).read(file, allocateAligned(BLOCK), { offset: 0 }),
      };
      t.deepEqual(
        namesOf(shards).filter((each) => !(each in ofShards)),
        [],
      );
      await afterEnd(t, shards, ofShards, 'ERR_AIOKV_CLOSED', { close: undefined, queues: 2 });
    }));

  test(`${name}: a queue that is closing tells what it had, and takes nothing`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 2, maxWaiting: 2 });
      const reads = Array.from({ length: 9 }, () => queue.read(file, allocateAligned(BLOCK), { offset: 0 }));
      const closing = queue.close();
      await afterEnd(t, queue, requestsOf(file), 'ERR_AIOKV_CLOSED');
      await closing;
      t.deepEqual([...new Set(await Promise.all(reads))], [BLOCK]);
    }));

  test(`${name}: memory that was taken away is refused before anything is accepted`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const buffer = allocateAligned(BLOCK);
      takeAway(buffer);
      t.is(buffer.byteLength, 0);
      const { fsync, fdatasync, submitFsync, submitFdatasync, ...transfers } = requestsOf(file, buffer);
      t.truthy([fsync, fdatasync, submitFsync, submitFdatasync]);
      await afterEnd(t, queue, transfers, 'ERR_AIOKV_INVALID_ARGUMENT');
      await t.throwsAsync(queue.read(file, buffer, { offset: 0 }), { message: /was transferred.*use another buffer/u });
      t.is(queue.statistics().accepted, 0);
      t.is(buffer.pins, 0);
    }));

  test(`${name}: memory that is taken away while its request waits for a slot fails that request alone`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 1, maxWaiting: 0 });
      const buffers = Array.from({ length: 4 }, () => allocateAligned(BLOCK));
      const reads = buffers.map((buffer, i) =>
        queue.read(file, buffer, i % 2 === 0 ? { offset: 0 } : { offset: 0, deadlineMs: 10_000 }),
      );
      takeAway(buffers[1] as AlignedBuffer);
      takeAway(buffers[2] as AlignedBuffer);
      const codes = (await Promise.allSettled(reads)).map((each) =>
        each.status === 'fulfilled' ? each.value : (each.reason as { code: string }).code,
      );
      t.deepEqual(codes, [BLOCK, 'ERR_AIOKV_INVALID_ARGUMENT', 'ERR_AIOKV_INVALID_ARGUMENT', BLOCK]);
    }));
}

/** A byte stream takes memory without asking. */
function takeAway(buffer: AlignedBuffer): void {
  void new ReadableStream({ type: 'bytes', start: (stream) => stream.enqueue(buffer.bytes) });
}

test('messages and clones do not take the memory away, not even in flight', (t) =>
  onLinux(async ({ file, open }) => {
    const queue = open();
    const pool = new BufferPool(BLOCK, 2);
    for (const buffer of [allocateAligned(BLOCK), pool.lease() as AlignedBuffer]) {
      const read = queue.read(file, buffer, { offset: 0 });
      const { port1, port2 } = new MessageChannel();
      const { bytes } = buffer;
      for (const send of [
        () => port1.postMessage(bytes, [bytes.buffer]),
        () => void structuredClone(bytes, { transfer: [bytes.buffer] }),
      ]) {
        try {
          send();
        } catch (error) {
          // Newer versions of Node refuse, older ones send a copy.
          t.is((error as Error).name, 'DataCloneError');
        }
        t.is(bytes.byteLength, BLOCK);
      }
      port1.close();
      port2.close();
      t.is(await read, BLOCK);
      t.true(bytes.every((byte) => byte === 1));
    }
  }));

test('a pool: buffers that are not its own, or not leased', (t) => {
  const pool = new BufferPool(BLOCK, 1);
  const buffer = pool.lease() as AlignedBuffer;
  t.is(pool.lease(), undefined);
  pool.release(buffer);
  const code = 'ERR_AIOKV_BUFFER_BUSY';
  t.throws(() => pool.release(buffer), { code });
  t.throws(() => pool.release(allocateAligned(BLOCK)), { code });
  t.deepEqual([pool.available, pool.count, pool.bufferBytes], [1, 1, BLOCK]);
});

test('what is no buffer, no file, no handler and no signal is refused by name', (t) =>
  onSimulated(async ({ file, open }) => {
    const queue = open();
    const buffer = allocateAligned(BLOCK);
    const code = 'ERR_AIOKV_INVALID_ARGUMENT';
    const options = { offset: 0 };
    for (const [wrong, name] of [
      [undefined, 'undefined'],
      [null, 'null'],
      ['text', 'string'],
      [{}, 'an object of another kind'],
      [new Uint8Array(BLOCK), 'a Uint8Array'],
      [Buffer.alloc(BLOCK), 'a Buffer'],
      [new ArrayBuffer(BLOCK), 'an ArrayBuffer'],
    ] as const) {
      const message = new RegExp(`allocateAligned\\(\\).*${name}`, 'u');
      const bad = wrong as unknown as AlignedBuffer;
      await t.throwsAsync(queue.read(file, bad, options), { code, message });
      await t.throwsAsync(queue.writev(file, [bad], options), { code, message });
      t.throws(() => queue.readSync(file, bad, options), { code, message });
      t.throws(() => queue.submitRead(file, bad, 0, BLOCK, 0, handler, 0), { code, message });
      t.throws(() => queue.submitFsync(file, bad as never, 0), { code, message: /complete\(token, result\)/u });
      await t.throwsAsync(queue.fsync(bad as never), { code, message: /openFile\(\)/u });
      await t.throwsAsync(queue.read(bad as never, buffer, options), { code, message: /openFile\(\)/u });
      if (wrong !== undefined) {
        await t.throwsAsync(queue.fsync(file, { signal: bad as never }), {
          code,
          message: /signal is an AbortSignal/u,
        });
      }
    }
    for (const deadlineMs of [-1, Number.NaN, '5']) {
      await t.throwsAsync(queue.fsync(file, { deadlineMs: deadlineMs as number }), { code, message: /deadlineMs/u });
    }
    await t.throwsAsync(queue.readv(file, buffer as never, options), { code, message: /array of buffers/u });
    await t.throwsAsync(queue.read(file, buffer, { offset: 0, length: 512.5 }), { code });
    await t.throwsAsync(queue.read(file, buffer, { offset: BLOCKS, bufferOffset: 0.5 }), { code });
    t.is(queue.statistics().accepted, 0);
  }));
