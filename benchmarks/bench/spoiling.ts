/** A store of which one value comes back with one byte changed: whoever checks values must find it. */
import type { BenchStore } from '../stores/store.ts';

const WHICH = 17;

export function spoiling(store: BenchStore): BenchStore {
  let gets = 0;
  return {
    put: (key, value) => store.put(key, value),
    write: (puts) => store.write(puts),
    delete: (key) => store.delete(key),
    async get(key) {
      const found = await store.get(key);
      if (++gets !== WHICH || found === null || found === undefined) return found;
      const copy = Uint8Array.from(found);
      copy[copy.length >> 1] = (copy[copy.length >> 1] as number) ^ 1;
      return copy;
    },
    scan: (range, visit) => store.scan(range, visit),
    flush: () => store.flush(),
    compact: () => store.compact(),
    close: () => store.close(),
  };
}
