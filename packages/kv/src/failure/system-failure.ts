/**
 * Turns a failed system call, during an opening or when the file grows, into an error of the store. The cause decides
 * the code, and the message has a remedy for that cause. docs/errors.md, "What the system refuses". Tests try each row.
 */
import { AiokvError } from '@aiokv/core';
import type { ErrorCode } from '@aiokv/core';

interface Meaning {
  readonly code: ErrorCode;
  /** Why, and the remedy. */
  readonly text: string;
}

const FULL = 'ERR_AIOKV_NO_SPACE';
const DENIED: Meaning = {
  code: 'ERR_AIOKV_PERMISSION',
  text: 'the user of this process has no permission: grant it, or use another directory',
};
const TOO_MANY: ErrorCode = 'ERR_AIOKV_TOO_MANY_FILES';
const NO_PATH: ErrorCode = 'ERR_AIOKV_NOT_A_STORE';
const UNLOCKABLE: Meaning = {
  code: 'ERR_AIOKV_UNSUPPORTED',
  text: 'its file system does not support that: use a directory on ext4, xfs or btrfs',
};

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOSPC: { code: FULL, text: 'the device is full: free space on the device' },
  EDQUOT: { code: FULL, text: 'the disk quota is used up: free space on the device, or raise the quota' },
  EFBIG: {
    code: FULL,
    text: 'its size is limited: raise the limit of the process (ulimit -f), or use a file system for larger files',
  },
  EROFS: {
    code: 'ERR_AIOKV_READ_ONLY',
    text: 'the file system is read-only: mount it for writing. The kernel log may say why it is read-only',
  },
  EACCES: DENIED,
  EPERM: DENIED,
  EMFILE: { code: TOO_MANY, text: 'the process has too many files open: close some, or raise its limit (ulimit -n)' },
  ENFILE: { code: TOO_MANY, text: 'the system has too many files open: close some, or raise fs.file-max' },
  ENOTDIR: { code: NO_PATH, text: 'it is a file, or a part of the path is one: open a directory' },
  EEXIST: { code: NO_PATH, text: 'a file or a broken link has that name: remove it, or open another directory' },
  EISDIR: { code: NO_PATH, text: 'it is a directory, but must be a file: open another directory' },
  ELOOP: { code: NO_PATH, text: 'its symbolic links form a loop: repair them, or open another directory' },
  ENAMETOOLONG: {
    code: NO_PATH,
    text: 'a name in the path, or the whole path, is too long: open a directory with a shorter path',
  },
  ENOENT: { code: 'ERR_AIOKV_NOT_FOUND', text: 'it does not exist: a link is broken, or it was just removed' },
  EOPNOTSUPP: UNLOCKABLE,
  ENOTSUP: UNLOCKABLE,
  ENOLCK: UNLOCKABLE,
  ENOSYS: UNLOCKABLE,
};

/**
 * @param what the thing and what failed, such as "/data/store/data.aiokv cannot grow by 4194304 bytes"
 * @param cause the error of the system call, or anything else that was thrown
 * @returns an error with the code for this cause; ERR_AIOKV_IO for any other cause
 */
export function systemFailure(what: string, cause: unknown): AiokvError {
  const { code } = (cause ?? {}) as { code?: unknown };
  const meaning = typeof code === 'string' && Object.hasOwn(MEANINGS, code) ? MEANINGS[code] : undefined;
  if (meaning !== undefined) return new AiokvError(meaning.code, `${what}, ${meaning.text}`, { cause });
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AiokvError('ERR_AIOKV_IO', `${what} (${reason}): check the device and the file system`, { cause });
}

/** Does `work` and turns its failure into `systemFailure`. Errors that are ours already pass unchanged. */
export async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw isOurs(cause) ? cause : systemFailure(what, cause);
  }
}

/** Whether the error or its cause has this code. */
export function hasCode(error: unknown, code: string): boolean {
  const { code: own, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  return own === code || cause?.code === code;
}

function isOurs(cause: unknown): cause is Error {
  const { code } = (cause ?? {}) as { code?: unknown };
  return cause instanceof Error && typeof code === 'string' && code.startsWith('ERR_AIOKV_');
}
