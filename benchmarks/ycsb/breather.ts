/**
 * Gives the event loop a turn when the clients have long kept it from one. A database that answers from memory
 * settles its promises without leaving the queue of microtasks, and timers would starve: no status lines, no
 * end by maxexecutiontime.
 */
const LONGEST_WITHOUT_TURN_MS = 5;

export class Breather {
  readonly #longestMs: number;
  #lastTurnMs = performance.now();
  #turn: Promise<void> | null = null;

  /** @param longestMs for so long clients may keep the loop from a turn */
  constructor(longestMs = LONGEST_WITHOUT_TURN_MS) {
    this.#longestMs = longestMs;
  }

  due(): boolean {
    return performance.now() - this.#lastTurnMs > this.#longestMs;
  }

  /** Settles in the next turn of the event loop; the same one for all who ask before it. */
  turn(): Promise<void> {
    this.#turn ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#turn = null;
        this.#lastTurnMs = performance.now();
        resolve();
      });
    });
    return this.#turn;
  }
}
