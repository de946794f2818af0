/**
 * The errors of requests that failed: Node's shape (`code`, `errno`, `syscall`), the file, and what to do.
 */
import { constants } from 'node:os';
import { AiokvError, SystemCallError } from '@aiokv/core';
import type { Opcode } from './engine.ts';
import type { DirectFile } from './platform.ts';

export const SYSCALL_NAMES = {
  0: 'read',
  1: 'write',
  2: 'fsync',
  3: 'fdatasync',
  5: 'poll',
  7: 'readv',
  8: 'writev',
} as const;

const { EAGAIN, EBADF, EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS } = constants.errno;

/** What to do, by error number. */
const REMEDIES: ReadonlyMap<number, string> = new Map([
  [EAGAIN, 'the kernel is short of memory for requests: try again later, or use fewer requests in flight'],
  [EBADF, 'the file is closed, or was not opened for this'],
  [EDQUOT, 'the disk quota is used up: delete files, or have the quota raised'],
  [EFBIG, 'a file may not be that large here: raise the limit (ulimit -f), or use a file system with larger files'],
  [EIO, "the device failed: look at the kernel's log (dmesg)"],
  [EMFILE, 'this process has too many files open: close some, or raise the limit (ulimit -n)'],
  [ENFILE, 'the system has too many files open: raise the limit (sysctl fs.file-max)'],
  [ENOMEM, 'the kernel is short of memory'],
  [ENOSPC, 'the device is full: delete files, or use a larger one'],
  [EROFS, 'the file system is mounted read-only: open the file with readOnly: true, or mount it for writing'],
]);

/** What to do about an error number, of either sign; empty where there is no advice. */
export function remedyOf(errno: number): string {
  return REMEDIES.get(Math.abs(errno)) ?? '';
}

/** The error of a system call on a named thing, with the remedy. */
export function systemCallError(syscall: string, errno: number, name: string, cause?: unknown): SystemCallError {
  const detail = [name, remedyOf(errno)].filter((part) => part !== '').join(': ');
  return new SystemCallError(syscall, errno, detail, cause === undefined ? {} : { cause });
}

/** The error of a request; `file` is null for a poll. */
export function requestError(syscall: (typeof SYSCALL_NAMES)[Opcode], result: number, file: DirectFile | null) {
  return systemCallError(syscall, result, file?.path ?? '');
}

/** The error of a call on a file that was closed. */
export function fileClosed(path: string): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', `${path} was closed: open it again`);
}
