/** Strings one behind the other, in memory that is used again. */
import test from 'ava';
import { KIB, Random } from '@aiokv/core';
import { PackedBytes } from '../../packages/kv/src/write/packed-bytes.ts';

/** Lengths around those where something changes: the loop, the first chunk, a chunk, and longer ones. */
const LENGTHS = [0, 1, 24, 48, 49, 1000, 1024, 1025, 4096, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200 * KIB];

function stringsOf(random: Random, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => {
    const longest = LENGTHS[random.below(random.chance(0.1) ? LENGTHS.length : 6)] as number;
    return random.fill(new Uint8Array(longest));
  });
}

function packed(strings: readonly Uint8Array[]): PackedBytes {
  const bytes = new PackedBytes();
  const scratch = new Uint8Array(256 * KIB).fill(0xee);
  for (const string of strings) {
    scratch.set(string);
    bytes.add(scratch, string.length);
  }
  return bytes;
}

function isSame(bytes: PackedBytes, strings: readonly Uint8Array[]): boolean {
  const target = new Uint8Array(256 * KIB);
  return strings.every(
    (string, n) =>
      Buffer.compare(bytes.at(n), string) === 0 &&
      bytes.copy(n, target) === string.length &&
      Buffer.compare(target.subarray(0, string.length), string) === 0,
  );
}

test('PACKED-1: what is released is used again, and never while it is owned', (t) => {
  const random = new Random(3);
  const owned: { strings: Uint8Array[]; bytes: PackedBytes }[] = [];
  for (let round = 0; round < 300; round++) {
    const strings = stringsOf(random, random.below(200));
    owned.push({ strings, bytes: packed(strings) });
    if (owned.length < 5) continue;
    const [{ strings: old, bytes }] = owned.splice(random.below(owned.length), 1) as [(typeof owned)[number]];
    t.true(isSame(bytes, old), `round ${round}`);
    bytes.release();
  }
  for (const { strings, bytes } of owned) t.true(isSame(bytes, strings));
});

test('PACKED-1: memory that was given back is looked at by nobody', (t) => {
  const bytes = packed([Buffer.from('one')]);
  bytes.release();
  t.throws(() => bytes.at(0), { message: /PACKED-1/ });
  t.throws(() => bytes.copy(0, new Uint8Array(8)), { message: /PACKED-1/ });
  t.throws(() => bytes.add(Buffer.from('two'), 3), { message: /PACKED-1/ });
});

test('the memory of a batch is used by the next', (t) => {
  const strings = Array.from({ length: 10 }, () => new Uint8Array(20_000));
  const first = packed(strings);
  const memory = first.at(5).buffer;
  first.release();
  const second = packed(strings);
  t.true(strings.some((_, n) => second.at(n).buffer === memory));
  second.release();
});
