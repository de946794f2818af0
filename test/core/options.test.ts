/** Options: defaults, refusals, and messages that name what was wrong. */
import {
  boolean,
  instance,
  integer,
  nearestName,
  oneOf,
  powerOfTwo,
  refuseUnknown,
  resolveOptions,
  unknownNameIn,
} from '@aiokv/core';
import test from 'ava';

interface Options {
  depth: number;
  pageBytes: number;
  sync: boolean;
  mode: 'fast' | 'safe';
  clock: { now(): number } | null;
}

const shape = {
  depth: integer(1, 64, 8),
  pageBytes: powerOfTwo(512, 65_536, 4096),
  sync: boolean(true),
  mode: oneOf(['fast', 'safe'], 'safe'),
  clock: instance<Options['clock']>('a clock', null, (value) => typeof value === 'object'),
};

const resolve = (given?: unknown): Options => resolveOptions<Options>('opening', shape, given as Partial<Options>);

test('what is left out, or undefined, takes its default', (t) => {
  const defaults = { depth: 8, pageBytes: 4096, sync: true, mode: 'safe', clock: null };
  t.deepEqual(resolve() as unknown, defaults);
  t.deepEqual(resolve({}) as unknown, defaults);
  t.deepEqual(resolve({ depth: undefined, mode: undefined }) as unknown, defaults);
});

test('what is given is taken, to the edges of its range', (t) => {
  const clock = { now: () => 1 };
  const given = { depth: 64, pageBytes: 512, sync: false, mode: 'fast', clock };
  t.deepEqual(resolve(given) as unknown, given);
  t.is(resolve({ depth: 1 }).depth, 1);
  t.is(resolve({ pageBytes: 65_536 }).pageBytes, 65_536);
});

test('the options given are not touched', (t) => {
  const given = Object.freeze({ depth: 3 });
  const resolved = resolve(given);
  t.false(Object.is(resolved, given));
  t.deepEqual(Object.keys(given), ['depth']);
});

const refused: [string, unknown, RegExp][] = [
  ['below the range', { depth: 0 }, /'depth' must be an integer from 1 to 64, not 0/u],
  ['above the range', { depth: 65 }, /not 65/u],
  ['not whole', { depth: 1.5 }, /not 1\.5/u],
  ['not a number', { depth: Number.NaN }, /not NaN/u],
  ['a string for a number', { depth: '8' }, /not '8'/u],
  ['null for a number', { depth: null }, /not null/u],
  ['no power of two', { pageBytes: 4097 }, /power of two from 512 to 65536/u],
  ['too small a power of two', { pageBytes: 256 }, /not 256/u],
  ['a number for a boolean', { sync: 1 }, /true or false/u],
  ['none of the choices', { mode: 'quick' }, /one of 'fast', 'safe', not 'quick'/u],
  ['a property of all objects for a choice', { mode: 'constructor' }, /not 'constructor'/u],
  ['a function for an object', { clock: () => 1 }, /a clock, not function/u],
  ['misspelt', { dept: 8 }, /there is no option 'dept' \(did you mean 'depth'\?\); the options are depth, pageBytes/u],
  ['of another case', { pagebytes: 8 }, /did you mean 'pageBytes'\?/u],
  ['near nothing', { zzz: 8 }, /there is no option 'zzz'; the options are/u],
  ['inherited names', { toString: 1 }, /there is no option 'toString'/u],
];

for (const [title, given, message] of refused) {
  test(`refused: ${title}`, (t) => {
    const error = t.throws(() => resolve(given), { name: 'AiokvTypeError', code: 'ERR_AIOKV_INVALID_OPTION', message });
    t.true(error?.message.startsWith('opening: '));
  });
}

test('options that are no object are refused', (t) => {
  for (const given of [null, [], 'fast', 8, true]) {
    t.throws(() => resolve(given), { code: 'ERR_AIOKV_INVALID_OPTION', message: /must be an object/u }, String(given));
  }
});

test('the nearest name is the one that few letters tell apart', (t) => {
  const names = ['ifAbsent', 'ifVersion', 'durability', 'timeoutMs', 'maxWaiting', 'batchMin', 'by'];
  const near: [string, string | undefined][] = [
    ['ifabsent', 'ifAbsent'],
    ['if-absent', 'ifAbsent'],
    ['ifAbsnet', 'ifAbsent'],
    ['ifVersoin', 'ifVersion'],
    ['durabilty', 'durability'],
    ['timeout', 'timeoutMs'],
    ['waiting', 'maxWaiting'],
    ['max', 'maxWaiting'],
    ['minBatch', undefined],
    ['sync', undefined],
    ['x', undefined],
    ['', undefined],
    ['a'.repeat(100_000), undefined],
  ];
  for (const [given, expected] of near) t.is(nearestName(given, names), expected, given.slice(0, 20));
});

test('options are checked by name alone, and the message says what a name is called', (t) => {
  const names = { type: 0, key: 0, value: 0 };
  t.notThrows(() => refuseUnknown('batch', names, undefined));
  t.notThrows(() => refuseUnknown('batch', names, {}));
  t.notThrows(() => refuseUnknown('batch', names, { key: 1, type: undefined }));
  t.notThrows(() =>
    refuseUnknown('batch', names, Object.assign(Object.create({ inherited: 1 }) as object, { key: 1 })),
  );
  t.throws(() => refuseUnknown('batch: operation 3', names, { Value: 1 }, 'property'), {
    name: 'AiokvTypeError',
    code: 'ERR_AIOKV_INVALID_OPTION',
    message: "batch: operation 3: there is no property 'Value' (did you mean 'value'?); the names are type, key, value",
  });
  t.throws(() => refuseUnknown('close', {}, { fast: 1 }), { message: /there are none here/u });
  t.throws(() => refuseUnknown('stat', { a: 0 }, { b: 1 }), { message: /the only option is a$/u });
  for (const given of [null, [], 'fast', 8, true, () => 1]) {
    t.throws(() => refuseUnknown('put', names, given), { message: /must be an object, not/u }, String(given));
  }
  t.is(unknownNameIn(names, { key: 1 }), undefined);
  t.is(unknownNameIn(names, { key: 1, ket: 2 }), 'ket');
  t.is(unknownNameIn(names, { constructor: 1 }), 'constructor');
});

test('a check that finds nothing allocates nothing', (t) => {
  const names = { ifAbsent: 0, ifVersion: 0, durability: 0 };
  const given = { ifAbsent: true, durability: 'flushed' };
  for (let i = 0; i < 20_000; i++) refuseUnknown('put', names, given);
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000_000; i++) refuseUnknown('put', names, given);
  // A byte for each call would be four times as much; a collection in between makes it less.
  t.true(process.memoryUsage().heapUsed - before < 256 * 1024);
});
