/**
 * Where the record of each key is: the tree, and in front of it the memtable, which takes every write at once. A full
 * memtable becomes immutable and is merged into the tree in the background, sorted, many entries to a leaf.
 *
 * ```
 *   admit ─► memtable ──full──► immutable ──slices, sorted──► tree ◄── pager: leaves from the device, and out again
 *   find  ─► memtable, then immutable, then tree; the first that knows the key decides
 * ```
 *
 * INDEX-1. What was admitted is seen by every lookup from then on, whatever a merge does.
 * INDEX-2. The immutable memtable does not change; an entry that is in it and in the tree already is the same.
 * INDEX-3. A snapshot sees the index as it was when it was taken.
 * INDEX-4. A memtable ends where a batch ends; when it was merged, the tree is what all writes up to there left behind.
 * INDEX-5. A lookup whose leaf is not in memory is answered later, as of the moment at which it was called: newer
 *     entries for its key are in a memtable then, and the leaf is looked into before it can change (pager.ts).
 *
 * A memtable holds deletions as entries of their own; the tree holds only keys that exist. What an entry says is
 * format/index-entry.ts. When a merge is due is decided above: it is asked for with `merge`.
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

/** Entries of a memtable before it is merged, at most. */
const MEMTABLE_ENTRIES = 4096;
/** The memtable may have this many times the entries of a full one before writers wait for the merge. */
const MEMTABLE_LIMIT = 4;
/** More nodes than a merged memtable has; they are given back at once. */
const MEMTABLE_NODES = 512;
/** A merge changes at most this part of the memory for nodes, if each of its entries meets another leaf. */
const MERGED_PART = 8;
const MEMTABLE_ENTRIES_LEAST = 16;
/** A slice of a merge takes about this long at most. */
const SLICE_MS = 0.5;

export interface KeyIndexOptions {
  readonly clock: Clock;
  readonly queue: Queue;
  readonly file: DirectFile;
  /** Size of a node. */
  readonly pageBytes: number;
  /** Memory for nodes. Inner nodes, and what is not on the device yet, may go beyond it. */
  readonly indexBytes: number;
  readonly planted: Planted;
}

/** Told once what a lookup has come to whose leaf had to be read. */
export interface LateAnswer {
  /** @param entry valid during the call */
  foundLate(entry: Entry): void;
  missingLate(): void;
  /** The leaf cannot be read. */
  failedLate(error: Error): void;
}

/** The key of the answer that is looked up in its leaf, and what it leads to: used within one step. */
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
  /** For the checkpointer and tests: what the merged writes have left behind. */
  readonly tree: Tree;
  readonly #memory: NodeMemory;
  readonly #memtableMemory: NodeMemory;
  readonly #memtableEntries: number;
  #memtable: Tree;
  #immutable: Tree | null = null;
  #admittedThrough = 0 as Sequence;
  readonly #clock: Clock;
  /** Where a replay puts the key of a record. */
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

  /** @internal Makes the tree that of a checkpoint; `fill` puts its nodes into the memory. */
  async restore<T>(
    fill: (memory: NodeMemory) => Promise<{ readonly rootPage: number; readonly keys: number; readonly standing: T }>,
  ): Promise<T> {
    const { rootPage, keys, standing } = await fill(this.#memory);
    this.tree.restore(rootPage, keys);
    return standing;
  }

  /** Memory that the index takes up, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytesUsed + this.#memtableMemory.bytesUsed;
  }

  /**
   * Finds the record of a key. The key is at the start of `key`.
   *
   * @returns `FOUND`, and `into` says where; `MISSING`; or a leaf that must be read to know: ask `findLater` in the
   *   same step, or `findSync`
   */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    if (this.#memtable.get(key, keyBytes, into) === FOUND) return isDeletion(into) ? MISSING : FOUND;
    if (this.#immutable !== null && this.#immutable.get(key, keyBytes, into) === FOUND) {
      return isDeletion(into) ? MISSING : FOUND;
    }
    return this.tree.get(key, keyBytes, into);
  }

  /** INDEX-5. Goes on with a lookup that has come to an absent leaf. The key must not change until it is answered. */
  findLater(leaf: AbsentLeaf, key: Uint8Array, answer: LateAnswer): void {
    this.pager.whenLoaded(pageOf(leaf), new LeafLookup(key, answer));
  }

  /**
   * As `findLater`, while the thread waits for the device.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  findSync(leaf: AbsentLeaf, key: Uint8Array, keyBytes: number, into: Entry): boolean {
    const { words, base } = this.pager.loadSync(pageOf(leaf));
    leafProbe.load(key, keyBytes);
    return lookInLeaf(words, base, leafProbe, into);
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

  /** Entries of the memtable. */
  get memtableSize(): number {
    return this.#memtable.size;
  }

  /** The memtable should be merged. */
  get isFull(): boolean {
    return this.#memtable.size >= this.#memtableEntries;
  }

  /** Whether `count` more entries fit into the memtable while it cannot be merged. A batch of any size finds room in an empty one. */
  hasRoomFor(count: number): boolean {
    const { size } = this.#memtable;
    return size === 0 || size + count <= MEMTABLE_LIMIT * this.#memtableEntries;
  }

  /**
   * @param lengthWord see `lengthWordOf`
   * @param into what `stage` gave, or the memtable
   */
  admitPut(key: Uint8Array, keyBytes: number, fileOffset: number, lengthWord: number, into = this.#memtable): void {
    into.set(key, keyBytes, lowWordOf(fileOffset), highWordOf(fileOffset, lengthWord));
  }

  admitDelete(key: Uint8Array, keyBytes: number, into = this.#memtable): void {
    into.set(key, keyBytes, 0, DELETED);
  }

  /** For a batch that is admitted bit by bit: its entries, which nobody sees until `useStage`. */
  stage(): Tree {
    return new Tree(this.#memtableMemory);
  }

  get isMerging(): boolean {
    return this.#immutable !== null;
  }

  /** Makes a stage the memtable, in front of all that was admitted before it. The memtable must be empty. */
  useStage(stage: Tree): void {
    assert(this.#memtable.size === 0, 'a stage does not hide entries of a memtable');
    this.#memtable = stage;
  }

  /** The last write that every lookup sees. */
  get admittedThrough(): Sequence {
    return this.#admittedThrough;
  }

  /** INDEX-4. Must be called after the last entry of a batch was admitted. */
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
   * INDEX-4. Merges the memtable as it is now into the tree, in slices; it is immutable when the call returns, and an
   * empty one is in its place. Until the next call the tree stays what the writes admitted so far have left behind.
   *
   * @returns false when the index was closed meanwhile
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO when a leaf that is needed cannot be read. The immutable memtable
   *   stays where lookups find it (INDEX-1), and no merge may be asked for any more.
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

  /** @internal Throws when an invariant of the trees or of their memories does not hold. Slow: for tests. */
  verify(): void {
    const reachable = new Set<number>();
    this.tree.verify(reachable);
    this.#memory.verify(reachable);
    const inMemtables = new Set<number>();
    this.#memtable.verify(inMemtables);
    this.#immutable?.verify(inMemtables);
    this.#memtableMemory.verify(inMemtables);
  }

  /** Ends a merge under way; nothing may be asked any more. */
  close(): void {
    this.#isClosed = true;
  }
}
