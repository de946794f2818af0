/**
 * Names and directories through `node:fs`: the part of a platform that is the same wherever there are real
 * files. Nothing here blocks the event loop.
 */
import { constants, promises as fs } from 'node:fs';
import type { Platform } from './platform.ts';

export type Directories = Pick<Platform, 'list' | 'makeDirectory' | 'rename' | 'remove' | 'syncDirectory'>;

export const directories: Directories = {
  async list(directory) {
    try {
      return await fs.readdir(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  },
  async makeDirectory(directory) {
    await fs.mkdir(directory, { recursive: true });
  },
  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.unlink(path),
  async syncDirectory(directory) {
    const handle = await fs.open(directory, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};
