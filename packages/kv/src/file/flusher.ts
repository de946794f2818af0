/**
 * Flushes of the data file (fdatasync).
 *
 * ```
 *   idle ── request ──► flushing ── request ──► flushing, and others wait ──┐
 *     ▲                    │                            │                   │
 *     └─── completed ──────┘            completed: the next one begins ◄────┘
 * ```
 *
 * FLUSH-1. One flush of the file is under way at a time, whoever asked for it. The failure of one marks clean what
 *     another would cover, and the kernel tells only one of two that wait: the other would acknowledge what is lost.
 * FLUSH-2. A flush covers what was complete when it began. Who asks while one is under way is served by the next.
 *
 * It does not know what is covered: whoever asks is told when its flush begins.
 */
import { Fifo, SystemCallError, assert } from '@aiokv/core';
import type { CompletionHandler, DirectFile, Queue } from '@aiokv/aio';

/** Whoever asks for a flush; each is called once a request. */
export interface FlushClient {
  /** The flush begins now: it covers what is complete at this moment. */
  flushBegins(): void;
  /** It is done, or has failed. */
  flushEnded(error: Error | null): void;
}

/** A flush that someone waits for; what it covers is known to whoever waits. */
class FlushWaiter implements FlushClient {
  readonly promise: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  flushBegins(): void {
    // Everything that it waits for was written before it asked.
  }

  flushEnded(error: Error | null): void {
    if (error === null) this.#resolve();
    else this.#reject(error);
  }
}

export class Flusher implements CompletionHandler {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #waiting = new Fifo<FlushClient>();
  readonly #served = new Fifo<FlushClient>();
  #isFlushing = false;

  /** Requests of the queue that are under way at once, at most. */
  static readonly mostRequests = 1;

  constructor(queue: Queue, file: DirectFile) {
    this.#queue = queue;
    this.#file = file;
  }

  get isFlushing(): boolean {
    return this.#isFlushing;
  }

  /** Asks for a flush that begins in this call if none is under way, else when that one has ended. */
  request(client: FlushClient): void {
    this.#waiting.push(client);
    if (!this.#isFlushing) this.#begin();
  }

  /**
   * Settles when a flush that began after the call is done.
   *
   * @throws SystemCallError
   */
  flush(): Promise<void> {
    const waiter = new FlushWaiter();
    this.request(waiter);
    return waiter.promise;
  }

  /** @internal The flush has completed. */
  complete(_token: number, result: number): void {
    this.#isFlushing = false;
    const error = result < 0 ? new SystemCallError('fdatasync', result, this.#file.path) : null;
    for (const client of this.#served.drain()) client.flushEnded(error);
    if (!this.#waiting.isEmpty && !this.#isFlushing) this.#begin();
  }

  #begin(): void {
    assert(!this.#isFlushing, 'FLUSH-1: one flush at a time');
    this.#isFlushing = true;
    for (const client of this.#waiting.drain()) {
      this.#served.push(client);
      client.flushBegins();
    }
    const accepted = this.#queue.submitFdatasync(this.#file, this, 0);
    assert(accepted, 'the queue has room for a flush');
  }
}
