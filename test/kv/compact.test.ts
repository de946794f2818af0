/**
 * `compact`, from outside: what was written is read, in the order of keys on the device, and nothing else takes space. On
 * the simulated disk. The files behind it are in packages/kv/src/clean: compaction.ts, key-order-mover.ts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { CompactProgress, Store, StoreOptions } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';
import { requireSound } from './sound.ts';

const SEED = seedOf('AIOKV_COMPACT_SEED');
const PATH = '/store/data.aiokv';
const SEGMENT_BYTES = 64 * KIB;
const OPTIONS = {
  segmentBytes: SEGMENT_BYTES,
  writeBufferBytes: MIB,
  queueDepth: 8,
  memoryBytes: 2 * MIB,
  spaceAmplificationMax: 10,
};

class Case {
  readonly disk = new SimulatedDisk({ seed: SEED });
  readonly random = new Random(SEED);
  readonly model = new Map<string, string>();
  readonly #t: ExecutionContext;
  readonly #options: Partial<StoreOptions>;
  #store: Store | null = null;
  #values = 0;

  constructor(t: ExecutionContext, options: Partial<StoreOptions> = {}) {
    this.#t = t;
    this.#options = { ...OPTIONS, platform: this.disk, ...options };
  }

  get store(): Store {
    return this.#store as Store;
  }

  get fileBytes(): number {
    return this.disk.bytesOf(PATH).length;
  }

  /** Bytes of keys and values. */
  get liveBytes(): number {
    return [...this.model].reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  }

  async open(): Promise<void> {
    this.#store = await open('/store', this.#options);
  }

  async reopen(): Promise<void> {
    await this.store.close();
    await this.open();
  }

  put(key: string, length: number): Promise<void> {
    const value = `${this.#values++}:`.padEnd(length, 'v');
    this.model.set(key, value);
    return this.store.put(key, value, { durability: 'buffered' });
  }

  del(key: string): Promise<void> {
    this.model.delete(key);
    return this.store.del(key, { durability: 'buffered' });
  }

  requireSound(what: string): Promise<void> {
    return requireSound(this.#t, this.store, this.model, what);
  }

  keyOf(n: number): string {
    return `key${String(n).padStart(6, '0')}`;
  }

  /** Writes a set in random order, and half of it again. */
  async load(keys: number, length = (): number => 200 + this.random.below(1000)): Promise<void> {
    const order = this.random.shuffle(Array.from({ length: keys }, (_, n) => n));
    for (const n of order) await this.put(this.keyOf(n), length());
    for (let n = 0; n < keys; n++) await this.put(this.keyOf(this.random.below(keys)), length());
    for (let n = 0; n < keys / 10; n++) await this.del(this.keyOf(this.random.below(keys)));
    await this.store.checkpoint();
  }
}

/** Bytes that are written to the disk during some work. */
async function writtenBytes(disk: SimulatedDisk, work: () => Promise<void>): Promise<number> {
  let bytes = 0;
  const at = ({ kind, lengthBytes }: { kind: string; lengthBytes: number }): boolean => {
    if (kind === 'write') bytes += lengthBytes;
    return false;
  };
  const remove = disk.inject({ at, kind: 'EIO', sticky: true });
  await work();
  remove();
  return bytes;
}

test('everything is in the order of keys, in as little space as it takes, and the file is cut off', async (t) => {
  t.timeout(120_000);
  const one = new Case(t);
  await one.open();
  await one.load(6000);
  const before = one.fileBytes;
  const told: CompactProgress[] = [];
  const spent = await writtenBytes(one.disk, () => one.store.compact({ onProgress: (at) => told.push(at) }));
  await one.requireSound('compacted');
  const { fileBytes, freeBytes, reservedBytes } = one.store.statistics().space;
  t.log(`${before} bytes, ${fileBytes} after it, for ${one.liveBytes}`);
  t.true(fileBytes < 1.25 * one.liveBytes);
  t.is(freeBytes + reservedBytes, 0);
  t.true(spent > 2 * one.liveBytes);
  for (const [i, { doneBytes, totalBytes }] of told.entries()) {
    t.true(doneBytes <= totalBytes && doneBytes >= (told[i - 1]?.doneBytes ?? 0));
  }
  t.is(told.at(-1)?.doneBytes, told.at(-1)?.totalBytes as number);
  // What is in order is not moved again.
  const again = await writtenBytes(one.disk, () => one.store.compact());
  t.log(`${spent} bytes written, ${again} by another compaction`);
  t.true(again < one.liveBytes / 2);
  // The segment into which the log goes on was in the way.
  await one.put('key', 10);
  await one.store.compact();
  t.true(one.fileBytes < 1.5 * one.liveBytes, `${one.fileBytes} bytes of file`);
  await one.reopen();
  await one.requireSound('opened again');
  await one.load(1000);
  await one.requireSound('written to again');
  await one.store.close();
});

test('MAINT-5: a log that was at the end of the file leaves it with the next write', async (t) => {
  const one = new Case(t);
  await one.open();
  for (let n = 0; n < 4000; n++) await one.put(one.keyOf(n), 600);
  await one.store.checkpoint();
  for (let n = 0; n < 4000; n += 2) await one.del(one.keyOf(n));
  await one.store.compact();
  const before = one.fileBytes;
  await one.put('key', 10);
  await one.store.checkpoint();
  t.log(`${before} bytes, ${one.fileBytes} after a put, for ${one.liveBytes}`);
  t.true(before > 2 * one.liveBytes, 'the log is at the end of the file');
  t.true(one.fileBytes < 1.7 * one.liveBytes);
  await one.requireSound('cut off');
  await one.store.close();
});

test('a step grows the file by a part of it, whatever the order of the records was', async (t) => {
  t.timeout(120_000);
  for (const isSorted of [false, true]) {
    const one = new Case(t, { spaceAmplificationMax: 1.5 });
    await one.open();
    const order = Array.from({ length: 8000 }, (_, n) => n);
    for (const n of isSorted ? order : one.random.shuffle(order)) await one.put(one.keyOf(n), 500);
    await one.store.checkpoint();
    const before = one.fileBytes;
    let most = 0;
    await one.store.compact({
      onProgress: () => {
        most = Math.max(most, one.store.statistics().space.fileBytes);
      },
    });
    t.log(`${before} bytes, at most ${most}`);
    t.true(most < 1.4 * before);
    await one.requireSound(`sorted: ${isSorted}`);
    await one.store.close();
  }
});

test('writers, readers and iterators go on meanwhile', async (t) => {
  t.timeout(300_000);
  for (const memoryBytes of [256 * KIB, 4 * MIB]) {
    const one = new Case(t, { memoryBytes, spaceAmplificationMax: 1.5, checkpointBytes: 512 * KIB });
    const { random } = one;
    await one.open();
    await one.load(2500);
    const held = one.store.iterator();
    const expected = new Map(one.model);
    let isDone = false;
    const compacted = one.store.compact().finally(() => {
      isDone = true;
    });
    let writes = 0;
    for (; !isDone || writes < 200; writes++) {
      const key = one.keyOf(random.below(3000));
      if (random.chance(0.2)) await one.del(key);
      else await one.put(key, random.below(2000));
      if (writes % 16 > 0) continue;
      const asked = one.keyOf(random.below(3000));
      t.is((await one.store.get(asked))?.toString(), one.model.get(asked));
    }
    await compacted;
    t.log(`${writes} writes`);
    const found = new Map<string, string>();
    for await (const [key, value] of held) found.set(key.toString(), value.toString());
    t.is(found.size, expected.size);
    const areEqual = [...expected].every(([key, value]) => found.get(key) === value);
    t.true(areEqual, 'an iterator sees what was there at its beginning');
    await one.requireSound('compacted');
    await one.reopen();
    await one.requireSound('opened again');
    await one.store.close();
  }
});

test('values in fragments, empty ones, and long keys', async (t) => {
  t.timeout(120_000);
  const one = new Case(t, { memoryBytes: 256 * KIB });
  const { random } = one;
  await one.open();
  const keys = ['', 'k'.repeat(4096), `${'k'.repeat(4095)}l`, ...Array.from({ length: 300 }, (_, n) => one.keyOf(n))];
  for (let n = 0; n < 900; n++) {
    const key = keys[random.below(keys.length)] as string;
    const length = random.chance(0.1) ? 56_000 + random.below(100_000) : random.chance(0.2) ? 0 : random.below(8000);
    await one.put(key, length);
  }
  for (let round = 0; round < 2; round++) {
    await one.store.compact();
    await one.requireSound(`round ${round}`);
    await one.reopen();
    await one.requireSound(`round ${round}, opened again`);
  }
  await one.store.close();
});

test('an empty store, and one of a few records', async (t) => {
  const one = new Case(t);
  await one.open();
  await one.store.compact();
  await one.put('a', 10);
  await one.store.compact();
  await one.store.compact();
  await one.requireSound('of one record');
  await one.del('a');
  await one.store.compact();
  await one.requireSound('of none');
  await one.reopen();
  await one.requireSound('opened again');
  await one.store.close();
});

test('its options are checked, and there is one at a time', async (t) => {
  const one = new Case(t);
  await one.open();
  await one.load(500);
  const invalid = { code: 'ERR_AIOKV_INVALID_OPTION' };
  await t.throwsAsync(one.store.compact({ signal: 1 as never }), invalid);
  await t.throwsAsync(one.store.compact({ onProgress: 1 as never }), invalid);
  await t.throwsAsync(one.store.compact({ sginal: null } as never), invalid);
  const aborted = AbortSignal.abort(new Error('too late'));
  const error = await t.throwsAsync(one.store.compact({ signal: aborted }), { code: 'ERR_AIOKV_ABORTED' });
  t.is((error.cause as Error).message, 'too late');
  const first = one.store.compact();
  await t.throwsAsync(one.store.compact(), { code: 'ERR_AIOKV_COMPACTING' });
  await first;
  const onProgress = (): void => {
    throw new Error('enough');
  };
  await t.throwsAsync(one.store.compact({ onProgress }), { message: 'enough' });
  await one.store.compact();
  await one.requireSound('compacted');
  await one.store.close();
  await t.throwsAsync(one.store.compact(), { code: 'ERR_AIOKV_CLOSED' });
});

test('aborted at any moment, it leaves a good store', async (t) => {
  t.timeout(300_000);
  const one = new Case(t, { memoryBytes: 256 * KIB });
  await one.open();
  let aborted = 0;
  for (let round = 0; round < 25; round++) {
    await one.load(300);
    const controller = new AbortController();
    const compacted = one.store.compact({ signal: controller.signal });
    const outcome = compacted.catch((error: { code?: string }) => error.code);
    for (let turns = one.random.below(120); turns > 0; turns--) await nextTurn();
    controller.abort();
    if ((await outcome) === 'ERR_AIOKV_ABORTED') aborted++;
    else await compacted;
    await one.requireSound(`round ${round}`);
  }
  t.log(`${aborted} of 25 were aborted`);
  t.true(aborted > 5);
  await one.store.compact();
  await one.requireSound('compacted');
  await one.reopen();
  await one.requireSound('opened again');
  await one.store.close();
});

test('closed at any moment of it, a store is good', async (t) => {
  t.timeout(300_000);
  const one = new Case(t, { memoryBytes: 256 * KIB });
  await one.open();
  const codes = new Map<string, number>();
  for (let round = 0; round < 25; round++) {
    await one.load(300);
    const outcome = one.store.compact().then(
      () => 'done',
      (error: { code?: string }) => error.code ?? 'no code',
    );
    for (let turns = one.random.below(120); turns > 0; turns--) await nextTurn();
    await one.store.close();
    const code = await outcome;
    codes.set(code, (codes.get(code) ?? 0) + 1);
    await one.open();
    await one.requireSound(`round ${round}`);
  }
  t.log([...codes]);
  t.true([...codes.keys()].every((code) => code === 'done' || code === 'ERR_AIOKV_CLOSED'));
  t.true((codes.get('ERR_AIOKV_CLOSED') ?? 0) > 5);
  await one.store.close();
});

test('a full device: what has no room stays where it is', async (t) => {
  t.timeout(300_000);
  const outcomes: string[] = [];
  for (let parts = 1; parts <= 8; parts++) {
    const one = new Case(t);
    await one.open();
    await one.load(2000);
    // Blocks that were given back cannot be had again.
    const limitBytes = (one.fileBytes * parts) / 6;
    const heal = one.disk.inject({
      at: ({ kind, offset, lengthBytes }) => kind === 'preallocate' && offset + lengthBytes > limitBytes,
      kind: 'ENOSPC',
      sticky: true,
    });
    const outcome = await one.store.compact().then(
      () => 'done',
      (error: { code?: string }) => error.code ?? 'no code',
    );
    outcomes.push(outcome);
    t.true(outcome === 'done' || outcome === 'ERR_AIOKV_NO_SPACE', outcome);
    await one.requireSound(`${parts} sixths`);
    heal();
    await one.del(one.keyOf(1));
    await one.store.compact();
    await one.requireSound('with room again');
    await one.store.close();
  }
  t.log(outcomes);
});

test('a device that is full of live data: what finds no room stays where it is', async (t) => {
  t.timeout(300_000);
  const outcomes: string[] = [];
  for (let seed = 0; seed < 4; seed++) {
    const one = new Case(t);
    await one.open();
    const limitBytes = 3 * MIB + seed * 2 * MIB;
    const heal = one.disk.inject({
      at: ({ kind, offset, lengthBytes }) => kind === 'preallocate' && offset + lengthBytes > limitBytes,
      kind: 'ENOSPC',
      sticky: true,
    });
    for (let refused = 0; refused < 3;) {
      const key = one.keyOf(one.random.below(100_000));
      const before = one.model.get(key);
      const isIn = await one.put(key, 900).then(
        () => true,
        () => false,
      );
      if (isIn) continue;
      refused++;
      if (before === undefined) one.model.delete(key);
      else one.model.set(key, before);
    }
    const compact = (): Promise<string> =>
      one.store.compact().then(
        () => 'done',
        (error: { code?: string }) => error.code ?? 'no code',
      );
    outcomes.push(await compact());
    await one.requireSound('full');
    // As far as the reserve goes.
    for (const key of [...one.model.keys()].filter((_, n) => n % 2 === 0)) {
      const isIn = await one.store.del(key, { durability: 'buffered' }).then(
        () => true,
        () => false,
      );
      if (isIn) one.model.delete(key);
    }
    outcomes.push(await compact());
    await one.requireSound('half of it deleted');
    heal();
    t.is(await compact(), 'done');
    for (let n = 0; n < 300; n++) await one.put(one.keyOf(n), 900);
    await one.requireSound('written to again');
    await one.store.close();
  }
  t.log(outcomes);
  t.true(outcomes.every((outcome) => outcome === 'done' || outcome === 'ERR_AIOKV_NO_SPACE'));
});

test('a device that cannot cut files off keeps the length', async (t) => {
  const one = new Case(t);
  await one.open();
  await one.load(1500);
  const before = one.fileBytes;
  const heal = one.disk.inject({ at: ({ kind }) => kind === 'truncate', kind: 'EIO', sticky: true });
  await one.store.compact();
  t.true(one.fileBytes >= before);
  await one.requireSound('not cut off');
  heal();
  await one.store.compact();
  await one.load(1500);
  await one.requireSound('written to again');
  await one.reopen();
  await one.requireSound('opened again');
  await one.store.close();
});

test('CLEAN-4: a damaged record stays where it is, and gives its error', async (t) => {
  const one = new Case(t);
  await one.open();
  await one.load(1500);
  const [victim] = one.model.keys();
  const record = `${victim}${one.model.get(victim as string)}`;
  const bytes = Buffer.from(one.disk.bytesOf(PATH));
  for (let at = bytes.indexOf(record); at >= 0; at = bytes.indexOf(record, at + 1)) {
    one.disk.writeRaw(PATH, at + record.length - 1, Buffer.from('w'));
  }
  await one.store.compact();
  await t.throwsAsync(one.store.get(victim as string), { code: 'ERR_AIOKV_CORRUPT' });
  for (const [key, value] of one.model) if (key !== victim) t.is((await one.store.get(key))?.toString(), value);
  await one.store.verifySegments();
  await one.store.close();
});
