/**
 * Maps each key to the place of its record. The memtable takes every write at once; the tree is behind it. A full
 * memtable becomes immutable and is merged into the tree in the background, in key order, many entries to a leaf.
 *
 * ```
 *   admit ─► memtable ──full──► immutable ──slices, sorted──► tree ◄── pager: leaves from the device, and out again
 *   find  ─► memtable, then immutable, then tree; the first with the key decides
 * ```
 *
 * INDEX-1. Every lookup sees what was admitted before it, also during a merge.
 * INDEX-2. The immutable memtable does not change. An entry that is both in it and in the tree is the same in both.
 * INDEX-3. A snapshot sees the index as it was when it was taken.
 * INDEX-4. A memtable ends at the end of a batch. After its merge the tree holds exactly the writes up to there.
 * INDEX-5. A lookup whose leaf is not in memory is answered later, with the state at its call: newer entries for its
 *     key go to a memtable, and the lookup is answered from the leaf before the leaf can change (pager.ts).
 *
 * A memtable holds deletions as entries; the tree holds only keys that exist. format/index-entry.ts describes entries.
 * The caller decides when to `merge`.
 */
import { assert, nextTurn } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import { MAX_KEY_BYTES } from '../format/record.ts';
import type { Planted } from '../failure/planted.ts';
import { IndexCursor } from './index-cursor.ts';
import { DELETED, highWordOf, isDeletion, lowWordOf } from '../format/index-entry.ts';
import { Merge } from './merge.ts';
import { Pager } from './pager.ts';
import type { PageWaiter } from './pager.ts';
import type { ReplayTarget } from './replay-target.ts';
import { Entry, FOUND, MISSING, NodeMemory, Probe, Tree, lookInLeaf, pageOf } from '../tree/index.ts';
import type { AbsentLeaf, Lookup, TreeSnapshot } from '../tree/index.ts';

/** A memtable is full with this many entries, or fewer if the memory for the index is small: see MERGED_PART. */
const MEMTABLE_ENTRIES = 4096;
/** Writers wait for the merge when the memtable has this many times the entries of a full one. */
const MEMTABLE_LIMIT = 4;
/** More nodes than a merged memtable has, so that all of them are freed at once. */
const MEMTABLE_NODES = 512;
/** A merge changes at most one in this many nodes of the memory, even if every entry is in another leaf. */
const MERGED_PART = 8;
const MEMTABLE_ENTRIES_LEAST = 16;
/** Length of a slice of a merge, about. */
const SLICE_MS = 0.5;

export interface KeyIndexOptions {
  readonly clock: Clock;
  readonly queue: Queue;
  readonly file: DirectFile;
  /** Size of a node in bytes. */
  readonly pageBytes: number;
  /** Memory for nodes, in bytes. Inner nodes and changed nodes may exceed it. */
  readonly indexBytes: number;
  readonly planted: Planted;
}

/** Receives the answer of a lookup whose leaf had to be read, once. */
export interface LateAnswer {
  /** @param entry valid only during the call */
  foundLate(entry: Entry): void;
  missingLate(): void;
  /** The leaf cannot be read. */
  failedLate(error: Error): void;
}

/** Scratch for a lookup in one leaf. Valid within one step. */
const leafProbe = new Probe(MAX_KEY_BYTES);
const leafEntry = new Entry();

/** A lookup that waits for its leaf. */
class LeafLookup implements PageWaiter {
  readonly #key: Uint8Array;
  readonly #answer: LateAnswer;

  constructor(key: Uint8Array, answer: LateAnswer) {
    this.#key = key;
    this.#answer = answer;
  }

  pageLoaded(words: Uint32Array, base: number): void {
    leafProbe.load(this.#key, this.#key.length);
    if (lookInLeaf(words, base, leafProbe, leafEntry)) this.#answer.foundLate(leafEntry);
    else this.#answer.missingLate();
  }

  pageFailed(error: Error): void {
    this.#answer.failedLate(error);
  }
}

/** The index at one moment. The owner must release it. */
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

  /** As `KeyIndex.find`, in the snapshot. */
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
  /** For the checkpointer and tests: the merged writes. */
  readonly tree: Tree;
  readonly #memory: NodeMemory;
  readonly #memtableMemory: NodeMemory;
  readonly #memtableEntries: number;
  #memtable: Tree;
  #immutable: Tree | null = null;
  #admittedThrough = 0 as Sequence;
  readonly #clock: Clock;
  /** Scratch for the key of a replayed record. */
  readonly #key = new Uint8Array(MAX_KEY_BYTES);
  #isClosed = false;

  constructor({ clock, queue, file, pageBytes, indexBytes, planted }: KeyIndexOptions) {
    this.#clock = clock;
    this.#memory = new NodeMemory({ nodeBytes: pageBytes });
    this.#memtableMemory = new NodeMemory({ nodeBytes: pageBytes });
    this.tree = new Tree(this.#memory);
    this.#memtable = new Tree(this.#memtableMemory);
    const affordable = Math.floor(indexBytes / MERGED_PART / pageBytes);
    this.#memtableEntries = Math.min(MEMTABLE_ENTRIES, Math.max(MEMTABLE_ENTRIES_LEAST, affordable));
    this.pager = new Pager({ queue, file, memory: this.#memory, tree: this.tree, limitBytes: indexBytes, planted });
  }

  /** @internal Makes the tree that of a checkpoint, whose nodes `fill` loads into the memory. */
  async restore<T>(
    fill: (memory: NodeMemory) => Promise<{ readonly rootPage: number; readonly keys: number; readonly standing: T }>,
  ): Promise<T> {
    const { rootPage, keys, standing } = await fill(this.#memory);
    this.tree.restore(rootPage, keys);
    return standing;
  }

  /** Memory that the index takes, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytesUsed + this.#memtableMemory.bytesUsed;
  }

  /** What of it the memtables take, and what the pages take. */
  get memtableBytes(): number {
    return this.#memtableMemory.bytesUsed;
  }

  get pageBytes(): number {
    return this.#memory.bytesUsed;
  }

  /**
   * Finds the record of a key, which is the first `keyBytes` of `key`.
   *
   * @returns `FOUND`: `into` has the entry; `MISSING`; or the leaf that must be read first: call `findLater` or
   *   `findSync` in the same step
   */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    if (this.#memtable.get(key, keyBytes, into) === FOUND) return isDeletion(into) ? MISSING : FOUND;
    if (this.#immutable !== null && this.#immutable.get(key, keyBytes, into) === FOUND) {
      return isDeletion(into) ? MISSING : FOUND;
    }
    return this.tree.get(key, keyBytes, into);
  }

  /** INDEX-5. Continues a lookup that stopped at an absent leaf. The key must not change until the answer. */
  findLater(leaf: AbsentLeaf, key: Uint8Array, answer: LateAnswer): void {
    this.pager.whenLoaded(pageOf(leaf), new LeafLookup(key, answer));
  }

  /**
   * As `findLater`, but blocks the thread until the device has answered. Returns whether the key exists.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  findSync(leaf: AbsentLeaf, key: Uint8Array, keyBytes: number, into: Entry): boolean {
    const { words, base } = this.pager.loadSync(pageOf(leaf));
    leafProbe.load(key, keyBytes);
    return lookInLeaf(words, base, leafProbe, into);
  }

  /**
   * Loads a leaf into memory, where it stays until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  pin(leaf: AbsentLeaf): Promise<void> {
    return this.pager.pin([pageOf(leaf)]);
  }

  unpin(leaves: readonly AbsentLeaf[]): void {
    this.pager.unpin(leaves.map(pageOf));
  }

  /** Pages read since the opening because they were not in memory. */
  get pageReads(): number {
    return this.pager.pageReads;
  }

  /** Settles when no page read is in flight. */
  quiet(): Promise<void> {
    return this.pager.quiet();
  }

  get memtableSize(): number {
    return this.#memtable.size;
  }

  /** Whether the memtable should be merged. */
  get isFull(): boolean {
    return this.#memtable.size >= this.#memtableEntries;
  }

  /** Whether `count` more entries fit into the memtable while it cannot be merged. Any batch fits into an empty one. */
  hasRoomFor(count: number): boolean {
    const { size } = this.#memtable;
    return size === 0 || size + count <= MEMTABLE_LIMIT * this.#memtableEntries;
  }

  /**
   * @param lengthWord see `lengthWordOf`
   * @param into a stage; default: the memtable
   */
  admitPut(key: Uint8Array, keyBytes: number, fileOffset: number, lengthWord: number, into = this.#memtable): void {
    into.set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset, lengthWord));
  }

  admitDelete(key: Uint8Array, keyBytes: number, into = this.#memtable): void {
    into.set(key, keyBytes, 0, DELETED);
  }

  /** Takes the entries of a batch that is admitted in slices. They are invisible until `useStage`. */
  stage(): Tree {
    return new Tree(this.#memtableMemory);
  }

  get isMerging(): boolean {
    return this.#immutable !== null;
  }

  /** Makes a stage the memtable. The current memtable must be empty. */
  useStage(stage: Tree): void {
    assert(this.#memtable.size === 0, 'a stage replaces an empty memtable only');
    this.#memtable = stage;
  }

  /** The latest write that lookups see. */
  get admittedThrough(): Sequence {
    return this.#admittedThrough;
  }

  /** INDEX-4. Call it after the last entry of a batch was admitted. */
  admitted(through: Sequence): void {
    this.#admittedThrough = through;
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

  /**
   * INDEX-4. Merges the current memtable into the tree, in slices. When the call returns the memtable is immutable and
   * an empty one has replaced it. Once merged, the tree does not change until the next call.
   *
   * @returns false if the index was closed meanwhile
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if a leaf cannot be read. Lookups still see the immutable
   *   memtable (INDEX-1). Do not call `merge` again.
   */
  async merge(): Promise<boolean> {
    assert(this.#immutable === null, 'one memtable is merged at a time');
    const immutable = this.#memtable;
    this.#immutable = immutable;
    this.#memtable = new Tree(this.#memtableMemory);
    const merge = new Merge(immutable, this.tree, this.pager);
    try {
      for (;;) {
        await nextTurn();
        if (this.#isClosed) return false;
        const untilMs = this.#clock.nowMs() + SLICE_MS;
        const outcome = merge.run(() => this.#clock.nowMs() >= untilMs);
        if (outcome === 'done') break;
        if (outcome === 'blocked') await merge.readAhead();
        this.pager.makeRoom();
      }
    } finally {
      merge.end();
    }
    immutable.clear();
    this.#immutable = null;
    this.#memtableMemory.reclaimSome(MEMTABLE_NODES);
    this.pager.makeRoom();
    return true;
  }

  snapshot(): IndexSnapshot {
    const layers = [this.#memtable.snapshot()];
    if (this.#immutable !== null) layers.push(this.#immutable.snapshot());
    layers.push(this.tree.snapshot());
    return new IndexSnapshot(layers, this.pager);
  }

  /** @internal Throws if an invariant of the trees or their memories does not hold. Slow: for tests. */
  verify(): void {
    const reachable = new Set<number>();
    this.tree.verify(reachable);
    this.#memory.verify(reachable);
    const inMemtables = new Set<number>();
    this.#memtable.verify(inMemtables);
    this.#immutable?.verify(inMemtables);
    this.#memtableMemory.verify(inMemtables);
  }

  /** Ends a merge under way. Nothing may be called after it. */
  close(): void {
    this.#isClosed = true;
  }
}
