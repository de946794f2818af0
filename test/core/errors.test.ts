/** Errors: stable codes, kept causes, and system call errors in the shape of Node's own. */
import { AiokvError, AiokvRangeError, AiokvTypeError, ERROR_CODES, SystemCallError, assert } from '@aiokv/core';
import type * as core from '@aiokv/core';
import test from 'ava';
import { open } from 'node:fs/promises';
import { constants } from 'node:os';

test('an error has its code, its name, its message and its cause', (t) => {
  const cause = new Error('underneath');
  const error = new AiokvError('ERR_AIOKV_IO', 'the disk is unwell', { cause });
  t.is(error.code, 'ERR_AIOKV_IO');
  t.is(error.name, 'AiokvError');
  t.is(error.message, 'the disk is unwell');
  t.is(error.cause, cause);
  t.true(error instanceof Error);
  t.false('cause' in new AiokvError('ERR_AIOKV_IO', 'no cause'));
});

test('mistakes of the program are TypeErrors and RangeErrors with a code', (t) => {
  const type = new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'wrong type');
  const range = new AiokvRangeError('ERR_AIOKV_ALIGNMENT', 'out of range');
  t.true(type instanceof TypeError);
  t.true(range instanceof RangeError);
  t.deepEqual([type.code, type.name], ['ERR_AIOKV_INVALID_ARGUMENT', 'AiokvTypeError']);
  t.deepEqual([range.code, range.name], ['ERR_AIOKV_ALIGNMENT', 'AiokvRangeError']);
});

test('codes are spelt alike, sorted, and stand there once', (t) => {
  t.true(ERROR_CODES.every((code) => /^ERR_AIOKV_[A-Z_]+$/u.test(code)));
  t.is(new Set(ERROR_CODES).size, ERROR_CODES.length);
  t.deepEqual([...ERROR_CODES].sort(), [...ERROR_CODES]);
});

test('a system call error looks like the one that Node makes', async (t) => {
  const handle = await t.throwsAsync(open('/nonexistent/file'), { code: 'ENOENT' });
  const ours = new SystemCallError('open', constants.errno.ENOENT, '/nonexistent/file');
  t.is(ours.code, 'ENOENT');
  t.is(ours.syscall, 'open');
  t.is(ours.errno, (handle as NodeJS.ErrnoException).errno as number);
  t.true(ours.message.startsWith('ENOENT: no such file or directory, open'), ours.message);
  t.true(ours.message.includes('/nonexistent/file'));
});

test('the sign of an error number does not matter', (t) => {
  const [plus, minus] = [new SystemCallError('read', 5), new SystemCallError('read', -5)];
  t.deepEqual([plus.code, plus.errno, plus.message], ['EIO', -5, 'EIO: i/o error, read']);
  t.deepEqual([minus.code, minus.errno, minus.message], [plus.code, plus.errno, plus.message]);
});

test('an unknown error number is still told', (t) => {
  const error = new SystemCallError('io_submit', -1999);
  t.is(error.code, 'E1999');
  t.is(error.errno, -1999);
  t.regex(error.message, /1999/u);
});

test('every error number that the engines meet has a name', (t) => {
  const names = [
    'EAGAIN',
    'EBADF',
    'EINVAL',
    'EIO',
    'ENOSPC',
    'EFAULT',
    'ENOMEM',
    'EFBIG',
    'ENOENT',
    'EEXIST',
    'EACCES',
    'EROFS',
  ] as const;
  for (const name of names)
    t.is(new SystemCallError('x', constants.errno[name as keyof typeof constants.errno] ?? 0).code, name);
});

test('a broken invariant is an internal error', (t) => {
  t.notThrows(() => assert(true, 'whatever'));
  t.throws(() => assert(false, 'water is wet'), { code: 'ERR_AIOKV_INTERNAL', message: /water is wet/u });
});

test('instanceof holds across copies of the package, and not for other classes', async (t) => {
  // Another address is another copy, as a bundle or CommonJS beside ES modules would be.
  const address = '../../packages/core/src/errors.ts?copy';
  const copy = (await import(address)) as typeof core;
  t.not(copy.AiokvError, AiokvError);
  const theirs = new copy.AiokvError('ERR_AIOKV_IO', 'of the copy');
  t.true(theirs instanceof AiokvError);
  t.true(new AiokvError('ERR_AIOKV_IO', 'ours') instanceof copy.AiokvError);
  t.true(new copy.SystemCallError('read', 5) instanceof SystemCallError);
  t.false(theirs instanceof AiokvTypeError);
  t.false(theirs instanceof SystemCallError);
  for (const other of [new Error('no'), { code: 'ERR_AIOKV_IO' }, null, undefined, 'ERR_AIOKV_IO']) {
    t.false(other instanceof AiokvError);
  }
  class Mine extends AiokvError {}
  t.false(theirs instanceof Mine);
  t.true(new Mine('ERR_AIOKV_IO', 'mine') instanceof Mine);
  t.true(new Mine('ERR_AIOKV_IO', 'mine') instanceof copy.AiokvError);
  t.deepEqual(
    Reflect.ownKeys(theirs).filter((key) => typeof key === 'symbol'),
    [],
    'nothing to be seen when printed',
  );
});
