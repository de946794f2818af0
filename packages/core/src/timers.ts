/**
 * The timers of this process as they were when the package was loaded. A test framework that mocks timers replaces
 * the global ones, the methods of `process` and of the module `node:timers`. The packages' own work must go on all the
 * same, so they take their timers from here and nowhere else.
 *
 * The values are copied: a name imported from `node:timers` would be looked up again at each call in CommonJS. They come
 * from the modules, not from the global object, which may be mocked already when this is loaded.
 */
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import * as timers from 'node:timers';

export const setTimeout = timers.setTimeout;
export const clearTimeout = timers.clearTimeout;
export const setImmediate = timers.setImmediate;
export const clearImmediate = timers.clearImmediate;
export const queueMicrotask = globalThis.queueMicrotask;
/** Calls back when the code that runs now has returned, before promises continue. */
export const nextTick = process.nextTick.bind(process);

const now = performance.now.bind(performance);

const calendarNow = Date.now.bind(Date);

/** Milliseconds since 1970, by the clock of the machine, which may be set. */
export function calendarMs(): number {
  return calendarNow();
}

/** Monotonic milliseconds, with a fraction; the zero is arbitrary. */
export function nowMs(): number {
  return now();
}
