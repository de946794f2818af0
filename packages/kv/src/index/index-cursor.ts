/**
 * One ordered walk over the layers of an index snapshot. The newest layer with a key decides; a deletion hides the key.
 *
 * ```
 *   memtable             ──b────d†──────►
 *   immutable memtable   ───────d──e────►      walk: a b c e      († a deletion)
 *   tree                 ─a──b──c──d────►
 * ```
 *
 * A move stops at a leaf that is not in memory: the cursor is blocked. `pinAhead` reads the leaf. Then `resume`
 * continues a blocked `next`; a blocked `start` is called again.
 */
import type { Cursor, Entry } from '../tree/index.ts';
import { isDeletion } from '../format/index-entry.ts';
import type { Pager } from './pager.ts';

/** Where a walk starts: at this key, or just behind it. */
export interface CursorStart {
  readonly key: Uint8Array;
  readonly inclusive: boolean;
}

export class IndexCursor {
  /** Newest layer first. */
  readonly #layers: readonly Cursor[];
  readonly #reverse: boolean;
  readonly #pager: Pager;
  #current: Cursor | null = null;
  #blocked: Cursor | null = null;
  #pinned: number[] = [];

  constructor(layers: readonly Cursor[], reverse: boolean, pager: Pager) {
    this.#layers = layers;
    this.#reverse = reverse;
    this.#pager = pager;
  }

  /** The current key is the first `keyLength` bytes. Valid until the next move. */
  get key(): Uint8Array {
    return this.#at().keyBytes;
  }

  get keyLength(): number {
    return this.#at().keyLength;
  }

  /** Whether the cursor has been on a key, so that a blocked move is continued by `resume`. */
  get hasStarted(): boolean {
    return this.#current !== null;
  }

  /** Whether the last move stopped at a leaf that is not in memory. */
  get isBlocked(): boolean {
    return this.#blocked !== null;
  }

  /**
   * Reads the leaf that blocks the cursor, and the next ones of the walk: at most `most` leaves. They stay in memory
   * until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if the first leaf cannot be read; the others are tried again
   *   when the walk reaches them
   */
  async pinAhead(most: number): Promise<void> {
    const pages = this.#blocked?.absentAhead(!this.#reverse, most) ?? [];
    const outcomes = await Promise.allSettled(pages.map((page) => this.#pager.pin([page])));
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') this.#pinned.push(pages[i] as number);
    }
    // The first leaf is the one that blocks the move.
    if (outcomes[0]?.status === 'rejected') throw outcomes[0].reason;
  }

  unpin(): void {
    this.#pager.unpin(this.#pinned);
    this.#pinned = [];
  }

  get entry(): Entry {
    return this.#at().entry;
  }

  /** Moves to the first key; null starts at the end of the order. False: there is no key, or the move is blocked. */
  start(from: CursorStart | null): boolean {
    this.#blocked = null;
    for (const layer of this.#layers) {
      if (from === null) {
        if (this.#reverse) layer.last();
        else layer.first();
      } else {
        const mode = this.#reverse ? (from.inclusive ? '<=' : '<') : from.inclusive ? '>=' : '>';
        layer.seek(from.key, from.key.length, mode);
      }
      if (layer.blockedOn !== 0) {
        this.#blocked = layer;
        return false;
      }
    }
    return this.#settle();
  }

  /** Moves to the next key. False: there is none, or the move is blocked. */
  next(): boolean {
    this.#step(this.#at());
    return this.#settle();
  }

  /** Continues a blocked `next`. */
  resume(): boolean {
    const layer = this.#blocked;
    this.#blocked = null;
    if (layer !== null) this.#step(layer);
    return this.#settle();
  }

  /** Finds the layer with the nearest key. Moves older layers off the same key, and skips deleted keys. */
  #settle(): boolean {
    for (;;) {
      if (this.#blocked !== null) return false;
      let nearest: Cursor | null = null;
      for (const layer of this.#layers) {
        if (!layer.valid) continue;
        const order = nearest === null ? -1 : compareKeys(layer, nearest) * (this.#reverse ? -1 : 1);
        if (order === 0) this.#step(layer);
        else if (order < 0) nearest = layer;
      }
      this.#current = nearest;
      if (nearest === null) return false;
      if (!isDeletion(nearest.entry)) return true;
      this.#step(nearest);
    }
  }

  #step(layer: Cursor): void {
    if (this.#reverse) layer.previous();
    else layer.next();
    if (layer.blockedOn !== 0) this.#blocked = layer;
  }

  #at(): Cursor {
    if (this.#current === null) throw new RangeError('the cursor is not on a key');
    return this.#current;
  }
}

function compareKeys(a: Cursor, b: Cursor): number {
  const length = Math.min(a.keyLength, b.keyLength);
  for (let i = 0; i < length; i++) {
    const difference = (a.keyBytes[i] as number) - (b.keyBytes[i] as number);
    if (difference !== 0) return difference;
  }
  return a.keyLength - b.keyLength;
}
