/**
 * The store as it was at one moment, to be read as often as it is needed: see `Store.snapshot`.
 *
 * ```
 *   store.snapshot() ──► open: every read answers as of that moment ──► ended: release, the store is closed, SNAPSHOT-3
 * ```
 *
 * SNAPSHOT-1. A read answers as the same read of the store would have at the moment of the snapshot, whatever was written, merged
 *     and moved since.
 * SNAPSHOT-2. Reads that have begun, and iterators, go on to their end when the snapshot has ended. Later ones are refused.
 */
import { snapshotReleased } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Bytes } from '../format/keys.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import type { OpenSnapshot, OpenSnapshots } from '../index/open-snapshots.ts';
import type { Handles, Held } from './handles.ts';
import type { StoreIterator } from './iterator.ts';
import type { PointReads } from './point-reads.ts';
import type { RangeOptions } from './range.ts';
import type { RangeLookups } from './range-lookups.ts';
import { RangeQuestions } from './range-questions.ts';
import type { Asked } from './range-questions.ts';
import type { RangeReads } from './range-reads.ts';
import type { Versioned } from './results.ts';

/** What all snapshots of a store share. */
export interface SnapshotParts {
  readonly gate: FailureGate;
  readonly open: OpenSnapshots;
  readonly points: PointReads;
  readonly ranges: RangeReads;
  readonly lookups: RangeLookups;
  readonly handles: Handles<HeldSnapshot>;
}

/** What a snapshot holds. It does not refer to the snapshot that its caller has. */
export class HeldSnapshot implements Held {
  readonly open: OpenSnapshot;
  readonly #parts: SnapshotParts;

  constructor(parts: SnapshotParts) {
    this.#parts = parts;
    this.open = parts.open.take();
  }

  release(): void {
    const { open, ranges, handles } = this.#parts;
    open.end(this.open, snapshotReleased);
    handles.end(this);
    ranges.released();
  }

  abandon(): boolean {
    if (this.open.endedBy !== null) return false;
    this.release();
    return true;
  }
}

/**
 * The store as it was when `Store.snapshot` was called. Its reads throw as those of the store do, and ERR_AIOKV_SNAPSHOT_ENDED
 * when it has ended.
 */
export class Snapshot extends RangeQuestions implements Disposable {
  readonly #parts: SnapshotParts;
  readonly #held: HeldSnapshot;

  /** @internal Use `Store.snapshot`. */
  constructor(parts: SnapshotParts) {
    super();
    this.#parts = parts;
    this.#held = new HeldSnapshot(parts);
    parts.handles.begin(this.#held, this);
  }

  /** Sequence number of the latest write that it sees. */
  get sequence(): number {
    return this.#held.open.index.sequence;
  }

  /** As `Store.get`. */
  get(key: Bytes): Promise<Buffer | undefined> {
    try {
      return this.#parts.points.getIn(this.#use(), key);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `Store.has`. */
  has(key: Bytes): Promise<boolean> {
    try {
      return this.#parts.points.hasIn(this.#use(), key);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `Store.getSync`. */
  getSync(key: Bytes): Buffer | undefined {
    return this.#parts.points.getSyncIn(this.#use(), key);
  }

  /** As `Store.getVersioned`. */
  async getVersioned(key: Bytes): Promise<Versioned | undefined> {
    return this.#parts.points.getVersionedIn(this.#use(), key);
  }

  /** As `Store.getMany`. */
  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    try {
      return this.#parts.points.getManyIn(this.#use(), keys);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `Store.iterator`. */
  iterator(options?: Partial<RangeOptions>): StoreIterator {
    return this.#parts.ranges.iterator(options, this.#use());
  }

  /** As `Store.keys`. */
  keys(options?: Partial<RangeOptions>): StoreIterator<Buffer> {
    return this.#parts.ranges.keys(options, this.#use());
  }

  /** As `Store.values`. */
  values(options?: Partial<RangeOptions>): StoreIterator<Buffer> {
    return this.#parts.ranges.values(options, this.#use());
  }

  /** @internal */
  protected override ask(): Asked {
    return { lookups: this.#parts.lookups, moment: this.#use().retain() };
  }

  /** Ends it: what only it has kept comes back. May be called more than once. */
  release(): void {
    this.#held.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** @throws AiokvError ERR_AIOKV_CLOSED, ERR_AIOKV_SNAPSHOT_ENDED */
  #use(): IndexSnapshot {
    this.#parts.gate.requireOpen();
    const { index, endedBy } = this.#held.open;
    if (endedBy !== null) throw endedBy();
    return index;
  }
}
