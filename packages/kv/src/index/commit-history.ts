/**
 * Which keys were written since the oldest open transaction began, each with the sequence of its last write. A commit asks here
 * whether anything that it has read was written meanwhile. It knows neither values nor who wrote, and holds nothing while no
 * transaction is open.
 *
 * ```
 *   forgotten      generation        generation        generation
 *   ─────────┬─────────────────┬─────────────────┬───────────────────►  sequences
 *          floor                      ▲ the oldest open transaction: the first generation is not needed any more
 * ```
 *
 * COMMITS-1. Every write above the floor that is seen after an open transaction has begun is in a generation, from the step of
 *     its admission on.
 * COMMITS-2. All generations take no more than `mostBytes`, but for the one that fills. Above that the oldest is forgotten, and the
 *     floor rises: of a transaction from below the floor it is not known what was written since, so that counts as a conflict.
 * COMMITS-3. A range says of all its keys that they were written.
 *
 * The memtables have these sequences, too. But they are merged and leave memory, a key that a range deletes leaves them, and they
 * have much that is older, which a range would have to pass. Generations are few: each may grow twice as long as the one before.
 */
import { KIB, MIB } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { compareKeys } from '../format/keys.ts';
import { Entry, FOUND, NodeMemory, Tree } from '../tree/index.ts';
import type { Cursor } from '../tree/index.ts';
import { DeletedRanges, RangeCursor } from './deleted-ranges.ts';

/** Nodes are small, since most transactions are. */
const NODE_BYTES = KIB;
/** The first generation ends at this size; each that follows others may be twice as long. */
const GENERATION_BYTES = 64 * KIB;
/** Ages have 32 bits; a batch that is under way must still fit. */
const SPAN_MOST = 2 ** 31;
/** COMMITS-2. This part of the memory of the store, within these bounds. */
const MEMORY_PART = 1 / 64;
const BYTES_LEAST = 256 * KIB;
const BYTES_MOST = 16 * MIB;
/** Generations that are kept for the next ones: making one takes longer than a small transaction. */
const SPARE_MOST = 4;
/** Entries that a walk looks at between two pauses. */
const LOOKS_AT_ONCE = 512;

/** Scratch for an entry. Valid within one step. */
const entry = new Entry();

/** Writes that follow one another. */
class Generation {
  /** The last sequence before it. */
  after = 0;
  last = 0;
  readonly #keys: Tree;
  readonly #ranges: DeletedRanges;
  #hasRanges = false;

  constructor(memory: NodeMemory) {
    this.#keys = new Tree(memory);
    this.#ranges = new DeletedRanges(memory);
  }

  get bytes(): number {
    return this.#keys.bytes + this.#ranges.bytes;
  }

  note(key: Uint8Array, keyBytes: number, sequence: number): void {
    this.last = sequence;
    this.#keys.set(key, keyBytes, sequence - this.after, 0);
  }

  noteRange(from: Uint8Array, fromBytes: number, to: Uint8Array | null, toBytes: number, sequence: number): void {
    this.last = sequence;
    this.#hasRanges = true;
    // It is newer than all of them.
    this.#keys.deleteRange(from, fromBytes, to, toBytes);
    this.#ranges.add(from, fromBytes, to, toBytes, sequence - this.after);
  }

  /** Whether the key was written after this sequence. */
  has(key: Uint8Array, keyBytes: number, since: number): boolean {
    const age = since - this.after;
    if (this.#keys.get(key, keyBytes, entry) === FOUND && entry.word0 > age) return true;
    return this.#hasRanges && this.#ranges.ageAt(key, keyBytes) > Math.max(age, 0);
  }

  /** Whether a key from `from` on that is below `to` was written after this sequence. Pauses now and then. */
  *hasIn(from: Uint8Array, to: Uint8Array | null, since: number): Generator<void, boolean> {
    const age = since - this.after;
    let looks = 0;
    if (this.#hasRanges) {
      const cursor = new RangeCursor(this.#ranges);
      cursor.seek(from, from.length);
      for (;;) {
        if (cursor.isDeleted && cursor.age > age) return true;
        if (cursor.high === null || !isBelow(cursor.high, cursor.highLength, to)) break;
        cursor.next();
        if (++looks % LOOKS_AT_ONCE === 0) yield;
      }
    }
    const cursor: Cursor = this.#keys.cursor();
    cursor.seek(from, from.length, '>=');
    for (; cursor.valid && isBelow(cursor.keyBytes, cursor.keyLength, to); cursor.next()) {
      if (cursor.entry.word0 > age) return true;
      if (++looks % LOOKS_AT_ONCE === 0) yield;
    }
    return false;
  }

  clear(): void {
    this.#keys.clear();
    if (this.#hasRanges) this.#ranges.clear();
    this.#hasRanges = false;
  }
}

function isBelow(key: Uint8Array, keyBytes: number, to: Uint8Array | null): boolean {
  return to === null || compareKeys(key, keyBytes, to, to.length) < 0;
}

/** A transaction from its beginning until its reads were judged. */
export interface OpenTransaction {
  /** It sees what was written up to this one. */
  readonly sequence: Sequence;
}

export class CommitHistory {
  /** For the sets of keys of transactions, too. */
  readonly memory = new NodeMemory({ nodeBytes: NODE_BYTES });
  /** Whether writes have to be noted. */
  isOn = false;
  readonly #mostBytes: number;
  /** The oldest first: sequences do not fall. */
  readonly #open = new Set<OpenTransaction>();
  /** The oldest first. */
  #generations: Generation[] = [];
  /** Made, and used again: a tree is not made for nothing. */
  readonly #spare: Generation[] = [];
  #floor = 0;
  /** Whether the entries of a long batch are on their way, unseen, and whether they have all been noted. */
  #isStaging = false;
  #isStageNoted = false;
  #wasUsed = false;

  /** @param memoryBytes of the store */
  constructor(memoryBytes: number) {
    this.#mostBytes = Math.min(BYTES_MOST, Math.max(BYTES_LEAST, memoryBytes * MEMORY_PART));
  }

  /** Transactions whose reads may have to be judged. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Memory that it takes, with the sets of keys of all transactions. */
  get bytes(): number {
    return this.memory.bytesUsed;
  }

  begin(transaction: OpenTransaction): void {
    this.#open.add(transaction);
    this.isOn = true;
    this.#wasUsed = true;
  }

  /** Its reads were judged, or will not be. May be called more than once. */
  end(transaction: OpenTransaction): void {
    this.#open.delete(transaction);
    if (this.#open.size === 0 && !this.#isStaging) this.#turnOff();
  }

  /**
   * The entries of a long batch are admitted from now on, and are seen later. A transaction that begins meanwhile does not see
   * them, so they are noted before anybody is known to need them: but not in a store that has never had a transaction.
   */
  beginStage(): void {
    this.#isStaging = true;
    this.#isStageNoted = this.#wasUsed;
    this.isOn = this.#wasUsed;
  }

  /** They are seen from now on, or will never be. */
  endStage(through: Sequence): void {
    if (!this.#isStaging) return;
    this.#isStaging = false;
    if (this.#open.size === 0) this.#turnOff();
    else if (!this.#isStageNoted) this.#floor = Math.max(this.#floor, through);
  }

  note(key: Uint8Array, keyBytes: number, sequence: number): void {
    this.#newest(sequence).note(key, keyBytes, sequence);
  }

  /** @param toBytes 0: to the last key */
  noteRange(from: Uint8Array, fromBytes: number, to: Uint8Array, toBytes: number, sequence: number): void {
    this.#newest(sequence).noteRange(from, fromBytes, toBytes === 0 ? null : to, toBytes, sequence);
  }

  /** COMMITS-2. Whether it knows what was written after this sequence. */
  knows(since: Sequence): boolean {
    return since >= this.#floor;
  }

  /** Whether nothing was written after this sequence. */
  isQuietSince(since: Sequence): boolean {
    return this.knows(since) && (this.#generations.at(-1)?.last ?? 0) <= since;
  }

  /** Whether the key was written after this sequence. */
  has(key: Uint8Array, keyBytes: number, since: Sequence): boolean {
    for (let i = this.#generations.length - 1; i >= 0; i--) {
      const generation = this.#generations[i] as Generation;
      if (generation.last <= since) return false;
      if (generation.has(key, keyBytes, since)) return true;
    }
    return false;
  }

  /** Whether a key from `from` on that is below `to` was written after this sequence. Pauses now and then. */
  *hasIn(from: Uint8Array, to: Uint8Array | null, since: Sequence): Generator<void, boolean> {
    for (let i = this.#generations.length - 1; i >= 0; i--) {
      const generation = this.#generations[i] as Generation;
      if (generation.last <= since) return false;
      if (yield* generation.hasIn(from, to, since)) return true;
    }
    return false;
  }

  #newest(sequence: number): Generation {
    const newest = this.#generations.at(-1);
    if (newest !== undefined) {
      const isLong = newest.bytes >= GENERATION_BYTES * 2 ** (this.#generations.length - 1);
      if (!isLong && sequence - newest.after < SPAN_MOST) return newest;
    }
    this.#forgetOld();
    const next = this.#take();
    next.after = sequence - 1;
    next.last = next.after;
    this.#generations.push(next);
    return next;
  }

  #take(): Generation {
    const spare = this.#spare.pop();
    // One that is not free yet would end at once.
    return spare?.bytes === 0 ? spare : new Generation(this.memory);
  }

  /** COMMITS-2. Lets go what no open transaction needs, and more if there is too much. */
  #forgetOld(): void {
    const [oldest] = this.#open;
    const since = oldest?.sequence ?? Infinity;
    let bytes = 0;
    let first = this.#generations.length;
    for (; first > 0; first--) {
      const generation = this.#generations[first - 1] as Generation;
      if (generation.last <= since) break;
      bytes += generation.bytes;
      if (bytes <= this.#mostBytes) continue;
      this.#floor = generation.last;
      break;
    }
    this.#recycle(this.#generations.slice(0, first));
    this.#generations = this.#generations.slice(first);
  }

  #turnOff(): void {
    this.isOn = false;
    this.#floor = 0;
    if (this.#generations.length === 0) return;
    this.#recycle(this.#generations);
    this.#generations = [];
  }

  #recycle(generations: readonly Generation[]): void {
    for (const generation of generations) {
      generation.clear();
      if (this.#spare.length < SPARE_MOST) this.#spare.push(generation);
    }
  }
}
