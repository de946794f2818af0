/**
 * Names and directories through `node:fs`: the part of a platform that is the same wherever there are real
 * files. Nothing here blocks the event loop.
 */
import { constants, promises as fs } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Host } from './host.ts';
import type { Platform } from './platform.ts';
import { syncDescriptor } from './thread-io.ts';

export type Directories = Pick<Platform, 'list' | 'makeDirectory' | 'rename' | 'remove' | 'syncDirectory'>;

export function directoriesOf(host: Host): Directories {
  return {
    list,
    async makeDirectory(directory) {
      const last = resolve(directory);
      const first = (await makeAll(last)) ?? last;
      // Also when it was there: whoever made it may have been killed before this.
      for (let made = last; made.length >= first.length && made !== dirname(made); made = dirname(made)) {
        await syncParent(host, made);
      }
    },
    rename: (from, to) => host.rename(from, to),
    remove: (path) => host.unlink(path),
    syncDirectory: (directory) => syncDirectory(host, directory),
  };
}

async function list(directory: string): Promise<string[] | undefined> {
  try {
    return await fs.readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Makes a directory and its parents; returns the first that it made, if any. Node's own `recursive` tells a
 * read-only file system as ENOENT.
 */
async function makeAll(directory: string): Promise<string | undefined> {
  try {
    await fs.mkdir(directory);
    return directory;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await isDirectory(directory))) return undefined;
    if (code !== 'ENOENT' || dirname(directory) === directory) throw error;
  }
  const first = await makeAll(dirname(directory));
  // Somebody else may have made it meanwhile. Without the parents that were asked for, this fails for good.
  try {
    await fs.mkdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !(await isDirectory(directory))) throw error;
  }
  return first ?? directory;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await fs.stat(path)).isDirectory();
  } catch {
    return false;
  }
}

/** Windows flushes no directory. Its NTFS writes names to a journal, in the order of the calls. */
async function syncDirectory(host: Host, directory: string): Promise<void> {
  if (host.system === 'win32') return;
  const handle = await host.open(directory, constants.O_RDONLY);
  try {
    await syncDescriptor(handle.fd);
  } finally {
    await handle.close();
  }
}

/** A parent that may not be read, or that its file system does not flush, is as durable as it gets. */
async function syncParent(host: Host, directory: string): Promise<void> {
  try {
    await syncDirectory(host, dirname(directory));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS' && code !== 'EINVAL') throw error;
  }
}
