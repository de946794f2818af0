/**
 * Workers that end with requests in flight: the process goes on, its memory is as it was, and the kernel has its
 * contexts back (raw/teardown.ts). Each test is a process of its own, so that a crash is a failure and no more.
 *
 * WORKER-1. A worker may be ended between any two calls. What one call has made and the next would have put in order, a
 *     context that has no hook yet or no more, the descriptors of a wake-up, stays then: none of them has requests in
 *     flight. The bounds below are for that; without hooks six contexts a worker would stay.
 *
 * WORKER-2. A call of koffi that a termination cuts short may abort the process (docs/aio.md). Such an end, which its native
 *     stack tells apart, is said and tried again where workers are ended while they open queues, and nowhere else.
 *
 * AIOKV_LONG=1 ends ten times as many.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { seedOf } from '../helpers/seed.ts';
import { isLoadable } from './loadable.ts';
import { PlainTree } from './plain-tree.ts';
import type { ChurnArguments, ChurnReport } from './worker-churn.ts';

const FILE_BYTES = 16 << 20;
const TIMES = process.env['AIOKV_LONG'] === '1' ? 10 : 1;

let tree: PlainTree;
let directory: string;

test.before(async () => {
  tree = await PlainTree.make(['worker-churn', 'worker-reader', 'footprint']);
  directory = await mkdtemp(resolve('.tmp-workers-'));
  await writeFile(join(directory, 'data'), new Uint8Array(FILE_BYTES));
});

test.after.always(async () => {
  await tree.remove();
  await rm(directory, { recursive: true, force: true });
});

/** Of processes that terminate a dozen workers amid calls of koffi, up to half were seen to abort on a busy machine. */
const ATTEMPTS = 6;

/** See WORKER-2. */
function isEndOfKoffi({ signal, stderr }: Awaited<ReturnType<PlainTree['run']>>): boolean {
  return signal === 'SIGABRT' && stderr.includes('ThrowAsJavaScriptException') && stderr.includes('koffi.node');
}

type Churn = Omit<ChurnArguments, 'path' | 'seed'>;

/** Ends workers in a process whose main thread uses `ffi`; what must hold however they end is checked here. */
async function churn(t: ExecutionContext, ffi: string, { ending, workers }: Churn): Promise<ChurnReport> {
  const seed = seedOf('AIOKV_WORKER_SEED');
  const args: ChurnArguments = { path: join(directory, 'data'), ending, workers, seed };
  const run = (): ReturnType<PlainTree['run']> =>
    tree.run('worker-churn', [JSON.stringify(args)], { env: { AIOKV_FFI: ffi }, patienceMs: 90_000 * TIMES });
  t.log(`AIOKV_WORKER_SEED=${seed}`);
  let ended = await run();
  for (let attempt = 1; ending === 'starting' && isEndOfKoffi(ended) && attempt < ATTEMPTS; attempt++) {
    t.log('koffi took the process down: once more');
    ended = await run();
  }
  const { stdout, stderr, code, signal } = ended;
  t.deepEqual([code, signal, stderr], [0, null, ''], 'the process survives, silently');
  const report = JSON.parse(stdout) as ChurnReport;
  t.is(report.ffi, ffi);
  t.is(report.exitCodes.length, workers);
  t.is(report.changedBytes, 0, 'nobody wrote to memory of the main thread');
  t.true(report.ownReads > 0);
  return report;
}

for (const ffi of ['ffi-napi', 'koffi'] as const) {
  if (!isLoadable(ffi)) {
    test.skip(`${ffi} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }

  test.serial(`${ffi}: fifty workers are terminated with 64 requests in flight`, async (t) => {
    const workers = 50 * TIMES;
    const { ready, errors, before, after } = await churn(t, ffi, { ending: 'terminate', workers });
    t.deepEqual(errors, []);
    t.is(ready, workers, 'all had their requests in flight');
    t.deepEqual(after, before);
  });

  test.serial(`${ffi}: workers end by themselves with an open queue`, async (t) => {
    const { exitCodes, errors, before, after } = await churn(t, ffi, { ending: 'end', workers: 6 * TIMES });
    t.deepEqual(errors, []);
    t.deepEqual(new Set(exitCodes), new Set([0]));
    t.deepEqual(after, before);
  });

  test.serial(`${ffi}: workers throw with requests in flight`, async (t) => {
    const { exitCodes, errors, before, after } = await churn(t, ffi, { ending: 'throw', workers: 6 * TIMES });
    t.deepEqual(new Set(exitCodes), new Set([1]));
    t.deepEqual(new Set(errors), new Set(['as planned']));
    t.deepEqual(after, before);
  });

  test.serial(`${ffi}: workers exit with requests in flight`, async (t) => {
    const { exitCodes, errors, before, after } = await churn(t, ffi, { ending: 'exit', workers: 6 * TIMES });
    t.deepEqual(new Set(exitCodes), new Set([3]));
    t.deepEqual(errors, []);
    t.deepEqual(after, before);
  });

  test.serial(`${ffi}: workers are terminated while they open queues`, async (t) => {
    // Not their first: a worker that ends inside of koffi's binding of functions takes the process with it.
    const workers = 12 * TIMES;
    const { errors, before, after } = await churn(t, ffi, { ending: 'starting', workers });
    t.deepEqual(errors, []);
    t.true(after.contexts - before.contexts <= workers / 4, `${after.contexts} contexts (WORKER-1)`);
    t.true(after.descriptors <= before.descriptors + 3 * workers, `${after.descriptors} descriptors (WORKER-1)`);
  });

  test.serial(`${ffi}: workers are terminated while they close a queue`, async (t) => {
    const workers = 16 * TIMES;
    const { errors, before, after } = await churn(t, ffi, { ending: 'closing', workers });
    t.deepEqual(errors, []);
    t.true(after.contexts - before.contexts <= workers / 8, `${after.contexts} contexts (WORKER-1)`);
    t.is(after.descriptors, before.descriptors);
  });

  test.serial(`${ffi}: a context that the end of a worker does not destroy stays, and would be seen`, async (t) => {
    const { errors, before, after, cleared } = await churn(t, ffi, { ending: 'bare', workers: 3 });
    t.deepEqual(errors, []);
    t.is(after.contexts, before.contexts + 3);
    t.is(cleared.contexts, before.contexts);
  });
}
