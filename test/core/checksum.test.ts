/**
 * XXH32 and XXH64 against published values, at every length, and the plain form against WebAssembly. What a store does
 * where WebAssembly is not to be had is in test/end-to-end/limited.test.ts.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Random, matchesXxh64, writeXxh64, xxh32 } from '@aiokv/core';
import test from 'ava';
import { PlainHasher, WasmHasher, createHasher } from '../../packages/core/src/xxhash.ts';
import type { Hasher } from '../../packages/core/src/xxhash.ts';
import { XXHASH_MODULE } from '../../packages/core/src/xxhash-module.ts';

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

test('the module is the one of xxhash-wasm', (t) => {
  const main = createRequire(import.meta.url).resolve('xxhash-wasm');
  const published = readFileSync(join(dirname(main), '../workerd/xxhash.wasm'));
  t.true(published.length > 3000);
  t.is(XXHASH_MODULE, published.toString('base64'));
});

test('the plain form gives the sums of the WebAssembly form', (t) => {
  const plain = new PlainHasher();
  const wasm = new WasmHasher();
  const random = new Random(5);
  const memory = random.fill(new Uint8Array(300_000));
  const lengths = [...Array.from({ length: 400 }, (_, length) => length), 65_535, 65_536, 65_537, 250_001];
  for (let i = 0; i < 300; i++) lengths.push(random.below(5000));
  for (const length of lengths) {
    const at = random.below(40_000);
    const bytes = memory.subarray(at, at + length);
    for (const seed of [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, random.uint32()]) {
      t.is(plain.xxh32(bytes, seed), wasm.xxh32(bytes, seed), `XXH32 of ${length} bytes, seed ${seed}`);
    }
    t.is(sum64(plain, bytes), sum64(wasm, bytes), `XXH64 of ${length} bytes`);
  }
});

test('the plain form, known values', (t) => {
  const plain = new PlainHasher();
  t.is(plain.xxh32(text(''), 0), 0x02cc5d05);
  t.is(plain.xxh32(text('Nobody inspects the spammish repetition'), 0), 0xe2293b2f);
  t.is(sum64(plain, text('')), 'ef46db3751d8e999');
  t.is(sum64(plain, text('abc')), '44bc2cf5ad770999');
  t.is(sum64(plain, text('Nobody inspects the spammish repetition')), 'fbcea83c8a378bf1');
});

test.serial('without WebAssembly the hasher is the plain one', (t) => {
  const realm = globalThis as { WebAssembly?: unknown };
  const standing = realm.WebAssembly;
  t.is(createHasher().kind, 'wasm');
  try {
    realm.WebAssembly = undefined;
    t.is(createHasher().kind, 'plain');
  } finally {
    realm.WebAssembly = standing;
  }
});

test.serial('where the memory cannot grow, one sum is made in the plain form', (t) => {
  const realm = globalThis as unknown as { WebAssembly: { Memory: { prototype: { grow: unknown } } } };
  const { prototype } = realm.WebAssembly.Memory;
  const standing = prototype.grow;
  const large = new Random(6).fill(new Uint8Array(200_000));
  const wasm = new WasmHasher();
  try {
    prototype.grow = () => {
      throw new RangeError('WebAssembly.Memory.grow(): Unable to grow instance memory');
    };
    t.is(wasm.xxh32(large, 7), new PlainHasher().xxh32(large, 7));
    t.is(sum64(wasm, large), sum64(new PlainHasher(), large));
    t.is(wasm.xxh32(text('abc'), 0), 0x32d153ff, 'a small one after it');
  } finally {
    prototype.grow = standing;
  }
});

function sum64(hasher: Hasher, bytes: Uint8Array): string {
  hasher.xxh64(bytes);
  return [...hasher.words]
    .reverse()
    .map((word) => word.toString(16).padStart(8, '0'))
    .join('');
}
