/**
 * Reads back what was hot before the store was opened, beside the reads of its user.
 *
 * ```
 *   data.aiokv.hot ─► the hottest keys for which the cache has room ─► a tree, which sorts them
 *                                                                        │ in key order, some at a time
 *   cache ◄── records ◄── long reads ◄── places, of the index as it is now ◄┘      and a rest, at the pace of reads
 * ```
 *
 * WARM-1. The file has keys and no places. What is filled in was looked up and read now, as a get does it, and comes into the
 *     cache by the rule of all that reads bring (CACHE-2). So an old or a wrong file costs reads, and changes no answer.
 * WARM-2. It takes second place: it reads few records at once, fewer when reads of the user are late (PACE-1), takes a slice of a
 *     turn, and no value gives way to what it brings (CACHE-5). It ends when there is no room, when the store fails or is closed.
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { ReadPace } from '../file/read-pace.ts';
import { HotFileReader } from '../file/hot-file.ts';
import type { HotFilePlace } from '../file/hot-file.ts';
import { HOT_BLOCK_BYTES } from '../format/hot-keys.ts';
import { Tree } from '../tree/index.ts';
import { HotReads } from './hot-reads.ts';
import type { HotReadsParts } from './hot-reads.ts';

export interface WarmUpParts extends HotReadsParts {
  readonly place: HotFilePlace;
  readonly pace: ReadPace;
  readonly budget: TurnBudget;
  /** See `mostHotBytes`. */
  readonly mostBytes: number;
}

export interface WarmStatistics {
  /** Keys that were hot before the store was opened, and are to be read back. */
  readonly keys: number;
  /** Those whose values were read back. */
  readonly values: number;
  /** Whether there is more to read. */
  readonly isRunning: boolean;
}

/** Of the room in the cache, so much is for what was hot: the rest is for what is hot now. */
const ROOM_PART = 7 / 8;
/** What a value takes in the cache beside its bytes and those of its key, about. */
const VALUE_NOTE_BYTES = 40;
/** Keys that are looked up at once, for each step of the pace, and within these bounds. */
const KEYS_PER_DEPTH = 8;
const LEAST_KEYS = 16;
const MOST_KEYS = 64;

export class WarmUp {
  readonly #parts: WarmUpParts;
  /** The keys, sorted. */
  readonly #tree: Tree;
  #keys = 0;
  #values = 0;
  #isStopped = false;
  #running: Promise<void> | null = null;

  constructor(parts: WarmUpParts) {
    this.#parts = parts;
    this.#tree = new Tree(parts.index.memory);
  }

  get statistics(): WarmStatistics {
    return { keys: this.#keys, values: this.#values, isRunning: this.#running !== null };
  }

  /** Begins, in the background. */
  start(): void {
    this.#running = this.#run();
  }

  /** Begins no more reads. Settles when none is in flight. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  readonly #isOver = (): boolean => this.#isStopped || this.#parts.gate.log !== null;

  /** Never rejects. */
  async #run(): Promise<void> {
    const { pace } = this.#parts;
    await this.#sort();
    this.#keys = this.#tree.size;
    if (this.#keys > 0) {
      pace.watch();
      await this.#readAll();
      pace.unwatch();
    }
    this.#tree.clear();
    this.#running = null;
  }

  /** Takes the hottest keys of the file, as many as there is room for. */
  async #sort(): Promise<void> {
    const { place, index, mostBytes, budget } = this.#parts;
    let roomBytes = ROOM_PART * index.values.roomBytes;
    const file = roomBytes === 0 ? null : await HotFileReader.open(place);
    if (file === null) return;
    for (let read = 0; read < mostBytes && roomBytes > 0 && !this.#isOver(); read += HOT_BLOCK_BYTES) {
      const keys = await file.nextBlock();
      if (keys === null) break;
      while (keys.next()) {
        roomBytes -= VALUE_NOTE_BYTES + keys.keyBytes + keys.valueBytes;
        if (roomBytes < 0) break;
        this.#tree.set(keys.bytes.subarray(keys.keyAt), keys.keyBytes, 0, 0);
        if (budget.isSpent()) await nextTurn();
      }
    }
    await file.close();
  }

  /** Never rejects. */
  async #readAll(): Promise<void> {
    const { index, pace } = this.#parts;
    index.values.use();
    const cursor = this.#tree.cursor();
    cursor.first();
    while (cursor.valid && !this.#isOver()) {
      const most = Math.min(MOST_KEYS, Math.max(LEAST_KEYS, pace.depth * KEYS_PER_DEPTH));
      const reads = new HotReads(this.#parts, most);
      for (; cursor.valid && !reads.isFull; cursor.next()) reads.add(cursor.keyBytes, cursor.keyLength);
      await reads.finish(this.#isOver);
      index.pager.keepWithin();
      this.#values += reads.filled;
      if (reads.isWithoutRoom) return;
      await pace.rest();
    }
  }
}
