/**
 * The snapshots that a program holds, in the order of their age. Each keeps the index as it was: a version of the tree, and the
 * memtables in front of it. The pages of both leave memory. It reads nothing.
 *
 * ```
 *   take ──► open ──┬─ end: the program has released it, or the store is closed ──► ended
 *                   └─ keepWithin: it is old, and old ones keep too much memory ──►
 * ```
 *
 * SNAPSHOT-3. After each merge the oldest snapshots end until what could not leave memory of merged memtables takes no more than
 *     a part of the memory for nodes. Those that keep none are left alone.
 */
import type { Clock } from '@aiokv/core';
import { closed, snapshotTooOld } from '../failure/errors.ts';
import type { IndexSnapshot } from './index-snapshot.ts';
import type { KeyIndex } from './key-index.ts';

export interface SnapshotStatistics {
  /** Snapshots that have not ended. */
  readonly open: number;
  /** Age of the oldest one, in milliseconds; 0 if there is none. */
  readonly oldestMs: number;
  /** Memory of index entries that only snapshots and iterators need, in bytes: a part of `memory.pageBytes`. */
  readonly heldBytes: number;
  /** Snapshots that were ended since the opening because they held too much memory. */
  readonly ended: number;
}

/** One snapshot. What it is of must not be used when it has ended, but by those who have retained it before. */
export class OpenSnapshot {
  readonly index: IndexSnapshot;
  readonly takenMs: number;
  /** Makes the error of those who come later; null: it has not ended. */
  endedBy: (() => Error) | null = null;

  constructor(index: IndexSnapshot, takenMs: number) {
    this.index = index;
    this.takenMs = takenMs;
  }
}

export class OpenSnapshots {
  readonly #index: Pick<KeyIndex, 'snapshot' | 'merged' | 'budget'>;
  readonly #clock: Clock;
  /** The oldest first. */
  readonly #open = new Set<OpenSnapshot>();
  #endedCount = 0;

  constructor(index: Pick<KeyIndex, 'snapshot' | 'merged' | 'budget'>, clock: Clock) {
    this.#index = index;
    this.#clock = clock;
  }

  get statistics(): SnapshotStatistics {
    const [oldest] = this.#open;
    return {
      open: this.#open.size,
      oldestMs: oldest === undefined ? 0 : this.#clock.nowMs() - oldest.takenMs,
      heldBytes: this.#index.merged.bytes,
      ended: this.#endedCount,
    };
  }

  take(): OpenSnapshot {
    const snapshot = new OpenSnapshot(this.#index.snapshot(), this.#clock.nowMs());
    this.#open.add(snapshot);
    return snapshot;
  }

  /** Does nothing if it has ended. */
  end(snapshot: OpenSnapshot, by: () => Error): void {
    if (snapshot.endedBy !== null) return;
    snapshot.endedBy = by;
    this.#open.delete(snapshot);
    snapshot.index.release();
  }

  /** SNAPSHOT-3. */
  keepWithin(): void {
    // Each call deletes its snapshot from the set; that is allowed during the walk.
    for (const snapshot of this.#open) {
      if (this.#index.merged.bytes <= this.#index.budget.heldBytes) return;
      if (!snapshot.index.isBehind) continue;
      this.end(snapshot, snapshotTooOld);
      this.#endedCount++;
    }
  }

  /** Ends all of them: the store is closed. */
  close(): void {
    for (const snapshot of this.#open) this.end(snapshot, closed);
  }
}
