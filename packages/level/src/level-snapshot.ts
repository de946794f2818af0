/**
 * A snapshot of the store as a resource of Level: abstract-level counts the reads that need it, and closes it behind them, and
 * with the database.
 */
import type { KeyValueReads, KeyValueSnapshot, KeyValueStore } from '@aiokv/core';
import { AbstractSnapshot } from 'abstract-level';

/** Options of a call with the snapshot that it is to read from, if any. */
export interface SnapshotOptions {
  readonly snapshot?: AbstractSnapshot | null | undefined;
}

/** Its types leave out that it takes the owner. */
const Base = AbstractSnapshot as unknown as new (options: object) => AbstractSnapshot;

export class LevelSnapshot extends Base {
  readonly store: KeyValueStore;
  readonly reads: KeyValueSnapshot;

  /** @param options with the `owner`, as abstract-level hands them over */
  constructor(options: object, store: KeyValueStore, reads: KeyValueSnapshot) {
    super(options);
    this.store = store;
    this.reads = reads;
  }

  /** @internal */
  async _close(): Promise<void> {
    this.reads.release();
  }
}

/**
 * The snapshot of this store that a call is to read from, or null: the store as it is.
 *
 * @throws TypeError for one of another database
 */
export function snapshotOf({ snapshot }: SnapshotOptions, store: KeyValueStore): KeyValueReads | null {
  if (snapshot === undefined || snapshot === null) return null;
  if (!(snapshot instanceof LevelSnapshot) || snapshot.store !== store) {
    throw new TypeError('The snapshot is one of another database');
  }
  return snapshot.reads;
}
