/**
 * Which leaves hold the keys of a range, and where each begins, as the inner nodes say it. It reads no leaf, and is valid until the
 * tree changes.
 *
 * ```
 *   level 2            [      f      │      p      ]           range [c, m): 4 leaves
 *   level 1      [ b │ d ]      [ h │ l ]      [ … ]            nodes: b d from child 1, h l from child 0
 *   leaves      │   │███│██    ██│███│██                        fences: (c) d f h l …
 * ```
 *
 * It looks at each node of level 1 in the range: one for some 10,000 keys.
 */
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';
import { Probe } from './probe.ts';

/** Scratch for the bounds, and for a separator. Valid within one step. */
const low = new Probe();
const high = new Probe();
const separator = new Probe();

/** A node of level 1 in the range. */
interface Parent {
  readonly id: number;
  readonly firstChild: number;
  /** Leaves of the range before its own. */
  readonly before: number;
  /** The separator in front of its first child: that of an inner node above it; 0: there is none. */
  readonly fenceIn: number;
  readonly fenceAt: number;
}

export class LeafRange {
  /** Leaves that may hold keys of the range. */
  readonly count: number;
  readonly #memory: NodeMemory;
  readonly #parents: Parent[] = [];
  #found = 0;

  /** @param to the key behind the range; null: it goes to the last key */
  constructor(memory: NodeMemory, root: number, from: Uint8Array, to: Uint8Array | null) {
    this.#memory = memory;
    const level = root !== 0 && memory.isResident(root) ? node.level(memory.words(root), memory.base(root)) : 0;
    if (level === 0) this.#found = root === 0 ? 0 : 1;
    else {
      low.load(from, from.length);
      if (to !== null) high.load(to, to.length);
      this.#visit(root, level, 0, 0, true, to !== null);
    }
    this.count = this.#found;
  }

  /** The first key that leaf `index` may hold, of those behind the first leaf. */
  fenceOf(index: number): Uint8Array {
    let at = this.#parents.length - 1;
    while ((this.#parents[at] as Parent).before > index) at--;
    const { id, firstChild, before, fenceIn, fenceAt } = this.#parents[at] as Parent;
    const child = firstChild + index - before;
    const [owner, place] = child > 0 ? [id, child - 1] : [fenceIn, fenceAt];
    node.loadKey(this.#memory.words(owner), this.#memory.base(owner), place, separator);
    const fence = new Uint8Array(separator.length);
    separator.copyTo(fence);
    return fence;
  }

  /** @param isLow whether the range begins below this node, ... @param isHigh ... and whether it ends there */
  #visit(id: number, level: number, fenceIn: number, fenceAt: number, isLow: boolean, isHigh: boolean): void {
    const words = this.#memory.words(id);
    const base = this.#memory.base(id);
    const begin = isLow ? node.search(words, base, low) : -1;
    const end = isHigh ? node.search(words, base, high) : ~node.count(words, base);
    const first = begin >= 0 ? begin + 1 : ~begin;
    // A leaf that begins where the range ends holds none of its keys.
    const last = end >= 0 ? end : ~end;
    if (level === 1) {
      this.#parents.push({ id, firstChild: first, before: this.#found, fenceIn, fenceAt });
      this.#found += last - first + 1;
      return;
    }
    for (let child = first; child <= last; child++) {
      const [owner, place] = child > 0 ? [id, child - 1] : [fenceIn, fenceAt];
      const below = node.childAt(words, base, child);
      this.#visit(below, level - 1, owner, place, isLow && child === first, isHigh && end < 0 && child === last);
    }
  }
}
