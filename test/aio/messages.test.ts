/** Errors of the system: each names the thing it is about and a remedy, and the remedy works. */
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { runInNewContext } from 'node:vm';
import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import test from 'ava';
import { PlainTree } from './plain-tree.ts';

const BLOCK = 4096;

let tree: PlainTree;
let directory: string;

test.before(async () => {
  tree = await PlainTree.make(['limits-child']);
  directory = await mkdtemp(resolve('.tmp-messages-'));
});

test.after.always(async () => {
  await tree.remove();
  await rm(directory, { recursive: true, force: true });
});

type Told = { code?: string; syscall?: string; message: string } | null;

async function run(args: string[], prefix: string[]): Promise<Told[]> {
  const { stdout, stderr, code } = await tree.run('limits-child', args, { prefix, patienceMs: 60_000 });
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout) as Told[];
}

for (const engine of ['libaio', 'threads'] as const) {
  test(`${engine}: EFBIG names the file and the limit, and a higher one helps`, async (t) => {
    const path = join(directory, `large-${engine}`);
    const told = await run(['tooLarge', path, engine], ['prlimit', '--fsize=65536']);
    for (const one of told) {
      t.is(one?.code, 'EFBIG');
      t.regex(one?.message ?? '', new RegExp(`${path}.*ulimit -f`, 'u'));
    }
    t.deepEqual(await run(['tooLarge', path, engine], ['prlimit', '--fsize=67108864']), [null, null]);
  });

  test(`${engine}: EMFILE says which limit, and closing files helps`, async (t) => {
    const path = join(directory, `many-${engine}`);
    const [file, queue, ...after] = await run(['tooMany', path, engine], ['prlimit', '--nofile=64']);
    t.is(file?.code, 'EMFILE');
    t.regex(file?.message ?? '', new RegExp(`${path}.*ulimit -n`, 'u'));
    if (engine === 'libaio') {
      t.is(queue?.code, 'EMFILE');
      t.regex(queue?.message ?? '', /ulimit -n/u);
    } else t.is(queue, null);
    t.deepEqual(after, [null, null]);
  });
}

const mounts = spawnSync('unshare', ['-m', 'true']).status === 0;
const name = mounts
  ? 'EROFS names the file, and reading works'
  : 'EROFS: no mount of its own may be made here (unshare -m)';
(mounts ? test : test.skip)(name, async (t) => {
  const script = 'mount -t tmpfs none "$0" && touch "$0/data" && mount -o remount,ro none "$0" && exec "$@"';
  const path = join(directory, 'mounted');
  await mkdir(path);
  const prefix = ['unshare', '-m', 'sh', '-c', script, path];
  const [write, create, read] = await run(['readOnly', join(path, 'data'), 'threads'], prefix);
  for (const one of [write, create]) {
    t.is(one?.code, 'EROFS');
    t.is(one?.syscall, 'open');
    t.regex(one?.message ?? '', new RegExp(`${path}/data.*readOnly: true`, 'u'));
  }
  t.is(read, null);
});

test('ENOSPC and EIO name the file, and say what to do', async (t) => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * BLOCK });
  const file = await disk.open('/data', { create: true });
  const queue = new Queue(disk);
  const write = (): Promise<number> => queue.write(file, allocateAligned(BLOCK), { offset: 8 * BLOCK });
  await t.throwsAsync(write(), { code: 'ENOSPC', message: /^ENOSPC: .*, write \(\/data: the device is full: delete/u });
  disk.inject({ at: () => true, kind: 'EIO', sticky: true });
  const buffer = allocateAligned(BLOCK);
  const message = /\/data: the device failed: look at the kernel's log/u;
  await t.throwsAsync(queue.read(file, buffer, { offset: 0 }), { code: 'EIO', message });
  await t.throwsAsync(queue.read(file, buffer, { offset: 0, deadlineMs: 9999 }), { code: 'EIO', message });
  await t.throwsAsync(queue.fdatasync(file), { code: 'EIO', message });
  t.throws(() => queue.readSync(file, buffer, { offset: 0 }), { code: 'EIO', message });
  await queue.close();
});

test('a signal of another realm ends a request', async (t) => {
  const disk = new SimulatedDisk();
  const file = await disk.open('/data', { create: true });
  const queue = new Queue(disk);
  const signal = runInNewContext(`({
    aborted: false,
    reason: undefined,
    listeners: [],
    addEventListener(name, listener) { this.listeners.push(listener); },
    removeEventListener(name, listener) { this.listeners = this.listeners.filter((one) => one !== listener); },
    abort(reason) { this.aborted = true; this.reason = reason; for (const listener of this.listeners) listener(); },
  })`) as AbortSignal & { abort(reason: unknown): void; listeners: unknown[] };
  const read = queue.read(file, allocateAligned(BLOCK), { offset: 0, signal });
  signal.abort('enough');
  const error = await t.throwsAsync(read, { code: 'ERR_AIOKV_ABORTED' });
  t.is(error?.cause, 'enough');
  t.is(signal.listeners.length, 0);
  await queue.close();
});
