/**
 * The submission queue: takes requests one by one, sends them down in batches, keeps at most `depth`
 * of them in flight, and tells each caller when its own is done.
 *
 * ```
 *   read/write/fdatasync ─► slot ─► waiting ring ──flush──► engine.submit ─► in flight
 *                                                                              │ eventfd, or a peek
 *   promise / handler ◄──────────── dispatch ◄─────────── engine.reap ◄────────┘
 * ```
 *
 * When requests go down: as soon as a batch worth a system call has gathered, the rest at the end of
 * the turn of the event loop (after all microtasks). A batch is worth it at max(`batchMin`, half of
 * what is in flight): one big flush a turn would make requests return together and go down together
 * again, in lockstep.
 *
 * Q1. A request that was accepted is settled exactly once, and never from inside the call that made it.
 * Q2. At most `depth` requests are in flight; the others wait in the order in which they came.
 * Q3. A request that the kernel refuses fails alone; those behind it go down.
 * Q4. A handler that throws does not keep its neighbours from being told.
 *
 * It never retries, splits or continues a transfer: a short result is the caller's to judge.
 * docs/performance.md has what each of these choices costs and how it was measured.
 */
import { AiokvError, AiokvRangeError, SystemCallError, assert, integer, resolveOptions } from '@aiokv/core';
import { constants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import { Completions, Opcode } from './engine.ts';
import type { Engine } from './engine.ts';
import type { DirectFile, Platform } from './platform.ts';
import { SlotTable } from './slots.ts';
import type { CompletionHandler } from './slots.ts';

export interface QueueOptions {
  /** Most requests in flight at once; default 128. */
  depth: number;
  /** Most requests accepted beyond those in flight before callers have to wait; default 1024. */
  maxWaiting: number;
  /** Fewest requests worth a system call before the end of the turn; default 4. */
  batchMin: number;
  /**
   * With one or two requests in flight, how many turns of the event loop look for the completion before
   * sleeping until the kernel wakes the loop; default 160, some 100 to 200 us. 0 never spins.
   */
  spinTurns: number;
}

export interface TransferOptions {
  /** Offset in the file, in bytes; a multiple of the file's offset alignment. */
  offset: number;
  /** Bytes to transfer; default: to the end of the buffer. A multiple of the file's offset alignment. */
  length?: number;
  /** Where in the buffer; default 0. A multiple of the file's memory alignment. */
  bufferOffset?: number;
}

/** Counts since the queue was made. */
export interface QueueStatistics {
  readonly accepted: number;
  readonly completed: number;
  readonly inFlight: number;
  readonly waiting: number;
  /** Calls of the engine's `submit`; `accepted / submitCalls` is the mean batch. */
  readonly submitCalls: number;
  /** Times the kernel woke the loop. */
  readonly wakeups: number;
}

const { EAGAIN } = constants.errno;
/** Completions handed out in one turn of the loop before timers get their chance. */
const SLICE = 64;
/** Fewer in flight than this: look for the completion instead of sleeping. */
const SPIN_BELOW = 3;
const queueShape = {
  depth: integer(1, 4096, 128),
  maxWaiting: integer(0, 1 << 20, 1024),
  batchMin: integer(1, 4096, 4),
  spinTurns: integer(0, 10_000, 160),
};

export class Queue {
  readonly depth: number;
  readonly #engine: Engine;
  readonly #slots: SlotTable;
  readonly #batchMin: number;
  readonly #spinTurns: number;
  /** Ring of slots that wait to be submitted. */
  readonly #waiting: Uint32Array;
  #waitingHead = 0;
  #waitingCount = 0;
  #inFlight = 0;
  readonly #completions: Completions;
  /** Settled without the engine: refused requests, and what a synchronous read met on its way. */
  #settledEarly: { slot: number; result: number }[] = [];
  #flushScheduled = false;
  #immediateScheduled = false;
  #spinsLeft = 0;
  #dispatching = false;
  readonly #promises: PromiseSettler;
  /** Callers of the promise form that wait for a free slot. */
  readonly #blocked: (() => void)[] = [];
  #closing: Promise<void> | null = null;
  #onDrained: (() => void) | null = null;
  #accepted = 0;
  #completed = 0;
  #submitCalls = 0;
  #wakeups = 0;

  /**
   * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
   * @throws AiokvError ERR_AIOKV_NO_CONTEXT when the kernel has no more contexts to give
   */
  constructor(platform: Platform, options?: Partial<QueueOptions>) {
    const { depth, maxWaiting, batchMin, spinTurns } = resolveOptions<QueueOptions>('queue', queueShape, options);
    const slots = depth + maxWaiting;
    this.depth = depth;
    this.#batchMin = batchMin;
    this.#spinTurns = spinTurns;
    this.#slots = new SlotTable(slots);
    this.#waiting = new Uint32Array(slots);
    this.#completions = new Completions(Math.min(depth, SLICE));
    this.#promises = new PromiseSettler(slots);
    this.#engine = platform.createEngine({ slots, depth });
    this.#engine.onCompletion = () => {
      this.#wakeups++;
      this.#dispatch();
    };
  }

  /** Requests accepted and not settled. */
  get pending(): number {
    return this.#inFlight + this.#waitingCount + this.#settledEarly.length;
  }

  statistics(): QueueStatistics {
    return {
      accepted: this.#accepted,
      completed: this.#completed,
      inFlight: this.#inFlight,
      waiting: this.#waitingCount,
      submitCalls: this.#submitCalls,
      wakeups: this.#wakeups,
    };
  }

  /**
   * Reads into `buffer`, which belongs to the queue until the promise settles.
   *
   * @returns bytes read: fewer than asked for at the end of the file, 0 behind it
   * @throws AiokvRangeError ERR_AIOKV_ALIGNMENT, AiokvError ERR_AIOKV_CLOSED, SystemCallError
   */
  read(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    return this.#transfer(Opcode.read, file, buffer, options);
  }

  /**
   * Writes from `buffer`, which belongs to the queue until the promise settles and must not change
   * meanwhile.
   *
   * @returns bytes written
   * @throws AiokvRangeError ERR_AIOKV_ALIGNMENT, AiokvError ERR_AIOKV_CLOSED, SystemCallError
   */
  write(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    return this.#transfer(Opcode.write, file, buffer, options);
  }

  /** Makes the writes that have completed before this call durable. */
  async fdatasync(file: DirectFile): Promise<void> {
    await this.#promised(Opcode.fdatasync, file, null, 0, 0, 0);
  }

  /**
   * The form without a promise, for callers that batch.
   *
   * @param handler told in a later turn of the loop, with `token` and the bytes read or a negative error number
   * @param token a 32-bit integer
   * @returns false when the queue is full: nothing was accepted; try again after a completion
   * @throws AiokvRangeError ERR_AIOKV_ALIGNMENT, AiokvError ERR_AIOKV_CLOSED
   */
  submitRead(
    file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
  ): boolean {
    this.#check(file, buffer, bufferOffset, lengthBytes, fileOffset);
    return this.#accept(Opcode.read, file, buffer, bufferOffset, lengthBytes, fileOffset, handler, token) >= 0;
  }

  /** As `submitRead`, for a write. */
  submitWrite(
    file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
  ): boolean {
    this.#check(file, buffer, bufferOffset, lengthBytes, fileOffset);
    return this.#accept(Opcode.write, file, buffer, bufferOffset, lengthBytes, fileOffset, handler, token) >= 0;
  }

  /** As `submitRead`, for a flush of the writes that have completed. */
  submitFdatasync(file: DirectFile, handler: CompletionHandler, token: number): boolean {
    this.#checkOpen();
    return this.#accept(Opcode.fdatasync, file, null, 0, 0, 0, handler, token) >= 0;
  }

  /**
   * Reads and blocks the thread until it is done. Completions of other requests met meanwhile are
   * told in the next turn of the loop, never from inside this call.
   *
   * @returns bytes read
   * @throws as `read`, and AiokvError ERR_AIOKV_QUEUE_FULL when no slot is free
   */
  readSync(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): number {
    const { offset, bufferOffset = 0 } = options;
    const length = options.length ?? buffer.byteLength - bufferOffset;
    this.#check(file, buffer, bufferOffset, length, offset);
    let result: number | undefined;
    const handler = { complete: (_: number, value: number) => (result = value) };
    const slot = this.#accept(Opcode.read, file, buffer, bufferOffset, length, offset, handler, 0);
    if (slot < 0) throw new AiokvError('ERR_AIOKV_QUEUE_FULL', 'the queue is full: wait for a completion');
    while (result === undefined) {
      this.#flush();
      if (this.#inFlight > 0) this.#engine.wait(1000);
      this.#reapAside(slot);
    }
    return checked('read', result);
  }

  /** Settles everything that was accepted, then gives the engine back. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    await this.#engine.close();
  }

  #transfer(opcode: Opcode, file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    const { offset, bufferOffset = 0 } = options;
    const length = options.length ?? buffer.byteLength - bufferOffset;
    try {
      this.#check(file, buffer, bufferOffset, length, offset);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#promised(opcode, file, buffer, bufferOffset, length, offset);
  }

  #promised(
    opcode: Opcode,
    file: DirectFile,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): Promise<number> {
    if (this.#closing !== null) return Promise.reject(closedError());
    const promises = this.#promises;
    return new Promise((resolve, reject) => {
      const start = (): void => {
        const slot = this.#accept(opcode, file, buffer, bufferOffset, lengthBytes, fileOffset, promises, 0);
        if (slot >= 0) {
          this.#slots.retoken(slot, slot);
          promises.expect(slot, opcode, resolve, reject);
        } else this.#blocked.push(start);
      };
      start();
    });
  }

  #checkOpen(): void {
    if (this.#closing !== null) throw closedError();
  }

  #check(file: DirectFile, buffer: AlignedBuffer, bufferOffset: number, lengthBytes: number, fileOffset: number): void {
    this.#checkOpen();
    const { memory, offset } = file.alignment;
    if (!(bufferOffset >= 0 && lengthBytes > 0 && bufferOffset + lengthBytes <= buffer.byteLength)) {
      throw new AiokvRangeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        `bytes ${bufferOffset} to ${bufferOffset + lengthBytes} are not inside a buffer of ${buffer.byteLength}`,
      );
    }
    if (!Number.isSafeInteger(fileOffset) || fileOffset < 0) {
      throw new AiokvRangeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        `a file offset is a whole number from 0, not ${fileOffset}`,
      );
    }
    // Alignments are powers of two below 2^31, so the low 32 bits decide.
    if (((fileOffset >>> 0) | lengthBytes) & (offset - 1)) {
      throw new AiokvRangeError(
        'ERR_AIOKV_ALIGNMENT',
        `offset ${fileOffset} and length ${lengthBytes} must be multiples of ${offset} for direct I/O to ${file.path}`,
      );
    }
    if (((buffer.address + bufferOffset) >>> 0) & (memory - 1)) {
      throw new AiokvRangeError(
        'ERR_AIOKV_ALIGNMENT',
        `the address of the buffer must be a multiple of ${memory} for direct I/O to ${file.path}: use allocateAligned()`,
      );
    }
  }

  /** Gives the request a slot and a place in the ring; returns the slot, or -1 when the table is full. */
  #accept(
    opcode: Opcode,
    file: DirectFile,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
  ): number {
    if (this.#slots.freeCount === 0) return -1;
    const slot = this.#slots.take(handler, token, buffer);
    this.#engine.prepare(slot, opcode, file.handle, buffer, bufferOffset, lengthBytes, fileOffset);
    const capacity = this.#waiting.length;
    let tail = this.#waitingHead + this.#waitingCount;
    if (tail >= capacity) tail -= capacity;
    this.#waiting[tail] = slot;
    this.#accepted++;
    if (this.pending === 0) this.#engine.setActive(true);
    this.#waitingCount++;
    if (this.#waitingCount >= this.#batchMin && this.#waitingCount * 2 >= this.#inFlight) this.#flush();
    if (this.#waitingCount > 0 && !this.#flushScheduled) {
      this.#flushScheduled = true;
      process.nextTick(this.#flushEndOfTurn);
    }
    return slot;
  }

  /** Runs when the turn's microtasks have run dry. */
  readonly #flushEndOfTurn = (): void => {
    this.#flushScheduled = false;
    this.#flush();
  };

  /** Sends down what waits, as far as the depth allows. */
  #flush(): void {
    while (this.#waitingCount > 0 && this.#inFlight < this.depth) {
      const head = this.#waitingHead;
      const count = Math.min(this.#waitingCount, this.depth - this.#inFlight, this.#waiting.length - head);
      const accepted = this.#engine.submit(this.#waiting, head, count);
      this.#submitCalls++;
      assert(accepted <= count, 'an engine accepts no more than it was given');
      if (accepted > 0) {
        this.#dropWaiting(accepted);
        this.#inFlight += accepted;
      } else if (accepted === -EAGAIN || accepted === 0) {
        // Cleared by a completion; with none to come, ask again in the next turn.
        if (this.#inFlight === 0) this.#scheduleImmediate();
        break;
      } else {
        const slot = this.#waiting[head] as number;
        this.#dropWaiting(1);
        this.#settledEarly.push({ slot, result: accepted });
        this.#scheduleImmediate();
      }
    }
    if (this.#inFlight > 0 && this.#inFlight < SPIN_BELOW && this.#spinTurns > 0) {
      this.#spinsLeft = this.#spinTurns;
      this.#scheduleImmediate();
    }
  }

  #dropWaiting(count: number): void {
    this.#waitingHead += count;
    if (this.#waitingHead >= this.#waiting.length) this.#waitingHead -= this.#waiting.length;
    this.#waitingCount -= count;
  }

  #scheduleImmediate(): void {
    if (this.#immediateScheduled) return;
    this.#immediateScheduled = true;
    setImmediate(this.#onImmediate);
  }

  /** One turn of looking for completions without sleeping. */
  readonly #onImmediate = (): void => {
    this.#immediateScheduled = false;
    const settled = this.#dispatch();
    if (this.#waitingCount > 0 && this.#inFlight === 0) this.#flush();
    if (settled === 0 && this.#inFlight > 0 && this.#inFlight < SPIN_BELOW && this.#spinsLeft > 0) {
      this.#spinsLeft--;
      this.#scheduleImmediate();
    }
  };

  /** Tells the callers of one slice of completions; returns how many. */
  #dispatch(): number {
    if (this.#dispatching) return 0;
    this.#dispatching = true;
    let settled = 0;
    if (this.#settledEarly.length > 0) {
      const early = this.#settledEarly;
      this.#settledEarly = [];
      for (const { slot, result } of early) this.#settle(slot, result);
      settled += early.length;
    }
    if (this.#inFlight > 0) {
      const completions = this.#completions;
      const count = this.#engine.reap(completions);
      assert(count <= this.#inFlight, 'no more completions than requests in flight');
      this.#inFlight -= count;
      for (let i = 0; i < count; i++) {
        this.#settle(completions.slots[i] as number, completions.results[i] as number);
      }
      settled += count;
      if (count === completions.capacity) this.#scheduleImmediate();
    }
    this.#dispatching = false;
    if (settled > 0) this.#afterDispatch();
    return settled;
  }

  #afterDispatch(): void {
    while (this.#blocked.length > 0 && this.#slots.freeCount > 0) (this.#blocked.shift() as () => void)();
    if (this.#waitingCount > 0 && !this.#flushScheduled) {
      this.#flushScheduled = true;
      process.nextTick(this.#flushEndOfTurn);
    }
    if (this.pending === 0) {
      this.#engine.setActive(false);
      this.#onDrained?.();
    }
  }

  #settle(slot: number, result: number): void {
    const token = this.#slots.tokenOf(slot);
    const handler = this.#slots.release(slot);
    this.#completed++;
    try {
      handler.complete(token, result);
    } catch (error) {
      // Q4: it surfaces as an uncaught exception, after the neighbours were told.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** Reaps for a synchronous caller: its own completion is told at once, the others later. */
  #reapAside(own: number): void {
    const completions = this.#completions;
    if (this.#inFlight > 0) {
      const count = this.#engine.reap(completions);
      this.#inFlight -= count;
      for (let i = 0; i < count; i++) {
        this.#settledEarly.push({
          slot: completions.slots[i] as number,
          result: completions.results[i] as number,
        });
      }
    }
    const at = this.#settledEarly.findIndex((early) => early.slot === own);
    if (at >= 0) {
      const [early] = this.#settledEarly.splice(at, 1);
      this.#settle(own, (early as { result: number }).result);
      if (this.pending === 0) this.#engine.setActive(false);
    }
    if (this.#settledEarly.length > 0) this.#scheduleImmediate();
  }
}

/** Settles the promises of the promise form; its token is the slot. */
class PromiseSettler implements CompletionHandler {
  readonly #resolve: (((value: number) => void) | null)[];
  readonly #reject: (((reason: Error) => void) | null)[];
  readonly #opcode: Uint8Array;

  constructor(slots: number) {
    this.#resolve = new Array<((value: number) => void) | null>(slots).fill(null);
    this.#reject = new Array<((reason: Error) => void) | null>(slots).fill(null);
    this.#opcode = new Uint8Array(slots);
  }

  expect(slot: number, opcode: Opcode, resolve: (value: number) => void, reject: (reason: Error) => void): void {
    this.#resolve[slot] = resolve;
    this.#reject[slot] = reject;
    this.#opcode[slot] = opcode;
  }

  complete(slot: number, result: number): void {
    const resolve = this.#resolve[slot];
    const reject = this.#reject[slot];
    assert(typeof resolve === 'function' && typeof reject === 'function', 'a promise waits for this slot');
    this.#resolve[slot] = null;
    this.#reject[slot] = null;
    if (result >= 0) resolve(result);
    else reject(new SystemCallError(OPCODE_NAMES[this.#opcode[slot] as Opcode], result));
  }
}

const OPCODE_NAMES = {
  0: 'read',
  1: 'write',
  2: 'fsync',
  3: 'fdatasync',
  5: 'poll',
  7: 'readv',
  8: 'writev',
} as const;

function checked(syscall: string, result: number): number {
  if (result < 0) throw new SystemCallError(syscall, result);
  return result;
}

function closedError(): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', 'the queue is closed: open another one');
}
