/**
 * The platform for any system that Node runs on, without foreign functions: files through `node:fs` and the page cache,
 * requests on libuv's threads. It is for programs that must run where Linux AIO does not, and not for measurements, since
 * nothing bypasses the page cache.
 *
 * | of a file | here |
 * |---|---|
 * | `direct` | the default is `'prefer'`, which is the page cache; `'require'` is refused |
 * | `preallocate` | makes the file so long, without blocks: a later write can still find the disk full |
 * | `punchHole`, `lock` | refused with ERR_AIOKV_UNSUPPORTED |
 * | `linkTo` | needs a file system with hard links |
 */
import { promises as fs } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { AiokvError, SystemCallError } from '@aiokv/core';
import { directories } from './directories.ts';
import type { Engine, EngineOptions } from './engine.ts';
import { ThreadsEngine } from './engines/threads.ts';
import { NO_ALIGNMENT, NodeFile, flagsOf, openError } from './node-file.ts';
import { resolveOpenOptions } from './open-options.ts';
import type { DirectFile, OpenFileOptions, Platform } from './platform.ts';

const { EBADF } = constants.errno;

/** Files through `node:fs` and the engine `'threads'`; see portable.ts for what it cannot do. */
export function portablePlatform(): Platform {
  return { name: 'portable', ...directories, open: openPortable, createEngine };
}

async function openPortable(path: string, given?: OpenFileOptions): Promise<DirectFile> {
  const options = resolveOpenOptions('open', given);
  const absolute = resolve(path);
  if (options.direct === 'require') {
    throw new AiokvError(
      'ERR_AIOKV_NO_DIRECT_IO',
      "the portable platform has no direct I/O: leave 'direct' out, or use linuxPlatform()",
    );
  }
  const opened = await fs.open(absolute, flagsOf(options), 0o644).catch((cause: unknown) => {
    throw openError(absolute, cause);
  });
  return new PortableFile(absolute, opened, options.readOnly);
}

/** @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE for any engine but `'threads'` */
function createEngine(options: EngineOptions): Engine {
  const { engine } = options;
  if (engine !== undefined && engine !== 'auto' && engine !== 'threads') {
    throw new AiokvError(
      'ERR_AIOKV_ENGINE_UNAVAILABLE',
      `the portable platform has no engine '${engine}': leave it out, or use linuxPlatform()`,
    );
  }
  const reason = engine === 'threads' ? 'it was asked for' : 'it is the only one of the portable platform';
  return new ThreadsEngine({ ...options, reason });
}

class PortableFile extends NodeFile {
  readonly #isReadOnly: boolean;
  /** Changes of the size one after another: two that look at it at once could make the file shorter. */
  #growing: Promise<void> = Promise.resolve();

  constructor(path: string, opened: fs.FileHandle, isReadOnly: boolean) {
    super(path, opened, NO_ALIGNMENT, false);
    this.#isReadOnly = isReadOnly;
  }

  /** Requires that no write behind the end of the file is in flight: it could be cut off. */
  async preallocate(offset: number, lengthBytes: number): Promise<void> {
    this.requireOpen();
    const grown = this.#growing.then(() => this.#grow(offset + lengthBytes));
    // The caller is told of a failure; the next preallocation does not depend on it.
    this.#growing = grown.catch(() => undefined);
    await grown;
  }

  override async truncate(sizeBytes: number): Promise<void> {
    this.requireOpen();
    if (this.#isReadOnly) throw new SystemCallError('ftruncate', EBADF, this.path);
    const cut = this.#growing.then(() => super.truncate(sizeBytes));
    this.#growing = cut.catch(() => undefined);
    await cut;
  }

  async punchHole(): Promise<void> {
    this.requireOpen();
    throw unsupported('punch holes', 'write zeros, or use linuxPlatform()');
  }

  async lock(): Promise<string | undefined> {
    this.requireOpen();
    throw unsupported('lock files', 'see to it that one process has it open, or use linuxPlatform()');
  }

  protected override async giveName(path: string): Promise<void> {
    try {
      await super.giveName(path);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw cause;
      throw new AiokvError(
        'ERR_AIOKV_UNSUPPORTED',
        `${path} cannot be a name of ${this.path}: use a file system with hard links, or linuxPlatform()`,
        { cause },
      );
    }
  }

  async #grow(endBytes: number): Promise<void> {
    if (this.#isReadOnly) throw new SystemCallError('ftruncate', EBADF, this.path);
    if ((await this.sizeBytes()) < endBytes) await this.opened.truncate(endBytes);
  }
}

function unsupported(what: string, remedy: string): AiokvError {
  return new AiokvError('ERR_AIOKV_UNSUPPORTED', `the portable platform cannot ${what}: ${remedy}`);
}
