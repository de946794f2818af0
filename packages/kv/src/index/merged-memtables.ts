/**
 * Memtables whose entries have gone on to the tree, or from the stage of a long batch to a memtable, and which somebody still
 * reads: iterators and snapshots from before that.
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

  /** The oldest of those whose leaves are not saved; undefined: there is none. */
  get unsaved(): Memtable | undefined {
    return this.#memtables.find((memtable) => memtable.isRead && memtable.leaves.length > 0);
  }

  /** Memory that they take for the sake of their readers, without leaves that may leave it. */
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
