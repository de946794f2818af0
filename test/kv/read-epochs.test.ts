/**
 * Read epochs: alone against a model, and in a store, where `readsEnded` must not settle before the last request of any
 * read that was called before. EPOCH-1 to EPOCH-4 are those of packages/kv/src/file/read-epochs.ts.
 */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { ReadEpochs } from '../../packages/kv/src/file/read-epochs.ts';
import { seedOf } from '../helpers/seed.ts';
import { outcomes, turns } from './settling.ts';
import { version } from './version.ts';

interface Call {
  /** Reads that entered before it and have not left. */
  readonly awaited: Set<number>;
  isSettled: boolean;
}

test('EPOCH-2: random reads and calls, against sets of reads', async (t) => {
  const seed = seedOf('AIOKV_EPOCHS_SEED');
  const random = new Random(seed);
  let wrong = -1;
  for (let run = 0; run < 200 && wrong < 0; run++) {
    const epochs = new ReadEpochs();
    const calls: Call[] = [];
    const under = new Map<number, number>();
    const mostReads = 1 + random.below(20);
    for (let step = 0; step < 300 && wrong < 0; step++) {
      const choice = random.below(10);
      if (choice < 2) {
        const call: Call = { awaited: new Set(under.keys()), isSettled: false };
        calls.push(call);
        void epochs.olderEnded().then(() => (call.isSettled = true));
      } else if (choice < 6 && under.size < mostReads) under.set(step, epochs.enter());
      else if (under.size > 0) {
        const [read, epoch] = [...under][random.below(under.size)] as [number, number];
        under.delete(read);
        epochs.leave(epoch);
        for (const { awaited } of calls) awaited.delete(read);
      }
      await Promise.resolve();
      wrong = calls.findIndex(({ awaited, isSettled }) => isSettled !== (awaited.size === 0));
    }
  }
  t.is(wrong, -1, `AIOKV_EPOCHS_SEED=${seed}`);
});

test('EPOCH-1: to leave twice, or an epoch that is over or never was, breaks an invariant', async (t) => {
  const epochs = new ReadEpochs();
  const epoch = epochs.enter();
  epochs.leave(epoch);
  const broken = { code: 'ERR_AIOKV_INTERNAL', message: /EPOCH-1/ };
  t.throws(() => epochs.leave(epoch), broken);
  await epochs.olderEnded();
  t.throws(() => epochs.leave(epoch), broken);
  t.throws(() => epochs.leave(epochs.current + 1), broken);
});

test('EPOCH-3: each call begins an epoch, also when nobody reads', async (t) => {
  const epochs = new ReadEpochs();
  const before = epochs.current;
  await Promise.all([epochs.olderEnded(), epochs.olderEnded()]);
  t.is(epochs.current, before + 2);
});

const MANY = 4000;
const LONG_BYTES = 1_000_000;
/** Of 4000 keys most leaves are on the device only. */
const COLD = { memoryBytes: 32 * 1024 };
const ONE_AT_A_TIME = { queueDepth: 1 };

function keyOf(number: number): string {
  return `key ${String(number).padStart(6, '0')}`;
}

function some(count: number, step = 1): string[] {
  return Array.from({ length: count }, (_, i) => keyOf(i * step));
}

interface Place {
  readonly disk: SimulatedDisk;
  readonly store: Store;
}

const GEOMETRY = { segmentBytes: 256 * 1024, queueDepth: 16 };

const filled = (async () => {
  const disk = new SimulatedDisk({ seed: 5 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  await store.batch(some(MANY).map((key) => ({ type: 'put' as const, key, value: `${key}, not tiny: a record` })));
  await store.put('long', 'x'.repeat(LONG_BYTES));
  await store.put('long too', 'y'.repeat(LONG_BYTES));
  await store.checkpoint();
  await store.close();
  return disk;
})();

/** A store of its own, whose records are on the device only. */
async function prepare(options: Partial<StoreOptions>): Promise<Place> {
  const disk = (await filled).powerCut('all', new Random(7));
  return { disk, store: await open('/store', { ...GEOMETRY, platform: disk, ...options }) };
}

/** A way to read: what is called, with which options, and how many requests it leads to at least. */
type Way = readonly [
  name: string,
  call: (store: Store) => Promise<unknown>,
  leastReads: number,
  options: Partial<StoreOptions>,
];

const ways: readonly Way[] = [
  ['get', (store) => store.get(keyOf(7)), 1, {}],
  ['get, its leaf first', (store) => store.get(keyOf(2500)), 2, COLD],
  ['get of nothing, but its leaf', (store) => store.get(`${keyOf(2500)}?`), 1, COLD],
  ['get of a long value', (store) => store.get('long'), 5, {}],
  ['20 gets, one at a time', (store) => Promise.all(some(20).map((key) => store.get(key))), 20, ONE_AT_A_TIME],
  [
    '20 gets and their leaves, one at a time',
    (store) => Promise.all(some(20, 150).map((key) => store.get(key))),
    30,
    { ...COLD, ...ONE_AT_A_TIME },
  ],
  [
    'long values, one fragment at a time',
    (store) => Promise.all([store.get('long'), store.get(keyOf(3)), store.get('long too')]),
    11,
    ONE_AT_A_TIME,
  ],
  ['getVersioned', (store) => store.getVersioned(keyOf(7)), 1, {}],
  ['getVersioned, its leaf first', (store) => store.getVersioned(keyOf(2500)), 2, COLD],
  ['getMany', (store) => store.getMany(some(20, 150)), 20, {}],
  [
    'getMany of neighbours (NEAR-1)',
    (store) => store.getMany([...some(100), ...some(100).map((key) => `${key}0`)]),
    1,
    {},
  ],
  ['getMany, leaves first', (store) => store.getMany([...some(300, 13), 'long']), 280, COLD],
  ['conditional put', (store) => store.put(keyOf(7), 'new', { ifVersion: version(8) }), 1, {}],
  ['conditional put, its leaf first', (store) => store.put(keyOf(2500), 'new', { ifVersion: version(2501) }), 2, COLD],
  ['put if absent, its leaf first', (store) => store.put(keyOf(2500), 'new', { ifAbsent: true }), 1, COLD],
];

/** What happens meanwhile. The fault of a device begins at one of the reads, and stays. */
interface Trouble {
  readonly failsFrom?: number;
  readonly closes?: boolean;
}

const troubles: Record<string, Trouble> = {
  'that ends well': {},
  'whose first request fails': { failsFrom: 0 },
  'whose second request fails': { failsFrom: 1 },
  'whose fourth request fails': { failsFrom: 3 },
  'of a store that is closed': { closes: true },
  'of a store that is closed, and fails': { failsFrom: 1, closes: true },
};

class Reads {
  begun = 0;
  ended = 0;

  /** Counts all requests for reads from now on. */
  constructor(disk: SimulatedDisk) {
    disk.onOperation = (_, phase, { kind }) => {
      if (kind !== 'read') return;
      if (phase === 'submitted') this.begun++;
      else this.ended++;
    };
  }
}

interface Run {
  /** Outcomes of the call and of `readsEnded`. */
  readonly outcomes: readonly string[];
  /** Requests for reads that had ended when `readsEnded` settled, or, if it was not asked, at the end. */
  readonly ended: number;
}

async function run([, call, , options]: Way, { failsFrom, closes }: Trouble, isAsked: boolean): Promise<Run> {
  const { disk, store } = await prepare(options);
  const reads = new Reads(disk);
  if (failsFrom !== undefined) {
    let passed = 0;
    disk.inject({ at: ({ kind }) => kind === 'read' && passed++ >= failsFrom, kind: 'EIO', sticky: true });
  }
  const called = call(store);
  let endedThen = 0;
  const asked = isAsked ? store.readsEnded().then(() => (endedThen = reads.ended)) : Promise.resolve();
  const closed = closes === true ? store.close() : null;
  const found = await outcomes([called, asked]);
  // Fragments of a value that failed may still be under way.
  while (reads.ended < reads.begun) await turns(1);
  if (!isAsked) endedThen = reads.ended;
  await (closed ?? store.close());
  return { outcomes: found, ended: endedThen };
}

for (const way of ways) {
  const [name, , leastReads] = way;
  test(`EPOCH-1, READ-4: ${name}`, async (t) => {
    for (const [what, trouble] of Object.entries(troubles)) {
      const alone = await run(way, trouble, false);
      if (trouble.failsFrom === undefined) t.true(alone.ended >= leastReads, `${what}: ${alone.ended} reads`);
      const asked = await run(way, trouble, true);
      t.deepEqual(
        [alone, asked].map(({ outcomes: [call] }) => call).filter((outcome) => outcome === 'pending'),
        [],
      );
      t.is(asked.outcomes[1], 'ok', what);
      // A conditional put reads once more, in a later epoch (COND-2).
      t.true(asked.ended >= alone.ended, `${what}: told after ${asked.ended} of ${alone.ended} reads`);
    }
  });
}

test('EPOCH-2: reads that go on do not prolong it', async (t) => {
  const { store } = await prepare({ queueDepth: 2 });
  let isOver = false;
  const readers = Array.from({ length: 20 }, async (_, i) => {
    for (let n = i; !isOver; n++) await store.get(keyOf(n % MANY));
  });
  t.deepEqual(await outcomes([store.readsEnded(), store.readsEnded()], 1000), ['ok', 'ok']);
  await turns(3);
  t.deepEqual(await outcomes([store.readsEnded()], 1000), ['ok']);
  isOver = true;
  await Promise.all(readers);
  await store.close();
});

test('a read that is answered from memory is not waited for, nor is a refused one', async (t) => {
  const store = await open('/store', { platform: new SimulatedDisk({ seed: 5 }) });
  void store.put('here', 'value', { durability: 'buffered' });
  const calls = [store.get('here'), store.get('none'), store.getVersioned('here'), store.getMany(['here', 'none'])];
  t.deepEqual(await outcomes([store.readsEnded()], 1), ['ok']);
  await Promise.all(calls);
  await t.throwsAsync(store.getMany(['here', 5 as unknown as string]));
  t.deepEqual(await outcomes([store.readsEnded()], 1), ['ok']);
  await store.close();
});

test('a long value whose table is in memory and whose fragments are on the device is waited for', async (t) => {
  const disk = new SimulatedDisk({ seed: 5 });
  const store = await open('/store', { platform: disk, segmentBytes: 256 * 1024, flushIntervalMs: 60_000 });
  const reads = new Reads(disk);
  await store.put('long', 'x'.repeat(LONG_BYTES), { durability: 'buffered' });
  // The frames before the open one, which has the table, are written.
  await turns(50);
  const called = store.get('long');
  let ended = -1;
  const asked = store.readsEnded().then(() => (ended = reads.ended));
  t.deepEqual(await outcomes([called, asked]), ['ok', 'ok']);
  t.true(reads.begun > 0);
  t.is(ended, reads.begun);
  await store.close();
});
