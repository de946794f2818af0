/**
 * Knows whether the store has failed or was closed, why, and what is still allowed. Every path asks this one object.
 *
 * ```
 *   healthy ──── a leaf that the index needs cannot be read ───► closed to writes
 *      │                                                              │
 *      └─ a write or a flush of the file failed ──► log failed ◄──────┘
 *
 *                     new writes   flush, close's last writes   reads of the device   reads of unflushed records
 *   healthy               yes                yes                        yes                     yes
 *   closed to writes      no                 yes                        yes                     yes
 *   log failed            no                 no                         yes                     no
 * ```
 *
 * GATE-1. The first failure of a kind counts and stays until the store is opened again. After a failed write or flush
 *     the content of the device is uncertain, and a later flush that succeeds proves nothing (Rebello et al., ATC '20).
 *
 * The gate notifies nobody. The log writer settles its own waiters when it fails. All other code that waits checks the
 * gate again when it wakes up.
 */
import { AiokvError } from '@aiokv/core';
import { closed } from './errors.ts';

export class FailureGate {
  #log: AiokvError | null = null;
  #writes: AiokvError | null = null;
  #isClosed = false;

  /** Refuses every call from now on. What was called before goes on. */
  close(): void {
    this.#isClosed = true;
  }

  /** @throws AiokvError ERR_AIOKV_CLOSED */
  requireOpen(): void {
    if (this.#isClosed) throw closed();
  }

  /** Why nothing more is written to the device; null while the log is healthy. */
  get log(): AiokvError | null {
    return this.#log;
  }

  /** Why no more writes are admitted; null while they are. */
  get writes(): AiokvError | null {
    return this.#writes;
  }

  /** @throws AiokvError ERR_AIOKV_LATCHED if no more writes are admitted */
  requireWritable(): void {
    if (this.#writes !== null) throw this.#writes;
  }

  /**
   * Records that a write or a flush of the file failed. Returns the error for all callers, and whether it is the first.
   */
  failLog(cause: unknown): { readonly error: AiokvError; readonly isFirst: boolean } {
    const isFirst = this.#log === null;
    this.#log ??= latched('a write or flush failed, so it is uncertain what is on the device', cause);
    this.#writes = this.#log;
    return { error: this.#log, isFirst };
  }

  /** Records that a leaf cannot be read, so that the index can take no more entries. */
  failIndex(cause: unknown): void {
    this.#writes ??= latched(
      'a part of the index cannot be read, so the store takes no more writes; reads still work',
      cause,
    );
  }
}

function latched(what: string, cause: unknown): AiokvError {
  const why = cause instanceof Error ? ` (${cause.message})` : '';
  return new AiokvError(
    'ERR_AIOKV_LATCHED',
    `${what}${why}: close the store, check the device, then open the store again`,
    { cause },
  );
}
