/**
 * Whether the store has failed, why, and what is still allowed: the one object that every path asks.
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
 * GATE-1. The first failure of a kind counts and stays until the store is opened again: what a failed write or flush has
 *     left on the device is uncertain, and a flush that succeeds later proves nothing (Rebello et al., ATC '20).
 *
 * It tells nobody. The log writer settles its own waiters when it fails; every other waiting place looks here again
 * when it is woken.
 */
import { AiokvError } from '@aiokv/core';

export class FailureGate {
  #log: AiokvError | null = null;
  #writes: AiokvError | null = null;

  /** Why nothing more goes to the device, or null. */
  get log(): AiokvError | null {
    return this.#log;
  }

  /** Why no write is admitted any more, or null. */
  get writes(): AiokvError | null {
    return this.#writes;
  }

  /** @throws AiokvError ERR_AIOKV_LATCHED when the store takes no more writes */
  requireWritable(): void {
    if (this.#writes !== null) throw this.#writes;
  }

  /** A write or a flush of the file has failed. Returns the error that everyone gets; false in `isFirst` after the first. */
  failLog(cause: unknown): { readonly error: AiokvError; readonly isFirst: boolean } {
    const isFirst = this.#log === null;
    this.#log ??= latched('a write to the device failed, so what is on it is uncertain', cause);
    this.#writes = this.#log;
    return { error: this.#log, isFirst };
  }

  /** The index cannot take any more entries: a leaf that it needs for that cannot be read. */
  failIndex(cause: unknown): void {
    this.#writes ??= latched('a part of the index cannot be read, so no more writes are taken; reads go on', cause);
  }
}

function latched(what: string, cause: unknown): AiokvError {
  const why = cause instanceof Error ? ` (${cause.message})` : '';
  return new AiokvError(
    'ERR_AIOKV_LATCHED',
    `${what}${why}: close the store, look at the device, open the store again`,
    { cause },
  );
}
