/**
 * The engine that works wherever Node runs. Each request is a call of `node:fs`, and so a task for libuv's pool, whose
 * threads (4, or UV_THREADPOOL_SIZE) it shares with everything else that uses the pool. It needs no foreign functions.
 *
 * ```
 *   submit ─► pread, pwrite … on a thread ─► callback ─► ready ring ─► (setImmediate) onCompletion ─► reap
 * ```
 *
 * - At most as many requests as threads are at the device at once, whatever the depth. The others wait in the pool.
 *   Random 4 KiB direct reads at depth 32: 35k a second with 4 threads, 90k with 16, as with `fs.read` alone.
 * - Completions come through the event loop, so `wait` cannot work. A synchronous read uses `perform`, which carries the
 *   request out on this thread.
 * - The pool keeps the process alive until its tasks are done, whatever `setActive` says.
 *
 * THREADS-1. Callbacks are made once for each slot and used for all its requests: Node's own request object is the
 *     only thing that is allocated for a request.
 * THREADS-2. One `onCompletion` tells of all completions of a turn of the event loop.
 */
import { assert, setImmediate } from '@aiokv/core';
import { constants } from 'node:os';
import type { AlignedBuffer } from '../buffers.ts';
import type { Completions, Engine, EngineOptions, Opcode } from '../engine.ts';
import {
  callbackOf,
  flushNow,
  flushOnThread,
  transferNow,
  transferOnThread,
  transferVectorNow,
  transferVectorOnThread,
} from '../thread-io.ts';
import type { ThreadCallback } from '../thread-io.ts';
import { ReadyRing } from './ready-ring.ts';

const { EAGAIN, EBADF, EINVAL } = constants.errno;

export interface ThreadsOptions extends EngineOptions {
  /** Why this engine. */
  readonly reason: string;
}

/** Null is a flush. */
type Memory = AlignedBuffer | readonly AlignedBuffer[] | null;

export class ThreadsEngine implements Engine {
  readonly name = 'threads';
  readonly reason: string;
  readonly features = { flags: 0, priority: false, poll: false };
  onCompletion: (() => void) | null = null;
  readonly #depth: number;
  /** What was prepared, by slot. */
  readonly #opcodes: Uint8Array;
  readonly #handles: Int32Array;
  readonly #bufferOffsets: Float64Array;
  readonly #lengths: Float64Array;
  readonly #fileOffsets: Float64Array;
  readonly #memory: Memory[];
  /** THREADS-1; null for a slot that has had no request yet. */
  readonly #callbacks: (ThreadCallback | null)[];
  readonly #ready: ReadyRing;
  /** Accepted and not handed out by `reap`. */
  #inFlight = 0;
  #active = false;
  #notifyScheduled = false;
  #closing: Promise<void> | null = null;
  #onQuiet: (() => void) | null = null;

  constructor({ slots, depth, reason }: ThreadsOptions) {
    this.reason = reason;
    this.#depth = depth;
    this.#opcodes = new Uint8Array(slots);
    this.#handles = new Int32Array(slots);
    this.#bufferOffsets = new Float64Array(slots);
    this.#lengths = new Float64Array(slots);
    this.#fileOffsets = new Float64Array(slots);
    this.#memory = new Array<Memory>(slots).fill(null);
    this.#callbacks = new Array<ThreadCallback | null>(slots).fill(null);
    this.#ready = new ReadyRing(depth);
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
    this.#opcodes[slot] = opcode;
    this.#handles[slot] = handle;
    this.#bufferOffsets[slot] = bufferOffset;
    this.#lengths[slot] = lengthBytes;
    this.#fileOffsets[slot] = fileOffset;
    this.#memory[slot] = buffer;
  }

  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void {
    this.#opcodes[slot] = opcode;
    this.#handles[slot] = handle;
    this.#fileOffsets[slot] = fileOffset;
    this.#memory[slot] = buffers;
  }

  preparePoll(): void {
    assert(false, 'an engine without the feature is not asked to poll');
  }

  setHints(_slot: number, flags: number, priority: number): void {
    assert(flags === 0 && priority === 0, 'an engine without the features is given no hints');
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    for (let accepted = 0; accepted < count; accepted++) {
      const slot = slots[start + accepted] as number;
      const refusal = this.#inFlight < this.#depth ? this.#refusal(slot) : -EAGAIN;
      // A refusal is told when the request stands first (ENGINE-3).
      if (refusal !== 0) return accepted > 0 ? accepted : refusal;
      this.#inFlight++;
      this.#send(slot);
    }
    return count;
  }

  reap(completions: Completions): number {
    completions.count = 0;
    if (this.#closing !== null) return 0;
    this.#ready.take(completions);
    this.#inFlight -= completions.count;
    return completions.count;
  }

  wait(): void {
    assert(false, 'an engine with perform is not waited for');
  }

  readonly perform = (slot: number): number => {
    const refusal = this.#refusal(slot);
    if (refusal !== 0) return refusal;
    const opcode = this.#opcodes[slot] as Opcode;
    const handle = this.#handles[slot] as number;
    const offset = this.#fileOffsets[slot] as number;
    const memory = this.#memory[slot] as Memory;
    this.#memory[slot] = null;
    if (memory === null) return flushNow(opcode, handle);
    if (isVector(memory)) return transferVectorNow(opcode, handle, memory, offset);
    return transferNow(
      opcode,
      handle,
      memory,
      this.#bufferOffsets[slot] as number,
      this.#lengths[slot] as number,
      offset,
    );
  };

  cancel(): void {
    // Polls alone can be cancelled, and there are none.
  }

  setActive(active: boolean): void {
    this.#active = active;
    if (active && this.#ready.count > 0) this.#scheduleNotify();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.onCompletion = null;
    this.#discard();
    // The threads cannot be stopped, so their results are awaited and discarded (ENGINE-5).
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
  }

  /** The negative error number with which the kernel would refuse the request outright, or 0. */
  #refusal(slot: number): number {
    if ((this.#handles[slot] as number) < 0) return -EBADF;
    return (this.#fileOffsets[slot] as number) < 0 ? -EINVAL : 0;
  }

  #send(slot: number): void {
    const opcode = this.#opcodes[slot] as Opcode;
    const handle = this.#handles[slot] as number;
    const offset = this.#fileOffsets[slot] as number;
    const memory = this.#memory[slot] as Memory;
    const callback = (this.#callbacks[slot] ??= callbackOf((result) => this.#finish(slot, result)));
    if (memory === null) flushOnThread(opcode, handle, callback);
    else if (isVector(memory)) transferVectorOnThread(opcode, handle, memory, offset, callback);
    else {
      const bufferOffset = this.#bufferOffsets[slot] as number;
      transferOnThread(opcode, handle, memory, bufferOffset, this.#lengths[slot] as number, offset, callback);
    }
  }

  #finish(slot: number, result: number): void {
    this.#memory[slot] = null;
    this.#ready.put(slot, result);
    if (this.#closing !== null) this.#discard();
    else if (this.#active) this.#scheduleNotify();
  }

  #discard(): void {
    this.#inFlight -= this.#ready.count;
    this.#ready.clear();
    if (this.#inFlight === 0) this.#onQuiet?.();
  }

  #scheduleNotify(): void {
    if (this.#notifyScheduled) return;
    this.#notifyScheduled = true;
    setImmediate(this.#notify);
  }

  readonly #notify = (): void => {
    this.#notifyScheduled = false;
    if (this.#active && this.#ready.count > 0) this.onCompletion?.();
  };
}

function isVector(memory: AlignedBuffer | readonly AlignedBuffer[]): memory is readonly AlignedBuffer[] {
  return Array.isArray(memory);
}
