/**
 * The queue that callers see: reads, writes and flushes, with promises, with a handler, or blocking. Accepted requests go
 * through a pipeline; pipeline.ts has the drawing.
 *
 * QUEUE-1. Bad arguments are refused before anything is accepted.
 * QUEUE-2. When no slot is free, the promise form waits in the order of the calls, and the handler form is refused. The
 *     handler form does not wait behind the promise form.
 * QUEUE-3. A promise settles when the buffer is the caller's again, and not before.
 *
 * It never retries, splits or continues a transfer unless asked to: a caller must judge a short result.
 * docs/performance.md has the cost of each choice and how it was measured.
 */
import { AiokvError, AiokvRangeError, alignDown, assert, nowMs } from '@aiokv/core';
import { WatchedRequest, checkEarlyEnd } from './abort.ts';
import type { EarlyEnd } from './abort.ts';
import type { AlignedBuffer } from './buffers.ts';
import {
  checkBuffer,
  checkFile,
  checkHandler,
  checkHints,
  checkMemory,
  checkPoll,
  checkTransfer,
  checkVector,
  checkWaiting,
} from './checks.ts';
import { channels, warnOnce } from './diagnostics.ts';
import type { QueueMessage } from './diagnostics.ts';
import { Opcode } from './engine.ts';
import type { EngineName } from './engine.ts';
import { Pipeline } from './pipeline.ts';
import { PromiseSettler } from './promises.ts';
import type { DirectFile, Platform } from './platform.ts';
import { resolveQueueOptions } from './queue-options.ts';
import type { QueueOptions } from './queue-options.ts';
import { SYSCALL_NAMES, requestError } from './request-error.ts';
import {
  checkFlushOptions,
  checkGetEventsOptions,
  checkPollOptions,
  checkTransferOptions,
  checkVectorOptions,
  flagsOf,
} from './request-options.ts';
import type { GetEventsOptions, PollOptions, TransferOptions, VectorOptions } from './request-options.ts';
import type { SlotWaiter } from './slot-waiters.ts';
import type { CompletionHandler } from './slots.ts';
import type { QueueStatistics } from './statistics.ts';

/** What a request of the promise form asks for, until it has a slot. */
interface Asked {
  readonly opcode: Opcode;
  readonly file: DirectFile | null;
  /** A descriptor, for a poll. */
  readonly descriptor: number;
  readonly buffers: AlignedBuffer | readonly AlignedBuffer[] | null;
  readonly bufferOffset: number;
  readonly lengthBytes: number;
  readonly fileOffset: number;
  readonly flags: number;
  readonly priority: number;
}

export class Queue {
  /** Most requests in flight at once. */
  readonly depth: number;
  /** What carries the requests, and why this engine was chosen. */
  readonly engine: { readonly name: EngineName; readonly reason: string };
  readonly #pipeline: Pipeline;
  readonly #promises: PromiseSettler;
  /** Whether to warn about a file on which this engine blocks. */
  #warnsOfBuffered: boolean;
  #closing: Promise<void> | null = null;

  /**
   * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
   * @throws AiokvError ERR_AIOKV_NO_CONTEXT when the kernel has no context left,
   *   ERR_AIOKV_ENGINE_UNAVAILABLE when the engine that was asked for does not work here
   */
  constructor(platform: Platform, options?: Partial<QueueOptions>) {
    const resolved = resolveQueueOptions(options);
    this.depth = resolved.depth;
    this.#promises = new PromiseSettler(resolved.depth + resolved.maxWaiting);
    this.#pipeline = new Pipeline(platform, resolved);
    const { name, reason } = this.#pipeline.engine;
    this.engine = { name, reason };
    this.#warnsOfBuffered = name === 'libaio' && !resolved.neverBlock;
    if (channels.open.hasSubscribers) channels.open.publish(this.#message());
  }

  /** Requests accepted and not settled. */
  get pending(): number {
    return this.#pipeline.pending;
  }

  /**
   * How many requests the queue takes now without making anyone wait. So many calls of the handler form, made at once,
   * are not refused.
   */
  get room(): number {
    return this.#pipeline.room;
  }

  /** Whether the engine honours all of these bits of `RequestFlag`. A request with others is refused. */
  supports(flags: number): boolean {
    return (flags & ~this.#pipeline.engine.features.flags) === 0;
  }

  /** A snapshot of what was counted; see `QueueStatistics`. */
  statistics(): QueueStatistics {
    return this.#pipeline.statistics();
  }

  /**
   * Reads into `buffer`, which belongs to the queue until the promise settles.
   *
   * @returns bytes read: fewer than asked for at the end of the file, 0 past it
   * @throws AiokvRangeError ERR_AIOKV_ALIGNMENT, ERR_AIOKV_INVALID_ARGUMENT; AiokvError ERR_AIOKV_CLOSED,
   *   ERR_AIOKV_UNSUPPORTED; AbortedError ERR_AIOKV_ABORTED, ERR_AIOKV_DEADLINE; SystemCallError
   */
  read(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    return this.#transfer(Opcode.read, file, buffer, options);
  }

  /**
   * Writes from `buffer`, which belongs to the queue until the promise settles. It must not change meanwhile.
   *
   * @returns bytes written
   * @throws as `read`
   */
  write(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    return this.#transfer(Opcode.write, file, buffer, options);
  }

  /**
   * Reads into whole buffers, one after another, with one request.
   *
   * @returns bytes read, all buffers together
   * @throws as `read`
   */
  readv(file: DirectFile, buffers: readonly AlignedBuffer[], options: VectorOptions): Promise<number> {
    return this.#vector(Opcode.readv, file, buffers, options);
  }

  /** As `readv`, for a write. */
  writev(file: DirectFile, buffers: readonly AlignedBuffer[], options: VectorOptions): Promise<number> {
    return this.#vector(Opcode.writev, file, buffers, options);
  }

  /** Makes the writes that completed before this call durable, data and metadata. */
  async fsync(file: DirectFile, options: EarlyEnd = {}): Promise<void> {
    checkFlushOptions('fsync', options);
    await this.#flush(Opcode.fsync, file, options);
  }

  /** Makes the writes that completed before this call durable. */
  async fdatasync(file: DirectFile, options: EarlyEnd = {}): Promise<void> {
    checkFlushOptions('fdatasync', options);
    await this.#flush(Opcode.fdatasync, file, options);
  }

  /**
   * Waits until a descriptor (a socket, a pipe, an eventfd) is ready.
   *
   * @returns the events that are there, as `poll(2)` has them
   * @throws AiokvError ERR_AIOKV_UNSUPPORTED when the engine has no polls; AbortedError; SystemCallError, with
   *   ECANCELED when the queue was closed meanwhile
   */
  async poll(descriptor: number, options: PollOptions = {}): Promise<number> {
    checkPollOptions(options);
    this.#checkOpen();
    checkPoll(this.#pipeline.engine);
    checkEarlyEnd(options);
    const asked = { ...NO_TRANSFER, opcode: Opcode.poll, file: null, descriptor, lengthBytes: options.events ?? 1 };
    return this.#promised(asked, options);
  }

  /**
   * The form without a promise, for callers with many requests.
   *
   * @param handler called in a later turn of the loop, with `token` and the bytes read or a negative error number
   * @param token a 32-bit integer
   * @param flags bits of `RequestFlag`
   * @param priority the result of `ioPriority`, or 0
   * @returns false when the queue is full: nothing was accepted; try again after a completion
   * @throws AiokvRangeError ERR_AIOKV_ALIGNMENT, ERR_AIOKV_INVALID_ARGUMENT; AiokvError ERR_AIOKV_CLOSED,
   *   ERR_AIOKV_UNSUPPORTED
   */
  submitRead(
    file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags = 0,
    priority = 0,
  ): boolean {
    this.#check(file, flags, priority);
    checkHandler(handler);
    checkTransfer(file, buffer, bufferOffset, lengthBytes, fileOffset);
    const { read } = Opcode;
    const pipeline = this.#pipeline;
    return (
      pipeline.accept(read, file, buffer, bufferOffset, lengthBytes, fileOffset, handler, token, flags, priority) >= 0
    );
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
    flags = 0,
    priority = 0,
  ): boolean {
    this.#check(file, flags, priority);
    checkHandler(handler);
    checkTransfer(file, buffer, bufferOffset, lengthBytes, fileOffset);
    const { write } = Opcode;
    const pipeline = this.#pipeline;
    return (
      pipeline.accept(write, file, buffer, bufferOffset, lengthBytes, fileOffset, handler, token, flags, priority) >= 0
    );
  }

  /** As `submitRead`, into whole buffers; the array must not change until the completion. */
  submitReadv(
    file: DirectFile,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags = 0,
    priority = 0,
  ): boolean {
    this.#check(file, flags, priority);
    checkHandler(handler);
    checkVector(file, buffers, fileOffset);
    return this.#pipeline.acceptVector(Opcode.readv, file, buffers, fileOffset, handler, token, flags, priority) >= 0;
  }

  /** As `submitReadv`, for a write. */
  submitWritev(
    file: DirectFile,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags = 0,
    priority = 0,
  ): boolean {
    this.#check(file, flags, priority);
    checkHandler(handler);
    checkVector(file, buffers, fileOffset);
    return this.#pipeline.acceptVector(Opcode.writev, file, buffers, fileOffset, handler, token, flags, priority) >= 0;
  }

  /** As `submitRead`, for an `fsync`: of the writes that completed before this call. */
  submitFsync(file: DirectFile, handler: CompletionHandler, token: number): boolean {
    this.#checkOpen();
    checkHandler(handler);
    checkFile(file);
    return this.#pipeline.accept(Opcode.fsync, file, null, 0, 0, 0, handler, token, 0, 0) >= 0;
  }

  /** As `submitRead`, for an `fdatasync`: of the writes that completed before this call. */
  submitFdatasync(file: DirectFile, handler: CompletionHandler, token: number): boolean {
    this.#checkOpen();
    checkHandler(handler);
    checkFile(file);
    return this.#pipeline.accept(Opcode.fdatasync, file, null, 0, 0, 0, handler, token, 0, 0) >= 0;
  }

  /** As `submitRead`, for a `poll`; the result is the events that are there. */
  submitPoll(descriptor: number, mask: number, handler: CompletionHandler, token: number): boolean {
    this.#checkOpen();
    checkHandler(handler);
    checkPoll(this.#pipeline.engine);
    return this.#pipeline.acceptPoll(descriptor, mask, handler, token) >= 0;
  }

  /**
   * Submits what waits, then blocks the thread until `min` requests have completed, as `io_getevents` does. It calls the
   * handlers of at most `max` of them from inside this call; promises settle after it.
   *
   * @returns how many were told: fewer than `min` when the time was up, or nothing more is in flight
   * @throws AiokvRangeError ERR_AIOKV_INVALID_ARGUMENT; AiokvError ERR_AIOKV_UNSUPPORTED when the engine
   *   cannot be waited for, or inside a handler or a subscriber; ERR_AIOKV_CLOSED
   */
  getEvents(options: GetEventsOptions = {}): number {
    checkGetEventsOptions(options);
    const { min = 1, max = this.depth, timeoutMs = Infinity } = options;
    if (!(Number.isSafeInteger(min) && Number.isSafeInteger(max) && min >= 0 && max >= Math.max(1, min))) {
      throw new AiokvRangeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        `min and max are whole numbers, min from 0 and max from min and 1: not ${min} and ${max}`,
      );
    }
    if (!(timeoutMs >= 0)) {
      throw new AiokvRangeError('ERR_AIOKV_INVALID_ARGUMENT', `timeoutMs is a time, not ${timeoutMs}`);
    }
    if (this.#pipeline.pending === 0) this.#checkOpen();
    checkWaiting(this.#pipeline.engine, min);
    return this.#pipeline.getEvents(min, max, timeoutMs);
  }

  /**
   * Reads, and blocks the thread until the read is done. Callers of other requests are told in the next turn of the loop,
   * never from inside this call.
   *
   * @returns bytes read
   * @throws as `read`, and AiokvError ERR_AIOKV_QUEUE_FULL when no slot is free
   */
  readSync(file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): number {
    checkTransferOptions('readSync', options);
    this.#check(file, 0, 0);
    checkBuffer(buffer);
    const { offset, bufferOffset = 0 } = options;
    const length = options.length ?? buffer.byteLength - bufferOffset;
    checkTransfer(file, buffer, bufferOffset, length, offset);
    const result = this.#pipeline.readSync(file, buffer, bufferOffset, length, offset);
    if (result === null)
      throw new AiokvError('ERR_AIOKV_QUEUE_FULL', 'the queue is full: wait for a completion, or raise maxWaiting');
    if (result < 0) throw requestError('read', result, file);
    return result;
  }

  /** Settles every request that was made before, cancels polls, then closes the engine. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#pipeline.close();
    if (channels.close.hasSubscribers) channels.close.publish(this.#message());
  }

  #message(): QueueMessage {
    return { queue: this.#pipeline.number, engine: this.engine.name, reason: this.engine.reason, depth: this.depth };
  }

  /** Allocates nothing but the promise, unless the request has a signal, a deadline or `onShort: 'continue'`. */
  #transfer(opcode: Opcode, file: DirectFile, buffer: AlignedBuffer, options: TransferOptions): Promise<number> {
    let lengthBytes: number;
    let flags: number;
    try {
      checkTransferOptions(SYSCALL_NAMES[opcode], options);
      flags = flagsOf(options);
      this.#check(file, flags, options.priority ?? 0);
      checkBuffer(buffer);
      lengthBytes = options.length ?? buffer.byteLength - (options.bufferOffset ?? 0);
      checkTransfer(file, buffer, options.bufferOffset ?? 0, lengthBytes, options.offset);
      checkEarlyEnd(options);
    } catch (error) {
      return Promise.reject(error);
    }
    const { offset: fileOffset, bufferOffset = 0, priority = 0, signal, deadlineMs, onShort } = options;
    const pipeline = this.#pipeline;
    const isPlain = signal === undefined && deadlineMs === undefined && onShort !== 'continue';
    if (isPlain && !pipeline.hasSlotWaiters) {
      const handler = this.#promises;
      const slot = pipeline.accept(
        opcode,
        file,
        buffer,
        bufferOffset,
        lengthBytes,
        fileOffset,
        handler,
        0,
        flags,
        priority,
      );
      if (slot >= 0) {
        pipeline.retoken(slot, slot);
        return handler.promiseOf(slot, opcode, file);
      }
    }
    const asked = {
      opcode,
      file,
      descriptor: -1,
      buffers: buffer,
      bufferOffset,
      lengthBytes,
      fileOffset,
      flags,
      priority,
    };
    return onShort === 'continue' ? this.#continued(asked, options) : this.#promised(asked, options);
  }

  async #vector(
    opcode: Opcode,
    file: DirectFile,
    buffers: readonly AlignedBuffer[],
    options: VectorOptions,
  ): Promise<number> {
    checkVectorOptions(SYSCALL_NAMES[opcode], options);
    const { offset: fileOffset, priority = 0 } = options;
    const flags = flagsOf(options);
    this.#check(file, flags, priority);
    checkVector(file, buffers, fileOffset);
    checkEarlyEnd(options);
    return this.#promised({ ...NO_TRANSFER, opcode, file, buffers, fileOffset, flags, priority }, options);
  }

  async #flush(opcode: Opcode, file: DirectFile, options: EarlyEnd): Promise<number> {
    this.#checkOpen();
    checkFile(file);
    checkEarlyEnd(options);
    return this.#promised({ ...NO_TRANSFER, opcode, file }, options);
  }

  /** Goes on after a short result until all is transferred or the file ends. */
  async #continued(asked: Asked, options: TransferOptions): Promise<number> {
    const { opcode, file, lengthBytes } = asked;
    const untilMs = nowMs() + (options.deadlineMs ?? Infinity);
    for (let done = 0; ;) {
      const rest = {
        ...asked,
        bufferOffset: asked.bufferOffset + done,
        lengthBytes: lengthBytes - done,
        fileOffset: asked.fileOffset + done,
      };
      const deadlineMs = Math.max(0, untilMs - nowMs());
      const count = await this.#promised(rest, { ...options, deadlineMs });
      const end = done + count;
      const next = alignDown(end, file?.alignment.offset ?? 1);
      // A read that ends inside a block has met the end of the file. A write begins that block again.
      if (end >= lengthBytes || next === done || (opcode === Opcode.read && next !== end)) return end;
      done = next;
    }
  }

  #promised(asked: Asked, options: EarlyEnd): Promise<number> {
    if (this.#closing !== null) return Promise.reject(closedError());
    const { signal, deadlineMs } = options;
    if (signal === undefined && deadlineMs === undefined) {
      return new Promise((resolve, reject) => {
        this.#pipeline.startInOrder(new PromisedRequest(this.#start, asked, resolve, reject));
      });
    }
    const request = new WatchedRequest(this.#pipeline, asked, options, (handler) => this.#accept(asked, handler, 0));
    request.begin();
    return request.promise;
  }

  /** Gives a request of the promise form a free slot. */
  readonly #start = (request: PromisedRequest): void => {
    const { asked, resolve, reject } = request;
    try {
      checkMemory(asked.buffers);
    } catch (error) {
      reject(error as Error);
      return;
    }
    const slot = this.#accept(asked, this.#promises, 0);
    assert(slot >= 0, 'a request is started when a slot is free');
    this.#pipeline.retoken(slot, slot);
    this.#promises.expect(slot, asked.opcode, asked.file, resolve, reject);
  };

  #accept(asked: Asked, handler: CompletionHandler, token: number): number {
    const { opcode, file, buffers, bufferOffset, lengthBytes, fileOffset, flags, priority } = asked;
    const pipeline = this.#pipeline;
    if (file === null) return pipeline.acceptPoll(asked.descriptor, lengthBytes, handler, token);
    if (Array.isArray(buffers)) {
      const pieces = buffers as readonly AlignedBuffer[];
      return pipeline.acceptVector(opcode, file, pieces, fileOffset, handler, token, flags, priority);
    }
    const buffer = buffers as AlignedBuffer | null;
    return pipeline.accept(
      opcode,
      file,
      buffer,
      bufferOffset,
      lengthBytes,
      fileOffset,
      handler,
      token,
      flags,
      priority,
    );
  }

  #checkOpen(): void {
    if (this.#closing !== null) throw closedError();
  }

  #check(file: DirectFile, flags: number, priority: number): void {
    this.#checkOpen();
    if ((flags | priority) !== 0) checkHints(this.#pipeline.engine, flags, priority);
    if (this.#warnsOfBuffered && !file.isDirect) {
      this.#warnsOfBuffered = false;
      warnOnce(
        'AIOKV_BLOCKING',
        `${file.path} goes through the page cache, where Linux AIO carries requests out inside of io_submit and ` +
          "blocks the event loop: use the engine 'threads' or 'io_uring', or the option neverBlock",
      );
    }
  }
}

/** A request of the promise form that has no signal and no deadline, until it has a slot. */
class PromisedRequest implements SlotWaiter {
  readonly isSettled = false;
  readonly asked: Asked;
  readonly resolve: (result: number) => void;
  readonly reject: (error: Error) => void;
  readonly #start: (request: PromisedRequest) => void;

  constructor(
    start: (request: PromisedRequest) => void,
    asked: Asked,
    resolve: (result: number) => void,
    reject: (error: Error) => void,
  ) {
    this.#start = start;
    this.asked = asked;
    this.resolve = resolve;
    this.reject = reject;
  }

  start(): void {
    this.#start(this);
  }
}

const NO_TRANSFER = {
  descriptor: -1,
  buffers: null,
  bufferOffset: 0,
  lengthBytes: 0,
  fileOffset: 0,
  flags: 0,
  priority: 0,
};

function closedError(): AiokvError {
  return new AiokvError('ERR_AIOKV_CLOSED', 'the queue is closed: open another one');
}
