/** Arithmetic of alignment, up to 2^53. */
import { GIB, KIB, MIB, Random, alignDown, alignUp, isAligned, isPowerOfTwo } from '@aiokv/core';
import test from 'ava';

test('powers of two, and only they', (t) => {
  for (let exponent = 0; exponent < 53; exponent++) {
    const power = 2 ** exponent;
    t.true(isPowerOfTwo(power), `2^${exponent}`);
    if (exponent > 1) {
      t.false(isPowerOfTwo(power + 1), `2^${exponent} + 1`);
      t.false(isPowerOfTwo(power - 1), `2^${exponent} - 1`);
    }
  }
  for (const value of [0, -1, -4, 0.5, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])
    t.false(isPowerOfTwo(value), String(value));
  t.false(isPowerOfTwo('4' as never));
  t.false(isPowerOfTwo(undefined as never));
});

test('alignDown and alignUp are the nearest multiples', (t) => {
  t.deepEqual(
    [0, 1, 4095, 4096, 4097].map((value) => alignDown(value, 4096)),
    [0, 0, 0, 4096, 4096],
  );
  t.deepEqual(
    [0, 1, 4095, 4096, 4097].map((value) => alignUp(value, 4096)),
    [0, 4096, 4096, 4096, 8192],
  );
  const random = new Random(1);
  for (let i = 0; i < 10_000; i++) {
    const alignment = 2 ** random.below(20);
    const value = random.below(2 ** 52);
    const down = alignDown(value, alignment);
    const up = alignUp(value, alignment);
    t.true(isAligned(down, alignment) && isAligned(up, alignment));
    t.true(down <= value && value - down < alignment && up >= value && up - value < alignment);
  }
});

test('isAligned', (t) => {
  t.true(isAligned(0, 512));
  t.true(isAligned(2 ** 40, 4096));
  t.false(isAligned(2 ** 40 + 512, 4096));
  t.true(isAligned(3, 1));
});

test('units', (t) => {
  t.deepEqual([KIB, MIB, GIB], [2 ** 10, 2 ** 20, 2 ** 30]);
});
