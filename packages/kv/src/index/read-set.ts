/**
 * What a transaction has read: keys, be they there or not, and ranges. It says whether any of that was written since, and
 * takes as much memory for a range of a million keys as for one of two.
 *
 * ```
 *   keys      ──b───d────────q──────►        get, getMany, has
 *   ranges    ─────────[f ══ k)─────►        what an iterator has returned, and the gaps between: a new key there is a phantom
 * ```
 */
import type { Sequence } from '@aiokv/core';
import type { Planted } from '../failure/planted.ts';
import { Tree } from '../tree/index.ts';
import type { NodeMemory } from '../tree/index.ts';
import type { CommitHistory } from './commit-history.ts';
import { DeletedRanges, RangeCursor } from './deleted-ranges.ts';

/** Keys that are judged between two pauses. */
const KEYS_AT_ONCE = 256;
/** DeletedRanges keeps ages; here all are alike. */
const AGELESS = 1;
const FIRST_KEY = new Uint8Array(0);

export class ReadSet {
  readonly #keys: Tree;
  /** Null until the first one. */
  #ranges: DeletedRanges | null = null;
  readonly #planted: Planted;

  constructor(memory: NodeMemory, planted: Planted) {
    this.#keys = new Tree(memory);
    this.#planted = planted;
  }

  get isEmpty(): boolean {
    return this.#keys.size === 0 && this.#ranges === null;
  }

  get bytes(): number {
    return this.#keys.bytes + (this.#ranges?.bytes ?? 0);
  }

  addKey(key: Uint8Array, keyBytes: number): void {
    this.#keys.set(key, keyBytes, 0, 0);
  }

  /** `from` is below `to`; null: to the last key. */
  addRange(from: Uint8Array, to: Uint8Array | null): void {
    this.#ranges ??= new DeletedRanges(this.#keys.memory);
    this.#ranges.add(from, from.length, to, to?.length ?? 0, AGELESS);
  }

  /**
   * Whether anything here was written after this sequence, or that is not known. Pauses now and then; nothing may be written
   * until it has ended.
   */
  *isWritten(history: CommitHistory, since: Sequence): Generator<void, boolean> {
    if (this.isEmpty || history.isQuietSince(since)) return false;
    if (!history.knows(since)) return true;
    const keys = this.#keys.cursor();
    let looks = 0;
    for (keys.first(); keys.valid; keys.next()) {
      if (history.has(keys.keyBytes, keys.keyLength, since)) return true;
      if (++looks % KEYS_AT_ONCE === 0) yield;
    }
    if (this.#ranges === null || this.#planted.phantoms === true) return false;
    const ranges = new RangeCursor(this.#ranges);
    for (ranges.seek(FIRST_KEY, 0); ; ranges.next()) {
      if (ranges.isDeleted) {
        const from = ranges.low.slice(0, ranges.lowLength);
        const to = ranges.high?.slice(0, ranges.highLength) ?? null;
        if (yield* history.hasIn(from, to, since)) return true;
        if (++looks % KEYS_AT_ONCE === 0) yield;
      }
      if (ranges.high === null) return false;
    }
  }

  clear(): void {
    this.#keys.clear();
    this.#ranges?.clear();
    this.#ranges = null;
  }
}
