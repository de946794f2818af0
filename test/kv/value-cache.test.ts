/**
 * The cache of values: against a plain map, in little memory; and behind a store whose reads and writes overlap. AIOKV_CACHE_SEED
 * says where the random runs begin.
 */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { KIB, MIB, Random } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store, StoreOptions } from '@aiokv/kv';
import { ValueTable, NOWHERE } from '../../packages/kv/src/cache/value-table.ts';
import { ExpiryClock } from '../../packages/kv/src/file/expiry-clock.ts';
import { ValueCache } from '../../packages/kv/src/cache/value-cache.ts';
import type { Planted } from '../../packages/kv/src/failure/planted.ts';
import { RecordKind, encodeRecord, paddedRecordBytes } from '../../packages/kv/src/format/record.ts';
import type { Block } from '../../packages/kv/src/format/words.ts';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { NodeMemory } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_CACHE_SEED');
const UNIT_BYTES = 512;

interface Newest {
  readonly value: Buffer;
  readonly sequence: Sequence;
}

/** A cache and what it may say of each key. */
class Bench {
  readonly memory = new NodeMemory({ nodeBytes: UNIT_BYTES });
  nowMs = 1;
  readonly expiry = new ExpiryClock(() => this.nowMs, false, 0);
  readonly cache: ValueCache;
  readonly newest = new Map<string, Newest>();
  sequence = 0 as Sequence;
  /** How much other nodes take. */
  readonly others: number[] = [];

  constructor(limitBytes: number, shareBytes: number, planted: Planted = {}) {
    const expiry = this.expiry;
    this.cache = new ValueCache({ memory: this.memory, limitBytes, shareBytes, expiry, planted });
  }

  next(): Sequence {
    return ++this.sequence as Sequence;
  }

  put(name: string, value: Buffer): void {
    const key = Buffer.from(name);
    const sequence = this.next();
    this.newest.set(name, { value, sequence });
    this.cache.put(key, key.length, value, sequence);
  }

  /** A record as it was read, of a write that may be old. */
  fill(name: string, { value, sequence }: Newest, seenAt: Sequence): void {
    this.cache.fill(recordOf(name, value, sequence), 0, seenAt);
  }

  /** The cached value, and checks that it is the newest. */
  check(t: ExecutionContext, name: string): boolean {
    const key = Buffer.from(name);
    if (!this.cache.find(key, key.length)) return false;
    const newest = this.newest.get(name);
    if (newest === undefined) t.fail(`${name} was deleted and is cached`);
    else if (this.cache.version !== newest.sequence || !this.cache.copy().equals(newest.value)) {
      t.fail(`${name} is cached as ${this.cache.version}, the newest is ${newest.sequence}`);
    }
    return true;
  }
}

function recordOf(name: string, value: Buffer, sequence: Sequence): Block {
  const key = Buffer.from(name);
  const bytes = new Uint8Array(paddedRecordBytes(key.length, value.length));
  const block = { bytes, view: new DataView(bytes.buffer) };
  encodeRecord(block, 0, RecordKind.put, 0, sequence, key, key.length, value);
  return block;
}

function valueOf(random: Random, most: number): Buffer {
  return Buffer.alloc(25 + random.below(most), random.below(256));
}

/** One random step against the map. Returns whether a key was found. */
function step(t: ExecutionContext, bench: Bench, random: Random, held: [string, Newest, Sequence][]): boolean {
  const name = `key${random.below(random.chance(0.5) ? 20 : 400)}`;
  const { newest, cache } = bench;
  const dice = random.below(100);
  if (dice < 40) return bench.check(t, name);
  const known = newest.get(name);
  if (dice < 60) {
    if (known === undefined) return false;
    if (random.chance(0.6)) bench.fill(name, known, bench.sequence);
    else held.push([name, known, bench.sequence]);
  } else if (dice < 70) {
    // A read ends, in any order.
    const [read] = held.splice(random.below(held.length + 1), 1);
    if (read !== undefined) bench.fill(...read);
  } else if (dice < 88) bench.put(name, random.chance(0.5) && known ? Buffer.from(known.value) : valueOf(random, 700));
  else if (dice < 93) {
    const key = Buffer.from(name);
    newest.delete(name);
    cache.remove(key, key.length, bench.next());
  } else if (dice < 95) {
    const number = random.below(400);
    const [from, to] = [`key${number}`, `key${number + 3}`].sort() as [string, string];
    const isAll = random.chance(0.03);
    for (const other of newest.keys()) if (isAll || (other >= from && other < to)) newest.delete(other);
    const bounds = [Buffer.from(isAll ? '' : from), Buffer.from(to)] as const;
    cache.deleteRange(bounds[0], isAll ? null : bounds[1], bench.next());
    for (const bound of bounds) bound.fill(0);
  } else if (dice < 99) {
    // Nodes come and go.
    if (bench.others.length > 20) for (const id of bench.others.splice(0)) bench.memory.free(id);
    bench.others.push(bench.memory.allocate(1 + random.below(3)));
    cache.giveBack(random.below(4) * UNIT_BYTES);
  } else if (random.chance(0.2)) cache.giveUp(random.below(20) * UNIT_BYTES);
  return false;
}

test('CACHE-1: what is found is the newest value, whatever is filled in late', (t) => {
  let hits = 0;
  for (let run = 0; run < 100; run++) {
    const random = new Random(SEED + run);
    const bench = new Bench((8 + random.below(60)) * UNIT_BYTES, random.below(20) * UNIT_BYTES + 1);
    const held: [string, Newest, Sequence][] = [];
    for (let i = 0; i < 3000; i++) if (step(t, bench, random, held)) hits++;
    for (const id of bench.others.splice(0)) bench.memory.free(id);
    t.is(bench.memory.bytesUsed, bench.cache.unitBytes, 'CACHE-3: its units are all that is in use');
    bench.cache.giveUp(MIB);
    t.is(bench.memory.bytesUsed, 0);
    t.is(bench.cache.statistics.values, 0);
  }
  t.true(hits > 5000, `${hits} hits`);
});

test('a read from before the first look brings nothing that was written meanwhile', (t) => {
  const bench = new Bench(64 * KIB, 64 * KIB);
  bench.put('key', Buffer.alloc(100, 1));
  const [old, seenAt] = [bench.newest.get('key') as Newest, bench.sequence];
  bench.put('key', Buffer.alloc(100, 2));
  t.false(bench.check(t, 'key'));
  bench.fill('key', old, seenAt);
  t.false(bench.check(t, 'key'));
  bench.fill('key', bench.newest.get('key') as Newest, bench.sequence);
  t.true(bench.check(t, 'key'));
});

test('planted: a fill that is not checked is found', (t) => {
  const isFound = (planted: Planted): boolean => {
    const bench = new Bench(40 * UNIT_BYTES, 20 * UNIT_BYTES, planted);
    bench.cache.find(Buffer.from('a'), 1);
    bench.put('a', Buffer.alloc(30, 1));
    const old = [bench.newest.get('a') as Newest, bench.sequence] as const;
    bench.put('a', Buffer.alloc(30, 2));
    bench.fill('a', ...old);
    return bench.cache.find(Buffer.from('a'), 1);
  };
  t.false(isFound({}));
  t.true(isFound({ uncheckedFills: true }));
});

test('CACHE-3: the cache takes what nodes leave, its share in any case, and gives back the rest', (t) => {
  const bench = new Bench(100 * UNIT_BYTES, 30 * UNIT_BYTES);
  const { cache, memory } = bench;
  const fillMany = (from: number, count: number): void => {
    for (let n = from; n < from + count; n++) {
      const name = `key${n}`;
      cache.find(Buffer.from(name), name.length);
      bench.put(name, Buffer.alloc(100));
      bench.fill(name, bench.newest.get(name) as Newest, bench.sequence);
    }
  };
  fillMany(0, 1000);
  const most = cache.unitBytes + cache.besideBytes;
  t.true(most <= 100 * UNIT_BYTES && most > 97 * UNIT_BYTES, `${most}`);
  cache.giveBack(10 * UNIT_BYTES);
  t.is(cache.unitBytes + cache.besideBytes, most - 10 * UNIT_BYTES);
  cache.giveBack(MIB);
  t.is(cache.unitBytes, 30 * UNIT_BYTES, 'its share');
  const id = memory.allocate(90);
  fillMany(1000, 1000);
  t.is(cache.unitBytes, 30 * UNIT_BYTES, 'no more than its share while nodes have the rest');
  t.true(bench.check(t, 'key1999'));
  memory.free(id);
  fillMany(2000, 1000);
  t.true(cache.unitBytes > 60 * UNIT_BYTES, 'nodes have left it');
  cache.giveUp(MIB);
  t.is(cache.unitBytes, 0);
});

test('what is asked for again stays when many others are asked for once', (t) => {
  const bench = new Bench(200 * UNIT_BYTES, 100 * UNIT_BYTES);
  const ask = (name: string): boolean => {
    if (bench.check(t, name)) return true;
    const newest = bench.newest.get(name) ?? { value: Buffer.alloc(100), sequence: 1 as Sequence };
    bench.newest.set(name, newest);
    bench.fill(name, newest, 1 as Sequence);
    return false;
  };
  let hits = 0;
  for (let n = 0; n < 20_000; n++) {
    ask(`once${n}`);
    if (ask(`often${n % 200}`)) hits++;
  }
  t.true(hits > 0.9 * 20_000, `${hits} of 20000`);
});

test('VTABLE-2: records with one hash are told apart, and too many of them are not taken', (t) => {
  const addressesIn = (table: ValueTable, hash: number): number[] => {
    const found: number[] = [];
    for (let at = table.first(hash); at !== NOWHERE; at = table.next()) found.push(at);
    return found.sort((a, b) => a - b);
  };
  const few = new ValueTable(new NodeMemory({ nodeBytes: UNIT_BYTES }));
  let taken = 0;
  while (taken < 1000 && few.add(-5, taken)) taken++;
  t.true(taken >= 3 && taken <= 64, `${taken}`);
  t.deepEqual(addressesIn(few, -5), [...Array.from({ length: taken }).keys()]);
  // Others, in the slots behind them too.
  const many = new ValueTable(new NodeMemory({ nodeBytes: UNIT_BYTES }));
  const random = new Random(SEED);
  const hashes = Array.from({ length: 5000 }, (_, i) => (i < 30 ? -5 : i < 50 ? i - 34 : random.below(2 ** 32) | 0));
  const added = [...hashes.entries()].filter(([address, hash]) => many.add(hash, address));
  t.true(added.length > 4900, `${added.length}`);
  const left = added.filter(([address]) => address % 2 === 1);
  for (const [address, hash] of added) if (address % 2 === 0) many.remove(hash, address);
  t.is(many.size, left.length);
  t.true(left.every(([address, hash]) => addressesIn(many, hash).includes(address)));
});

test('VTABLE-1: the table takes units of the memory as it grows, and gives them back', (t) => {
  const memory = new NodeMemory({ nodeBytes: UNIT_BYTES });
  const table = new ValueTable(memory);
  const random = new Random(SEED);
  const expected = new Map<number, number>();
  const addressesIn = (hash: number): number[] => {
    const found: number[] = [];
    for (let at = table.first(hash); at !== NOWHERE; at = table.next()) found.push(at);
    return found;
  };
  const checkAll = (): void => {
    t.is(table.size, expected.size);
    t.is(memory.bytesUsed, table.units * UNIT_BYTES);
    for (const [address, hash] of expected) if (!addressesIn(hash).includes(address)) t.fail(`${address} is lost`);
  };
  let address = 0;
  for (const size of [20_000, 500, 8000, 0, 3000, 0]) {
    while (expected.size < size) {
      // Some share their hash with another.
      const hash = (random.below(4) === 0 ? random.below(2000) * 0x9e3779b1 : random.below(2 ** 32)) | 0;
      if (table.add(hash, address)) expected.set(address, hash);
      address++;
    }
    const names = [...expected.keys()];
    while (expected.size > size) {
      const at = random.below(names.length);
      const name = names[at] as number;
      names[at] = names[names.length - 1] as number;
      names.length--;
      table.remove(expected.get(name) as number, name);
      expected.delete(name);
    }
    checkAll();
    const slots = (table.units * UNIT_BYTES) / 8;
    t.true(slots <= 10 * size, `${slots} slots for ${size}`);
    t.true(table.directoryBytes < 300_000 && (size > 0 || table.directoryBytes === 0), `${table.directoryBytes}`);
  }
  t.true(address < 20_000 + 8000 + 3000 + 500, `${address} tried`);
});

test('VTABLE-2: keys that were made to collide cost neither memory nor an error', (t) => {
  const memory = new NodeMemory({ nodeBytes: 4 * KIB });
  const table = new ValueTable(memory);
  const added: (readonly [number, number])[] = [];
  // One slot of each bucket, whichever it is; then one hash.
  for (let n = 0; n < 4000; n++) {
    const hash = (n < 3000 ? n << 9 : 77) | 0;
    if (table.add(hash, n)) added.push([hash, n]);
  }
  t.true(added.length >= 64 && memory.bytesUsed < MIB, `${added.length} of ${memory.bytesUsed} bytes`);
  for (const [hash, address] of added) table.remove(hash, address);
  t.is(table.size, 0);
  t.is(memory.bytesUsed, 0);
});

test('CACHE-3: what leads to values is part of the memory of the nodes', (t) => {
  const bench = new Bench(4000 * UNIT_BYTES, 1000 * UNIT_BYTES);
  const { cache, memory } = bench;
  for (let n = 0; n < 60_000; n++) {
    const name = `key${n}`;
    cache.find(Buffer.from(name), name.length);
    bench.fill(name, { value: Buffer.alloc(20), sequence: 1 as Sequence }, 1 as Sequence);
  }
  t.true(cache.statistics.values > 20_000);
  t.is(memory.bytesUsed, cache.unitBytes);
  t.true(cache.besideBytes < cache.unitBytes / 8, `${cache.besideBytes} beside ${cache.unitBytes}`);
  t.true(cache.unitBytes + cache.besideBytes <= 4001 * UNIT_BYTES);
});

const TINY: Partial<StoreOptions> = {
  segmentBytes: 64 * KIB,
  writeBufferBytes: MIB,
  queueDepth: 8,
  memoryBytes: 48 * KIB,
};

/** Reads and writes that overlap. Each read must give what was there when it was called. Returns what was wrong, or null. */
async function overlap(seed: number, planted: Planted, steps: number): Promise<{ wrong: string | null; hits: number }> {
  const disk = new SimulatedDisk({ seed });
  const random = new Random(seed);
  const store = await openPlanted('/store', { ...TINY, platform: disk }, planted);
  const model = new Map<string, string>();
  let wrong: string | null = null;
  const pending = new Set<Promise<void>>();
  const same = (what: string, got: string | undefined, expected: string | undefined): void => {
    if (got !== expected) wrong ??= `seed ${seed}: ${what} gave ${got?.slice(0, 20)}, not ${expected?.slice(0, 20)}`;
  };
  const track = (done: Promise<void>): void => {
    pending.add(done);
    const forget = (): void => void pending.delete(done);
    void done.then(forget);
  };
  const nameOf = (): string => `key${random.below(random.chance(0.7) ? 12 : 60)}`;
  const content = (n: number): string => `${n}:`.padEnd(30 + random.below(random.chance(0.9) ? 300 : 3000), 'v');
  for (let n = 0; n < steps && wrong === null; n++) {
    const name = nameOf();
    const dice = random.below(100);
    if (dice < 40) {
      const expected = model.get(name);
      track(store.get(name).then((got) => same(`get ${name} at ${n}`, got?.toString(), expected)));
    } else if (dice < 50) same(`getSync ${name} at ${n}`, store.getSync(name)?.toString(), model.get(name));
    else if (dice < 55) {
      const names = Array.from({ length: random.chance(0.1) ? 2100 : 5 }, nameOf);
      const expected = names.map((one) => model.get(one));
      track(
        store.getMany(names).then((got) => {
          got.forEach((one, i) => same(`getMany ${names[i]} at ${n}`, one?.toString(), expected[i]));
        }),
      );
    } else if (dice < 58) {
      const { value, version } = (await store.getVersioned(name)) ?? {};
      same(`getVersioned ${name} at ${n}`, value?.toString(), model.get(name));
      const next = content(n);
      const condition = version === undefined ? { ifAbsent: true } : { ifVersion: version };
      await store.put(name, next, { ...condition, durability: 'buffered' });
      model.set(name, next);
    } else if (dice < 88) await write(store, model, random, nameOf, content(n), dice);
    else if (dice < 90)
      await longBatch(
        store,
        model,
        random,
        nameOf,
        (one, got, expected) => same(`${one} in a batch at ${n}`, got, expected),
        track,
      );
    else if (dice < 91) await store.checkpoint();
    else if (dice < 92 && random.chance(0.3)) await Promise.all(pending);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(pending);
  const { hits } = store.statistics().cache;
  for (const [name, value] of model) same(`${name} at the end`, store.getSync(name)?.toString(), value);
  await store.close();
  return { wrong, hits };
}

/** A put, a deletion, a short batch or a range, which is seen at once or waited for. */
async function write(
  store: Store,
  model: Map<string, string>,
  random: Random,
  nameOf: () => string,
  value: string,
  dice: number,
): Promise<void> {
  const name = nameOf();
  const before = store.statistics().sequence;
  const durability = random.chance(0.9) ? 'buffered' : 'flushed';
  let done: Promise<void>;
  if (dice < 75) {
    model.set(name, value);
    done = store.put(name, value, { durability });
  } else if (dice < 80) {
    model.delete(name);
    done = store.del(name, { durability });
  } else if (dice < 85) {
    const other = nameOf();
    model.set(name, value);
    model.delete(other);
    const operations: BatchOperation[] = [
      { type: 'put', key: name, value },
      { type: 'del', key: other },
    ];
    done = store.batch(operations, { durability });
  } else {
    const [gte, lt] = [name, nameOf()].sort() as [string, string];
    const isAll = random.chance(0.1);
    for (const other of model.keys()) if (isAll || (other >= gte && other < lt)) model.delete(other);
    done = isAll ? store.clear({ durability }) : store.deleteRange({ gte, lt }, { durability });
  }
  if (store.statistics().sequence === before) await done;
  else done.catch(() => undefined);
}

/** A batch that is admitted in slices: reads see the state before it, and then all of it. */
async function longBatch(
  store: Store,
  model: Map<string, string>,
  random: Random,
  nameOf: () => string,
  same: (name: string, got: string | undefined, expected: string | undefined) => void,
  track: (done: Promise<void>) => void,
): Promise<void> {
  const before = store.statistics().sequence;
  const after = new Map(model);
  const operations: BatchOperation[] = [];
  const count = random.chance(0.5) ? 1100 : 300;
  for (let i = 0; i < count; i++) {
    const [key, value] = [i < 30 ? nameOf() : `other${i}`, `${before}/${i}`.padEnd(40, 'b')];
    if (i === 20) {
      operations.push({ type: 'deleteRange', gte: 'key3', lt: 'key5' });
      for (const other of after.keys()) if (other >= 'key3' && other < 'key5') after.delete(other);
    } else if (i % 7 === 3) {
      operations.push({ type: 'del', key });
      after.delete(key);
    } else {
      operations.push({ type: 'put', key, value });
      after.set(key, value);
    }
  }
  let isOver = false;
  const done = store.batch(operations, { durability: 'buffered' }).then(() => {
    isOver = true;
  });
  for (let turns = 0; !isOver; turns++) {
    for (let i = 0; i < 3; i++) {
      const name = nameOf();
      const expected = (store.statistics().sequence === before ? model : after).get(name);
      if (random.chance(0.5)) same(name, store.getSync(name)?.toString(), expected);
      else track(store.get(name).then((got) => same(name, got?.toString(), expected)));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await done;
  for (const [name, value] of after) model.set(name, value);
  for (const name of model.keys()) if (!after.has(name)) model.delete(name);
}

test('reads give what was there when they were called, while writes of all kinds overlap them', async (t) => {
  let hits = 0;
  for (let run = 0; run < 30; run++) {
    const result = await overlap(SEED + run, {}, 400);
    t.is(result.wrong, null);
    hits += result.hits;
  }
  t.true(hits > 1000, `${hits} hits`);
});

test('planted: a store that does not check its fills is found', async (t) => {
  const found: string[] = [];
  for (let run = 0; run < 60 && found.length === 0; run++) {
    const { wrong } = await overlap(SEED + run, { uncheckedFills: true }, 400);
    if (wrong !== null) found.push(wrong);
  }
  t.true(found.length > 0, 'no run found it');
});

test('VIEW-1: a view stays as it is until the turn is over, and takes the memory of one from before', async (t) => {
  const platform = new SimulatedDisk({ seed: SEED });
  const store = await open('/store', { platform, memoryBytes: 16 * MIB, segmentBytes: 256 * KIB });
  const names = Array.from({ length: 100 }, (_, n) => `key${n}`);
  const contentOf = (name: string): string => `${name}:`.repeat(200);
  for (const name of [...names, 'long']) {
    await store.put(name, name === 'long' ? 'x'.repeat(100_000) : contentOf(name), { durability: 'buffered' });
    store.getSync(name);
  }
  await new Promise((resolve) => setImmediate(resolve));
  const views = names.map((name) => store.getView(name) as Buffer);
  t.is(store.statistics().cache.hits, 100);
  t.is(store.getView('long')?.length, 100_000);
  const second = store.getView('key7');
  void store.put('key7', contentOf('key8'), { durability: 'buffered' });
  await Promise.resolve();
  t.deepEqual(
    views.map((view) => view.toString()),
    names.map(contentOf),
  );
  t.is(second?.toString(), contentOf('key7'));
  t.is(store.getView('key7')?.toString(), contentOf('key8'), 'the put is seen');
  t.is(store.getView('none'), undefined);
  const { buffer } = views[0] as Buffer<ArrayBuffer>;
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.is(store.getView('key1')?.buffer, buffer, 'the same memory');
  structuredClone(buffer, { transfer: [buffer] });
  t.is(store.getView('key2')?.toString(), contentOf('key2'), 'although a caller has transferred it away');
  for (let n = 0; n < 3000; n++) store.getView(`key${n % 100}`);
  t.true(store.statistics().memory.readBufferBytes < 2 * MIB, 'however many a turn takes');
  await store.close();
  t.throws(() => store.getView('key1'), { code: 'ERR_AIOKV_CLOSED' });
});

test('CACHE-1: a getMany of any length is answered from the cache, as of its call', async (t) => {
  const store = await open('/store', { platform: new SimulatedDisk({ seed: SEED }), segmentBytes: 64 * KIB });
  const names = Array.from({ length: 4000 }, (_, n) => `key${String(n).padStart(5, '0')}`);
  const valueOf = (name: string): string => name.repeat(12);
  for (const name of names) await store.put(name, valueOf(name), { durability: 'buffered' });
  await store.checkpoint();
  await store.getMany(names);
  const before = store.statistics();
  const answers = store.getMany(names);
  // What is written behind the call, in its own step and while it goes on, does not concern it: it is read from the device.
  const last = names.length - 1;
  const newer = Buffer.alloc(100, 'n');
  void store.put(names[last] as string, newer, { durability: 'buffered' });
  void store.del(names[last - 1] as string, { durability: 'buffered' });
  void store.deleteRange({ gte: names[3000], lt: names[3010] }, { durability: 'buffered' });
  await new Promise((resolve) => setImmediate(resolve));
  void store.put(names[last - 2] as string, newer, { durability: 'buffered' });
  t.deepEqual(
    (await answers).map((value) => value?.toString()),
    names.map(valueOf),
  );
  const { cache, queue } = store.statistics();
  t.true(cache.hits - before.cache.hits >= 3980, `${cache.hits - before.cache.hits} hits`);
  t.true(queue.completed - before.queue.completed < 13 + 5, 'reads, and writes of the log');
  t.is((await store.getMany(names)).filter((value) => value === undefined).length, 11);
  await store.close();
});
