/**
 * Damage to a cleanly closed store: every byte that means something flipped, one at a time, a sample of
 * those that do not, the file cut off at every sector. Opening and reading give the right answer or an
 * error with a code.
 */
import test from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { GEOMETRY } from './crash/explorer.ts';

const PATH = '/store/data.aiokv';
const options = { ...GEOMETRY, createIfMissing: false };

/** A small store over a few segments, with a value in pieces, and what is in it. */
async function makeStore(): Promise<{ disk: SimulatedDisk; bytes: Uint8Array; expected: Map<string, string> }> {
  const disk = new SimulatedDisk({ seed: 3 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  const expected = new Map<string, string>();
  const put = async (key: string, value: string): Promise<void> => {
    expected.set(key, value);
    await store.put(key, value);
  };
  for (let n = 0; n < 6; n++) await put(`key${n}`, `value ${n} `.repeat(n * 4 + 1));
  await store.del('key3');
  expected.delete('key3');
  await put('long', 'x'.repeat(30_000));
  await store.batch([
    { type: 'put', key: 'batch1', value: '1' },
    { type: 'put', key: 'batch2', value: '2'.repeat(500) },
  ]);
  expected.set('batch1', '1').set('batch2', '2'.repeat(500));
  await put('pieces', 'x'.repeat(70_000));
  await put('last', 'in the second segment '.repeat(50));
  await store.close();
  return { disk, bytes: disk.bytesOf(PATH).slice(), expected };
}

/** Opens the damaged store and reads all of it, each way; says what is wrong, or null. */
async function judge(disk: SimulatedDisk, expected: ReadonlyMap<string, string>): Promise<string | null> {
  const codes: string[] = [];
  const tolerate = (error: unknown): undefined => {
    const { code } = error as { code?: string };
    codes.push(typeof code === 'string' && code !== 'ERR_AIOKV_INTERNAL' ? code : `no code: ${String(error)}`);
  };
  const store = await open('/store', { ...options, platform: disk }).catch(tolerate);
  if (store !== undefined) {
    for (const [key, value] of expected) {
      const before = codes.length;
      const got = await store.get(key).catch(tolerate);
      if (codes.length === before && got?.toString() !== value)
        return `${key} reads as ${got?.toString().slice(0, 40)}`;
    }
    let seen = 0;
    const before = codes.length;
    try {
      for await (const [key, value] of store.iterator()) {
        seen++;
        if (expected.get(key.toString()) !== value.toString()) return `the iterator gives ${key.toString()}`;
      }
    } catch (error) {
      tolerate(error);
    }
    if (codes.length === before && seen !== expected.size)
      return `the iterator gives ${seen} of ${expected.size} entries`;
    await store.close().catch(tolerate);
  }
  return codes.find((code) => code.startsWith('no code')) ?? null;
}

test('any byte flipped: the right answer, or an error with a code', async (t) => {
  t.timeout(540_000);
  const { disk, bytes, expected } = await makeStore();
  t.is(await judge(disk.powerCut('all', new Random(1)), expected), null);
  const random = new Random(9);
  let flips = 0;
  for (let at = 0; at < bytes.length; at++) {
    // Zeros are mostly padding; the long value repeats. Both are sampled.
    const dull = bytes[at] === 0 || bytes[at] === 0x78;
    if (dull && !random.chance(0.01)) continue;
    const damaged = disk.powerCut('all', random);
    damaged.writeRaw(PATH, at, new Uint8Array([(bytes[at] as number) ^ (1 << random.below(8))]));
    const fault = await judge(damaged, expected);
    if (fault !== null) t.fail(`byte ${at}: ${fault}`);
    flips++;
  }
  t.log(`${flips} bytes flipped`);
  t.true(flips > 5000);
});

test('zeroed or garbled sectors: the right answer, or an error with a code', async (t) => {
  t.timeout(540_000);
  const { disk, bytes, expected } = await makeStore();
  const random = new Random(11);
  for (let at = 0; at < bytes.length; at += 512) {
    if (bytes.subarray(at, at + 512).every((byte) => byte === 0)) continue;
    for (const sector of [new Uint8Array(512), random.fill(new Uint8Array(512))]) {
      const damaged = disk.powerCut('all', random);
      damaged.writeRaw(PATH, at, sector);
      const fault = await judge(damaged, expected);
      if (fault !== null) t.fail(`sector at ${at}: ${fault}`);
    }
  }
  t.pass();
});

test('segments and superblocks of another store are not taken for ours', async (t) => {
  const ours = await makeStore();
  const theirs = await makeStore();
  for (const [from, length] of [
    [0, 4096],
    [65536, 4096],
    [262144, 65536],
    [262144 + 65536, 65536],
  ] as const) {
    const swapped = ours.disk.powerCut('all', new Random(1));
    swapped.writeRaw(PATH, from, theirs.bytes.subarray(from, from + length));
    t.is(await judge(swapped, ours.expected), null, `bytes ${from} to ${from + length}`);
  }
});
