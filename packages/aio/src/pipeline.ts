/**
 * What happens to a request between a queue's caller and its engine: slots, batches, the depth, dispatch.
 *
 * ```
 *   accept ─► slot ─► waiting ring ──flush──► engine.submit ─► in flight
 *                         │                                      │ eventfd, a peek, or getEvents
 *                     withdraw                                   ▼
 *   handler ◄────────────────────────────── dispatch ◄──── engine.reap
 *      ▲                                       │ would have blocked
 *      └────────────── a thread ◄──────────────┘
 * ```
 *
 * When requests go down: as soon as a batch worth a system call has gathered, the rest at the end of
 * the turn of the event loop (after all microtasks). A batch is worth it at max(`batchMin`, a third of
 * what is in flight): one big flush a turn would make requests return together and go down together
 * again, in lockstep.
 *
 * P1. A request that was accepted is settled exactly once, and never from inside the call that made it; one that
 *     was withdrawn, never.
 * P2. At most `depth` requests are in flight; the others wait in the order in which they came.
 * P3. A request that the kernel refuses fails alone; those behind it go down.
 * P4. A handler that throws does not keep its neighbours from being told.
 *
 * It knows nothing of promises, deadlines or alignment: queue.ts does.
 */
import { AiokvError, assert } from '@aiokv/core';
import { constants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import { channels } from './diagnostics.ts';
import type { CompleteMessage, FallbackMessage, SubmitMessage } from './diagnostics.ts';
import { Completions, Opcode, RequestFlag } from './engine.ts';
import type { Engine } from './engine.ts';
import { ThreadFallback } from './fallback.ts';
import type { DirectFile, Platform } from './platform.ts';
import type { ResolvedQueueOptions } from './queue-options.ts';
import { SlotTable } from './slots.ts';
import type { CompletionHandler } from './slots.ts';
import { QueueCounters } from './statistics.ts';
import type { QueueStatistics } from './statistics.ts';
import { resultOf } from './thread-io.ts';

const { EAGAIN, ECANCELED } = constants.errno;
/** Fewer in flight than this: look for the completion instead of sleeping. */
const SPIN_BELOW = 9;
/** After looking in vain: how many times to sleep at once, before looking is tried again. */
const SPINS_SKIPPED = 15;
/** How long a synchronous caller waits at a time, before it looks whether others wait to be submitted. */
const SYNC_WAIT_MS = 1000;

let queues = 0;

export class Pipeline {
  readonly engine: Engine;
  /** Names the queue in messages. */
  readonly number = ++queues;
  /** Called after completions were told: slots may have become free. */
  onRoom: (() => void) | null = null;
  readonly #options: ResolvedQueueOptions;
  readonly #slots: SlotTable;
  readonly #counters: QueueCounters;
  readonly #fallback: ThreadFallback | null;
  /** Ring of slots that wait to be submitted. */
  readonly #waiting: Uint32Array;
  #waitingHead = 0;
  #waitingCount = 0;
  #inFlight = 0;
  #onThreads = 0;
  readonly #polls = new Set<number>();
  readonly #completions: Completions;
  /** Settled without the engine: refused requests, and what a synchronous read met on its way. */
  #settledEarly: { slot: number; result: number }[] = [];
  #flushScheduled = false;
  #immediateScheduled = false;
  #spinsLeft = 0;
  #spinsSkipped = 0;
  #dispatching = false;
  #onDrained: (() => void) | null = null;

  constructor(platform: Platform, options: ResolvedQueueOptions) {
    const { depth, maxWaiting, policy, neverBlock, engine, ownContext, uring } = options;
    const slots = depth + maxWaiting;
    this.#options = options;
    this.#slots = new SlotTable(slots);
    this.#counters = new QueueCounters(slots);
    this.#waiting = new Uint32Array(slots);
    this.#completions = new Completions(Math.min(depth, policy.maxComplete));
    this.engine = platform.createEngine({
      slots,
      depth,
      ownContext,
      ...(engine === undefined ? {} : { engine }),
      ...(uring === undefined ? {} : { uring }),
    });
    const canRefuse = (this.engine.features.flags & RequestFlag.nowait) !== 0;
    this.#fallback = neverBlock && canRefuse ? new ThreadFallback(slots) : null;
    this.engine.onCompletion = this.#onCompletion;
  }

  get hasRoom(): boolean {
    return this.#slots.freeCount > 0;
  }

  /** Requests accepted and not settled. */
  get pending(): number {
    return this.#inFlight + this.#waitingCount + this.#settledEarly.length + this.#onThreads;
  }

  statistics(): QueueStatistics {
    return this.#counters.snapshot(this.#inFlight, this.#waitingCount);
  }

  /** Gives a transfer or a flush a slot and a place in the ring; returns the slot, or -1 when the table is full. */
  accept(
    opcode: Opcode,
    file: DirectFile,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags: number,
    priority: number,
  ): number {
    if (this.#slots.freeCount === 0) return -1;
    const slot = this.#slots.take(handler, token, buffer);
    this.engine.prepare(slot, opcode, file.handle, buffer, bufferOffset, lengthBytes, fileOffset);
    let allFlags = flags;
    if (this.#fallback !== null && buffer !== null && (flags & RequestFlag.nowait) === 0) {
      this.#fallback.note(slot, opcode, file, buffer, bufferOffset, lengthBytes, fileOffset);
      if (this.#fallback.isKnownToBlock(file)) return this.#startOnThread(slot);
      allFlags |= RequestFlag.nowait;
    }
    if ((allFlags | priority) !== 0) this.engine.setHints(slot, allFlags, priority);
    return this.#enqueue(slot);
  }

  /** As `accept`, for a `readv` or `writev` of whole buffers. */
  acceptVector(
    opcode: Opcode,
    file: DirectFile,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags: number,
    priority: number,
  ): number {
    if (this.#slots.freeCount === 0) return -1;
    const slot = this.#slots.take(handler, token, buffers);
    this.engine.prepareVector(slot, opcode, file.handle, buffers, fileOffset);
    let allFlags = flags;
    if (this.#fallback !== null && (flags & RequestFlag.nowait) === 0) {
      const lengthBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
      this.#fallback.note(slot, opcode, file, buffers, 0, lengthBytes, fileOffset);
      if (this.#fallback.isKnownToBlock(file)) return this.#startOnThread(slot);
      allFlags |= RequestFlag.nowait;
    }
    if ((allFlags | priority) !== 0) this.engine.setHints(slot, allFlags, priority);
    return this.#enqueue(slot);
  }

  /** As `accept`, for a `poll`. */
  acceptPoll(descriptor: number, mask: number, handler: CompletionHandler, token: number): number {
    if (this.#slots.freeCount === 0) return -1;
    const slot = this.#slots.take(handler, token, null);
    this.engine.preparePoll(slot, descriptor, mask);
    this.#polls.add(slot);
    return this.#enqueue(slot);
  }

  /** Changes the token of an accepted request. */
  retoken(slot: number, token: number): void {
    this.#slots.retoken(slot, token);
  }

  /** Takes a request back that was not submitted yet; it is never settled. False when it is too late for that. */
  withdraw(slot: number): boolean {
    const ring = this.#waiting;
    let at = 0;
    while (at < this.#waitingCount && ring[(this.#waitingHead + at) % ring.length] !== slot) at++;
    if (at === this.#waitingCount) return false;
    for (; at + 1 < this.#waitingCount; at++) {
      ring[(this.#waitingHead + at) % ring.length] = ring[(this.#waitingHead + at + 1) % ring.length] as number;
    }
    this.#waitingCount--;
    this.#slots.release(slot);
    this.#polls.delete(slot);
    this.#fallback?.forget(slot);
    this.#counters.withdrawn++;
    this.#afterDispatch();
    return true;
  }

  /** Asks for the early end of a poll in flight. */
  cancelPoll(slot: number): void {
    if (this.#polls.has(slot)) this.engine.cancel(slot);
  }

  /**
   * A read while the thread waits; null when no slot is free. Completions of others met meanwhile are told in the
   * next turn of the loop.
   */
  readSync(
    file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): number | null {
    if (this.#slots.freeCount === 0) return null;
    let result: number | null = null;
    const handler = { complete: (_: number, value: number) => (result = value) };
    const slot = this.#slots.take(handler, 0, buffer);
    this.engine.prepare(slot, Opcode.read, file.handle, buffer, bufferOffset, lengthBytes, fileOffset);
    if (this.engine.perform !== null) {
      result = this.engine.perform(slot);
      this.#slots.release(slot);
      this.#counters.accepted++;
      this.#counters.completed++;
      return result;
    }
    this.#enqueue(slot);
    while (result === null) {
      this.flush();
      if (this.#inFlight > 0) this.engine.wait(SYNC_WAIT_MS);
      this.#reapAside(slot);
    }
    return result;
  }

  /**
   * Tells the handlers of `min` to `max` completions, waiting for `min` of them for as long as `timeoutMs`. Returns
   * how many were told; fewer than `min` when the time was up, or when nothing more is in flight.
   */
  getEvents(min: number, max: number, timeoutMs: number): number {
    if (this.#dispatching) {
      throw new AiokvError(
        'ERR_AIOKV_UNSUPPORTED',
        'getEvents cannot be called by a handler: return, and call it then',
      );
    }
    const untilMs = performance.now() + timeoutMs;
    for (let told = 0; ;) {
      this.flush();
      const room = Math.min(max - told, this.#options.depth);
      told += this.#tell(room === this.#completions.capacity ? this.#completions : new Completions(room), room);
      if (told > 0) this.#afterDispatch();
      if (told >= Math.min(min, max) || this.#inFlight === 0) return told;
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return told;
      this.engine.wait(leftMs, Math.min(min - told, this.#inFlight));
    }
  }

  /** Sends down what waits, as far as the depth allows. */
  flush(): void {
    const { depth } = this.#options;
    while (this.#waitingCount > 0 && this.#inFlight < depth) {
      const head = this.#waitingHead;
      const count = Math.min(this.#waitingCount, depth - this.#inFlight, this.#waiting.length - head);
      const accepted = this.#submit(head, count);
      if (accepted > 0) {
        this.#counters.noteSubmitted(this.#waiting, head, accepted, this.#inFlight);
        this.#dropWaiting(accepted);
        this.#inFlight += accepted;
      } else if (accepted === -EAGAIN || accepted === 0) {
        this.#counters.retries++;
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
    this.#spin();
  }

  /**
   * With few in flight, looks for completions for some turns instead of sleeping: a wake-up takes longer than a fast
   * device does to answer. Where that was in vain, the device is slow, and it is not tried again for a while.
   */
  #spin(): void {
    if (this.#inFlight === 0 || this.#inFlight >= SPIN_BELOW || this.#options.spinTurns === 0) return;
    if (this.#spinsSkipped > 0) this.#spinsSkipped--;
    else {
      this.#spinsLeft = this.#options.spinTurns;
      this.#scheduleImmediate();
    }
  }

  /** Settles what was accepted, then gives the engine back. Nothing may be accepted any more. */
  async close(): Promise<void> {
    for (const slot of this.#polls) if (!this.withdraw(slot)) this.engine.cancel(slot);
    if (this.pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    await this.engine.close();
  }

  #submit(head: number, count: number): number {
    const isWatched = channels.submit.hasSubscribers;
    const startMs = isWatched ? performance.now() : 0;
    const result = this.engine.submit(this.#waiting, head, count);
    this.#counters.submitCalls++;
    assert(result <= count, 'an engine accepts no more than it was given');
    if (isWatched) {
      const message: SubmitMessage = { queue: this.number, count, result, durationMs: performance.now() - startMs };
      channels.submit.publish(message);
    }
    return result;
  }

  #enqueue(slot: number): number {
    const capacity = this.#waiting.length;
    let tail = this.#waitingHead + this.#waitingCount;
    if (tail >= capacity) tail -= capacity;
    this.#waiting[tail] = slot;
    this.#noteAccepted();
    this.#waitingCount++;
    if (this.#waitingCount >= this.#options.batchMin && this.#waitingCount * 3 >= this.#inFlight) this.flush();
    this.#scheduleFlush();
    return slot;
  }

  #noteAccepted(): void {
    this.#counters.accepted++;
    if (this.pending === 0) this.engine.setActive(true);
  }

  #scheduleFlush(): void {
    if (this.#waitingCount === 0 || this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(this.#flushEndOfTurn);
  }

  /** Runs when the turn's microtasks have run dry. */
  readonly #flushEndOfTurn = (): void => {
    this.#flushScheduled = false;
    this.flush();
  };

  #dropWaiting(count: number): void {
    this.#waitingHead += count;
    if (this.#waitingHead >= this.#waiting.length) this.#waitingHead -= this.#waiting.length;
    this.#waitingCount -= count;
  }

  readonly #onCompletion = (): void => {
    this.#counters.wakeups++;
    const { minComplete, timeoutMs } = this.#options.policy;
    if (minComplete > 1 && this.#inFlight > 1 && this.engine.perform === null) {
      this.engine.wait(timeoutMs, Math.min(minComplete, this.#inFlight));
    }
    this.#dispatch();
  };

  #scheduleImmediate(): void {
    if (this.#immediateScheduled) return;
    this.#immediateScheduled = true;
    setImmediate(this.#onImmediate);
  }

  /** One turn of looking for completions without sleeping. */
  readonly #onImmediate = (): void => {
    this.#immediateScheduled = false;
    this.#counters.peeks++;
    const settled = this.#dispatch();
    if (this.#waitingCount > 0 && this.#inFlight === 0) this.flush();
    if (settled === 0 && this.#inFlight > 0 && this.#inFlight < SPIN_BELOW && this.#spinsLeft > 0) {
      this.#spinsLeft--;
      if (this.#spinsLeft > 0) this.#scheduleImmediate();
      else this.#spinsSkipped = SPINS_SKIPPED;
    }
  };

  /** Tells the callers of one slice of completions, before timers get their chance; returns how many. */
  #dispatch(): number {
    if (this.#dispatching) return 0;
    const completions = this.#completions;
    const told = this.#tell(completions, Infinity);
    if (completions.count === completions.capacity) this.#scheduleImmediate();
    if (told > 0) this.#afterDispatch();
    return told;
  }

  /** Tells at most `max` callers, of one reap at most. */
  #tell(completions: Completions, max: number): number {
    this.#dispatching = true;
    const early = this.#settledEarly.length > 0 ? this.#settledEarly.splice(0, max) : NOTHING;
    for (const { slot, result } of early) this.#settle(slot, result);
    let count = 0;
    completions.count = 0;
    if (this.#inFlight > 0 && max - early.length >= completions.capacity) {
      count = this.engine.reap(completions);
      assert(count <= this.#inFlight, 'no more completions than requests in flight');
      if (count > 0) this.#counters.noteReaped(completions.slots, count, this.#inFlight);
      this.#inFlight -= count;
      for (let i = 0; i < count; i++) {
        this.#settle(completions.slots[i] as number, completions.results[i] as number);
      }
    }
    this.#dispatching = false;
    const told = early.length + count;
    if (told > 0 && channels.complete.hasSubscribers) {
      const message: CompleteMessage = { queue: this.number, count: told };
      channels.complete.publish(message);
    }
    return told;
  }

  #afterDispatch(): void {
    this.onRoom?.();
    this.#scheduleFlush();
    if (this.pending === 0) {
      this.engine.setActive(false);
      this.#onDrained?.();
    }
  }

  #settle(slot: number, result: number): void {
    if (this.#fallback?.mustGoOn(slot, result) === true) {
      this.#goOnOnThread(slot, result);
      return;
    }
    let told = result;
    if (this.#polls.size > 0 && this.#polls.delete(slot) && result === 0) told = -ECANCELED;
    const token = this.#slots.tokenOf(slot);
    const handler = this.#slots.release(slot);
    this.#counters.completed++;
    try {
      handler.complete(token, told);
    } catch (error) {
      // P4: it surfaces as an uncaught exception, after the neighbours were told.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** A transfer that need not be tried with NOWAIT. */
  #startOnThread(slot: number): number {
    this.#noteAccepted();
    this.#goOnOnThread(slot, 0);
    return slot;
  }

  #goOnOnThread(slot: number, result: number): void {
    const fallback = this.#fallback;
    assert(fallback !== null, 'only a queue that never blocks has threads');
    if (channels.fallback.hasSubscribers) {
      const message: FallbackMessage = { queue: this.number, path: fallback.pathOf(slot), result };
      channels.fallback.publish(message);
    }
    this.#counters.fallbacks++;
    this.#onThreads++;
    const settle = (whole: number): void => {
      this.#onThreads--;
      this.#settle(slot, whole);
      this.#afterDispatch();
    };
    void fallback.goOn(slot, result).then(settle, (error: unknown) => settle(resultOf(error as Error, 0)));
  }

  /** Reaps for a synchronous caller: its own completion is told at once, the others later. */
  #reapAside(own: number): void {
    const completions = this.#completions;
    if (this.#inFlight > 0) {
      const count = this.engine.reap(completions);
      if (count > 0) this.#counters.noteReaped(completions.slots, count, this.#inFlight);
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
      if (this.pending === 0) this.engine.setActive(false);
    }
    if (this.#settledEarly.length > 0) this.#scheduleImmediate();
  }
}

const NOTHING: readonly { slot: number; result: number }[] = [];
