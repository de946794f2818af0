/**
 * Where the record of each key is: the tree, and in front of it the overlay, which takes every write at
 * once and is drained into the tree in the background, sorted, many entries to a leaf.
 *
 * ```
 *   admit ─► overlay ──full──► draining ──slices, sorted──► tree
 *   find  ─► overlay, then draining, then tree; the first that knows the key decides
 * ```
 *
 * X1. What was admitted is seen by every lookup from then on, whatever the draining does.
 * X2. The draining overlay does not change; an entry that is in it and in the tree already is the same.
 * X3. A snapshot sees the index as it was when it was taken.
 * X4. An overlay ends where a batch ends; when it was drained, the tree is what all writes up to there left behind.
 *
 * An overlay holds deletions as entries of their own; the tree holds only keys that exist. What an entry
 * says is location.ts.
 */
import { assert } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import { MAX_KEY_BYTES } from './format/record.ts';
import { IndexCursor } from './index-cursor.ts';
import { DELETED, highWordOf, isDeletion, lowWordOf } from './location.ts';
import type { ReplayTarget } from './pending.ts';
import { NodeMemory, Tree } from './tree/index.ts';
import type { Entry, TreeSnapshot } from './tree/index.ts';

/** Entries of an overlay before it is drained. */
const OVERLAY_ENTRIES = 4096;
/** Entries of an overlay before writers wait for the one that is drained. */
const OVERLAY_LIMIT = 4 * OVERLAY_ENTRIES;
/** More nodes than a drained overlay has; they are given back at once. */
const OVERLAY_NODES = 512;
/** A slice of draining takes about this long at most. */
const SLICE_MS = 0.5;
const ENTRIES_PER_CLOCK = 64;

/** The index at one moment. Must be released. */
export class IndexSnapshot {
  readonly #layers: TreeSnapshot[];

  constructor(layers: TreeSnapshot[]) {
    this.#layers = layers;
  }

  cursor(reverse: boolean): IndexCursor {
    return new IndexCursor(
      this.#layers.map((layer) => layer.cursor()),
      reverse,
    );
  }

  release(): void {
    for (const layer of this.#layers) layer.release();
  }
}

export class KeyIndex implements ReplayTarget {
  readonly #memory: NodeMemory;
  readonly #key = new Uint8Array(MAX_KEY_BYTES);
  readonly #tree: Tree;
  #overlay: Tree;
  #draining: Tree | null = null;
  #admittedThrough = 0 as Sequence;
  #isExactRequested = false;
  readonly #clock: Clock;
  readonly #roomWaiters: (() => void)[] = [];
  #closed = false;
  /**
   * Called when the tree has just become what the first `sequence` writes left behind, and nothing of it is being
   * drained; in the same step, before anything else can happen.
   */
  onExact: ((tree: Tree, sequence: Sequence) => void) | null = null;

  /** @param pageBytes size of a node */
  constructor(clock: Clock, pageBytes: number) {
    this.#clock = clock;
    this.#memory = new NodeMemory({ nodeBytes: pageBytes });
    this.#tree = new Tree(this.#memory);
    this.#overlay = new Tree(this.#memory);
  }

  /** @internal Makes the tree that of a checkpoint; `fill` puts its nodes into the memory. */
  async restore<T>(
    fill: (memory: NodeMemory) => Promise<{ readonly rootPage: number; readonly keys: number; readonly standing: T }>,
  ): Promise<T> {
    const { rootPage, keys, standing } = await fill(this.#memory);
    this.#tree.restore(rootPage, keys);
    return standing;
  }

  /** Memory that the index takes up, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytesUsed;
  }

  /** Finds the record of a key that exists. The key is at the start of `key`. */
  find(key: Uint8Array, keyBytes: number, into: Entry): boolean {
    if (this.#overlay.get(key, keyBytes, into)) return !isDeletion(into);
    if (this.#draining !== null && this.#draining.get(key, keyBytes, into)) return !isDeletion(into);
    return this.#tree.get(key, keyBytes, into);
  }

  /** Whether `count` more entries may be admitted now. */
  hasRoomFor(count: number): boolean {
    return this.#draining === null || this.#overlay.size + count <= OVERLAY_LIMIT;
  }

  /** Settles when the overlay that is drained is gone. */
  whenRoom(): Promise<void> {
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /** @param into what `stage` gave, or the overlay */
  admitPut(key: Uint8Array, keyBytes: number, fileOffset: number, lengthWord: number, into = this.#overlay): void {
    into.set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset), lengthWord);
  }

  admitDelete(key: Uint8Array, keyBytes: number, into = this.#overlay): void {
    into.set(key, keyBytes, 0, DELETED, 0);
  }

  /** For a group that is admitted bit by bit: its entries, which nobody sees until `admitStaged`. */
  stage(): Tree {
    return new Tree(this.#memory);
  }

  get isDraining(): boolean {
    return this.#draining !== null;
  }

  /** X4. Makes a stage the overlay, in front of all that was admitted before it. Nothing may be draining. */
  admitStaged(stage: Tree, through: Sequence): void {
    assert(this.#draining === null, 'one overlay is drained at a time');
    if (this.#overlay.size > 0) this.#startDraining();
    this.#overlay = stage;
    this.admitted(through);
  }

  /** The last write that every lookup sees. */
  get admittedThrough(): Sequence {
    return this.#admittedThrough;
  }

  /** Must be called after the last entry of a group was admitted: an overlay never ends inside a batch. */
  admitted(through: Sequence): void {
    this.#admittedThrough = through;
    if (this.#overlay.size >= OVERLAY_ENTRIES) this.#startDraining();
  }

  /** Has `onExact` called as soon as may be, even if the overlay is not full. */
  requestExact(): void {
    if (this.#draining !== null) this.#isExactRequested = true;
    else if (this.#overlay.size > 0) this.#startDraining();
    else this.onExact?.(this.#tree, this.#admittedThrough);
  }

  /** @internal For a replay, during which nothing else happens: straight into the tree. */
  replayPut(bytes: Uint8Array, keyAt: number, keyBytes: number, fileOffset: number, lengthWord: number): void {
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    this.#tree.set(this.#key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset), lengthWord);
  }

  /** @internal */
  replayDelete(bytes: Uint8Array, keyAt: number, keyBytes: number): void {
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    this.#tree.delete(this.#key, keyBytes);
  }

  snapshot(): IndexSnapshot {
    const layers = [this.#overlay.snapshot()];
    if (this.#draining !== null) layers.push(this.#draining.snapshot());
    layers.push(this.#tree.snapshot());
    return new IndexSnapshot(layers);
  }

  /** Stops draining; nothing may be asked any more. */
  close(): void {
    this.#closed = true;
    for (const resolve of this.#roomWaiters.splice(0)) resolve();
  }

  #startDraining(): void {
    if (this.#draining !== null) return;
    const through = this.#admittedThrough;
    const draining = this.#overlay;
    this.#draining = draining;
    this.#overlay = new Tree(this.#memory);
    const snapshot = draining.snapshot();
    const cursor = snapshot.cursor();
    let more = cursor.first();
    const slice = (): void => {
      if (this.#closed) return;
      const untilMs = this.#clock.nowMs() + SLICE_MS;
      for (let n = 1; more; n++) {
        if (isDeletion(cursor.entry)) this.#tree.delete(cursor.keyBytes, cursor.keyLength);
        else
          this.#tree.set(cursor.keyBytes, cursor.keyLength, cursor.entry.word0, cursor.entry.word1, cursor.entry.word2);
        more = cursor.next();
        if (n % ENTRIES_PER_CLOCK === 0 && this.#clock.nowMs() >= untilMs) break;
      }
      if (more) {
        setImmediate(slice);
        return;
      }
      snapshot.release();
      this.#draining = null;
      draining.clear();
      this.#memory.reclaimSome(OVERLAY_NODES);
      this.onExact?.(this.#tree, through);
      for (const resolve of this.#roomWaiters.splice(0)) resolve();
      if (this.#overlay.size >= OVERLAY_ENTRIES || this.#isExactRequested) {
        this.#isExactRequested = false;
        if (this.#overlay.size > 0) this.#startDraining();
        else this.onExact?.(this.#tree, this.#admittedThrough);
      }
    };
    setImmediate(slice);
  }
}
