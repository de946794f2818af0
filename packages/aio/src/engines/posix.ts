/**
 * The engine over glibc's POSIX AIO (raw/posix-aio.ts): threads of the C library that call `pread`, `pwrite` and `fsync`.
 * It exists for comparison; `libaio` and `threads` do the same better.
 *
 * ```
 *   submit ─► lio_listio ─► a queue and a thread for each descriptor ─► error word of the aiocb
 *                                                                         │
 *   reap ◄─ ready ring ◄─ collect: aio_error, aio_return ◄────────────────┤
 *   onCompletion ◄─ the event loop ◄─ a thread of libuv's pool: aio_suspend, 1 ms at most
 * ```
 *
 * - glibc carries out the requests of one descriptor one after another, so more in flight on one file is hardly
 *   faster. Random 4 KiB direct reads, same disk: 7k a second at depth 1 and 12k at depth 32, 60k at depth 32 over
 *   8 descriptors of the file; `libaio` 13k and 88k, `threads` 9k and 35k (4 threads), over one descriptor.
 * - There is no `readv` and no `writev`: a vector is one request for each buffer, and the result is their sum up to
 *   the first that was short or failed. Later buffers may have been transferred all the same.
 * - While active with something in flight, it occupies one thread of libuv's pool.
 * - Older versions of glibc refuse to flush a file that was opened for reading only (EBADF).
 * - Not in a worker: when one ends, its memory is freed while threads of the C library still write to it.
 *
 * GLIBC-1. What a thread may write to or read from (aiocbs, lists, buffers) is held by the engine, and the engine by this
 *     module, as long as something is in flight; an aiocb besides as long as an `aio_suspend` is out that names it.
 * GLIBC-2. Only `collect` reports that a request is done, and once.
 * GLIBC-3. An aiocb is not submitted again as long as an `aio_suspend` is out that names it. A thread that was woken, and
 *     finds it in progress once more, takes itself off the list of those who wait for the earlier request. That list leads
 *     to stacks of threads that are gone (glibc's rt/aio_suspend.c, 2.36).
 */
import { AiokvError, SystemCallError, assert, nextTurn, nowMs, setImmediate } from '@aiokv/core';
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import type { AlignedBuffer } from '../buffers.ts';
import { Opcode } from '../engine.ts';
import type { Completions, Engine, EngineOptions } from '../engine.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { AiocbArray, AiocbList, LIO_NOWAIT, LioOpcode, NEVER_SUBMITTED, SyncFlag, posixAio } from '../raw/posix-aio.ts';
import type { PosixAio } from '../raw/posix-aio.ts';
import { ReadyRing } from './ready-ring.ts';

const { EAGAIN, EBADF, EINPROGRESS, EINTR, EINVAL } = constants.errno;
/** The most buffers of a vector, as the kernel has it (UIO_MAXIOV), and of one call of `lio_listio`. */
const LIST_CAPACITY = 1024;
/**
 * How many requests an `aio_suspend` waits for at most. glibc looks each of them up in a list. Requests of one descriptor
 * finish in the order of submission, so the oldest are enough.
 */
const SUSPEND_CAPACITY = 64;
/** How long newer requests may be overlooked by an `aio_suspend` that is under way. */
const SUSPEND_MS = 1;
const PENDING = -EINPROGRESS;

export interface PosixOptions extends EngineOptions {
  readonly ffi: ForeignInterface;
  /** Why this engine. */
  readonly reason: string;
}

/** Null is a flush. */
type Memory = AlignedBuffer | readonly AlignedBuffer[] | null;

/** See GLIBC-1. */
const enginesInFlight = new Set<PosixEngine>();

export class PosixEngine implements Engine {
  readonly name = 'posix';
  readonly reason: string;
  readonly features = { flags: 0, priority: false, poll: false };
  readonly perform = null;
  onCompletion: (() => void) | null = null;
  readonly #ffi: ForeignInterface;
  readonly #calls: PosixAio;
  readonly #depth: number;
  /** Two for each slot, since a suspension may name one of them (GLIBC-3). */
  readonly #aiocbs: AiocbArray;
  /** Which of the two a slot uses. */
  readonly #places: Uint32Array;
  /** Those of the vector of a slot; made when a slot first has one, and used again. */
  readonly #pieces: (AiocbArray | null)[];
  /** Whether the suspension that is out names the aiocb that the slot uses, or one of its pieces. */
  readonly #isNamed: Uint8Array;
  /** Pieces that were replaced while an `aio_suspend` was out. */
  readonly #retired: AiocbArray[] = [];
  readonly #opcodes: Uint8Array;
  readonly #memory: Memory[];
  /** Of a vector: pieces that are done, the result so far, and whether it is final. */
  readonly #piecesDone: Uint32Array;
  readonly #sums: Int32Array;
  readonly #isCut: Uint8Array;
  /** What goes down in one call. */
  readonly #batch: AiocbList;
  readonly #waitList: AiocbList;
  /** Belongs to the thread while `#suspension` is not null. */
  readonly #suspendList: AiocbList;
  #suspension: Promise<void> | null = null;
  /** Slots with glibc, the oldest first. */
  readonly #flying: Uint32Array;
  #flyingCount = 0;
  readonly #ready: ReadyRing;
  #active = false;
  #closing: Promise<void> | null = null;

  /** @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE in a worker, or where the C library is not glibc */
  constructor({ ffi, slots, depth, reason }: PosixOptions) {
    if (!isMainThread) {
      throw new AiokvError(
        'ERR_AIOKV_ENGINE_UNAVAILABLE',
        'POSIX AIO does not work in workers: its threads would write to memory that was freed when a worker is ' +
          "terminated. Use the engine 'libaio' or 'threads'",
      );
    }
    this.reason = reason;
    this.#ffi = ffi;
    this.#calls = posixAio(ffi);
    this.#depth = depth;
    this.#aiocbs = new AiocbArray(ffi, slots * 2);
    this.#places = Uint32Array.from({ length: slots }, (_, slot) => slot * 2);
    this.#isNamed = new Uint8Array(slots);
    this.#pieces = new Array<AiocbArray | null>(slots).fill(null);
    this.#opcodes = new Uint8Array(slots);
    this.#memory = new Array<Memory>(slots).fill(null);
    this.#piecesDone = new Uint32Array(slots);
    this.#sums = new Int32Array(slots);
    this.#isCut = new Uint8Array(slots);
    this.#batch = new AiocbList(ffi, LIST_CAPACITY);
    this.#waitList = new AiocbList(ffi, SUSPEND_CAPACITY);
    this.#suspendList = new AiocbList(ffi, SUSPEND_CAPACITY);
    this.#flying = new Uint32Array(depth);
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
    this.#memory[slot] = buffer;
    const place = this.#placeFor(slot);
    if (buffer === null) this.#aiocbs.prepareFlush(place, handle);
    else {
      const what = opcode === Opcode.read ? LioOpcode.read : LioOpcode.write;
      this.#aiocbs.prepare(place, what, handle, buffer.address + bufferOffset, lengthBytes, fileOffset);
    }
  }

  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void {
    this.#opcodes[slot] = opcode;
    this.#memory[slot] = buffers;
    this.#piecesDone[slot] = this.#sums[slot] = this.#isCut[slot] = 0;
    // The descriptor of a vector is found where that of any other request is.
    this.#aiocbs.prepareFlush(this.#placeFor(slot), handle);
    const pieces = this.#piecesFor(slot, buffers.length);
    const what = opcode === Opcode.readv ? LioOpcode.read : LioOpcode.write;
    let offset = fileOffset;
    for (const [i, { address, byteLength }] of buffers.entries()) {
      pieces.prepare(i, what, handle, address, byteLength, offset);
      offset += byteLength;
    }
  }

  preparePoll(): void {
    assert(false, 'an engine without the feature is not asked to poll');
  }

  setHints(_slot: number, flags: number, priority: number): void {
    assert(flags === 0 && priority === 0, 'an engine without the features is given no hints');
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    let good = 0;
    let refusal = 0;
    while (good < count && (refusal = this.#refusal(slots[start + good] as number, good)) === 0) good++;
    // A refusal is told when the request stands first (ENGINE-3).
    if (good === 0) return refusal;
    const sent = this.#send(slots, start, start + good);
    if (this.#active) this.#watch();
    return sent;
  }

  reap(completions: Completions): number {
    completions.count = 0;
    if (this.#closing !== null) return 0;
    this.#collect();
    this.#ready.take(completions);
    return completions.count;
  }

  wait(timeoutMs: number, min = 1): void {
    if (this.#closing !== null) return;
    const untilMs = nowMs() + timeoutMs;
    const list = this.#waitList;
    for (;;) {
      this.#collect();
      const leftMs = untilMs - nowMs();
      if (this.#ready.count >= min || this.#flyingCount === 0 || leftMs <= 0) return;
      // Nothing is submitted before this call is back (GLIBC-3).
      this.#listPending(list, null);
      if (list.count === 0) continue;
      list.setTimeout(list.isFull ? Math.min(leftMs, SUSPEND_MS) : leftMs);
      const result = this.#calls.aioSuspend(list.address, list.count, list.timeoutAddress);
      if (result < 0 && result !== -EAGAIN && result !== -EINTR) throw new SystemCallError('aio_suspend', result);
    }
  }

  cancel(): void {
    // Polls alone can be cancelled, and there are none.
  }

  setActive(active: boolean): void {
    if (this.#closing !== null) return;
    this.#active = active;
    if (!active) return;
    if (this.#ready.count > 0) setImmediate(this.#notify);
    this.#watch();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.onCompletion = null;
    this.#active = false;
    // The threads cannot be stopped, so their results are awaited and discarded (ENGINE-5).
    for (;;) {
      this.#collect();
      this.#ready.clear();
      if (this.#flyingCount === 0 && this.#suspension === null) return;
      await this.#suspend();
    }
  }

  /** The negative error number with which the kernel would refuse the request outright, or 0. */
  #refusal(slot: number, ahead: number): number {
    if (this.#flyingCount + this.#ready.count + ahead >= this.#depth) return -EAGAIN;
    if (this.#aiocbs.descriptorOf(this.#placeOf(slot)) < 0) return -EBADF;
    const memory = this.#memory[slot] as Memory;
    return isVector(memory) && memory.length > LIST_CAPACITY ? -EINVAL : 0;
  }

  /** Sends `slots[from]` to `slots[to - 1]`; returns how many were taken, or the error number of the first. */
  #send(slots: Uint32Array, from: number, to: number): number {
    let listed = from;
    for (let at = from; at < to; at++) {
      const slot = slots[at] as number;
      const memory = this.#memory[slot] as Memory;
      const entries = isVector(memory) ? memory.length : 1;
      if (memory === null || this.#batch.count + entries > LIST_CAPACITY) {
        const taken = this.#sendBatch(slots, listed, at);
        if (listed + taken < at) return listed + taken - from || -EAGAIN;
        listed = at;
      }
      if (memory !== null) this.#list(slot, memory);
      else {
        const flag = this.#opcodes[slot] === Opcode.fsync ? SyncFlag.sync : SyncFlag.dsync;
        const result = this.#calls.aioFsync(flag, this.#aiocbs.addressOf(this.#placeOf(slot)));
        if (result < 0) return at - from || result;
        this.#noteSent(slot);
        listed = at + 1;
      }
    }
    return listed + this.#sendBatch(slots, listed, to) - from || -EAGAIN;
  }

  #list(slot: number, memory: AlignedBuffer | readonly AlignedBuffer[]): void {
    if (!isVector(memory)) this.#batch.add(this.#aiocbs.addressOf(this.#placeOf(slot)));
    else {
      const pieces = this.#pieces[slot] as AiocbArray;
      for (let i = 0; i < memory.length; i++) this.#batch.add(pieces.addressOf(i));
    }
  }

  /** One call for the transfers `slots[from]` to `slots[to - 1]`, which are listed; returns how many were taken. */
  #sendBatch(slots: Uint32Array, from: number, to: number): number {
    if (from === to) return 0;
    const result = this.#calls.lioListio(LIO_NOWAIT, this.#batch.address, this.#batch.count, 0);
    this.#batch.clear();
    const taken = result < 0 ? this.#salvage(slots, from, to) : to - from;
    for (let at = from; at < from + taken; at++) this.#noteSent(slots[at] as number);
    return taken;
  }

  /**
   * glibc was short of something and did not take every aiocb. Slots at the end without any are refused. In other slots
   * the missing ones fail with EAGAIN, since a slot cannot be taken back.
   */
  #salvage(slots: Uint32Array, from: number, to: number): number {
    let end = to;
    while (end > from && !this.#isTaken(slots[end - 1] as number)) end--;
    for (let at = from; at < end; at++) {
      this.#forEachAiocb(slots[at] as number, (aiocbs, index) => {
        if (this.#isUntaken(aiocbs, index)) aiocbs.fail(index, EAGAIN);
      });
    }
    return end - from;
  }

  #isTaken(slot: number): boolean {
    let isTaken = false;
    this.#forEachAiocb(slot, (aiocbs, index) => {
      isTaken ||= !this.#isUntaken(aiocbs, index);
    });
    return isTaken;
  }

  /** No transfer of a file ends with EAGAIN, so it is what glibc says when it has no thread or no memory. */
  #isUntaken(aiocbs: AiocbArray, index: number): boolean {
    const error = this.#calls.aioError(aiocbs.addressOf(index));
    return error === NEVER_SUBMITTED || error === EAGAIN;
  }

  #forEachAiocb(slot: number, see: (aiocbs: AiocbArray, index: number) => void): void {
    const memory = this.#memory[slot] as Memory;
    if (!isVector(memory)) see(this.#aiocbs, this.#placeOf(slot));
    else for (let i = 0; i < memory.length; i++) see(this.#pieces[slot] as AiocbArray, i);
  }

  #noteSent(slot: number): void {
    if (this.#flyingCount === 0) enginesInFlight.add(this);
    this.#flying[this.#flyingCount++] = slot;
  }

  /** GLIBC-2: moves what is done into the ready ring, the oldest first. */
  #collect(): void {
    if (this.#flyingCount === 0) return;
    const flying = this.#flying;
    let kept = 0;
    for (let i = 0; i < this.#flyingCount; i++) {
      const slot = flying[i] as number;
      const outcome = this.#outcome(slot);
      if (outcome === PENDING) flying[kept++] = slot;
      else {
        this.#memory[slot] = null;
        this.#ready.put(slot, outcome);
      }
    }
    this.#flyingCount = kept;
    if (kept === 0) enginesInFlight.delete(this);
  }

  /** The result of a slot, or PENDING. */
  #outcome(slot: number): number {
    const memory = this.#memory[slot] as Memory;
    if (!isVector(memory)) return this.#outcomeOf(this.#aiocbs, this.#placeOf(slot));
    for (let i = this.#piecesDone[slot] as number; i < memory.length; i++) {
      const outcome = this.#outcomeOf(this.#pieces[slot] as AiocbArray, i);
      if (outcome === PENDING) return PENDING;
      this.#piecesDone[slot] = i + 1;
      if (this.#isCut[slot] === 1) continue;
      if (outcome >= 0 || i === 0) this.#sums[slot] = (this.#sums[slot] as number) + outcome;
      if (outcome < (memory[i] as AlignedBuffer).byteLength) this.#isCut[slot] = 1;
    }
    return this.#sums[slot] as number;
  }

  #outcomeOf(aiocbs: AiocbArray, index: number): number {
    if (aiocbs.seemsInProgress(index)) return PENDING;
    const address = aiocbs.addressOf(index);
    const error = this.#calls.aioError(address);
    if (error === 0) return this.#calls.aioReturn(address);
    // Among the errors is EINPROGRESS, which is PENDING.
    return -error;
  }

  /** Lists requests to wait for, the oldest first: of a vector the last piece, which is done last. */
  #listPending(list: AiocbList, named: Uint8Array | null): void {
    list.clear();
    for (let i = 0; i < this.#flyingCount && !list.isFull; i++) {
      const slot = this.#flying[i] as number;
      const memory = this.#memory[slot] as Memory;
      const aiocbs = isVector(memory) ? (this.#pieces[slot] as AiocbArray) : this.#aiocbs;
      const index = isVector(memory) ? memory.length - 1 : this.#placeOf(slot);
      if (!aiocbs.seemsInProgress(index)) continue;
      list.add(aiocbs.addressOf(index));
      if (named !== null) named[slot] = 1;
    }
  }

  /** Wakes the event loop as soon as something is done. */
  #watch(): void {
    if (this.#flyingCount > 0 && this.#suspension === null) void this.#suspend().then(this.#onSuspended);
  }

  readonly #onSuspended = (): void => {
    if (!this.#active) return;
    this.#notify();
    this.#watch();
  };

  readonly #notify = (): void => {
    if (!this.#active) return;
    this.#collect();
    if (this.#ready.count > 0) this.onCompletion?.();
  };

  /** Settles when something is done, or after a moment; the one that is out, if there is one. */
  #suspend(): Promise<void> {
    this.#suspension ??= this.#beginSuspension();
    return this.#suspension;
  }

  async #beginSuspension(): Promise<void> {
    const list = this.#suspendList;
    this.#listPending(list, this.#isNamed);
    list.setTimeout(SUSPEND_MS);
    if (list.count === 0) await nextTurn();
    else await this.#calls.aioSuspendAsync(list.address, list.count, list.timeoutAddress);
    this.#retired.length = 0;
    this.#isNamed.fill(0);
    this.#suspension = null;
  }

  #placeOf(slot: number): number {
    return this.#places[slot] as number;
  }

  /** The place of an aiocb that no suspension names, for the next request of the slot (GLIBC-3). */
  #placeFor(slot: number): number {
    if (this.#isNamed[slot] === 1) {
      this.#isNamed[slot] = 0;
      this.#places[slot] = this.#placeOf(slot) ^ 1;
      const pieces = this.#pieces[slot] ?? null;
      if (pieces !== null) this.#retired.push(pieces);
      this.#pieces[slot] = null;
    }
    return this.#placeOf(slot);
  }

  #piecesFor(slot: number, count: number): AiocbArray {
    let pieces = this.#pieces[slot] ?? null;
    if (pieces !== null && pieces.capacity >= count) return pieces;
    if (pieces !== null && this.#suspension !== null) this.#retired.push(pieces);
    this.#pieces[slot] = pieces = new AiocbArray(this.#ffi, Math.max(1, count));
    return pieces;
  }
}

function isVector(memory: Memory): memory is readonly AlignedBuffer[] {
  return Array.isArray(memory);
}
