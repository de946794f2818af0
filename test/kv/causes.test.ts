/**
 * What the system refuses while a store is opened or made: for each step and each cause a code that the cause decides,
 * a message that names the thing and a remedy, nothing locked, open or left over, and an opening after it that works.
 */
import { spawnSync } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { AiokvError, SystemCallError } from '@aiokv/core';
import type { ErrorCode } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { OPENING } from './creation/opener.ts';
import { counting } from './creation/steps.ts';

const { errno } = constants;
const child = fileURLToPath(new URL('./creation/refused.ts', import.meta.url));

/** Each cause with its code and what the message advises. */
const CAUSES: Readonly<Record<string, readonly [ErrorCode, RegExp]>> = {
  EIO: ['ERR_AIOKV_IO', /check the device/u],
  ENOSPC: ['ERR_AIOKV_NO_SPACE', /free space on the device/u],
  EDQUOT: ['ERR_AIOKV_NO_SPACE', /raise the quota/u],
  EFBIG: ['ERR_AIOKV_NO_SPACE', /raise the limit of the process \(ulimit -f\)/u],
  EROFS: ['ERR_AIOKV_READ_ONLY', /mount it for writing/u],
  EACCES: ['ERR_AIOKV_PERMISSION', /grant it/u],
  EPERM: ['ERR_AIOKV_PERMISSION', /grant it/u],
  EMFILE: ['ERR_AIOKV_TOO_MANY_FILES', /ulimit -n/u],
  ENFILE: ['ERR_AIOKV_TOO_MANY_FILES', /fs\.file-max/u],
  ENOTDIR: ['ERR_AIOKV_NOT_A_STORE', /open a directory/u],
  ELOOP: ['ERR_AIOKV_NOT_A_STORE', /links form a loop/u],
  ENAMETOOLONG: ['ERR_AIOKV_NOT_A_STORE', /shorter path/u],
  ENOLCK: ['ERR_AIOKV_UNSUPPORTED', /ext4, xfs or btrfs/u],
  ENXIO: ['ERR_AIOKV_IO', /check the device/u],
};

const STEPS = ['list', 'makeDirectory', 'open', 'lock', 'preallocate', 'sync', 'linkTo', 'syncDirectory', 'sizeBytes'];

/** Opens with a platform whose `step` fails once; says what is wrong, or null. */
async function judge(disk: SimulatedDisk, step: string, cause: string): Promise<string | null> {
  const [code, remedy] = CAUSES[cause] as readonly [ErrorCode, RegExp];
  let hasFailed = false;
  let openFiles = 0;
  const platform = counting(disk, (call) => {
    if (call === step && !hasFailed) {
      hasFailed = true;
      throw new SystemCallError(call, errno[cause as keyof typeof errno]);
    }
    if (call === 'open') openFiles++;
    if (call === 'close') openFiles--;
  });
  const error = await open('/store', { ...OPENING, platform }).then(
    async (store) => {
      await store.close();
      return null;
    },
    (thrown: unknown) => thrown,
  );
  if (!hasFailed) return 'the step was not taken';
  if (!(error instanceof AiokvError)) return `not one of ours: ${String(error)}`;
  if (error.code !== code) return `${error.code}: ${error.message}`;
  if (!error.message.includes('/store') || !remedy.test(error.message)) return error.message;
  if ((error.cause as { code?: unknown }).code !== cause) return 'the cause is not kept';
  if (openFiles !== 0) return `${openFiles} files are left open`;
  const left = ((await disk.list('/store')) ?? []).filter((name) => name !== 'data.aiokv');
  // The name may not be durable, which the other one says (CREATE-5).
  if (left.length > 0 && step !== 'syncDirectory') return `left over: ${left.join()}`;
  const store = await open('/store', { ...OPENING, platform: disk });
  await store.put('a', 'b');
  await store.close();
  const names = (await disk.list('/store')) ?? [];
  return names.join() === 'data.aiokv' ? null : `after another opening: ${names.join()}`;
}

for (const step of STEPS) {
  test(`a store is made, and ${step} is refused`, async (t) => {
    for (const cause of Object.keys(CAUSES)) {
      t.is(await judge(new SimulatedDisk({ seed: 1 }), step, cause), null, cause);
    }
  });
}

for (const step of ['list', 'open', 'lock', 'sizeBytes']) {
  test(`a store is opened, and ${step} is refused`, async (t) => {
    for (const cause of Object.keys(CAUSES)) {
      const disk = new SimulatedDisk({ seed: 1 });
      await (await open('/store', { ...OPENING, platform: disk })).close();
      t.is(await judge(disk, step, cause), null, cause);
    }
  });
}

for (const kind of ['EIO', 'ENOSPC', 'flush-failure'] as const) {
  test(`each request of a creation fails: ${kind}`, async (t) => {
    const codes = kind === 'ENOSPC' ? ['ERR_AIOKV_NO_SPACE'] : ['ERR_AIOKV_IO'];
    let refused = 0;
    // The requests before the first read are those of the creation.
    for (let at = 0; at < 20; at++) {
      const disk = new SimulatedDisk({ seed: 1 });
      let isMade = false;
      disk.onOperation = (_, phase, request) => {
        if (phase === 'submitted' && request.kind === 'read') isMade = true;
      };
      const heal = disk.inject({ at: (request) => !isMade && request.kind !== 'read' && request.index === at, kind });
      const error = await open('/store', { ...OPENING, platform: disk }).then(
        (store) => store.close(),
        (thrown: unknown) => thrown as AiokvError,
      );
      heal();
      if (disk.faultsStruck === 0) continue;
      refused++;
      t.true(codes.includes(error?.code ?? ''), `request ${at}: ${String(error)}`);
      t.regex(error?.message ?? '', /\/store/u);
      t.deepEqual(await disk.list('/store'), []);
      await (await open('/store', { ...OPENING, platform: disk })).close();
    }
    t.true(refused >= (kind === 'flush-failure' ? 3 : 5), `${refused} refused`);
  });
}

async function inDirectory(use: (place: string) => Promise<void>): Promise<void> {
  const place = await mkdtemp(resolve('.tmp-causes-'));
  try {
    await use(place);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

test('paths that lead to no directory', (t) =>
  inDirectory(async (place) => {
    await writeFile(join(place, 'file'), 'mine');
    await symlink('circle', join(place, 'circle'));
    await symlink('nowhere/at/all', join(place, 'broken'));
    await mkdir(join(place, 'holder'));
    await symlink('nowhere', join(place, 'holder', 'data.aiokv'));
    await mkdir(join(place, 'folder', 'data.aiokv'), { recursive: true });
    const wrong: readonly (readonly [string, ErrorCode, RegExp])[] = [
      ['file', 'ERR_AIOKV_NOT_A_STORE', /it is a file, or a part of the path is one: open a directory/u],
      ['file/store', 'ERR_AIOKV_NOT_A_STORE', /it is a file, or a part of the path is one: open a directory/u],
      ['circle', 'ERR_AIOKV_NOT_A_STORE', /loop: repair them/u],
      ['x'.repeat(300), 'ERR_AIOKV_NOT_A_STORE', /too long: open a directory with a shorter path/u],
      ['broken', 'ERR_AIOKV_NOT_A_STORE', /a broken link has that name: remove it/u],
      ['holder', 'ERR_AIOKV_NOT_FOUND', /a link is broken/u],
      ['folder', 'ERR_AIOKV_NOT_A_STORE', /it is a directory, but must be a file/u],
    ];
    for (const [name, code, message] of wrong) {
      const error = await t.throwsAsync(open(join(place, name), OPENING), { code, message }, name);
      t.true(error?.message.includes(name), error?.message);
    }
    t.deepEqual((await readdir(place)).sort(), ['broken', 'circle', 'file', 'folder', 'holder']);
    // The remedies.
    await rm(join(place, 'broken'));
    for (const name of ['broken', 'x'.repeat(200)]) await (await open(join(place, name), OPENING)).close();
  }));

/** Opens in a process of its own, begun by `prefix`; what it says is the code of the error, or `opened`. */
function openBy(prefix: readonly string[], ...args: readonly string[]): { said: string; stderr: string } {
  const [command, ...rest] = [...prefix, process.execPath, ...process.execArgv, child, ...args] as [
    string,
    ...string[],
  ];
  const { stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8', timeout: 60_000 });
  return { said: stdout.trim(), stderr };
}

test('a limit of the size of files is told as one, and raising it helps', (t) =>
  inDirectory(async (place) => {
    const directory = join(place, 'store');
    const { said, stderr } = openBy(['bash', '-c', 'ulimit -f 100; exec "$@"', 'bash'], directory);
    t.regex(said, /^ERR_AIOKV_NO_SPACE .*raise the limit of the process \(ulimit -f\)/u, stderr);
    t.notRegex(said, /free space/u);
    t.deepEqual(await readdir(directory), []);
    t.is(openBy(['bash', '-c', 'ulimit -f 10000; exec "$@"', 'bash'], directory).said, 'opened');
  }));

test('too many open files are told as such, and closing some helps', (t) =>
  inDirectory(async (place) => {
    const { said, stderr } = openBy(
      ['bash', '-c', 'ulimit -n 200; exec "$@"', 'bash'],
      join(place, 'store'),
      'exhaust',
    );
    t.regex(said, /^ERR_AIOKV_TOO_MANY_FILES .*ulimit -n\)\s+opened$/u, stderr);
  }));

const isRoot = process.getuid?.() === 0;
const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;

(isRoot ? test : test.skip)(`a directory of somebody else${isRoot ? '' : '; needs root'}`, (t) =>
  inDirectory(async (place) => {
    const as = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    await chmod(place, 0o755);
    await (await open(join(place, 'mine'), OPENING)).close();
    await mkdir(join(place, 'closed'));
    await chmod(join(place, 'closed'), 0o700);
    await mkdir(join(place, 'theirs'));
    for (const name of ['new', 'mine', 'closed']) {
      const { said, stderr } = openBy(as, join(place, name));
      t.regex(said, /^ERR_AIOKV_PERMISSION .*grant it/u, `${name}: ${stderr}`);
      t.true(said.includes(join(place, name)), said);
    }
    await chmod(join(place, 'theirs'), 0o777);
    const { said, stderr } = openBy(as, join(place, 'theirs'));
    t.is(said, 'opened', stderr);
  }),
);

(canMount ? test : test.skip)(`a read-only file system${canMount ? '' : '; nothing can be mounted here'}`, (t) =>
  inDirectory(async (place) => {
    await (await open(join(place, 'there'), OPENING)).close();
    const script = `mount --bind ${place} ${place} && mount -o remount,ro,bind ${place} && exec "$@"`;
    for (const name of ['there', 'new']) {
      const { said, stderr } = openBy(
        ['unshare', '--mount', '--propagation=private', 'sh', '-c', script, 'sh'],
        join(place, name),
      );
      t.regex(said, /^ERR_AIOKV_READ_ONLY .*mount it for writing/u, `${name}: ${stderr}`);
    }
    t.deepEqual(await readdir(place), ['there']);
  }),
);

test('a backup is a copy of the directory of a closed store, or what an iterator gives', (t) =>
  inDirectory(async (place) => {
    const store = await open(join(place, 'store'), OPENING);
    const keys = Array.from({ length: 50 }, (_, n) => `key${n}`);
    for (const key of keys) await store.put(key, `of ${key}`);
    const copy = await open(join(place, 'export'), OPENING);
    for await (const [key, value] of store.iterator()) await copy.put(key, value, { durability: 'buffered' });
    await copy.flush();
    await copy.close();
    await store.close();
    await cp(join(place, 'store'), join(place, 'copied'), { recursive: true });
    await rm(join(place, 'store'), { recursive: true });
    for (const name of ['export', 'copied']) {
      const restored = await open(join(place, name), { ...OPENING, createIfMissing: false });
      for (const key of keys) t.is((await restored.get(key))?.toString(), `of ${key}`);
      await restored.close();
    }
  }));

test('damage is told with a remedy that there is', async (t) => {
  const disk = new SimulatedDisk({ seed: 1 });
  await (await open('/store', { ...OPENING, platform: disk })).close();
  for (let copy = 0; copy < 4; copy++) disk.writeRaw('/store/data.aiokv', copy * 65_536 + 200, Uint8Array.of(1));
  await t.throwsAsync(open('/store', { ...OPENING, platform: disk }), {
    code: 'ERR_AIOKV_CORRUPT',
    message:
      /restore a backup, a copy of the directory that was made while the store was closed \(docs\/durability\.md\)/u,
  });
});
