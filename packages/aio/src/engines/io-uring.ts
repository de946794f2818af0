/**
 * io_uring behind the engine seam: one SQE for each slot, copied into the ring of submissions, one
 * `io_uring_enter` for each batch (none with `sqpoll`), completions read from their ring in place, an eventfd to be
 * woken by. See engine.ts for the invariants ENGINE-1 to ENGINE-5, raw/io-uring.ts for the rings.
 *
 * ```
 *   submit ─► SQ ring ─enter─► kernel ─ at the next system call of this thread ─► CQ ring ─► reap
 *                        ▲                `sqpoll`, `iopoll`: at once               │ eventfd
 *                     `sqpoll`: by itself                                           ▼
 *                                        reap ◄─ onCompletion ◄─ the event loop ◄───┘
 * ```
 *
 * - A request that cannot be carried out is accepted and completes with its failure, so `submit` refuses no request.
 * - `iopoll`: no eventfd; while active with something in flight, each turn of the event loop looks. The kernel
 *   refuses flushes (EINVAL), and transfers where the device has no poll queues (EOPNOTSUPP).
 * - `sqpoll`: a kernel thread keeps a core busy until it has polled in vain for `sqpollIdleMs`.
 * - Not in a worker: the ring belongs to the process, so the kernel would go on writing to the memory of a terminated
 *   worker.
 *
 * It keeps its own memory and the registered buffers alive. The queue keeps all other data buffers alive.
 *
 * URING-1. A `reap` that leaves room in `completions` has left nothing behind.
 * URING-2. At most `depth` requests are in flight, so the rings have room for all of them.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, SystemCallError, assert, nowMs, setImmediate } from '@aiokv/core';
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import type { AlignedBuffer } from '../buffers.ts';
import { Completions, Opcode, RequestFlag } from '../engine.ts';
import type { Engine, EngineOptions, UringOptions } from '../engine.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { EnterFlag, FSYNC_DATASYNC, RegisterOpcode, SetupFlag, SqeArray, Uring, UringOpcode } from '../raw/io-uring.ts';
import { IovecArray, VectorTable } from '../raw/iovec.ts';
import { libcOf } from '../raw/libc.ts';
import { Wakeup } from '../raw/wakeup.ts';

export interface UringEngineOptions extends EngineOptions {
  readonly ffi: ForeignInterface;
  /** Why this engine. */
  readonly reason: string;
}

const { EAGAIN, EBUSY, EINTR, ENOMEM } = constants.errno;
const DEFAULT_SQPOLL_IDLE_MS = 100;
/** The kernel registers no larger piece of memory. */
const LARGEST_REGISTERED_BYTES = 2 ** 30;
/** Completions that are thrown away at a time. */
const DISCARD_BATCH = 256;

const { coopTaskrun, iopoll: IOPOLL, sqpoll: SQPOLL, submitAll, taskrunFlag } = SetupFlag;

/** Flags to try, the best first. */
function setupFlags({ sqpoll = false, iopoll = false }: UringOptions): number[] {
  const wanted = (sqpoll ? SQPOLL : 0) | (iopoll ? IOPOLL : 0);
  if (wanted !== 0) return [wanted | submitAll, wanted];
  // A completion that interrupts JavaScript costs more than one that waits for the next system call. Random 4 KiB reads
  // a second, medians of 6 on a busy machine: 106k against 93k at depth 32, 130k against 102k at 128, with a fifth and a
  // third less CPU. Waiting for a call of ours (DEFER_TASKRUN) was no better.
  return [submitAll | coopTaskrun | taskrunFlag, submitAll, 0];
}

export class UringEngine implements Engine {
  readonly name = 'io_uring';
  readonly reason: string;
  readonly features: Engine['features'];
  readonly perform = null;
  onCompletion: (() => void) | null = null;
  readonly #ring: Uring;
  readonly #depth: number;
  readonly #sqes: SqeArray;
  readonly #vectors: VectorTable;
  readonly #wakeup: Wakeup;
  readonly #usesSqpoll: boolean;
  readonly #usesIopoll: boolean;
  /** Places of registered files, by handle. */
  readonly #files = new Map<number, number>();
  /** Places of registered memory. */
  readonly #arenas = new Map<ArrayBuffer, number>();
  /** Accepted by the kernel and not handed out by `reap`. */
  #inFlight = 0;
  /** Completions to come of poll removals, of which nobody is told. */
  #untold = 0;
  #active = false;
  #isLooking = false;
  #closing: Promise<void> | null = null;
  #onQuiet: (() => void) | null = null;

  /**
   * @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE; AiokvRangeError, AiokvTypeError ERR_AIOKV_INVALID_OPTION for
   *   buffers or handles that cannot be registered; SystemCallError
   */
  constructor({ ffi, reason, slots, depth, uring = {} }: UringEngineOptions) {
    refuseWorker();
    const { sqpoll = false, iopoll = false, sqpollIdleMs = DEFAULT_SQPOLL_IDLE_MS, buffers = [], handles = [] } = uring;
    this.reason = reason;
    this.features = { flags: RequestFlag.dsync | RequestFlag.nowait, priority: true, poll: !iopoll };
    this.#depth = depth;
    this.#usesSqpoll = sqpoll;
    this.#usesIopoll = iopoll;
    this.#ring = new Uring(ffi, { entries: depth, flags: setupFlags(uring), sqThreadIdleMs: sqpollIdleMs });
    try {
      this.#registerBuffers(ffi, buffers);
      this.#registerFiles(ffi, handles);
      this.#sqes = new SqeArray(slots);
      this.#vectors = new VectorTable(ffi, slots);
      this.#wakeup = new Wakeup(libcOf(ffi), this.#onWake);
    } catch (error) {
      this.#ring.close();
      throw error;
    }
    const eventfd = Int32Array.of(this.#wakeup.eventfd);
    const result = this.#ring.register(RegisterOpcode.eventfd, ffi.addressOf(eventfd.buffer), 1);
    if (result < 0) {
      this.#wakeup.close();
      this.#ring.close();
      throw new SystemCallError('io_uring_register', result);
    }
  }

  prepare(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): void {
    const sqes = this.#sqes;
    const file = this.#files.get(handle);
    const fd = file ?? handle;
    if (buffer === null) sqes.prepareFlush(slot, fd, opcode === Opcode.fdatasync ? FSYNC_DATASYNC : 0, slot);
    else {
      const arena = this.#arenas.size === 0 ? undefined : this.#arenas.get(buffer.bytes.buffer);
      const address = buffer.address + bufferOffset;
      if (arena === undefined) {
        const plain = opcode === Opcode.read ? UringOpcode.read : UringOpcode.write;
        sqes.prepare(slot, plain, fd, address, lengthBytes, fileOffset, slot);
      } else {
        const fixed = opcode === Opcode.read ? UringOpcode.readFixed : UringOpcode.writeFixed;
        sqes.prepare(slot, fixed, fd, address, lengthBytes, fileOffset, slot);
        sqes.setBufferIndex(slot, arena);
      }
    }
    if (file !== undefined) sqes.setFixedFile(slot);
  }

  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void {
    const file = this.#files.get(handle);
    const vector = opcode === Opcode.readv ? UringOpcode.readv : UringOpcode.writev;
    const address = this.#vectors.fill(slot, buffers);
    this.#sqes.prepare(slot, vector, file ?? handle, address, buffers.length, fileOffset, slot);
    if (file !== undefined) this.#sqes.setFixedFile(slot);
  }

  preparePoll(slot: number, descriptor: number, mask: number): void {
    this.#sqes.preparePoll(slot, descriptor, mask, slot);
  }

  setHints(slot: number, flags: number, priority: number): void {
    if (flags !== 0) this.#sqes.addRwFlags(slot, flags);
    if (priority !== 0) this.#sqes.setPriority(slot, priority);
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    if (count === 0) return 0;
    const ring = this.#ring;
    const room = Math.min(count, this.#depth - this.#inFlight, ring.room);
    if (room <= 0) return -EAGAIN;
    for (let i = 0; i < room; i++) ring.push(this.#sqes, slots[start + i] as number);
    const accepted = this.#send(room);
    if (accepted > 0) {
      this.#inFlight += accepted;
      if (this.#usesIopoll && this.#active) this.#lookSoon();
    }
    return accepted;
  }

  reap(completions: Completions): number {
    completions.count = 0;
    if (this.#closing !== null) return 0;
    return this.#collect(completions);
  }

  wait(timeoutMs: number, min = 1): void {
    if (this.#closing !== null) return;
    const wanted = Math.min(min, this.#inFlight) + this.#untold;
    if (!this.#usesIopoll) {
      this.#ring.wait(wanted, timeoutMs);
      return;
    }
    // The kernel would poll on past the timeout.
    const untilMs = nowMs() + timeoutMs;
    do this.#fetch();
    while (this.#ring.ready < wanted && nowMs() < untilMs);
  }

  cancel(slot: number): void {
    if (this.#closing !== null) return;
    const ring = this.#ring;
    // Only a kernel thread (`sqpoll`) leaves the ring full, and not for long.
    while (ring.room === 0) ring.enter(0, 0, EnterFlag.sqWait | EnterFlag.sqWakeup);
    ring.pushPollRemoval(slot);
    // If the kernel refuses, the poll goes on.
    if (this.#send(1) === 1) this.#untold++;
  }

  setActive(active: boolean): void {
    if (this.#closing !== null) return;
    this.#active = active;
    this.#wakeup.setActive(active);
    if (!active || this.#inFlight === 0) return;
    if (this.#usesIopoll) this.#lookSoon();
    // The eventfd may have been read while inactive.
    else if (this.#ring.ready > 0 || this.#ring.needsEnter) setImmediate(this.#onWake);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Submits what was pushed; returns as `submit` does. */
  #send(count: number): number {
    const ring = this.#ring;
    ring.publish();
    if (this.#usesSqpoll) {
      const result = ring.needsWakeup ? ring.enter(count, 0, EnterFlag.sqWakeup) : 0;
      if (result < 0) throw new SystemCallError('io_uring_enter', result);
      return count;
    }
    const result = ring.enter(count, 0, 0);
    if (result < count) ring.takeBack();
    return result === 0 || isPassing(result) ? -EAGAIN : result;
  }

  /** See URING-1. */
  #collect(completions: Completions): number {
    const ring = this.#ring;
    if (this.#usesIopoll) this.#fetch();
    for (;;) {
      this.#untold -= ring.reap(completions);
      if (completions.count === completions.capacity || !ring.needsEnter) break;
      this.#fetch();
    }
    this.#inFlight -= completions.count;
    return completions.count;
  }

  /** Asks the kernel to put completions into the ring. */
  #fetch(): void {
    const result = this.#ring.enter(0, 0, EnterFlag.getevents);
    if (result < 0 && !isPassing(result)) throw new SystemCallError('io_uring_enter', result);
  }

  readonly #onWake = (): void => {
    if (this.#closing !== null) this.#discard();
    else if (this.#active) this.onCompletion?.();
  };

  #lookSoon(): void {
    if (this.#isLooking || this.#inFlight === 0) return;
    this.#isLooking = true;
    setImmediate(this.#look);
  }

  /** `iopoll`: one turn of looking. */
  readonly #look = (): void => {
    this.#isLooking = false;
    if (!this.#active && this.#closing === null) return;
    this.#onWake();
    this.#lookSoon();
  };

  async #close(): Promise<void> {
    this.onCompletion = null;
    try {
      await this.#quiet();
    } finally {
      // Explicitly, because after the descriptor is closed the kernel releases files, and their locks, at some later time.
      if (this.#files.size > 0) this.#ring.register(RegisterOpcode.unregisterFiles, 0, 0);
      if (this.#arenas.size > 0) this.#ring.register(RegisterOpcode.unregisterBuffers, 0, 0);
      this.#ring.close();
      this.#wakeup.close();
    }
  }

  /** Waits on the event loop for what is in flight and discards the results (ENGINE-5). */
  async #quiet(): Promise<void> {
    this.#discard();
    if (this.#inFlight === 0) return;
    this.#wakeup.setActive(true);
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
      if (this.#usesIopoll) this.#lookSoon();
    });
  }

  #discard(): void {
    if (this.#inFlight === 0) return;
    const discarded = new Completions(DISCARD_BATCH);
    do discarded.count = 0;
    while (this.#collect(discarded) === DISCARD_BATCH);
    if (this.#inFlight === 0) this.#onQuiet?.();
  }

  #registerBuffers(ffi: ForeignInterface, buffers: readonly AlignedBuffer[]): void {
    for (const { bytes } of buffers) {
      if (this.#arenas.has(bytes.buffer)) continue;
      if (bytes.buffer.byteLength > LARGEST_REGISTERED_BYTES) {
        throw new AiokvRangeError(
          'ERR_AIOKV_INVALID_OPTION',
          `uring.buffers: the kernel registers at most 1 GiB in one piece, and this pool has ` +
            `${bytes.buffer.byteLength} bytes: make several pools`,
        );
      }
      this.#arenas.set(bytes.buffer, this.#arenas.size);
    }
    if (this.#arenas.size === 0) return;
    const vector = new IovecArray(ffi, this.#arenas.size);
    for (const [arena, place] of this.#arenas) vector.set(place, ffi.addressOf(arena), arena.byteLength);
    const result = this.#ring.register(RegisterOpcode.buffers, vector.addressOf(0), vector.capacity);
    if (result === -ENOMEM) {
      throw new AiokvError(
        'ERR_AIOKV_ENGINE_UNAVAILABLE',
        'io_uring may not lock that much memory (uring.buffers): raise the limit (ulimit -l), or register fewer buffers',
        { cause: new SystemCallError('io_uring_register', result) },
      );
    }
    if (result < 0) throw new SystemCallError('io_uring_register', result, 'uring.buffers');
  }

  #registerFiles(ffi: ForeignInterface, handles: readonly number[]): void {
    for (const handle of handles) {
      if (handle < 0) throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', 'uring.handles: one of the files is closed');
      if (!this.#files.has(handle)) this.#files.set(handle, this.#files.size);
    }
    if (this.#files.size === 0) return;
    const descriptors = Int32Array.from(this.#files.keys());
    const result = this.#ring.register(RegisterOpcode.files, ffi.addressOf(descriptors.buffer), descriptors.length);
    if (result < 0) throw new SystemCallError('io_uring_register', result, 'uring.handles');
  }
}

/** Whether a refusal is temporary, until something completes. */
function isPassing(result: number): boolean {
  return result === -EAGAIN || result === -EBUSY || result === -EINTR;
}

function refuseWorker(): void {
  if (isMainThread) return;
  throw new AiokvError(
    'ERR_AIOKV_ENGINE_UNAVAILABLE',
    'io_uring does not work in workers: the kernel would write to memory that was freed when a worker is terminated. ' +
      "Use the engine 'libaio'",
  );
}
