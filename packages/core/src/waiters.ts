/**
 * The list of waiters of the whole project. A waiter that is woken looks at the whole state again and waits once more if
 * need be; being woken promises nothing.
 *
 * Each place that owns such a list says who wakes it in each way in which what it waits for can end.
 */
import { Fifo } from './fifo.ts';

/** Settled once, when what it waits for has ended. */
export interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

export class Waiters {
  readonly #waiters = new Fifo<Waiter>();

  get isEmpty(): boolean {
    return this.#waiters.isEmpty;
  }

  get length(): number {
    return this.#waiters.length;
  }

  /** Settles when the list is woken, and fails when the list fails. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  add(waiter: Waiter): void {
    this.#waiters.push(waiter);
  }

  /** Wakes the longest waiter; false when nobody waits. */
  wakeOne(): boolean {
    const waiter = this.#waiters.shift();
    waiter?.resolve();
    return waiter !== undefined;
  }

  /** Wakes all that wait now, but not those that begin to wait meanwhile. */
  wakeAll(): void {
    const waiters = this.#waiters;
    // A loop, not `drain`: this is called for every write and flush, mostly with nobody waiting.
    for (let left = waiters.length; left > 0 && !waiters.isEmpty; left--) waiters.shift()?.resolve();
  }

  /** As `wakeAll`, with an error. */
  failAll(error: Error): void {
    for (const waiter of this.#waiters.drain()) waiter.reject(error);
  }
}
