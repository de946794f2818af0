/** What stands below an iterator of Level: entries in order, in one state of the store, with `seek`. */
import type { KeyValueIterator } from '@aiokv/core';

/** The value is undefined where only keys are walked over. */
export type Entry = [Buffer, Buffer | undefined];

export type Walk = Required<KeyValueIterator<Entry>>;
