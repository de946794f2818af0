/**
 * The lock of a file without foreign functions. Node has no call for it, so each system has its own way to one that the kernel
 * keeps and that ends with the process, however it ends.
 *
 * | system | lock | why this one |
 * |---|---|---|
 * | Linux | `flock(2)` on the file itself, taken by the program `flock` on a descriptor that it inherits | the lock belongs to the open file, not to who took it, so it stays with ours when the program has ended. It is the lock of the Linux platform: stores with and without foreign functions keep each other out, over containers and NFS as well |
 * | macOS, BSD | `O_EXLOCK` on a second descriptor of the file | `flock(2)` in the call that opens |
 * | Windows | a file beside it, opened with no sharing (`UV_FS_O_EXLOCK`) | the file itself is open more than once |
 * | others | none: refused | |
 *
 * PLOCK-1. There is no way without a lock. Where it cannot be taken for another reason than that somebody has it, that is an error.
 * PLOCK-2. Nothing has to be removed for a lock to be free. So what a killed process has left behind refuses nobody, and no two
 *     openers can both find that it is stale.
 *
 * A pid in a file would keep neither: two openers that find it stale replace it one after the other, and who it names may be in
 * another container. An abstract socket is one for each network namespace.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AiokvError } from '@aiokv/core';
import type { Host } from './host.ts';
import { holderOf, thisProcess } from './lock-holder.ts';

/** The flag of `open` on macOS and the BSDs, which Node passes on and has no name for. */
const O_EXLOCK = 0x20;
/** The one of libuv on Windows: no other handle to the file while this one is open. */
const UV_FS_O_EXLOCK = 0x1000_0000;
/** What `open` says with these flags when somebody has the lock. */
const HELD = new Set<unknown>(['EAGAIN', 'EWOULDBLOCK', 'EBUSY']);

/** `flock` of util-linux and of busybox says so when somebody has the lock, and nothing else. */
const REFUSED = 1;

export interface HeldLock {
  /** Idempotent. */
  release(): Promise<void>;
}

/** Inodes that this thread has locked, for messages. */
const ours = new Set<string>();

/**
 * Takes the lock of a file, or returns what is known of who has it.
 *
 * @throws AiokvError ERR_AIOKV_UNSUPPORTED where there is no way to a lock; Node's error of a system call
 */
export async function takeLock(host: Host, path: string, opened: FileHandle): Promise<HeldLock | string> {
  const { ino, dev } = await opened.stat({ bigint: true });
  const key = `${dev}:${ino}`;
  const held = await takeOn(host, path, opened, ino);
  if (held === null) return ours.has(key) ? thisProcess() : holderOf(ino, dev);
  ours.add(key);
  let releasing: Promise<void> | null = null;
  const release = async (): Promise<void> => {
    ours.delete(key);
    await held();
  };
  return { release: () => (releasing ??= release()) };
}

/** What lets go of the lock, or null when somebody has it. */
type Release = () => Promise<void>;

function takeOn(host: Host, path: string, opened: FileHandle, inode: bigint): Promise<Release | null> {
  switch (host.system) {
    case 'linux':
    case 'android':
      return takeByProgram(path, opened);
    case 'darwin':
    case 'freebsd':
    case 'openbsd':
    case 'netbsd':
      return takeBySecondHandle(host, path, inode);
    case 'win32':
      return takeBySharing(host, path, inode);
    default:
      return Promise.reject(
        unlockable(path, `${host.system} has no lock that Node can take and that ends with its process`, undefined),
      );
  }
}

function takeByProgram(path: string, opened: FileHandle): Promise<Release | null> {
  return new Promise((resolve, reject) => {
    let said = '';
    const failed = (why: string, cause: unknown): void => reject(unlockable(path, `the program flock ${why}`, cause));
    try {
      // A working directory that was removed would be an error of its own.
      const child = spawn('flock', ['-n', '3'], { cwd: '/', stdio: ['ignore', 'ignore', 'pipe', opened.fd] });
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      child.once('error', (cause) => failed(`cannot be run (${(cause as NodeJS.ErrnoException).code})`, cause));
      child.once('close', (code, signal) => {
        // The lock goes with the descriptor.
        if (code === 0) resolve(() => Promise.resolve());
        else if (code === REFUSED && said === '') resolve(null);
        else failed(`says: ${said.trim() || (signal ?? `exit code ${code}`)}`, undefined);
      });
    } catch (cause) {
      // Under Node's permission model, without --allow-child-process.
      failed(`may not be run (${(cause as NodeJS.ErrnoException).code}, see --allow-child-process)`, cause);
    }
  });
}

async function takeBySecondHandle(host: Host, path: string, inode: bigint): Promise<Release | null> {
  const second = await openLocked(host, path, constants.O_RDONLY | constants.O_NONBLOCK | O_EXLOCK);
  if (second === null) return null;
  // Somebody may have put another file there meanwhile: the lock of that one says nothing.
  if ((await second.stat({ bigint: true })).ino === inode) return () => second.close();
  await second.close();
  throw Object.assign(new Error(`${path} was replaced while it was locked`), { code: 'ENOENT' });
}

/**
 * The file beside it is named by the inode, which links share. Once it is closed it is removed: who has opened it meanwhile shares
 * it with nobody, so it cannot be removed then.
 */
async function takeBySharing(host: Host, path: string, inode: bigint): Promise<Release | null> {
  const beside = join(dirname(path), `${LOCK_FILE_PREFIX}${inode.toString(16)}`);
  const lock = await openLocked(host, beside, constants.O_RDWR | constants.O_CREAT | UV_FS_O_EXLOCK);
  if (lock === null) return null;
  return async () => {
    await lock.close();
    await host.unlink(beside).catch(() => undefined);
  };
}

/** Where a lock is a file of its own its name begins so. */
export const LOCK_FILE_PREFIX = '.aiokv-lock-';

async function openLocked(host: Host, path: string, flags: number): Promise<FileHandle | null> {
  try {
    return await host.open(path, flags, 0o644);
  } catch (error) {
    if (HELD.has((error as NodeJS.ErrnoException).code)) return null;
    throw error;
  }
}

function unlockable(path: string, why: string, cause: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_UNSUPPORTED',
    `${path} cannot be locked without a foreign-function interface, for ${why}: ` +
      'run "npm install koffi", or on Linux install util-linux or busybox, which have flock',
    { cause },
  );
}
