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

/** A file of which each byte tells where it is. */
async function withFile(
  work: (reader: SpanReader, bytes: Uint8Array, disk: SimulatedDisk, reads: number[]) => Promise<void>,
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
  await work(new SpanReader({ queue, file, budget: new TurnBudget(systemClock) }), bytes, disk, reads);
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
