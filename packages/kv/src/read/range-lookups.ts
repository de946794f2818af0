/**
 * Questions about a range that are answered without reading its values: which entry is the first or the last, how many keys there
 * are, how many bytes they take. Each is one walk over the index, as of one moment. It keeps nothing between two questions.
 *
 * ```
 *   nearest ─► cursor: one move ─► the value of that entry
 *   count   ─► cursor: all keys, in slices; absent leaves many at once
 *   size    ─► index/range-size.ts: some leaves
 * ```
 *
 * LOOKUPS-1. The moment is released when nothing of it is needed any more, however the question ends.
 * LOOKUPS-2. Behind each wait it is asked whether the store is open: the layers below may have stopped (STORE-2).
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import { readAborted } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import { compareKeys } from '../format/keys.ts';
import type { IndexCursor } from '../index/index-cursor.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import { sizeOfRange } from '../index/range-size.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import { memoryForValue } from '../memory/value-memory.ts';
import type { PointReads } from './point-reads.ts';
import type { EncodedBounds } from './range.ts';
import type { RecordReader } from './record-reader.ts';

export interface RangeLookupsParts {
  readonly gate: FailureGate;
  readonly points: PointReads;
  readonly reader: RecordReader;
  readonly maintenance: Pick<Maintenance, 'versionReleased'>;
  /** For walks over many keys. */
  readonly budget: TurnBudget;
}

/** Leaves that a count reads together: it needs all of them, and nothing between. */
const COUNT_LEAVES = 64;

export class RangeLookups {
  readonly #parts: RangeLookupsParts;

  constructor(parts: RangeLookupsParts) {
    this.#parts = parts;
  }

  /** The first entry, in reverse the last one. @param moment is released */
  async nearest(moment: IndexSnapshot, bounds: EncodedBounds, reverse: boolean): Promise<[Buffer, Buffer] | undefined> {
    const cursor = moment.cursor(reverse);
    cursor.endAt(reverse ? bounds.from : bounds.to);
    const { points, budget } = this.#parts;
    try {
      const isThere = !bounds.isEmpty && cursor.start(reverse ? bounds.to : bounds.from);
      if (!isThere && !(await this.#whenThere(cursor, 1))) return undefined;
      if (!isWithin(cursor, bounds, reverse)) return undefined;
      const key = memoryForValue(cursor.keyLength);
      key.set(cursor.key.subarray(0, cursor.keyLength));
      const value = await points.valueIn(moment, key, cursor.entry);
      if (budget.isSpent()) await nextTurn();
      return [key, value];
    } finally {
      cursor.unpin();
      this.#release(moment);
    }
  }

  /** How many keys there are. @param moment is released */
  async count(moment: IndexSnapshot, bounds: EncodedBounds, signal: AbortSignal | null): Promise<number> {
    const cursor = moment.cursor(false);
    cursor.endAt(bounds.to);
    const { reader, budget } = this.#parts;
    let keys = 0;
    try {
      requireWanted(signal);
      let isThere = !bounds.isEmpty && cursor.start(bounds.from);
      for (;;) {
        while (!isThere && cursor.isBlocked) {
          isThere = await this.#whenThere(cursor, COUNT_LEAVES);
          requireWanted(signal);
        }
        if (!isThere || !isWithin(cursor, bounds, false)) return keys;
        const refusal = reader.refusalFor(cursor.entry);
        if (refusal !== null) throw refusal;
        keys++;
        if (budget.isSpent()) {
          await nextTurn();
          this.#parts.gate.requireOpen();
          requireWanted(signal);
        }
        isThere = cursor.next();
      }
    } finally {
      cursor.unpin();
      this.#release(moment);
    }
  }

  /** Bytes of the records, about: see range-size.ts. @param moment is released */
  async size(moment: IndexSnapshot, bounds: EncodedBounds): Promise<number> {
    const { gate, budget } = this.#parts;
    try {
      return bounds.isEmpty ? 0 : await sizeOfRange(moment, bounds.from, bounds.to, budget, gate);
    } finally {
      this.#release(moment);
    }
  }

  /** Whether a move that may be blocked leads to a key. LOOKUPS-2. */
  async #whenThere(cursor: IndexCursor, leaves: number): Promise<boolean> {
    while (cursor.isBlocked) {
      await cursor.unblock(leaves);
      this.#parts.gate.requireOpen();
      if (cursor.resume()) return true;
    }
    return false;
  }

  /** LOOKUPS-1. */
  #release(moment: IndexSnapshot): void {
    moment.release();
    void this.#parts.maintenance.versionReleased();
  }
}

function isWithin({ key, keyLength }: IndexCursor, { from, to }: EncodedBounds, reverse: boolean): boolean {
  if (reverse) return compareKeys(key, keyLength, from, from.length) >= 0;
  return to === null || compareKeys(key, keyLength, to, to.length) < 0;
}

function requireWanted(signal: AbortSignal | null): void {
  if (signal?.aborted === true) throw readAborted(signal.reason);
}
