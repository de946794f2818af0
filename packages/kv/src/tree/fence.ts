/**
 * The upper bound of the keys that a leaf may hold: the separator after it. A walk over ascending keys stays in its leaf
 * below the fence, and needs no descent. It never reads a node.
 *
 *        ... | leaf | separator | next leaf | ...
 *             └ keys of the walk ┘
 *
 * FENCE-1. A key between the last one of the walk and the fence belongs to the leaf of the walk. Whoever moves entries
 *     between leaves removes the fence first.
 */
import { Probe } from './probe.ts';

/** There is no fence: nothing is known. */
const NONE = 0;
/** The leaf is the last one. */
const OPEN = 1;
const CLOSED = 2;

export class Fence {
  #state = NONE;
  #key: Probe | null = null;

  /** The separator, when it is closed. Most trees need none. */
  get key(): Probe {
    return (this.#key ??= new Probe());
  }

  /** Whether the key, which is not below the last one of the walk, belongs to the leaf of the walk. */
  holds(key: Probe): boolean {
    return this.#state === CLOSED ? key.compare(this.key) < 0 : this.#state === OPEN;
  }

  remove(): void {
    this.#state = NONE;
  }

  open(): void {
    this.#state = OPEN;
  }

  close(): void {
    this.#state = CLOSED;
  }
}
