/** What a process and a directory take: bytes written, memory, blocks of files. Linux tells, in /proc and by stat. */
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK_BYTES = 512;

/** Bytes that this process had the kernel write to a device, or will have; 0 where it does not tell. */
export function writtenBytes(): number {
  return numberIn('/proc/self/io', /^write_bytes: (\d+)$/m);
}

/** Bytes that a device gave this process, pages of memory maps included; 0 where it does not tell. */
export function readBytes(): number {
  return numberIn('/proc/self/io', /^read_bytes: (\d+)$/m);
}

/** All blocks that are allocated to what is in a directory. */
export function spaceBytesOf(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).reduce(
    // A file may go between the listing and the look.
    (sum, name) => sum + (statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES,
    0,
  );
}

/** The most memory that this process had since it began, or since `forgetHighestRss`. */
export function highestRssBytes(): number {
  return numberIn('/proc/self/status', /^VmHWM:\s+(\d+) kB$/m) * 1024;
}

/** Where the kernel does not take it, the highest stays that since the process began. */
export function forgetHighestRss(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Then more is reported than was used since, never less.
  }
}

function numberIn(path: string, pattern: RegExp): number {
  try {
    return Number(pattern.exec(readFileSync(path, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
