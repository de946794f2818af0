/**
 * What a replay of the log needs of the index. It stands here because recovery is built on the index, not the other way
 * round.
 */
import type { Sequence } from '@aiokv/core';

/** What the records that count are told to; the key is `bytes[keyAt]` and on, valid during the call. */
export interface ReplayTarget {
  /** @param lengthWord see `lengthWordOf` */
  replayPut(bytes: Uint8Array, keyAt: number, keyBytes: number, fileOffset: number, lengthWord: number): void;
  replayDelete(bytes: Uint8Array, keyAt: number, keyBytes: number): void;
  /** All records through `sequence`, which does not lie inside a batch, were told. */
  admitted(sequence: Sequence): void;
  /** It should merge what it was told before it is told more. */
  readonly isFull: boolean;
  merge(): Promise<boolean>;
}
