/**
 * The real platform: files opened with O_DIRECT, and the engines that reach them.
 *
 * Whatever may take long runs on a thread of libuv's pool. The alignment that direct I/O needs comes from `statx`
 * (STATX_DIOALIGN, Linux 6.1) or from the block device; 4096 is assumed where the kernel does not say.
 */
import { constants as fsConstants, promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { resolve } from 'node:path';
import { AiokvError, SystemCallError, boolean, isPowerOfTwo, oneOf, resolveOptions } from '@aiokv/core';
import type { ForeignInterfaceName } from './ffi/port.ts';
import { requireForeignInterface } from './ffi/load.ts';
import { directoriesOf } from './directories.ts';
import { createLinuxEngine } from './engines/choose.ts';
import type { Engine, EngineOptions } from './engine.ts';
import { THIS_HOST } from './host.ts';
import { deviceNumbers, holderOf } from './lock-holder.ts';
import { ASSUMED_ALIGNMENT, NO_ALIGNMENT, NodeFile, flagsOf, openError } from './node-file.ts';
import { resolveOpenOptions } from './open-options.ts';
import type { ResolvedOpenOptions } from './open-options.ts';
import type { Alignment, DirectFile, Platform } from './platform.ts';
import { systemCallError } from './request-error.ts';
import { libcOf, toInt } from './raw/libc.ts';
import type { Libc } from './raw/libc.ts';

export interface LinuxPlatformOptions {
  /** Which foreign-function interface; default: ffi-napi where it loads, koffi otherwise. */
  readonly ffi?: ForeignInterfaceName;
  /** Reap with `io_getevents` instead of reading the completion ring in place; default false. */
  readonly forceSyscalls?: boolean;
  /** Go through libaio where it is installed, and not through raw system calls; default true. */
  readonly useLibaio?: boolean;
}

const { O_DIRECT } = fsConstants;
const { EAGAIN, EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP } = osConstants.errno;
/** What `link` says on a file system without hard links. */
const NO_HARD_LINKS: unknown[] = ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'];
const LOCK_EX_NB = 2 | 4;
/**
 * The largest block of local file systems. If `statfs` reports more, or no power of two, it means the transfer size that
 * suits a file server (1 MiB on NFS, 4 MiB on Lustre), not a block that neighbours share.
 */
const LARGEST_BLOCK = 65536;

type Resolved = Required<Omit<LinuxPlatformOptions, 'ffi'>> & { ffi: ForeignInterfaceName | undefined };

const shape = {
  ffi: { ...oneOf(['ffi-napi', 'koffi'], 'koffi'), fallback: undefined as Resolved['ffi'] },
  forceSyscalls: boolean(false),
  useLibaio: boolean(true),
};

/**
 * Files and engines of this machine.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 * @throws AiokvError ERR_AIOKV_FFI_UNAVAILABLE, ERR_AIOKV_ENGINE_UNAVAILABLE
 */
export function linuxPlatform(options?: LinuxPlatformOptions): Platform {
  const { ffi: name, forceSyscalls, useLibaio } = resolveOptions<Resolved>('linuxPlatform', shape, options);
  const ffi = requireForeignInterface(name);
  const libc = libcOf(ffi);
  return {
    name: 'linux',
    ...directoriesOf(THIS_HOST),
    open: async (path, openOptions) => openDirect(libc, resolve(path), resolveOpenOptions('open', openOptions)),
    createEngine: (engineOptions: EngineOptions): Engine =>
      createLinuxEngine({ ffi, forceSyscalls, useLibaio }, engineOptions),
  };
}

async function openDirect(libc: Libc, path: string, options: ResolvedOpenOptions): Promise<DirectFile> {
  const { direct = 'require' } = options;
  if (direct === 'never') return openBuffered(libc, path, options);
  let handle: FileHandle;
  try {
    handle = await fs.open(path, O_DIRECT | flagsOf(options), 0o644);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EINVAL') throw openError(path, cause);
    // Linux makes the file first and refuses O_DIRECT after it; with `exclusive` it is certainly ours.
    if (options.create && options.exclusive) await fs.rm(path, { force: true });
    if (direct === 'prefer') return openBuffered(libc, path, options);
    throw noDirectIo(path, cause);
  }
  try {
    return new LinuxFile(libc, path, handle, await readAlignment(libc, path, handle), true);
  } catch (error) {
    await handle.close();
    if (direct === 'prefer' && error instanceof AiokvError) return openBuffered(libc, path, options);
    throw error;
  }
}

async function openBuffered(libc: Libc, path: string, options: ResolvedOpenOptions): Promise<DirectFile> {
  const handle = await fs.open(path, flagsOf(options), 0o644).catch((cause: unknown) => {
    throw openError(path, cause);
  });
  return new LinuxFile(libc, path, handle, NO_ALIGNMENT, false);
}

class LinuxFile extends NodeFile {
  readonly #libc: Libc;

  constructor(libc: Libc, path: string, opened: FileHandle, alignment: Alignment, isDirect: boolean) {
    super(path, opened, alignment, isDirect);
    this.#libc = libc;
  }

  override async sizeBytes(): Promise<number> {
    this.requireOpen();
    const stat = await this.opened.stat();
    if (!stat.isBlockDevice()) return stat.size;
    const size = new BigUint64Array(1);
    const BLKGETSIZE64 = 0x80081272;
    if (toInt(this.#libc.ioctl(this.handle, BLKGETSIZE64, this.#libc.ffi.addressOf(size.buffer))) < 0) {
      throw new SystemCallError('ioctl', this.#libc.errno(), this.path);
    }
    return Number(size[0]);
  }

  async punchHole(offset: number, lengthBytes: number): Promise<void> {
    this.requireOpen();
    const PUNCH_HOLE_KEEP_SIZE = 3;
    const result = await this.#libc.fallocateAsync(this.handle, PUNCH_HOLE_KEEP_SIZE, offset, lengthBytes);
    if (toInt(result) === 0) return;
    // The error number stayed on the other thread. What was refused there is refused here, too, and at once.
    if (toInt(this.#libc.fallocate(this.handle, PUNCH_HOLE_KEEP_SIZE, offset, lengthBytes)) === 0) return;
    throw systemCallError('fallocate', this.#libc.errno(), this.path);
  }

  async preallocate(offset: number, lengthBytes: number): Promise<void> {
    this.requireOpen();
    const endBytes = offset + lengthBytes;
    if ((await this.opened.stat()).isBlockDevice()) {
      if ((await this.sizeBytes()) >= endBytes) return;
      throw new SystemCallError('fallocate', ENOSPC, `${this.path} is a device and as large as it will ever be`);
    }
    const errno = toInt(await this.#libc.posixFallocateAsync(this.handle, offset, lengthBytes));
    if (errno === 0) return;
    // The file system has no fallocate, so only the size can be set.
    if (errno !== EOPNOTSUPP && errno !== EINVAL && errno !== ENOSYS) {
      throw systemCallError('fallocate', errno, this.path);
    }
    if ((await this.sizeBytes()) < endBytes) await this.opened.truncate(endBytes);
  }

  async lock(): Promise<string | undefined> {
    this.requireOpen();
    if (toInt(this.#libc.flock(this.handle, LOCK_EX_NB)) === 0) return undefined;
    const errno = this.#libc.errno();
    if (errno !== EAGAIN) throw new SystemCallError('flock', errno, this.path);
    const { ino, dev } = await this.opened.stat({ bigint: true });
    return holderOf(ino, dev);
  }

  protected override async giveName(path: string): Promise<void> {
    try {
      await super.giveName(path);
    } catch (cause) {
      if (!NO_HARD_LINKS.includes((cause as NodeJS.ErrnoException).code)) throw cause;
      this.#renameExclusively(path, cause);
    }
  }

  /** On vfat and exfat, for example. On this thread, since the error number stays on the thread of the call. */
  #renameExclusively(path: string, cause: unknown): void {
    const { syscall, numbers, ffi } = this.#libc;
    const [from, to] = [this.path, path].map((name) => new Uint8Array(Buffer.from(`${name}\0`)));
    // Both paths are absolute, so the directories that they are relative to do not matter.
    const RENAME_NOREPLACE = 1;
    const [fromAt, toAt] = [from, to].map((name) => ffi.addressOf((name as Uint8Array<ArrayBuffer>).buffer));
    if (toInt(syscall(numbers.renameat2, 0, fromAt, 0, toAt, RENAME_NOREPLACE)) === 0) return;
    const errno = this.#libc.errno();
    if (errno !== EINVAL && errno !== ENOSYS) throw new SystemCallError('renameat2', errno, path);
    throw new AiokvError(
      'ERR_AIOKV_UNSUPPORTED',
      `the file system of ${path} has neither hard links nor RENAME_NOREPLACE: use a directory on ext4, xfs or btrfs`,
      { cause },
    );
  }
}

async function readAlignment(libc: Libc, path: string, handle: FileHandle): Promise<Alignment> {
  const stat = await handle.stat({ bigint: true });
  if (stat.isBlockDevice()) {
    const logical = readIoctl(libc, handle.fd, 0x1268) ?? ASSUMED_ALIGNMENT; // BLKSSZGET
    const physical = readIoctl(libc, handle.fd, 0x127b) ?? logical; // BLKPBSZGET
    return { memory: logical, offset: logical, write: Math.max(4096, logical, physical) };
  }
  // O_DIRECT means something else for a pipe, and nothing for a directory.
  if (!stat.isFile()) throw noDirectIo(path, undefined);
  const { bsize } = await fs.statfs(path);
  const block = isPowerOfTwo(bsize) && bsize <= LARGEST_BLOCK ? bsize : 0;
  const direct = readDirectAlignment(libc, path, handle.fd);
  const physical = await physicalBlockBytes(stat.dev);
  return { ...direct, write: Math.max(4096, direct.offset, physical, block) };
}

function readIoctl(libc: Libc, fd: number, request: number): number | undefined {
  const value = new Int32Array(1);
  return toInt(libc.ioctl(fd, request, libc.ffi.addressOf(value.buffer))) === 0 ? value[0] : undefined;
}

/** `statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN)`; include/uapi/linux/stat.h. */
function readDirectAlignment(libc: Libc, path: string, fd: number): { memory: number; offset: number } {
  const AT_EMPTY_PATH = 0x1000;
  const STATX_DIOALIGN = 0x2000;
  const memory = new ArrayBuffer(8 + 256);
  const address = libc.ffi.addressOf(memory);
  const result = libc.syscall(libc.numbers.statx, fd, address, AT_EMPTY_PATH, STATX_DIOALIGN, address + 8);
  const view = new DataView(memory, 8);
  const supported = toInt(result) === 0 && (view.getUint32(0, true) & STATX_DIOALIGN) !== 0;
  if (!supported) return { memory: ASSUMED_ALIGNMENT, offset: ASSUMED_ALIGNMENT };
  const found = { memory: view.getUint32(152, true), offset: view.getUint32(156, true) };
  if (found.memory === 0 || found.offset === 0) throw noDirectIo(path, undefined);
  return found;
}

/** The block that the device writes as a whole, from sysfs; 0 where it does not say. */
async function physicalBlockBytes(device: bigint): Promise<number> {
  const { major, minor } = deviceNumbers(device);
  for (const queue of ['queue', '../queue']) {
    try {
      const bytes = Number(await fs.readFile(`/sys/dev/block/${major}:${minor}/${queue}/physical_block_size`, 'utf8'));
      return isPowerOfTwo(bytes) ? bytes : 0;
    } catch {
      // A partition has its queue one level up; some file systems have no device at all.
    }
  }
  return 0;
}

function noDirectIo(path: string, cause: unknown): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_NO_DIRECT_IO',
    `the file system of ${path} refuses direct I/O (O_DIRECT): use a file in a directory on ext4, xfs or btrfs`,
    { cause },
  );
}
