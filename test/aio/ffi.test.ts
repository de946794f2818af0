/** The FFI port: one suite over both adapters, then the choice between them. */
import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { foreignInterface } from '../../packages/aio/src/ffi/load.ts';
import type { ForeignInterface } from '../../packages/aio/src/ffi/port.ts';
import { garbageOf } from './garbage.ts';

const source = [...process.execArgv, '--input-type=module', '-e'];
const load = new URL('../../packages/aio/src/ffi/load.ts', import.meta.url).href;

for (const name of ['koffi', 'ffi-napi'] as const) {
  const ffi = foreignInterface(name);
  if (ffi === undefined) {
    test.skip(`${name} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }
  conformance(name, ffi);
}

function conformance(name: string, ffi: ForeignInterface): void {
  const libc = ffi.load(null);

  test(`${name}: integers of all sizes and signs go in and come out`, (t) => {
    const labs = libc.bind('labs', 1);
    for (const value of [0, 5, -5, 2 ** 31, -(2 ** 31), 2 ** 32 + 1, -(2 ** 40) - 3, 2 ** 47, 2 ** 52]) {
      t.is(labs(value), Math.abs(value), String(value));
    }
    t.is(libc.bind('getpid', 0)() | 0, process.pid);
    // snprintf(target, size, format, ...) tells whether each of seven arguments arrives in its place.
    const format = Buffer.from('%ld %ld %ld %ld\0');
    const memory = new ArrayBuffer(128);
    new Uint8Array(memory).set(format, 64);
    const address = ffi.addressOf(memory);
    const written = libc.bind('snprintf', 7)(address, 64, address + 64, -1, 2 ** 33, 3, -4);
    t.is(Buffer.from(memory, 0, written | 0).toString(), '-1 8589934592 3 -4');
  });

  test(`${name}: functions of nought to seven arguments get each in its place`, (t) => {
    // snprintf(target, size, format, ...): the format says which of the others are read.
    const memory = new ArrayBuffer(256);
    const bytes = new Uint8Array(memory);
    const [target, format] = [ffi.addressOf(memory), ffi.addressOf(memory) + 128];
    const values = [-(2 ** 53) + 1, 2 ** 53 - 1, -1, 2 ** 32];
    for (let count = 0; count <= 4; count++) {
      bytes.set(Buffer.from(`${'%ld '.repeat(count)}.\0`), 128);
      const length = libc.bind('snprintf', 3 + count)(target, 128, format, ...values.slice(0, count)) | 0;
      t.is(Buffer.from(memory, 0, length).toString(), [...values.slice(0, count), '.'].join(' '));
    }
    t.true(libc.bind('clock', 0)() >= 0);
    t.is(libc.bind('abs', 1)(-7) | 0, 7);
    t.is(libc.bind('strnlen', 2)(format, 5) | 0, 5);
  });

  test(`${name}: arguments that are left out are 0`, (t) => {
    const labs = libc.bind('labs', 1);
    t.is(labs(-3), 3);
    t.is(labs(), 0, 'and not what the call before had');
  });

  test(`${name}: memory of native code can be viewed, twice and again after it was freed`, (t) => {
    const [malloc, free] = [libc.bind('malloc', 1), libc.bind('free', 1)];
    for (let round = 0; round < 50; round++) {
      const address = malloc(65_536);
      const [small, large] = [ffi.viewOf(address, 32), ffi.viewOf(address, 65_536)];
      t.is(large?.byteLength, 65_536);
      if (small === undefined || large === undefined) return;
      small[31] = round + 1;
      t.is(large[31], round + 1);
      free(address);
    }
  });

  test(`${name}: asynchronous calls that overlap keep their arguments and results apart`, async (t) => {
    const labs = libc.bindAsync('labs', 1);
    const values = Array.from({ length: 200 }, (_, i) => -(i * 2 ** 40 + i));
    t.deepEqual(await Promise.all(values.map((value) => labs(value))), values.map(Math.abs));
  });

  test(`${name}: memory has an address, and an address can be viewed`, (t) => {
    const memory = new ArrayBuffer(8192);
    const view = ffi.viewOf(ffi.addressOf(memory), memory.byteLength);
    t.truthy(view);
    view?.set([1, 2, 3], 4096);
    t.deepEqual([...new Uint8Array(memory, 4096, 3)], [1, 2, 3]);
    new Uint8Array(memory)[8191] = 9;
    t.is(view?.[8191], 9);
    t.is(view?.byteLength, 8192);
  });

  test(`${name}: native code calls back`, (t) => {
    const numbers = new BigInt64Array([3n, 1n, 2n]);
    const address = ffi.addressOf(numbers.buffer);
    const seen: number[] = [];
    const callback = ffi.callback((a, b) => seen.push(a - address, b - address), 2);
    libc.bind('qsort', 4)(address, 3, 8, callback.address);
    callback.release();
    t.true(seen.length >= 4);
    t.true(seen.every((offset) => offset % 8 === 0 && offset >= 0 && offset < 24));
  });

  test.serial(`${name}: an asynchronous call runs beside the event loop`, async (t) => {
    const usleep = libc.bindAsync('usleep', 1);
    let turned = false;
    setImmediate(() => (turned = true));
    // Were the call made here and now, its promise would be settled before the loop turns.
    const results = await Promise.all([usleep(50_000), usleep(50_000)]);
    t.deepEqual(
      results.map((result) => result | 0),
      [0, 0],
    );
    t.true(turned);
  });

  test(`${name}: what is not there is an error`, (t) => {
    t.throws(() => ffi.load('libthere-is-none.so.99'));
    t.throws(() => libc.bind('there_is_no_such_function', 0));
    t.false(libc.has('there_is_no_such_function'));
    t.true(libc.has('getpid'));
  });

  test.serial(`${name}: a call allocates nothing`, (t) => {
    const labs = libc.bind('labs', 1);
    for (let i = 0; i < 20_000; i++) labs(i);
    const bytes = garbageOf(() => labs(-5), 1000);
    t.true(bytes < 4, `${bytes} bytes`);
  });
}

test('AIOKV_FFI chooses', (t) => {
  for (const name of ['koffi', 'ffi-napi']) {
    if (foreignInterface(name as 'koffi') === undefined) continue;
    const script = `import { foreignInterface } from '${load}'; console.log(foreignInterface().name)`;
    const { stdout } = spawnSync(process.execPath, [...source, script], {
      env: { ...process.env, AIOKV_FFI: name },
      encoding: 'utf8',
    });
    t.is(stdout.trim(), name);
  }
});

test('AIOKV_FFI that is misspelt is an error, and one that is empty is none', (t) => {
  const script = `
    import { foreignInterface } from '${load}';
    try { console.log(foreignInterface() !== undefined); } catch (error) { console.log(error.code, error.message); }`;
  const run = (AIOKV_FFI: string): string =>
    spawnSync(process.execPath, [...source, script], { env: { ...process.env, AIOKV_FFI }, encoding: 'utf8' }).stdout;
  t.regex(run('kofi'), /^ERR_AIOKV_INVALID_OPTION .*AIOKV_FFI.*ffi-napi, koffi.*'kofi'/);
  t.is(run('').trim(), 'true');
});

test('what was asked for by name stands for those who name none', (t) => {
  const script = `
    import { foreignInterface } from '${load}';
    foreignInterface('koffi');
    console.log(foreignInterface().name, foreignInterface() === foreignInterface('koffi'));`;
  const env: NodeJS.ProcessEnv = { ...process.env };
  delete env['AIOKV_FFI'];
  const { stdout } = spawnSync(process.execPath, [...source, script], { env, encoding: 'utf8' });
  t.regex(stdout, /^koffi true$/m);
});

test('with neither installed the error says what to do, and has both causes', (t) => {
  // A hook that finds neither package stands in for a machine without them.
  const script = `
    import Module from 'node:module';
    const find = Module._resolveFilename;
    Module._resolveFilename = function (request, ...rest) {
      if (/^(koffi|ffi-napi|ref-napi)/.test(request)) throw new Error('Cannot find module ' + request);
      return find.call(this, request, ...rest);
    };
    const { foreignInterface, requireForeignInterface } = await import('${load}');
    console.log(foreignInterface());
    try { requireForeignInterface(); } catch (error) {
      console.log(error.code, error.message);
      console.log(error.cause.errors.map(({ message }) => message).join());
    }
    try { requireForeignInterface('koffi'); } catch (error) { console.log(error.cause.message); }`;
  const { stdout, stderr } = spawnSync(process.execPath, [...source, script], { encoding: 'utf8' });
  const [first, message = '', causes = '', cause = ''] = stdout.split('\n');
  t.is(first, 'undefined', stderr);
  t.regex(message, /^ERR_AIOKV_FFI_UNAVAILABLE .*ffi-napi: .*koffi: .*npm install koffi/);
  t.regex(causes, /ffi-napi,Cannot find module koffi$/);
  t.regex(cause, /koffi$/);
});

test('a worker takes koffi, whatever AIOKV_FFI says', async (t) => {
  // A worker does not inherit tsx, which is why it registers it by itself.
  const script = `
    import('tsx/esm/api')
      .then(({ register }) => register())
      .then(() => import('${load}'))
      .then(({ foreignInterface }) => {
        require('node:worker_threads').parentPort.postMessage([foreignInterface()?.name, foreignInterface('ffi-napi')?.name]);
      });`;
  for (const asked of ['', 'ffi-napi']) {
    const env = { ...process.env, AIOKV_FFI: asked };
    const worker = new Worker(script, { eval: true, execArgv: ['--conditions=@aiokv/source'], env });
    const message = await new Promise((done, reject) => worker.once('message', done).once('error', reject));
    t.deepEqual(message, ['koffi', undefined], asked);
    await worker.terminate();
  }
});
