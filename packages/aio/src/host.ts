/**
 * The system that files without foreign functions stand on: which one it is, and what of it differs from system to system.
 * Everything else of a file is the same in `node:fs` wherever Node runs. Tests hand in another one, with the rules of Windows.
 */
import { promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

export interface Host {
  readonly system: NodeJS.Platform;
  open(path: string, flags: number, mode?: number): Promise<FileHandle>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
}

export const THIS_HOST: Host = {
  system: process.platform,
  open: (path, flags, mode) => fs.open(path, flags, mode),
  rename: (from, to) => fs.rename(from, to),
  unlink: (path) => fs.unlink(path),
};
