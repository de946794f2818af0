/**
 * A file opened through `node:fs`: what the files of all real platforms share. Each platform adds what needs system calls.
 */
import { constants, promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import type { Opcode } from './engine.ts';
import type { Alignment, DirectFile, OpenFileOptions } from './platform.ts';
import { fileClosed, remedyOf, systemCallError } from './request-error.ts';
import { callbackOf, syncDescriptor, transferOnThread } from './thread-io.ts';

const { EBADF } = osConstants.errno;
const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = constants;

/** Assumed where the kernel does not say; right for all devices with blocks of up to 4 KiB. */
export const ASSUMED_ALIGNMENT = 4096;
/** The page cache needs no alignment, but writes keep to blocks all the same. */
export const NO_ALIGNMENT: Alignment = { memory: 1, offset: 1, write: ASSUMED_ALIGNMENT };

/** The flags of `open(2)`, but for O_DIRECT. */
export function flagsOf({ readOnly, create, exclusive }: Omit<OpenFileOptions, 'direct'>): number {
  return (readOnly === true ? O_RDONLY : O_RDWR) | (create === true ? O_CREAT : 0) | (exclusive === true ? O_EXCL : 0);
}

/** Node's error of an `open`, with what to do about it where there is something; the others are clear as they are. */
export function openError(path: string, cause: unknown): unknown {
  const { errno } = cause as NodeJS.ErrnoException;
  return errno === undefined || remedyOf(errno) === '' ? cause : systemCallError('open', errno, path, cause);
}

/**
 * Held until closed: Node closes a handle that is collected, and requests know their file by number only,
 * which would then be that of another file.
 */
const openHandles = new Set<FileHandle>();

export abstract class NodeFile implements DirectFile {
  path: string;
  /** -1 once closed: the number is soon that of another file, which a late request must not reach. */
  handle: number;
  readonly isDirect: boolean;
  readonly alignment: Alignment;
  protected readonly opened: FileHandle;
  /** Under way, by descriptor, which must not become another file's before they end. */
  readonly #flushes = new Set<Promise<void>>();
  #closing: Promise<void> | null = null;

  constructor(path: string, opened: FileHandle, alignment: Alignment, isDirect: boolean) {
    this.path = path;
    this.opened = opened;
    openHandles.add(opened);
    this.handle = opened.fd;
    this.alignment = alignment;
    this.isDirect = isDirect;
  }

  async sizeBytes(): Promise<number> {
    this.requireOpen();
    return (await this.opened.stat()).size;
  }

  abstract preallocate(offset: number, lengthBytes: number): Promise<void>;

  abstract punchHole(offset: number, lengthBytes: number): Promise<void>;

  async truncate(sizeBytes: number): Promise<void> {
    this.requireOpen();
    try {
      if ((await this.opened.stat()).size > sizeBytes) await this.opened.truncate(sizeBytes);
    } catch (cause) {
      throw this.explained('ftruncate', cause);
    }
  }

  transferOnThread(
    opcode: Opcode,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): Promise<number> {
    if (this.handle < 0) return Promise.resolve(-EBADF);
    return new Promise((resolve) => {
      transferOnThread(opcode, this.handle, buffer, bufferOffset, lengthBytes, fileOffset, callbackOf(resolve));
    });
  }

  async sync(): Promise<void> {
    this.requireOpen();
    const flush = syncDescriptor(this.handle);
    this.#flushes.add(flush);
    try {
      await flush;
    } catch (cause) {
      throw this.explained('fsync', cause);
    } finally {
      this.#flushes.delete(flush);
    }
  }

  abstract lock(): Promise<string | undefined>;

  async linkTo(path: string): Promise<void> {
    this.requireOpen();
    try {
      await this.giveName(path);
    } catch (error) {
      // A file server may have carried the request out and lost its answer: the second try is refused then.
      if (!(await this.#hasName(path))) throw error;
    }
    this.path = path;
  }

  /** Fails with EEXIST when the name is taken. */
  protected giveName(path: string): Promise<void> {
    return fs.link(this.path, path);
  }

  async #hasName(path: string): Promise<boolean> {
    try {
      const [named, own] = await Promise.all([fs.lstat(path, { bigint: true }), this.opened.stat({ bigint: true })]);
      return named.ino === own.ino && named.dev === own.dev;
    } catch {
      return false;
    }
  }

  /** Node's error, which does not name the file, as one that does and says what to do. */
  protected explained(syscall: string, cause: unknown): unknown {
    const { errno } = cause as NodeJS.ErrnoException;
    return errno === undefined ? cause : systemCallError(syscall, errno, this.path, cause);
  }

  /** @throws AiokvError ERR_AIOKV_CLOSED */
  protected requireOpen(): void {
    if (this.handle < 0) throw fileClosed(this.path);
  }

  close(): Promise<void> {
    this.handle = -1;
    openHandles.delete(this.opened);
    this.#closing ??= this.#afterFlushes();
    return this.#closing;
  }

  async #afterFlushes(): Promise<void> {
    await Promise.allSettled(this.#flushes);
    await this.opened.close();
  }
}
