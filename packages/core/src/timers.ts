/**
 * The timers of this process as they were when the package was loaded. A test framework that mocks timers replaces
 * the global ones; the store's own work must go on all the same. Nothing in the packages uses the global ones.
 */
const timers = globalThis;

export const setTimeout = timers.setTimeout;
export const clearTimeout = timers.clearTimeout;
export const setImmediate = timers.setImmediate;
export const clearImmediate = timers.clearImmediate;
export const queueMicrotask = timers.queueMicrotask;

const now = timers.performance.now.bind(timers.performance);

/** Monotonic milliseconds, with a fraction; the zero is arbitrary. */
export function nowMs(): number {
  return now();
}
