// AIOKV_DIST=1 runs the suite over what is shipped: without the condition, `@aiokv/*` is its built `dist`.
const source = process.env.AIOKV_DIST === '1' ? [] : ['--conditions=@aiokv/source'];

export default {
  files: ['test/**/*.test.ts'],
  extensions: { ts: 'module' },
  // Files run in processes of their own, so that a native crash stays with its file.
  workerThreads: false,
  nodeArguments: ['--import=tsx', '--expose-gc', ...source],
  concurrency: 2,
  timeout: '9m',
};
