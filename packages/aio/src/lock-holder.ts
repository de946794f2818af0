/** Who has the lock of a file: for the message of the one who is refused. Nothing is decided by it. */
import { existsSync, promises as fs } from 'node:fs';

/**
 * Finds the process with a lock on an inode in /proc/locks, whose lines look like
 * `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`. Some file systems show another device number there
 * than `stat` does, so a line of the same inode will do when none has both.
 *
 * The number is that of the process which took the lock. It may have ended and left the lock to another one: the portable
 * platform has a program take it.
 */
export async function holderOf(inode: bigint, device: bigint): Promise<string> {
  const { major, minor } = deviceNumbers(device);
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const place = `${hex(major)}:${hex(minor)}:${inode}`;
  let candidate: string | undefined;
  try {
    for (const line of (await fs.readFile('/proc/locks', 'utf8')).split('\n')) {
      const [, kind, , , pid, at] = line.trim().split(/\s+/);
      if (kind !== 'FLOCK' || at?.endsWith(`:${inode}`) !== true) continue;
      if (at === place || candidate === undefined) candidate = pid;
      if (at === place) break;
    }
  } catch {
    // No /proc here: the lock stands all the same.
  }
  if (candidate === undefined || !existsSync(`/proc/${candidate}`)) return 'another process';
  return Number(candidate) === process.pid ? thisProcess() : `process ${candidate}`;
}

export function thisProcess(): string {
  return `this process (${process.pid})`;
}

/** The encoding of dev_t in glibc: 12 + 20 bits, with the upper parts further up. */
export function deviceNumbers(device: bigint): { major: number; minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}
