/**
 * Entries that a memtable has replaced and that a reader may still see: see memtable.ts. It knows neither readers nor when
 * an entry is replaced.
 *
 * ```
 *   key of the tree   length : 16 │ key … │ replacedAt : 32          entry: the one that was replaced
 *
 *   put k at 5, at 12, at 25      ·k·12 ─► 5    ·k·25 ─► 12         the memtable itself has 25
 * ```
 *
 * The length stands in front so that the records of one key follow one another: no other key comes between them. Sequences
 * are those behind the `after` of the memtable.
 *
 * HISTORY-1. Of all entries of a key that a reader at `at` may see, the record with the lowest `replacedAt` above `at` has
 *     the newest. It may be newer than `at`: then the reader sees none.
 */
import { KEY_BYTES_MAX, Tree } from '../tree/index.ts';
import type { Cursor, Entry, NodeMemory } from '../tree/index.ts';

const LENGTH_BYTES = 2;
const SEQUENCE_BYTES = 4;

/** Scratch for a key of a history. Valid within one step. */
const recordKey = new Uint8Array(KEY_BYTES_MAX);

export class MemtableHistory {
  readonly #tree: Tree;
  /** For lookups: it is positioned by each. */
  readonly #cursor: Cursor;

  constructor(memory: NodeMemory) {
    this.#tree = new Tree(memory);
    this.#cursor = this.#tree.cursor();
  }

  /** Bytes of its nodes. */
  get bytes(): number {
    return this.#tree.bytes;
  }

  /** See `Memtable.leaves`. */
  get leaves(): number[] {
    return this.#tree.leavesBelowRoot();
  }

  /** The leaf that the last `find` needs and that is not in memory; 0: it has its answer. */
  get blockedOn(): number {
    return this.#cursor.blockedOn;
  }

  /** Number of entries. */
  get size(): number {
    return this.#tree.size;
  }

  add(key: Uint8Array, keyBytes: number, replacedAt: number, { word0, word1, extra, extraWords }: Entry): void {
    this.#tree.set(recordKey, loadKey(key, keyBytes, replacedAt), word0, word1, extra, extraWords);
  }

  /** HISTORY-1. Copies the entry to `into`. Returns whether there is one: not so, too, if it is blocked. */
  find(key: Uint8Array, keyBytes: number, at: number, into: Entry): boolean {
    const cursor = this.#cursor;
    const recordBytes = loadKey(key, keyBytes, at + 1);
    if (!cursor.seek(recordKey, recordBytes, '>=') || cursor.keyLength !== recordBytes) return false;
    const found = cursor.keyBytes;
    for (let i = recordBytes - SEQUENCE_BYTES - 1; i >= 0; i--) if (found[i] !== recordKey[i]) return false;
    into.copy(cursor.entry);
    return true;
  }

  clear(): void {
    this.#tree.clear();
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    this.#tree.verify(reachable);
  }
}

/** Writes the key of a record to `recordKey`. Returns its length. */
function loadKey(key: Uint8Array, keyBytes: number, replacedAt: number): number {
  recordKey[0] = keyBytes >>> 8;
  recordKey[1] = keyBytes & 0xff;
  for (let i = 0; i < keyBytes; i++) recordKey[LENGTH_BYTES + i] = key[i] as number;
  const end = LENGTH_BYTES + keyBytes;
  recordKey[end] = replacedAt >>> 24;
  recordKey[end + 1] = replacedAt >>> 16;
  recordKey[end + 2] = replacedAt >>> 8;
  recordKey[end + 3] = replacedAt;
  return end + SEQUENCE_BYTES;
}
