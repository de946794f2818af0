/** The MessagePack codec: whatever goes in comes out, and every value stands alone. */
import { createCodec } from '@aiokv/core';
import test from 'ava';
import { assert, jsonValue, property } from 'fast-check';
import { seedOf } from '../helpers/seed.ts';

test('values come back as they went in', (t) => {
  const codec = createCodec();
  const values = [
    null,
    true,
    0,
    -1,
    1.5,
    2 ** 40,
    'Grüße',
    '',
    [],
    {},
    [1, [2, [3]]],
    { a: { b: ['c'] } },
    new Date(0),
  ];
  for (const value of values) t.deepEqual(codec.decode(codec.encode(value)), value);
  const bytes = codec.decode(codec.encode(Uint8Array.of(1, 2, 3))) as Uint8Array;
  t.deepEqual([...bytes], [1, 2, 3]);
});

test('any JSON comes back', (t) => {
  const codec = createCodec();
  const json = jsonValue({ maxDepth: 4 }).filter((value) => !JSON.stringify(value).includes('__proto__'));
  const same = property(json, (value) => JSON.stringify(codec.decode(codec.encode(value))) === JSON.stringify(value));
  const seed = seedOf('AIOKV_CODEC_SEED');
  t.notThrows(() => assert(same, { seed }), `AIOKV_CODEC_SEED=${seed}`);
});

test('a property named __proto__ is renamed, so that bytes cannot set a prototype', (t) => {
  const codec = createCodec();
  t.is(JSON.stringify(codec.decode(codec.encode(JSON.parse('{"__proto__":{"a":1}}')))), '{"__proto_":{"a":1}}');
});

test('each value stands alone: another codec reads it', (t) => {
  const writer = createCodec<{ name: string; size: number }>();
  const encoded = [1, 2, 3].map((size) => writer.encode({ name: 'same shape', size }));
  for (const [i, bytes] of encoded.entries())
    t.deepEqual(createCodec().decode(bytes), { name: 'same shape', size: i + 1 });
});

test('encoded bytes belong to the caller', (t) => {
  const codec = createCodec<string>();
  const first = codec.encode('first');
  const copy = Uint8Array.from(first);
  for (let i = 0; i < 1000; i++) codec.encode(`another ${i}`);
  t.deepEqual(Uint8Array.from(first), copy);
  first.fill(0);
  t.is(codec.decode(codec.encode('second')), 'second');
});

test('an object is a MessagePack map, which any reader of MessagePack understands', (t) => {
  const [type, ...rest] = createCodec().encode({ a: 1 });
  t.true(type === 0x81 || type === 0xde || type === 0xdf, `type ${type}`);
  t.deepEqual(rest.slice(-3), [0xa1, 0x61, 0x01]);
});
