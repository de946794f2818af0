/**
 * Linux AIO behind the engine seam: one context, one iocb for each slot, one `io_submit` for each batch,
 * completions read from the mapped ring without a system call, an eventfd to be woken by.
 *
 * It keeps its own memory (iocbs, pointers, events) alive through itself, for the kernel reads and writes
 * there; the data buffers are held by whoever submits. See engine.ts for the invariants E1 to E5.
 *
 * ```
 *   kernel ─► ring ─────────────────────► reap        the usual way, no system call
 *               └─ io_getevents ─► events ─► reap      after `wait`, and where the ring cannot be read
 * ```
 *
 * L1. Events that `wait` took out of the ring are handed out by the next `reap`, before any others.
 * L2. A `reap` that leaves room in `completions` has left nothing behind: the eventfd was read once for
 *     all of them and does not signal again.
 * L3. After `close` began no call reaches the context: its ring is about to be unmapped, and the address
 *     may be that of another context a moment later.
 */
import type { AlignedBuffer } from '../buffers.ts';
import { Opcode } from '../engine.ts';
import type { Completions, Engine, EngineOptions } from '../engine.ts';
import { SystemCallError, assert } from '@aiokv/core';
import { constants } from 'node:os';
import { aioCalls } from '../raw/libaio.ts';
import type { AioCalls } from '../raw/libaio.ts';
import { EventArray, IocbArray, IocbCommand } from '../raw/iocb.ts';
import { libcOf } from '../raw/libc.ts';
import { CompletionRing } from '../raw/ring.ts';
import { Wakeup } from '../raw/wakeup.ts';
import type { ForeignInterface } from '../ffi/port.ts';

export interface LibaioOptions extends EngineOptions {
  readonly ffi: ForeignInterface;
  /** Reap with `io_getevents` instead of reading the ring. */
  readonly forceSyscalls: boolean;
  /** Go through libaio where it is installed. */
  readonly useLibaio: boolean;
}

const { EINTR } = constants.errno;
/** Some 68 years, and a timeout of Infinity. */
const MAX_WAIT_SECONDS = 0x7fff_ffff;
const COMMANDS = {
  [Opcode.read]: IocbCommand.pread,
  [Opcode.write]: IocbCommand.pwrite,
  [Opcode.fsync]: IocbCommand.fsync,
  [Opcode.fdatasync]: IocbCommand.fdsync,
} as const;

export class LibaioEngine implements Engine {
  readonly name = 'libaio';
  onCompletion: (() => void) | null = null;
  readonly #calls: AioCalls;
  readonly #context: number;
  readonly #iocbs: IocbArray;
  readonly #events: EventArray;
  /** Events that `wait` took out of the ring and `reap` has not handed out: the first `#overflow`. */
  #overflow = 0;
  #overflowTaken = 0;
  /** `struct timespec`: seconds, then nanoseconds, each 64 bits of which the lower half is used. */
  readonly #timeout = new Int32Array(4);
  readonly #timeoutAddress: number;
  #ring: CompletionRing | null;
  readonly #wakeup: Wakeup;
  #active = false;
  /** The eventfd was read while inactive; what it announced may still wait. */
  #missedWake = false;
  #closing: Promise<void> | null = null;

  /** @throws AiokvError ERR_AIOKV_NO_CONTEXT; SystemCallError */
  constructor(options: LibaioOptions) {
    const { ffi, slots, depth, forceSyscalls, useLibaio } = options;
    this.#calls = aioCalls(ffi, useLibaio);
    this.#iocbs = new IocbArray(ffi, slots);
    this.#events = new EventArray(ffi, depth);
    this.#timeoutAddress = ffi.addressOf(this.#timeout.buffer);
    this.#wakeup = new Wakeup(libcOf(ffi), this.#onWake);
    try {
      this.#context = this.#calls.ioSetup(depth);
    } catch (error) {
      this.#wakeup.close();
      throw error;
    }
    this.#ring = forceSyscalls
      ? null
      : CompletionRing.at(this.#context, (address, bytes) => ffi.viewOf(address, bytes));
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
    const command = COMMANDS[opcode];
    if (buffer === null) this.#iocbs.prepareFlush(slot, command, handle, slot);
    else this.#iocbs.prepare(slot, command, handle, buffer.address + bufferOffset, lengthBytes, fileOffset, slot);
    this.#iocbs.setEventfd(slot, this.#wakeup.eventfd);
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    for (let i = 0; i < count; i++) this.#iocbs.point(i, slots[start + i] as number);
    return this.#calls.ioSubmit(this.#context, count, this.#iocbs.pointersAddress);
  }

  reap(completions: Completions): number {
    completions.count = 0;
    if (this.#closing !== null) return 0;
    if (this.#overflow > 0) this.#takeOverflow(completions);
    if (this.#ring === null) this.#reapThroughKernel(completions);
    else if (!this.#ring.reap(completions)) {
      this.#ring.drop();
      this.#ring = null;
      this.#reapThroughKernel(completions);
    }
    return completions.count;
  }

  wait(timeoutMs: number): void {
    if (this.#closing !== null || this.#overflow > 0 || this.#ring?.isEmpty === false) return;
    this.#getevents(1, timeoutMs);
  }

  setActive(active: boolean): void {
    if (this.#closing !== null) return;
    this.#active = active;
    this.#wakeup.setActive(active);
    if (active && this.#missedWake) {
      this.#missedWake = false;
      if (this.#ring === null || this.#overflow > 0 || !this.#ring.isEmpty) setImmediate(this.#onWake);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  readonly #onWake = (): void => {
    if (this.#active) this.onCompletion?.();
    else this.#missedWake = true;
  };

  async #close(): Promise<void> {
    this.#ring?.drop();
    this.#ring = null;
    this.onCompletion = null;
    try {
      // Waits for what is in flight (E5); until then the eventfd must live.
      await this.#calls.ioDestroy(this.#context);
    } finally {
      this.#wakeup.close();
    }
  }

  /** L2: `events` has room for all that can be in flight, so one call takes everything there is. */
  #reapThroughKernel(completions: Completions): void {
    if (completions.count === completions.capacity) return;
    this.#getevents(0, 0);
    this.#takeOverflow(completions);
  }

  /** Takes events out through the kernel. Requires that none of an earlier call are left. */
  #getevents(min: number, timeoutMs: number): void {
    const seconds = Math.min(Math.floor(Math.max(0, timeoutMs) / 1000), MAX_WAIT_SECONDS);
    const nanoseconds = Math.floor(Math.max(0, timeoutMs - seconds * 1000) * 1e6);
    this.#timeout[0] = seconds;
    this.#timeout[2] = Math.min(nanoseconds, 999_999_999);
    const { address, capacity } = this.#events;
    const count = this.#calls.ioGetevents(this.#context, min, capacity, address, this.#timeoutAddress);
    if (count === -EINTR) return;
    if (count < 0) throw new SystemCallError('io_getevents', count);
    this.#overflow = count;
    this.#overflowTaken = 0;
  }

  #takeOverflow(completions: Completions): void {
    const { slots, results } = completions;
    while (this.#overflowTaken < this.#overflow && completions.count < slots.length) {
      slots[completions.count] = this.#events.data(this.#overflowTaken);
      results[completions.count] = this.#events.result(this.#overflowTaken);
      completions.count++;
      this.#overflowTaken++;
    }
    if (this.#overflowTaken === this.#overflow) {
      this.#overflow = 0;
      this.#overflowTaken = 0;
    }
  }
}
