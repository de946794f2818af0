/**
 * The cases of libaio's own harness (harness/cases) that concern the calls themselves and are not in raw.test.ts, over
 * the raw layer: one foreign-function interface, libaio or system calls.
 */
import { constants as fsConstants, closeSync, openSync, readSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { Completions, allocateAligned, raw } from '@aiokv/aio';
import type { ForeignInterface } from '@aiokv/aio';
import type { ExecutionContext, TestFn } from 'ava';

const { EAGAIN, EFAULT, EINTR, EINVAL } = constants.errno;
const { O_DIRECT, O_RDONLY } = fsConstants;
const BLOCK = 4096;

interface Bench {
  readonly t: ExecutionContext;
  readonly ffi: ForeignInterface;
  readonly calls: ReturnType<typeof raw.aioCalls>;
  readonly libc: ReturnType<typeof raw.libcOf>;
  /** A file of one block. */
  readonly fd: number;
}

/** Why `io_setup` refuses: its negative error number, or 0 when it does not. */
function setup({ libc }: Bench, maxEvents: number, handleAddress: number): number {
  return libc.syscall(libc.numbers.io_setup, maxEvents, handleAddress) < 0 ? -libc.errno() : 0;
}

/** `io_getevents` without a timeout. A child of this process that ends interrupts it, and then it is called again. */
function getevents({ calls }: Bench, context: number, min: number, events: raw.EventArray): number {
  for (;;) {
    const count = calls.ioGetevents(context, min, events.capacity, events.address, 0);
    if (count !== -EINTR) return count;
  }
}

function setupErrors(bench: Bench): void {
  const { t, ffi, calls } = bench;
  const handle = new BigUint64Array(1);
  const address = ffi.addressOf(handle.buffer);
  t.throws(() => calls.ioSetup(-1), { code: 'EINVAL' });
  t.throws(() => calls.ioSetup(0x7fff_ffff), { code: 'EINVAL' });
  t.is(setup(bench, 0, address), -EINVAL);
  t.is(setup(bench, 1, 0), -EFAULT, 'nowhere to put the handle');
  t.is(setup(bench, 1, 8), -EFAULT);
  handle[0] = 1n;
  t.is(setup(bench, 1, address), -EINVAL, 'a handle that looks used');
  t.is(handle[0], 1n);
  handle[0] = 0n;
  t.is(setup(bench, 1, address), 0);
  calls.ioDestroySync(Number(handle[0]));
}

async function submitErrors(bench: Bench): Promise<void> {
  const { t, ffi, calls, fd } = bench;
  const context = calls.ioSetup(8);
  try {
    const iocbs = new raw.IocbArray(ffi, 2);
    const pointers = new BigUint64Array(2);
    const address = ffi.addressOf(pointers.buffer);
    t.is(calls.ioSubmit(context, 1, address), -EFAULT, 'an iocb at address 0');
    pointers[0] = 8n;
    t.is(calls.ioSubmit(context, 1, address), -EFAULT);
    const target = allocateAligned(BLOCK);
    iocbs.prepRead(0, fd, target.address, BLOCK, 0, 77);
    pointers[0] = BigInt(iocbs.addressOf(0));
    pointers[1] = 8n;
    t.is(calls.ioSubmit(context, 2, address), 1, 'those in front of a bad one go in');
    const events = new raw.EventArray(ffi, 2);
    t.is(getevents(bench, context, 1, events), 1);
    t.deepEqual([events.data(0), events.result(0)], [77, BLOCK]);
    t.is(calls.ioGetevents(context, 2, 1, events.address, 0), -EINVAL, 'more than there is room for');
    t.is(calls.ioGetevents(context, -1, 1, events.address, 0), -EINVAL);
  } finally {
    await calls.ioDestroy(context);
  }
}

async function eventfd(bench: Bench): Promise<void> {
  const { t, ffi, calls, libc, fd } = bench;
  const REQUESTS = 24;
  const context = calls.ioSetup(REQUESTS);
  const counter = libc.eventfd(0, 0x800);
  const iocbs = new raw.IocbArray(ffi, REQUESTS);
  const events = new raw.EventArray(ffi, REQUESTS);
  const eight = new BigUint64Array(1);
  const target = allocateAligned(BLOCK);
  try {
    t.throws(() => readSync(counter, eight), { code: 'EAGAIN' }, 'nothing yet');
    for (let i = 0; i < REQUESTS; i++) {
      iocbs.prepRead(i, fd, target.address, BLOCK, 0);
      // The last six are silent.
      if (i < REQUESTS - 6) iocbs.setEventfd(i, counter);
      iocbs.point(i, i);
    }
    t.is(calls.ioSubmit(context, REQUESTS, iocbs.pointersAddress), REQUESTS);
    t.is(getevents(bench, context, REQUESTS, events), REQUESTS);
    // The event is there a moment before the signal.
    await new Promise((done) => setTimeout(done, 20));
    readSync(counter, eight);
    t.is(eight[0], BigInt(REQUESTS - 6), 'once for each completion');
  } finally {
    await calls.ioDestroy(context);
    closeSync(counter);
  }
}

type Reap = (minimum: number) => number;

/** The two ways out of a context; each waits for so many, and returns how many came. */
function waysOut(bench: Bench, context: number, note: (data: number) => void): Record<string, Reap> {
  const { ffi } = bench;
  const events = new raw.EventArray(ffi, 64);
  const completions = new Completions(64);
  const ring = raw.CompletionRing.at(context, (address, bytes) => ffi.viewOf(address, bytes));
  if (ring === null) throw new Error('the ring of this kernel can be read in place');
  return {
    io_getevents: (minimum) => {
      const count = getevents(bench, context, Math.min(minimum, 64), events);
      for (let i = 0; i < count; i++) note(events.data(i));
      return count;
    },
    ring: (minimum) => {
      let count = 0;
      const untilMs = performance.now() + 20_000;
      while (count < minimum && performance.now() < untilMs) {
        completions.count = 0;
        if (!ring.reap(completions)) return -1;
        for (let i = 0; i < completions.count; i++) note(completions.slots[i] as number);
        count += completions.count;
      }
      return count;
    },
  };
}

/** Submits `total` requests one by one, reaping when the context takes no more; returns how often that was. */
function overfill(bench: Bench, context: number, total: number, reap: Reap): number {
  const { ffi, calls, fd } = bench;
  const iocbs = new raw.IocbArray(ffi, 1);
  const target = allocateAligned(BLOCK);
  let [refusals, reaped] = [0, 0];
  for (let submitted = 0; submitted < total;) {
    iocbs.prepRead(0, fd, target.address, BLOCK, 0, submitted);
    iocbs.point(0, 0);
    const accepted = calls.ioSubmit(context, 1, iocbs.pointersAddress);
    if (accepted === 1) submitted++;
    else if (accepted === -EAGAIN) {
      refusals++;
      // Places become free some at a time.
      reaped += mustReap(reap, 1);
    } else throw new Error(`io_submit: ${accepted}`);
  }
  while (reaped < total) reaped += mustReap(reap, total - reaped);
  return refusals;
}

function mustReap(reap: Reap, minimum: number): number {
  const count = reap(minimum);
  if (count <= 0) throw new Error(`${count} completions came`);
  return count;
}

/** How many requests a context takes before something has to be reaped. */
function capacityOf(bench: Bench, context: number): number {
  const { ffi, calls, fd } = bench;
  const iocbs = new raw.IocbArray(ffi, 1);
  const target = allocateAligned(BLOCK);
  iocbs.prepRead(0, fd, target.address, BLOCK, 0, 0);
  iocbs.point(0, 0);
  let capacity = 0;
  while (calls.ioSubmit(context, 1, iocbs.pointersAddress) === 1) capacity++;
  let reaped = 0;
  const reap = waysOut(bench, context, () => reaped++)['io_getevents'] as Reap;
  while (reaped < capacity) mustReap(reap, capacity - reaped);
  return capacity;
}

async function ringOverfilled(bench: Bench): Promise<void> {
  const { t, calls } = bench;
  const ASKED = 16;
  const context = calls.ioSetup(ASKED);
  try {
    const capacity = capacityOf(bench, context);
    t.true(capacity >= ASKED, `${capacity} were accepted of ${ASKED}`);
    const around = [capacity - 1, capacity, capacity + 1, 2 * capacity, 4 * capacity];
    for (const total of [ASKED - 1, ASKED, ...around]) {
      for (const way of ['io_getevents', 'ring']) {
        const seen = new Uint8Array(total);
        const note = (data: number): void => void (seen[data] = (seen[data] ?? 255) + 1);
        const refusals = overfill(bench, context, total, waysOut(bench, context, note)[way] as Reap);
        t.true(
          seen.every((times) => times === 1),
          `${way}, ${total} requests: each is reported once`,
        );
        // In between, it depends on what the processors have put aside for themselves.
        if (total <= ASKED) t.is(refusals, 0, `${way}: what was asked for is to be had`);
        if (total >= 2 * capacity) t.true(refusals > 0, `${way}, ${total} requests`);
      }
    }
  } finally {
    await calls.ioDestroy(context);
  }
}

const cases: [string, (bench: Bench) => void | Promise<void>][] = [
  ['a context is refused for bad numbers and bad pointers (2)', setupErrors],
  ['bad pointers to iocbs, and impossible waits, are refused (3)', submitErrors],
  ['an eventfd counts the completions of those that name it (16)', eventfd],
  ['a ring that is filled to its brim, and over it, loses nothing and hangs nobody (17)', ringOverfilled],
];

/** Declares the tests under `name`. */
export function rawHarness(test: TestFn, name: string, ffi: ForeignInterface, useLibaio: boolean): void {
  for (const [title, body] of cases) {
    test(`${name}: ${title}`, async (t) => {
      const directory = await mkdtemp(resolve('.tmp-harness-'));
      const path = join(directory, 'data');
      await writeFile(path, new Uint8Array(BLOCK).fill(1));
      const fd = openSync(path, O_RDONLY | O_DIRECT);
      try {
        await body({ t, ffi, calls: raw.aioCalls(ffi, useLibaio), libc: raw.libcOf(ffi), fd });
      } finally {
        closeSync(fd);
        await rm(directory, { recursive: true, force: true });
      }
    });
  }
}
