/**
 * The generators: their frequencies against what theory says, from fixed seeds. Tolerances are five standard
 * deviations of the count, unless a test says why it needs another one.
 */
import { Random } from '@aiokv/core';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { AcknowledgedCounter } from '../../benchmarks/ycsb/generators/acknowledged-counter.ts';
import { Constant } from '../../benchmarks/ycsb/generators/constant.ts';
import { Counter } from '../../benchmarks/ycsb/generators/counter.ts';
import { Discrete } from '../../benchmarks/ycsb/generators/discrete.ts';
import { Exponential } from '../../benchmarks/ycsb/generators/exponential.ts';
import { Hotspot } from '../../benchmarks/ycsb/generators/hotspot.ts';
import { Latest } from '../../benchmarks/ycsb/generators/latest.ts';
import type { NumberGenerator } from '../../benchmarks/ycsb/generators/number-generator.ts';
import { ScrambledZipfian } from '../../benchmarks/ycsb/generators/scrambled-zipfian.ts';
import { Sequential } from '../../benchmarks/ycsb/generators/sequential.ts';
import { Uniform } from '../../benchmarks/ycsb/generators/uniform.ts';
import { Zipfian, zeta } from '../../benchmarks/ycsb/generators/zipfian.ts';
import { KeyHash } from '../../benchmarks/ycsb/key-hash.ts';

const DRAWS = 200_000;

/** How often each whole number from 0 to `max` was drawn; a number outside fails the test. */
function frequencies(t: ExecutionContext, generator: NumberGenerator, max: number): number[] {
  const counts = Array.from({ length: max + 1 }, () => 0);
  let outside = 0;
  for (let i = 0; i < DRAWS; i++) {
    const value = generator.next();
    if (counts[value] === undefined) outside++;
    else counts[value]++;
  }
  t.is(outside, 0, 'all draws are whole numbers in range');
  return counts;
}

function share(counts: readonly number[], from: number, to: number): number {
  return counts.slice(from, to + 1).reduce((sum, count) => sum + count, 0) / DRAWS;
}

function near(t: ExecutionContext, actual: number, probability: number, what: string): void {
  const deviation = Math.sqrt((probability * (1 - probability)) / DRAWS);
  t.true(Math.abs(actual - probability) < 5 * deviation, `${what}: ${actual}, expected ${probability}`);
}

test('uniform: each number is as likely as the other, bounds included', (t) => {
  const counts = frequencies(t, new Uniform(new Random(1), 5, 14), 14);
  t.is(share(counts, 0, 4), 0);
  for (let value = 5; value <= 14; value++) near(t, share(counts, value, value), 0.1, `share of ${value}`);
});

test('zipfian: zeta is the sum of the reference, and can be carried on', (t) => {
  t.is(zeta(1000), 7.728953217284729);
  t.is(zeta(1000, 400, zeta(400)), zeta(1000));
});

test('zipfian: popularity falls as 1 / k^0.99', (t) => {
  const counts = frequencies(t, new Zipfian(new Random(2), 0, 999), 999);
  const total = zeta(1000);
  near(t, share(counts, 0, 0), 1 / total, 'share of the first');
  near(t, share(counts, 1, 1), (zeta(2) - 1) / total, 'share of the second');
  // Beyond these two the method of Gray et al. is an approximation, of about a hundredth.
  for (const last of [10, 50, 200, 600]) {
    const expected = zeta(last) / total;
    t.true(Math.abs(share(counts, 0, last - 1) - expected) < 0.02, `share of the first ${last}`);
  }
});

test('zipfian: begins at its least number, and stays in range however few there are', (t) => {
  for (const count of [1, 2, 3, 4]) {
    const counts = frequencies(t, new Zipfian(new Random(3), 10, 9 + count), 9 + count);
    t.is(share(counts, 0, 9), 0);
    t.true(share(counts, 10, 10) >= 1 / count - 0.01);
  }
});

test('zipfian: grows with the items', (t) => {
  const zipfian = new Zipfian(new Random(4), 0, 99);
  const grown: NumberGenerator = { next: () => zipfian.nextOf(10_000) };
  const counts = frequencies(t, grown, 9999);
  near(t, share(counts, 0, 0), 1 / zeta(10_000), 'share of the first of ten thousand');
  t.true(share(counts, 1000, 9999) > 0.15);
});

test('scrambled zipfian: the most popular ranks are where their hashes are', (t) => {
  const count = 10_000;
  const counts = frequencies(t, new ScrambledZipfian(new Random(5), 0, count - 1), count - 1);
  const hash = new KeyHash();
  const total = 26.46902820178302;
  for (const [rank, weight] of [
    [0, 1],
    [1, 0.5 ** 0.99],
  ] as const) {
    const record = hash.of(rank).modulo(count);
    // Other ranks fall on the same record, all together about as often as on any other.
    const expected = weight / total + 1 / count;
    t.true(Math.abs(share(counts, record, record) - expected) < 0.003, `share of rank ${rank}`);
  }
  t.is(hash.of(0).modulo(1001), 144);
  // The tail is spread over all records: nearly every record is met.
  t.true(counts.filter((times) => times > 0).length > 0.97 * count);
});

test('scrambled zipfian: begins at its least number', (t) => {
  const counts = frequencies(t, new ScrambledZipfian(new Random(6), 100, 199), 199);
  t.is(share(counts, 0, 99), 0);
  t.true(counts.slice(100).every((times) => times > 0));
});

test('latest: the newest is the most popular, and the newest moves', (t) => {
  const counter = new AcknowledgedCounter(1000);
  const latest = new Latest(new Random(7), counter);
  const before = frequencies(t, latest, 999);
  near(t, share(before, 999, 999), 1 / zeta(999), 'share of the newest');
  near(t, share(before, 998, 998), (zeta(2) - 1) / zeta(999), 'share of the second newest');
  for (let i = 0; i < 500; i++) counter.acknowledge(counter.next());
  const after = frequencies(t, latest, 1499);
  near(t, share(after, 1499, 1499), 1 / zeta(1499), 'share of the newest after inserts');
});

test('hotspot: the hot part gets its share, evenly', (t) => {
  const counts = frequencies(t, new Hotspot(new Random(8), 0, 99, 0.2, 0.8), 99);
  near(t, share(counts, 0, 19), 0.8, 'share of the hot part');
  for (const value of [0, 10, 19]) near(t, share(counts, value, value), 0.8 / 20, `share of ${value}`);
  for (const value of [20, 60, 99]) near(t, share(counts, value, value), 0.2 / 80, `share of ${value}`);
});

test('hotspot: a part without numbers is never drawn from', (t) => {
  t.is(share(frequencies(t, new Hotspot(new Random(9), 0, 9, 0, 0.8), 9), 0, 9), 1);
  t.is(share(frequencies(t, new Hotspot(new Random(9), 0, 9, 1, 0.5), 9), 0, 9), 1);
});

test('exponential: the percentile lies at the range, and the mean where theory has it', (t) => {
  const exponential = new Exponential(new Random(10), 95, 1000);
  const draws = Array.from({ length: DRAWS }, () => exponential.next());
  near(t, draws.filter((value) => value < 1000).length / DRAWS, 0.95, 'share below the range');
  const mean = draws.reduce((sum, value) => sum + value, 0) / DRAWS;
  const expected = 1000 / -Math.log(0.05);
  t.true(Math.abs(mean / expected - 1) < 5 / Math.sqrt(DRAWS), `mean ${mean}`);
  t.true(draws.every((value) => value >= 0 && value < Infinity));
});

test('sequential: goes round; counter: goes on; constant: stays', (t) => {
  const sequential = new Sequential(3, 5);
  t.deepEqual(
    Array.from({ length: 7 }, () => sequential.next()),
    [3, 4, 5, 3, 4, 5, 3],
  );
  const counter = new Counter(8);
  t.deepEqual([counter.next(), counter.next(), counter.next()], [8, 9, 10]);
  const constant = new Constant(100);
  t.deepEqual([constant.next(), constant.next()], [100, 100]);
});

test('acknowledged counter: shows no number before those below it are acknowledged', (t) => {
  const counter = new AcknowledgedCounter(5);
  t.is(counter.last, 4);
  t.deepEqual([counter.next(), counter.next(), counter.next()], [5, 6, 7]);
  t.is(counter.last, 4);
  counter.acknowledge(6);
  t.is(counter.last, 4);
  counter.acknowledge(5);
  t.is(counter.last, 6);
  counter.acknowledge(7);
  t.is(counter.last, 7);
});

test('acknowledged counter: its window goes round, and is not overrun', (t) => {
  const counter = new AcknowledgedCounter(0);
  for (let i = 0; i < 2_500_000; i++) counter.acknowledge(counter.next());
  t.is(counter.last, 2_499_999);
  t.throws(() => counter.acknowledge(2_499_999 + 2 ** 20 + 1), { instanceOf: RangeError });
});

test('discrete: values come in proportion to their weights', (t) => {
  const discrete = new Discrete(new Random(11), [
    [0, 50],
    [1, 0],
    [2, 45],
    [3, 5],
  ]);
  const counts = frequencies(t, discrete, 3);
  near(t, share(counts, 0, 0), 0.5, 'share of the first');
  t.is(counts[1], 0);
  near(t, share(counts, 2, 2), 0.45, 'share of the third');
  near(t, share(counts, 3, 3), 0.05, 'share of the fourth');
});
