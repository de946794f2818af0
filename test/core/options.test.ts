/** Options: defaults, refusals, and messages that name what was wrong. */
import { boolean, instance, integer, oneOf, powerOfTwo, resolveOptions } from '@aiokv/core';
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
  ['misspelt', { dept: 8 }, /there is no option 'dept'; the options are depth, pageBytes/u],
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
