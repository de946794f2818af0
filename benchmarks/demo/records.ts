/** The records of the demonstration: keys in an order that is not theirs, values that their keys determine. */
import { Random } from '@aiokv/core';
import type { Store } from '@aiokv/kv';

export const VALUE_BYTES = 1000;
const WRITERS = 128;
/** Random bytes from which values are cut, so that making one costs next to nothing. */
const source = Buffer.from(new Random(1).fill(new Uint8Array(64 * 1024)));

/** The key of record `n`, below 2^21: its number mixed, so that neighbours in time are no neighbours in order. */
export function keyOf(n: number): string {
  const mixed = Math.imul(n + 1, 0x9e3779b1) >>> 0;
  return `user${mixed * 0x20_0000 + n}`;
}

/** The value of record `n`: its number, then bytes at a place that the number chooses. */
export function valueOf(n: number): Buffer {
  const value = Buffer.allocUnsafe(VALUE_BYTES);
  value.writeUInt32LE(n, 0);
  source.copy(value, 4, startOf(n), startOf(n) + VALUE_BYTES - 4);
  return value;
}

/** Throws when `value` is not that of record `n`. */
export function checkValue(n: number, value: Buffer | undefined): void {
  const start = startOf(n);
  const right =
    value !== undefined &&
    value.length === VALUE_BYTES &&
    value.readUInt32LE(0) === n &&
    source.compare(value, 4, VALUE_BYTES, start, start + VALUE_BYTES - 4) === 0;
  if (!right) throw new Error(`record ${n} came back wrong: ${value === undefined ? 'missing' : 'other bytes'}`);
}

/** Writes records 0 to `count - 1` with many writers at a time. */
export async function loadRecords(store: Store, count: number, onProgress: (done: number) => void): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < count) {
      const n = next++;
      await store.put(keyOf(n), valueOf(n), { durability: 'buffered' });
      if (n % 1024 === 0) onProgress(n);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
  onProgress(count);
}

function startOf(n: number): number {
  return (Math.imul(n, 0x85ebca6b) >>> 0) % (source.length - VALUE_BYTES);
}
