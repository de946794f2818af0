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
 * LEAVES-1. The leaf that blocked the walk stays until the second read after it. Else a move that needs two leaves would go
 *     back and forth between them for ever, when memory is short.
 * LEAVES-2. A leaf behind it stays until a read begins with one further on, or with one that was not read ahead.
 * LEAVES-3. Only a walk that has found nothing for some reads goes on while leaves ahead of it are being read. A short one leaves
 *     no read behind when it ends: a get would join it, and have its failure.
 */
import type { Pager } from './pager.ts';

/** Most leaves that a walk reads ahead which has found nothing in those before. */
const MOST_AHEAD = 64;

export class LeavesAhead {
  readonly #pager: Pick<Pager, 'pin' | 'holdAhead' | 'letGo' | 'pinsLeft'>;
  /** In the order of the walk. */
  #ahead: number[] = [];
  /** LEAVES-1. Those that blocked the walk in the last read and in the one before; 0: none. */
  #last = 0;
  #before = 0;

  constructor(pager: Pick<Pager, 'pin' | 'holdAhead' | 'letGo' | 'pinsLeft'>) {
    this.#pager = pager;
  }

  /**
   * How many leaves to read together.
   *
   * @param most at first
   * @param vainReads reads since the walk has found anything: it takes twice as many with each
   */
  countAfter(most: number, vainReads: number): number {
    if (vainReads === 0) return most;
    return Math.max(most, Math.min(MOST_AHEAD, most * 2 ** vainReads, this.#pager.pinsLeft));
  }

  /**
   * Settles when the first page, which blocks the walk, is in memory, and the others are or cannot be read.
   *
   * @param isFar LEAVES-3: the others are on their way
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if the first page cannot be read; the others are tried again when
   *   the walk reaches them
   */
  async read(pages: readonly [number, ...number[]], isFar = false): Promise<void> {
    const pager = this.#pager;
    const [first] = pages;
    if (this.#before !== 0) pager.letGo(this.#before);
    this.#before = this.#last;
    this.#last = first;
    // LEAVES-2.
    const reached = this.#ahead.indexOf(first);
    const passed = this.#ahead.splice(0, reached < 0 ? this.#ahead.length : reached + 1);
    const begun = pages.filter((page) => !this.#ahead.includes(page));
    pager.holdAhead(begun);
    for (const page of passed) pager.letGo(page);
    for (const page of begun) if (page !== first) this.#ahead.push(page);
    const awaited = isFar ? [first] : begun;
    const outcomes = await Promise.allSettled(awaited.map((page) => pager.pin([page])));
    for (const [i, { status }] of outcomes.entries()) if (status === 'fulfilled') pager.letGo(awaited[i] as number);
    if (outcomes[0]?.status === 'rejected') throw outcomes[0].reason;
  }

  /** The walk has ended, or needs no leaf until its next read. */
  letGo(): void {
    for (const page of this.#ahead) this.#pager.letGo(page);
    if (this.#before !== 0) this.#pager.letGo(this.#before);
    if (this.#last !== 0) this.#pager.letGo(this.#last);
    this.#ahead = [];
    this.#before = 0;
    this.#last = 0;
  }
}
