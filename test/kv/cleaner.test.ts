/**
 * Cleaning, from outside: what was written is read, whatever is moved meanwhile, and the space of what was replaced
 * comes back. On the simulated disk. The files behind it are in packages/kv/src/clean; CLEAN-1 to CLEAN-5 are those of
 * cleaner.ts, CHECK-8 is that of checkpointer.ts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store, StoreIterator, StoreOptions } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';
import { readAll } from './crash/history.ts';
import { requireEqual, shorten } from './sound.ts';

const SEED = seedOf('AIOKV_CLEANER_SEED');
const PATH = '/store/data.aiokv';
const SEGMENT_BYTES = 64 * KIB;
const OPTIONS = {
  segmentBytes: SEGMENT_BYTES,
  writeBufferBytes: MIB,
  queueDepth: 8,
  memoryBytes: 512 * KIB,
  checkpointBytes: 512 * KIB,
};

/** A store on a simulated disk, and what it must hold. */
class Case {
  readonly t: ExecutionContext;
  readonly random: Random;
  readonly disk: SimulatedDisk;
  readonly model = new Map<string, string>();
  /** Records that cleanings have moved. */
  moved = 0;
  readonly #options: Partial<StoreOptions>;
  readonly #isEager: boolean;
  #store: Store | null = null;
  #values = 0;

  constructor(t: ExecutionContext, seed: number, isEager: boolean, options: Partial<StoreOptions> = {}) {
    this.t = t;
    this.random = new Random(seed);
    this.disk = new SimulatedDisk({ seed });
    this.#isEager = isEager;
    this.#options = { ...OPTIONS, platform: this.disk, ...options };
  }

  get store(): Store {
    return this.#store as Store;
  }

  get fileBytes(): number {
    return this.disk.bytesOf(PATH).length;
  }

  async open(): Promise<void> {
    const onMoved = (records: number): void => {
      this.moved += records;
    };
    this.#store = await openPlanted('/store', this.#options, { eagerCleaning: this.#isEager, onMoved });
  }

  async reopen(): Promise<void> {
    await this.store.close();
    await this.open();
  }

  /** A value that no other is equal to. */
  value(length: number): string {
    return `${this.#values++}:`.padEnd(length, 'v');
  }

  put(key: string, length: number, durability: 'flushed' | 'written' | 'buffered' = 'buffered'): Promise<void> {
    const value = this.value(length);
    this.model.set(key, value);
    return this.store.put(key, value, { durability });
  }

  del(key: string): Promise<void> {
    this.model.delete(key);
    return this.store.del(key, { durability: 'buffered' });
  }

  async requireSame(what = ''): Promise<void> {
    requireEqual(this.t, await readAll(this.store), this.model, what);
    for (let n = 0; n < 20; n++) {
      const key = [...this.model.keys()][this.random.below(this.model.size)] ?? '';
      const value = (await this.store.get(key))?.toString();
      if (value !== this.model.get(key)) this.t.fail(`${what}: get of ${shorten(key)} gives ${shorten(value)}`);
    }
  }

  /** Values, counts and trees. */
  async requireSound(what = ''): Promise<void> {
    await this.requireSame(what);
    // Waits for the run under way, whose trees are not those of the index.
    await this.store.verifySegments();
    this.store.verifyIndex();
  }
}

/** Draws the number of a key. */
type Draw = (random: Random, keys: number) => number;

const draws: Record<string, Draw> = {
  uniform: (random, keys) => random.below(keys),
  // Some 40 % of all draws are of one key in a hundred.
  zipfian: (random, keys) => Math.floor(keys * random.float() ** 5),
};

for (const [name, draw] of Object.entries(draws)) {
  for (const isEager of [false, true]) {
    test(`${name} overwrites, ${isEager ? 'cleaned at every run' : 'cleaned when it is worth it'}: the space comes back`, async (t) => {
      t.timeout(300_000);
      const keys = isEager ? 300 : 2000;
      const one = new Case(t, SEED, isEager);
      await one.open();
      const keyOf = (n: number): string => `key${String(n).padStart(6, '0')}`;
      for (let n = 0; n < keys; n++) await one.put(keyOf(n), 200 + one.random.below(1000));
      await one.requireSound('loaded');
      const sizes = [one.fileBytes];
      const rounds = 12;
      for (let round = 1; round <= rounds; round++) {
        for (let n = 0; n < keys; n++) {
          const key = keyOf(draw(one.random, keys));
          if (one.random.chance(0.05)) await one.del(key);
          else await one.put(key, 200 + one.random.below(1000));
        }
        await one.requireSound(`round ${round}`);
        if (round % 3 === 0) {
          await one.reopen();
          await one.requireSound(`round ${round}, opened again`);
        }
        sizes.push(one.fileBytes);
      }
      t.log(
        `AIOKV_CLEANER_SEED=${SEED}: ${sizes.map((bytes) => Math.round(bytes / KIB)).join(' ')} KiB, ${one.moved} moved`,
      );
      t.true(one.moved > 0);
      const half = sizes[rounds / 2] as number;
      t.true((sizes.at(-1) as number) <= half + half / 4, 'the file does not grow any more');
      await one.store.close();
    });
  }
}

test('records that fill a frame move like others', async (t) => {
  t.timeout(300_000);
  const one = new Case(t, SEED, false, { segmentBytes: MIB, memoryBytes: 64 * MIB, checkpointBytes: 64 * MIB });
  await one.open();
  // With header and key less than the longest record, and more than a chunk has room for behind a segment's header.
  const length = 255 * KIB;
  const keys = 60;
  for (let n = 0; n < keys; n++) await one.put(`key${n}`, length, 'written');
  for (let round = 0; round < 5; round++) {
    for (let n = 0; n < keys; n++) if (one.random.chance(0.5)) await one.put(`key${n}`, length, 'written');
    await one.store.checkpoint();
    await one.requireSound(`round ${round}`);
  }
  const { fileBytes, liveBytes } = one.store.statistics().space;
  t.log(`${fileBytes} bytes for ${liveBytes}, ${one.moved} moved`);
  t.true(one.moved > 0);
  t.true(fileBytes < 2.5 * liveBytes);
  await one.store.close();
});

test('CLEAN-2: a victim in which records are replaced while it is cleaned comes back with the same run', async (t) => {
  const used: number[] = [];
  for (const isReplaced of [false, true]) {
    const one = new Case(t, SEED + 3, true);
    await one.open();
    for (let n = 0; n < 600; n++) await one.put(`key${n}`, 1000);
    await one.store.checkpoint();
    for (let n = 0; n < 600; n += 2) await one.del(`key${n}`);
    const moved = one.moved;
    const cleaning = one.store.checkpoint();
    await nextTurn();
    // The run has its memtable, and has read no victim yet: one record in each.
    for (let n = 1; n < 600 && isReplaced; n += 30) await one.put(`key${n}`, 10);
    t.is(one.moved, moved);
    await cleaning;
    const { fileBytes, freeBytes, reservedBytes } = one.store.statistics().space;
    used.push((fileBytes - freeBytes - reservedBytes) / SEGMENT_BYTES);
    await one.requireSound();
    await one.store.close();
  }
  const [usual, replaced] = used as [number, number];
  t.log(`${usual} segments, with replaced records ${replaced}`);
  t.true(replaced <= usual + 1);
});

test('a damaged header of a free slot does not keep it from use (SCAN-2)', async (t) => {
  const one = new Case(t, SEED, true);
  await one.open();
  for (let round = 0; round < 4; round++) {
    for (let n = 0; n < 300; n++) await one.put(`key${n}`, 1000, 'written');
    await one.store.checkpoint();
  }
  await one.store.close();
  const bytes = one.disk.bytesOf(PATH).slice();
  const slots = (bytes.length - 256 * KIB) / SEGMENT_BYTES;
  const openWith = async (damaged: number): Promise<string | null> => {
    const disk = new SimulatedDisk({ seed: SEED });
    disk.placeRaw(PATH, bytes);
    if (damaged >= 0) {
      disk.writeRaw(PATH, 256 * KIB + damaged * SEGMENT_BYTES, new Uint8Array(128).fill(0xa5));
    }
    const store = await openPlanted('/store', { ...OPTIONS, platform: disk }, {}).catch(() => null);
    if (store === null) return null;
    const { space } = store.statistics();
    for (const [key, value] of one.model) t.is((await store.get(key))?.toString(), value);
    await store.close();
    return JSON.stringify(space);
  };
  const sound = await openWith(-1);
  let opened = 0;
  for (let slot = 0; slot < slots; slot++) {
    const space = await openWith(slot);
    // The segment in which the log goes on must have its header.
    if (space === null) continue;
    opened++;
    t.is(space, sound as string, `slot ${slot}`);
  }
  t.true(opened > slots / 2, `${opened} of ${slots}`);
});

test('a record that is written at any moment of a cleaning has what was written last', async (t) => {
  t.timeout(300_000);
  const phases = { 'before the move': 0, 'before the commit': 0, after: 0 };
  for (let seed = SEED; seed < SEED + 150; seed++) {
    const one = new Case(t, seed, true);
    const { random } = one;
    await one.open();
    const keys = Array.from({ length: 12 }, (_, n) => (n < 6 ? `key${n}` : `key${n}${'-'.repeat(1200)}`));
    const key = (): string => keys[random.below(keys.length)] as string;
    for (let n = 0; n < 20; n++) await one.put(n < 12 ? (keys[n] as string) : key(), random.below(15_000));
    await one.store.checkpoint();
    const before = one.moved;
    let isDone = false;
    const cleaning = one.store.checkpoint().finally(() => {
      isDone = true;
    });
    const writes: Promise<void>[] = [];
    for (let n = random.below(4); n >= 0; n--) {
      for (let turns = random.below(random.chance(0.5) ? 6 : 40); turns > 0; turns--) await nextTurn();
      phases[isDone ? 'after' : one.moved === before ? 'before the move' : 'before the commit']++;
      const what = random.below(3);
      const chosen = key();
      const sequence = one.store.statistics().sequence;
      if (what === 0) writes.push(one.del(chosen));
      else if (what === 1) writes.push(one.put(chosen, random.below(9000)));
      else writes.push(one.del(chosen), one.put(chosen, random.below(9000)));
      // One that waits for room is not seen yet.
      if (one.store.statistics().sequence < sequence + (what === 2 ? 2 : 1)) continue;
      const expected = one.model.get(chosen);
      const value = (await one.store.get(chosen))?.toString();
      if (value !== expected) t.fail(`seed ${seed}: ${shorten(chosen)} is ${shorten(value)}, not ${shorten(expected)}`);
    }
    await Promise.all([cleaning, ...writes]);
    await one.requireSound(`seed ${seed}, cleaned`);
    await one.store.checkpoint();
    await one.requireSound(`seed ${seed}, cleaned again`);
    await one.reopen();
    await one.requireSound(`seed ${seed}, opened again`);
    await one.store.close();
  }
  t.log(`AIOKV_CLEANER_SEED=${SEED}: ${JSON.stringify(phases)}`);
  for (const count of Object.values(phases)) t.true(count > 10);
});

interface Held {
  readonly iterator: StoreIterator;
  readonly expected: ReadonlyMap<string, string>;
  readonly found: Map<string, string>;
}

async function take(held: Held, most: number): Promise<boolean> {
  for (let n = 0; n < most; n++) {
    const { done, value } = await held.iterator.next();
    if (done === true) return false;
    const [key, bytes] = value;
    held.found.set(key.toString(), bytes.toString());
  }
  return true;
}

for (const isEager of [false, true]) {
  test(`CHECK-8: an iterator reads what was there at its beginning, however long it is held${isEager ? ', cleaned at every run' : ''}`, async (t) => {
    t.timeout(300_000);
    const one = new Case(t, SEED + 7, isEager);
    const { random } = one;
    await one.open();
    const keyOf = (n: number): string => `key${String(n).padStart(6, '0')}`;
    const keys = isEager ? 200 : 1500;
    for (let n = 0; n < keys; n++) await one.put(keyOf(n), 200 + random.below(1000));
    const held: Held[] = [];
    for (let round = 0; round < 24; round++) {
      if (round % 3 === 0) {
        held.push({ iterator: one.store.iterator(), expected: new Map(one.model), found: new Map() });
      }
      // A few entries only: what is read ahead is not asked for again.
      for (const each of held) if (random.chance(0.3)) await take(each, 1 + random.below(10));
      for (let n = 0; n < keys / 2; n++) {
        const key = keyOf(random.below(keys));
        if (random.chance(0.1)) await one.del(key);
        else await one.put(key, 200 + random.below(1000));
      }
      if (random.chance(0.3)) await one.store.checkpoint();
      if (held.length < 4) continue;
      const ended = held.splice(random.below(held.length), 1)[0] as Held;
      if (random.chance(0.2)) await ended.iterator.return();
      else {
        while (await take(ended, 100));
        requireEqual(t, ended.found, ended.expected, `an iterator that was held until round ${round}`);
      }
    }
    for (const each of held) {
      while (await take(each, 100));
      requireEqual(t, each.found, each.expected, 'an iterator that was held to the end');
    }
    await one.requireSound();
    t.true(one.moved > 0);
    // What they kept has come back.
    await one.store.checkpoint();
    await one.put('a', 10);
    await one.store.checkpoint();
    const before = one.fileBytes;
    for (let n = 0; n < 4 * keys; n++) await one.put(keyOf(random.below(keys)), 200 + random.below(1000));
    await one.requireSound();
    t.is(one.fileBytes, before);
    await one.store.close();
  });
}

for (const isEager of [false, true]) {
  test(`values in fragments, empty keys and long ones${isEager ? ', cleaned at every run' : ''}`, async (t) => {
    t.timeout(300_000);
    const one = new Case(t, SEED + 9, isEager);
    const { random } = one;
    await one.open();
    const keys = [
      '',
      'a',
      'k'.repeat(4096),
      `${'k'.repeat(4095)}l`,
      ...Array.from({ length: 40 }, (_, n) => `key${n}`),
    ];
    const length = (): number =>
      random.chance(0.15) ? 56_000 + random.below(150_000) : random.chance(0.1) ? 0 : random.below(20_000);
    for (let round = 0; round < 10; round++) {
      for (let n = 0; n < 60; n++) {
        const key = keys[random.below(keys.length)] as string;
        if (random.chance(0.1)) await one.del(key);
        else await one.put(key, length());
      }
      if (random.chance(0.5)) await one.store.checkpoint();
      await one.requireSound(`round ${round}`);
      if (round % 4 === 3) {
        await one.reopen();
        await one.requireSound(`round ${round}, opened again`);
      }
    }
    t.true(one.moved > 0, `${one.moved} moved`);
    await one.store.close();
  });
}

/** Half of a set of records is overwritten again and again, so that each segment of the others becomes a victim. */
async function overwriteHalf(one: Case, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let n = 1; n < 300; n += 2) await one.put(`key${n}`, 500 + one.random.below(500));
    await one.store.checkpoint();
  }
}

/** @returns where each copy of the record of `victim` is: cleanings may have left old ones behind */
async function withVictim(t: ExecutionContext): Promise<{ one: Case; victim: string; places: number[] }> {
  const one = new Case(t, SEED + 11, true);
  await one.open();
  for (let n = 0; n < 300; n++) await one.put(`key${n}`, 500 + one.random.below(500));
  await one.store.checkpoint();
  const victim = 'key30';
  const bytes = Buffer.from(one.disk.bytesOf(PATH));
  const record = `${victim}${one.model.get(victim)}`;
  const places: number[] = [];
  for (let at = bytes.indexOf(record); at >= 0; at = bytes.indexOf(record, at + 1)) places.push(at);
  return { one, victim, places };
}

async function requireAllBut(one: Case, victim: string, code: string): Promise<void> {
  for (const [key, value] of one.model) {
    if (key === victim) continue;
    const found = (await one.store.get(key))?.toString();
    if (found !== value) one.t.fail(`${key} is ${shorten(found)}`);
  }
  await one.t.throwsAsync(one.store.get(victim), { code });
}

test('CLEAN-4: a damaged record stays where it is, and gives its error', async (t) => {
  const { one, victim, places } = await withVictim(t);
  for (const at of places) one.disk.writeRaw(PATH, at + 20, Buffer.from('w'));
  await overwriteHalf(one, 6);
  await requireAllBut(one, victim, 'ERR_AIOKV_CORRUPT');
  await one.store.verifySegments();
  await one.reopen();
  await overwriteHalf(one, 3);
  await requireAllBut(one, victim, 'ERR_AIOKV_CORRUPT');
  t.true(one.moved > 0);
  for (const at of places) one.disk.writeRaw(PATH, at + 20, Buffer.from('v'));
  await one.requireSound('it is the same place still');
  await one.store.close();
});

test('a segment in the slot of an earlier victim is cleaned, though no write was between', async (t) => {
  const one = new Case(t, SEED + 14, true);
  await one.open();
  for (let n = 0; n < 300; n++) await one.put(`key${n}`, 1000);
  await one.store.checkpoint();
  // What lies in the last segment of the log does not move.
  await one.reopen();
  const moved: number[] = [];
  for (let run = 0; run < 8; run++) {
    one.moved = 0;
    await one.store.checkpoint();
    moved.push(one.moved);
  }
  t.log(moved.join(' '));
  const [first = 0] = moved;
  t.true(first > 100);
  t.deepEqual(moved, new Array<number>(8).fill(first));
  await one.requireSound();
  await one.store.close();
});

test('CLEAN-5: a victim that cannot be read stays, and nothing in it is lost', async (t) => {
  const { one, victim, places } = await withVictim(t);
  const heal = one.disk.inject({
    at: ({ kind, offset, lengthBytes }) =>
      kind === 'read' && places.some((at) => offset <= at && at < offset + lengthBytes),
    kind: 'EIO',
    sticky: true,
  });
  await overwriteHalf(one, 6);
  await t.throwsAsync(one.store.get(victim), { code: 'ERR_AIOKV_IO' });
  await one.store.verifySegments();
  heal();
  await one.requireSound();
  await one.reopen();
  await overwriteHalf(one, 3);
  await one.requireSound();
  t.true(one.moved > 0);
  await one.store.close();
});

for (const isEager of [false, true]) {
  test(`a device without room for survivors loses nothing${isEager ? ', cleaned at every run' : ''}`, async (t) => {
    t.timeout(300_000);
    for (let seed = SEED; seed < SEED + 4; seed++) {
      const one = new Case(t, seed, isEager, { checkpointBytes: 128 * KIB });
      const { random } = one;
      const limitBytes = 2 * MIB + SEGMENT_BYTES * random.below(8);
      one.disk.inject({
        at: ({ kind, offset, lengthBytes }) => kind === 'preallocate' && offset + lengthBytes > limitBytes,
        kind: 'ENOSPC',
        sticky: true,
      });
      await one.open();
      const tally = { put: 0, refused: 0 };
      const keys = 500 + random.below(1000);
      /** Puts that are refused change nothing. */
      const write = async (count: number): Promise<void> => {
        for (let n = 0; n < count; n++) {
          const key = `key${random.below(keys)}`;
          const value = one.value(200 + random.below(3000));
          try {
            await one.store.put(key, value, { durability: n % 8 === 0 ? 'flushed' : 'written' });
            one.model.set(key, value);
            tally.put++;
          } catch (error) {
            t.is((error as { code?: string }).code, 'ERR_AIOKV_NO_SPACE');
            tally.refused++;
          }
        }
      };
      await write(2000);
      await one.requireSame(`seed ${seed}, full`);
      const half = [...one.model.keys()].filter((_, n) => n % 2 === 0);
      for (const key of half) await one.del(key);
      await one.store.checkpoint().catch((error: { code?: string }) => {
        t.is(error.code, 'ERR_AIOKV_NO_SPACE');
      });
      await one.requireSame(`seed ${seed}, half deleted`);
      const before = tally.put;
      await write(300);
      await one.requireSame(`seed ${seed}, written again`);
      await one.reopen();
      await one.requireSound(`seed ${seed}, opened again`);
      t.log(
        `seed ${seed}: ${JSON.stringify(tally)}, ${tally.put - before} of 300 after the deletions, ${one.moved} moved`,
      );
      t.true(tally.put > before, 'deletions make room');
      await one.store.close();
    }
  });
}

for (const isEager of [false, true]) {
  test(`after everything was deleted, nearly all segments are free${isEager ? ', cleaned at every run' : ''}`, async (t) => {
    t.timeout(300_000);
    const one = new Case(t, SEED + 13, isEager);
    const { random } = one;
    await one.open();
    const usedSegments = (): number => {
      const { fileBytes, freeBytes, reservedBytes } = one.store.statistics().space;
      return (fileBytes - freeBytes - reservedBytes) / SEGMENT_BYTES;
    };
    const write = async (): Promise<void> => {
      for (let n = 0; n < 2000; n++) {
        await one.put(`key${n}`, n % 100 === 0 ? 56_000 + random.below(50_000) : random.below(2000));
      }
    };
    for (let round = 0; round < 3; round++) {
      await write();
      await one.store.checkpoint();
      await one.requireSound(`round ${round}, full`);
      const full = usedSegments();
      for (const key of one.model.keys()) await one.del(key);
      await one.store.checkpoint();
      await one.requireSound(`round ${round}, empty`);
      t.log(`${full} segments, then ${usedSegments()}`);
      t.true(full > 30 && usedSegments() <= 4);
      if (round === 1) await one.reopen();
      t.true(usedSegments() <= 4);
    }
    await one.store.close();
  });
}
