/**
 * How many bytes the records of a range take, about. Inner nodes, which are in memory, say how many leaves the range has. Few are
 * looked at in full; of many some are, which stand for the others. What newer layers have in the place of such a leaf counts with it.
 *
 * ```
 *   leaves    │ █ │   │ █ │   │   │ █ │   │   │ █ │   │ █ │      the first and the last as they are, and one of each part between
 *   size      = first + last + mean of the others × their number
 * ```
 *
 * SIZE-1. At most `LOOKS` leaves of the layer that has the most in the range are looked at, all at once.
 * SIZE-2. A range of so few leaves is told exactly.
 *
 * Of more, each look stands for a thirtieth of the range: so much may be wrong where what is stored, or was deleted, gathers there.
 */
import { alignUp, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { FailureGate } from '../failure/failure-gate.ts';
import { valueBytesOfTable } from '../format/extent.ts';
import { inlineValueBytes, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import type { LeafEntry } from '../format/index-entry.ts';
import { compareKeys } from '../format/keys.ts';
import { RECORD_ALIGNMENT, RECORD_HEADER_BYTES } from '../format/record.ts';
import type { IndexSnapshot } from './index-snapshot.ts';

/** SIZE-1. */
const LOOKS = 32;
/** Which leaf of its part is looked at: fractions that neither repeat nor gather (multiples of the golden ratio). */
const GOLDEN = 0.618_033_988_749_894_9;

interface Walk {
  readonly moment: IndexSnapshot;
  readonly budget: TurnBudget;
  readonly gate: Pick<FailureGate, 'requireOpen'>;
}

/**
 * @param from is below `to`; null: to the last key
 * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read; ERR_AIOKV_CLOSED
 */
export async function sizeOfRange(
  moment: IndexSnapshot,
  from: Uint8Array,
  to: Uint8Array | null,
  budget: TurnBudget,
  gate: Walk['gate'],
): Promise<number> {
  const walk: Walk = { moment, budget, gate };
  // In this step: memtables change.
  const leaves = moment.leavesOf(from, to);
  const { count } = leaves;
  if (count <= LOOKS) return bytesIn(walk, from, to, LOOKS);
  const between = LOOKS - 2;
  const looks = [bytesIn(walk, from, leaves.fenceOf(1), 1), bytesIn(walk, leaves.fenceOf(count - 1), to, 1)];
  for (let part = 0; part < between; part++) {
    const place = part + ((part * GOLDEN) % 1);
    const leaf = 1 + Math.floor((place * (count - 2)) / between);
    looks.push(bytesIn(walk, leaves.fenceOf(leaf), leaves.fenceOf(leaf + 1), 1));
  }
  // All of them, for they need the moment.
  const found = (await Promise.allSettled(looks)).map((look) => {
    if (look.status === 'rejected') throw look.reason;
    return look.value;
  });
  const [first, last] = found as [number, number];
  const rest = found.slice(2).reduce((sum, bytes) => sum + bytes, 0);
  return Math.round(first + last + (rest * (count - 2)) / between);
}

/** What the records between two keys take. @param most leaves that are read together */
async function bytesIn(
  { moment, budget, gate }: Walk,
  from: Uint8Array,
  to: Uint8Array | null,
  most: number,
): Promise<number> {
  const cursor = moment.cursor(false);
  cursor.endAt(to);
  let bytes = 0;
  try {
    let isThere = cursor.start(from);
    for (;;) {
      while (!isThere && cursor.isBlocked) {
        await cursor.unblock(most);
        gate.requireOpen();
        isThere = cursor.resume();
      }
      if (!isThere) return bytes;
      const { key, keyLength, entry } = cursor;
      if (to !== null && compareKeys(key, keyLength, to, to.length) >= 0) return bytes;
      bytes += bytesOf(entry, keyLength);
      if (budget.isSpent()) {
        await nextTurn();
        gate.requireOpen();
      }
      isThere = cursor.next();
    }
  } finally {
    cursor.unpin();
  }
}

function bytesOf(entry: LeafEntry, keyBytes: number): number {
  if (isInline(entry)) return keyBytes + inlineValueBytes(entry);
  const recordBytes = alignUp(lengthOf(entry), RECORD_ALIGNMENT);
  if (!isInFragments(entry)) return recordBytes;
  return recordBytes + valueBytesOfTable(lengthOf(entry) - RECORD_HEADER_BYTES - keyBytes);
}
