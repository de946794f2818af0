/**
 * Reads a memtable as the writes up to a sequence have left it, while newer ones change it (MEMTABLE-3). It copies nothing:
 * what it needs of what is replaced, the memtable keeps. It never changes the memtable.
 *
 * ```
 *   the memtable   a 3    c 9    d 7    f 2†   h 5            a reader at 6 sees   a 3   c 4   f 2†   h 5
 *   its history           c 4 until 9                         († a deletion; d is new, so older layers decide)
 * ```
 *
 * READER-1. A key never leaves a memtable that is read (MEMTABLE-2). So a walk over the keys of the memtable meets all keys
 *     that the reader sees. After a change it is positioned again, at the key where it is.
 * READER-3. Leaves of a memtable that only readers need may be absent (MEMTABLE-5). Who needs one is blocked, and asks again.
 * READER-2. A move passes few keys that the reader does not see, then it halts at one: thousands may follow one another.
 */
import type { Sequence } from '@aiokv/core';
import { isDeletion } from '../format/index-entry.ts';
import { Entry, FOUND, MISSING, absentLeaf } from '../tree/index.ts';
import type { AbsentLeaf, Cursor, LeafPlace, LeafRange, SeekMode, TreeSnapshot } from '../tree/index.ts';
import { RangeCursor } from './deleted-ranges.ts';
import { OLDER } from './memtable.ts';
import type { Memtable, MemtableLookup } from './memtable.ts';

/** READER-2. Each takes up to half a microsecond. */
const PASSED_AT_ONCE = 4;

/** Scratch for an entry of the history. Valid within one step. */
const older = new Entry();

/** The owner must release it. */
export class MemtableReader {
  /** The ranges that the memtable deletes, for `RangeCursor`, or null. */
  readonly ranges: TreeSnapshot | null;
  /** READER-3. The leaf of the history that the last `ageSeen` needs; 0: it has its answer. */
  historyBlockedOn = 0;
  readonly #memtable: Memtable;
  /** The sequence to which it reads, behind the `after` of the memtable. */
  readonly #at: number;
  /** For `find`, made when it is needed. */
  #rangeCursor: RangeCursor | null = null;

  constructor(memtable: Memtable, sequence: Sequence) {
    memtable.beginRead(sequence);
    this.#memtable = memtable;
    this.#at = sequence - memtable.after;
    this.ranges = memtable.ranges?.snapshot() ?? null;
  }

  /** The sequence to which it reads. */
  get through(): number {
    return this.#memtable.after + this.#at;
  }

  /** Whether only readers need the memtable. */
  get isMerged(): boolean {
    return this.#memtable.isDropped;
  }

  /** As `Memtable.find`, or the leaf that must be in memory first (READER-3). */
  find(key: Uint8Array, keyBytes: number, into: Entry): MemtableLookup | AbsentLeaf {
    const outcome = this.#memtable.entryOf(key, keyBytes, into);
    if (outcome !== FOUND && outcome !== MISSING) return outcome;
    const age = outcome === FOUND ? this.ageSeen(key, keyBytes, into) : -1;
    if (outcome === FOUND && this.historyBlockedOn !== 0) return absentLeaf(this.historyBlockedOn);
    if (this.ranges === null) return age < 0 ? OLDER : outcomeOf(into);
    const ranges = (this.#rangeCursor ??= new RangeCursor(this.ranges));
    ranges.seek(key, keyBytes);
    if (age >= ranges.age) return outcomeOf(into);
    return ranges.isDeleted ? MISSING : OLDER;
  }

  /**
   * Of a key of the memtable with this entry: the age of the entry that the reader sees, or -1. If that is another one, it is
   * copied to `entry`. READER-3: the answer holds if `historyBlockedOn` is 0 then.
   */
  ageSeen(key: Uint8Array, keyBytes: number, entry: Entry): number {
    const memtable = this.#memtable;
    const { history } = memtable;
    this.historyBlockedOn = 0;
    const age = memtable.ageOf(entry);
    if (age <= this.#at) return age;
    if (history === null) return -1;
    if (!history.find(key, keyBytes, this.#at, older)) {
      this.historyBlockedOn = history.blockedOn;
      return -1;
    }
    const olderAge = memtable.ageOf(older);
    if (olderAge > this.#at) return -1;
    entry.copy(older);
    return olderAge;
  }

  /** A new cursor over what the reader sees. It must not be used after the release. */
  cursor(): MemtableCursor {
    return new MemtableCursor(this, this.#memtable);
  }

  /** As `Memtable.leavesOf`. */
  leavesOf(from: Uint8Array, to: Uint8Array | null): LeafRange {
    return this.#memtable.leavesOf(from, to);
  }

  release(): void {
    this.ranges?.release();
    this.#memtable.endRead();
  }
}

/** A position among the keys of a memtable, for a reader. Its memory is the caller's as that of a `Cursor` is. */
export class MemtableCursor {
  /** READER-2. Whether it has halted at a key that is not to be seen, so that it has to move on. */
  isUnseen = false;
  /** Entries up to this sequence are seen. */
  readonly through: number;
  readonly #reader: MemtableReader;
  readonly #memtable: Memtable;
  readonly #cursor: Cursor;
  readonly #ranges: RangeCursor | null;
  /** READER-1. That of the memtable when the cursor was positioned. */
  #revision = 0;
  /** READER-3. It is at a key of which only this leaf of the history says whether it is to be seen; 0: it is known. */
  #undecidedOn = 0;

  constructor(reader: MemtableReader, memtable: Memtable) {
    this.#reader = reader;
    this.#memtable = memtable;
    this.through = reader.through;
    this.#cursor = memtable.cursor();
    this.#ranges = reader.ranges === null ? null : new RangeCursor(reader.ranges);
  }

  get valid(): boolean {
    return this.#cursor.valid;
  }

  /** READER-3. The leaf that must be in memory before it can go on; 0: it is not blocked. */
  get blockedOn(): number {
    return this.#undecidedOn === 0 ? this.#cursor.blockedOn : this.#undecidedOn;
  }

  /** Whether it has reached a key, and is blocked by the history of it: the next step stays there. */
  get isUndecided(): boolean {
    return this.#undecidedOn !== 0;
  }

  /** As of a `Cursor`. */
  absentAhead(forward: boolean, most: number, isNeeded: (fence: Uint8Array) => boolean): [number, ...number[]] {
    return this.isUndecided ? [this.#undecidedOn] : this.#cursor.absentAhead(forward, most, isNeeded);
  }

  get keyBytes(): Uint8Array {
    return this.#cursor.keyBytes;
  }

  get keyLength(): number {
    return this.#cursor.keyLength;
  }

  get entry(): Entry {
    return this.#cursor.entry;
  }

  first(): boolean {
    this.#revision = this.#memtable.revision;
    this.#cursor.first();
    return this.#settle(true);
  }

  last(): boolean {
    this.#revision = this.#memtable.revision;
    this.#cursor.last();
    return this.#settle(false);
  }

  next(): boolean {
    return this.#move(true);
  }

  previous(): boolean {
    return this.#move(false);
  }

  seek(key: Uint8Array, keyLength: number, mode: SeekMode): boolean {
    this.#revision = this.#memtable.revision;
    this.#cursor.seek(key, keyLength, mode);
    return this.#settle(mode === '>=' || mode === '>');
  }

  /** As of a `Cursor`. False, too, after a change of the memtable (READER-1). */
  placeInto(place: LeafPlace): boolean {
    return this.#revision === this.#memtable.revision && this.#cursor.placeInto(place);
  }

  goOn(place: LeafPlace, forward: boolean): boolean {
    this.#cursor.goOn(place);
    return this.#settle(forward);
  }

  #move(forward: boolean): boolean {
    const cursor = this.#cursor;
    if (this.isUndecided) return this.#settle(forward);
    if (!cursor.valid) return false;
    const { revision } = this.#memtable;
    if (revision === this.#revision) {
      if (forward) cursor.next();
      else cursor.previous();
    } else {
      this.#revision = revision;
      cursor.seek(cursor.keyBytes, cursor.keyLength, forward ? '>' : '<');
    }
    return this.#settle(forward);
  }

  #settle(forward: boolean): boolean {
    const cursor = this.#cursor;
    this.isUnseen = false;
    this.#undecidedOn = 0;
    for (let left = PASSED_AT_ONCE; cursor.blockedOn === 0 && cursor.valid && !this.#isSeen(cursor); left--) {
      if (this.isUndecided) return false;
      if (left === 0) {
        this.isUnseen = true;
        return true;
      }
      if (forward) cursor.next();
      else cursor.previous();
    }
    return cursor.blockedOn === 0 && cursor.valid;
  }

  #isSeen({ keyBytes, keyLength, entry }: Cursor): boolean {
    const age = this.#reader.ageSeen(keyBytes, keyLength, entry);
    this.#undecidedOn = this.#reader.historyBlockedOn;
    if (age < 0 || this.#ranges === null) return age >= 0;
    this.#ranges.seek(keyBytes, keyLength);
    return age >= this.#ranges.age;
  }
}

function outcomeOf(entry: Entry): MemtableLookup {
  return isDeletion(entry) ? MISSING : FOUND;
}
