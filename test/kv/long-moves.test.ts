/**
 * Values that are too long for one record are moved, by cleanings and by `compact`: their fragments leave segments in
 * which little lives, and what was written is read. On the simulated disk, with values longer than a segment. The codes
 * PIECES-1 to PIECES-3 are those of packages/kv/src/clean/extent-mover.ts, COMPACT-3 is that of compaction.ts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store, StoreOptions } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';
import { requireSound } from './sound.ts';

const SEED = seedOf('AIOKV_LONG_MOVES_SEED');
const PATH = '/store/data.aiokv';
const SEGMENT_BYTES = 64 * KIB;
/** What tells the parts of a value from those of others. */
const MARK_EVERY = 1000;

class Case {
  readonly t: ExecutionContext;
  readonly disk: SimulatedDisk;
  readonly random: Random;
  readonly model = new Map<string, string>();
  /** Fragments that were moved. */
  pieces = 0;
  readonly #isEager: boolean;
  options: Partial<StoreOptions>;
  #store: Store | null = null;
  #values = 0;

  constructor(t: ExecutionContext, isEager: boolean, options: Partial<StoreOptions> = {}, seed = SEED) {
    this.t = t;
    this.disk = new SimulatedDisk({ seed });
    this.random = new Random(seed);
    this.#isEager = isEager;
    const sizes = { segmentBytes: SEGMENT_BYTES, writeBufferBytes: MIB, queueDepth: 8, memoryBytes: MIB };
    this.options = { ...sizes, checkpointBytes: 512 * KIB, platform: this.disk, ...options };
  }

  get store(): Store {
    return this.#store as Store;
  }

  /** Bytes of segments that are in use, over keys and values. */
  get amplification(): number {
    const { fileBytes, freeBytes } = this.store.statistics().space;
    const live = [...this.model].reduce((sum, [key, value]) => sum + key.length + value.length, 0);
    return (fileBytes - freeBytes) / live;
  }

  async open(): Promise<void> {
    const onMovedPieces = (pieces: number): void => {
      this.pieces += pieces;
    };
    this.#store = await openPlanted('/store', this.options, { eagerCleaning: this.#isEager, onMovedPieces });
  }

  async reopen(): Promise<void> {
    await this.store.close();
    await this.open();
  }

  /** A value of which no two parts are the same, nor those of two values. */
  value(length: number): string {
    const number = this.#values++;
    const part = (_: unknown, i: number): string => `${number}:${i};`.padEnd(MARK_EVERY, 'v');
    return Array.from({ length: Math.ceil(length / MARK_EVERY) }, part)
      .join('')
      .slice(0, length);
  }

  put(key: string, length: number): Promise<void> {
    const value = this.value(length);
    this.model.set(key, value);
    return this.store.put(key, value, { durability: 'buffered' });
  }

  del(key: string): Promise<void> {
    this.model.delete(key);
    return this.store.del(key, { durability: 'buffered' });
  }

  requireSound(what: string): Promise<void> {
    return requireSound(this.t, this.store, this.model, what);
  }

  /** Some long values, each between short ones that are soon replaced. */
  async load(count: number, longest = 182_000): Promise<void> {
    for (let n = 0; n < count; n++) {
      await this.put(`long${n}`, longest / 3 + this.random.below((2 * longest) / 3));
      for (let i = 0; i < 12; i++) await this.put(`short${n % 7}-${i}`, 1000 + this.random.below(3000));
    }
  }
}

/** Waits until the store has written nothing for a while, and counts the turns. */
async function pass(turns: number): Promise<void> {
  for (let n = 0; n < turns; n++) await nextTurn();
}

for (const isEager of [false, true]) {
  test(`long values between short ones that die, cleaned ${isEager ? 'at every run' : 'when it is worth it'}`, async (t) => {
    t.timeout(300_000);
    const one = new Case(t, isEager, { memoryBytes: 512 * KIB });
    await one.open();
    await one.load(40);
    const seen: string[] = [];
    for (let round = 0; round < 6; round++) {
      for (let n = 0; n < 8; n++) await one.put(`long${one.random.below(40)}`, 62_000 + one.random.below(120_000));
      for (let n = 0; n < 200; n++) await one.put(`short${n % 7}-${n % 12}`, 1000 + one.random.below(3000));
      if (round === 3) await one.del(`long${one.random.below(40)}`);
      await one.store.checkpoint();
      await one.requireSound(`round ${round}`);
      if (round % 2 === 1) await one.reopen();
      seen.push(one.amplification.toFixed(2));
    }
    t.log(`AIOKV_LONG_MOVES_SEED=${SEED}: ${seen.join(' ')} x, ${one.pieces} fragments moved`);
    t.true(one.pieces > 0);
    await one.store.close();
  });
}

/** Segments of which each takes several fragments. */
const LARGE = { segmentBytes: MIB, memoryBytes: 8 * MIB, checkpointBytes: 2 * MIB };

test('the space around fragments that live comes back', async (t) => {
  t.timeout(300_000);
  const one = new Case(t, false, { ...LARGE, spaceAmplificationMax: 10 });
  await one.open();
  await one.load(60, 900_000);
  for (let n = 0; n < 60; n++) if (n % 5 > 1) await one.del(`long${n}`);
  await one.store.checkpoint();
  one.options = { ...one.options, spaceAmplificationMax: 1.3 };
  await one.reopen();
  const before = one.amplification;
  for (let n = 0; n < 12; n++) {
    await one.put('other', 1000);
    await one.store.checkpoint();
  }
  await one.requireSound('cleaned');
  t.log(`${before.toFixed(2)} x, ${one.amplification.toFixed(2)} x after it, ${one.pieces} fragments moved`);
  t.true(one.pieces > 0);
  t.true(one.amplification < 1.9 && before > 2.5);
  await one.reopen();
  await one.requireSound('opened again');
  await one.store.close();
});

test('PIECES-1: long values that are written, deleted and read at any moment of a cleaning', async (t) => {
  t.timeout(300_000);
  for (let seed = SEED; seed < SEED + 6; seed++) {
    const one = new Case(t, true, {}, seed);
    await one.open();
    await one.load(20);
    for (let round = 0; round < 12; round++) {
      const held = one.store.iterator();
      const expected = new Map(one.model);
      const ended = one.store.checkpoint();
      const reads: Promise<void>[] = [];
      for (let n = 0; n < 6; n++) {
        await pass(one.random.below(40));
        const key = `long${one.random.below(20)}`;
        const value = one.model.get(key);
        const read = async (): Promise<void> => {
          const found = (await one.store.get(key))?.toString();
          if (found !== value) t.fail(`seed ${seed}: ${key} is ${found?.slice(0, 9)}, not ${value?.slice(0, 9)}`);
        };
        reads.push(read());
        if (one.random.chance(0.3)) await one.del(key);
        else if (one.random.chance(0.5)) await one.put(key, 62_000 + one.random.below(60_000));
      }
      await Promise.all(reads);
      await ended;
      // The iterator is older than all moves.
      let count = 0;
      for await (const [key, value] of held) {
        count++;
        if (expected.get(key.toString()) !== value.toString()) t.fail(`seed ${seed}: an iterator has a wrong value`);
      }
      t.is(count, expected.size);
      await one.requireSound(`seed ${seed}, round ${round}`);
    }
    t.true(one.pieces > 0);
    await one.reopen();
    await one.requireSound('opened again');
    await one.store.close();
  }
});

test('PIECES-3: a damaged fragment stays where it is, and fails its key alone', async (t) => {
  t.timeout(120_000);
  const one = new Case(t, true);
  await one.open();
  await one.load(20);
  await one.store.checkpoint();
  const value = one.model.get('long5') as string;
  // Somewhere in the first fragment.
  const bytes = Buffer.from(one.disk.bytesOf(PATH));
  const part = value.slice(7000, 7010);
  // It may have been moved: an old copy is dead.
  for (let at = bytes.indexOf(part); at >= 0; at = bytes.indexOf(part, at + 1)) {
    one.disk.writeRaw(PATH, at + 5, Buffer.from('w'));
  }
  one.model.delete('long5');
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 12; i++) await one.put(`short${round}-${i}`, 3000);
    await one.store.checkpoint();
  }
  t.true(one.pieces > 0);
  await t.throwsAsync(one.store.get('long5'), { code: 'ERR_AIOKV_CORRUPT' });
  await one.store.verifySegments();
  for (const [key, expected] of one.model) if ((await one.store.get(key))?.toString() !== expected) t.fail(key);
  await one.store.close();
});

for (const [name, options, longest, most, again] of [
  ['64 KiB', { memoryBytes: 2 * MIB }, 182_000, 1.4, 0.6],
  ['1 MiB', LARGE, 900_000, 1.45, 0.25],
] as const) {
  test(`COMPACT-3: a compaction leaves nothing between long values, in segments of ${name}, and moves them once`, async (t) => {
    t.timeout(300_000);
    const one = new Case(t, false, { ...options, spaceAmplificationMax: 10 });
    await one.open();
    await one.load(60, longest);
    for (let n = 0; n < 60; n += 2) await one.del(`long${n}`);
    await one.store.checkpoint();
    const before = one.amplification;
    await one.store.compact();
    await one.requireSound('compacted');
    const { pieces } = one;
    t.log(`${before.toFixed(2)} x, ${one.amplification.toFixed(2)} x after it, ${pieces} fragments moved`);
    t.true(pieces > 0);
    t.true(one.amplification < most);
    await one.store.compact();
    t.log(`${one.pieces - pieces} fragments moved by another compaction`);
    t.true(one.pieces - pieces <= again * pieces);
    await one.reopen();
    await one.requireSound('opened again');
    await one.store.close();
  });
}

test('closed at any moment of a compaction, long values are what they were', async (t) => {
  t.timeout(300_000);
  for (let seed = SEED; seed < SEED + 12; seed++) {
    const one = new Case(t, false, { spaceAmplificationMax: 10, memoryBytes: 256 * KIB }, seed);
    await one.open();
    await one.load(15);
    for (let n = 0; n < 15; n += 3) await one.del(`long${n}`);
    const compacted = one.store.compact().catch(() => undefined);
    await pass(one.random.below(400));
    await one.reopen();
    await compacted;
    await one.requireSound(`seed ${seed}`);
    await one.store.close();
  }
});
