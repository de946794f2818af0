/** What is particular to the libaio engine; tests name its invariants, CONTEXT-2 of libaio-context.ts and those of engine.ts. */
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Completions, Opcode, allocateAligned, linuxPlatform, raw } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile } from '@aiokv/aio';
import { LibaioEngine } from '../../packages/aio/src/engines/libaio.ts';
import { foreignInterface, requireForeignInterface } from '../../packages/aio/src/ffi/load.ts';
import type { ForeignInterface } from '../../packages/aio/src/ffi/port.ts';
import { garbageOf } from './garbage.ts';

const BLOCK = 4096;
const SLOTS = 16;
const ALL = Uint32Array.from({ length: SLOTS }, (_, i) => i);
const RING_HEADER_BYTES = 32;
const PATIENCE_MS = 20_000;

/** An engine over a file of as many blocks as it has slots. */
class Bench {
  readonly engine: LibaioEngine;
  readonly #file: DirectFile;
  readonly #buffers = Array.from({ length: SLOTS }, () => allocateAligned(BLOCK));

  constructor(engine: LibaioEngine, file: DirectFile) {
    this.engine = engine;
    this.#file = file;
  }

  prepare(slot: number): void {
    const buffer = this.#buffers[slot] as AlignedBuffer;
    this.engine.prepare(slot, Opcode.read, this.#file.handle, buffer, 0, BLOCK, slot * BLOCK);
  }

  /** Sends reads in slots `from` to `to - 1`. */
  read(from: number, to: number): void {
    for (let slot = from; slot < to; slot++) this.prepare(slot);
    const accepted = this.engine.submit(ALL, from, to - from);
    if (accepted !== to - from) throw new Error(`${accepted} of ${to - from} were accepted`);
  }

  /** Waits for something that never happens. */
  poll(slot: number): void {
    const libc = raw.libcOf(requireForeignInterface());
    const eventfd = libc.eventfd(0, 0);
    this.engine.preparePoll(slot, eventfd, 1);
    if (this.engine.submit(ALL, slot, 1) !== 1) throw new Error('a poll was refused');
    // The kernel holds on to it.
    libc.close(eventfd);
  }

  /** Until reads have certainly come back. */
  settle(): Promise<void> {
    return sleep(50);
  }

  /** For what a wake-up brings about, which may come later on a busy machine. */
  async settleUntil(isSo: () => boolean): Promise<void> {
    const untilMs = performance.now() + PATIENCE_MS;
    while (!isSo() && performance.now() < untilMs) await sleep(5);
  }
}

interface Settings {
  readonly ffi?: ForeignInterface;
  readonly forceSyscalls?: boolean;
  readonly useLibaio?: boolean;
}

async function withEngine(settings: Settings, body: (bench: Bench) => Promise<void> | void): Promise<void> {
  const { ffi = requireForeignInterface(), forceSyscalls = false, useLibaio = true } = settings;
  const directory = await mkdtemp(resolve('.tmp-edges-'));
  const file = await linuxPlatform().open(join(directory, 'data'), { create: true });
  await file.preallocate(0, SLOTS * BLOCK);
  const engine = new LibaioEngine({ slots: SLOTS, depth: SLOTS, ffi, forceSyscalls, useLibaio, reason: 'a test' });
  try {
    await body(new Bench(engine, file));
  } finally {
    await engine.close();
    await file.close();
    await rm(directory, { recursive: true, force: true });
  }
}

function slotsOf(completions: Completions): number[] {
  return [...completions.slots.subarray(0, completions.count)].sort((a, b) => a - b);
}

for (const forceSyscalls of [false, true]) {
  const way = forceSyscalls ? 'io_getevents' : 'ring';

  test(`${way}: what wait took out, and what came after it, is in one reap (LIBAIO-1)`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      bench.read(0, 1);
      engine.wait(10_000);
      bench.read(1, 5);
      await bench.settle();
      const completions = new Completions(SLOTS);
      t.is(engine.reap(completions), 5);
      t.is(completions.slots[0], 0);
      t.deepEqual(slotsOf(completions), [0, 1, 2, 3, 4]);
      t.is(engine.reap(completions), 0);
    }));

  test(`${way}: what wait took out is handed out however little fits (LIBAIO-1)`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      bench.read(0, 8);
      await bench.settle();
      if (forceSyscalls) engine.wait(0);
      const seen: number[] = [];
      const completions = new Completions(3);
      while (engine.reap(completions) > 0) seen.push(...slotsOf(completions));
      t.deepEqual(
        seen.sort((a, b) => a - b),
        [0, 1, 2, 3, 4, 5, 6, 7],
      );
    }));

  test(`${way}: one wake-up announces several, also after a wait`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      const completions = new Completions(SLOTS);
      const seen: number[] = [];
      engine.onCompletion = () => {
        engine.reap(completions);
        seen.push(...slotsOf(completions));
      };
      engine.setActive(true);
      bench.read(0, 1);
      engine.wait(10_000);
      bench.read(1, 8);
      await bench.settleUntil(() => seen.length >= 8);
      t.deepEqual(seen.sort((a, b) => a - b).slice(0, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
    }));

  test(`${way}: a completion while inactive is announced by activity, not before`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      const completions = new Completions(SLOTS);
      let [wakeups, reported] = [0, 0];
      engine.onCompletion = () => {
        wakeups++;
        reported += engine.reap(completions);
      };
      bench.read(0, 3);
      await bench.settle();
      t.is(wakeups, 0);
      engine.setActive(true);
      t.is(wakeups, 0, 'not from inside a method of the engine');
      await bench.settleUntil(() => reported >= 3);
      t.is(reported, 3);
      engine.setActive(false);
      bench.read(3, 4);
      await bench.settle();
      t.is(reported, 3);
      t.is(engine.reap(completions), 1);
    }));

  test(`${way}: a closed engine has nothing to report and waits for nothing (CONTEXT-2)`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      const completions = new Completions(SLOTS);
      engine.onCompletion = () => t.fail('a closed engine calls nobody');
      engine.setActive(true);
      bench.read(0, 4);
      const closed = engine.close();
      t.is(engine.reap(completions), 0, 'while it closes');
      await closed;
      // Likely at the address that the closed one had.
      await withEngine({ forceSyscalls }, async (other) => {
        other.read(5, 6);
        await other.settle();
        t.is(engine.reap(completions), 0);
        engine.wait(1);
        engine.setActive(true);
        engine.setActive(false);
        t.is(other.engine.reap(completions), 1);
        t.deepEqual(slotsOf(completions), [5]);
      });
      t.throws(() => engine.submit(ALL, 0, 1), { code: 'ERR_AIOKV_INTERNAL' });
    }));

  test(`${way}: timeouts of every kind`, (t) =>
    withEngine({ forceSyscalls }, async (bench) => {
      const { engine } = bench;
      const completions = new Completions(SLOTS);
      for (const timeoutMs of [0, 0.001, 999.999_999_9, 1e12, Infinity, -1, Number.NaN]) {
        bench.read(0, 1);
        await bench.settle();
        engine.wait(timeoutMs);
        t.is(engine.reap(completions), 1, String(timeoutMs));
      }
      // Nothing is in flight, so nothing can come, and it does not wait.
      engine.wait(Infinity);
      bench.poll(0);
      const startMs = performance.now();
      engine.wait(30.5);
      const tookMs = performance.now() - startMs;
      t.true(tookMs >= 29, `nothing came for ${tookMs} ms`);
      engine.cancel(0);
      engine.wait(10_000);
      t.is(engine.reap(completions), 1);
    }));
}

/** An interface whose views are what `see` makes of them. */
function seeing(see: (view: Uint8Array | undefined, byteLength: number) => Uint8Array | undefined): ForeignInterface {
  const ffi = requireForeignInterface();
  return { ...ffi, viewOf: (address, byteLength) => see(ffi.viewOf(address, byteLength), byteLength) };
}

for (const useLibaio of [true, false]) {
  test(`where memory cannot be viewed io_getevents reaps, ${useLibaio ? 'libaio' : 'and errno is copied'}`, (t) =>
    withEngine({ ffi: seeing(() => undefined), useLibaio }, async (bench) => {
      const { engine } = bench;
      bench.read(0, 4);
      await bench.settle();
      const completions = new Completions(SLOTS);
      t.is(engine.reap(completions), 4);
      engine.prepare(0, Opcode.read, -1, allocateAligned(BLOCK), 0, BLOCK, 0);
      t.is(engine.submit(ALL, 0, 1), -9, 'EBADF');
    }));
}

test('a ring that stops to make sense is left for io_getevents in the same reap (LIBAIO-1)', (t) => {
  // The engine is shown a copy of the ring whose tail is nonsense; the kernel's own is as it should be.
  let copied = 0;
  const ffi = seeing((view, byteLength) => {
    if (view === undefined || byteLength <= RING_HEADER_BYTES) return view;
    const copy = view.slice();
    new Int32Array(copy.buffer)[3] = -1;
    copied++;
    return copy;
  });
  return withEngine({ ffi }, async (bench) => {
    t.is(copied, 1);
    const { engine } = bench;
    bench.read(0, 4);
    await bench.settle();
    const completions = new Completions(SLOTS);
    t.is(engine.reap(completions), 4);
    t.deepEqual(slotsOf(completions), [0, 1, 2, 3]);
    bench.read(4, 5);
    await bench.settle();
    t.is(engine.reap(completions), 1);
  });
});

test.serial('engines that come and go leave no descriptor and no context behind', async (t) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const open = (): LibaioEngine =>
    new LibaioEngine({
      slots: 4,
      depth: 4,
      ffi: requireForeignInterface(),
      forceSyscalls: false,
      useLibaio: true,
      reason: 'a test',
    });
  await open().close();
  await sleep(20);
  const before = descriptors();
  for (let round = 0; round < 5; round++) {
    const engines = Array.from({ length: 8 }, open);
    await Promise.all(engines.map((engine) => engine.close()));
  }
  await sleep(20);
  // Tests beside this one have their own; a leak would be 40 or more.
  t.true(descriptors() < before + 20, `${before} before, ${descriptors()} after`);
});

for (const name of ['koffi', 'ffi-napi'] as const) {
  const ffi = foreignInterface(name);
  if (ffi === undefined) continue;
  test.serial(`${name}: preparing, submitting and reaping allocate nothing`, (t) =>
    withEngine({ ffi }, (bench) => {
      const { engine } = bench;
      const completions = new Completions(SLOTS);
      const round = (): void => {
        for (let slot = 0; slot < SLOTS; slot++) bench.prepare(slot);
        engine.submit(ALL, 0, SLOTS);
        for (let left = SLOTS; left > 0;) left -= engine.reap(completions);
      };
      const ROUNDS = 1000;
      for (let i = 0; i < ROUNDS; i++) round();
      const bytes = garbageOf(round, 100) / SLOTS;
      t.log(`${bytes.toFixed(1)} bytes a request`);
      // Addresses are above 2^31, so V8 boxes them on their way into the one call of a batch.
      t.true(bytes < 16, `${bytes} bytes`);
    }),
  );
}
