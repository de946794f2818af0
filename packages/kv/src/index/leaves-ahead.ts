/**
 * The leaves that a walk has read: the one that blocked it, and some behind that. They stay in memory for as long as the walk
 * may need them.
 *
 * ```
 *   read 1      │ L │ . . . │
 *   read 2      │ L │       │ M │ . . . │        a seek to a key behind the last one of L begins again at L, and needs M
 *   read 3                  │ M │       │ N │ . . . │
 * ```
 *
 * LEAVES-1. What a read has brought stays until the next one, and the leaf that blocked the walk for one more. Else a move
 *     that needs two leaves would go back and forth between them for ever, when memory is short.
 */
import type { Pager } from './pager.ts';

export class LeavesAhead {
  readonly #pager: Pick<Pager, 'pin' | 'unpin'>;
  #last: number[] = [];
  /** The first leaf of the read before. */
  #before: number[] = [];

  constructor(pager: Pick<Pager, 'pin' | 'unpin'>) {
    this.#pager = pager;
  }

  /**
   * Settles when the first page, which blocks the walk, is in memory, and the others are or cannot be read.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if the first page cannot be read; the others are tried again when
   *   the walk reaches them
   */
  async read(pages: readonly number[]): Promise<void> {
    this.#pager.unpin(this.#before);
    this.#before = this.#last.splice(0, 1);
    this.#pager.unpin(this.#last);
    this.#last = [];
    const outcomes = await Promise.allSettled(pages.map((page) => this.#pager.pin([page])));
    for (const [i, { status }] of outcomes.entries()) if (status === 'fulfilled') this.#last.push(pages[i] as number);
    if (outcomes[0]?.status === 'rejected') throw outcomes[0].reason;
  }

  /** The walk has ended, or needs no leaf until its next read. */
  letGo(): void {
    this.#pager.unpin(this.#before);
    this.#pager.unpin(this.#last);
    this.#before = [];
    this.#last = [];
  }
}
