/**
 * Work on a whole range for stores that have no call for it: entries are walked over, a chunk at a time.
 *
 * WORK-1. The chunks of a `clear` are written with `'buffered'`, and the last one as it was asked for. The log keeps the
 *     order, so the last is not acknowledged before the others are as safe.
 */
import type {
  KeyValueIterator,
  KeyValueIteratorOptions,
  KeyValueOperation,
  KeyValueRange,
  KeyValueReads,
  KeyValueStore,
  KeyValueWriteOptions,
} from '@aiokv/core';
import { entriesOf } from './walk-choice.ts';
import type { Entry } from './walk.ts';

/** Deletions in one batch. More are admitted in slices, behind which other writes wait. */
const CHUNK = 256;

/** Removes what is in the range at the moment of the call, or was in it in the snapshot. A walk removes it in several steps, others may see some. */
export async function clearRange(
  store: KeyValueStore,
  { reverse = false, limit = Infinity, ...range }: KeyValueIteratorOptions,
  options: KeyValueWriteOptions | undefined,
  snapshot: KeyValueReads | null,
): Promise<void> {
  // Of a range with a limit, or as of a snapshot, the store cannot know which keys are meant.
  const isWhole = limit === Infinity && snapshot === null;
  if (store.deleteRange !== undefined && isWhole) return store.deleteRange(range, options);
  const walk = entriesOf(snapshot ?? store, { ...range, reverse, limit }, false);
  try {
    let chunk = await nextDeletions(walk);
    while (chunk.length > 0) {
      const following = await nextDeletions(walk);
      // WORK-1.
      await store.batch(chunk, following.length > 0 ? { durability: 'buffered' } : options);
      chunk = following;
    }
  } finally {
    await walk.return();
  }
}

async function nextDeletions(walk: KeyValueIterator<Entry>): Promise<KeyValueOperation[]> {
  const deletions: KeyValueOperation[] = [];
  while (deletions.length < CHUNK) {
    const { done, value } = await walk.next();
    if (done === true) break;
    deletions.push({ type: 'del', key: value[0] });
  }
  return deletions;
}

/** Bytes that keys and values of the range take, about. */
export async function sizeOfRange(store: KeyValueStore, range: KeyValueRange): Promise<number> {
  if (store.approximateSize !== undefined) return store.approximateSize(range);
  const walk = store.iterator(range);
  let bytes = 0;
  try {
    for (let answer = await walk.next(); answer.done !== true; answer = await walk.next()) {
      const [key, value] = answer.value;
      bytes += key.length + value.length;
    }
  } finally {
    await walk.return();
  }
  return bytes;
}
