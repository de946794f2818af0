/**
 * Linux AIO behind the engine seam: one iocb for each slot, one `io_submit` for each batch, completions from
 * the thread's context (libaio-context.ts), an eventfd of its own to be woken by. See engine.ts for the
 * invariants ENGINE-1 to ENGINE-5.
 *
 * It keeps the iocbs, pointers and vectors alive, since the kernel reads them. The queue keeps the data buffers alive.
 *
 * LIBAIO-1. A `reap` that leaves room in `completions` has left nothing behind: the eventfd was read once for
 *     all of them and does not signal again.
 * LIBAIO-2. It leaves its context only after the kernel has reported all requests that it accepted.
 */
import { assert, setImmediate } from '@aiokv/core';
import type { AlignedBuffer } from '../buffers.ts';
import { Opcode, RequestFlag } from '../engine.ts';
import type { Completions, Engine, EngineOptions } from '../engine.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { aioCalls } from '../raw/libaio.ts';
import { IocbArray, IocbCommand } from '../raw/iocb.ts';
import { VectorTable } from '../raw/iovec.ts';
import { libcOf } from '../raw/libc.ts';
import { Wakeup } from '../raw/wakeup.ts';
import { contextFor } from './libaio-context.ts';
import type { AioContext, Inbox } from './libaio-context.ts';

export interface LibaioOptions extends EngineOptions {
  readonly ffi: ForeignInterface;
  /** Why this engine. */
  readonly reason: string;
  /** Reap with `io_getevents` instead of reading the ring. */
  readonly forceSyscalls: boolean;
  /** Go through libaio where it is installed. */
  readonly useLibaio: boolean;
}

const COMMANDS = {
  [Opcode.read]: IocbCommand.pread,
  [Opcode.write]: IocbCommand.pwrite,
  [Opcode.fsync]: IocbCommand.fsync,
  [Opcode.fdatasync]: IocbCommand.fdsync,
  [Opcode.poll]: IocbCommand.poll,
  [Opcode.readv]: IocbCommand.preadv,
  [Opcode.writev]: IocbCommand.pwritev,
} as const;

export class LibaioEngine implements Engine {
  readonly name = 'libaio';
  readonly reason: string;
  readonly features = { flags: RequestFlag.dsync | RequestFlag.nowait, priority: true, poll: true };
  readonly perform = null;
  onCompletion: (() => void) | null = null;
  readonly #context: AioContext;
  readonly #inbox: Inbox;
  readonly #iocbs: IocbArray;
  readonly #vectors: VectorTable;
  readonly #wakeup: Wakeup;
  /** Accepted by the kernel and not handed out by `reap`. */
  #inFlight = 0;
  #active = false;
  /** The eventfd was read while inactive, so completions may still be waiting. */
  #missedWake = false;
  #closing: Promise<void> | null = null;
  #onQuiet: (() => void) | null = null;

  /** @throws AiokvError ERR_AIOKV_NO_CONTEXT; SystemCallError */
  constructor(options: LibaioOptions) {
    const { ffi, slots, depth, forceSyscalls, useLibaio, ownContext = false } = options;
    this.reason = options.reason;
    this.#wakeup = new Wakeup(libcOf(ffi), this.#onWake);
    try {
      const calls = aioCalls(ffi, useLibaio);
      this.#context = contextFor({ ffi, calls, depth, isOwn: ownContext, readsRing: !forceSyscalls });
    } catch (error) {
      this.#wakeup.close();
      throw error;
    }
    this.#inbox = this.#context.join(depth);
    this.#iocbs = new IocbArray(ffi, slots, this.#inbox.tag);
    this.#vectors = new VectorTable(ffi, slots);
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

  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void {
    const address = this.#vectors.fill(slot, buffers);
    this.#iocbs.prepare(slot, COMMANDS[opcode], handle, address, buffers.length, fileOffset, slot);
    this.#iocbs.setEventfd(slot, this.#wakeup.eventfd);
  }

  preparePoll(slot: number, descriptor: number, mask: number): void {
    this.#iocbs.prepPoll(slot, descriptor, mask, slot);
    this.#iocbs.setEventfd(slot, this.#wakeup.eventfd);
  }

  setHints(slot: number, flags: number, priority: number): void {
    this.#iocbs.setRwFlags(slot, flags);
    if (priority !== 0) this.#iocbs.setPriority(slot, priority);
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    for (let i = 0; i < count; i++) this.#iocbs.point(i, slots[start + i] as number);
    const accepted = this.#context.submit(count, this.#iocbs.pointersAddress);
    if (accepted > 0) this.#inFlight += accepted;
    return accepted;
  }

  reap(completions: Completions): number {
    completions.count = 0;
    if (this.#closing !== null) return 0;
    if (this.#inbox.count < completions.capacity) this.#context.collect();
    this.#inbox.take(completions);
    this.#inFlight -= completions.count;
    return completions.count;
  }

  wait(timeoutMs: number, min = 1): void {
    if (this.#closing === null) this.#context.wait(this.#inbox, Math.min(min, this.#inFlight), timeoutMs);
  }

  cancel(slot: number): void {
    if (this.#closing === null) this.#context.cancel(this.#iocbs.addressOf(slot));
  }

  setActive(active: boolean): void {
    if (this.#closing !== null) return;
    this.#active = active;
    this.#wakeup.setActive(active);
    if (active && this.#missedWake) {
      this.#missedWake = false;
      if (this.#inbox.count > 0 || this.#context.mayHaveEvents) setImmediate(this.#onWake);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  readonly #onWake = (): void => {
    if (this.#closing !== null) this.#discard();
    else if (this.#active) this.onCompletion?.();
    else this.#missedWake = true;
  };

  async #close(): Promise<void> {
    this.onCompletion = null;
    try {
      await this.#quiet();
      await this.#context.leave(this.#inbox);
    } finally {
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
    });
  }

  #discard(): void {
    this.#context.collect();
    this.#inFlight -= this.#inbox.count;
    this.#inbox.clear();
    if (this.#inFlight === 0) this.#onQuiet?.();
  }
}
