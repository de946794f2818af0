/**
 * Where the record of each key is: the tree, and in front of it the overlay, which takes every write at
 * once and is drained into the tree in the background, sorted, many entries to a leaf.
 *
 * ```
 *   admit ─► overlay ──full──► draining ──slices, sorted──► tree ◄── pager: leaves from the device, and out again
 *   find  ─► overlay, then draining, then tree; the first that knows the key decides
 * ```
 *
 * X1. What was admitted is seen by every lookup from then on, whatever the draining does.
 * X2. The draining overlay does not change; an entry that is in it and in the tree already is the same.
 * X3. A snapshot sees the index as it was when it was taken.
 * X4. An overlay ends where a batch ends; when it was drained, the tree is what all writes up to there left behind.
 * X5. A lookup whose leaf is not in memory is answered later, as of the moment at which it was called: newer
 *     entries for its key are in an overlay then, and the leaf is looked into before it can change (Z3 of pager.ts).
 *
 * An overlay holds deletions as entries of their own; the tree holds only keys that exist. What an entry
 * says is location.ts.
 */
import { assert } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import { MAX_KEY_BYTES } from '../format/record.ts';
import { IndexCursor } from './index-cursor.ts';
import { DELETED, highWordOf, isDeletion, lowWordOf } from '../format/index-entry.ts';
import { Pager } from './pager.ts';
import type { ReplayTarget } from './replay-target.ts';
import { Entry, FOUND, MISSING, NodeMemory, Probe, Tree, lookInLeaf, pageOf } from '../tree/index.ts';
import type { AbsentLeaf, Cursor, Lookup, TreeSnapshot } from '../tree/index.ts';

/** Entries of an overlay before it is drained, at most. */
const OVERLAY_ENTRIES = 4096;
/** Overlays of so many entries may be in memory before writers wait for the one that is drained. */
const OVERLAY_LIMIT = 4;
/** More nodes than a drained overlay has; they are given back at once. */
const OVERLAY_NODES = 512;
/** One drained overlay changes at most this part of the memory for nodes, if each of its entries meets another leaf. */
const DRAINED_PART = 8;
const OVERLAY_ENTRIES_LEAST = 16;
/** Leaves that are read at once for the draining, at most, and the part of the memory that they may take. */
const LEAVES_AHEAD = 64;
const AHEAD_PART = 16;
/** A slice of draining takes about this long at most. */
const SLICE_MS = 0.5;
const ENTRIES_PER_CLOCK = 64;

export interface KeyIndexOptions {
  readonly clock: Clock;
  readonly queue: Queue;
  readonly file: DirectFile;
  /** Size of a node. */
  readonly pageBytes: number;
  /** Memory for nodes. Inner nodes, and what is not on the device yet, may go beyond it. */
  readonly indexBytes: number;
  /** For tests only: see `Planted`. */
  readonly plantedUncheckedTag: boolean;
}

interface RoomWaiter {
  resolve(): void;
  reject(error: Error): void;
}

/** Told what a lookup has found; the entry is valid during the call, and null when the key is not there. */
export type Answer = (entry: Entry | null, error: Error | null) => void;

/** The index at one moment. Must be released. */
export class IndexSnapshot {
  readonly #layers: TreeSnapshot[];
  readonly #pager: Pager;

  constructor(layers: TreeSnapshot[], pager: Pager) {
    this.#layers = layers;
    this.#pager = pager;
  }

  cursor(reverse: boolean): IndexCursor {
    return new IndexCursor(
      this.#layers.map((layer) => layer.cursor()),
      reverse,
      this.#pager,
    );
  }

  /** As `KeyIndex.find`, at the moment of the snapshot. */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    for (const layer of this.#layers) {
      const outcome = layer.get(key, keyBytes, into);
      if (outcome === FOUND) return isDeletion(into) ? MISSING : FOUND;
      if (outcome !== MISSING) return outcome;
    }
    return MISSING;
  }

  release(): void {
    for (const layer of this.#layers) layer.release();
  }
}

export class KeyIndex implements ReplayTarget {
  readonly pager: Pager;
  readonly #memory: NodeMemory;
  readonly #overlayMemory: NodeMemory;
  readonly #tree: Tree;
  readonly #overlayEntries: number;
  #overlay: Tree;
  #draining: Tree | null = null;
  #admittedThrough = 0 as Sequence;
  #isExactRequested = false;
  readonly #clock: Clock;
  readonly #roomWaiters: RoomWaiter[] = [];
  /** Where a replay puts the key of a record. */
  readonly #key = new Uint8Array(MAX_KEY_BYTES);
  #closed = false;
  /** Why the overlay cannot be drained any more, or null. */
  failure: Error | null = null;
  /**
   * Called when the tree has just become what the first `sequence` writes left behind, and nothing of it is being
   * drained; in the same step, before anything else can happen.
   */
  onExact: ((tree: Tree, sequence: Sequence) => void) | null = null;
  /** Asked before an overlay is drained; whoever says no calls `drainAgain` later. */
  mayDrain: () => boolean = () => true;
  /** Told why an overlay cannot be drained any more: a leaf that it needs cannot be read. Lookups go on. */
  onFailure: (error: Error) => void = () => undefined;

  constructor({ clock, queue, file, pageBytes, indexBytes, plantedUncheckedTag }: KeyIndexOptions) {
    this.#clock = clock;
    this.#memory = new NodeMemory({ nodeBytes: pageBytes });
    this.#overlayMemory = new NodeMemory({ nodeBytes: pageBytes });
    this.#tree = new Tree(this.#memory);
    this.#overlay = new Tree(this.#overlayMemory);
    const affordable = Math.floor(indexBytes / DRAINED_PART / pageBytes);
    this.#overlayEntries = Math.min(OVERLAY_ENTRIES, Math.max(OVERLAY_ENTRIES_LEAST, affordable));
    this.pager = new Pager({
      queue,
      file,
      memory: this.#memory,
      tree: this.#tree,
      limitBytes: indexBytes,
      plantedUncheckedTag,
    });
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
    return this.#memory.bytesUsed + this.#overlayMemory.bytesUsed;
  }

  /**
   * Finds the record of a key. The key is at the start of `key`.
   *
   * @returns `FOUND`, and `into` says where; `MISSING`; or a leaf that must be read to know: ask `findLater` in the
   *   same step, or `findSync`
   */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    if (this.#overlay.get(key, keyBytes, into) === FOUND) return isDeletion(into) ? MISSING : FOUND;
    if (this.#draining !== null && this.#draining.get(key, keyBytes, into) === FOUND) {
      return isDeletion(into) ? MISSING : FOUND;
    }
    return this.#tree.get(key, keyBytes, into);
  }

  /** X5. Goes on with a lookup that has come to an absent leaf. The key is copied. */
  findLater(leaf: AbsentLeaf, key: Uint8Array, keyBytes: number, answer: Answer): void {
    const probe = new Probe(keyBytes);
    probe.load(key, keyBytes);
    this.pager.whenLoaded(pageOf(leaf), {
      pageLoaded: (words, base) => {
        const entry = new Entry();
        answer(lookInLeaf(words, base, probe, entry) ? entry : null, null);
      },
      pageFailed: (error) => answer(null, error),
    });
  }

  /**
   * As `findLater`, while the thread waits for the device.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  findSync(leaf: AbsentLeaf, key: Uint8Array, keyBytes: number, into: Entry): boolean {
    const { words, base } = this.pager.loadSync(pageOf(leaf));
    const probe = new Probe(keyBytes);
    probe.load(key, keyBytes);
    return lookInLeaf(words, base, probe, into);
  }

  /**
   * Brings a leaf into memory, where it stays until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  pin(leaf: AbsentLeaf): Promise<void> {
    return this.pager.pin([pageOf(leaf)]);
  }

  unpin(leaves: readonly AbsentLeaf[]): void {
    this.pager.unpin(leaves.map(pageOf));
  }

  /** Pages that were read because they were not in memory. */
  get pageReads(): number {
    return this.pager.pageReads;
  }

  /** Settles when no page is being read. */
  quiet(): Promise<void> {
    return this.pager.quiet();
  }

  /** Whether `count` more entries may be admitted now. */
  hasRoomFor(count: number): boolean {
    const { size } = this.#overlay;
    // A group of any size finds room in an empty one.
    if (size === 0 || (this.#draining === null && this.mayDrain())) return true;
    return size + count <= OVERLAY_LIMIT * this.#overlayEntries;
  }

  /**
   * Settles when there may be room; ask `hasRoomFor` again.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO when a leaf that is needed for that cannot be read
   */
  whenRoom(): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.#roomWaiters.push({ resolve, reject }));
  }

  /**
   * @param lengthWord see `lengthWordOf`
   * @param into what `stage` gave, or the overlay
   */
  admitPut(key: Uint8Array, keyBytes: number, fileOffset: number, lengthWord: number, into = this.#overlay): void {
    into.set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset, lengthWord));
  }

  admitDelete(key: Uint8Array, keyBytes: number, into = this.#overlay): void {
    into.set(key, keyBytes, 0, DELETED);
  }

  /** For a group that is admitted bit by bit: its entries, which nobody sees until `admitStaged`. */
  stage(): Tree {
    return new Tree(this.#overlayMemory);
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
    this.#drainIfDue();
  }

  /** `mayDrain` may have changed its mind. */
  drainAgain(): void {
    this.#drainIfDue();
    this.#wakeRoomWaiters();
  }

  /** @internal */
  replayPut(bytes: Uint8Array, keyAt: number, keyBytes: number, fileOffset: number, lengthBytes: number): void {
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    this.admitPut(this.#key, keyBytes, fileOffset, lengthBytes);
  }

  /** @internal */
  replayDelete(bytes: Uint8Array, keyAt: number, keyBytes: number): void {
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    this.admitDelete(this.#key, keyBytes);
  }

  /** Has `onExact` called as soon as may be, even if the overlay is not full. */
  requestExact(): void {
    if (this.#draining !== null) this.#isExactRequested = true;
    else if (this.#overlay.size > 0) this.#startDraining();
    else this.onExact?.(this.#tree, this.#admittedThrough);
  }

  snapshot(): IndexSnapshot {
    const layers = [this.#overlay.snapshot()];
    if (this.#draining !== null) layers.push(this.#draining.snapshot());
    layers.push(this.#tree.snapshot());
    return new IndexSnapshot(layers, this.pager);
  }

  /** @internal Throws when an invariant of the trees or of their memories does not hold. Slow: for tests. */
  verify(): void {
    const reachable = new Set<number>();
    this.#tree.verify(reachable);
    this.#memory.verify(reachable);
    const inOverlays = new Set<number>();
    this.#overlay.verify(inOverlays);
    this.#draining?.verify(inOverlays);
    this.#overlayMemory.verify(inOverlays);
  }

  /** Stops draining; nothing may be asked any more. */
  close(): void {
    this.#closed = true;
    this.#wakeRoomWaiters();
  }

  /** Begins to drain the overlay if it is full, and may be. */
  #drainIfDue(): void {
    if (this.#overlay.size >= this.#overlayEntries && this.mayDrain()) this.#startDraining();
  }

  #startDraining(): void {
    if (this.#draining !== null || this.#closed) return;
    const drain = new Drain(this.#overlay, this.#tree, this.pager);
    const through = this.#admittedThrough;
    this.#draining = this.#overlay;
    this.#overlay = new Tree(this.#overlayMemory);
    this.#wakeRoomWaiters();
    const slice = (): void => {
      if (this.#closed) {
        drain.end();
        return;
      }
      const untilMs = this.#clock.nowMs() + SLICE_MS;
      for (let n = 1; drain.step(); n++) {
        if (n % ENTRIES_PER_CLOCK === 0 && this.#clock.nowMs() >= untilMs) {
          this.pager.makeRoom();
          setImmediate(slice);
          return;
        }
      }
      if (drain.isBlocked) {
        // What was read is used in the step in which it is there.
        drain.readAhead().then(slice, (error: Error) => {
          drain.end();
          this.#fail(error);
        });
        return;
      }
      drain.end();
      this.#drained(through);
    };
    setImmediate(slice);
  }

  #drained(through: Sequence): void {
    this.#draining?.clear();
    this.#draining = null;
    this.#overlayMemory.reclaimSome(OVERLAY_NODES);
    this.pager.makeRoom();
    this.onExact?.(this.#tree, through);
    this.#wakeRoomWaiters();
    if (this.#isExactRequested) {
      this.#isExactRequested = false;
      this.requestExact();
    } else this.#drainIfDue();
  }

  /** X1 holds on: the overlay that is drained stays where lookups find it. */
  #fail(error: Error): void {
    this.failure = error;
    for (const waiter of this.#roomWaiters.splice(0)) waiter.reject(error);
    this.onFailure(error);
  }

  #wakeRoomWaiters(): void {
    for (const waiter of this.#roomWaiters.splice(0)) waiter.resolve();
  }
}

/** Takes the entries of an overlay into the tree, in their order. */
class Drain {
  readonly #snapshot: TreeSnapshot;
  readonly #cursor: Cursor;
  readonly #tree: Tree;
  readonly #pager: Pager;
  #more: boolean;
  /** Leaves that were read for the entries that come next. */
  #pinned: number[] = [];
  /** The next entry needs a leaf that is not in memory. */
  isBlocked = false;

  constructor(overlay: Tree, tree: Tree, pager: Pager) {
    this.#snapshot = overlay.snapshot();
    this.#cursor = this.#snapshot.cursor();
    this.#more = this.#cursor.first();
    this.#tree = tree;
    this.#pager = pager;
  }

  /** Takes the next entry over; false when there is none, or it has to wait for its leaf. */
  step(): boolean {
    if (!this.#more) return false;
    const { keyBytes, keyLength, entry } = this.#cursor;
    this.isBlocked = this.#tree.goTo(keyBytes, keyLength) !== 0;
    if (this.isBlocked) return false;
    if (isDeletion(entry)) this.#tree.deleteHere();
    else this.#tree.setHere(entry.word0, entry.word1);
    this.#more = this.#cursor.next();
    return true;
  }

  /** Reads the leaves that the next entries need. */
  async readAhead(): Promise<void> {
    this.#unpin();
    const { memory } = this.#tree;
    const most = Math.min(LEAVES_AHEAD, Math.max(1, this.#pager.limitBytes / memory.nodeBytes / AHEAD_PART));
    const leaves = new Set<number>();
    const scout = this.#snapshot.cursor();
    let more = scout.seek(this.#cursor.keyBytes, this.#cursor.keyLength, '>=');
    for (let looks = 4 * LEAVES_AHEAD; more && looks > 0 && leaves.size < most; looks--) {
      const leaf = this.#tree.goTo(scout.keyBytes, scout.keyLength);
      if (leaf !== 0) leaves.add(leaf);
      more = scout.next();
    }
    const ids = [...leaves];
    await this.#pager.pin(ids);
    this.#pinned = ids;
    this.isBlocked = false;
  }

  end(): void {
    this.#unpin();
    this.#snapshot.release();
  }

  #unpin(): void {
    this.#pager.unpin(this.#pinned);
    this.#pinned = [];
  }
}
