// AIOKV_DIST=1 runs the suite over what is shipped: without the condition, `@aiokv/*` is its built `dist`.
const source = process.env.AIOKV_DIST === '1' ? [] : ['--conditions=@aiokv/source'];

// scripts/test.mjs runs the suite in two steps: tests that measure time have the machine to themselves.
const TIMED = 'test/timed/**';
const steps = {
  all: { files: ['test/**/*.test.ts'], concurrency: 2 },
  parallel: { files: ['test/**/*.test.ts', `!${TIMED}`], concurrency: 2 },
  timed: { files: [`${TIMED}/*.test.ts`], concurrency: 1 },
};

export default {
  ...steps[process.env.AIOKV_TEST_STEP ?? 'all'],
  extensions: { ts: 'module' },
  // Files run in processes of their own, so that a native crash stays with its file.
  workerThreads: false,
  nodeArguments: ['--import=tsx', '--expose-gc', ...source],
  timeout: '9m',
};
