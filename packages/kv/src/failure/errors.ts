/** Errors that several parts of the store throw. */
import { AiokvError, AiokvRangeError, SystemCallError } from '@aiokv/core';

/** Bytes on the device are not what was written. */
export function corrupt(what: string, cause?: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_CORRUPT',
    `${what}: restore a backup, a copy of the directory that was made while the store was closed (docs/durability.md)`,
    cause === undefined ? undefined : { cause },
  );
}

/**
 * Checks the result of a transfer that must be complete.
 *
 * @throws SystemCallError for a negative result; AiokvError ERR_AIOKV_IO for a short transfer
 */
export function requireFull(syscall: string, result: number, expectedBytes: number, path: string): void {
  if (result < 0) throw new SystemCallError(syscall, result, path);
  if (result !== expectedBytes) {
    throw new AiokvError('ERR_AIOKV_IO', `${syscall} of ${expectedBytes} bytes of ${path} transferred ${result}`);
  }
}

/** Index and segments are nearly as many as the root of a checkpoint can lead to (SLOTS-4). */
export function indexTooLarge(path: string, segmentBytes: number): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_STORE_TOO_LARGE',
    `${path} takes no more keys: it is as large as segments of ${segmentBytes} bytes allow. Delete keys, or copy ` +
      'the store to one with larger segmentBytes. Reads and deletes still work',
  );
}

/** The file is as large as the format allows (SLOTS-4). */
export function fileTooLarge(path: string): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_STORE_TOO_LARGE',
    `${path} has the largest size of a store, 128 TiB: spread the keys over several stores. Reads still work`,
  );
}

/** A block could not be read during the opening of the store, and it may hold acknowledged data. */
export function unreadable(path: string, fileOffset: number, cause: unknown): AiokvError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AiokvError(
    'ERR_AIOKV_IO',
    `${path} cannot be read at byte ${fileOffset} (${reason}): check the device, then open the store again`,
    { cause },
  );
}

/** Two reads of the same bytes during the opening of the store gave different results. */
export function twoAnswers(path: string, fileOffset: number): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_IO',
    `two reads of ${path} at byte ${fileOffset} differ: check the device, then open the store again`,
  );
}

export function closed(): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', 'the store is closed: open it again');
}

export function compacting(): AiokvError {
  return new AiokvError('ERR_AIOKV_COMPACTING', 'a compaction is under way: wait for it, or abort it with its signal');
}

export function compactionAborted(reason: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_ABORTED',
    'the compaction was aborted; what is in order by then stays so: call compact again to go on',
    { cause: reason },
  );
}

export function readAborted(reason: unknown): AiokvError {
  return new AiokvError('ERR_AIOKV_ABORTED', 'the read was aborted by its signal: ask again', { cause: reason });
}

export function snapshotReleased(): AiokvError {
  return new AiokvError('ERR_AIOKV_SNAPSHOT_ENDED', 'the snapshot was released: take another one');
}

/** SNAPSHOT-3. */
export function snapshotTooOld(): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_SNAPSHOT_ENDED',
    'the snapshot has ended, because old ones held too much memory: take another one, release snapshots earlier, or give ' +
      'the store more memoryBytes',
  );
}

export function conflict(): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_CONFLICT',
    'others have written what the transaction has read, or so much that this is not known; nothing was written: run it again',
  );
}

export function transactionEnded(): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_TRANSACTION_ENDED',
    'the transaction was committed or rolled back: begin another one',
  );
}

/** @param what its 'writes' or 'reads' */
export function transactionTooLarge(what: string, mostBytes: number): AiokvRangeError {
  return new AiokvRangeError(
    'ERR_AIOKV_TRANSACTION_TOO_LARGE',
    `the ${what} of a transaction take at most ${mostBytes} bytes of memory: split it, or open with a larger maxBatchBytes`,
  );
}
