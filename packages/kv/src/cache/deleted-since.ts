/**
 * The ranges that were deleted since a value was cached. To look for all values in a range would hold the event loop, so they stay,
 * and each is judged when it is asked for.
 *
 * ```
 *   number of the range    1 ... 35     36      37     38
 *                          one hull  exact   exact  exact        a value that was judged at 36 asks 37 and 38
 * ```
 *
 * SINCE-1. A value is judged by each range that came after it was judged last. The oldest ranges become one that covers them all:
 *     it may hide values that none of them deletes, and never shows one that is deleted.
 */
import { compareKeys } from '../format/keys.ts';

/** Ranges that are kept as they were. */
const EXACT_MOST = 16;

interface Range {
  from: Uint8Array;
  /** Null: to the last key. */
  to: Uint8Array | null;
}

export class DeletedSince {
  /** The newest is the last. */
  readonly #ranges: Range[] = [];
  /** How many ranges were deleted so far. */
  count = 0;

  /** @param to null: to the last key. The bytes are copied */
  add(from: Uint8Array, to: Uint8Array | null): void {
    this.count++;
    // Not `slice`: that of a Buffer does not copy.
    this.#ranges.push({ from: new Uint8Array(from), to: to === null ? null : new Uint8Array(to) });
    if (this.#ranges.length <= EXACT_MOST) return;
    const [oldest, next] = this.#ranges as [Range, Range];
    if (isBelow(oldest.from, next.from)) next.from = oldest.from;
    if (next.to !== null && (oldest.to === null || isBelow(next.to, oldest.to))) next.to = oldest.to;
    this.#ranges.splice(0, 1);
  }

  /** SINCE-1. Whether a key is in one of the ranges that came after the first `judged` ones. */
  has(key: Uint8Array, at: number, keyBytes: number, judged: number): boolean {
    const bytes = key.subarray(at, at + keyBytes);
    const kept = this.#ranges.length;
    for (let i = Math.max(0, kept - ((this.count - judged) >>> 0)); i < kept; i++) {
      const { from, to } = this.#ranges[i] as Range;
      const isInside =
        compareKeys(bytes, keyBytes, from, from.length) >= 0 &&
        (to === null || compareKeys(bytes, keyBytes, to, to.length) < 0);
      if (isInside) return true;
    }
    return false;
  }
}

function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  return compareKeys(a, a.length, b, b.length) < 0;
}
