/** What becomes of work that was promised when the program ends, or when its timers are mocked. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { GEOMETRY } from './crash/history.ts';
import { outcomes } from './settling.ts';

/** Runs a program with a store open in `dir`, from the condition and the loader of this process. */
function run(dir: string, body: string): { status: number | null; stderr: string } {
  // Without an FFI the default warns, on stderr.
  const options = process.env['AIOKV_FFI'] === 'none' ? `, { directIo: 'off' }` : '';
  const program = `import { open } from '@aiokv/kv';\nconst store = await open(${JSON.stringify(dir)}${options});\n${body}`;
  const args = [...process.execArgv, '--input-type=module', '--eval', program];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  return { status, stderr };
}

test('a program that ends without close has its acknowledged writes flushed first', async (t) => {
  const parent = await mkdtemp(resolve('.tmp-process-end-'));
  const dir = join(parent, 'store');
  try {
    t.deepEqual(run(dir, `await store.put('key', 'buffered', { durability: 'buffered' });`), { status: 0, stderr: '' });
    t.deepEqual(run(dir, `for (let n = 0; n < 100000; n++) void store.put('key' + n, 'x');`), {
      status: 0,
      stderr: '',
    });
    const store = await open(dir);
    t.is((await store.get('key'))?.toString(), 'buffered');
    t.is((await store.get('key99999'))?.toString(), 'x');
    await store.close();
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
});

test('an open store with nothing to do does not keep a program alive', async (t) => {
  const parent = await mkdtemp(resolve('.tmp-process-end-'));
  try {
    const dir = join(parent, 'store');
    t.is(run(dir, `await store.put('key', 'value'); await store.get('key');`).status, 0);
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
});

const TIMERS = [
  'setTimeout',
  'setImmediate',
  'setInterval',
  'clearTimeout',
  'clearImmediate',
  'queueMicrotask',
] as const;

test.serial('mocked timers do not stop a store', async (t) => {
  const store = await open('/store', { ...GEOMETRY, platform: new SimulatedDisk({ seed: 1 }) });
  const real = Object.fromEntries(TIMERS.map((name) => [name, globalThis[name]]));
  const wait = globalThis.setImmediate;
  const mock = (): unknown => ({ unref: () => undefined, ref: () => undefined });
  for (const name of TIMERS)
    Object.defineProperty(globalThis, name, { value: mock, writable: true, configurable: true });
  const realNextTick = Reflect.get(process, 'nextTick') as unknown;
  Object.defineProperty(process, 'nextTick', { value: mock, writable: true, configurable: true });
  const operations = Array.from({ length: 600 }, (_, n) => ({ type: 'put' as const, key: `key${n}`, value: 'x' }));
  let isDone = false;
  const work = async (): Promise<void> => {
    await store.batch(operations);
    await store.getMany(['key1', 'key2']);
    await store.close();
    isDone = true;
  };
  try {
    void work();
    for (let turn = 0; turn < 5000 && !isDone; turn++) await new Promise<void>((resolved) => wait(resolved));
  } finally {
    Object.defineProperty(process, 'nextTick', { value: realNextTick, writable: true, configurable: true });
    for (const [name, value] of Object.entries(real)) {
      Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
    }
  }
  t.true(isDone);
  t.deepEqual(await outcomes([store.close()]), ['ok']);
});
