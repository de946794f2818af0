/**
 * Requests of the promise form that wait for a slot, in the order of their calls.
 *
 * Who wakes them: `Pipeline.#afterDispatch`, whenever slots may have become free, by a completion, a withdrawal or a
 * synchronous read. A queue with all slots taken always has requests on their way, so it comes.
 *
 * WAIT-1. A request that ended while it waited (aborted, or over its deadline) is let go of at once, and its place soon:
 *     where nothing ever completes, callers that give up and try again need no more and more memory.
 */
import { Fifo } from '@aiokv/core';

/** A request that wants a slot. */
export interface SlotWaiter {
  /** Whether it has ended already. */
  readonly isSettled: boolean;
  /** Takes a slot. Called once, when one is free. */
  start(): void;
}

/** So many places of ended requests are not worth the walk. */
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
