/** Walks over ranges, and getMany: how much they read, what they hand out, and that they leave turns to others. */
import test from 'ava';
import { KIB, MIB, Random, nextTurn, systemClock } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreIterator, StoreOptions } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_SCANS_SEED');
const VALUE_BYTES = 200;

function openOn(disk: SimulatedDisk, options: Partial<StoreOptions> = {}): Promise<Store> {
  return open('/store', { platform: disk, segmentBytes: MIB, queueDepth: 16, memoryBytes: 64 * MIB, ...options });
}

function keyOf(n: number): string {
  return `key${String(n).padStart(6, '0')}`;
}

function valueOf(n: number): string {
  return `${n} `.repeat(VALUE_BYTES).slice(0, VALUE_BYTES);
}

/** A store that was opened again, so that all records are on the device only. They were written in this order. */
async function stored(disk: SimulatedDisk, order: readonly number[], options?: Partial<StoreOptions>): Promise<Store> {
  const filling = await openOn(disk);
  for (let first = 0; first < order.length; first += 500) {
    await filling.batch(
      order.slice(first, first + 500).map((n) => ({ type: 'put', key: keyOf(n), value: valueOf(n) })),
    );
  }
  await filling.checkpoint();
  await filling.close();
  return openOn(disk, options);
}

function inOrder(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

function shuffled(count: number): number[] {
  const order = inOrder(count);
  const random = new Random(SEED);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** What the device was asked for during the work: the length of each read. */
async function readsOf(disk: SimulatedDisk, work: () => Promise<unknown>): Promise<number[]> {
  const reads: number[] = [];
  disk.onOperation = (_, phase, { kind, lengthBytes }) => {
    if (phase === 'submitted' && kind === 'read') reads.push(lengthBytes);
  };
  await work();
  disk.onOperation = undefined;
  return reads;
}

async function walked(iterator: StoreIterator): Promise<[string, string][]> {
  const rows: [string, string][] = [];
  for await (const [key, value] of iterator) rows.push([key.toString(), value.toString()]);
  return rows;
}

for (const [name, orderOf] of Object.entries({ 'in key order': inOrder, 'in random order': shuffled })) {
  for (const reverse of [false, true]) {
    test(`records that were written ${name} are read in few long reads${reverse ? ', in reverse' : ''} (SPANS-2, WINDOW-1)`, async (t) => {
      const count = 5000;
      const disk = new SimulatedDisk({ seed: SEED });
      const store = await stored(disk, orderOf(count));
      let rows: [string, string][] = [];
      const reads = await readsOf(disk, async () => (rows = await walked(store.iterator({ reverse }))));
      const expected = inOrder(count).map((n): [string, string] => [keyOf(n), valueOf(n)]);
      t.deepEqual(rows, reverse ? expected.reverse() : expected);
      t.log(`${reads.length} reads`);
      // One read for each record were 5,000. The first windows are short, and what lies at random is far apart for them.
      t.true(reads.length < 400, `${reads.length} reads`);
      t.true(Math.max(...reads) <= 264 * KIB);
      await store.close();
    });
  }
}

test('a short limit reads what it needs, and no more', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, inOrder(5000));
  for (const limit of [1, 5, 50, 300]) {
    const reads = await readsOf(disk, () => walked(store.iterator({ gte: keyOf(1000), limit })));
    const bytes = reads.reduce((sum, read) => sum + read, 0);
    const recordBytes = VALUE_BYTES + 48;
    t.true(bytes <= (limit * recordBytes * 3) / 2 + reads.length * 2 * 4096, `${limit} entries: ${bytes} bytes`);
    t.true(reads.length <= 2, `${limit} entries: ${reads.length} reads`);
  }
  const reads = await readsOf(disk, () => store.iterator({ gte: keyOf(1000) }).next());
  // The next window is read ahead.
  t.true(reads.length <= 2 && reads.every((bytes) => bytes < 32 * KIB), `${reads.join(' ')} bytes for one entry`);
  await store.close();
});

test('nextMany gives what is there: at most what is asked for, in order, and an empty array at the end', async (t) => {
  const count = 5000;
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, inOrder(count));
  for (const reverse of [false, true]) {
    const expected = inOrder(count).map((n): [string, string] => [keyOf(n), valueOf(n)]);
    if (reverse) expected.reverse();
    for (const most of [1, 7, 1000, 100_000]) {
      const iterator = store.iterator({ reverse });
      const rows: [string, string][] = [];
      let longest = 0;
      for (let some = await iterator.nextMany(most); some.length > 0; some = await iterator.nextMany(most)) {
        longest = Math.max(longest, some.length);
        for (const [key, value] of some) rows.push([key.toString(), value.toString()]);
      }
      t.deepEqual(rows, expected);
      t.true(longest <= Math.min(most, 1024));
      t.deepEqual(await iterator.nextMany(most), []);
      t.true((await iterator.next()).done);
    }
  }
  const mixed = store.iterator({ limit: 40 });
  const answers = await Promise.all([mixed.next(), mixed.nextMany(10), mixed.next(), mixed.nextMany(5)]);
  t.is(answers[0].value?.[0].toString(), keyOf(0));
  t.deepEqual(
    answers[1].map(([key]) => key.toString()),
    inOrder(10).map((n) => keyOf(n + 1)),
  );
  t.is(answers[2].value?.[0].toString(), keyOf(11));
  t.is(answers[3][0]?.[0].toString(), keyOf(12));
  t.is((await store.iterator({ limit: 30 }).nextMany(100)).length, 30);
  const closed = store.iterator();
  await closed.nextMany(3);
  for (const bad of [0, -1, 1.5, NaN, Infinity, '1']) {
    await t.throwsAsync(closed.nextMany(bad as number), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
  }
  await store.close();
  await t.throwsAsync(closed.nextMany(1000), { code: 'ERR_AIOKV_CLOSED' });
});

test('values are those of the entries', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, shuffled(1000));
  await store.put(keyOf(3), 'tiny');
  await store.put(keyOf(4), 'not on the device yet, and too long for the leaf', { durability: 'buffered' });
  const options = { gte: keyOf(2), lt: keyOf(900) };
  const values: string[] = [];
  for await (const value of store.values(options)) values.push(value.toString());
  t.deepEqual(
    values,
    (await walked(store.iterator(options))).map(([, value]) => value),
  );
  t.deepEqual(values.slice(0, 3), [valueOf(2), 'tiny', 'not on the device yet, and too long for the leaf']);
  const last = await store.values({ reverse: true, limit: 1 }).nextMany(9);
  t.deepEqual(last.map(String), [valueOf(999)]);
  await store.close();
});

test('a loop over entries that are there leaves turns to others', async (t) => {
  const store = await openOn(new SimulatedDisk({ seed: SEED }), { memoryBytes: 256 * MIB });
  for (let first = 0; first < 100_000; first += 1000) {
    const some = inOrder(1000).map((n) => ({ type: 'put' as const, key: keyOf(first + n), value: '' }));
    await store.batch(some, { durability: 'buffered' });
  }
  let streak = 0;
  let longest = 0;
  const took = (rows: number): void => {
    streak += rows;
    longest = Math.max(longest, streak);
  };
  const walks: Record<string, () => Promise<void>> = {
    'for await': async () => {
      for await (const key of store.keys()) took(key.length > 0 ? 1 : 0);
    },
    nextMany: async () => {
      const iterator = store.keys();
      for (let rows = await iterator.nextMany(1000); rows.length > 0; rows = await iterator.nextMany(1000)) {
        took(rows.length);
      }
    },
  };
  for (const [name, walk] of Object.entries(walks)) {
    let isOver = false;
    longest = 0;
    const turn = (): void => {
      streak = 0;
      if (!isOver) setImmediate(turn);
    };
    turn();
    await walk();
    isOver = true;
    t.log(`${name}: ${longest} entries in a row`);
    // The longest window has 32,768; a millisecond of them are some thousands.
    t.true(longest > 0 && longest <= 30_000, `${name}: ${longest} entries without a turn`);
  }
  await store.close();
});

test('reading ahead, looking at what was read, and handing out take one part of a turn together', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  await (await stored(disk, shuffled(20_000))).close();
  // A clock that goes on whenever somebody looks: with it time is counted in looks.
  let nowMs = 0;
  const clock = { nowMs: (): number => (nowMs += 0.1), after: systemClock.after.bind(systemClock) };
  const store = await openOn(disk, { clock });
  let isWalking = true;
  let longestMs = 0;
  const turns = (async (): Promise<void> => {
    for (let before = nowMs; isWalking; before = nowMs) {
      await nextTurn();
      longestMs = Math.max(longestMs, nowMs - before);
    }
  })();
  let found = 0;
  const iterator = store.iterator();
  for (let rows = await iterator.nextMany(100); rows.length > 0; rows = await iterator.nextMany(100))
    found += rows.length;
  isWalking = false;
  await turns;
  t.is(found, 20_000);
  t.log(`${longestMs} ms`);
  // A part for each of them came to 1.9 ms.
  t.true(longestMs < 1.2, `${longestMs} ms without a timer`);
  await store.close();
});

/** Of all records. Windows of a budget of 16 MiB have some 2,000 of these; 20,000 in random order are ten times as much. */
const WIDE = { count: 20_000, memoryBytes: 16 * MIB };

test('AHEAD-2: a range in random order is read in wide windows, in memory that the nodes lend', async (t) => {
  const { count, memoryBytes } = WIDE;
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, shuffled(count), { memoryBytes, orderForScans: false });
  const expected = inOrder(count).map((n): [string, string] => [keyOf(n), valueOf(n)]);
  let mostBytes = 0;
  const watched = async (iterator: StoreIterator): Promise<[string, string][]> => {
    const rows: [string, string][] = [];
    for (let more = await iterator.nextMany(100); more.length > 0; more = await iterator.nextMany(100)) {
      mostBytes = Math.max(mostBytes, store.statistics().memory.readAheadBytes);
      for (const [key, value] of more) rows.push([key.toString(), value.toString()]);
    }
    return rows;
  };
  for (const reverse of [false, true]) {
    let rows: [string, string][] = [];
    const reads = await readsOf(disk, async () => (rows = await watched(store.iterator({ reverse }))));
    t.deepEqual(rows, reverse ? expected.toReversed() : expected);
    const bytes = reads.reduce((sum, read) => sum + read, 0);
    t.log(`${reads.length} reads, ${(bytes / MIB).toFixed(1)} MiB, ${(mostBytes / MIB).toFixed(1)} MiB ahead`);
    // Of 5 MiB. In windows of half a mebibyte each it was read ten times.
    t.true(bytes < 25 * MIB, `${bytes} bytes`);
  }
  t.true(mostBytes > MIB && mostBytes <= memoryBytes / 2, `${mostBytes} bytes ahead`);
  t.deepEqual(await walked(store.iterator()), expected);
  store.verifyIndex();
  await store.close();
});

test('AHEAD-2: what was lent comes back when the iterator ends, whenever that is', async (t) => {
  const { count, memoryBytes } = WIDE;
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, shuffled(count), { memoryBytes, valueCachePart: 0 });
  const nodesBytes = (): number => {
    const { pageBytes, memtableBytes } = store.statistics().memory;
    return pageBytes + memtableBytes;
  };
  await walked(store.iterator());
  const before = nodesBytes();
  const random = new Random(SEED);
  for (let i = 0; i < 40; i++) {
    const iterators = [store.iterator(), store.iterator({ reverse: true })];
    const left = iterators.map(() => random.below(count));
    const walks = iterators.map(async (iterator, which) => {
      let at = 0;
      while (at < (left[which] as number)) {
        for (const [key] of await iterator.nextMany(1000)) {
          t.is(key.toString(), keyOf(which === 0 ? at : count - 1 - at));
          at++;
        }
      }
      // Ended while a window is read, too.
      const next = iterator.nextMany(1000);
      await iterator.return();
      await next;
    });
    await Promise.all(walks);
  }
  t.is(store.statistics().memory.readAheadBytes, 0);
  t.is(nodesBytes(), before);
  await store.close();
});

test('LENT-1, WINDOW-1: keys and values of any length are right in a wide window, beside writes', async (t) => {
  const random = new Random(SEED);
  const disk = new SimulatedDisk({ seed: SEED });
  const rows = new Map<string, Buffer>();
  for (let n = 0; n < 4000; n++) {
    const keyBytes = random.chance(0.05) ? 1 + random.below(4000) : 8 + random.below(60);
    const key = `${String(random.below(1e9)).padStart(9, '0')}${'k'.repeat(keyBytes)}`.slice(0, Math.max(9, keyBytes));
    const valueBytes = random.chance(0.03)
      ? random.below(60_000)
      : random.chance(0.3)
        ? random.below(30)
        : random.below(3000);
    rows.set(key, Buffer.from(random.fill(new Uint8Array(valueBytes))));
  }
  const options = { memoryBytes: 16 * MIB };
  const filling = await openOn(disk, options);
  for (const [key, value] of rows) await filling.put(key, value, { durability: 'buffered' });
  await filling.close();
  const store = await openOn(disk, options);
  const expected = [...rows].sort(([a], [b]) => (a < b ? -1 : 1));
  const iterator = store.iterator();
  const other = store.values();
  const kept: [Buffer, Buffer][] = [];
  let mostBytes = 0;
  for (let more = await iterator.nextMany(50); more.length > 0; more = await iterator.nextMany(50)) {
    kept.push(...more);
    mostBytes = Math.max(mostBytes, store.statistics().memory.readAheadBytes);
    await store.batch(inOrder(20).map((n) => ({ type: 'put', key: `new${kept.length}-${n}`, value: 'x'.repeat(500) })));
    await other.nextMany(40);
  }
  t.true(mostBytes > (3 * MIB) / 2, `${mostBytes} bytes ahead`);
  t.is(kept.length, expected.length);
  for (const [i, [key, value]] of expected.entries()) {
    t.is((kept[i] as [Buffer, Buffer])[0].toString(), key);
    t.true((kept[i] as [Buffer, Buffer])[1].equals(value), key);
  }
  await other.return();
  store.verifyIndex();
  await store.close();
});

test('SLABS-1, SLABS-2: what nextMany gives shares memory, which is not used again, and which a message copies', async (t) => {
  const disk = new SimulatedDisk({ seed: SEED });
  const store = await stored(disk, inOrder(3000));
  const kept: [Buffer, Buffer][] = [];
  const iterator = store.iterator();
  for (let rows = await iterator.nextMany(500); rows.length > 0; rows = await iterator.nextMany(500))
    kept.push(...rows);
  t.true(new Set(kept.map(([, value]) => value.buffer)).size < 100);
  t.true(kept.every(([key, value]) => key.buffer.byteLength <= 64 * KIB && value.buffer.byteLength <= 64 * KIB));
  // Written to, by whoever owns it: nothing that is read later shows it.
  for (const [, value] of kept) value.fill(0);
  t.deepEqual(
    await walked(store.iterator()),
    inOrder(3000).map((n) => [keyOf(n), valueOf(n)]),
  );
  const [[, one], [, other]] = kept as [[Buffer, Buffer], [Buffer, Buffer]];
  // Some versions of Node.js throw, the others copy.
  try {
    structuredClone(one, { transfer: [one.buffer as ArrayBuffer] });
  } catch (error) {
    t.is((error as Error).name, 'DataCloneError');
  }
  t.is(one.length, VALUE_BYTES);
  for await (const row of store.iterator()) t.true(row.every((bytes) => bytes.buffer.byteLength === bytes.length));
  t.is(other.length, VALUE_BYTES);
  await store.close();
});

test('NEAR-1, NEAR-2: getMany reads neighbours at once, and what lies alone by itself', async (t) => {
  const count = 5000;
  const disk = new SimulatedDisk({ seed: SEED });
  await (await stored(disk, inOrder(count))).close();
  const together = inOrder(400).map((n) => 1000 + 2 * n);
  const twice = [...together, ...together.slice(0, 7)];
  const apart = inOrder(40).map((n) => n * 120);
  for (const [wanted, most] of [
    [together, 4],
    [together.slice().reverse(), 4],
    [twice, 4],
    [apart, 40],
    // More than are looked up in one step.
    [inOrder(count), 20],
  ] as const) {
    let values: (Buffer | undefined)[] = [];
    const store = await openOn(disk);
    const reads = await readsOf(disk, async () => (values = await store.getMany([...wanted.map(keyOf), 'none'])));
    t.deepEqual(
      values.map((value) => value?.toString()),
      [...wanted.map(valueOf), undefined],
    );
    t.true(reads.length <= most, `${reads.length} reads for ${wanted.length} keys`);
    await store.readsEnded();
    await store.close();
  }
});
