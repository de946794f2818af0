/**
 * Linux AIO behind the engine seam: one context, one iocb for each slot, one `io_submit` for each batch,
 * completions read from the mapped ring without a system call, an eventfd to be woken by.
 *
 * It keeps its own memory (iocbs, pointers, events) alive through itself, for the kernel reads and writes
 * there; the data buffers are held by whoever submits. See engine.ts for the invariants E1 to E5.
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
  readonly #timeout = new BigInt64Array(2);
  readonly #timeoutAddress: number;
  #ring: CompletionRing | null;
  readonly #wakeup: Wakeup;
  #closing: Promise<void> | null = null;

  /** @throws AiokvError ERR_AIOKV_NO_CONTEXT; SystemCallError */
  constructor(options: LibaioOptions) {
    const { ffi, slots, depth, forceSyscalls, useLibaio } = options;
    this.#calls = aioCalls(ffi, useLibaio);
    this.#iocbs = new IocbArray(ffi, slots);
    this.#events = new EventArray(ffi, depth);
    this.#timeoutAddress = ffi.addressOf(this.#timeout.buffer);
    this.#wakeup = new Wakeup(libcOf(ffi), () => this.onCompletion?.());
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
    if (this.#overflow > 0) this.#takeOverflow(completions);
    if (this.#ring === null) {
      if (this.#overflow === 0 && completions.count === 0) {
        this.#getevents(0, 0);
        this.#takeOverflow(completions);
      }
    } else if (!this.#ring.reap(completions)) {
      this.#ring.drop();
      this.#ring = null;
    }
    return completions.count;
  }

  wait(timeoutMs: number): void {
    if (this.#overflow > 0 || this.#ring?.isEmpty === false) return;
    this.#getevents(1, timeoutMs);
  }

  setActive(active: boolean): void {
    this.#wakeup.setActive(active);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#ring?.drop();
    this.#ring = null;
    this.onCompletion = null;
    // Waits for what is in flight (E5); until then the eventfd must live.
    await this.#calls.ioDestroy(this.#context);
    this.#wakeup.close();
  }

  /** Takes events out through the kernel. Requires that none of an earlier call are left. */
  #getevents(min: number, timeoutMs: number): void {
    this.#timeout[0] = BigInt(Math.floor(timeoutMs / 1000));
    this.#timeout[1] = BigInt(Math.round((timeoutMs % 1000) * 1e6));
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
