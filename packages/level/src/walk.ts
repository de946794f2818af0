/** What stands below an iterator of Level: entries in order, in one state of the store, with `seek`. */
import type { KeyValueIterator } from '@aiokv/core';

/** The value is undefined where only keys are walked over. */
export type Entry = [Buffer, Buffer | undefined];

export type Walk = KeyValueIterator<Entry> & Required<Pick<KeyValueIterator<Entry>, 'seek'>>;

/** The next entries: at least one, at most `count`; none is the end. */
export async function nextEntries(walk: KeyValueIterator<Entry>, count: number): Promise<Entry[]> {
  if (walk.nextMany !== undefined) return walk.nextMany(count);
  const { done, value } = await walk.next();
  return done === true ? [] : [value];
}
