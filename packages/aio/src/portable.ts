/**
 * The platform for any system that Node runs on, without foreign functions: files through `node:fs` and the page cache,
 * requests on libuv's threads. It is for programs that must run where Linux AIO does not, and not for measurements, since
 * nothing bypasses the page cache.
 *
 * | of a file | here |
 * |---|---|
 * | `direct` | the default is `'prefer'`, which is the page cache; `'require'` is refused |
 * | `preallocate` | writes zeros, which takes as long as it sounds; a sparse file would find the disk full in a later write |
 * | `lock` | each system's own, see portable-lock.ts |
 * | flushes | as Node has them: `fsync` and `fdatasync`, on macOS F_FULLFSYNC, on Windows FlushFileBuffers |
 * | `punchHole` | refused with ERR_AIOKV_UNSUPPORTED |
 * | `linkTo` | needs a file system with hard links |
 */
import { constants } from 'node:os';
import type { FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { AiokvError, MIB, SystemCallError } from '@aiokv/core';
import { directoriesOf } from './directories.ts';
import type { Engine, EngineOptions } from './engine.ts';
import { ThreadsEngine } from './engines/threads.ts';
import { THIS_HOST } from './host.ts';
import type { Host } from './host.ts';
import { NO_ALIGNMENT, NodeFile, flagsOf, openError } from './node-file.ts';
import { resolveOpenOptions } from './open-options.ts';
import type { DirectFile, OpenFileOptions, Platform } from './platform.ts';
import { takeLock } from './portable-lock.ts';
import type { HeldLock } from './portable-lock.ts';

const { EBADF } = constants.errno;
const ZEROS_BYTES = MIB;

/** Files through `node:fs` and the engine `'threads'`; see portable.ts for what it does otherwise. */
export function portablePlatform(): Platform {
  return portablePlatformOn(THIS_HOST);
}

/** @internal The same on another host: for tests. */
export function portablePlatformOn(host: Host): Platform {
  const open = (path: string, given?: OpenFileOptions): Promise<DirectFile> => openPortable(host, path, given);
  return { name: 'portable', ...directoriesOf(host), open, createEngine };
}

async function openPortable(host: Host, path: string, given?: OpenFileOptions): Promise<DirectFile> {
  const options = resolveOpenOptions('open', given);
  const absolute = resolve(path);
  if (options.direct === 'require') {
    throw new AiokvError(
      'ERR_AIOKV_NO_DIRECT_IO',
      "the portable platform has no direct I/O: leave 'direct' out, or use linuxPlatform()",
    );
  }
  const opened = await host.open(absolute, flagsOf(options), 0o644).catch((cause: unknown) => {
    throw openError(absolute, cause);
  });
  return new PortableFile(host, absolute, opened, options.readOnly);
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
  readonly #host: Host;
  readonly #isReadOnly: boolean;
  /** Changes of the size one after another: two that look at it at once could make the file shorter. */
  #growing: Promise<void> = Promise.resolve();
  #lock: HeldLock | null = null;
  #ending: Promise<void> | null = null;

  constructor(host: Host, path: string, opened: FileHandle, isReadOnly: boolean) {
    super(path, opened, NO_ALIGNMENT, false);
    this.#host = host;
    this.#isReadOnly = isReadOnly;
  }

  /** Requires that no write behind the end of the file is in flight: it could be overwritten. */
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
    if (this.#lock !== null) return undefined;
    const taken = await takeLock(this.#host, this.path, this.opened);
    if (typeof taken === 'string') return taken;
    this.#lock = taken;
    return undefined;
  }

  override close(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    const closed = super.close();
    try {
      await closed;
    } finally {
      await this.#lock?.release();
    }
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
    const from = await this.sizeBytes();
    if (from >= endBytes) return;
    try {
      // Whether a file may be so long at all, before much is written in vain.
      await this.opened.truncate(endBytes);
      await this.opened.truncate(from);
      await this.#writeZeros(from, endBytes);
    } catch (cause) {
      // If this fails, too, the file is longer than it need be, and reads as zeros there.
      await this.opened.truncate(from).catch(() => undefined);
      throw this.explained('write', cause);
    }
  }

  async #writeZeros(from: number, endBytes: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(ZEROS_BYTES, endBytes - from));
    for (let at = from; at < endBytes;) {
      const { bytesWritten } = await this.opened.write(zeros, 0, Math.min(zeros.length, endBytes - at), at);
      at += bytesWritten;
    }
  }
}

function unsupported(what: string, remedy: string): AiokvError {
  return new AiokvError('ERR_AIOKV_UNSUPPORTED', `the portable platform cannot ${what}: ${remedy}`);
}
