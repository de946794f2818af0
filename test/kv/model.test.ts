/**
 * The store against a sorted map, over the simulated disk, with reopenings among the commands, and cleanings behind them.
 * AIOKV_MODEL_RUNS says how many runs, AIOKV_MODEL_SEED which; fast-check prints the shrunk commands of a failure.
 */
import test from 'ava';
import fc from 'fast-check';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { BatchOperation, Durability, KeyRange, RangeOptions, Snapshot, Store, StoreIterator } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { seedOf } from '../helpers/seed.ts';

const RUNS = Number(process.env['AIOKV_MODEL_RUNS'] ?? 2000);
const SEED = seedOf('AIOKV_MODEL_SEED');
/** The long keys take more leaves than there is memory for. */
const GEOMETRY = { segmentBytes: 64 * 1024, writeBufferBytes: 1024 * 1024, queueDepth: 8, memoryBytes: 32 * 1024 };

const key = fc.oneof(
  fc.constantFrom('', 'a', 'b', 'ab', 'abc', 'b\0', 'user1', 'user10', 'user2'),
  fc.string({ maxLength: 6, unit: 'binary' }),
  fc.integer({ min: 0, max: 9 }).map((n) => `long${n}${'-'.repeat(1500)}`),
);
const value = fc.oneof(
  { weight: 30, arbitrary: fc.string({ maxLength: 40 }) },
  { weight: 30, arbitrary: fc.integer({ min: 1, max: 9000 }).map((n) => 'v'.repeat(n)) },
  // In fragments, or just not.
  { weight: 1, arbitrary: fc.integer({ min: 61_000, max: 150_000 }).map((n) => 'w'.repeat(n)) },
);
const durability = fc.constantFrom('flushed', 'written', 'buffered');
const bounds = fc.record({ gte: key, gt: key, lt: key, lte: key }, { requiredKeys: [] }).map(withoutDoubles);
const operation = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('put' as const), key, value }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('put' as const), key, value, ttlMs: fc.integer({ min: 1, max: 120 }) }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('del' as const), key }) },
  { weight: 1, arbitrary: bounds.map((within) => ({ type: 'deleteRange' as const, ...within })) },
) as fc.Arbitrary<BatchOperation>;
const range = fc
  .record(
    { gte: key, gt: key, lt: key, lte: key, reverse: fc.boolean(), limit: fc.integer({ min: 0, max: 5 }) },
    { requiredKeys: [] },
  )
  .map(withoutDoubles);

function withoutDoubles<T extends { gt?: string; gte?: string; lt?: string; lte?: string }>(options: T): T {
  if (options.gt !== undefined) delete options.gte;
  if (options.lt !== undefined) delete options.lte;
  return options;
}
type Command =
  | {
      readonly name: 'batch';
      readonly operations: BatchOperation[];
      readonly durability: 'flushed' | 'written' | 'buffered';
      readonly wait: boolean;
    }
  | { readonly name: 'get' | 'getSync'; readonly key: string }
  | { readonly name: 'getMany'; readonly keys: string[] }
  | { readonly name: 'range'; readonly options: Partial<RangeOptions>; readonly meanwhile: BatchOperation[] }
  /** Begins an iterator, which 'release' and 'reopen' read to its end. */
  | { readonly name: 'hold'; readonly options: Partial<RangeOptions> }
  | { readonly name: 'deleteRange'; readonly bounds: Partial<KeyRange>; readonly durability: Durability }
  /** Reads in all snapshots. */
  | { readonly name: 'look'; readonly keys: string[]; readonly options: Partial<RangeOptions> }
  /** Asks the store about a range and a key. */
  | { readonly name: 'ask'; readonly bounds: Partial<KeyRange>; readonly key: string }
  /** Walks, and is sent to each of these keys behind some entries. */
  | {
      readonly name: 'walk';
      readonly options: Partial<RangeOptions>;
      readonly legs: readonly { readonly key: string; readonly entries: number }[];
    }
  /** The calendar jumps, also back. */
  | { readonly name: 'jump'; readonly byMs: number }
  | { readonly name: 'clear' | 'flush' | 'checkpoint' | 'reopen' | 'release' | 'snapshot' };
const command = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      name: fc.constant('batch' as const),
      operations: fc.array(operation, { minLength: 1, maxLength: 4 }),
      durability,
      wait: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ name: fc.constantFrom('get' as const, 'getSync' as const), key }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('getMany' as const), keys: fc.array(key, { maxLength: 5 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      name: fc.constant('range' as const),
      options: range,
      meanwhile: fc.array(operation, { maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('hold' as const), options: range }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('deleteRange' as const), bounds, durability }) },
  {
    weight: 1,
    arbitrary: fc.record({
      name: fc.constant('look' as const),
      keys: fc.array(key, { minLength: 1, maxLength: 4 }),
      options: range,
    }),
  },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('ask' as const), bounds, key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      name: fc.constant('walk' as const),
      options: range,
      legs: fc.array(fc.record({ key, entries: fc.integer({ min: 0, max: 4 }) }), { maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('snapshot' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ name: fc.constant('jump' as const), byMs: fc.integer({ min: -100, max: 250 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      name: fc.constantFrom('flush', 'checkpoint', 'checkpoint', 'reopen', 'reopen', 'release', 'clear'),
    }),
  },
) as fc.Arbitrary<Command>;

/** What time it is, for the store and for the map. A map of a moment has a calendar that stands still. */
class Calendar {
  #ms = 100_000;
  /** The time that counts: it never goes back (EXPIRY-1). */
  #latestMs = 0;
  /** Whether something may expire. Until then no time counts (EXPIRY-3). */
  isUsed = false;

  readonly read = (): number => this.#ms;

  get nowMs(): number {
    if (!this.isUsed) return this.#ms;
    this.#latestMs = Math.max(this.#latestMs, this.#ms);
    return this.#latestMs;
  }

  jump(byMs: number): void {
    this.#ms += byMs;
  }
}

interface Kept {
  readonly value: string;
  readonly expiresAt: number;
}

/** A map of values that may expire. */
class Model {
  readonly #kept: Map<string, Kept>;
  readonly #now: () => number;

  constructor(now: () => number, kept = new Map<string, Kept>()) {
    this.#kept = kept;
    this.#now = now;
  }

  set(name: string, content: string, ttlMs?: number): void {
    const expiresAt = ttlMs === undefined ? Infinity : this.#now() + ttlMs;
    if (ttlMs !== undefined) expiring++;
    this.#kept.set(name, { value: content, expiresAt });
  }

  get(name: string): string | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    if (kept.expiresAt > this.#now()) return kept.value;
    over++;
    return undefined;
  }

  expires(name: string): boolean {
    return this.#kept.get(name)?.expiresAt !== Infinity;
  }

  delete(name: string): void {
    this.#kept.delete(name);
  }

  clear(): void {
    this.#kept.clear();
  }

  /** What there is now, for ever. */
  moment(): Model {
    const nowMs = this.#now();
    return new Model(() => nowMs, new Map(this.#kept));
  }

  /** Keys in the store's order: by their UTF-8 bytes. */
  sorted(): [string, string][] {
    const names = [...this.#kept.keys()].filter((name) => this.get(name) !== undefined);
    const entries = names.map((name): [string, string] => [name, this.get(name) as string]);
    return entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }
}

function expectedRange(model: Model, options: Partial<RangeOptions>): [string, string][] {
  const order = (a: string, b: unknown): number => Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  const within = model
    .sorted()
    .filter(
      ([k]) =>
        (options.gt === undefined || order(k, options.gt) > 0) &&
        (options.gte === undefined || order(k, options.gte) >= 0) &&
        (options.lt === undefined || order(k, options.lt) < 0) &&
        (options.lte === undefined || order(k, options.lte) <= 0),
    );
  if (options.reverse === true) within.reverse();
  return within.slice(0, options.limit ?? within.length);
}

/** Bytes of the records in a range; null where one is in fragments, whose size is not told exactly, or expires. */
function expectedSize(model: Model, entries: readonly [string, string][]): number | null {
  let bytes = 0;
  for (const [name, content] of entries) {
    const [keyBytes, valueBytes] = [Buffer.byteLength(name), Buffer.byteLength(content)];
    if (valueBytes > 50_000 || model.expires(name)) return null;
    bytes += valueBytes <= 24 ? keyBytes + valueBytes : (24 + keyBytes + valueBytes + 7) & ~7;
  }
  return bytes;
}

/** Asks a store or a snapshot all that can be asked about a range. */
async function ask(reads: Store | Snapshot, model: Model, within: Partial<KeyRange>, key: string): Promise<void> {
  const text = (entry: [Buffer, Buffer] | undefined): unknown => entry?.map(String) ?? null;
  const { gt, gte, lt, lte } = within;
  const below = gt === undefined ? { gte } : { gt };
  const above = lt === undefined ? { lte } : { lt };
  const entries = expectedRange(model, within);
  const upTo = expectedRange(model, { ...below, lte: key });
  const from = expectedRange(model, { ...above, gte: key });
  const size = expectedSize(model, entries);
  const [first, last, floor, ceiling, count, bytes] = await Promise.all([
    reads.first(within),
    reads.last(within),
    reads.floor(key, below),
    reads.ceiling(key, above),
    reads.count(within),
    reads.approximateSize(within),
  ]);
  same(
    [first, last, floor, ceiling].map(text),
    [entries[0], entries.at(-1), upTo.at(-1), from[0]].map((one) => one ?? null),
  );
  same(count, entries.length);
  same(size === null ? null : bytes, size);
}

/** What a walk must give that is sent to other keys meanwhile. */
function expectedWalk(
  model: Model,
  { limit = Infinity, ...options }: Partial<RangeOptions>,
  legs: readonly { readonly key: string; readonly entries: number }[],
): [string, string][] {
  const rows = expectedRange(model, options);
  const given: [string, string][] = [];
  for (const { key: target, entries } of legs) {
    const bytes = Buffer.from(target);
    const sign = options.reverse === true ? -1 : 1;
    const at = rows.findIndex(([name]) => sign * Buffer.compare(Buffer.from(name), bytes) >= 0);
    if (at >= 0) given.push(...rows.slice(at, at + Math.min(entries, limit - given.length)));
  }
  return given;
}

async function walkLegs(
  iterator: StoreIterator,
  legs: readonly { readonly key: string; readonly entries: number }[],
): Promise<[string, string][]> {
  const given: [string, string][] = [];
  for (const { key: target, entries } of legs) {
    iterator.seek(target);
    const answers = await Promise.all(Array.from({ length: entries }, () => iterator.next()));
    for (const { done, value: row } of answers) if (done !== true) given.push([row[0].toString(), row[1].toString()]);
  }
  await iterator.return();
  return given;
}

function apply(model: Model, operations: readonly BatchOperation[]): void {
  for (const one of operations) {
    if (one.type === 'put') model.set(one.key as string, one.value as string, one.ttlMs);
    else if (one.type === 'del') model.delete(one.key as string);
    else for (const [name] of expectedRange(model, one)) model.delete(name);
  }
}

/** A write of one record that has to wait for room is not seen at once: it is waited for. */
async function unlessSeen(store: Store, done: Promise<void>, before: number): Promise<void> {
  if (store.statistics().sequence === before) await done;
}

/**
 * Calls `batch`. One that has to wait for room, or takes more than one step, is not seen by reads that are called in the
 * same turn: it is waited for.
 *
 * @returns the call, if it was admitted at once
 */
async function write(
  store: Store,
  operations: readonly BatchOperation[],
  durability: Durability,
): Promise<{ done: Promise<void> } | null> {
  const before = store.statistics().sequence;
  const done = store.batch(operations, { durability });
  if (operations.length === 0 || store.statistics().sequence > before) return { done };
  await done;
  return null;
}

function same(actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(
      `got ${JSON.stringify(actual)?.slice(0, 300)}, expected ${JSON.stringify(expected)?.slice(0, 300)}`,
    );
  }
}

/** What keeps a moment of the store, and what was there. */
interface Held {
  readonly iterators: { readonly iterator: StoreIterator; readonly expected: readonly [string, string][] }[];
  readonly snapshots: { readonly snapshot: Snapshot; readonly model: Model }[];
}

async function release({ iterators, snapshots }: Held): Promise<void> {
  for (const { iterator, expected } of iterators.splice(0)) same(await entriesOf(iterator), expected);
  await lookAt(snapshots, [], {});
  for (const { snapshot } of snapshots.splice(0)) snapshot.release();
}

/** Reads in all snapshots at once. Those that had to end for want of memory go. */
async function lookAt(
  snapshots: Held['snapshots'],
  keys: readonly string[],
  options: Partial<RangeOptions>,
): Promise<void> {
  const all = snapshots.splice(0).map(async (one) => {
    const { snapshot, model } = one;
    try {
      const range = entriesOf(snapshot.iterator(options));
      const values = snapshot.getMany(keys);
      const { gt, gte, lt, lte } = options;
      const asked = ask(snapshot, model, { gt, gte, lt, lte }, keys[0] ?? '');
      asked.catch(() => undefined);
      const reads = Promise.all(
        keys.map(async (name) => {
          const [got, versioned] = await Promise.all([snapshot.get(name), snapshot.getVersioned(name)]);
          return [got, versioned?.value].map((found) => found?.toString() ?? null);
        }),
      );
      const existing = Promise.all(keys.map((name) => snapshot.has(name)));
      const expected = keys.map((name) => model.get(name) ?? null);
      same(
        keys.map((name) => snapshot.getSync(name)?.toString() ?? null),
        expected,
      );
      same(
        await reads,
        expected.map((found) => [found, found]),
      );
      same(
        await existing,
        expected.map((found) => found !== null),
      );
      same(
        (await values).map((found) => found?.toString() ?? null),
        expected,
      );
      same(await range, expectedRange(model, options));
      await asked;
      looks++;
      snapshots.push(one);
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_AIOKV_SNAPSHOT_ENDED') throw error;
      ended++;
    }
  });
  await Promise.all(all);
}

/** Writes over some segments, most of which is replaced at once: what cleanings find. */
async function fillSegments(store: Store, model: Model, random: Random): Promise<void> {
  for (let n = 0; n < 24; n++) {
    const [name, content] = [`long${random.below(10)}`, `${n}:`.padEnd(random.below(9000), 'p')];
    model.set(name, content);
    await store.put(name, content, { durability: 'buffered' });
  }
  await store.checkpoint();
}

async function runCommands(seed: number, commands: readonly Command[]): Promise<void> {
  const disk = new SimulatedDisk({ seed });
  const calendar = new Calendar();
  const model = new Model(() => calendar.nowMs);
  const random = new Random(seed);
  const eagerCleaning = random.chance(0.8);
  const oldPages = random.chance(0.5) ? { oldPages: 'eager' as const } : {};
  const eagerOrder = random.chance(0.5);
  const planted = { eagerCleaning, eagerOrder, onMoved: noteMoved, onOrdered: noteOrdered, ...oldPages };
  const reopen = (): Promise<Store> =>
    openPlanted('/store', { ...GEOMETRY, platform: disk, calendarMs: calendar.read }, planted);
  let store = await reopen();
  if (random.chance(0.5)) await fillSegments(store, model, random);
  const held: Held = { iterators: [], snapshots: [] };
  const pending: Promise<void>[] = [];
  for (const one of commands) {
    switch (one.name) {
      case 'batch': {
        calendar.isUsed ||= one.operations.some((operation) => 'ttlMs' in operation);
        apply(model, one.operations);
        const written = await write(store, one.operations, one.durability);
        if (one.wait) await written?.done;
        else if (written !== null) pending.push(written.done);
        break;
      }
      case 'get':
        same((await store.get(one.key))?.toString(), model.get(one.key));
        break;
      case 'getSync':
        same(store.getSync(one.key)?.toString(), model.get(one.key));
        break;
      case 'getMany':
        same(
          (await store.getMany(one.keys)).map((got) => got?.toString() ?? null),
          one.keys.map((k) => model.get(k) ?? null),
        );
        break;
      case 'range': {
        const iterator = store.iterator(one.options);
        const expected = expectedRange(model, one.options);
        calendar.isUsed ||= one.meanwhile.some((operation) => 'ttlMs' in operation);
        apply(model, one.meanwhile);
        const written = await write(store, one.meanwhile, 'buffered');
        if (written !== null) pending.push(written.done);
        same(await entriesOf(iterator), expected);
        break;
      }
      case 'ask':
        await ask(store, model, one.bounds, one.key);
        break;
      case 'walk': {
        const iterator = store.iterator({ ...one.options, stayOpen: true });
        const expected = expectedWalk(model, one.options, one.legs);
        same(await walkLegs(iterator, one.legs), expected);
        break;
      }
      case 'deleteRange': {
        const { sequence } = store.statistics();
        apply(model, [{ type: 'deleteRange', ...one.bounds }]);
        const done = store.deleteRange(one.bounds, { durability: one.durability });
        await unlessSeen(store, done, sequence);
        pending.push(done);
        break;
      }
      case 'clear': {
        const { sequence } = store.statistics();
        model.clear();
        const done = store.clear();
        await unlessSeen(store, done, sequence);
        pending.push(done);
        break;
      }
      case 'hold':
        held.iterators.push({ iterator: store.iterator(one.options), expected: expectedRange(model, one.options) });
        break;
      case 'snapshot':
        held.snapshots.push({ snapshot: store.snapshot(), model: model.moment() });
        break;
      case 'look':
        await lookAt(held.snapshots, one.keys, one.options);
        break;
      case 'jump':
        // The store and the map have both seen how late it was.
        await store.getVersioned('');
        same(calendar.nowMs >= calendar.read() || !calendar.isUsed, true);
        calendar.jump(one.byMs);
        break;
      case 'release':
        await release(held);
        break;
      case 'flush':
        await store.flush();
        break;
      case 'checkpoint':
        // One that has not begun when the store is closed does not begin any more.
        pending.push(
          store.checkpoint().catch((error: { code?: string }) => {
            if (error.code !== 'ERR_AIOKV_CLOSED') throw error;
          }),
        );
        break;
      case 'reopen':
        await release(held);
        await store.close();
        store = await reopen();
        break;
    }
  }
  await Promise.all(pending);
  await release(held);
  same(expectedRange(model, {}), await entriesOf(store.iterator()));
  await store.verifySegments();
  store.verifyIndex();
  await store.close();
}

async function entriesOf(iterator: StoreIterator): Promise<[string, string][]> {
  const entries: [string, string][] = [];
  for await (const [k, v] of iterator) entries.push([k.toString(), v.toString()]);
  return entries;
}

/** Records that cleanings have moved. */
let moved = 0;
function noteMoved(records: number): void {
  moved += records;
}

/** Records that were moved because a scan had met them. */
let ordered = 0;
function noteOrdered(records: number): void {
  ordered += records;
}

/** Values that were put for a time, and looks at those that were over. */
let expiring = 0;
let over = 0;

/** Snapshots that were read in, and those that had ended for want of memory. */
let looks = 0;
let ended = 0;

test('the store behaves like a sorted map', async (t) => {
  t.timeout(540_000);
  t.log(`${RUNS} runs, AIOKV_MODEL_SEED=${SEED}`);
  const property = fc.asyncProperty(fc.nat(), fc.array(command, { minLength: 1, maxLength: 25 }), runCommands);
  await t.notThrowsAsync(fc.assert(property, { numRuns: RUNS, seed: SEED, includeErrorInReport: true }));
  t.log(`cleanings have moved ${moved} records, and scans have had ${ordered} moved`);
  t.log(`snapshots were read in ${looks} times, ${ended} had ended`);
  t.log(`${expiring} values were put for a time, ${over} looks at some that were over`);
  t.true(over >= RUNS / 10);
  t.true(looks >= RUNS / 4);
  t.true(ended < looks / 4);
  t.true(moved >= RUNS / 10);
  t.true(ordered >= RUNS / 10);
});
