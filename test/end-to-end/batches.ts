/** The batches of the kill tests; their number says all. */
import type { BatchOperation } from '@aiokv/kv';

/** Sizes 1 to 7, so that some batches are single puts and some are not. */
export function sizeOf(n: number): number {
  return 1 + (n % 7);
}

export function valueOf(n: number): string {
  return `${n}:`.padEnd(100 + (n % 50) * 37, 'abcdefgh');
}

export function batchOf(n: number): BatchOperation[] {
  return Array.from({ length: sizeOf(n) }, (_, i) => ({ type: 'put', key: `${n}:${i}`, value: valueOf(n) }));
}
