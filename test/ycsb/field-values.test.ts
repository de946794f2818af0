/** What fields hold: random characters, and values that can be checked. */
import { Random } from '@aiokv/core';
import test from 'ava';
import { DeterministicValues, randomValue } from '../../benchmarks/ycsb/field-values.ts';

test('random values are printable, of the length asked for, six characters from a number', (t) => {
  for (const length of [0, 1, 5, 6, 7, 100]) {
    const value = randomValue(new Random(1), length);
    t.is(value.length, length);
    const numbers = new Random(1);
    for (let start = 0; start < length; start += 6) {
      const bits = numbers.uint32();
      const characters = [
        (bits & 31) + 32,
        ((bits >> 5) & 63) + 32,
        ((bits >> 10) & 95) + 32,
        ((bits >> 15) & 31) + 32,
        ((bits >> 20) & 63) + 32,
        ((bits >> 25) & 95) + 32,
      ];
      t.deepEqual([...value.subarray(start, start + 6)], characters.slice(0, length - start));
    }
  }
});

test('deterministic values are those of the reference', (t) => {
  const values = new DeterministicValues(100);
  t.is(
    values.build('user6284781860667377211', 'field3').toString(),
    'user6284781860667377211:field3:-56807784:-1874878672:1967282817:-1787301858:-652319809:-382740913:-6',
  );
  t.is(new DeterministicValues(10).build('user6284781860667377211', 'field3').toString(), 'user628478');
});

test('a value matches its own key and field only, whole', (t) => {
  const values = new DeterministicValues(100);
  const value = values.build('user1', 'field0');
  t.true(values.matches(value, 'user1', 'field0'));
  t.true(values.matches(new Uint8Array(value), 'user1', 'field0'));
  t.false(values.matches(value, 'user1', 'field1'));
  t.false(values.matches(value, 'user2', 'field0'));
  t.false(values.matches(value.subarray(0, 99), 'user1', 'field0'));
  value[99] = (value[99] as number) ^ 1;
  t.false(values.matches(value, 'user1', 'field0'));
});

test('every value is a buffer of its own', (t) => {
  const values = new DeterministicValues(20);
  const first = values.build('user1', 'field0');
  const copy = Buffer.from(first);
  values.build('user2', 'field0');
  values.matches(first, 'user3', 'field0');
  t.deepEqual(first, copy);
});
