/**
 * A position in a snapshot that moves in both directions. Writes to the tree do not affect it. The cursor
 * keeps its own copy of the current key and entry and allocates nothing per step. It does not own the
 * snapshot: whoever took the snapshot releases it. A cursor over a tree itself has to be positioned again after each
 * change of the tree; until then it has the key and entry that it had.
 *
 *   #path[top] ... #path[1]   inner nodes, #index[level] the child that was taken
 *   #path[0]                  the leaf, #index[0] the entry
 *
 * A cursor that moved past either end is invalid until it is positioned again. A cursor that reaches a leaf
 * which is not in memory sets `blockedOn`: it has not moved, and the caller repeats the move once the leaf is loaded.
 */
import { assert } from '@aiokv/core';
import { Entry } from './entry.ts';
import type { LeafPlace } from './leaf-place.ts';
import * as node from './node.ts';
import { KEY_BYTES_MAX, Probe } from './probe.ts';
import { MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';

/** Where a seek ends: at the first key `>=` or `>` the given key, or at the last key `<=` or `<` it. */
export type SeekMode = '>=' | '>' | '<=' | '<';

/** The part of a snapshot, or of a tree, that a cursor needs. Both import this file, so they cannot be imported here. */
interface Walked {
  readonly memory: NodeMemory;
  readonly root: number;
  /** Only a snapshot is. */
  readonly released?: boolean;
}

/** Stands for the position after the last entry of a leaf that is not in memory. No leaf has this many entries. */
const BEHIND_LAST = 0xffff;

/** The key of the current seek. All cursors share it: no use of it outlasts a call. */
const probe = new Probe();

/** A separator. All cursors share it: see `Cursor.fence`. */
const fenceWords = new Uint32Array(KEY_BYTES_MAX / 4 + 2);
const fenceBytes = new Uint8Array(fenceWords.buffer);

/** Bytes of a key that a new cursor has room for. An iterator has several cursors, and there may be thousands of them. */
const FIRST_KEY_BYTES = 56;

export class Cursor {
  /** The current key, in the first `keyLength` bytes; the rest is undefined. The next move overwrites or replaces it. */
  keyBytes: Uint8Array;
  keyLength = 0;
  /** The leaf that the last move needed and that was not in memory; 0 if there was none. */
  blockedOn = 0;
  /** The entry of the current key. The next move overwrites it. */
  readonly entry = new Entry();
  readonly #snapshot: Walked;
  /** The same memory as `keyBytes`. */
  #keyWords: Uint32Array;
  /** Level of the root; -1: there is none. */
  #top = -1;
  readonly #path: number[] = [];
  readonly #index: number[] = [];
  /** The leaf whose prefix `keyBytes` holds. */
  #prefixOf = 0;
  #valid = false;
  #isKeyless = false;

  constructor(snapshot: Walked) {
    this.#snapshot = snapshot;
    this.#keyWords = new Uint32Array(wordsFor(FIRST_KEY_BYTES));
    this.keyBytes = new Uint8Array(this.#keyWords.buffer);
  }

  /** Whether the cursor is at a key. */
  get valid(): boolean {
    return this.#valid;
  }

  first(): boolean {
    return this.#goToEdge(false);
  }

  last(): boolean {
    return this.#goToEdge(true);
  }

  next(): boolean {
    return this.#valid && this.#moveTo((this.#index[0] as number) + 1);
  }

  /**
   * As `next`, or `first` before the first move, but leaves out the key, which takes most of the time of a step. The
   * entry is there; `loadKey` gets the key.
   */
  nextEntry(): boolean {
    this.#isKeyless = true;
    const isThere = this.#valid ? this.next() : this.first();
    this.#isKeyless = false;
    return isThere;
  }

  /** After `nextEntry`, in the same step. */
  loadKey(): void {
    const leaf = this.#path[0] as number;
    const { memory } = this.#snapshot;
    this.#loadKey(memory.words(leaf), memory.base(leaf), leaf, this.#index[0] as number);
  }

  previous(): boolean {
    return this.#valid && this.#moveTo((this.#index[0] as number) - 1);
  }

  /** Fills in where the cursor is. Returns false if it is at no key, or the leaf has left memory. */
  placeInto(place: LeafPlace): boolean {
    const leaf = this.#path[0] as number;
    const { memory } = this.#snapshot;
    if (!this.#valid || !memory.isResident(leaf)) return false;
    place.set(memory.words(leaf), memory.base(leaf), this.#index[0] as number);
    return true;
  }

  /** Goes where a place has come to that was filled in by `placeInto`; from outside of the leaf on to the next one. */
  goOn({ index }: LeafPlace): boolean {
    return this.#moveTo(index);
  }

  /** Goes to the first or last key that `mode` allows. Returns false if there is none, or if the move is blocked. */
  seek(key: Uint8Array, keyLength: number, mode: SeekMode): boolean {
    if (!this.#enter()) return false;
    const { memory, root } = this.#snapshot;
    probe.load(key, keyLength);
    let id = root;
    for (let level = this.#top; level > 0; level--) {
      const words = memory.words(id);
      const base = memory.base(id);
      const found = node.search(words, base, probe);
      const child = found >= 0 ? found + 1 : ~found;
      this.#path[level] = id;
      this.#index[level] = child;
      id = node.childAt(words, base, child);
    }
    this.#path[0] = id;
    this.blockedOn = memory.isResident(id) ? 0 : id;
    if (this.blockedOn !== 0) {
      this.#valid = false;
      return false;
    }
    const found = node.search(memory.words(id), memory.base(id), probe);
    const forward = mode === '>=' || mode === '>';
    if (found < 0) return this.#moveTo(forward ? ~found : ~found - 1);
    if (mode === '>') return this.#moveTo(found + 1);
    if (mode === '<') return this.#moveTo(found - 1);
    return this.#moveTo(found);
  }

  /**
   * Where the leaf begins that blocks a move forward, or where it ends that blocks one backward: all its keys are from
   * there on, or below. Valid until the next call; null: it is the first leaf, or the last.
   */
  fence(forward: boolean): Uint8Array | null {
    for (let level = 1; level <= this.#top; level++) {
      const child = this.#index[level] as number;
      const fence = this.#separator(level, forward ? child - 1 : child);
      if (fence !== null) return fence;
    }
    return null;
  }

  /** The separator of the path's node on this level; null if there is none with this index. */
  #separator(level: number, index: number): Uint8Array | null {
    const id = this.#path[level] as number;
    const { memory } = this.#snapshot;
    const words = memory.words(id);
    const base = memory.base(id);
    if (index < 0 || index >= node.count(words, base)) return null;
    node.copyPrefix(words, base, fenceWords);
    return fenceBytes.subarray(0, node.copyRest(words, base, index, fenceWords));
  }

  /**
   * The leaf that a blocked move needs, followed by the absent leaves after it in the direction of the move that have
   * the same parent; at most `most` leaves.
   *
   * @param isNeeded whether a leaf is, that begins or ends at this fence: see `fence`
   */
  absentAhead(forward: boolean, most: number, isNeeded: (fence: Uint8Array) => boolean): [number, ...number[]] {
    const leaves: [number, ...number[]] = [this.blockedOn];
    const { memory } = this.#snapshot;
    const parent = this.#path[1] as number;
    const words = memory.words(parent);
    const base = memory.base(parent);
    const last = node.count(words, base);
    const step = forward ? 1 : -1;
    for (let child = (this.#index[1] as number) + step; child >= 0 && child <= last; child += step) {
      if (leaves.length === most) break;
      const id = node.childAt(words, base, child);
      if (memory.isResident(id)) continue;
      const fence = this.#separator(1, forward ? child - 1 : child);
      if (fence === null || isNeeded(fence)) leaves.push(id);
    }
    return leaves;
  }

  /** Goes to the root. False: there is none. */
  #enter(): boolean {
    this.#checkOpen();
    const { root, memory } = this.#snapshot;
    // A leaf of a tree may have got another prefix.
    this.#prefixOf = 0;
    this.#top = root === 0 ? -1 : node.level(memory.words(root), memory.base(root));
    if (root === 0) this.#valid = false;
    while (this.#path.length <= this.#top) {
      this.#path.push(0);
      this.#index.push(0);
    }
    return root !== 0;
  }

  #checkOpen(): void {
    assert(this.#snapshot.released !== true, 'a cursor is used before its snapshot is released');
  }

  #goToEdge(atEnd: boolean): boolean {
    if (!this.#enter()) return false;
    this.#path[this.#top] = this.#snapshot.root;
    return this.#descend(this.#top, atEnd);
  }

  /** Descends from the path's node on this level, whose index is not set yet, to its first or last entry. */
  #descend(fromLevel: number, atEnd: boolean): boolean {
    const memory = this.#snapshot.memory;
    for (let level = fromLevel; level > 0; level--) {
      const id = this.#path[level] as number;
      const words = memory.words(id);
      const base = memory.base(id);
      const child = atEnd ? node.count(words, base) : 0;
      this.#index[level] = child;
      this.#path[level - 1] = node.childAt(words, base, child);
    }
    // A move into this leaf starts here, and starts here again if the leaf has to be loaded first.
    this.#index[0] = atEnd ? BEHIND_LAST : -1;
    return this.#moveTo(atEnd ? BEHIND_LAST - 1 : 0);
  }

  /** Goes to the entry with this index in the leaf, or on to the next leaf if there is no such entry. */
  #moveTo(index: number): boolean {
    this.#checkOpen();
    const memory = this.#snapshot.memory;
    const leaf = this.#path[0] as number;
    this.blockedOn = memory.isResident(leaf) ? 0 : leaf;
    if (this.blockedOn !== 0) return false;
    const words = memory.words(leaf);
    const base = memory.base(leaf);
    const count = node.count(words, base);
    const at = index === BEHIND_LAST - 1 ? count - 1 : index;
    if (at < 0 || at >= count) return this.#leaveLeaf(at >= 0);
    this.#index[0] = at;
    this.#valid = true;
    memory.mark(leaf, MARK_USED);
    this.#load(words, base, leaf, at);
    return true;
  }

  #leaveLeaf(forward: boolean): boolean {
    const memory = this.#snapshot.memory;
    for (let level = 1; level <= this.#top; level++) {
      const id = this.#path[level] as number;
      const words = memory.words(id);
      const base = memory.base(id);
      const child = (this.#index[level] as number) + (forward ? 1 : -1);
      if (child < 0 || child > node.count(words, base)) continue;
      this.#index[level] = child;
      this.#path[level - 1] = node.childAt(words, base, child);
      return this.#descend(level - 1, !forward);
    }
    this.#valid = false;
    return false;
  }

  #loadKey(words: Uint32Array, base: number, leaf: number, index: number): void {
    const needed = wordsFor(node.keyLength(words, base, index));
    if (needed > this.#keyWords.length) this.#grow(needed);
    if (leaf !== this.#prefixOf) {
      node.copyPrefix(words, base, this.#keyWords);
      this.#prefixOf = leaf;
    }
    this.keyLength = node.copyRest(words, base, index, this.#keyWords);
  }

  #load(words: Uint32Array, base: number, leaf: number, index: number): void {
    if (!this.#isKeyless) this.#loadKey(words, base, leaf, index);
    node.loadEntry(words, base, index, this.entry);
  }

  #grow(words: number): void {
    this.#keyWords = new Uint32Array(Math.min(wordsFor(KEY_BYTES_MAX), 2 * words));
    this.keyBytes = new Uint8Array(this.#keyWords.buffer);
    this.#prefixOf = 0;
  }
}

function wordsFor(keyBytes: number): number {
  return (keyBytes >>> 2) + 2;
}
