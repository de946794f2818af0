/**
 * Maps each key to the place of its record. The memtable takes every write at once; the tree is behind it. A full
 * memtable becomes immutable and is merged into the tree in the background, in key order, many entries to a leaf.
 *
 * ```
 *   admit ─► memtable ──full──► immutable ──slices, sorted──► tree ◄── pager: leaves from the device, and out again
 *   stage of a long batch ──when complete──► in front of the memtable ──slices──► memtable
 *   find  ─► stage, memtable, immutable, tree; the first with the key decides
 *   snapshot: the memtables, read at the last sequence, and the last version of the tree
 *
 *   versions        v7 (on the device) ── v8 (merged) ── the tree, while the next merge changes it
 *                   each keeps the pages that it needs; released when it is not the last, not on the device, not read
 * ```
 *
 * INDEX-1. Every lookup sees what was admitted before it, also during a merge.
 * INDEX-2. The immutable memtable does not change. An entry that is both in it and in the tree is the same in both, or the
 *     tree has an older one. New places of records (relocations.ts) are seen when the merge takes them: until then the old
 *     ones can be read.
 * INDEX-3. A snapshot sees the index as it was when it was taken. During a merge it sees the version before the merge,
 *     with the immutable memtable in front.
 * INDEX-6. While a stage is in front of the memtable, nothing is admitted and no merge begins. An entry or a range that is
 *     in both is the same in both, or that of the stage is newer.
 * INDEX-4. A memtable ends at the end of a batch. After its merge the tree holds exactly the writes up to there.
 * INDEX-5. A lookup whose leaf is not in memory is answered later, with the state at its call: newer entries for its
 *     key go to a memtable, and the lookup is answered from the leaf before the leaf can change (pager.ts).
 *
 * A memtable (memtable.ts) holds deleted ranges, deletions as entries, and the sequence of each entry; the tree holds only
 * keys that exist. The caller decides when to `merge`.
 */
import { KIB, assert } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { AddressCache } from '../cache/address-cache.ts';
import { ValueCache } from '../cache/value-cache.ts';
import { MAX_KEY_BYTES, recordBytes } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import type { Planted } from '../failure/planted.ts';
import type { ExpiryClock } from '../file/expiry-clock.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import type { MemoryBudget } from '../memory/budget.ts';
import { RangeCursor } from './deleted-ranges.ts';
import { IndexSnapshot, TreeVersion } from './index-snapshot.ts';
import type { KeyIndexOptions, LoadedTree } from './key-index-parts.ts';
import { EXPIRY_WORDS, expiryOf, inlineBytesOf, isOverAt } from '../format/index-entry.ts';
import type { EntryWords } from '../format/index-entry.ts';
import { LeafAddresses, LeafLookup, findInLeaf } from './leaf-lookup.ts';
import type { LateAnswer } from './leaf-lookup.ts';
import { LeafPacking } from './leaf-packing.ts';
import { Mapping } from './mapping.ts';
import { Memtable, OLDER } from './memtable.ts';
import type { MemtableLookup } from './memtable.ts';
import { Merge } from './merge.ts';
import { MergedMemtables } from './merged-memtables.ts';
import { NewKeys } from './new-keys.ts';
import { Pager } from './pager.ts';
import { Relocations } from './relocations.ts';
import type { MovedPiece } from './relocations.ts';
import type { ReplayTarget } from './replay-target.ts';
import { Entry, FOUND, MISSING, NodeMemory, Tree, pageOf } from '../tree/index.ts';
import type { AbsentLeaf, Cursor, Lookup } from '../tree/index.ts';

/** A memtable has room for at least so many nodes. */
const MEMTABLE_NODES_LEAST = 4;
/** One that is merged, and one that fills. */
const MEMTABLES_AT_ONCE = 2;
/** MEMORY-2. Pages are looked up if there is more than one lookup for so many keys of the memtable. */
const WRITES_PER_LOOKUP = 16;
/** While a merge is under way, the memtable takes this part of its share at once, and the rest as the merge goes on. */
const HEAD_START_PART = 1 / 8;
/** A merge that goes along with writers ends when they have filled this part of the next memtable. */
const PACED_PART = 7 / 8;
/** So much of a run is its cleaning, if it has one. */
const CLEANING_PART = 7 / 8;
/** Writers may exceed a share by so much before they wait, so that a tiny one does not stop them at every write. */
const SLACK_BYTES = 256 * KIB;
/** Entries of a stage that are moved between two questions about the time. */
const MOVES_PER_QUESTION = 64;
/** Nodes of a merged memtable that are freed in one step. */
const RECLAIM_NODES = 512;
const FIRST_KEY = new Uint8Array(0);

export class KeyIndex implements ReplayTarget {
  readonly pager: Pager;
  /** For the checkpointer and tests: the merged writes. */
  readonly tree: Tree;
  readonly mapping = new Mapping();
  readonly memory: NodeMemory;
  /** The values of keys that were read. CACHE-1: it stands in front of everything here. */
  readonly values: ValueCache;
  /** Where records are whose leaves are not in memory. It says of the tree what the tree would say. */
  readonly addresses: AddressCache;
  readonly #leafAddresses: LeafAddresses;
  readonly budget: MemoryBudget;
  readonly merged = new MergedMemtables();
  readonly expiry: ExpiryClock;
  readonly #segments: SegmentTable;
  readonly #planted: Planted;
  #memtable: Memtable;
  /** The long batch that is being moved to the memtable, and where the move is: in its ranges first, then in its entries. */
  #stage: Memtable | null = null;
  #moving: { readonly cursor: Cursor; ranges: RangeCursor | null } | null = null;
  #immutable: Memtable | null = null;
  /** What the merge of the immutable memtable takes, too. */
  #relocations = new Relocations();
  #merge: Merge | null = null;
  #cleanedPart = 0;
  /** Lookups in pages since the memtable is filled; an iterator counts as one, and so does a look for new keys (new-keys.ts). */
  #pageLookups = 0;
  /** Bytes of the immutable memtable when it was frozen. */
  #frozenBytes = 0;
  readonly #scratch = new Entry();
  readonly #newKeys = new NewKeys();
  #version: TreeVersion;
  #admittedThrough = 0 as Sequence;
  /** Scratch for the key of a replayed record. */
  readonly #key = new Uint8Array(MAX_KEY_BYTES);

  constructor({ queue, file, pageBytes, budget, segments, expiry, planted }: KeyIndexOptions) {
    this.#segments = segments;
    this.expiry = expiry;
    this.#planted = planted;
    this.budget = budget;
    this.memory = new NodeMemory({ nodeBytes: pageBytes });
    this.tree = new Tree(this.memory, true);
    this.#memtable = new Memtable(this.memory, this.#admittedThrough);
    const { memory, tree, mapping } = this;
    const limitBytes = budget.nodesBytes;
    const values = new ValueCache({ memory, limitBytes, shareBytes: budget.valuesBytes, expiry, planted });
    this.values = values;
    const addresses = new AddressCache(memory, limitBytes, budget.valuesBytes, planted);
    this.addresses = addresses;
    this.#leafAddresses = new LeafAddresses(tree, addresses, planted);
    this.pager = new Pager({ queue, file, memory, tree, mapping, limitBytes, values, addresses, planted });
    this.#version = new TreeVersion(tree.snapshot(), this.pager);
  }

  /** @internal Makes the tree that of a checkpoint, whose pages `fill` loads into the memory. */
  async restore<T>(
    fill: (target: {
      readonly memory: NodeMemory;
      readonly mapping: Mapping;
      readonly segments: SegmentTable;
    }) => Promise<LoadedTree & { readonly standing: T }>,
  ): Promise<T> {
    this.#version.release();
    const { rootPage, keys, units, sequence, standing } = await fill({
      memory: this.memory,
      mapping: this.mapping,
      segments: this.#segments,
    });
    this.tree.restore(rootPage, keys, units);
    this.#admittedThrough = sequence;
    this.#memtable = new Memtable(this.memory, sequence);
    this.#version = new TreeVersion(this.tree.snapshot(), this.pager);
    return standing;
  }

  /** Memory that the nodes take, in bytes. */
  get memoryBytes(): number {
    return this.memory.bytesUsed - this.values.unitBytes - this.addresses.bytes;
  }

  /** Bytes of the nodes of the memtable and of the immutable memtable. */
  get memtableBytes(): number {
    return this.#memtable.bytes + (this.#immutable?.bytes ?? 0) + (this.#stage?.bytes ?? 0) + this.#relocations.bytes;
  }

  /** Bytes of the pages of the tree, and of what only snapshots need. */
  get pageBytes(): number {
    return this.memoryBytes - (this.memtableBytes - this.#relocations.bytes);
  }

  /**
   * Finds the record of a key, which is the first `keyBytes` of `key`.
   *
   * @returns `FOUND`: `into` has the entry; `MISSING`; or the leaf that must be read first: call `findLater` or
   *   `findSync` in the same step
   */
  find(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    const outcome = this.findAny(key, keyBytes, into);
    // EXPIRY-3.
    if (outcome !== FOUND || into.extraWords < EXPIRY_WORDS) return outcome;
    return this.expiry.isOver(expiryOf(into)) ? MISSING : outcome;
  }

  /** As `find`, but what is over counts as there. */
  findAny(key: Uint8Array, keyBytes: number, into: Entry): Lookup {
    const outcome = this.#findNewer(key, keyBytes, into);
    if (outcome !== OLDER) return outcome;
    this.#pageLookups++;
    return this.tree.get(key, keyBytes, into);
  }

  /** What the memtables say of the key. */
  #findNewer(key: Uint8Array, keyBytes: number, into: Entry): MemtableLookup {
    if (this.#stage !== null) {
      const outcome = this.#stage.find(key, keyBytes, into);
      if (outcome !== OLDER) return outcome;
    }
    const outcome = this.#memtable.find(key, keyBytes, into);
    if (outcome !== OLDER || this.#immutable === null) return outcome;
    return this.#immutable.find(key, keyBytes, into);
  }

  /** What a version of the tree says of the key: INDEX-3. The version must be retained. */
  findInVersion(version: TreeVersion, key: Uint8Array, keyBytes: number, into: Entry, momentMs: number): Lookup {
    const outcome = (this.#planted.lateTree === true ? this.tree : version.tree).get(key, keyBytes, into);
    return outcome === FOUND && isOverAt(into, momentMs) ? MISSING : outcome;
  }

  /**
   * INDEX-5. Continues a lookup that stopped at an absent leaf.
   *
   * @param momentMs that of the lookup, by which it is judged what is over: see `ExpiryClock.momentMs`
   */
  findLater(leaf: AbsentLeaf, answer: LateAnswer, momentMs: number): void {
    this.#limitAddresses();
    this.pager.whenLoaded(pageOf(leaf), new LeafLookup(answer, this.#leafAddresses, momentMs));
  }

  /**
   * As `findLater`, but blocks the thread until the device has answered. Returns whether the key exists.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  findSync(leaf: AbsentLeaf, key: Uint8Array, keyBytes: number, into: Entry, momentMs: number): boolean {
    const { words, base } = this.pager.loadSync(pageOf(leaf));
    this.#limitAddresses();
    this.#leafAddresses.take(pageOf(leaf), words, base, key, keyBytes);
    return findInLeaf(words, base, key, keyBytes, into) && !isOverAt(into, momentMs);
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
    return this.#memtable.bytes >= this.#shareBytes || this.#memtable.isSpent;
  }

  /** MEMORY-2. When many begin to look up pages, the memtable is full, and the next ones are smaller. */
  get #shareBytes(): number {
    const { memtableBytes, unreadMemtableBytes } = this.budget;
    // What readers keep of earlier memtables needs the room of one.
    if (this.merged.bytes > 0) return this.#atLeast(memtableBytes / 2);
    const isRead = this.#pageLookups > this.#memtable.size / WRITES_PER_LOOKUP;
    return this.#atLeast(isRead ? memtableBytes : unreadMemtableBytes);
  }

  #atLeast(memtableBytes: number): number {
    return Math.max(MEMTABLE_NODES_LEAST * this.memory.nodeBytes, memtableBytes);
  }

  /** @internal As much as may stand in front of the tree: that of two memtables. */
  get hasMany(): boolean {
    if (this.#planted.eagerMerges === true && this.#memtable.size > 0) return true;
    return this.memtableBytes >= MEMTABLES_AT_ONCE * this.#atLeast(this.budget.unreadMemtableBytes);
  }

  /** Which part of what is not merged adds keys, from 0 to 1. */
  get newKeysPart(): number {
    return this.#newKeys.part;
  }

  /** As `newKeysPart`, if all keys were new of which it is not known. */
  get mostNewKeysPart(): number {
    return this.#newKeys.mostPart;
  }

  /** How much of what they may write during a run writers may have written by now, from 0 to 1; 1 without a run. */
  get writersPart(): number {
    return this.#immutable === null ? 1 : HEAD_START_PART + (1 - HEAD_START_PART) * this.#progress;
  }

  /** Whether a merge without a cleaning has come further than writers have: they do not need it to go on yet. */
  get isMergeAhead(): boolean {
    if (this.#merge === null || this.#cleanedPart > 0) return false;
    return this.#memtable.bytes < PACED_PART * this.#shareBytes * this.#progress;
  }

  /** How far the run under way has come, from 0 to 1. */
  get #progress(): number {
    if (this.#merge === null) return CLEANING_PART * this.#cleanedPart;
    const before = this.#cleanedPart === 0 ? 0 : CLEANING_PART;
    return before + (1 - before) * this.#merge.progress;
  }

  /**
   * Whether the memtable takes more entries. A short batch may exceed its share. While a merge is under way the share
   * grows with its progress, so that writers become as slow as the merge, and do not stop at its end.
   */
  get hasRoom(): boolean {
    if (this.#stage !== null || this.#memtable.isSpent) return false;
    return this.#memtable.bytes < this.#shareBytes * this.writersPart + SLACK_BYTES;
  }

  /**
   * @param lengthWord see `lengthWordOf`
   * @param value of the record. If it is tiny, the index holds it, and the record is not needed any more once it is merged
   * @param into a stage; default: the memtable
   * @param expiresAtMs 0: never
   */
  admitPut(
    key: Uint8Array,
    keyBytes: number,
    fileOffset: number,
    lengthWord: number,
    sequence: Sequence,
    value: Uint8Array,
    into = this.#memtable,
    expiresAtMs = 0,
  ): void {
    if (expiresAtMs !== 0) this.expiry.use();
    if (this.#newKeys.isSample(keyBytes + value.length)) {
      const found = this.find(key, keyBytes, this.#scratch);
      this.#newKeys.note(found === FOUND || found === MISSING ? found === MISSING : null);
    }
    const tinyBytes = inlineBytesOf(keyBytes, lengthWord, expiresAtMs);
    if (tinyBytes < 0) into.putRecord(key, keyBytes, fileOffset, lengthWord, sequence, expiresAtMs);
    else into.putInline(key, keyBytes, value, 0, tinyBytes, sequence, expiresAtMs);
    const isWhole = lengthWord === recordBytes(keyBytes, value.length, expiresAtMs);
    const isCacheable = tinyBytes < 0 && into === this.#memtable && isWhole;
    if (isCacheable) this.values.put(key, keyBytes, value, sequence, expiresAtMs);
    else this.values.remove(key, keyBytes, sequence);
  }

  admitDelete(key: Uint8Array, keyBytes: number, sequence: Sequence, into = this.#memtable): void {
    if (this.#newKeys.isSample(keyBytes)) this.#newKeys.note(false);
    into.delete(key, keyBytes, sequence);
    this.values.remove(key, keyBytes, sequence);
  }

  /**
   * Deletes the keys from `from` on that are below `to`.
   *
   * @param to the first `toBytes` are the bound; none: to the last key
   */
  admitDeleteRange(
    from: Uint8Array,
    fromBytes: number,
    to: Uint8Array,
    toBytes: number,
    sequence: Sequence,
    into = this.#memtable,
  ): void {
    into.deleteRange(from, fromBytes, toBytes === 0 ? null : to, toBytes, sequence);
    this.values.deleteRange(from.subarray(0, fromBytes), toBytes === 0 ? null : to.subarray(0, toBytes), sequence);
  }

  /** Caches the value of a record that was read: see `ValueCache.fill`. */
  cacheValue(block: Block, at: number, seenAt: Sequence): void {
    this.values.fill(block, at, seenAt);
    this.pager.keepWithin();
  }

  /** Takes the entries of a batch that is admitted in slices. They are invisible until `useStage`. */
  stage(): Memtable {
    return new Memtable(this.memory, this.#admittedThrough);
  }

  /** Makes the entries of a complete stage visible. If `isMovingStage` then, the caller moves them. */
  useStage(stage: Memtable): void {
    assert(this.#stage === null, 'one stage is moved at a time');
    if (this.#memtable.isEmpty) {
      this.#memtable = stage;
      return;
    }
    this.#stage = stage;
    const ranges = stage.ranges === null ? null : new RangeCursor(stage.ranges);
    this.#moving = { cursor: stage.cursor(), ranges };
    this.#moving.cursor.first();
    ranges?.seek(FIRST_KEY, 0);
  }

  /** INDEX-6. */
  get isMovingStage(): boolean {
    return this.#stage !== null;
  }

  /**
   * Moves entries of the stage to the memtable, until none is left or the slice is over.
   *
   * @param isLong whether the slice is over
   */
  moveStage(isLong: () => boolean): void {
    const moving = this.#moving;
    const stage = this.#stage;
    assert(moving !== null && stage !== null, 'a stage is moved');
    const { cursor } = moving;
    // MEMTABLE-2: the entries are newer.
    for (let count = 1; moving.ranges !== null; count++) {
      const { low, lowLength, high, highLength, isDeleted } = moving.ranges;
      if (isDeleted) this.#memtable.deleteRange(low, lowLength, high, highLength, stage.after + 1);
      if (high === null) moving.ranges = null;
      else moving.ranges.next();
      if (count % MOVES_PER_QUESTION === 0 && isLong()) return;
    }
    for (let count = 1; cursor.valid; count++) {
      const { keyBytes, keyLength, entry } = cursor;
      this.#memtable.take(keyBytes, keyLength, entry, stage);
      cursor.next();
      if (count % MOVES_PER_QUESTION === 0 && isLong()) return;
    }
    this.merged.add(stage);
    this.#stage = null;
    this.#moving = null;
  }

  /** The latest write that lookups see. */
  get admittedThrough(): Sequence {
    return this.#admittedThrough;
  }

  /** INDEX-4. Call it after the last entry of a batch was admitted. */
  admitted(through: Sequence): void {
    this.#admittedThrough = through;
    if (this.addresses.bytes > 0) this.#limitAddresses();
    this.pager.keepWithin();
  }

  /** ADDRESS-3. */
  #limitAddresses(): void {
    this.addresses.keepWithin(this.memtableBytes, this.tree.bytes, this.pager.isWithin);
  }

  /** @internal */
  replayPut(
    bytes: Uint8Array,
    keyAt: number,
    keyBytes: number,
    fileOffset: number,
    lengthWord: number,
    sequence: Sequence,
    expiresAtMs: number,
  ): void {
    if (expiresAtMs !== 0) this.expiry.use();
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    const tinyBytes = inlineBytesOf(keyBytes, lengthWord, expiresAtMs);
    const memtable = this.#memtable;
    if (tinyBytes < 0) memtable.putRecord(this.#key, keyBytes, fileOffset, lengthWord, sequence, expiresAtMs);
    else memtable.putInline(this.#key, keyBytes, bytes, keyAt + keyBytes, tinyBytes, sequence, expiresAtMs);
  }

  /** @internal */
  replayDeleteRange(bytes: Uint8Array, at: number, fromBytes: number, toBytes: number, sequence: Sequence): void {
    for (let i = 0; i < fromBytes; i++) this.#key[i] = bytes[at + i] as number;
    const toAt = at + fromBytes;
    this.admitDeleteRange(this.#key, fromBytes, bytes.subarray(toAt, toAt + toBytes), toBytes, sequence);
  }

  /** @internal */
  replayDelete(bytes: Uint8Array, keyAt: number, keyBytes: number, sequence: Sequence): void {
    for (let i = 0; i < keyBytes; i++) this.#key[i] = bytes[keyAt + i] as number;
    this.admitDelete(this.#key, keyBytes, sequence);
  }

  /** INDEX-4. Makes the memtable immutable, and an empty one takes its place. */
  freeze(): void {
    assert(this.#immutable === null && this.#stage === null, 'one memtable is merged at a time');
    this.#immutable = this.#memtable;
    this.#frozenBytes = this.#immutable.bytes;
    this.#memtable = new Memtable(this.memory, this.#admittedThrough);
    this.#cleanedPart = 0;
    this.#pageLookups = 0;
    this.#newKeys.freeze();
  }

  /** Whether the immutable memtable has or deletes the key, so that the merge replaces what the tree says of it. */
  isReplaced(key: Uint8Array, keyBytes: number): boolean {
    return this.#immutable !== null && this.#immutable.find(key, keyBytes, this.#scratch) !== OLDER;
  }

  /** Whether the merge that is due leaves nothing of what the tree holds. */
  get mergeDeletesAll(): boolean {
    return this.#immutable?.deletesAll ?? false;
  }

  /**
   * Has the merge that is due lead to the new place of a record, if the tree leads to the old one by then (RELOC-1). The
   * key is that at `at` in `source`.
   *
   * @param pieces of its value that were moved with it
   */
  enterMoved(
    source: Uint8Array,
    at: number,
    keyBytes: number,
    old: EntryWords,
    fileOffset: number,
    pieces: readonly MovedPiece[] | null = null,
  ): void {
    assert(this.#immutable !== null && this.#merge === null, 'records are moved between freezing and merging');
    this.#relocations.add(source, at, keyBytes, old, fileOffset, pieces);
    this.pager.besideBytes = this.#relocations.bytes;
  }

  /** Whether there is memory for more new places: the share of the immutable memtable, or a quarter more than is in it. */
  get hasRoomForMoved(): boolean {
    const shareBytes = this.#atLeast(this.budget.memtableBytes);
    const most = Math.max(shareBytes, this.#frozenBytes + shareBytes / 4);
    return this.#immutable !== null && this.#immutable.bytes + this.#relocations.bytes < most;
  }

  /** Notes which part of the cleaning before the merge is done, from 0 to 1. */
  noteCleaned(part: number): void {
    this.#cleanedPart = part;
  }

  /**
   * Starts to merge the immutable memtable. The caller runs the merge to its end, and calls `endMerge`. If a leaf cannot
   * be read it does not: lookups go on to see the immutable memtable (INDEX-1).
   */
  startMerge(): Merge {
    assert(this.#immutable !== null && this.#merge === null, 'a frozen memtable is merged once');
    const { tree, pager } = this;
    const { addresses, expiry } = this;
    const [segments, planted] = [this.#segments, this.#planted];
    const { momentMs } = expiry;
    this.#merge = new Merge(this.#immutable, this.#relocations, tree, pager, addresses, segments, planted, momentMs);
    return this.#merge;
  }

  /** After the merge, and before `endMerge`: fills the leaves of the tree. */
  startPacking(): LeafPacking {
    assert(this.#merge?.progress === 1, 'leaves are filled when all entries are merged');
    return new LeafPacking(this.tree, this.pager);
  }

  /** The tree holds all entries of the immutable memtable. It is the last version from now on. Its root is in memory. */
  endMerge(): void {
    assert(this.#merge?.progress === 1, 'a merge ends when all entries are merged');
    this.#merge.end();
    this.#merge = null;
    if (this.#immutable !== null) this.merged.add(this.#immutable);
    this.#immutable = null;
    this.#newKeys.forgetFrozen();
    this.#relocations = new Relocations();
    this.pager.besideBytes = 0;
    this.#version.release();
    this.#version = new TreeVersion(this.tree.snapshot(), this.pager);
    this.memory.reclaimSome(RECLAIM_NODES);
  }

  /** The last version of the tree. Retain it to use it longer than a step. */
  get version(): TreeVersion {
    return this.#version;
  }

  snapshot(): IndexSnapshot {
    this.#pageLookups++;
    const memtables = this.#stage === null ? [this.#memtable] : [this.#stage, this.#memtable];
    if (this.#immutable !== null) memtables.push(this.#immutable);
    return new IndexSnapshot(memtables, this.#admittedThrough, this.#version, this.pager, this.expiry.momentMs);
  }

  /** @internal Throws if an invariant of the trees or their memory does not hold. Slow: for tests. */
  verify(): void {
    const reachable = new Set<number>();
    this.tree.verify(reachable);
    this.#memtable.verify(reachable);
    this.#immutable?.verify(reachable);
    this.#stage?.verify(reachable);
    this.merged.verify(reachable);
    this.memory.verify(reachable);
  }

  /** Ends a merge that is cut off. Nothing may be merged after it. */
  close(): void {
    this.#merge?.end();
    this.#merge = null;
  }
}
