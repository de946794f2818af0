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

/** Why a file cannot grow, and the remedy. Everything else is trouble with the device or the file system. */
const GROWTH_REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'the device is full: free space on the device',
  EDQUOT: 'the disk quota is used up: free space on the device, or raise the quota',
  EFBIG: 'its size is limited: raise the limit of the process (ulimit -f), or use a file system for larger files',
};

/**
 * What a file that could not be made larger means for whoever needs the room. The cause decides the code, and so whether
 * freeing space can help.
 *
 * @param what names the thing and what failed, such as "/data/store/data.aiokv cannot grow by 4194304 bytes"
 * @param cause a `SystemCallError` of `preallocate`, or whatever else it threw
 */
export function growthFailed(what: string, cause: unknown): AiokvError {
  const code = String((cause as { code?: unknown } | null)?.code);
  const remedy = Object.hasOwn(GROWTH_REMEDIES, code) ? GROWTH_REMEDIES[code] : undefined;
  if (remedy !== undefined) return new AiokvError('ERR_AIOKV_NO_SPACE', `${what}, ${remedy}`, { cause });
  if (code === 'EROFS') {
    const message = `${what}, the file system is read-only: mount it for writing; the kernel log says why it is`;
    return new AiokvError('ERR_AIOKV_IO', message, { cause });
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AiokvError('ERR_AIOKV_IO', `${what} (${reason}): check the device and the file system`, { cause });
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
