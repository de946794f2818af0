/**
 * What a merge takes, in one order of keys: the entries of its memtable, and the runs of relocations.
 *
 * ```
 *   memtable             a   c     d       h
 *   relocations, run 1     b     d   e  g          the one with the smallest key is next; of two with the same key,
 *                run 2   a         d f             the relocation, since the memtable always wins
 * ```
 */
import { compareKeys } from '../format/keys.ts';
import type { Cursor, Entry } from '../tree/index.ts';
import type { RelocationCursor, Relocations } from './relocations.ts';

const NO_KEY = new Uint8Array(0);

export class MergeInput {
  readonly #entries: Cursor;
  readonly #runs: readonly RelocationCursor[];
  /** Those that are not at their end. */
  #sources: (Cursor | RelocationCursor)[] = [];
  #at: Cursor | RelocationCursor | null = null;

  constructor(keys: { cursor(): Cursor }, relocations: Relocations | null) {
    this.#entries = keys.cursor();
    this.#runs = relocations?.cursors() ?? [];
  }

  get valid(): boolean {
    return this.#at !== null;
  }

  /** The current key, in the first `keyLength` bytes. */
  get keyBytes(): Uint8Array {
    return this.#at === null ? NO_KEY : this.#at.keyBytes;
  }

  get keyLength(): number {
    return this.#at === null ? 0 : this.#at.keyLength;
  }

  /** The relocation that is next, or null: it is an entry of the memtable. */
  get relocation(): RelocationCursor | null {
    return this.#at === this.#entries ? null : (this.#at as RelocationCursor | null);
  }

  /** That of the memtable. */
  get entry(): Entry {
    return this.#entries.entry;
  }

  first(): boolean {
    for (const run of this.#runs) run.first();
    this.#entries.first();
    return this.#begin();
  }

  next(): boolean {
    if (this.#at === null) return false;
    if (!this.#at.next()) this.#sources = this.#sources.filter(({ valid }) => valid);
    return this.#pick();
  }

  /** Goes to where another input of the same keys is. It must be at a key. */
  goTo(other: MergeInput): void {
    for (const [i, run] of this.#runs.entries()) run.goTo(other.#runs[i] as RelocationCursor);
    this.#entries.seek(other.keyBytes, other.keyLength, '>=');
    this.#begin();
  }

  #begin(): boolean {
    this.#sources = [...this.#runs, this.#entries].filter(({ valid }) => valid);
    return this.#pick();
  }

  #pick(): boolean {
    let best = this.#sources[0] ?? null;
    for (let i = 1; best !== null && i < this.#sources.length; i++) {
      const source = this.#sources[i] as Cursor | RelocationCursor;
      if (compareKeys(source.keyBytes, source.keyLength, best.keyBytes, best.keyLength) < 0) best = source;
    }
    this.#at = best;
    return best !== null;
  }
}
