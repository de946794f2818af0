/**
 * One ordered walk over the layers of an index snapshot. The newest layer with a key decides; a deletion hides the key, and
 * so does a range that a newer layer deletes.
 *
 * ```
 *   memtable             ──b────d†────├─ deleted ─┤──►
 *   immutable memtable   ───────d──e─────f────────────►      walk: a b c e k      († a deletion)
 *   tree                 ─a──b──c──d──────g─h─i─j──k──►      f to j: passed in one leap
 * ```
 *
 * A move stops at a leaf that is not in memory, and after many deleted keys: the cursor is blocked. `unblock` reads the
 * leaf, or lets a turn of the event loop pass. Then `resume` continues the move.
 *
 * WALK-1. A leaf is not read for keys that a newer layer deletes.
 * WALK-2. A move takes half a millisecond at most.
 * WALK-3. A leaf is not read that begins behind the range: the walk has no key there.
 */
import { nextTurn } from '@aiokv/core';
import { isDeletion, isOverAt } from '../format/index-entry.ts';
import { compareKeys } from '../format/keys.ts';
import type { Entry, LeafPlace, SeekMode } from '../tree/index.ts';
import { RangeCursor } from './deleted-ranges.ts';
import type { RangeSource } from './deleted-ranges.ts';
import { passDeleted, placeOfRun } from './deleted-run.ts';
import { LeavesAhead } from './leaves-ahead.ts';
import type { Pager } from './pager.ts';

/** WALK-2. Keys that a move looks at; each takes some 150 ns. */
const LOOKS_AT_ONCE = 2048;

/** Keys of a run take a fourth of the time. */
const PASSED_SHIFT = 2;
/** A leap takes as long as so many looks, ... */
const LOOKS_PER_LEAP = 15;
/** ... and this a move that halts at a key that is not to be seen. */
const LOOKS_PER_HALT = 8;

/** As a `Cursor` of a tree. Only one over a memtable may halt: see `MemtableCursor`. */
export interface LayerCursor {
  readonly valid: boolean;
  readonly keyBytes: Uint8Array;
  readonly keyLength: number;
  readonly entry: Entry;
  readonly blockedOn: number;
  readonly isUnseen?: boolean;
  /** Whether a blocked one has reached a key, so that a step is left to be made, be it after a seek. */
  readonly isUndecided?: boolean;
  first(): boolean;
  last(): boolean;
  next(): boolean;
  previous(): boolean;
  seek(key: Uint8Array, keyLength: number, mode: SeekMode): boolean;
  /** Of a `Cursor` that may halt: the last sequence that it shows. */
  readonly through?: number;
  placeInto(place: LeafPlace): boolean;
  goOn(place: LeafPlace, forward: boolean): boolean;
  fence?(forward: boolean): Uint8Array | null;
  absentAhead?(forward: boolean, most: number, isNeeded: (fence: Uint8Array) => boolean): [number, ...number[]];
}

/** What a cursor walks over: a reader of a memtable, or a version of the tree. */
export interface IndexLayer {
  readonly keys: { cursor(): LayerCursor };
  /** The ranges that this layer deletes in older ones, or null. */
  readonly ranges: RangeSource | null;
}

/** Where a walk is in one layer. */
class Layer {
  readonly keys: LayerCursor;
  readonly ranges: RangeCursor | null;
  /** The move that is left to be made. */
  move: 'none' | 'step' | 'seek' = 'none';
  /** Where the seek leads: from this key on, or below it; null: to the end at which the walk begins. */
  target: Uint8Array | null = null;
  /** No key is left here that nothing hides. */
  isOver = false;

  constructor({ keys, ranges }: IndexLayer) {
    this.keys = keys.cursor();
    this.ranges = ranges === null ? null : new RangeCursor(ranges);
  }

  /** Whether the walk is at a key. */
  get isAtKey(): boolean {
    return this.move === 'none' && !this.isOver && this.keys.valid;
  }
}

export class IndexCursor {
  /** Newest layer first. */
  readonly #layers: readonly Layer[];
  readonly #hasRanges: boolean;
  readonly #reverse: boolean;
  /** What expires at this moment, or before, is passed as what was deleted is. */
  readonly #momentMs: number;
  readonly #leaves: LeavesAhead;
  #current: Layer | null = null;
  /** Reads of leaves since the walk was at a key. */
  #vainReads = 0;
  /** Layers with a move that is left to be made. */
  #moving = 0;
  /** Looks that are left to this move. */
  #looks = 0;
  #stop: 'none' | 'absent leaf' | 'end of slice' = 'none';
  /** WALK-3. */
  #end: Uint8Array | null = null;

  /** @param momentMs see `ExpiryClock.momentMs`; 0: all that expires is met, too */
  constructor(layers: readonly IndexLayer[], reverse: boolean, pager: Pager, momentMs = 0) {
    this.#momentMs = momentMs;
    this.#layers = layers.map((layer) => new Layer(layer));
    this.#hasRanges = this.#layers.some((layer) => layer.ranges !== null);
    this.#reverse = reverse;
    this.#leaves = new LeavesAhead(pager);
  }

  /**
   * Says that no key from this one on is needed, or in reverse none below it. It is the caller who asks where it is: keys from
   * leaves that are in memory are met all the same.
   *
   * @param end null: all are needed
   */
  endAt(end: Uint8Array | null): void {
    this.#end = end;
  }

  /** The current key is the first `keyLength` bytes. Valid until the next move. */
  get key(): Uint8Array {
    return this.#at().keyBytes;
  }

  get keyLength(): number {
    return this.#at().keyLength;
  }

  get entry(): Entry {
    return this.#at().entry;
  }

  /** Whether the last move, which has returned false, goes on with `resume`. */
  get isBlocked(): boolean {
    return this.#stop !== 'none';
  }

  /**
   * Reads the leaf that blocks the cursor, and the next ones of the walk: `most` leaves at first, more when it has passed
   * deleted keys only. They stay in memory for as long as the walk needs them (LEAVES-1), or until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if the first leaf cannot be read
   */
  async unblock(most: number): Promise<void> {
    if (this.#stop === 'end of slice') {
      await nextTurn();
      return;
    }
    const blocked = this.#layers.findIndex((layer) => layer.move !== 'none' && layer.keys.blockedOn !== 0);
    const isNeeded = (fence: Uint8Array): boolean =>
      !this.#isBehindEnd(fence) && this.#hiderOf(blocked, fence) === null;
    const vainReads = this.#vainReads++;
    const count = this.#leaves.countAfter(most, vainReads);
    const pages = this.#layers[blocked]?.keys.absentAhead?.(!this.#reverse, count, isNeeded);
    if (pages !== undefined) await this.#leaves.read(pages, vainReads > 0);
  }

  unpin(): void {
    this.#leaves.letGo();
  }

  /**
   * Moves to the first key from `from` on, in reverse to the last key below it; null: there is no such bound. False:
   * there is no key, or the move is blocked.
   */
  start(from: Uint8Array | null): boolean {
    this.#vainReads = 0;
    for (const layer of this.#layers) {
      layer.isOver = false;
      this.#seek(layer, from);
    }
    return this.#settle();
  }

  /** Moves to the next key. False: there is none, or the move is blocked. */
  next(): boolean {
    this.#vainReads = 0;
    if (this.#current !== null) this.#step(this.#current);
    return this.#settle();
  }

  /** Continues a blocked move. */
  resume(): boolean {
    return this.#settle();
  }

  /** Finds the layer with the nearest key. Moves older layers off the same key, and skips deleted keys. */
  #settle(): boolean {
    this.#stop = 'none';
    let deletions = 0;
    for (this.#looks = LOOKS_AT_ONCE; this.#looks > 0; this.#looks--) {
      if (this.#moving > 0 && !this.#makeMoves()) return false;
      const at = this.#nearest();
      const layer = this.#layers[at];
      this.#current = layer ?? null;
      if (layer === undefined) return false;
      if (this.#hasRanges && this.#leapIfHidden(at, layer)) {
        this.#looks -= LOOKS_PER_LEAP;
        continue;
      }
      const { entry } = layer.keys;
      const isDeleted = isDeletion(entry);
      if (!isDeleted && !isOverAt(entry, this.#momentMs)) return true;
      // A key that was deleted alone is passed sooner by a step.
      const passed = isDeleted && deletions++ > 0 ? this.#passRun() : 0;
      if (passed > 0) this.#looks -= passed >>> PASSED_SHIFT;
      else this.#step(layer);
    }
    this.#stop = 'end of slice';
    return false;
  }

  /** Passes deleted keys where they lie: see deleted-run.ts. Returns how many; 0: it cannot, and nothing has moved. */
  #passRun(): number {
    if (this.#moving > 0) return 0;
    const layers = this.#layers.filter((layer) => layer.isAtKey);
    const passed = passDeleted(layers, this.#reverse);
    for (let i = 0; passed > 0 && i < layers.length; i++) {
      const layer = layers[i] as Layer;
      layer.keys.goOn(placeOfRun(i), !this.#reverse);
      this.#noteStep(layer);
    }
    return passed;
  }

  /** The number of the layer with the nearest key, or -1. */
  #nearest(): number {
    const sign = this.#reverse ? -1 : 1;
    let at = -1;
    let nearest: LayerCursor | null = null;
    for (let i = 0; i < this.#layers.length; i++) {
      const layer = this.#layers[i] as Layer;
      if (!layer.isAtKey) continue;
      const { keys } = layer;
      const order = nearest === null ? -1 : sign * compareCursors(keys, nearest);
      if (order === 0) this.#step(layer);
      else if (order < 0) {
        at = i;
        nearest = keys;
      }
    }
    return at;
  }

  /** If a newer layer deletes the key of layer `at`: moves it and all older layers over the range. */
  #leapIfHidden(at: number, { keys }: Layer): boolean {
    for (let i = 0; i < at; i++) {
      const { ranges } = this.#layers[i] as Layer;
      if (ranges === null) continue;
      ranges.seek(keys.keyBytes, keys.keyLength);
      if (!ranges.isDeleted) continue;
      for (let older = i + 1; older < this.#layers.length; older++) {
        const layer = this.#layers[older] as Layer;
        if (layer.isAtKey && this.#isWithin(layer.keys, ranges)) this.#leap(layer, ranges);
      }
      return true;
    }
    return false;
  }

  /** Whether a key that the walk has not passed is in the range. */
  #isWithin({ keyBytes, keyLength }: LayerCursor, ranges: RangeCursor): boolean {
    if (!this.#reverse) return ranges.isBelowHigh(keyBytes, keyLength);
    return compareKeys(keyBytes, keyLength, ranges.low, ranges.lowLength) >= 0;
  }

  #leap(layer: Layer, ranges: RangeCursor): void {
    const { low, lowLength, high, highLength } = ranges;
    if (this.#reverse ? lowLength === 0 : high === null) {
      layer.isOver = true;
      if (layer.move === 'none') return;
      layer.move = 'none';
      this.#moving--;
    } else this.#seek(layer, this.#reverse ? low.slice(0, lowLength) : (high as Uint8Array).slice(0, highLength));
  }

  #seek(layer: Layer, target: Uint8Array | null): void {
    if (layer.move === 'none') this.#moving++;
    layer.move = 'seek';
    layer.target = target;
  }

  #step(layer: Layer): void {
    if (this.#reverse) layer.keys.previous();
    else layer.keys.next();
    this.#noteStep(layer);
  }

  /** Notes whether a step is to be made again. */
  #noteStep(layer: Layer): void {
    if (layer.keys.blockedOn === 0 && layer.keys.isUnseen !== true) return;
    layer.move = 'step';
    this.#moving++;
  }

  /** Makes the moves that are left. False: one is blocked, or the slice is over. */
  #makeMoves(): boolean {
    for (let i = 0; i < this.#layers.length; i++) {
      const layer = this.#layers[i] as Layer;
      while (layer.move !== 'none') {
        this.#move(layer);
        if (layer.keys.isUnseen === true) {
          layer.move = 'step';
          this.#looks -= LOOKS_PER_HALT;
          if (this.#looks > 0) continue;
          this.#stop = 'end of slice';
          return false;
        }
        if (layer.keys.blockedOn === 0) {
          layer.move = 'none';
          this.#moving--;
          break;
        }
        if (layer.keys.isUndecided === true) layer.move = 'step';
        if (this.#isBehindEnd(layer.keys.fence?.(!this.#reverse) ?? null)) {
          layer.isOver = true;
          layer.move = 'none';
          this.#moving--;
          break;
        }
        // WALK-1.
        const hider = this.#hiderOf(i, layer.move === 'step' ? null : layer.target);
        if (hider === null) {
          this.#stop = 'absent leaf';
          return false;
        }
        this.#leap(layer, hider);
      }
    }
    return true;
  }

  #move({ keys, move, target }: Layer): void {
    if (move === 'step') {
      if (this.#reverse) keys.previous();
      else keys.next();
    } else if (target !== null) keys.seek(target, target.length, this.#reverse ? '<' : '>=');
    else if (this.#reverse) keys.last();
    else keys.first();
  }

  /**
   * The ranges of a newer layer that delete the first keys which the walk would meet in an absent leaf of this layer, or
   * null.
   *
   * @param from where the walk would enter the leaf; null: at the fence of the leaf that blocks the layer
   */
  #hiderOf(at: number, from: Uint8Array | null): RangeCursor | null {
    if (!this.#hasRanges) return null;
    const layer = this.#layers[at] as Layer;
    const bound = from ?? layer.keys.fence?.(!this.#reverse) ?? null;
    if (from === null && layer.move === 'step' && !this.#isAhead(bound, layer.keys)) return null;
    for (let i = 0; i < at; i++) {
      const { ranges } = this.#layers[i] as Layer;
      if (ranges === null) continue;
      if (this.#reverse) ranges.seekBelow(bound, bound?.length ?? 0);
      else ranges.seek(bound ?? FIRST_KEY, bound?.length ?? 0);
      if (ranges.isDeleted) return ranges;
    }
    return null;
  }

  /** WALK-3. Of a leaf that begins at this fence, in reverse that ends there. */
  #isBehindEnd(fence: Uint8Array | null): boolean {
    const end = this.#end;
    if (fence === null || end === null) return false;
    const order = compareKeys(fence, fence.length, end, end.length);
    return this.#reverse ? order <= 0 : order >= 0;
  }

  /** Not so if the leaf is the one that the walk is in, and was evicted: a leap from its fence would go back. */
  #isAhead(fence: Uint8Array | null, { keyBytes, keyLength }: LayerCursor): boolean {
    if (fence === null) return false;
    const order = compareKeys(fence, fence.length, keyBytes, keyLength);
    return this.#reverse ? order <= 0 : order > 0;
  }

  #at(): LayerCursor {
    if (this.#current === null) throw new RangeError('the cursor is not on a key');
    return this.#current.keys;
  }
}

const FIRST_KEY = new Uint8Array(0);

function compareCursors(a: LayerCursor, b: LayerCursor): number {
  return compareKeys(a.keyBytes, a.keyLength, b.keyBytes, b.keyLength);
}
