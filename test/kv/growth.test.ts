/** A file that cannot grow: the cause decides the code and the remedy, and nothing is said about what did not happen. */
import test from 'ava';
import { SystemCallError } from '@aiokv/core';
import type { ErrorCode } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { constants } from 'node:os';
import { systemFailure } from '../../packages/kv/src/failure/system-failure.ts';
import { GEOMETRY } from './crash/explorer.ts';

const { errno } = constants;

const TABLE: readonly (readonly [name: string, cause: unknown, code: ErrorCode, message: RegExp])[] = [
  ['ENOSPC', new SystemCallError('fallocate', errno.ENOSPC), 'ERR_AIOKV_NO_SPACE', /the device is full: free space/],
  ['EDQUOT', new SystemCallError('fallocate', errno.EDQUOT), 'ERR_AIOKV_NO_SPACE', /quota.*raise the quota/],
  ['EFBIG', new SystemCallError('fallocate', errno.EFBIG), 'ERR_AIOKV_NO_SPACE', /size is limited: raise the limit/],
  ['EIO', new SystemCallError('fallocate', errno.EIO), 'ERR_AIOKV_IO', /\(EIO: .*\): check the device/],
  ['EROFS', new SystemCallError('fallocate', errno.EROFS), 'ERR_AIOKV_READ_ONLY', /read-only: mount it for writing/],
  ['EBADF', new SystemCallError('fallocate', errno.EBADF), 'ERR_AIOKV_IO', /\(EBADF: .*\): check the device/],
  ['a system error of Node', Object.assign(new Error('full'), { code: 'ENOSPC' }), 'ERR_AIOKV_NO_SPACE', /is full/],
  ['a name of Object', Object.assign(new Error('odd'), { code: 'constructor' }), 'ERR_AIOKV_IO', /\(odd\)/],
  ['no error', undefined, 'ERR_AIOKV_IO', /\(undefined\)/],
];

for (const [name, cause, code, message] of TABLE) {
  test(`growth that fails with ${name}`, (t) => {
    const error = systemFailure('/a/data.aiokv cannot grow by 65536 bytes', cause);
    t.is(error.code, code);
    t.is(error.cause, cause);
    t.regex(error.message, message);
    t.true(error.message.startsWith('/a/data.aiokv cannot grow by 65536 bytes'));
    if (code !== 'ERR_AIOKV_NO_SPACE') t.notRegex(error.message, /free space/);
  });
}

test('an I/O error while the file grows is not told as a full device, and is asked for once', async (t) => {
  const disk = new SimulatedDisk({ seed: 8 });
  const store = await open('/store', { ...GEOMETRY, platform: disk });
  // More than one segment, of which the reserve is left for the deletion.
  for (let n = 0; n < 30; n++) await store.put(`first${n}`, 'x'.repeat(10_000), { durability: 'written' });
  let attempts = 0;
  const at = ({ kind }: { kind: string }): boolean => kind === 'preallocate' && ++attempts > 0;
  const heal = disk.inject({ at, kind: 'EIO', sticky: true });
  let written = 0;
  const error = await t.throwsAsync(
    async () => {
      for (; ; written++) await store.put(`key${written}`, 'x'.repeat(10_000), { durability: 'written' });
    },
    { code: 'ERR_AIOKV_IO', message: /data\.aiokv cannot grow by \d+ bytes/ },
  );
  t.like(error?.cause, { code: 'EIO' });
  const before = attempts;
  await t.throwsAsync(store.put('large', 'x'.repeat(50_000)), { code: 'ERR_AIOKV_IO' });
  t.true(attempts - before <= 2, `${attempts - before} attempts: a smaller growth does not help`);
  // Nothing has failed but the growth.
  t.is((await store.get('key0'))?.length, 10_000);
  await store.del('key0');
  heal();
  await store.put('room', 'x'.repeat(50_000));
  await store.close();
});
