/** The generator: the same numbers for a seed for ever, and even ones. */
import { Random } from '@aiokv/core';
import test from 'ava';

test('a seed gives the same numbers, today and in later versions', (t) => {
  const random = new Random(42);
  t.is(random.seed, 42);
  const first = [random.uint32(), random.uint32(), random.uint32()];
  const again = new Random(42);
  t.deepEqual([again.uint32(), again.uint32(), again.uint32()], first);
  t.deepEqual(first, [1_959_603_763, 2_423_114_712, 2_466_933_512]);
  t.notDeepEqual([new Random(43).uint32()], [first[0]]);
});

test('the lowest 32 bits of the seed count', (t) => {
  t.is(new Random(2 ** 32 + 5).uint32(), new Random(5).uint32());
  t.is(new Random(-1).seed, 0xffffffff);
});

test('numbers keep to their range and fill it', (t) => {
  const random = new Random(7);
  const counts = new Uint32Array(10);
  for (let i = 0; i < 100_000; i++) {
    const float = random.float();
    t.true(float >= 0 && float < 1);
    const at = random.below(10);
    counts[at] = (counts[at] as number) + 1;
  }
  // Ten thousand each; the standard deviation is 95.
  t.true(
    counts.every((count) => Math.abs(count - 10_000) < 600),
    counts.join(' '),
  );
  t.is(random.below(1), 0);
  const large = Array.from({ length: 1000 }, () => random.below(2 ** 53));
  t.true(large.every((value) => Number.isSafeInteger(value)));
  t.true(
    large.some((value) => value % 2 === 1),
    'the lowest of 53 bits is random, too',
  );
});

test('every bit of uint32 is set half of the time', (t) => {
  const random = new Random(8);
  const counts = new Uint32Array(32);
  for (let i = 0; i < 20_000; i++) {
    const value = random.uint32();
    t.true(value >= 0 && value < 2 ** 32 && Number.isInteger(value));
    for (let bit = 0; bit < 32; bit++) counts[bit] = (counts[bit] as number) + ((value >>> bit) & 1);
  }
  t.true(
    counts.every((count) => Math.abs(count - 10_000) < 500),
    counts.join(' '),
  );
});

test('chance', (t) => {
  const random = new Random(9);
  const hits = Array.from({ length: 10_000 }, () => random.chance(0.3)).filter(Boolean).length;
  t.true(Math.abs(hits - 3000) < 250, String(hits));
  t.false(Array.from({ length: 100 }, () => random.chance(0)).some(Boolean));
  t.true(Array.from({ length: 100 }, () => random.chance(1)).every(Boolean));
});

test('fill fills, and returns what it filled', (t) => {
  const target = new Uint8Array(10_000);
  t.is(new Random(10).fill(target), target);
  t.is(new Set(target).size, 256);
});

test('shuffle keeps the items, in place, and reaches every order', (t) => {
  const random = new Random(11);
  const items = [1, 2, 3];
  t.is(random.shuffle(items), items);
  t.deepEqual(
    [...items].sort((a, b) => a - b),
    [1, 2, 3],
  );
  const orders = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const order = random.shuffle([1, 2, 3]).join('');
    orders.set(order, (orders.get(order) ?? 0) + 1);
  }
  t.is(orders.size, 6);
  t.true(
    [...orders.values()].every((count) => Math.abs(count - 1000) < 150),
    JSON.stringify([...orders]),
  );
  t.deepEqual(random.shuffle([]), []);
});
