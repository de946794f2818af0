/**
 * Whether a store goes past the page cache, and what it stands on where it does not.
 *
 * ```
 *   directIo    the platform has O_DIRECT     the file system refuses it        the platform has none
 *   'auto'      Linux AIO                     page cache, threads, a warning    page cache, threads, a warning
 *   'require'   Linux AIO                     ERR_AIOKV_NO_DIRECT_IO            ERR_AIOKV_NO_DIRECT_IO
 *   'off'       page cache, threads           page cache, threads               page cache, threads
 * ```
 *
 * What stands on threads keeps the lock, the blocks and the holes of its platform. Linux AIO would carry buffered requests out
 * inside of `io_submit`, and block the event loop.
 */
import { AiokvError } from '@aiokv/core';
import type { Platform } from '@aiokv/aio';
import { hasCode } from '../failure/system-failure.ts';

export const DIRECT_IO = ['auto', 'require', 'off'] as const;
export type DirectIo = (typeof DIRECT_IO)[number];

/** How an open store reaches its file. */
export interface IoStatistics {
  /** Past the page cache, with O_DIRECT. */
  readonly isDirect: boolean;
  readonly platform: Platform['name'];
  /** What carries the requests: `'libaio'`, or `'threads'`. */
  readonly engine: string;
  /** Why it is not direct; null if it is. */
  readonly reason: string | null;
}

/** The platform, with all files through the page cache and all requests on libuv's threads. A simulated disk stays as it is. */
export function withoutDirectIo(platform: Platform): Platform {
  if (platform.name === 'simulated') return platform;
  return {
    name: platform.name,
    open: (path, options) => platform.open(path, { ...options, direct: 'never' }),
    createEngine: (options) => platform.createEngine({ ...options, engine: 'threads' }),
    list: (directory) => platform.list(directory),
    makeDirectory: (directory) => platform.makeDirectory(directory),
    rename: (from, to) => platform.rename(from, to),
    remove: (path) => platform.remove(path),
    syncDirectory: (directory) => platform.syncDirectory(directory),
  };
}

/** @throws AiokvError ERR_AIOKV_NO_DIRECT_IO if the platform has no direct I/O at all */
export function requireDirectIo(platform: Platform): void {
  if (platform.name !== 'portable') return;
  throw new AiokvError(
    'ERR_AIOKV_NO_DIRECT_IO',
    "the portable platform has no direct I/O: leave directIo: 'require' out, or use linuxPlatform()",
  );
}

/**
 * Whether an opening failed because the file system has no direct I/O. Most of these say so when the file is opened, some
 * when it is read or written (EINVAL).
 */
export function isDirectIoRefused(error: unknown): boolean {
  return hasCode(error, 'ERR_AIOKV_NO_DIRECT_IO') || hasCode(error, 'EINVAL');
}

/** Reasons that were told in this thread. */
const told = new Set<string>();

/** Tells once of each reason. Whoever asks for it with `directIo: 'off'` is not told. */
export function warnOfPageCache(path: string, reason: string): void {
  if (told.has(reason)) return;
  told.add(reason);
  process.emitWarning(
    `${path} goes through the page cache and libuv's threads, because ${reason}: the guarantees are the same, the ` +
      "speed is not. directIo: 'require' refuses to open such a store, 'off' is silent",
    { type: 'AiokvWarning', code: 'AIOKV_NO_DIRECT_IO' },
  );
}
