/** What the figures were measured on. */
import { spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { resolve } from 'node:path';
import type { Machine } from './result.ts';

/** @param directory on the disk that is measured */
export function machineOf(directory: string): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    fileSystem: said('df', '--output=source,fstype', resolve(directory))?.split('\n').at(-1) ?? 'unknown',
    node: process.version,
    fio: said('fio', '--version'),
    commit: said('git', 'rev-parse', '--short', 'HEAD'),
  };
}

/** Null where there is no such program, or it failed. */
function said(command: string, ...args: string[]): string | null {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}
