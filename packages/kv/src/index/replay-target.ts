/**
 * What a replay of the log needs from the index. It is in this folder because recovery builds on the index, not the
 * other way round.
 */
import type { Sequence } from '@aiokv/core';

/**
 * Receives the replayed records. A key starts at `bytes[keyAt]` and is valid only during the call. The value is behind it
 * if `inlineBytesOf` says that it is needed.
 */
export interface ReplayTarget {
  /**
   * @param lengthWord see `lengthWordOf`
   * @param expiresAtMs 0: never
   */
  replayPut(
    bytes: Uint8Array,
    keyAt: number,
    keyBytes: number,
    fileOffset: number,
    lengthWord: number,
    sequence: Sequence,
    expiresAtMs: number,
  ): void;
  replayDelete(bytes: Uint8Array, keyAt: number, keyBytes: number, sequence: Sequence): void;
  /** The keys from that of `fromBytes` at `bytes[at]` on are deleted that are below the key behind it; none: to the last. */
  replayDeleteRange(bytes: Uint8Array, at: number, fromBytes: number, toBytes: number, sequence: Sequence): void;
  /** Whether it has so many that it should take no more before they were merged. */
  readonly hasMany: boolean;
  /** All records through `sequence`, the end of a batch, have been replayed. */
  admitted(sequence: Sequence): void;
}
