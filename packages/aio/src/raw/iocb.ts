/**
 * `struct iocb` and `struct io_event` in typed arrays. They replace the inline functions of libaio's header, which an FFI
 * cannot call. include/uapi/linux/aio_abi.h, little-endian.
 *
 * ```
 *   iocb, 64 bytes, as 32-bit words
 *    0 data ..    2 key   3 rw_flags   4 opcode | reqprio << 16   5 fd    6 buf ..    8 nbytes ..
 *   10 offset .. 12 reserved ..       14 flags (1: resfd)        15 resfd
 *
 *   io_event, 32 bytes
 *    0 data ..    2 obj ..             4 res ..                   6 res2 ..
 * ```
 *
 * The kernel copies an iocb and its iovecs during the submission, so an entry may be prepared again right after it. The
 * data buffer must stay until the completion. Nothing is checked here; the kernel refuses what is wrong.
 */
import type { ForeignInterface } from '../ffi/port.ts';

const IOCB_BYTES = 64;
const IO_EVENT_BYTES = 32;
const IOCB_WORDS = IOCB_BYTES / 4;
const EVENT_WORDS = IO_EVENT_BYTES / 4;
const TWO_32 = 0x1_0000_0000;

/** `IOCB_CMD_*` */
export const IocbCommand = {
  pread: 0,
  pwrite: 1,
  fsync: 2,
  fdsync: 3,
  poll: 5,
  preadv: 7,
  pwritev: 8,
} as const;
export type IocbCommand = (typeof IocbCommand)[keyof typeof IocbCommand];

/** `RWF_*`, include/uapi/linux/fs.h; see `setRwFlags`. */
export const RwFlag = {
  hipri: 0x1,
  dsync: 0x2,
  sync: 0x4,
  /** Completes with -EAGAIN where the request would have blocked `io_submit`. */
  nowait: 0x8,
  append: 0x10,
  atomic: 0x40,
} as const;

const FLAG_RESFD = 1;
const FLAG_IOPRIO = 2;

/** A fixed number of iocbs, and an array of pointers to choose among them. Owns its memory. */
export class IocbArray {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #address: number;
  readonly #tag: number;
  readonly #pointers: Int32Array;
  /** Address of the array of pointers that `point` fills. */
  readonly pointersAddress: number;

  /**
   * @param capacity how many iocbs; they are numbered from 0
   * @param tag comes back with every completion, as the upper word of its `data`
   */
  constructor(ffi: ForeignInterface, capacity: number, tag = 0) {
    this.capacity = capacity;
    this.#tag = tag;
    const memory = new ArrayBuffer(capacity * IOCB_BYTES);
    this.#words = new Int32Array(memory);
    this.#address = ffi.addressOf(memory);
    const pointers = new ArrayBuffer(capacity * 8);
    this.#pointers = new Int32Array(pointers);
    this.pointersAddress = ffi.addressOf(pointers);
  }

  /** `io_prep_pread`. The memory at `bufferAddress` must stay until the completion. */
  prepRead(
    index: number,
    fd: number,
    bufferAddress: number,
    lengthBytes: number,
    fileOffset: number,
    data = index,
  ): void {
    this.prepare(index, IocbCommand.pread, fd, bufferAddress, lengthBytes, fileOffset, data);
  }

  /** `io_prep_pwrite`. The memory at `bufferAddress` must stay, unchanged, until the completion. */
  prepWrite(
    index: number,
    fd: number,
    bufferAddress: number,
    lengthBytes: number,
    fileOffset: number,
    data = index,
  ): void {
    this.prepare(index, IocbCommand.pwrite, fd, bufferAddress, lengthBytes, fileOffset, data);
  }

  /** `io_prep_preadv`, into `count` entries of an `IovecArray`. */
  prepReadv(index: number, fd: number, iovecAddress: number, count: number, fileOffset: number, data = index): void {
    this.prepare(index, IocbCommand.preadv, fd, iovecAddress, count, fileOffset, data);
  }

  /** `io_prep_pwritev`, from `count` entries of an `IovecArray`. */
  prepWritev(index: number, fd: number, iovecAddress: number, count: number, fileOffset: number, data = index): void {
    this.prepare(index, IocbCommand.pwritev, fd, iovecAddress, count, fileOffset, data);
  }

  /** `io_prep_fsync`. Covers writes that have completed, not those in flight. */
  prepFsync(index: number, fd: number, data = index): void {
    this.prepareFlush(index, IocbCommand.fsync, fd, data);
  }

  /** `io_prep_fdsync`. Covers writes that have completed, not those in flight. */
  prepFdsync(index: number, fd: number, data = index): void {
    this.prepareFlush(index, IocbCommand.fdsync, fd, data);
  }

  /** `io_prep_poll`: completes once, with the events of `mask` (`POLLIN` is 1) that are there. */
  prepPoll(index: number, fd: number, mask: number, data = index): void {
    this.prepare(index, IocbCommand.poll, fd, mask, 0, 0, data);
  }

  /**
   * Describes a request in the kernel's terms; the functions above name its uses.
   *
   * @param data comes back with the completion; a number of 32 bits
   */
  prepare(
    index: number,
    command: IocbCommand,
    fd: number,
    bufferAddress: number,
    lengthBytes: number,
    fileOffset: number,
    data: number,
  ): void {
    const words = this.#words;
    const at = index * IOCB_WORDS;
    words[at] = data;
    words[at + 1] = this.#tag;
    words[at + 3] = 0;
    words[at + 4] = command;
    words[at + 5] = fd;
    words[at + 6] = bufferAddress;
    words[at + 7] = bufferAddress / TWO_32;
    words[at + 8] = lengthBytes;
    words[at + 9] = 0;
    words[at + 10] = fileOffset;
    words[at + 11] = Math.floor(fileOffset / TWO_32);
    words[at + 14] = 0;
    words[at + 15] = 0;
  }

  /** Describes a flush (`io_prep_fsync`, `io_prep_fdsync`); the kernel wants every other field zero. */
  prepareFlush(index: number, command: IocbCommand, fd: number, data: number): void {
    this.prepare(index, command, fd, 0, 0, 0, data);
  }

  /** `IOCB_FLAG_RESFD`: the eventfd is signalled when this request completes (`io_set_eventfd`). */
  setEventfd(index: number, eventfd: number): void {
    const at = index * IOCB_WORDS;
    this.#words[at + 14] = (this.#words[at + 14] as number) | FLAG_RESFD;
    this.#words[at + 15] = eventfd;
  }

  /** `RwFlag`s of a transfer, after it was prepared. */
  setRwFlags(index: number, flags: number): void {
    this.#words[index * IOCB_WORDS + 3] = flags;
  }

  /** `IOCB_FLAG_IOPRIO`: the I/O priority of a transfer, after it was prepared; class in bits 13 to 15, level in 0 to 2. */
  setPriority(index: number, priority: number): void {
    const at = index * IOCB_WORDS;
    this.#words[at + 4] = ((this.#words[at + 4] as number) & 0xffff) | (priority << 16);
    this.#words[at + 14] = (this.#words[at + 14] as number) | FLAG_IOPRIO;
  }

  /** Address of an iocb; what `io_cancel` wants. */
  addressOf(index: number): number {
    return this.#address + index * IOCB_BYTES;
  }

  /** Entry `place` of the array of pointers leads to iocb `index` from now on. */
  point(place: number, index: number): void {
    const address = this.#address + index * IOCB_BYTES;
    this.#pointers[place * 2] = address;
    this.#pointers[place * 2 + 1] = address / TWO_32;
  }
}

/** Room for completions that `io_getevents` fills. Owns its memory. */
export class EventArray {
  readonly capacity: number;
  readonly address: number;
  readonly #words: Int32Array;

  constructor(ffi: ForeignInterface, capacity: number) {
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity * IO_EVENT_BYTES);
    this.#words = new Int32Array(memory);
    this.address = ffi.addressOf(memory);
  }

  /** The low word of what the iocb carried. */
  data(index: number): number {
    return (this.#words[index * EVENT_WORDS] as number) >>> 0;
  }

  /** The upper word of it. */
  tag(index: number): number {
    return (this.#words[index * EVENT_WORDS + 1] as number) >>> 0;
  }

  /** Bytes transferred, or a negative error number. */
  result(index: number): number {
    return this.#words[index * EVENT_WORDS + 4] as number;
  }
}
