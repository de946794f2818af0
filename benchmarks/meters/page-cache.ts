/** Gives the pages of files back to the kernel, so that the next reads of them reach the device. Needs no rights. */
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** All files below a directory. Dirty pages are written first: they would stay. */
export function evict(directory: string): void {
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, name);
    if (!statSync(path).isFile()) continue;
    // `dd` with nothing to copy and `nocache` is posix_fadvise(POSIX_FADV_DONTNEED), which Node does not have.
    for (const [command, ...args] of [
      ['sync', '-d', path],
      ['dd', `if=${path}`, 'iflag=nocache', 'count=0', 'status=none'],
    ] as const) {
      const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`${command} ${path} failed: ${stderr ?? ''}${error?.message ?? ''}`);
    }
  }
}
