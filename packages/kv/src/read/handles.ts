/**
 * What callers have to end and may lose: iterators, snapshots. Each has a handle, which the caller has, and something that it holds,
 * which is here and does not refer to the handle. When the handle is collected, what it held is let go: the last resort, for a
 * collection may take hours to come.
 *
 * ```
 *   begin ─► young: the handle is kept here ─ a second ─► old: the handle is watched ─ collected ─► abandoned, a warning
 *   end  ◄────────┴──────────────────────────────────────────────┘
 * ```
 *
 * HANDLES-1. A handle is watched only once it is old. To begin and end that costs 1.5 to 3 us, half of what a short range in memory
 *     takes, and nearly all iterators end sooner.
 * HANDLES-2. It is said once for each store and kind: a loop that loses iterators would flood its output.
 */
import type { Clock } from '@aiokv/core';

/** What a handle holds. */
export interface Held {
  /** The handle was collected. Returns whether it had not ended. */
  abandon(): boolean;
}

/** HANDLES-1. */
const YOUNG_MS = 1000;

export class Handles<T extends Held> implements Iterable<T> {
  readonly #what: string;
  readonly #clock: Clock;
  /** HANDLES-1. */
  readonly #young = new Map<T, object>();
  readonly #old = new Set<T>();
  readonly #registry = new FinalizationRegistry<T>((held) => this.#lost(held));
  #cancel: (() => void) | null = null;
  /** HANDLES-2. */
  #isTold = false;

  /** @param what they are and how they are ended, for the warning */
  constructor(what: string, clock: Clock) {
    this.#what = what;
    this.#clock = clock;
  }

  /** Those that have not ended. */
  get count(): number {
    return this.#young.size + this.#old.size;
  }

  /** The end of one is allowed during the walk. */
  *[Symbol.iterator](): Iterator<T> {
    yield* this.#old;
    yield* this.#young.keys();
  }

  begin(held: T, handle: object): void {
    this.#young.set(held, handle);
    this.#cancel ??= this.#clock.after(YOUNG_MS, this.#watchYoung, false);
  }

  /** Has no effect on one that has ended. */
  end(held: T): void {
    if (!this.#young.delete(held) && this.#old.delete(held)) this.#registry.unregister(held);
  }

  /** Call it when all have ended. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  readonly #watchYoung = (): void => {
    this.#cancel = null;
    for (const [held, handle] of this.#young) {
      this.#registry.register(handle, held, held);
      this.#old.add(held);
    }
    this.#young.clear();
  };

  #lost(held: T): void {
    this.#old.delete(held);
    if (!held.abandon() || this.#isTold) return;
    this.#isTold = true;
    process.emitWarning(
      `${this.#what} before it was lost: until then it kept memory and space. Later ones are ended without a word`,
      { type: 'AiokvWarning', code: 'AIOKV_ABANDONED' },
    );
  }
}
