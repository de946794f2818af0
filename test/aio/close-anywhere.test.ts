/**
 * `close()` at any moment: a busy queue, or busy shards, closed after each of the first turns, and in the middle of one.
 * What was accepted is settled and no call ends in anything but a result or a code, the close settles, and nothing is
 * left in flight.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Queue, Shards, SimulatedDisk, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, EngineName, Platform, QueueOptions } from '@aiokv/aio';
import test from 'ava';
import { whyNoUring } from './uring-available.ts';

const BLOCK = 4096;
const BLOCKS = 64;
const TURNS = 24;

interface Case {
  readonly name: string;
  readonly options: Partial<QueueOptions>;
  readonly platform: () => Platform;
}

const cases: Case[] = [
  { name: 'simulated', options: {}, platform: () => new SimulatedDisk({ seed: 4, refusalChance: 0.2 }) },
  { name: 'simulated, never blocking', options: { neverBlock: true }, platform: blockingDisk },
  ...(['libaio', 'threads', 'posix', 'io_uring'] as const).filter(isHere).map((engine) => ({
    name: engine,
    options: { engine },
    platform: () => linuxPlatform(),
  })),
];

function blockingDisk(): SimulatedDisk {
  const disk = new SimulatedDisk({ seed: 4 });
  disk.inject({ at: ({ index }) => index % 3 === 1, kind: 'would-block', sticky: true });
  return disk;
}

function isHere(engine: EngineName): boolean {
  const why = engine === 'io_uring' ? whyNoUring('koffi') : null;
  if (why !== null) test.skip(`io_uring: ${why}`, () => undefined);
  return why === null;
}

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

interface Busy {
  readonly buffers: AlignedBuffer[];
  /** Settles when every caller has given up, with how many requests came back whole. */
  readonly end: Promise<number>;
}

/** Callers of all forms, each going on until it is refused. */
function keepBusy(queues: readonly Queue[], file: DirectFile): Busy {
  const buffers: AlignedBuffer[] = [];
  let whole = 0;
  const caller = async (number: number): Promise<void> => {
    const buffer = allocateAligned(BLOCK);
    buffers.push(buffer);
    for (let n = number; ; n++) {
      const queue = queues[n % queues.length] as Queue;
      const offset = (n % BLOCKS) * BLOCK;
      try {
        if (number % 5 === 4) await queue.fdatasync(file);
        else if (number % 5 === 3) whole += (await queue.write(file, buffer, { offset, onShort: 'continue' })) / BLOCK;
        else if (number % 5 === 2) await queue.readv(file, [buffer], { offset, deadlineMs: 1000 });
        else whole += (await queue.read(file, buffer, { offset })) / BLOCK;
      } catch (error) {
        if ((error as { code?: string }).code === 'ERR_AIOKV_CLOSED') return;
        throw error;
      }
    }
  };
  const handled = (number: number): Promise<void> =>
    new Promise((done, fail) => {
      const buffer = allocateAligned(BLOCK);
      buffers.push(buffer);
      let out = 0;
      const queue = queues[number % queues.length] as Queue;
      const handler = {
        complete(token: number, result: number): void {
          out--;
          if (result !== BLOCK) fail(new Error(`${result} of a read of the handler form`));
          else if (!submit(token + 1) && out === 0) done();
        },
      };
      const submit = (token: number): boolean => {
        try {
          const isTaken = queue.submitRead(file, buffer, 0, BLOCK, (token % BLOCKS) * BLOCK, handler, token);
          if (isTaken) out++;
          return isTaken;
        } catch {
          return false;
        }
      };
      if (!submit(number)) done();
    });
  const callers = [
    ...Array.from({ length: 20 }, (_, i) => caller(i)),
    ...Array.from({ length: 4 }, (_, i) => handled(i)),
  ];
  return { buffers, end: Promise.all(callers).then(() => whole) };
}

async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: not settled after 20 s`)), 20_000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

let directory: string;
test.before(async () => {
  directory = await mkdtemp(resolve('.tmp-close-'));
});
test.after.always(() => rm(directory, { recursive: true, force: true }));

/** `n` turns, and for odd moments some microtasks of the next one. */
async function moment(at: number): Promise<void> {
  for (let i = 0; i < Math.floor(at / 2); i++) await turn();
  if (at % 2 === 1) for (let i = 0; i < at; i++) await Promise.resolve();
}

for (const { name, options, platform } of cases) {
  test.serial(`${name}: a busy queue, and busy shards, closed after each of ${TURNS} moments`, async (t) => {
    const made = platform();
    const file = await made.open(name.startsWith('simulated') ? '/data' : `${directory}/${name}`, { create: true });
    await file.preallocate(0, BLOCKS * BLOCK);
    let whole = 0;
    for (let at = 0; at < TURNS; at++) {
      for (const isSharded of [false, true]) {
        const what = `${isSharded ? 'shards' : 'queue'}, moment ${at}`;
        const limits = { ...options, depth: 4, maxWaiting: 3, batchMin: 2 };
        const shards = isSharded ? new Shards(made, { contexts: 2 }, limits) : null;
        const queues = shards?.queues ?? [new Queue(made, limits)];
        const { buffers, end } = keepBusy(queues, file);
        await moment(at);
        const closing = shards === null ? (queues[0] as Queue).close() : shards.close();
        const counted = await inTime(Promise.all([end, closing]), what);
        whole += counted[0];
        t.true(
          queues.every(({ pending }) => pending === 0),
          what,
        );
        t.true(
          buffers.every(({ pins }) => pins === 0),
          what,
        );
        await (shards ?? (queues[0] as Queue)).close();
      }
    }
    t.true(whole > 0);
    await file.close();
  });
}
