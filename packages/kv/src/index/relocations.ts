/**
 * New places of records that were moved while nothing else changed the tree: what a merge takes beside the entries of its
 * memtable. Sorted, in runs: each key is above the one before it in its run.
 *
 * ```
 *   chunks   │ bytes of the key : 16, pieces : 1 │ old word 0 │ old word 1 │ new word 0 │ new word 1 │ key, padded │ …
 *   runs     ├──────────── a … z ────────────┤├──── b … y ────┤ …                a new one begins when a key is not above
 * ```
 *
 * RELOC-1. A relocation is a compare-and-set: the merge takes it only if the entry of its key has the old words by then.
 *
 * The two words of an entry are those of format/index-entry.ts. This file knows neither the tree nor the merge.
 */
import { assert } from '@aiokv/core';
import type { EntryWords } from '../format/index-entry.ts';
import { highWordOf, lengthWordOf, isInFragments, lengthOf, lowWordOf } from '../format/index-entry.ts';
import { MAX_KEY_BYTES } from '../format/record.ts';

const CHUNK_WORDS = 16 * 1024;
/** Words before the key. */
const HEAD_WORDS = 5;
const HAS_PIECES = 0x1_0000;
const KEY_MASK = 0xffff;

/** A piece of a long value that was moved: a record without an entry of its own. */
export interface MovedPiece {
  readonly from: number;
  readonly to: number;
  readonly lengthBytes: number;
}

/** A place in the chunks. */
interface Position {
  readonly chunk: number;
  readonly at: number;
}

export class Relocations {
  count = 0;
  /** @internal */
  readonly chunks: Uint32Array[] = [];
  /** @internal Words used of each chunk. */
  readonly used: number[] = [];
  /** @internal Where each run begins. */
  readonly runs: Position[] = [];
  /** @internal Of relocations with pieces, by their number: that is the place of the relocation. */
  readonly pieces = new Map<number, readonly MovedPiece[]>();
  /** The last key: its chunk as bytes, where it begins, and its length. */
  #lastIn = new Uint8Array(0);
  #lastAt = 0;
  #lastLength = -1;
  /** The last chunk, as bytes. */
  #bytes = new Uint8Array(0);

  /** Memory that they take, but for what is free of the last chunk. */
  get bytes(): number {
    return this.count === 0 ? 0 : 4 * ((this.chunks.length - 1) * CHUNK_WORDS + (this.used.at(-1) as number));
  }

  /**
   * Adds the new place of a record, whose entry is otherwise the same.
   *
   * @param source has the key, at `at`
   * @param pieces of its value that were moved with it
   */
  add(
    source: Uint8Array,
    at: number,
    keyBytes: number,
    old: EntryWords,
    fileOffset: number,
    pieces: readonly MovedPiece[] | null = null,
  ): void {
    const words = HEAD_WORDS + ((keyBytes + 3) >>> 2);
    if (this.chunks.length === 0 || (this.used.at(-1) as number) + words > CHUNK_WORDS) {
      const words = new Uint32Array(CHUNK_WORDS);
      this.chunks.push(words);
      this.#bytes = new Uint8Array(words.buffer);
      this.used.push(0);
    }
    const index = this.chunks.length - 1;
    const chunk = this.chunks[index] as Uint32Array;
    const start = this.used[index] as number;
    chunk[start] = keyBytes + (pieces === null ? 0 : HAS_PIECES);
    chunk[start + 1] = old.word0;
    chunk[start + 2] = old.word1;
    chunk[start + 3] = lowWordOf(fileOffset);
    chunk[start + 4] = highWordOf(fileOffset, lengthWordOf(lengthOf(old), isInFragments(old)));
    const to = (start + HEAD_WORDS) * 4;
    const bytes = this.#bytes;
    for (let i = 0; i < keyBytes; i++) bytes[to + i] = source[at + i] as number;
    if (!this.#isAbove(source, at, keyBytes)) this.runs.push({ chunk: index, at: start });
    this.#lastIn = bytes;
    this.#lastAt = to;
    this.#lastLength = keyBytes;
    if (pieces !== null) this.pieces.set(index * CHUNK_WORDS + start, pieces);
    this.used[index] = start + words;
    this.count++;
  }

  /** Whether the key is above the last one. */
  #isAbove(source: Uint8Array, at: number, keyBytes: number): boolean {
    const last = this.#lastIn;
    const lastAt = this.#lastAt;
    const length = Math.min(this.#lastLength, keyBytes);
    for (let i = 0; i < length; i++) {
      const difference = (source[at + i] as number) - (last[lastAt + i] as number);
      if (difference !== 0) return difference > 0;
    }
    return this.#lastLength >= 0 && keyBytes > this.#lastLength;
  }

  /** A cursor for each run. */
  cursors(): RelocationCursor[] {
    return this.runs.map((_, run) => new RelocationCursor(this, run));
  }
}

/** A position in one run. The relocations must not change meanwhile. */
export class RelocationCursor {
  valid = false;
  /** The current key, in the first `keyLength` bytes. */
  readonly keyBytes: Uint8Array;
  keyLength = 0;
  readonly old = { word0: 0, word1: 0 };
  readonly new = { word0: 0, word1: 0 };
  readonly #keyWords = new Uint32Array(MAX_KEY_BYTES / 4);
  readonly #relocations: Relocations;
  readonly #run: number;
  #chunk = 0;
  #at = 0;
  #words = 0;

  constructor(relocations: Relocations, run: number) {
    this.#relocations = relocations;
    this.#run = run;
    this.keyBytes = new Uint8Array(this.#keyWords.buffer);
  }

  first(): void {
    const { chunk, at } = this.#relocations.runs[this.#run] as Position;
    this.#chunk = chunk;
    this.#at = at;
    this.#load();
  }

  next(): boolean {
    assert(this.valid, 'a cursor moves on from a relocation');
    this.#at += this.#words;
    if (this.#at >= (this.#relocations.used[this.#chunk] as number)) {
      this.#chunk++;
      this.#at = 0;
    }
    return this.#load();
  }

  /** Goes to where another cursor of the same run is. */
  goTo(other: RelocationCursor): void {
    this.#chunk = other.#chunk;
    this.#at = other.#at;
    this.#load();
  }

  /** Pieces that were moved with the record, or null. */
  get pieces(): readonly MovedPiece[] | null {
    return this.#relocations.pieces.get(this.#chunk * CHUNK_WORDS + this.#at) ?? null;
  }

  #load(): boolean {
    const { chunks, runs } = this.#relocations;
    const end = runs[this.#run + 1];
    const isAtEnd = end !== undefined && end.chunk === this.#chunk && end.at === this.#at;
    this.valid = !isAtEnd && this.#chunk < chunks.length;
    if (!this.valid) return false;
    const chunk = chunks[this.#chunk] as Uint32Array;
    const at = this.#at;
    this.keyLength = (chunk[at] as number) & KEY_MASK;
    this.old.word0 = chunk[at + 1] as number;
    this.old.word1 = chunk[at + 2] as number;
    this.new.word0 = chunk[at + 3] as number;
    this.new.word1 = chunk[at + 4] as number;
    const keyWords = (this.keyLength + 3) >>> 2;
    const key = this.#keyWords;
    for (let word = 0; word < keyWords; word++) key[word] = chunk[at + HEAD_WORDS + word] as number;
    this.#words = HEAD_WORDS + keyWords;
    return true;
  }
}
