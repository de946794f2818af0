/** How much a piece of work leaves for the collector. */

const WINDOWS = 20;

/**
 * Bytes of heap that one call of `work` takes: the least of some windows, each short enough that nothing is
 * collected in it. The least, because code is compiled beside, and not when a test would like it to be.
 * Needs `--expose-gc`.
 */
export function garbageOf(work: () => void, callsPerWindow: number): number {
  let least = Infinity;
  for (let window = 0; window < WINDOWS; window++) {
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < callsPerWindow; i++) work();
    const grown = process.memoryUsage().heapUsed - before;
    if (grown >= 0) least = Math.min(least, grown / callsPerWindow);
  }
  return least;
}
