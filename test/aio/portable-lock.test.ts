/** The lock without foreign functions, beyond what every platform must do: whom it keeps out, and where there is none. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { linuxPlatform, portablePlatform } from '@aiokv/aio';
import { portablePlatformOn } from '../../packages/aio/src/portable.ts';
import { THIS_HOST } from '../../packages/aio/src/host.ts';
import { fromSource } from '../helpers/from-source.ts';
import { skipWhere } from '../helpers/skip.ts';
import { macos, windows } from './hosts.ts';
import { isLoadable } from './loadable.ts';

async function inDirectory(body: (directory: string, path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-lock-'));
  try {
    await body(directory, join(directory, 'file'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const withForeignFunctions = skipWhere(isLoadable('koffi') ? null : 'koffi is not installed here');

withForeignFunctions('it is the lock of the Linux platform: each keeps the other out', (t) =>
  inDirectory(async (_, path) => {
    const linux = await linuxPlatform({ ffi: 'koffi' }).open(path, { create: true });
    const portable = await portablePlatform().open(path);
    t.is(await portable.lock(), undefined);
    // The program that took it has ended.
    t.is(await linux.lock(), 'another process');
    await portable.close();
    t.is(await linux.lock(), undefined);
    const other = await portablePlatform().open(path);
    t.is(await other.lock(), `this process (${process.pid})`);
    await linux.close();
    t.is(await other.lock(), undefined);
    await other.close();
  }),
);

test('PLOCK-2: it ends with a process that is killed, and nobody ever has it beside somebody else', (t) =>
  inDirectory(async (directory, path) => {
    await (await portablePlatform().open(path, { create: true })).close();
    const kinds = isLoadable('koffi') ? ['none', 'koffi', 'none', ''] : ['none', 'none', 'none', 'none'];
    const children = kinds.map((ffi) =>
      spawn(process.execPath, [...fromSource('test/aio/lock-child.ts'), path, '12'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, AIOKV_FFI: ffi },
      }),
    );
    const said = children.map(async (child) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      await once(child, 'close');
      return { text, signal: child.signalCode };
    });
    for (const { text, signal } of await Promise.all(said)) {
      // Each has it twelve times, and kills itself with it the last time.
      t.is(text, 'taken\n'.repeat(12));
      t.is(signal, 'SIGKILL');
    }
    const file = await portablePlatform().open(path);
    t.is(await file.lock(), undefined);
    await file.close();
    t.deepEqual(
      (await readdir(directory)).filter((name) => name !== 'inside'),
      ['file'],
    );
  }));

test('what a killed process leaves beside a file on Windows refuses nobody, and goes', (t) =>
  inDirectory(async (directory, path) => {
    const killed = await windows().open(path, { create: true });
    t.is(await killed.lock(), undefined);
    t.is((await readdir(directory)).length, 2);
    // Another host knows nothing of the handles of this one, as a system whose process has ended.
    const file = await windows().open(path);
    t.is(await file.lock(), undefined);
    await file.close();
    t.deepEqual(await readdir(directory), ['file']);
    await killed.close();
  }));

test('a file that was replaced while macOS locked it is not taken for locked', (t) =>
  inDirectory(async (_, path) => {
    const platform = macos();
    const file = await platform.open(path, { create: true });
    await platform.rename(path, `${path}.old`);
    await (await platform.open(path, { create: true })).close();
    await t.throwsAsync(file.lock(), { message: /was replaced/u });
    await file.close();
    const other = await platform.open(path);
    t.is(await other.lock(), undefined, 'nothing was kept');
    await other.close();
  }));

test('PLOCK-1: a system without a lock is refused, with what to do', (t) =>
  inDirectory(async (_, path) => {
    const file = await portablePlatformOn({ ...THIS_HOST, system: 'sunos' }).open(path, { create: true });
    await t.throwsAsync(file.lock(), { code: 'ERR_AIOKV_UNSUPPORTED', message: /sunos.*npm install koffi/u });
    await file.close();
  }));

test.serial('PLOCK-1: without a program flock, or with one that fails, there is no lock', (t) =>
  inDirectory(async (directory, path) => {
    const before = process.env['PATH'];
    const file = await portablePlatform().open(path, { create: true });
    const refused = { code: 'ERR_AIOKV_UNSUPPORTED', message: /util-linux/u } as const;
    try {
      process.env['PATH'] = join(directory, 'nowhere');
      await t.throwsAsync(file.lock(), { ...refused, message: /cannot be run \(ENOENT\)/u });
      const programs = join(directory, 'bin');
      await mkdir(programs);
      process.env['PATH'] = `${programs}:${before}`;
      for (const script of ['echo "flock: no locks available" >&2; exit 1', 'exit 71', 'kill -9 $$']) {
        await writeFile(join(programs, 'flock'), `#!/bin/sh\n${script}\n`);
        await chmod(join(programs, 'flock'), 0o755);
        await t.throwsAsync(file.lock(), { ...refused, message: /says: (?:flock: no locks|exit code 71|SIGKILL)/u });
      }
    } finally {
      process.env['PATH'] = before;
    }
    t.is(await file.lock(), undefined);
    await file.close();
  }),
);
