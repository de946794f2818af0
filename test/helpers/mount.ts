/** Whether a small file system can be made and mounted here, which takes root and a loop device. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Null when the command succeeds, else what it says. */
export function run(command: string, ...args: string[]): string | null {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? null : `${command}: ${error?.message ?? stderr.trim()}`;
}

/** Makes an ext4 file system of so many bytes in `image`, and mounts it. Null, or why not. */
export function mountSmall(image: string, directory: string, sizeBytes: number): string | null {
  writeFileSync(image, '');
  truncateSync(image, sizeBytes);
  mkdirSync(directory);
  return run('mkfs.ext4', '-q', image) ?? run('mount', '-o', 'loop', image, directory);
}

/** Null, or why no file system can be mounted. */
export function whyNoMount(): string | null {
  if (process.getuid?.() !== 0) return 'only root mounts';
  const place = mkdtempSync(resolve('.tmp-mount-'));
  const directory = join(place, 'mounted');
  try {
    return mountSmall(join(place, 'image'), directory, 16 * 2 ** 20) ?? run('umount', directory);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
