/** The memory budget: how it is divided, what it is when nobody says, what is refused, and where it is spent. */
import test from 'ava';
import { GIB, KIB, MIB } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { defaultMemoryBytes, divideMemory, mostWriteBytes } from '../../packages/kv/src/memory/budget.ts';
import { resolveStoreOptions } from '../../packages/kv/src/options.ts';

/** About what the buffers of the default options need. */
const NEEDS = { writeBufferBytes: 5 * MIB, readBufferBytes: 4 * MIB };

test('MEMORY-1, MEMORY-2: nodes have what buffers and the rest leave, and half at least', (t) => {
  const sizes = [32 * KIB, 100_001, MIB, 16 * MIB, 64 * MIB, GIB, 4 * GIB, 1024 * GIB];
  for (const memoryBytes of sizes) {
    const { nodesBytes, memtableBytes, unreadMemtableBytes } = divideMemory(memoryBytes, 0.25, NEEDS);
    for (const bytes of [nodesBytes, memtableBytes, unreadMemtableBytes]) t.true(Number.isSafeInteger(bytes));
    t.true(nodesBytes >= Math.floor(memoryBytes / 2), `${memoryBytes}`);
    t.true(2 * memtableBytes <= nodesBytes / 2, 'MEMORY-2: two memtables leave pages half of the nodes');
    t.true(2 * unreadMemtableBytes <= (nodesBytes * 7) / 8, 'MEMORY-2: or an eighth');
    const others = NEEDS.writeBufferBytes + NEEDS.readBufferBytes + memoryBytes / 8;
    if (others - memoryBytes / 8 <= (3 / 8) * memoryBytes) t.true(nodesBytes + others <= memoryBytes, `${memoryBytes}`);
    else t.is(nodesBytes, Math.floor(memoryBytes / 2));
  }
  t.is(divideMemory(GIB, 0.25, NEEDS).nodesBytes, 887 * MIB);
});

test('without a budget a store takes a quarter of what the process may use, at most 4 GiB', (t) => {
  const none = 2 ** 64;
  t.is(defaultMemoryBytes(8 * GIB, undefined), 2 * GIB);
  t.is(defaultMemoryBytes(8 * GIB, 0), 2 * GIB);
  t.is(defaultMemoryBytes(8 * GIB, none), 2 * GIB);
  t.is(defaultMemoryBytes(8 * GIB, 512 * MIB), 128 * MIB);
  t.is(defaultMemoryBytes(512 * GIB, none), 4 * GIB);
  t.is(defaultMemoryBytes(512 * GIB, 64 * GIB), 4 * GIB);
  t.is(defaultMemoryBytes(8 * GIB + 3, 0), 2 * GIB);
  t.is(defaultMemoryBytes(8 * GIB, 4096), 32 * KIB, 'what is taken without being told may be told as well');
});

test('the defaults of writes fit into the budget', (t) => {
  const resolved = (memoryBytes: number): unknown => {
    const { writeBufferBytes, maxBatchBytes } = resolveStoreOptions({ memoryBytes });
    return { writeBufferBytes, maxBatchBytes };
  };
  t.deepEqual(resolved(32 * KIB), { writeBufferBytes: MIB, maxBatchBytes: MIB });
  t.deepEqual(resolved(10 * MIB), { writeBufferBytes: 2.5 * MIB, maxBatchBytes: 2.5 * MIB });
  t.deepEqual(resolved(100 * MIB), { writeBufferBytes: 4 * MIB, maxBatchBytes: 25 * MIB });
  t.deepEqual(resolved(GIB), { writeBufferBytes: 4 * MIB, maxBatchBytes: 64 * MIB });
  t.is(mostWriteBytes(GIB), 256 * MIB);
});

test('what does not fit is refused, with the remedy', async (t) => {
  const platform = new SimulatedDisk({ seed: 1 });
  const refuse = async (options: object, message: RegExp): Promise<void> => {
    const opening = open('/store', { platform, ...options });
    await t.throwsAsync(opening, { code: 'ERR_AIOKV_INVALID_OPTION', instanceOf: TypeError, message });
  };
  for (const memoryBytes of [0, 32 * KIB - 1, 1024 * GIB + 1, 65_536.5, NaN, '1g']) {
    await refuse({ memoryBytes }, /'memoryBytes' must be an integer from 32768 to/);
  }
  const raise = /quarter of memoryBytes, 16777216 of 67108864, not 16777217: raise memoryBytes to 67108868, or lower/;
  await refuse({ memoryBytes: 64 * MIB, maxBatchBytes: 16 * MIB + 1 }, raise);
  await refuse({ memoryBytes: 64 * MIB, writeBufferBytes: 16 * MIB + 1 }, raise);
  for (const zero of ['maxBatchBytes', 'writeBufferBytes']) await refuse({ [zero]: 0 }, /must be an integer from/);
  await refuse({ indexBytes: MIB }, /no option 'indexBytes'.*memoryBytes/);
});

async function openOn(platform: SimulatedDisk, options: Partial<StoreOptions>): Promise<Store> {
  return open('/store', { platform, segmentBytes: 256 * KIB, queueDepth: 16, ...options });
}

test('statistics say where memory is spent', async (t) => {
  const platform = new SimulatedDisk({ seed: 2 });
  const memoryBytes = 64 * MIB;
  let store = await openOn(platform, { memoryBytes });
  const { memory: empty } = store.statistics();
  t.is(empty.limitBytes, memoryBytes);
  t.is(empty.writeBufferBytes, 0, 'buffers are allocated when they are needed');
  t.is(empty.readBufferBytes, 0);
  for (let n = 0; n < 2000; n++) await store.put(`key${n}`, 'x'.repeat(100), { durability: 'buffered' });
  const { memory: filled } = store.statistics();
  t.true(filled.memtableBytes > empty.memtableBytes);
  t.true(filled.writeBufferBytes >= 256 * KIB && filled.writeBufferBytes < 5 * MIB);
  await store.checkpoint();
  const { memory: merged } = store.statistics();
  t.true(merged.memtableBytes < filled.memtableBytes);
  t.true(merged.pageBytes > 2000 * 15 && merged.pageBytes < 2000 * 60, `${merged.pageBytes} bytes of pages`);
  await store.close();
  store = await openOn(platform, { memoryBytes: 64 * KIB });
  await Promise.all(Array.from({ length: 2000 }, (_, n) => store.get(`key${n}`)));
  const { memory: read } = store.statistics();
  // 16 buffers for records, and up to 64 for pages of the index.
  t.true(read.readBufferBytes > 16 * 8 * KIB && read.readBufferBytes < MIB, `${read.readBufferBytes} bytes`);
  t.true(read.pageBytes < 64 * KIB, `${read.pageBytes} bytes of pages`);
  await store.close();
});

/** Loads keys in batches, with a lookup of a key that does not exist between them, until this is true. */
async function loadUntil(store: Store, isEnough: () => boolean, lookups: number): Promise<void> {
  for (let n = 0; !isEnough(); n += 200) {
    const puts = Array.from({ length: 200 }, (_, i) => ({
      type: 'put' as const,
      key: `${n + i}`,
      value: 'x'.repeat(30),
    }));
    await store.batch(puts, { durability: 'buffered' });
    for (let lookup = 0; lookup < lookups; lookup++) await store.get(`none${lookup}`);
  }
}

test('MEMORY-2: while nobody reads pages a memtable has more memory, and gives it back when somebody does', async (t) => {
  const memoryBytes = 32 * MIB;
  const least = divideMemory(memoryBytes, 0.25, NEEDS);
  const sizes: number[] = [];
  for (const lookups of [0, 4, 40]) {
    const store = await openOn(new SimulatedDisk({ seed: 3 }), { memoryBytes, segmentBytes: MIB });
    let bytesPerKey = 0;
    let mergedKeys = 0;
    // The next memtable fills while the first is merged, how far depends on the machine.
    const isMerged = (): boolean => {
      const { memory, sequence, checkpointSequence, written } = store.statistics();
      if (written.indexBytes === 0) bytesPerKey = memory.memtableBytes / sequence;
      mergedKeys = checkpointSequence;
      return mergedKeys > 0;
    };
    await loadUntil(store, isMerged, lookups);
    sizes.push((bytesPerKey * mergedKeys) / MIB);
    await store.close();
  }
  const [unread, hardlyRead, read] = sizes as [number, number, number];
  t.log(`${unread}, ${hardlyRead}, ${read} MiB`);
  t.true(Math.abs((unread * MIB) / least.unreadMemtableBytes - 1) < 0.2);
  t.true(Math.abs(hardlyRead - unread) < 1);
  t.true(Math.abs(read / unread - 4 / 7) < 0.1);

  const store = await openOn(new SimulatedDisk({ seed: 3 }), { memoryBytes, segmentBytes: MIB });
  await loadUntil(store, () => store.statistics().memory.memtableBytes > 1.2 * least.memtableBytes, 0);
  t.is(store.statistics().checkpointSequence, 0);
  await loadUntil(store, () => store.statistics().checkpointSequence > 0, 400);
  t.true(store.statistics().sequence < 2 * store.statistics().checkpointSequence);
  await store.close();
});
