/**
 * Where files live and which engine reaches them: `linux.ts` is the real one, `simulated.ts` a disk
 * in memory. A store is given one of the two and cannot tell which.
 */
import type { AlignedBuffer } from './buffers.ts';
import type { Engine, EngineOptions, Opcode } from './engine.ts';

export interface OpenFileOptions {
  /** Make the file when it is not there (and the open fails with EEXIST when it is, with `exclusive`). */
  readonly create?: boolean;
  readonly exclusive?: boolean;
  readonly readOnly?: boolean;
  /**
   * `'require'`: past the page cache, with O_DIRECT, or not at all; the default. `'prefer'`: through the page cache
   * where the file system has no O_DIRECT. `'never'`: through the page cache.
   */
  readonly direct?: 'require' | 'prefer' | 'never';
}

/** What O_DIRECT asks of a request to a file, in bytes; all are powers of two. */
export interface Alignment {
  /** Address of the buffer. */
  readonly memory: number;
  /** File offset and length of a read or write. */
  readonly offset: number;
  /**
   * Offset and length of a write that shares no physical block, and no file-system block, with a
   * neighbour: max(4096, offset alignment, physical block, file-system block).
   */
  readonly write: number;
}

/** A file opened for direct I/O, unless its opener asked for less. Nothing here blocks the event loop. */
export interface DirectFile {
  /** Absolute on a real platform. `linkTo` changes it. */
  readonly path: string;
  /** Whether it goes past the page cache. If not, Linux AIO carries each request out inside of `io_submit`. */
  readonly isDirect: boolean;
  /** What an engine of the same platform calls this file; a descriptor on Linux. */
  readonly handle: number;
  readonly alignment: Alignment;
  sizeBytes(): Promise<number>;
  /** Makes the file at least `offset + length` bytes long, with its blocks allocated; new bytes read as zeros. */
  preallocate(offset: number, lengthBytes: number): Promise<void>;
  /** Gives the blocks of a range back; it reads as zeros from then on. The size stays. */
  punchHole(offset: number, lengthBytes: number): Promise<void>;
  /** Cuts the file off behind this size, if it is longer. Requires that nothing is in flight behind it. */
  truncate(sizeBytes: number): Promise<void>;
  /**
   * Reads (`Opcode.read`) or writes on a thread, outside of any queue: for requests that would block the
   * submitting call. The buffer belongs to it until it settles.
   *
   * @returns bytes transferred, or a negative error number
   */
  transferOnThread(
    opcode: Opcode,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): Promise<number>;
  /** Flushes data and metadata, outside of any queue; for creating files. */
  sync(): Promise<void>;
  /**
   * Takes the exclusive advisory lock of the file, which ends with the descriptor or the process.
   * Returns undefined when taken, else what is known of the holder, such as `process 4711`.
   */
  lock(): Promise<string | undefined>;
  /**
   * Gives the file another name in the same directory, never in place of what has that name (EEXIST). `path` is the
   * new name from then on. The old name stays until it is removed, except on a file system without hard links, where it
   * goes at once. The new name is durable after `syncDirectory`.
   */
  linkTo(path: string): Promise<void>;
  /** Requires that nothing is in flight. Idempotent. */
  close(): Promise<void>;
}

export interface Platform {
  readonly name: 'linux' | 'portable' | 'simulated';
  open(path: string, options?: OpenFileOptions): Promise<DirectFile>;
  /** Names in a directory, or undefined when there is no such directory. */
  list(directory: string): Promise<string[] | undefined>;
  /** Makes a directory and its parents, and their names durable; no error when it is there. */
  makeDirectory(directory: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes renames and new names in the directory durable. */
  syncDirectory(directory: string): Promise<void>;
  createEngine(options: EngineOptions): Engine;
}
