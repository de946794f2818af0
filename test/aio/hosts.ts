/**
 * Other systems to open files on, as far as a fake can have them: this one's file system, with their rules about open files.
 *
 * | | `unlink` and `rename` of what is open, by any of its names | `open` that excludes others |
 * |---|---|---|
 * | Windows | EBUSY, stricter than libuv, which shares deletion | no other handle, before it or while it is open: EBUSY |
 * | macOS | as here | no other such handle: EAGAIN |
 *
 * Neither has foreign functions, and a directory of Windows cannot be flushed.
 */
import { promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Platform } from '@aiokv/aio';
import type { Host } from '../../packages/aio/src/host.ts';
import { portablePlatformOn } from '../../packages/aio/src/portable.ts';

const O_EXLOCK = 0x20;
const UV_FS_O_EXLOCK = 0x1000_0000;

/** Which files are open, by inode: how many handles, and how many of them exclude others. */
class OpenFiles {
  readonly #handles = new Map<bigint, { all: number; exclusive: number }>();

  of(inode: bigint): { all: number; exclusive: number } {
    let found = this.#handles.get(inode);
    if (found === undefined) this.#handles.set(inode, (found = { all: 0, exclusive: 0 }));
    return found;
  }

  async require(path: string): Promise<void> {
    const inode = await fs.lstat(path, { bigint: true }).then(
      ({ ino }) => ino,
      () => null,
    );
    if (inode !== null && this.of(inode).all > 0) throw refused('EBUSY', path);
  }

  /** Opens a file, which is refused where `isRefused` says so of those that are open. */
  async open(
    path: string,
    flags: number,
    mode: number | undefined,
    isExclusive: boolean,
    refusal: (open: { all: number; exclusive: number }) => string | null,
  ): Promise<FileHandle> {
    const handle = await fs.open(path, flags, mode);
    const { ino } = await handle.stat({ bigint: true });
    const counts = this.of(ino);
    const code = refusal(counts);
    if (code !== null) {
      await handle.close();
      throw refused(code, path);
    }
    counts.all++;
    if (isExclusive) counts.exclusive++;
    const close = handle.close.bind(handle);
    handle.close = async () => {
      counts.all--;
      if (isExclusive) counts.exclusive--;
      await close();
    };
    return handle;
  }
}

function refused(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export function windows(): Platform {
  const files = new OpenFiles();
  const host: Host = {
    system: 'win32',
    open: (path, flags, mode) => {
      const isExclusive = (flags & UV_FS_O_EXLOCK) !== 0;
      return files.open(path, flags & ~UV_FS_O_EXLOCK, mode, isExclusive, ({ all, exclusive }) =>
        exclusive > 0 || (isExclusive && all > 0) ? 'EBUSY' : null,
      );
    },
    rename: async (from, to) => {
      await files.require(from);
      await files.require(to);
      await fs.rename(from, to);
    },
    unlink: async (path) => {
      await files.require(path);
      await fs.unlink(path);
    },
  };
  return portablePlatformOn(host);
}

export function macos(): Platform {
  const files = new OpenFiles();
  const host: Host = {
    system: 'darwin',
    open: (path, flags, mode) => {
      const isExclusive = (flags & O_EXLOCK) !== 0;
      return files.open(path, flags & ~O_EXLOCK, mode, isExclusive, ({ exclusive }) =>
        isExclusive && exclusive > 0 ? 'EAGAIN' : null,
      );
    },
    rename: (from, to) => fs.rename(from, to),
    unlink: (path) => fs.unlink(path),
  };
  return portablePlatformOn(host);
}
