/** The failures that several parts of the store meet, worded once. */
import { AiokvError, SystemCallError } from '@aiokv/core';

/** Bytes that are not what was written: never returned as a value. */
export function corrupt(what: string, cause?: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_CORRUPT',
    `${what}: restore the store from a backup`,
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

/** What every call gets after a write or a flush has failed. */
export function latchedBy(cause: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_LATCHED',
    'a write to the device failed, so what is on it is uncertain: close the store, mend the device, open it again',
    { cause },
  );
}

export function closed(): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', 'the store is closed: open it again');
}
