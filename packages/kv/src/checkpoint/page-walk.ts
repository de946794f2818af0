/** A walk over all pages that have an image on the device. It finds them by their ids, and reads none. */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { SegmentTable } from '../file/segment-table.ts';
import type { KeyIndex } from '../index/key-index.ts';
import { MARK_SEALED } from '../tree/index.ts';

export interface PageWalkParts {
  readonly index: Pick<KeyIndex, 'memory' | 'mapping'>;
  readonly segments: Pick<SegmentTable, 'slotOf'>;
}

/** Page ids looked at between two questions about the time. */
const IDS_PER_QUESTION = 512;

/**
 * Visits all pages that have an image, in the order of their ids: those of the tree, and those of older versions.
 *
 * @param visit a promise that it returns is waited for
 */
export async function eachPage(
  { index, segments }: PageWalkParts,
  budget: TurnBudget,
  visit: (id: number, slot: number, imageBytes: number) => unknown,
): Promise<void> {
  const { memory, mapping } = index;
  for (let id = 1; id < memory.idLimit; id++) {
    if (id % IDS_PER_QUESTION === 0 && budget.isSpent(IDS_PER_QUESTION)) await nextTurn();
    if (memory.units(id) === 0 || (memory.marks(id) & MARK_SEALED) === 0) continue;
    const done = visit(id, segments.slotOf(mapping.fileOffsetOf(id)), mapping.imageBytesOf(id));
    if (done instanceof Promise) await done;
  }
}
