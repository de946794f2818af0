/**
 * What the sources do although the tests of this folder forbid it: where and what, then why it is let pass. Those that
 * begin with `until` are to be mended. A test fails when one of them is no longer there.
 */
import type { Exceptions } from './matches.ts';

/** Imports that lead up. */
export const UPWARD_IMPORTS: Exceptions = {};

/** Files that import each other. */
export const CYCLES: Exceptions = {};

/** Functions that are left on an object of a lower floor. */
export const HOOKS: Exceptions = {
  'packages/aio/src/pipeline.ts: this.engine.onCompletion':
    'the event loop begins it: a completion has nobody who asks',
};

/** Uses of the global timers. */
export const GLOBAL_TIMERS: Exceptions = {};

/** Arrays that are used as a queue. */
export const SHIFTS: Exceptions = {};

/** Arrays that are spread into a call. */
export const SPREADS: Exceptions = {
  'packages/aio/src/ffi/ffi-napi.ts: target(...args.map(Number))': 'arguments of a C function, six at most',
  'packages/aio/src/ffi/koffi.ts: callee.async(...args, (error, result) => { if (error === null) resolve(Number(result)); else reject(error); })':
    'arguments of a C function, six at most',
  'packages/aio/src/ffi/koffi.ts: target(...args.map(Number))': 'arguments of a C function, six at most',
  'packages/aio/src/qualify-cli.ts: Math.max(...lines.map((line) => (line[column] as string).length))':
    'lines of a table that is printed',
  'packages/aio/src/qualify.ts: Math.max(...roundsMs)': 'as many as there were rounds, a few',
};

/** Tests of the parallel step that read the clock. */
export const TEST_CLOCKS: Exceptions = {
  'test/aio/aio-bench.test.ts': 'keeps the loop busy so long',
  'test/aio/engine-conformance.ts': 'gives up after so long, where a test would hang',
  'test/aio/engine-io-uring.test.ts': 'what must last at least so long',
  'test/aio/engine-libaio-edges.test.ts': 'what must last at least so long',
  'test/aio/engine-posix.test.ts': 'gives up after so long, where a test would hang',
  'test/aio/harness-raw.ts': 'gives up after so long, where a test would hang',
  'test/aio/io-uring.test.ts': 'what must last at least so long',
  'test/aio/queue-requests.test.ts': 'keeps the loop busy so long',
  'test/aio/worker-churn.ts': 'keeps the loop busy so long',
  'test/compare/compare.test.ts': 'keeps the loop busy so long',
  'test/kv/checkpoint.test.ts': 'gives up after so long, where a test would hang',
  'test/kv/long.test.ts': 'tells it, and asserts nothing of it',
  'test/kv/sweep.test.ts': 'tells it, and asserts nothing of it',
};
