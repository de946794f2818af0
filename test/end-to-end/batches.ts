/** The batches of the kill tests; their number says all. */
import type { BatchOperation } from '@aiokv/kv';

/** Sizes 1 to 7, so that some batches are single puts and some are not. */
export function sizeOf(n: number): number {
  return 1 + (n % 7);
}

export function valueOf(n: number): string {
  return `${n}:`.padEnd(100 + (n % 50) * 37, 'abcdefgh');
}

/** A batch also overwrites one of these keys, so that segments have garbage between what lives. */
export const OVERWRITTEN = 300;
export const OVERWRITTEN_PREFIX = 'over';

export function overwritingValueOf(n: number): string {
  return `${n}:`.padEnd(3000, 'stuvwxyz');
}

export function batchOf(n: number): BatchOperation[] {
  const operations: BatchOperation[] = [];
  for (let i = 0; i < sizeOf(n); i++) operations.push({ type: 'put', key: `${n}:${i}`, value: valueOf(n) });
  operations.push({ type: 'put', key: `${OVERWRITTEN_PREFIX}:${n % OVERWRITTEN}`, value: overwritingValueOf(n) });
  return operations;
}

/** Keys that are put together and deleted as a range again, some of them in batches that are admitted in slices. */
export const RANGE_PREFIX = 'range';

export function rangeSizeOf(n: number): number {
  return 50 + (n % 4) * 400;
}

export function rangeValueOf(n: number): string {
  return `${n}:`.padEnd(40 + (n % 3) * 100, 'ijklmnop');
}

export function rangeBatchOf(n: number): BatchOperation[] {
  return Array.from({ length: rangeSizeOf(n) }, (_, i) => ({
    type: 'put',
    key: `${RANGE_PREFIX}:${n}:${i}`,
    value: rangeValueOf(n),
  }));
}
