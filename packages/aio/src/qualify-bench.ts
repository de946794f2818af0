/**
 * The measuring device of `qualify.ts`: its own context, 16 requests with a buffer each, and a clock around `io_submit`.
 * At most one batch is in flight, and this thread waits for it.
 *
 * BENCH-1. The buffers are held until the context is destroyed: after a failure, requests may still be in flight.
 */
import { randomFillSync } from 'node:crypto';
import { constants } from 'node:os';
import { AiokvError, SystemCallError, assert, nowMs } from '@aiokv/core';
import { allocateAligned } from './buffers.ts';
import type { AlignedBuffer } from './buffers.ts';
import type { ForeignInterface } from './ffi/port.ts';
import { EventArray, IocbArray, RwFlag } from './raw/iocb.ts';
import type { IocbCommand } from './raw/iocb.ts';
import { aioCalls } from './raw/libaio.ts';
import type { AioCalls } from './raw/libaio.ts';
import { libcOf } from './raw/libc.ts';
import { setupHooked } from './raw/teardown.ts';

const { EINTR } = constants.errno;
/** Most requests of a batch. */
export const DEPTH = 16;
const ANSWER_SECONDS = 10;

/** Not zeros: some devices do not store them. */
export function randomBuffer(lengthBytes: number): AlignedBuffer {
  const buffer = allocateAligned(lengthBytes);
  randomFillSync(buffer.bytes);
  return buffer;
}

export interface Batch {
  readonly submitMs: number;
  readonly totalMs: number;
  /** How many had completed when `io_submit` returned. */
  readonly doneAtReturn: number;
}

export class Bench {
  readonly requestBytes: number;
  readonly #fd: number;
  readonly #calls: AioCalls;
  readonly #context: number;
  readonly #forget: () => void;
  readonly #iocbs: IocbArray;
  readonly #events: EventArray;
  readonly #buffers: AlignedBuffer[];
  /** `struct timespec`, twice: no wait, and the longest wait for an answer. */
  readonly #timeouts = new BigInt64Array([0n, 0n, BigInt(ANSWER_SECONDS), 0n]);
  readonly #timeoutsAddress: number;

  constructor(ffi: ForeignInterface, fd: number, requestBytes: number) {
    this.requestBytes = requestBytes;
    this.#fd = fd;
    this.#calls = aioCalls(ffi);
    this.#iocbs = new IocbArray(ffi, DEPTH);
    this.#events = new EventArray(ffi, DEPTH);
    this.#buffers = Array.from({ length: DEPTH }, () => randomBuffer(requestBytes));
    this.#timeoutsAddress = ffi.addressOf(this.#timeouts.buffer);
    for (let i = 0; i < DEPTH; i++) this.#iocbs.point(i, i);
    const { handle, forget } = setupHooked(libcOf(ffi), this.#calls, DEPTH);
    this.#context = handle;
    this.#forget = forget;
  }

  prepare(index: number, command: IocbCommand, offset: number): void {
    const { address } = this.#buffers[index] as AlignedBuffer;
    this.#iocbs.prepare(index, command, this.#fd, address, this.requestBytes, offset, index);
  }

  prepareFlush(): void {
    this.#iocbs.prepFdsync(0, this.#fd);
  }

  /**
   * Submits the first `count` requests in one call and waits for all of them.
   *
   * @throws SystemCallError when one of them fails
   */
  run(count: number): Batch {
    const { ioSubmit } = this.#calls;
    const startMs = nowMs();
    const accepted = ioSubmit(this.#context, count, this.#iocbs.pointersAddress);
    const returnedMs = nowMs();
    if (accepted < 0) throw new SystemCallError('io_submit', accepted);
    const doneAtReturn = this.#reap(0, count);
    for (let done = doneAtReturn; done < accepted;) done += this.#reap(accepted - done, count);
    assert(accepted === count, 'requests that are alike are accepted together');
    return { submitMs: returnedMs - startMs, totalMs: nowMs() - startMs, doneAtReturn };
  }

  /** Submits request 0 with RWF_NOWAIT; returns its result, from the call or from the completion. */
  runNowait(): number {
    this.#iocbs.setRwFlags(0, RwFlag.nowait);
    const accepted = this.#calls.ioSubmit(this.#context, 1, this.#iocbs.pointersAddress);
    if (accepted < 0) return accepted;
    while (this.#getevents(1) === 0);
    return this.#events.result(0);
  }

  async close(): Promise<void> {
    this.#forget();
    await this.#calls.ioDestroy(this.#context);
    // See BENCH-1.
    this.#buffers.length = 0;
  }

  #reap(min: number, most: number): number {
    const count = this.#getevents(min, most);
    for (let i = 0; i < count; i++) {
      const result = this.#events.result(i);
      if (result < 0) throw new SystemCallError('io_submit', result);
    }
    return count;
  }

  #getevents(min: number, most = 1): number {
    const timeout = this.#timeoutsAddress + (min === 0 ? 0 : 16);
    const count = this.#calls.ioGetevents(this.#context, min, most, this.#events.address, timeout);
    if (count === -EINTR) return 0;
    if (count < 0) throw new SystemCallError('io_getevents', count);
    if (count === 0 && min > 0) {
      throw new AiokvError(
        'ERR_AIOKV_IO',
        `the device has not answered for ${ANSWER_SECONDS} s: look at the kernel's log (dmesg)`,
      );
    }
    return count;
  }
}
