/**
 * Says whether a key was written since a read of it was called: if it was, what the read brings is not the newest value. Keys
 * share a few thousand places, so a key may be said to be written when it was another.
 */
import type { Sequence } from '@aiokv/core';

const PLACES = 4096;

export class RecentWrites {
  /** The sequence of the last write of a key with this hash, modulo their number. */
  readonly #last = new Float64Array(PLACES);
  #lastRange = 0;

  /** A key with this hash was written. */
  note(hash: number, sequence: Sequence): void {
    this.#last[hash & (PLACES - 1)] = sequence;
  }

  /** Some keys were deleted. */
  noteRange(sequence: Sequence): void {
    this.#lastRange = sequence;
  }

  /** Whether no key with this hash was written after the write with this sequence. */
  areOlder(hash: number, than: Sequence): boolean {
    return (this.#last[hash & (PLACES - 1)] as number) <= than && this.#lastRange <= than;
  }
}
