/**
 * The interface of io_uring: a ring of submissions, a ring of completions, and the three system calls, by their numbers. include/uapi/linux/io_uring.h, Linux 5.11 or later, little-endian.
 *
 * ```
 *                 SQEs, 64 bytes each                            one mapping for the words of both rings
 *   push ─► │ 0 │ 1 │ … │ mask │ ◄── array: place i is SQE i        sq: head (kernel's)   tail (ours)
 *                    │ publish moves the tail, enter is the call    cq: head (ours)       tail (kernel's)
 *                    ▼
 *                 kernel ─► CQEs, 16 bytes: │ user_data .. │ res │ flags │ ─► reap
 *
 *   SQE, as 32-bit words
 *    0 opcode | flags << 8 | ioprio << 16   1 fd   2 off ..   4 addr ..   6 len   7 rw_flags, fsync_flags, poll events
 *    8 user_data ..                        10 buf_index      11 to 15, zero here
 * ```
 *
 * Heads and tails only grow and wrap at 2^32; `& mask` gives the place. The lower word of `user_data` is the caller's. The
 * upper one is 0, or 1 when nobody is told of the completion (`pushPollRemoval`).
 *
 * RAWURING-1. One thread pushes and reaps.
 * RAWURING-2. `close` unmaps the rings and drops all views of them: touching one later would crash the process.
 * RAWURING-3. What the kernel has not consumed can be taken back, unless a kernel thread polls for submissions.
 */
import { AiokvError, SystemCallError, nowMs } from '@aiokv/core';
import { constants } from 'node:os';
import type { Completions } from '../engine.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { libcOf, toInt } from './libc.ts';
import type { Libc } from './libc.ts';

/** `IORING_OP_*` */
export const UringOpcode = {
  readv: 1,
  writev: 2,
  fsync: 3,
  readFixed: 4,
  writeFixed: 5,
  pollAdd: 6,
  pollRemove: 7,
  read: 22,
  write: 23,
} as const;
export type UringOpcode = (typeof UringOpcode)[keyof typeof UringOpcode];

/** `IORING_SETUP_*` */
export const SetupFlag = {
  iopoll: 1 << 0,
  sqpoll: 1 << 1,
  cqsize: 1 << 3,
  clamp: 1 << 4,
  /** A request that is refused does not stop those behind it; 5.18. */
  submitAll: 1 << 7,
  /** A completion does not interrupt the thread; 5.19. */
  coopTaskrun: 1 << 8,
  /** `needsEnter` tells of completions that wait for a call; 5.19. */
  taskrunFlag: 1 << 9,
  singleIssuer: 1 << 12,
  /** Completions wait for a call that asks for them; 6.1. */
  deferTaskrun: 1 << 13,
} as const;

/** `IORING_ENTER_*` */
export const EnterFlag = { getevents: 1, sqWakeup: 2, sqWait: 4, extArg: 8 } as const;

/** `IORING_REGISTER_*` and `IORING_UNREGISTER_*` */
export const RegisterOpcode = { buffers: 0, unregisterBuffers: 1, files: 2, unregisterFiles: 3, eventfd: 4 } as const;

/** `IORING_FEAT_*` */
export const UringFeature = { singleMmap: 1 << 0, nodrop: 1 << 1, submitStable: 1 << 2, extArg: 1 << 8 } as const;

/** `IORING_FSYNC_DATASYNC` */
export const FSYNC_DATASYNC = 1;

const REQUIRED_FEATURES =
  UringFeature.singleMmap | UringFeature.nodrop | UringFeature.submitStable | UringFeature.extArg;
const SQE_FIXED_FILE = 1;
const SQE_BYTES = 64;
const SQE_WORDS = SQE_BYTES / 4;
/** The words of an SQE that are ever other than zero. */
const SQE_WORDS_USED = 11;
const CQE_WORDS = 4;
/** Upper word of `user_data` of a request that nobody waits for. */
const UNTOLD = 1;
const SQ_NEED_WAKEUP = 1;
const SQ_CQ_OVERFLOW = 2;
const SQ_TASKRUN = 4;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const OFFSET_RINGS = 0;
const OFFSET_SQES = 0x1000_0000;
/** `struct io_uring_getevents_arg`: sigmask, its size and min_wait, address of the timespec; then the timespec. */
const GETEVENTS_ARG_BYTES = 24;
/** Some 68 years, and a timeout of Infinity. */
const MAX_WAIT_SECONDS = 0x7fff_ffff;
const TWO_32 = 0x1_0000_0000;
const TWO_31 = 0x8000_0000;
const GONE = new Int32Array(0);
const { EINTR, EINVAL, ENOSYS, EPERM, ETIME } = constants.errno;

/** `struct io_uring_params`, as 32-bit words. */
const Params = {
  bytes: 120,
  sqEntries: 0,
  cqEntries: 1,
  flags: 2,
  sqThreadIdle: 4,
  features: 5,
  /** head, tail, ring_mask, ring_entries, flags, dropped, array */
  sqOffsets: 10,
  /** head, tail, ring_mask, ring_entries, overflow, cqes, flags */
  cqOffsets: 20,
} as const;

/** A fixed number of SQEs to be pushed, as often as one likes. Owns its memory. */
export class SqeArray {
  readonly #words: Int32Array;

  /** @param capacity how many; they are numbered from 0 */
  constructor(capacity: number) {
    this.#words = new Int32Array(capacity * SQE_WORDS);
  }

  /**
   * A transfer, vectored or not. The memory must stay until the completion, and so must the iovecs where a thread
   * of the kernel looks for submissions.
   *
   * @param address of the memory, or of the iovecs, of which `length` is the count then
   * @param fileOffset a negative one is refused with EINVAL, also -1, which the kernel takes for the file's position
   * @param userData comes back with the completion; a number of 32 bits
   */
  prepare(
    index: number,
    opcode: UringOpcode,
    fd: number,
    address: number,
    length: number,
    fileOffset: number,
    userData: number,
  ): void {
    const words = this.#words;
    const at = index * SQE_WORDS;
    words[at] = opcode;
    words[at + 1] = fd;
    words[at + 2] = fileOffset;
    words[at + 3] = fileOffset < 0 ? TWO_31 : fileOffset / TWO_32;
    words[at + 4] = address;
    words[at + 5] = address / TWO_32;
    words[at + 6] = length;
    words[at + 7] = 0;
    words[at + 8] = userData;
    words[at + 10] = 0;
  }

  /** @param flags 0 or `FSYNC_DATASYNC` */
  prepareFlush(index: number, fd: number, flags: number, userData: number): void {
    this.prepare(index, UringOpcode.fsync, fd, 0, 0, 0, userData);
    this.#words[index * SQE_WORDS + 7] = flags;
  }

  /** Completes once, with the events of `mask` (`POLLIN` is 1) that are there. */
  preparePoll(index: number, fd: number, mask: number, userData: number): void {
    this.prepare(index, UringOpcode.pollAdd, fd, 0, 0, 0, userData);
    this.#words[index * SQE_WORDS + 7] = mask;
  }

  /** What was given as `fd` is a place among the registered files (`IOSQE_FIXED_FILE`). */
  setFixedFile(index: number): void {
    const at = index * SQE_WORDS;
    this.#words[at] = (this.#words[at] as number) | (SQE_FIXED_FILE << 8);
  }

  /** Which registered buffer the memory of a `readFixed` or `writeFixed` lies in. */
  setBufferIndex(index: number, bufferIndex: number): void {
    this.#words[index * SQE_WORDS + 10] = bufferIndex;
  }

  /** Adds `RwFlag`s to a transfer. */
  addRwFlags(index: number, flags: number): void {
    const at = index * SQE_WORDS + 7;
    this.#words[at] = (this.#words[at] as number) | flags;
  }

  /** The I/O priority of a transfer; class in bits 13 to 15, level in 0 to 2. */
  setPriority(index: number, priority: number): void {
    const at = index * SQE_WORDS;
    this.#words[at] = ((this.#words[at] as number) & 0xffff) | (priority << 16);
  }

  /** Copies an SQE to `target`, beginning at the word `targetAt`. */
  copyTo(index: number, target: Int32Array, targetAt: number): void {
    const words = this.#words;
    const at = index * SQE_WORDS;
    for (let i = 0; i < SQE_WORDS_USED; i++) target[targetAt + i] = words[at + i] as number;
  }
}

export interface UringSetup {
  /** Submissions that the ring takes at once; the kernel makes a power of two of it. Completions: twice as many. */
  readonly entries: number;
  /** Sets of `SetupFlag`s, the one that is preferred first: a kernel that does not know one is asked for the next. */
  readonly flags: readonly number[];
  /** With `SetupFlag.sqpoll`: how long the thread of the kernel looks in vain before it sleeps, in milliseconds. */
  readonly sqThreadIdleMs?: number;
}

export class Uring {
  readonly fd: number;
  /** The `SetupFlag`s that it has. */
  readonly flags: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly #libc: Libc;
  readonly #enterNumber: number;
  /** What is mapped: addresses and lengths. */
  readonly #mappings: [number, number][] = [];
  /** See RAWURING-2. */
  #words: Int32Array = GONE;
  #sqes: Int32Array = GONE;
  // Places in `#words`.
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqFlags: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqes: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  /** The tail of the submissions with what was pushed and not published. */
  #tail = 0;
  /** The argument of a wait, then its timespec. */
  readonly #argument = new Int32Array((GETEVENTS_ARG_BYTES + 16) / 4);
  readonly #argumentAddress: number;
  #isClosed = false;

  /** @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE when there is none to be had here; SystemCallError */
  constructor(ffi: ForeignInterface, setup: UringSetup) {
    const libc = libcOf(ffi);
    const { fd, params } = setUp(libc, setup);
    this.fd = fd;
    this.#libc = libc;
    this.#enterNumber = libc.numbers.io_uring_enter;
    this.flags = params[Params.flags] as number;
    this.sqEntries = params[Params.sqEntries] as number;
    this.cqEntries = params[Params.cqEntries] as number;
    const sq = wordAt(params, Params.sqOffsets);
    const cq = wordAt(params, Params.cqOffsets);
    [this.#sqHead, this.#sqTail, this.#sqFlags] = [sq(0), sq(1), sq(4)];
    [this.#cqHead, this.#cqTail, this.#cqes] = [cq(0), cq(1), cq(5)];
    this.#argumentAddress = ffi.addressOf(this.#argument.buffer);
    putAddress(this.#argument, 4, this.#argumentAddress + GETEVENTS_ARG_BYTES);
    try {
      requireFeatures(params[Params.features] as number);
      const array = sq(6);
      const words = Math.max(array + this.sqEntries, this.#cqes + this.cqEntries * CQE_WORDS);
      this.#words = this.#map(OFFSET_RINGS, words);
      this.#sqes = this.#map(OFFSET_SQES, this.sqEntries * SQE_WORDS);
      this.#sqMask = this.#words[sq(2)] as number;
      this.#cqMask = this.#words[cq(2)] as number;
      for (let i = 0; i < this.sqEntries; i++) this.#words[array + i] = i;
      // A filter of system calls may let one through and not the other.
      const entered = this.enter(0, 0, EnterFlag.getevents);
      if (entered < 0) throw unavailable('io_uring_enter', entered);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** SQEs that `push` can take. */
  get room(): number {
    return this.sqEntries - ((this.#tail - Atomics.load(this.#words, this.#sqHead)) | 0);
  }

  /** Puts an SQE behind the others. Requires `room`. */
  push(sqes: SqeArray, index: number): void {
    sqes.copyTo(index, this.#sqes, (this.#tail & this.#sqMask) * SQE_WORDS);
    this.#tail = (this.#tail + 1) | 0;
  }

  /** Asks for the early end of the poll with this `userData`; nobody is told how that went. Requires `room`. */
  pushPollRemoval(userData: number): void {
    const at = (this.#tail & this.#sqMask) * SQE_WORDS;
    const words = this.#sqes.fill(0, at, at + SQE_WORDS);
    words[at] = UringOpcode.pollRemove;
    words[at + 1] = -1;
    words[at + 4] = userData;
    words[at + 9] = UNTOLD;
    this.#tail = (this.#tail + 1) | 0;
  }

  /** Shows the kernel what was pushed. */
  publish(): void {
    Atomics.store(this.#words, this.#sqTail, this.#tail);
  }

  /** Takes back what was published and not consumed (RAWURING-3). */
  takeBack(): void {
    this.#tail = Atomics.load(this.#words, this.#sqHead);
    Atomics.store(this.#words, this.#sqTail, this.#tail);
  }

  /** `io_uring_enter`: returns how many were consumed, or a negative error number. */
  enter(toSubmit: number, minComplete: number, flags: number): number {
    const result = toInt(this.#libc.syscall(this.#enterNumber, this.fd, toSubmit, minComplete, flags, 0, 0));
    return result < 0 ? -this.#libc.errno() : result;
  }

  /**
   * Blocks until `min` completions are in the ring or the time is up, also when a signal comes in between.
   *
   * @throws SystemCallError
   */
  wait(min: number, timeoutMs: number): void {
    const untilMs = nowMs() + timeoutMs;
    const flags = EnterFlag.getevents | EnterFlag.extArg;
    for (let leftMs = timeoutMs; ; leftMs = untilMs - nowMs()) {
      this.#setTimeout(Math.max(0, leftMs));
      const result = toInt(
        this.#libc.syscall(this.#enterNumber, this.fd, 0, min, flags, this.#argumentAddress, GETEVENTS_ARG_BYTES),
      );
      if (result >= 0) return;
      const errno = this.#libc.errno();
      if (errno === ETIME) return;
      if (errno !== EINTR) throw new SystemCallError('io_uring_enter', errno);
      if (leftMs <= 0) return;
    }
  }

  /** Whether the thread of the kernel sleeps and has to be woken (`EnterFlag.sqWakeup`). */
  get needsWakeup(): boolean {
    return (Atomics.load(this.#words, this.#sqFlags) & SQ_NEED_WAKEUP) !== 0;
  }

  /** Whether completions wait for a call (`EnterFlag.getevents`) to bring them into the ring. */
  get needsEnter(): boolean {
    return (Atomics.load(this.#words, this.#sqFlags) & (SQ_CQ_OVERFLOW | SQ_TASKRUN)) !== 0;
  }

  /** Completions in the ring, those included that nobody is to be told of. */
  get ready(): number {
    return (Atomics.load(this.#words, this.#cqTail) - (this.#words[this.#cqHead] as number)) | 0;
  }

  /**
   * Moves completions out of the ring, as many as there is room for behind `completions.count`.
   *
   * @returns how many there were that nobody is to be told of
   */
  reap(completions: Completions): number {
    const words = this.#words;
    const cqes = this.#cqes;
    const mask = this.#cqMask;
    let head = words[this.#cqHead] as number;
    const tail = Atomics.load(words, this.#cqTail);
    if (head === tail) return 0;
    const { slots, results } = completions;
    let { count } = completions;
    let untold = 0;
    while (head !== tail && count < slots.length) {
      const at = cqes + (head & mask) * CQE_WORDS;
      if (words[at + 1] === 0) {
        slots[count] = words[at] as number;
        results[count] = words[at + 2] as number;
        count++;
      } else untold++;
      head = (head + 1) | 0;
    }
    completions.count = count;
    Atomics.store(words, this.#cqHead, head);
    return untold;
  }

  /** `io_uring_register`: returns a negative error number on failure. */
  register(opcode: number, address: number, count: number): number {
    const libc = this.#libc;
    const result = toInt(libc.syscall(libc.numbers.io_uring_register, this.fd, opcode, address, count, 0, 0));
    return result < 0 ? -libc.errno() : result;
  }

  /** Requires that nothing is in flight whose memory may go. Idempotent (RAWURING-2). */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#words = this.#sqes = GONE;
    this.#libc.close(this.fd);
    for (const [address, bytes] of this.#mappings) this.#libc.munmap(address, bytes);
  }

  #map(offset: number, words: number): Int32Array {
    const libc = this.#libc;
    const bytes = words * 4;
    const address = libc.mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, this.fd, offset);
    if (address === -1) throw new SystemCallError('mmap', libc.errno());
    this.#mappings.push([address, bytes]);
    const view = libc.ffi.viewOf(address, bytes);
    if (view !== undefined) return new Int32Array(view.buffer, view.byteOffset, words);
    throw new AiokvError(
      'ERR_AIOKV_ENGINE_UNAVAILABLE',
      "io_uring needs to view the kernel's memory, which this runtime does not allow: use the engine 'libaio'",
    );
  }

  #setTimeout(timeoutMs: number): void {
    const at = GETEVENTS_ARG_BYTES / 4;
    const seconds = Math.min(Math.floor(timeoutMs / 1000), MAX_WAIT_SECONDS);
    this.#argument[at] = seconds;
    this.#argument[at + 2] = Math.min(Math.floor((timeoutMs - seconds * 1000) * 1e6), 999_999_999);
  }
}

function setUp(libc: Libc, { entries, flags, sqThreadIdleMs = 0 }: UringSetup): { fd: number; params: Int32Array } {
  let errno = EINVAL;
  for (const set of flags) {
    const params = new Int32Array(Params.bytes / 4);
    params[Params.flags] = set;
    params[Params.sqThreadIdle] = sqThreadIdleMs;
    const fd = toInt(libc.syscall(libc.numbers.io_uring_setup, entries, libc.ffi.addressOf(params.buffer)));
    if (fd >= 0) return { fd, params };
    errno = libc.errno();
    if (errno !== EINVAL) break;
  }
  throw unavailable('io_uring_setup', errno);
}

function requireFeatures(features: number): void {
  if ((features & REQUIRED_FEATURES) === REQUIRED_FEATURES) return;
  throw new AiokvError(
    'ERR_AIOKV_ENGINE_UNAVAILABLE',
    `io_uring is used from Linux 5.11 on, and this kernel is older: use the engine 'libaio'`,
  );
}

const REASONS: Readonly<Record<number, string>> = {
  [EPERM]: 'it is forbidden here, by the container or by the sysctl kernel.io_uring_disabled',
  [ENOSYS]: 'this kernel does not have it, or the container hides it',
};

function unavailable(syscall: string, errno: number): AiokvError {
  const cause = new SystemCallError(syscall, errno);
  const reason = REASONS[Math.abs(errno)] ?? cause.message;
  return new AiokvError(
    'ERR_AIOKV_ENGINE_UNAVAILABLE',
    `io_uring is not available: ${reason}. Use the engine 'libaio'`,
    { cause },
  );
}

/** Offsets in bytes, as places of words. */
function wordAt(params: Int32Array, from: number): (field: number) => number {
  return (field) => (params[from + field] as number) >>> 2;
}

function putAddress(words: Int32Array, at: number, address: number): void {
  words[at] = address;
  words[at + 1] = address / TWO_32;
}
