/**
 * A memory cgroup of its own for each process that is measured, in which the page cache that it fills is counted.
 * Version 1 and version 2 are told apart by what is mounted. Needs the rights to make a group, which is root's as a
 * rule; where it cannot be had, `openCgroups` says why, and nothing is measured without being told to.
 *
 * ```
 *   make ─► sh puts itself into it and becomes node ─► peak ─► its page cache is let go of ─► remove
 * ```
 *
 * CGROUP-1. A process is in its group before it is node: all of its memory counts.
 * CGROUP-2. No group outlives `remove`, and none is touched that was not made here.
 */
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

type CgroupVersion = 1 | 2;

export interface CgroupMount {
  readonly version: CgroupVersion;
  readonly path: string;
}

interface Files {
  readonly limit: string;
  readonly peak: string;
  /** Gives back what can be given back. */
  readonly reclaim: { readonly name: string; readonly content: string };
}

const FILES: Readonly<Record<CgroupVersion, Files>> = {
  1: {
    limit: 'memory.limit_in_bytes',
    peak: 'memory.max_usage_in_bytes',
    reclaim: { name: 'memory.force_empty', content: '0' },
  },
  2: { limit: 'memory.max', peak: 'memory.peak', reclaim: { name: 'memory.reclaim', content: '1T' } },
};

/** Finds the mount of the memory controller in the text of /proc/self/mountinfo. */
export function memoryMount(mountinfo: string): CgroupMount | null {
  let unified: CgroupMount | null = null;
  for (const line of mountinfo.split('\n')) {
    const [head = '', tail = ''] = line.split(' - ');
    const path = head.split(' ')[4];
    const [type, , options = ''] = tail.split(' ');
    if (path === undefined) continue;
    if (type === 'cgroup' && options.split(',').includes('memory')) return { version: 1, path };
    if (type === 'cgroup2') unified = { version: 2, path };
  }
  return unified;
}

export class CgroupError extends Error {
  override readonly name = 'CgroupError';
}

/** @throws CgroupError, which says what is missing */
export function findCgroups(): CgroupMount {
  const mount = memoryMount(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (mount === null) throw new CgroupError('no memory controller of cgroups is mounted');
  try {
    accessSync(mount.path, constants.W_OK);
    if (mount.version === 2) {
      const controllers = readFileSync(join(mount.path, 'cgroup.controllers'), 'utf8').split(/\s/);
      if (!controllers.includes('memory')) throw new Error('the memory controller is not among its controllers');
      writeFileSync(join(mount.path, 'cgroup.subtree_control'), '+memory');
    }
  } catch (cause) {
    throw new CgroupError(`no group can be made in ${mount.path}: ${(cause as Error).message}`, { cause });
  }
  return mount;
}

export class MemoryCgroup {
  readonly path: string;
  readonly #files: Files;

  /** @throws CgroupError */
  constructor(mount: CgroupMount, name: string, limitBytes: number) {
    this.path = join(mount.path, name);
    this.#files = FILES[mount.version];
    try {
      mkdirSync(this.path);
      writeFileSync(join(this.path, this.#files.limit), String(limitBytes));
      // Swap is not memory; where it is not counted there is no such file.
      const swap = join(this.path, 'memory.swap.max');
      if (mount.version === 2 && existsSync(swap)) writeFileSync(swap, '0');
    } catch (cause) {
      throw new CgroupError(`the group ${this.path} cannot be set up: ${(cause as Error).message}`, { cause });
    }
  }

  /** CGROUP-1. The command and arguments that run a command inside. */
  wrap(command: string, args: readonly string[]): [string, string[]] {
    const script = 'echo $$ > "$0" && exec "$@"';
    return ['/bin/sh', ['-c', script, join(this.path, 'cgroup.procs'), command, ...args]];
  }

  /** The most memory that was charged to it, in bytes; null where the kernel does not tell. */
  get peakBytes(): number | null {
    const file = join(this.path, this.#files.peak);
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null;
  }

  /** Lets go of the page cache that its processes left, and removes it. They must have ended. */
  async remove(): Promise<void> {
    const { name, content } = this.#files.reclaim;
    for (let attempt = 0; existsSync(this.path); attempt++) {
      try {
        // In version 2 less than was asked for is an error, and is what is to be expected.
        if (existsSync(join(this.path, name))) ignoring(() => writeFileSync(join(this.path, name), content));
        rmdirSync(this.path);
      } catch (error) {
        // A process that ended just now may still be in it.
        if (attempt === 50) throw error;
        await sleep(20);
      }
    }
  }
}

function ignoring(action: () => void): void {
  try {
    action();
  } catch {
    // Tried for the sake of the next measurement only.
  }
}
