/**
 * Values that were read from the device and are asked for again: by key, ahead of the index. S3-FIFO (Yang et al., SOSP 2023) over
 * records that lie one behind the other in two queues.
 *
 * ```
 *   fill ─┬─────────────► small (1/10) ──asked for twice──► main ──asked for since──┐      out: its hash is a ghost, if it
 *         │                   └── no ──► out, a ghost        ▲  └─ no ──► out        │           comes from small
 *         └─ was a ghost ──────────────────────────────────►─┴───────────────────────┘
 *
 *   word   0      1                                                     2             3, 4      5
 *   ┌──────┬────────────────────────────────────────────────────┬─────────────┬──────────┬────────┬─────┬───────┬─────────┐
 *   │ hash │ 1:1 │ gone:1 │ expires:1 │ uses:2 │ key bytes:16 │ value bytes │ sequence │ judged │ key │ value │ expires │
 *   └──────┴────────────────────────────────────────────────────┴─────────────┴──────────┴────────┴─────┴───────┴─────────┘
 *   the key to a multiple of 4 bytes, all to one of 8; when it expires, 8 bytes, only with the bit
 * ```
 *
 * CACHE-1. A value that is found is that of the newest write that lookups see. Each write of a key reaches the cache in the step
 *     of its admission (`put`, `remove`, `deleteRange`), and a move of a record does not concern it.
 * CACHE-2. A value is filled in only if its key was not written after the write at which its read was called: what was written
 *     is known from the moment at which it has a sequence, also while the batch that it is part of is not seen yet.
 * CACHE-3. Memory comes from that of the nodes, unit by unit, and is given back to it unit by unit, that of the table of addresses
 *     too: what stood beside it would come on top of what nodes had once taken. The cache takes what nodes leave, and
 *     its share in any case. It gives back what is above its share when nodes need it, and all of it if they cannot do without.
 * CACHE-4. What a call does is bounded: by the records that one unit, or one value, takes the place of.
 * CACHE-5. What a warm restart fills in goes to the main queue, where it was before, and no other value gives way to it: reads
 *     know better what is hot now.
 *
 * CACHE-6. A value that is over is not found, whatever has become of its entry in the index.
 *
 * Not in the cache: values in fragments, tiny ones (the index has them), long keys, and values longer than a sixteenth of the share.
 */
import type { Sequence } from '@aiokv/core';
import type { Planted } from '../failure/planted.ts';
import type { ExpiryClock } from '../file/expiry-clock.ts';
import type { HotKey } from '../format/hot-keys.ts';
import { RECORD_HEADER_BYTES, expiresAtOf, keyBytesOf, sequenceOf, valueBytesOf } from '../format/record.ts';
import { readU53, writeU53 } from '../format/words.ts';
import type { Block } from '../format/words.ts';
import { memoryForValue } from '../memory/value-memory.ts';
import type { NodeMemory } from '../tree/index.ts';
import { ValueTable, NOWHERE } from './value-table.ts';
import { DeletedSince } from './deleted-since.ts';
import { Ghosts } from './ghosts.ts';
import { KeyWords } from './key-words.ts';
import { RecentWrites } from './recent-writes.ts';
import { CELL_BYTES, MARK_WORD, QUEUE_BYTES_MOST, RecordQueue } from './record-queue.ts';

export interface ValueCacheOptions {
  readonly memory: NodeMemory;
  /** Nodes and cached values together take so many bytes at most. */
  readonly limitBytes: number;
  /** CACHE-3. 0: nothing is cached. */
  readonly shareBytes: number;
  readonly expiry: ExpiryClock;
  readonly planted: Planted;
}

export interface CacheStatistics {
  /** Values of single keys and of short ranges that were asked for and are in the cache, ... */
  readonly hits: number;
  /** ... and those that are not. */
  readonly misses: number;
  /** Values in the cache. */
  readonly values: number;
}

const HEADER_WORDS = 6;
const HASH_WORD = 0;
const VALUE_BYTES_WORD = 2;
const SEQUENCE_WORD = 3;
const JUDGED_WORD = 5;
/** The parts of the word `MARK_WORD`. */
const MARK = 1 << 24;
const GONE = 1 << 23;
const EXPIRES = 1 << 22;
const USE_SHIFT = 20;
const USE = 1 << USE_SHIFT;
const USES_MOST = 3;
const KEY_BYTES_MASK = 0xffff;
const EXPIRY_BYTES = 8;
const TWO_32 = 0x1_0000_0000;

/** In an address: the record is in the main queue. */
const IN_MAIN = 1;
/** Of all units, the small queue has one in so many. */
const PART_OF_SMALL = 10;
/** A record that was used so often goes from small to main. */
const USES_FOR_MAIN = 2;
/** A value is cached if it is no longer than one part in so many of the share. */
const PART_OF_VALUE = 16;
/** The share is never less, if there is one. Tests have tiny budgets. */
const UNITS_LEAST = 8;
/** CACHE-4. Records that stay although they were the oldest, in a row. */
const SPARED_MOST = 32;

export class ValueCache {
  #hits = 0;
  #misses = 0;
  readonly #memory: NodeMemory;
  readonly #limitBytes: number;
  readonly #shareUnits: number;
  readonly #mostUnits: number;
  readonly #mostValueBytes: number;
  readonly #isPlanted: boolean;
  readonly #expiry: ExpiryClock;
  /** Scratch for when a value expires. */
  readonly #times = new Uint8Array(EXPIRY_BYTES);
  readonly #timesView = new DataView(this.#times.buffer);
  readonly #small: RecordQueue;
  readonly #main: RecordQueue;
  readonly #table: ValueTable;
  readonly #ghosts = new Ghosts();
  readonly #writes = new RecentWrites();
  readonly #deleted = new DeletedSince();
  readonly #key = new KeyWords();
  /** A read has looked here. Until then writes need not be noted, ... */
  #isUsed = false;
  /** ... but reads that have not seen the last of them bring nothing that may be cached. */
  #unnotedThrough = 0;
  /** The record that `find` has found. Valid within the step. */
  #foundIn: RecordQueue;
  #foundAt = 0;
  #foundWords: Uint32Array = new Uint32Array(0);
  #foundBase = 0;
  /** Scratch of `listHot`. */
  readonly #listed: number[] = [];

  constructor({ memory, limitBytes, shareBytes, expiry, planted }: ValueCacheOptions) {
    this.#expiry = expiry;
    this.#memory = memory;
    this.#limitBytes = limitBytes;
    this.#isPlanted = planted.uncheckedFills === true;
    const { nodeBytes } = memory;
    this.#shareUnits = shareBytes === 0 ? 0 : Math.max(UNITS_LEAST, Math.floor(shareBytes / nodeBytes));
    this.#mostUnits = shareBytes === 0 ? 0 : Math.floor(QUEUE_BYTES_MOST / nodeBytes);
    this.#mostValueBytes = (this.#shareUnits * nodeBytes) / PART_OF_VALUE;
    this.#table = new ValueTable(memory);
    this.#small = new RecordQueue(memory);
    this.#main = new RecordQueue(memory);
    this.#foundIn = this.#small;
  }

  get statistics(): CacheStatistics {
    return { hits: this.#hits, misses: this.#misses, values: this.#table.size };
  }

  /** Bytes of the units that hold records, and say where they are: a part of what the memory of the nodes has in use. */
  get unitBytes(): number {
    return this.#units * this.#memory.nodeBytes;
  }

  /** Bytes beside that memory: a few for each record. */
  get besideBytes(): number {
    return this.#isUsed ? this.#table.directoryBytes + this.#ghosts.bytes : 0;
  }

  /** Whether the value of a key is here. If so, `version` and `copy` are about it, within this step. */
  find(key: Uint8Array, keyBytes: number): boolean {
    if (this.#mostUnits === 0) return false;
    this.#isUsed = true;
    if (!this.#key.load(key, 0, keyBytes)) return false;
    const address = this.#locate();
    if (address === NOWHERE || this.#isHidden(address, key, 0) || this.#isOver()) {
      this.#misses++;
      return false;
    }
    this.#hits++;
    const words = this.#foundWords;
    const at = this.#foundBase + MARK_WORD;
    const mark = words[at] as number;
    if ((mark & (USES_MOST * USE)) !== USES_MOST * USE) words[at] = mark + USE;
    return true;
  }

  /** Whether the value of a key is here, for one that does not ask for it: nothing is counted. */
  has(key: Uint8Array, keyBytes: number): boolean {
    if (!this.#key.load(key, 0, keyBytes)) return false;
    const address = this.#locate();
    return address !== NOWHERE && !this.#isHidden(address, key, 0) && !this.#isOver();
  }

  /** From now on writes are noted, so that what reads bring may be cached. */
  use(): void {
    this.#isUsed = this.#mostUnits > 0;
  }

  /** Memory that values may take without another one giving way, in bytes. */
  get roomBytes(): number {
    const ownBytes = (this.#shareUnits - this.#units) * this.#memory.nodeBytes;
    const leftBytes = this.#limitBytes - this.#memory.bytesUsed - this.besideBytes;
    return this.#mostUnits === 0 ? 0 : Math.max(0, ownBytes, leftBytes);
  }

  /**
   * Adds the addresses of some values that were asked for more than once to those of their heat, from 1 to 7. Nothing may change
   * until all were told.
   *
   * @param from 0 at first, then what was returned
   * @returns where to go on; -1: that was all
   */
  listHot(from: number, byHeat: readonly number[][]): number {
    this.#listed.length = 0;
    const next = this.#table.bucketAt(from, this.#listed);
    for (const address of this.#listed) {
      const queue = this.#queueOf(address);
      const uses = usesOf(queue.words(address >>> 1)[queue.base(address >>> 1) + MARK_WORD] as number);
      const heat = 2 * uses + (address & IN_MAIN);
      if (heat > 0) (byHeat[heat] as number[]).push(address);
    }
    return next;
  }

  /** Loads the key at an address that was listed, and the length of its value. Valid until the next call of anything here. */
  loadListed(address: number, into: HotKey): void {
    const queue = this.#queueOf(address);
    const at = address >>> 1;
    const [words, base] = [queue.words(at), queue.base(at)];
    into.keyBytes = (words[base + MARK_WORD] as number) & KEY_BYTES_MASK;
    into.valueBytes = words[base + VALUE_BYTES_WORD] as number;
    // FIFO-1.
    into.words = words;
    into.base = base + HEADER_WORDS;
  }

  /** The sequence of the write of the value that was found. */
  get version(): number {
    const at = this.#foundBase + SEQUENCE_WORD;
    return (this.#foundWords[at] as number) + (this.#foundWords[at + 1] as number) * TWO_32;
  }

  /** When the value that was found expires; 0: never. */
  get expiresAtMs(): number {
    if (((this.#foundWords[this.#foundBase + MARK_WORD] as number) & EXPIRES) === 0) return 0;
    this.#foundIn.read(this.#foundAt, headerBytes(this.#key.length) + this.valueBytes, this.#times, 0, EXPIRY_BYTES);
    return readU53(this.#timesView, 0);
  }

  /** CACHE-6. Whether the value that was located is over. */
  #isOver(): boolean {
    const expires = (this.#foundWords[this.#foundBase + MARK_WORD] as number) & EXPIRES;
    return expires !== 0 && this.#expiry.isOver(this.expiresAtMs);
  }

  /** Bytes of the value that was found. */
  get valueBytes(): number {
    return this.#foundWords[this.#foundBase + VALUE_BYTES_WORD] as number;
  }

  /** A copy of the value that was found, for its receiver (VALUES-1). */
  copy(): Buffer {
    const value = memoryForValue(this.valueBytes);
    this.copyTo(value);
    return value;
  }

  /** Copies the value that was found to `target`, from byte `at` of it on. */
  copyTo(target: Uint8Array, at = 0): void {
    this.#foundIn.read(this.#foundAt, headerBytes(this.#key.length), target, at, this.valueBytes);
  }

  /** CACHE-2. Takes a record that was read, as it is on the device. @param seenAt the last write that the read has seen */
  fill(block: Block, at: number, seenAt: Sequence): void {
    if (!this.#mayFill(block, at, seenAt)) return;
    const { bytes, view } = block;
    const valueAt = at + RECORD_HEADER_BYTES + keyBytesOf(view, at);
    const valueBytes = valueBytesOf(view, at);
    const wasGhost = this.#ghosts.take(this.#key.hash);
    this.#insert(bytes, valueAt, valueBytes, sequenceOf(view, at), wasGhost, expiresAtOf(view, at));
  }

  /**
   * CACHE-5. As `fill`, of a key that was hot before the store was opened.
   *
   * @returns false if there is no room for it
   */
  fillHot(block: Block, at: number, seenAt: Sequence): boolean {
    if (!this.#mayFill(block, at, seenAt)) return true;
    const { bytes, view } = block;
    const keyBytes = keyBytesOf(view, at);
    const valueBytes = valueBytesOf(view, at);
    const expiresAtMs = expiresAtOf(view, at);
    const [headCells, cells] = [headCellsOf(keyBytes), cellsFor(keyBytes, valueBytes, expiresAtMs !== 0)];
    const units = this.#main.unitsFor(headCells, cells);
    if (units > 0 && !this.#mayTake(units)) return false;
    const valueAt = at + RECORD_HEADER_BYTES + keyBytes;
    this.#insert(bytes, valueAt, valueBytes, sequenceOf(view, at), true, expiresAtMs);
    return true;
  }

  /** CACHE-2. Loads the key. Whether the record has its newest value, and this is not here yet. */
  #mayFill({ bytes, view }: Block, at: number, seenAt: Sequence): boolean {
    const keyAt = at + RECORD_HEADER_BYTES;
    if (valueBytesOf(view, at) > this.#mostValueBytes) return false;
    if (!this.#isUsed || !this.#key.load(bytes, keyAt, keyBytesOf(view, at))) return false;
    const isNewest = seenAt >= this.#unnotedThrough && this.#writes.areOlder(this.#key.hash, seenAt);
    if (!isNewest && !this.#isPlanted) return false;
    const address = this.#locate();
    // It is here if two reads of the key were under way at once.
    return address === NOWHERE || this.#isHidden(address, bytes, keyAt);
  }

  /** CACHE-1. The key has this value from now on. @param expiresAtMs 0: it does not expire */
  put(key: Uint8Array, keyBytes: number, value: Uint8Array, sequence: Sequence, expiresAtMs = 0): void {
    const address = this.#noteWrite(key, keyBytes, sequence);
    if (address === NOWHERE) return;
    const [words, base] = [this.#foundWords, this.#foundBase];
    const isHidden = this.#isHidden(address, key, 0);
    const expires = (words[base + MARK_WORD] as number) & EXPIRES;
    const isSame = words[base + VALUE_BYTES_WORD] === value.length && expires === (expiresAtMs === 0 ? 0 : EXPIRES);
    if (!isHidden && isSame) {
      if (expires !== 0) this.#writeExpiry(this.#foundIn, this.#foundAt, keyBytes, value.length, expiresAtMs);
      this.#foundIn.write(this.#foundAt, headerBytes(keyBytes), value, 0, value.length);
      setSequence(words, base, sequence);
      return;
    }
    if (!isHidden) this.#forget(address);
    if (value.length > this.#mostValueBytes) return;
    this.#insert(value, 0, value.length, sequence, (address & IN_MAIN) !== 0, expiresAtMs);
  }

  /** CACHE-1. The key was deleted, or has a value that is not cached, or will have one when its batch is seen. */
  remove(key: Uint8Array, keyBytes: number, sequence: Sequence): void {
    const address = this.#noteWrite(key, keyBytes, sequence);
    if (address !== NOWHERE) this.#forget(address);
  }

  /** CACHE-1. The keys from `from` on and below `to` were deleted. @param to null: to the last key */
  deleteRange(from: Uint8Array, to: Uint8Array | null, sequence: Sequence): void {
    this.#writes.noteRange(sequence);
    if (this.#table.size > 0) this.#deleted.add(from, to);
  }

  /** CACHE-3. Nodes need so many bytes: gives back what it has above its share, as far as they need it. */
  giveBack(bytes: number): void {
    this.#giveUnits(Math.min(this.#units - this.#shareUnits, Math.ceil(bytes / this.#memory.nodeBytes)));
  }

  /** CACHE-3. As `giveBack`, but also of its share. */
  giveUp(bytes: number): void {
    this.#giveUnits(Math.ceil(bytes / this.#memory.nodeBytes));
  }

  get #units(): number {
    return this.#queueUnits + this.#table.units;
  }

  get #queueUnits(): number {
    return this.#small.units + this.#main.units;
  }

  #queueOf(address: number): RecordQueue {
    return (address & IN_MAIN) === 0 ? this.#small : this.#main;
  }

  /** The address of the record with the key that was loaded, or `NOWHERE`. It is the one that was found. */
  #locate(): number {
    const { hash, length, count, words: wanted } = this.#key;
    const table = this.#table;
    for (let address = table.first(hash); address !== NOWHERE; address = table.next()) {
      const queue = this.#queueOf(address);
      const at = address >>> 1;
      const frame = queue.frameOf(at);
      const words = this.#memory.arenaOf(frame);
      const base = queue.baseIn(frame, at);
      if (((words[base + MARK_WORD] as number) & KEY_BYTES_MASK) !== length) continue;
      let same = 0;
      for (const keyAt = base + HEADER_WORDS; same < count; same++) {
        if (((words[keyAt + same] as number) | 0) !== wanted[same]) break;
      }
      if (same < count) continue;
      this.#foundIn = queue;
      this.#foundAt = at;
      this.#foundWords = words;
      this.#foundBase = base;
      return address;
    }
    return NOWHERE;
  }

  /** Whether a range that was deleted hides the record that was located: then it is gone. */
  #isHidden(address: number, key: Uint8Array, keyAt: number): boolean {
    const { count } = this.#deleted;
    const judgedAt = this.#foundBase + JUDGED_WORD;
    const judged = this.#foundWords[judgedAt] as number;
    if (judged === count >>> 0) return false;
    if (this.#deleted.has(key, keyAt, this.#key.length, judged)) {
      this.#forget(address);
      return true;
    }
    this.#foundWords[judgedAt] = count;
    return false;
  }

  /** CACHE-2. Loads the key. Returns the address of its record, or `NOWHERE`. */
  #noteWrite(key: Uint8Array, keyBytes: number, sequence: Sequence): number {
    if (!this.#isUsed) this.#unnotedThrough = sequence;
    if (!this.#isUsed || !this.#key.load(key, 0, keyBytes)) return NOWHERE;
    this.#writes.note(this.#key.hash, sequence);
    return this.#table.size === 0 ? NOWHERE : this.#locate();
  }

  /** The record that was located is no more. Its place comes back when the queue has come to it. */
  #forget(address: number): void {
    const at = this.#foundBase + MARK_WORD;
    this.#foundWords[at] = (this.#foundWords[at] as number) | GONE;
    this.#table.remove((this.#foundWords[this.#foundBase + HASH_WORD] as number) | 0, address);
  }

  /** Adds a value of the key that was loaded, if there is room or room can be made. */
  #insert(
    from: Uint8Array,
    fromAt: number,
    valueBytes: number,
    sequence: Sequence,
    toMain: boolean,
    expiresAtMs: number,
  ): void {
    const { hash, length, count, words: keyWords } = this.#key;
    const queue = toMain ? this.#main : this.#small;
    const head = headerBytes(length);
    const headCells = headCellsOf(length);
    const expires = expiresAtMs === 0 ? 0 : EXPIRES;
    const cells = cellsFor(length, valueBytes, expires !== 0);
    if (!this.#makeRoom(queue, headCells, cells)) return;
    const at = queue.append(headCells, cells);
    const [words, base] = [queue.words(at), queue.base(at)];
    words[base + HASH_WORD] = hash;
    words[base + MARK_WORD] = MARK | expires | length;
    words[base + VALUE_BYTES_WORD] = valueBytes;
    words[base + JUDGED_WORD] = this.#deleted.count;
    setSequence(words, base, sequence);
    for (let i = 0; i < count; i++) words[base + HEADER_WORDS + i] = keyWords[i] as number;
    queue.write(at, head, from, fromAt, valueBytes);
    if (expires !== 0) this.#writeExpiry(queue, at, length, valueBytes, expiresAtMs);
    if (this.#table.add(hash, (at << 1) | (toMain ? IN_MAIN : 0))) return;
    words[base + MARK_WORD] = MARK | GONE | expires | length;
  }

  #writeExpiry(queue: RecordQueue, at: number, keyBytes: number, valueBytes: number, expiresAtMs: number): void {
    writeU53(this.#timesView, 0, expiresAtMs);
    queue.write(at, headerBytes(keyBytes) + valueBytes, this.#times, 0, EXPIRY_BYTES);
  }

  /** CACHE-4. Returns whether the queue may take the units for a record. */
  #makeRoom(queue: RecordQueue, headCells: number, cells: number): boolean {
    for (let spared = 0; ;) {
      const units = queue.unitsFor(headCells, cells);
      if (units === 0 || this.#mayTake(units)) return true;
      const isFromSmall = this.#small.units > this.#queueUnits / PART_OF_SMALL || this.#main.units === 0;
      const outcome = isFromSmall ? this.#evictSmall(spared) : this.#evictMain(spared);
      if (outcome === NOTHING) return false;
      if (outcome === SPARED) spared++;
    }
  }

  #mayTake(units: number): boolean {
    const own = this.#units + units;
    if (own > this.#mostUnits) return false;
    if (own <= this.#shareUnits) return true;
    return this.#memory.bytesUsed + units * this.#memory.nodeBytes + this.besideBytes <= this.#limitBytes;
  }

  /** The oldest of the small queue goes to the main one, or out. */
  #evictSmall(spared: number): Outcome {
    const at = this.#small.oldest();
    if (at < 0) return NOTHING;
    const [words, base] = [this.#small.words(at), this.#small.base(at)];
    const mark = words[base + MARK_WORD] as number;
    const cells = cellsOf(words, base);
    const hash = (words[base + HASH_WORD] as number) | 0;
    let outcome: Outcome = DROPPED;
    if ((mark & GONE) === 0) {
      if (usesOf(mark) >= USES_FOR_MAIN && spared < SPARED_MOST) {
        this.#move(this.#small, at << 1, cells, MARK | (mark & (EXPIRES | KEY_BYTES_MASK)));
        outcome = SPARED;
      } else {
        this.#table.remove(hash, at << 1);
        this.#ghosts.add(hash, this.#table.size);
      }
    }
    this.#small.drop(cells);
    return outcome;
  }

  /** The oldest of the main queue goes to its end, or out. */
  #evictMain(spared: number): Outcome {
    const at = this.#main.oldest();
    if (at < 0) return NOTHING;
    const [words, base] = [this.#main.words(at), this.#main.base(at)];
    const mark = words[base + MARK_WORD] as number;
    const cells = cellsOf(words, base);
    const address = (at << 1) | IN_MAIN;
    let outcome: Outcome = DROPPED;
    if ((mark & GONE) === 0) {
      if (usesOf(mark) > 0 && spared < SPARED_MOST) {
        this.#move(this.#main, address, cells, mark - USE);
        outcome = SPARED;
      } else this.#table.remove((words[base + HASH_WORD] as number) | 0, address);
    }
    this.#main.drop(cells);
    return outcome;
  }

  /** To the end of the main queue. It may take one unit more than it may, until the place of the record is free. */
  #move(from: RecordQueue, address: number, cells: number, mark: number): void {
    const at = address >>> 1;
    const [words, base] = [from.words(at), from.base(at)];
    const headCells = headCellsOf(mark & KEY_BYTES_MASK);
    const target = this.#main.append(headCells, cells);
    this.#main.take(target, from, at, cells);
    this.#main.words(target)[this.#main.base(target) + MARK_WORD] = mark;
    this.#table.replace((words[base + HASH_WORD] as number) | 0, address, (target << 1) | IN_MAIN);
  }

  /** Lets the oldest records go until so many units are free, the used ones too. */
  #giveUnits(units: number): void {
    const most = this.#units - units;
    while (this.#units > most && this.#queueUnits > 0) {
      const isFromSmall = this.#small.units > this.#queueUnits / PART_OF_SMALL || this.#main.units === 0;
      const outcome = isFromSmall ? this.#evictSmall(SPARED_MOST) : this.#evictMain(SPARED_MOST);
      if (outcome === NOTHING) return;
    }
  }
}

/** What became of the oldest record of a queue. */
const NOTHING = 0;
const DROPPED = 1;
const SPARED = 2;
type Outcome = typeof NOTHING | typeof DROPPED | typeof SPARED;

/** Bytes in front of the value. */
function headerBytes(keyBytes: number): number {
  return HEADER_WORDS * 4 + ((keyBytes + 3) & ~3);
}

/** Cells of what is in front of the value. */
function headCellsOf(keyBytes: number): number {
  return Math.ceil(headerBytes(keyBytes) / CELL_BYTES);
}

/** Cells of a record. */
function cellsFor(keyBytes: number, valueBytes: number, expires: boolean): number {
  return Math.ceil((headerBytes(keyBytes) + valueBytes + (expires ? EXPIRY_BYTES : 0)) / CELL_BYTES);
}

function cellsOf(words: Uint32Array, base: number): number {
  const mark = words[base + MARK_WORD] as number;
  return cellsFor(mark & KEY_BYTES_MASK, words[base + VALUE_BYTES_WORD] as number, (mark & EXPIRES) !== 0);
}

function usesOf(mark: number): number {
  return (mark >>> USE_SHIFT) & USES_MOST;
}

function setSequence(words: Uint32Array, base: number, sequence: Sequence): void {
  words[base + SEQUENCE_WORD] = sequence % TWO_32;
  words[base + SEQUENCE_WORD + 1] = Math.floor(sequence / TWO_32);
}
