/** Ranges of a file that are read in long reads: packages/kv/src/file/span-reader.ts and place-order.ts. */
import test from 'ava';
import { KIB, MIB, Random, TurnBudget, systemClock } from '@aiokv/core';
import { Queue, SimulatedDisk } from '@aiokv/aio';
import { sortByBlock } from '../../packages/kv/src/file/place-order.ts';
import { SpanReader } from '../../packages/kv/src/file/span-reader.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_SPANS_SEED');

test('places are sorted by block, and those in a block keep their order', async (t) => {
  const random = new Random(SEED);
  const budget = new TurnBudget(systemClock);
  for (const most of [10, 5000, 2 ** 24, 2 ** 46]) {
    for (const count of [0, 1, 2, 1000, 20_000]) {
      const places = Float64Array.from({ length: count + 3 }, () => Math.floor(random.float() * most) * 8);
      const order = await sortByBlock(places, count, 4096, budget);
      const expected = Array.from({ length: count }, (_, n) => n).sort(
        (a, b) => Math.floor((places[a] as number) / 4096) - Math.floor((places[b] as number) / 4096) || a - b,
      );
      t.deepEqual([...order], expected);
    }
  }
});

test('places that ascend or descend, and few places, are sorted as all others', async (t) => {
  const random = new Random(SEED);
  const budget = new TurnBudget(systemClock);
  for (const count of [2, 3, 63, 64, 65, 1000]) {
    const ascending = Float64Array.from({ length: count }, (_, n) => n * 8 * (1 + random.below(1000))).sort();
    for (const places of [
      ascending,
      ascending.slice().reverse(),
      Float64Array.from(ascending, () => 8 * random.below(2000)),
    ]) {
      const order = await sortByBlock(places, count, 4096, budget);
      const expected = Array.from({ length: count }, (_, n) => n).sort(
        (a, b) => Math.floor((places[a] as number) / 4096) - Math.floor((places[b] as number) / 4096) || a - b,
      );
      t.deepEqual([...order], expected);
    }
  }
});

/** A file of which each byte tells where it is. */
async function withFile(
  work: (reader: SpanReader, bytes: Uint8Array, disk: SimulatedDisk, reads: number[]) => Promise<void>,
  limits: { readonly longAtOnce?: number; readonly middleAtOnce?: number; readonly shortAtOnce?: number } = {},
): Promise<void> {
  const disk = new SimulatedDisk({ seed: SEED });
  const bytes = new Random(SEED).fill(new Uint8Array(4 * MIB));
  disk.placeRaw('/f', bytes);
  const file = await disk.open('/f');
  const queue = new Queue(disk, { depth: 8, maxWaiting: 64 });
  const reads: number[] = [];
  const at = ({ kind, lengthBytes }: { kind: string; lengthBytes: number }): boolean => {
    if (kind === 'read') reads.push(lengthBytes);
    return false;
  };
  disk.inject({ at, kind: 'EIO', sticky: true });
  await work(new SpanReader({ queue, file, budget: new TurnBudget(systemClock), ...limits }), bytes, disk, reads);
  await queue.close();
  await file.close();
}

test('SPANS-2: each range is visited once, with its bytes, in few reads', (t) =>
  withFile(async (reader, bytes, _, reads) => {
    const random = new Random(SEED);
    for (const longest of [100, 2000, 60_000, 256 * KIB - 1]) {
      const count = Math.min(2000, Math.floor((8 * MIB) / longest));
      const lengths = Uint32Array.from({ length: count }, () => 1 + random.below(longest));
      const offsets = Float64Array.from(lengths, (length) => Math.floor(random.float() * (bytes.length - length)));
      const seen = new Set<number>();
      reads.length = 0;
      const visitor = {
        read(index: number, block: { bytes: Uint8Array }, at: number): void {
          t.false(seen.has(index));
          seen.add(index);
          const offset = offsets[index] as number;
          const length = lengths[index] as number;
          const isSame = Buffer.compare(block.bytes.subarray(at, at + length), bytes.subarray(offset, offset + length));
          if (isSame !== 0) t.fail(`range ${index}`);
        },
        unreadable: (index: number): void => t.fail(`range ${index} is unreadable`),
      };
      await reader.read({ offsets, lengths, count }, visitor, () => false);
      t.is(seen.size, count);
      t.true(Math.max(...reads) <= 264 * KIB);
      t.true(reads.length < 100, `${reads.length} reads for ${count} ranges`);
    }
  }));

test('ranges that cannot be read are told, and the others are read', (t) =>
  withFile(async (reader, _, disk) => {
    const offsets = Float64Array.from({ length: 100 }, (_unused, n) => n * 40 * KIB);
    const lengths = new Uint32Array(100).fill(1000);
    disk.inject({
      at: ({ kind, offset }) => kind === 'read' && offset === 50 * 40 * KIB,
      kind: 'EIO',
      sticky: true,
    });
    let read = 0;
    const unreadable: number[] = [];
    await reader.read(
      { offsets, lengths, count: 100 },
      { read: () => void read++, unreadable: (index) => void unreadable.push(index) },
      () => false,
    );
    t.is(read + unreadable.length, 100);
    t.deepEqual(unreadable, [50]);
  }));

test('it stops between two spans when it is told to', (t) =>
  withFile(async (reader) => {
    const offsets = Float64Array.from({ length: 100 }, (_, n) => n * 40 * KIB);
    const lengths = new Uint32Array(100).fill(1000);
    let read = 0;
    await reader.read(
      { offsets, lengths, count: 100 },
      { read: () => void read++, unreadable: () => t.fail() },
      () => read >= 10,
    );
    t.is(read, 10);
  }));

test('SPANS-1: calls share what may be under way, and each gets its turn', async (t) => {
  const limits = { longAtOnce: 2, middleAtOnce: 1, shortAtOnce: 3 };
  await withFile(async (reader, bytes, disk) => {
    let underWay = 0;
    let most = 0;
    disk.onOperation = (_, phase, { kind }) => {
      if (kind !== 'read') return;
      underWay += phase === 'submitted' ? 1 : -1;
      most = Math.max(most, underWay);
    };
    const random = new Random(SEED);
    const ended: number[] = [];
    const calls = Array.from({ length: 20 }, async (_, call) => {
      const count = 40;
      const lengths = Uint32Array.from({ length: count }, () =>
        random.chance(0.3) ? (random.chance(0.5) ? 40_000 : 20_000) : 100,
      );
      const offsets = Float64Array.from(lengths, (length) => Math.floor(random.float() * (bytes.length - length)));
      let visited = 0;
      const read = (): void => void visited++;
      await reader.read({ offsets, lengths, count }, { read, unreadable: () => t.fail() }, () => false);
      t.is(visited, count);
      ended.push(call);
    });
    await Promise.all(calls);
    t.is(ended.length, 20);
    t.true(most <= limits.longAtOnce + limits.middleAtOnce + limits.shortAtOnce, `${most} at once`);
    t.is(reader.bufferBytes, SpanReader.mostBufferBytes(limits.longAtOnce, limits.middleAtOnce, limits.shortAtOnce));
    await reader.quiet();
  }, limits);
});
