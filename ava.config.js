// AIOKV_DIST=1 runs the suite over what is shipped: without the condition, `@aiokv/*` is its built `dist`.
const source = process.env.AIOKV_DIST === '1' ? [] : ['--conditions=@aiokv/source'];
// Files of the parallel step wait for the device and for timers a tenth of the time, so three run beside one another on two
// processors.
//
// scripts/test.mjs runs the suite in two steps: tests that measure time have the machine to themselves.
const TIMED = 'test/timed/**';
const steps = {
  all: { files: ['test/**/*.test.ts'], concurrency: 2 },
  parallel: { files: ['test/**/*.test.ts', `!${TIMED}`], concurrency: 3 },
  timed: { files: [`${TIMED}/*.test.ts`], concurrency: 1 },
};

/** Those that take longest begin first, so that the last one does not run alone. */
const LONGEST = [
  'kv/garbage',
  'kv/crash',
  'kv/sweep',
  'aio/worker-lifetime',
  'regress/versions',
  'end-to-end/kill',
  'level/suite',
  'kv/evict',
  'kv/cleaner',
  'kv/full-deletions',
  'aio/engine-io-uring',
  'kv/pages',
  'kv/maintenance',
  'kv/model',
  'kv/create',
  'aio/harness',
  'aio/lifetime',
];
const rank = (file) => LONGEST.findIndex((name) => file.endsWith(`test/${name}.test.ts`)) >>> 0;

export default {
  ...steps[process.env.AIOKV_TEST_STEP ?? 'all'],
  sortTestFiles: (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1),
  extensions: { ts: 'module' },
  // Files run in processes of their own, so that a native crash stays with its file.
  workerThreads: false,
  nodeArguments: ['--expose-gc', ...source],
  require: ['./scripts/strip-types/in-test.mjs'],
  timeout: '9m',
};
