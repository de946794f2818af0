/** The FFI port: one suite over both adapters, then the choice between them. */
import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { foreignInterface } from '../../packages/aio/src/ffi/load.ts';
import type { ForeignInterface } from '../../packages/aio/src/ffi/port.ts';

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

  test.serial(`${name}: a call costs little and allocates nothing`, (t) => {
    const labs = libc.bind('labs', 1);
    const calls = 200_000;
    for (let i = 0; i < 10_000; i++) labs(i);
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    const startMs = performance.now();
    for (let i = 0; i < calls; i++) labs(i);
    const us = ((performance.now() - startMs) * 1000) / calls;
    const bytes = (process.memoryUsage().heapUsed - before) / calls;
    t.log(`${us.toFixed(3)} us and ${bytes.toFixed(1)} bytes a call`);
    t.true(us < 5, `${us} us`);
    t.true(bytes < 16, `${bytes} bytes`);
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

test('with neither installed the error says what to do', (t) => {
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
    try { requireForeignInterface(); } catch (error) { console.log(error.code, error.message); }`;
  const { stdout, stderr } = spawnSync(process.execPath, [...source, script], { encoding: 'utf8' });
  t.regex(stdout, /^undefined\nERR_AIOKV_FFI_UNAVAILABLE .*ffi-napi: .*koffi: .*npm install koffi/, stderr);
});

test('a worker takes koffi', async (t) => {
  // A worker does not inherit tsx, which is why it registers it by itself.
  const script = `
    import('tsx/esm/api')
      .then(({ register }) => register())
      .then(() => import('${load}'))
      .then(({ foreignInterface }) => {
        require('node:worker_threads').parentPort.postMessage([foreignInterface()?.name, foreignInterface('ffi-napi')?.name]);
      });`;
  const worker = new Worker(script, { eval: true, execArgv: ['--conditions=@aiokv/source'] });
  const message = await new Promise((done, reject) => worker.once('message', done).once('error', reject));
  t.deepEqual(message, ['koffi', undefined]);
  await worker.terminate();
});
