/** The portable platform: what it does otherwise than Linux, and when `openFile` and `openQueue` fall back on it. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { EngineName, Platform } from '@aiokv/aio';
import { Opcode, allocateAligned, portablePlatform } from '@aiokv/aio';
import test from 'ava';

const BLOCK = 4096;
/** For processes of their own: they find the package as this one does. */
const FLAGS = process.execArgv.filter((flag) => flag.startsWith('--import') || flag.startsWith('--conditions'));

async function inDirectory(body: (platform: Platform, directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-portable-'));
  try {
    await body(portablePlatform(), directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test('files go through the page cache, and say so', (t) =>
  inDirectory(async (platform, directory) => {
    const path = join(directory, 'file');
    t.is(platform.name, 'portable');
    await t.throwsAsync(platform.open(path, { create: true, direct: 'require' }), { code: 'ERR_AIOKV_NO_DIRECT_IO' });
    for (const direct of [undefined, 'never', 'prefer'] as const) {
      const file = await platform.open(path, { create: true, ...(direct === undefined ? {} : { direct }) });
      t.false(file.isDirect);
      t.deepEqual(file.alignment, { memory: 1, offset: 1, write: BLOCK });
      await file.close();
      t.is(file.handle, -1);
    }
  }));

test('what it cannot do is refused with a code and a remedy', (t) =>
  inDirectory(async (platform, directory) => {
    const file = await platform.open(join(directory, 'file'), { create: true });
    const expected = { code: 'ERR_AIOKV_UNSUPPORTED', message: /linuxPlatform/u };
    await t.throwsAsync(file.punchHole(0, BLOCK), expected);
    await file.close();
  }));

test('preallocate gives a file its blocks, never makes it shorter, also when asked twice at once', (t) =>
  inDirectory(async (platform, directory) => {
    const path = join(directory, 'file');
    const file = await platform.open(path, { create: true });
    for (let i = 1; i <= 10; i++) {
      await Promise.all([file.preallocate(0, i * 9 * BLOCK), file.preallocate(0, i * BLOCK)]);
      t.is(await file.sizeBytes(), i * 9 * BLOCK);
    }
    await file.sync();
    t.true((await stat(path)).blocks * 512 >= 90 * BLOCK, 'no later write can find the disk full');
    const failing = file.preallocate(0, 2 ** 60);
    const next = file.preallocate(0, 100 * BLOCK);
    await t.throwsAsync(failing);
    await next;
    t.is(await file.sizeBytes(), 100 * BLOCK, 'one that fails does not stop the next');
    await file.close();
  }));

test('a transfer on a thread, of any length and at any offset', (t) =>
  inDirectory(async (platform, directory) => {
    const file = await platform.open(join(directory, 'file'), { create: true });
    const buffer = allocateAligned(100);
    buffer.bytes.fill(7);
    t.is(await file.transferOnThread(Opcode.write, buffer, 3, 41, 5), 41);
    t.is(await file.sizeBytes(), 46);
    t.is(await file.transferOnThread(Opcode.read, buffer, 0, 100, 1), 45);
    t.deepEqual([...buffer.bytes.subarray(0, 6)], [0, 0, 0, 0, 7, 7]);
    await file.close();
  }));

test('threads are the only engine', (t) => {
  const platform = portablePlatform();
  const options = { slots: 1, depth: 1 };
  for (const asked of [{}, { engine: 'auto' }, { engine: 'threads' }] as const) {
    const engine = platform.createEngine({ ...options, ...asked });
    t.is(engine.name, 'threads');
    t.true(engine.reason.length > 0);
  }
  for (const engine of ['libaio', 'io_uring', 'posix', 'simulated'] satisfies EngineName[]) {
    const error = t.throws(() => platform.createEngine({ ...options, engine }), {
      code: 'ERR_AIOKV_ENGINE_UNAVAILABLE',
    });
    t.regex(error.message, /linuxPlatform/u);
  }
});

test('without an FFI the defaults are refused, and who takes less stands on threads', (t) =>
  inDirectory(async (_, directory) => {
    const script = join(directory, 'without.mjs');
    // A hook that finds no package stands in for a machine without them.
    await writeFile(
      script,
      `import Module from 'node:module';
      const find = Module._resolveFilename;
      Module._resolveFilename = function (request, ...rest) {
        if (/^(koffi|ffi-napi|ref-napi)/.test(request)) throw new Error('Cannot find module ' + request);
        return find.call(this, request, ...rest);
      };
      const { allocateAligned, openFile, openQueue, openShards } = await import('@aiokv/aio');
      const path = ${JSON.stringify(join(directory, 'data'))};
      const codes = [];
      const refused = async (call) => { try { await call(); } catch (error) { codes.push(error.code); } };
      await refused(() => openFile(path, { create: true }));
      await refused(() => openFile(path, { create: true, direct: 'require' }));
      await refused(() => openQueue());
      await refused(() => openQueue({ engine: 'libaio' }));
      await refused(() => openShards());
      const queue = openQueue({ engine: 'auto' });
      for (const direct of ['prefer', 'never']) {
        const file = await openFile(path, { create: true, direct });
        const buffer = allocateAligned(4096);
        buffer.bytes.fill(6);
        await queue.write(file, buffer, { offset: 0 });
        buffer.bytes.fill(0);
        await queue.read(file, buffer, { offset: 0 });
        console.log(buffer.address, buffer.bytes[4095], file.isDirect);
        await file.close();
      }
      await queue.close();
      await openQueue({ engine: 'threads' }).close();
      await openShards({ contexts: 2 }, { engine: 'threads' }).close();
      console.log(queue.engine.name, codes.join());`,
    );
    const { stdout, stderr } = spawnSync(process.execPath, [...FLAGS, script], { encoding: 'utf8', timeout: 60_000 });
    const refusals = new Array<string>(5).fill('ERR_AIOKV_FFI_UNAVAILABLE').join();
    t.is(stdout, `0 6 false\n0 6 false\nthreads ${refusals}\n`, stderr);
  }));
