/** Files of the real platform, beyond what the conformance suite asks of every platform. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { promises as fs, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, statfs } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import { AiokvError } from '@aiokv/core';
import { Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { requireForeignInterface } from '../../packages/aio/src/ffi/load.ts';
import { isLoadable } from './loadable.ts';

const { EFBIG, ENOSPC } = constants.errno;
const BLOCK = 4096;
const aio = new URL('../../packages/aio/src/index.ts', import.meta.url).href;

/** Runs `body` with each interface in a directory of its own. */
async function withDirectory(body: (platform: Platform, directory: string) => Promise<void>): Promise<void> {
  for (const ffi of ['koffi', 'ffi-napi'] as const) {
    if (!isLoadable(ffi)) continue;
    const directory = await mkdtemp(resolve('.tmp-file-'));
    try {
      await body(linuxPlatform({ ffi }), directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
}

test('alignment: writes keep clear of file-system blocks', async (t) => {
  await withDirectory(async (platform, directory) => {
    const file = await platform.open(join(directory, 'data'), { create: true });
    const { bsize } = await statfs(directory);
    const { memory, offset, write } = file.alignment;
    t.true(memory >= 1 && memory <= BLOCK && offset >= 1, JSON.stringify(file.alignment));
    t.is(write % offset, 0);
    if (bsize <= 65536) t.is(write % bsize, 0);
    await file.close();
  });
});

test('what O_DIRECT does not suit is refused by name, with a remedy', async (t) => {
  await withDirectory(async (platform, directory) => {
    // A file system that is everywhere and has no direct I/O.
    const error = await t.throwsAsync(platform.open('/proc/self/status', { readOnly: true }), {
      instanceOf: AiokvError,
      code: 'ERR_AIOKV_NO_DIRECT_IO',
      message: /ext4, xfs or btrfs/,
    });
    t.like(error?.cause, { code: 'EINVAL' });
    await t.throwsAsync(platform.open(directory, { readOnly: true }), { code: 'ERR_AIOKV_NO_DIRECT_IO' });
    await t.throwsAsync(platform.open(directory), { code: 'EISDIR' });
  });
});

test('a pipe with a name is refused, and opening it does not wait for its other end', async (t) => {
  const ffi = requireForeignInterface();
  await withDirectory(async (platform, directory) => {
    const path = join(directory, 'pipe');
    const name = Buffer.from(`${path}\0`);
    const memory = new ArrayBuffer(name.length);
    new Uint8Array(memory).set(name);
    t.is(ffi.load(null).bind('mkfifo', 2)(ffi.addressOf(memory), 0o600) | 0, 0);
    await t.throwsAsync(platform.open(path), { code: 'ERR_AIOKV_NO_DIRECT_IO' });
  });
});

test('a closed file has no descriptor, so that no late request reaches another file', async (t) => {
  await withDirectory(async (platform, directory) => {
    const queue = new Queue(platform, { depth: 4 });
    const file = await platform.open(join(directory, 'one'), { create: true });
    await file.preallocate(0, BLOCK);
    t.true(file.handle >= 0);
    await Promise.all([file.close(), file.close()]);
    t.is(file.handle, -1);
    const other = await platform.open(join(directory, 'two'), { create: true });
    await other.preallocate(0, BLOCK);
    const buffer = allocateAligned(BLOCK);
    buffer.bytes.fill(9);
    await t.throwsAsync(queue.write(file, buffer, { offset: 0 }), { code: 'ERR_AIOKV_CLOSED' });
    await queue.read(other, buffer, { offset: 0 });
    t.true(buffer.bytes.every((byte) => byte === 0));
    await t.throwsAsync(file.lock(), { code: 'ERR_AIOKV_CLOSED' });
    await queue.close();
    await other.close();
  });
});

test('a file closes after its flushes, whose descriptor would be another file otherwise', async (t) => {
  await withDirectory(async (platform, directory) => {
    const file = await platform.open(join(directory, 'data'), { create: true });
    await file.preallocate(0, 4 * 1024 * 1024);
    const ended: string[] = [];
    const flushes = Array.from({ length: 8 }, () => file.sync().then(() => ended.push('flush')));
    await Promise.all([...flushes, file.close().then(() => ended.push('close'))]);
    t.deepEqual(ended, [...Array<string>(8).fill('flush'), 'close']);
  });
});

test('preallocation takes blocks, beyond 4 GiB too, and says when there is no room', async (t) => {
  await withDirectory(async (platform, directory) => {
    const path = join(directory, 'grown');
    const file = await platform.open(path, { create: true });
    await file.preallocate(5 * 2 ** 30, 1 << 20);
    t.is(await file.sizeBytes(), 5 * 2 ** 30 + (1 << 20));
    const { blocks } = await stat(path);
    t.true(blocks * 512 >= 1 << 20 && blocks * 512 < 1 << 30, `${blocks} sectors`);
    const error = await t.throwsAsync<Error & { errno: number }>(file.preallocate(0, 2 ** 50));
    t.true([-ENOSPC, -EFBIG].includes(error?.errno ?? 0), String(error));
    const { bavail, bsize } = await statfs(directory);
    t.true(bavail * bsize > 0);
    await file.close();
    await rm(path);
  });
});

test('preallocation runs beside the event loop', async (t) => {
  await withDirectory(async (platform, directory) => {
    const file = await platform.open(join(directory, 'many'), { create: true });
    const growing = file.preallocate(0, 64 << 20);
    let settled = false;
    void growing.then(() => (settled = true));
    await Promise.resolve();
    t.false(settled, 'the call came back first');
    await growing;
    t.is(await file.sizeBytes(), 64 << 20);
    await file.close();
  });
});

test('a lock names the process that has it, and ends with that process', async (t) => {
  await withDirectory(async (platform, directory) => {
    const path = join(directory, 'locked');
    const script = `
      const { linuxPlatform } = await import('${aio}');
      const file = await linuxPlatform().open(process.argv[1], { create: true });
      console.log(await file.lock());
      setInterval(() => file, 1000);`;
    const child = spawn(process.execPath, [...process.execArgv, '--input-type=module', '-e', script, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    t.is(line.toString().trim(), 'undefined');
    const file = await platform.open(path);
    // Other locks of the machine stand in the same list, some on files with the same inode number.
    t.is(await file.lock(), `process ${child.pid}`, readFileSync('/proc/locks', 'utf8'));
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    t.is(await file.lock(), undefined);
    const again = await platform.open(path);
    t.is(await again.lock(), `this process (${process.pid})`);
    await again.close();
    await file.close();
    await rm(path);
  });
});

test.serial('another name on a file system without hard links: the file is renamed, and never replaces', async (t) => {
  const { link } = fs;
  // As vfat and exfat do.
  fs.link = () => Promise.reject(Object.assign(new Error('link'), { code: 'EPERM' }));
  try {
    await withDirectory(async (platform, directory) => {
      const [from, to] = [join(directory, 'fröm'), join(directory, 'tö')];
      const first = await platform.open(from, { create: true });
      await first.linkTo(to);
      t.is(first.path, to);
      t.deepEqual(await readdir(directory), ['tö']);
      const second = await platform.open(from, { create: true });
      await t.throwsAsync(second.linkTo(to), { code: 'EEXIST', message: /renameat2/ });
      t.is(second.path, from);
      t.deepEqual((await readdir(directory)).sort(), ['fröm', 'tö']);
      await first.close();
      await second.close();
    });
  } finally {
    fs.link = link;
  }
});

test.serial('a link that a file server has made and denies is one', async (t) => {
  const { link } = fs;
  fs.link = async (from, to) => {
    await link(from, to);
    throw Object.assign(new Error(`link ${String(from)} ${String(to)}`), { code: 'EEXIST' });
  };
  try {
    await withDirectory(async (platform, directory) => {
      const file = await platform.open(join(directory, 'from'), { create: true });
      await file.linkTo(join(directory, 'to'));
      t.is(file.path, join(directory, 'to'));
      await file.close();
    });
  } finally {
    fs.link = link;
  }
});

test.serial('a directory that is made has its parents flushed, and one that is there its own', async (t) => {
  const { open } = fs;
  let flushed: unknown[] = [];
  fs.open = (path, ...rest) => {
    flushed.push(path);
    return open(path, ...rest);
  };
  try {
    await withDirectory(async (platform, directory) => {
      const inner = join(directory, 'a', 'b');
      flushed = [];
      await platform.makeDirectory(inner);
      t.deepEqual(flushed, [join(directory, 'a'), directory]);
      flushed = [];
      await platform.makeDirectory(inner);
      t.deepEqual(flushed, [join(directory, 'a')], 'who made it may have been killed before');
      await platform.makeDirectory('/');
    });
  } finally {
    fs.open = open;
  }
});

test('a file that nobody refers to keeps its descriptor', async (t) => {
  await withDirectory(async (platform, directory) => {
    const path = join(directory, 'kept');
    const open = async (): Promise<number> => (await platform.open(path, { create: true })).handle;
    const handle = await open();
    for (let round = 0; round < 5; round++) {
      globalThis.gc?.();
      await new Promise((done) => setImmediate(done));
    }
    t.is(readlinkSync(`/proc/self/fd/${handle}`), path);
  });
});
