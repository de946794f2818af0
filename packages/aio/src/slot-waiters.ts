/**
 * Requests of the promise form that wait for a slot, in the order of their calls.
 *
 * `Pipeline.#afterDispatch` wakes them whenever slots may have become free: by a completion, a withdrawal or a synchronous
 * read. A queue without a free slot always has requests on their way, so that happens.
 *
 * WAIT-1. A request that ends while it waits (aborted, or past its deadline) is released soon. If nothing ever completes,
 *     callers that give up and try again do not use more and more memory.
 */
import { Fifo } from '@aiokv/core';

/** A request that wants a slot. */
export interface SlotWaiter {
  /** Whether it has ended already. */
  readonly isSettled: boolean;
  /** Takes a slot. Called once, when one is free. */
  start(): void;
}

/** Fewer ended requests are not worth a walk. */
const FEW_ENDED = 64;

export class SlotWaiters {
  #waiters = new Fifo<SlotWaiter>();
  /** Of the waiters, those that have ended. */
  #ended = 0;

  get isEmpty(): boolean {
    return this.#waiters.length === this.#ended;
  }

  push(waiter: SlotWaiter): void {
    this.#waiters.push(waiter);
  }

  /** To be called when a waiter has ended that was pushed and not started (WAIT-1). */
  noteEnded(): void {
    this.#ended++;
    if (this.#ended < FEW_ENDED || this.#ended * 2 < this.#waiters.length) return;
    const living = new Fifo<SlotWaiter>();
    for (const waiter of this.#waiters) if (!waiter.isSettled) living.push(waiter);
    this.#waiters = living;
    this.#ended = 0;
  }

  /** The one that has waited longest, or undefined. */
  shift(): SlotWaiter | undefined {
    for (;;) {
      const waiter = this.#waiters.shift();
      if (waiter === undefined || !waiter.isSettled) return waiter;
      this.#ended--;
    }
  }
}
