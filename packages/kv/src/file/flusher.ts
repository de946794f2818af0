/**
 * Flushes of the data file (fdatasync).
 *
 * ```
 *   idle ── request ──► flushing ── request ──► flushing, and others wait ──┐
 *     ▲                    │                            │                   │
 *     └─── completed ──────┘            completed: the next one begins ◄────┘
 * ```
 *
 * FLUSH-1. At most one flush of the file is in progress. When a flush fails, the kernel marks the pages clean and
 *     reports the error to only one of two concurrent flushes. The other would succeed, and acknowledge lost data. A write
 *     with RWF_DSYNC (LOG-8) may be under way beside it: it is direct, so no page of it can be marked clean, and nobody
 *     else is told whether it failed.
 * FLUSH-2. A flush covers the writes that were complete when it began. A request during a flush is served by the next
 *     one.
 * FLUSH-3. No flush begins after one has failed, or after the log has failed. It might succeed, and prove nothing.
 *
 * The flusher does not know what a flush covers; it tells each client when its flush begins.
 */
import { Fifo, SystemCallError, assert } from '@aiokv/core';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { CompletionHandler, DirectFile, Queue } from '@aiokv/aio';

/** Requests flushes. Each method is called once per request. */
export interface FlushClient {
  /** The flush begins now and covers the writes that are complete at this moment. */
  flushBegins(): void;
  /** The flush is done, or has failed. */
  flushEnded(error: Error | null): void;
}

/** A flush as a promise. */
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
    // The writes to be covered were complete before the request.
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
  readonly #gate: FailureGate;
  #isFlushing = false;
  /** How a flush failed, or null. */
  #failure: Error | null = null;

  /** The most requests that it has in the queue at once. */
  static readonly mostRequests = 1;

  constructor(queue: Queue, file: DirectFile, gate: FailureGate) {
    this.#gate = gate;
    this.#queue = queue;
    this.#file = file;
  }

  get isFlushing(): boolean {
    return this.#isFlushing;
  }

  /**
   * Requests a flush. It begins during this call or, if one is in progress, when that one has ended. After a failure the
   * client is told during this call.
   */
  request(client: FlushClient): void {
    this.#waiting.push(client);
    if (!this.#isFlushing) this.#next();
  }

  /**
   * Requests a flush; settles when it is done.
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
    this.#failure ??= error;
    for (let left = this.#served.length; left > 0; left--) this.#served.shift()?.flushEnded(error);
    if (!this.#isFlushing) this.#next();
  }

  #next(): void {
    // FLUSH-3.
    const failure = this.#failure ?? this.#gate.log;
    if (failure !== null) for (const client of this.#waiting.drain()) client.flushEnded(failure);
    else if (!this.#waiting.isEmpty) this.#begin();
  }

  #begin(): void {
    assert(!this.#isFlushing, 'FLUSH-1: one flush at a time');
    this.#isFlushing = true;
    for (let client = this.#waiting.shift(); client !== undefined; client = this.#waiting.shift()) {
      this.#served.push(client);
      client.flushBegins();
    }
    const accepted = this.#queue.submitFdatasync(this.#file, this, 0);
    assert(accepted, 'the queue has room for a flush');
  }
}
