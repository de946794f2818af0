/** The failures that several parts of the store meet, worded once. */
import { AiokvError, SystemCallError } from '@aiokv/core';

/** Bytes that are not what was written: never returned as a value. */
export function corrupt(what: string, cause?: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_CORRUPT',
    `${what}: restore a backup, a copy of the directory that was made while the store was closed (docs/durability.md)`,
    cause === undefined ? undefined : { cause },
  );
}

/** Checks the result of a transfer that must not be short. */
export function requireFull(syscall: string, result: number, expectedBytes: number, path: string): void {
  if (result < 0) throw new SystemCallError(syscall, result, path);
  if (result !== expectedBytes) {
    throw new AiokvError('ERR_AIOKV_IO', `${syscall} of ${expectedBytes} bytes of ${path} transferred ${result}`);
  }
}

/** The index has as many segments as the root of a checkpoint can name, or nearly. */
export function indexTooLarge(path: string, segmentBytes: number): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_STORE_TOO_LARGE',
    `${path} takes no more keys: its index is as large as segments of ${segmentBytes} bytes allow. Delete keys, or copy ` +
      'the store into one that is made with larger segmentBytes; reads and deletions go on',
  );
}

/** The file is as large as the format allows. */
export function fileTooLarge(path: string): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_STORE_TOO_LARGE',
    `${path} is as large as a store can be, 128 TiB: spread the keys over several stores; reads go on`,
  );
}

/** A place of the device that could not be read when the store was opened, though it may hold what was acknowledged. */
export function unreadable(path: string, fileOffset: number, cause: unknown): AiokvError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AiokvError(
    'ERR_AIOKV_IO',
    `${path} cannot be read at byte ${fileOffset} (${reason}): check the device, then open the store again`,
    { cause },
  );
}

/** A place that was read twice. */
export function twoAnswers(path: string, fileOffset: number): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_IO',
    `byte ${fileOffset} of ${path} was read twice and differed: check the device, then open the store again`,
  );
}

export function closed(): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', 'the store is closed: open it again');
}
