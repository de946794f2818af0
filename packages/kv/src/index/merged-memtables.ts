/**
 * Memtables whose entries are in the tree, and which somebody still reads: iterators and snapshots from before the merge.
 * Each empties itself when its last reader has ended (memtable.ts).
 */
import type { Memtable } from './memtable.ts';

export class MergedMemtables {
  #memtables: Memtable[] = [];

  /** Nobody will write to the memtable, or begin to read it. */
  add(memtable: Memtable): void {
    memtable.drop();
    this.#memtables = this.#memtables.filter(({ isRead }) => isRead);
    if (memtable.isRead) this.#memtables.push(memtable);
  }

  /** Memory that they take for the sake of their readers. */
  get bytes(): number {
    let bytes = 0;
    for (const memtable of this.#memtables) if (memtable.isRead) bytes += memtable.bytes;
    return bytes;
  }

  /** @internal See `Tree.verify`. */
  verify(reachable: Set<number>): void {
    for (const memtable of this.#memtables) if (memtable.isRead) memtable.verify(reachable);
  }
}
