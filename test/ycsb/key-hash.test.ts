/** Keys: the reference's own, and the hash in halves against one in BigInt. */
import fc from 'fast-check';
import test from 'ava';
import { KeyHash } from '../../benchmarks/ycsb/key-hash.ts';
import { KeyNames } from '../../benchmarks/ycsb/key-name.ts';

const hash = new KeyHash();

/** Numbers, and what the Java reference makes of them. */
const KNOWN: readonly (readonly [number, string])[] = [
  [0, '6284781860667377211'],
  [1, '8517097267634966620'],
  [2, '1820151046732198393'],
  [3, '4052466453699787802'],
  [7, '5465015992139406178'],
  [255, '8064062821143829734'],
  [256, '2056600594528442646'],
  [65_535, '8476454546330126581'],
  [999, '2071219101098386137'],
  [4_294_967_295, '5673037472935113441'],
  [4_294_967_296, '634246865027890484'],
  [9_999_999_999, '3605131173811637474'],
  [10_000_000_000, '1201321332300452516'],
  [9_007_199_254_740_991, '8320194101659580432'],
];

function hashInBigInt(value: number): bigint {
  let result = 0xcbf29ce484222325n;
  let rest = BigInt(value);
  for (let i = 0; i < 8; i++) {
    result = BigInt.asUintN(64, (result ^ (rest & 0xffn)) * 1_099_511_628_211n);
    rest >>= 8n;
  }
  const signed = BigInt.asIntN(64, result);
  return signed < 0n ? -signed : signed;
}

test('hashes are those of the reference', (t) => {
  for (const [value, expected] of KNOWN) t.is(hash.of(value).toString(), expected, `hash of ${value}`);
});

test('hashes and their remainders are those of 64-bit arithmetic', (t) => {
  const property = fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 2 ** 31 + 1000 }), (value, count) => {
    const expected = hashInBigInt(value);
    return hash.of(value).toString() === String(expected) && hash.modulo(count) === Number(expected % BigInt(count));
  });
  t.notThrows(() => fc.assert(property, { numRuns: 20_000, seed: 1 }));
});

test('keys are those of the reference', (t) => {
  const hashed = new KeyNames(false, 1);
  t.is(hashed.of(0), 'user6284781860667377211');
  t.is(hashed.of(1), 'user8517097267634966620');
  t.is(hashed.of(2), 'user1820151046732198393');
  t.is(hashed.of(999), 'user2071219101098386137');
});

test('ordered keys are the numbers, and zeropadding fills them up', (t) => {
  t.is(new KeyNames(true, 1).of(42), 'user42');
  t.is(new KeyNames(true, 8).of(42), 'user00000042');
  t.is(new KeyNames(true, 2).of(12_345), 'user12345');
  t.is(new KeyNames(false, 20).of(4_294_967_296), 'user00634246865027890484');
});
