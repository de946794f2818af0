/**
 * A map in memory: what no store can beat for gets, and where keys have to be in order, an array of them that is sorted
 * when a scan first asks. What was in a directory is there again for the next opening in the same process.
 */
import { placeOf } from '../common/sorted.ts';
import type { BenchStore, OpenRequest } from './store.ts';

interface Contents {
  readonly values: Map<string, Buffer>;
  /** In order; null before the first scan, and when many came since. */
  keys: string[] | null;
}

const contentsOf = new Map<string, Contents>();

export async function openMemory({ directory }: OpenRequest): Promise<BenchStore> {
  const contents = contentsOf.get(directory) ?? { values: new Map<string, Buffer>(), keys: null };
  contentsOf.set(directory, contents);
  const { values } = contents;
  const put = (key: Buffer, value: Buffer): void => {
    const name = key.toString('latin1');
    if (contents.keys !== null && !values.has(name)) contents.keys.splice(placeOf(contents.keys, name), 0, name);
    values.set(name, value);
  };
  return {
    async put(key, value) {
      put(key, value);
    },
    async write(puts) {
      for (const { key, value } of puts) put(key, value);
    },
    async delete(key) {
      const name = key.toString('latin1');
      if (values.delete(name)) contents.keys?.splice(placeOf(contents.keys, name), 1);
    },
    async get(key) {
      return values.get(key.toString('latin1'));
    },
    async scan({ gte, limit, reverse }, visit) {
      contents.keys ??= [...values.keys()].sort();
      const { keys } = contents;
      const from = gte === undefined ? 0 : placeOf(keys, gte.toString('latin1'));
      const count = Math.min(limit, keys.length - from);
      for (let i = 0; i < count; i++) {
        const name = keys[reverse ? keys.length - 1 - i : from + i] as string;
        visit(Buffer.from(name, 'latin1'), values.get(name) as Buffer);
      }
    },
    flush: async () => undefined,
    compact: async () => undefined,
    close: async () => undefined,
  };
}
