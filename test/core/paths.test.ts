/** Paths that callers give, in every form and in none. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import { AiokvTypeError, resolvePath } from '@aiokv/core';

const WHERE = 'open: the directory';

test('strings and file URLs become absolute paths', (t) => {
  t.is(resolvePath(WHERE, '/a/b/../c/'), '/a/c');
  t.is(resolvePath(WHERE, 'store'), resolve('store'));
  t.is(resolvePath(WHERE, '.'), process.cwd());
  t.is(resolvePath(WHERE, new URL('file:///a/b%20c')), '/a/b c');
  t.is(resolvePath(WHERE, pathToFileURL('/a/ü?#')), '/a/ü?#');
  const foreign: unknown = runInNewContext('new URL("file:///a/b")', { URL });
  t.is(resolvePath(WHERE, foreign), '/a/b');
  const shaped = { href: 'file:///a/b', protocol: 'file:' };
  t.is(resolvePath(WHERE, shaped), '/a/b', 'of another realm: it has the shape and not the class');
});

const REFUSED: readonly (readonly [value: unknown, message: RegExp])[] = [
  ['', /not an empty one/u],
  ['a\0b', /without NUL/u],
  ['file:///a', /new URL\('file:\/\/\/a'\)/u],
  [new URL('https://example.com/a'), /not https:\/\/example\.com\/a/u],
  [new URL('file://host/a'), /names no file of this machine/u],
  [new URL('file:///a%2Fb'), /names no file/u],
  [new URL('file:///a%00b'), /without NUL/u],
  [undefined, /not undefined/u],
  [null, /not null/u],
  [7, /not 7/u],
  [true, /not true/u],
  [{}, /not object/u],
  [['/a'], /not object/u],
  [Buffer.from('/a'), /bytes: decode them/u],
  [Symbol('a'), /not symbol/u],
];

for (const [value, message] of REFUSED) {
  test(`refused: ${typeof value === 'symbol' ? 'a symbol' : JSON.stringify(value)} (${typeof value})`, (t) => {
    const error = t.throws(() => resolvePath(WHERE, value), { code: 'ERR_AIOKV_INVALID_ARGUMENT', message });
    t.true(error instanceof AiokvTypeError);
    t.true(error?.message.startsWith('open: the directory must be a path as a string, or a file: URL, '));
  });
}
