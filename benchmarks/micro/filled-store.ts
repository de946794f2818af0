/** A store of records of 1,000 bytes under keys in random order, for programs of this folder. */
import { open } from '@aiokv/kv';

const LOADED_AT_ONCE = 2000;

/** The key of a record, from its number. */
export function keyOf(n: number): string {
  return `user${String(Math.imul(n, 0x9e3779b1) >>> 0).padStart(20, '0')}`;
}

/** Makes a store of so many records, and closes it. */
export async function fillStore(directory: string, records: number, memoryBytes: number): Promise<void> {
  const store = await open(directory, { memoryBytes });
  const value = Buffer.alloc(1000, 'v');
  for (let first = 0; first < records; first += LOADED_AT_ONCE) {
    const end = Math.min(records, first + LOADED_AT_ONCE);
    const puts: Promise<unknown>[] = [];
    for (let n = first; n < end; n++) puts.push(store.put(keyOf(n), value, { durability: 'buffered' }));
    await Promise.all(puts);
  }
  await store.checkpoint();
  await store.close();
}
