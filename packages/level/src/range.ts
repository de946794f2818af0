/** A range of Level as one of the store. In Level the inclusive bound wins where both are given. */
import type { KeyValueIteratorOptions } from '@aiokv/core';

export interface LevelRange {
  readonly gt?: Buffer;
  readonly gte?: Buffer;
  readonly lt?: Buffer;
  readonly lte?: Buffer;
  readonly reverse: boolean;
  /** -1: none. */
  readonly limit: number;
}

export function storeRangeOf({ gt, gte, lt, lte, reverse, limit }: LevelRange): KeyValueIteratorOptions {
  const range: KeyValueIteratorOptions = {};
  if (gte !== undefined) range.gte = gte;
  else if (gt !== undefined) range.gt = gt;
  if (lte !== undefined) range.lte = lte;
  else if (lt !== undefined) range.lt = lt;
  if (reverse) range.reverse = true;
  if (limit >= 0) range.limit = limit;
  return range;
}

/** Whether a key lies in the range. In Level a seek to another one finds nothing, be it before the range. */
export function isInRange(key: Buffer, { gt, gte, lt, lte }: LevelRange): boolean {
  if (gte === undefined ? gt !== undefined && key.compare(gt) <= 0 : key.compare(gte) < 0) return false;
  return lte === undefined ? lt === undefined || key.compare(lt) < 0 : key.compare(lte) <= 0;
}
