/**
 * Finds the segments whose records lie scattered over the keys. One walk over the index, in key order, tells how far the
 * first and the last record of a segment are apart:
 *
 * ```
 *   what lives, in key order   ├──────────────────────────────────────────────────────┤
 *   a segment of the log         ▂   ▂ ▂     ▂        ▂    ▂  ▂      ▂    ▂   ▂    ▂       spread: nearly all
 *   a segment that was sorted                  ▂▂▂▂▂▂▂▂▂▂▂▂▂▂                              spread: what it holds
 * ```
 */
import { alignUp } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { SegmentTable } from '../file/segment-table.ts';
import { fileOffsetOf, isRecord, lengthOf } from '../format/index-entry.ts';
import { RECORD_ALIGNMENT } from '../format/record.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { walkTree } from '../index/tree-walk.ts';

export interface Disorder {
  /** Bytes of all records to which the index leads, with their padding. */
  readonly bytes: number;
  /** Slots of the segments in which records are more than `spreadBytes` apart, ascending. */
  readonly scattered: readonly number[];
  /** Bytes of these records, by slot. The rest of what lives in one are fragments of long values. */
  readonly recordBytes: Float64Array;
}

/**
 * @param spreadPart of all bytes: from this spread on a segment counts as scattered
 * @param spreadLeast bytes that are never too many
 * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read
 */
export async function findDisorder(
  index: KeyIndex,
  segments: SegmentTable,
  budget: TurnBudget,
  { spreadPart, spreadLeast }: { readonly spreadPart: number; readonly spreadLeast: number },
  isStopped: () => boolean,
): Promise<Disorder> {
  const first = new Float64Array(segments.end).fill(-1);
  const last = new Float64Array(segments.end);
  const recordBytes = new Float64Array(segments.end);
  let bytes = 0;
  await walkTree(index, null, budget, ({ entry }) => {
    if (!isRecord(entry)) return !isStopped();
    const slot = segments.slotOf(fileOffsetOf(entry));
    if ((first[slot] as number) < 0) first[slot] = bytes;
    last[slot] = bytes;
    const paddedBytes = alignUp(lengthOf(entry), RECORD_ALIGNMENT);
    bytes += paddedBytes;
    recordBytes[slot] = (recordBytes[slot] as number) + paddedBytes;
    return !isStopped();
  });
  const most = Math.max(spreadLeast, spreadPart * bytes);
  const scattered: number[] = [];
  for (const [slot, at] of first.entries()) if (at >= 0 && (last[slot] as number) - at > most) scattered.push(slot);
  return { bytes, scattered, recordBytes };
}
