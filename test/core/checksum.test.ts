/** XXH32 and XXH64 against published values, and at every length. */
import { Random, matchesXxh64, writeXxh64, xxh32 } from '@aiokv/core';
import test from 'ava';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function xxh64(bytes: Uint8Array): string {
  const target = new DataView(new ArrayBuffer(8));
  writeXxh64(bytes, target, 0);
  return target.getBigUint64(0, true).toString(16).padStart(16, '0');
}

test('known values of XXH32', (t) => {
  t.is(xxh32(text('')), 0x02cc5d05);
  t.is(xxh32(text('a')), 0x550d7456);
  t.is(xxh32(text('abc')), 0x32d153ff);
  t.is(xxh32(text('Nobody inspects the spammish repetition')), 0xe2293b2f);
  t.not(xxh32(text('abc'), 1), xxh32(text('abc')));
});

test('known values of XXH64', (t) => {
  t.is(xxh64(text('')), 'ef46db3751d8e999');
  t.is(xxh64(text('a')), 'd24ec4f1a98c6e5b');
  t.is(xxh64(text('abc')), '44bc2cf5ad770999');
  t.is(xxh64(text('Nobody inspects the spammish repetition')), 'fbcea83c8a378bf1');
});

test('XXH32 is an unsigned number at every length', (t) => {
  const bytes = new Random(1).fill(new Uint8Array(300));
  const seen = new Set<number>();
  for (let length = 0; length <= 300; length++) {
    const hash = xxh32(bytes.subarray(0, length));
    t.true(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 32);
    seen.add(hash);
  }
  t.is(seen.size, 301);
});

test('a window is hashed, not what it is a window of', (t) => {
  const memory = new Random(2).fill(new Uint8Array(1000));
  const window = memory.subarray(123, 456);
  t.is(xxh32(window), xxh32(window.slice()));
  t.is(xxh64(window), xxh64(window.slice()));
});

test('inputs larger than the memory that the hasher starts with', (t) => {
  const large = new Random(3).fill(new Uint8Array(1024 * 1024));
  const before = xxh64(large);
  t.is(xxh64(text('abc')), '44bc2cf5ad770999', 'a small one after a large one');
  t.is(xxh64(large), before);
  large[500_000] = (large[500_000] as number) ^ 1;
  t.not(xxh64(large), before);
});

test('matchesXxh64 accepts what writeXxh64 wrote, and no flipped bit', (t) => {
  const bytes = new Random(4).fill(new Uint8Array(100));
  const target = new DataView(new ArrayBuffer(32));
  writeXxh64(bytes, target, 5);
  t.true(matchesXxh64(bytes, target, 5));
  t.false(matchesXxh64(bytes, target, 6));
  for (let bit = 0; bit < 64; bit++) {
    const at = 5 + (bit >> 3);
    const mask = 1 << (bit & 7);
    target.setUint8(at, target.getUint8(at) ^ mask);
    t.false(matchesXxh64(bytes, target, 5), `bit ${bit} of the sum`);
    target.setUint8(at, target.getUint8(at) ^ mask);
  }
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = (bytes[at] as number) ^ 0x10;
    t.false(matchesXxh64(bytes, target, 5), `byte ${at}`);
    bytes[at] = (bytes[at] as number) ^ 0x10;
  }
  t.is(target.getUint8(4), 0);
  t.is(target.getUint8(13), 0, 'eight bytes were written, and no more');
});
