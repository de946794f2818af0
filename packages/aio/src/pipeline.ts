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
 * Requests are submitted as soon as a batch is worth a system call, and the rest at the end of the turn of the event
 * loop, after all microtasks. A batch is worth it at max(`batchMin`, a third of what is in flight). With one big batch
 * each turn, requests would return together and be submitted together again, in lockstep.
 *
 * PIPE-1. An accepted request is settled exactly once, and never from inside the call that made it. A withdrawn request
 *     is never settled.
 * PIPE-2. At most `depth` requests are in flight; the others wait in the order in which they came.
 * PIPE-3. A request that the kernel refuses fails alone; those behind it are submitted.
 * PIPE-4. A handler that throws does not keep its neighbours from being told.
 * PIPE-5. Handlers and subscribers may call the queue, `readSync` and `close` included: what is walked while they run is
 *     changed by nobody else, and `pending` counts what they are not told of yet. `getEvents` is refused there.
 *
 * Promises, deadlines and alignment are the business of queue.ts.
 */
import { AiokvError, Fifo, Waiters, assert, nextTick, nowMs, setImmediate } from '@aiokv/core';
import type { Channel } from 'node:diagnostics_channel';
import { constants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import { channels } from './diagnostics.ts';
import type { CompleteMessage, FallbackMessage, SubmitMessage } from './diagnostics.ts';
import { Completions, Opcode, RequestFlag } from './engine.ts';
import type { Engine } from './engine.ts';
import { ThreadFallback } from './fallback.ts';
import type { DirectFile, Platform } from './platform.ts';
import type { ResolvedQueueOptions } from './queue-options.ts';
import { SlotWaiters } from './slot-waiters.ts';
import type { SlotWaiter } from './slot-waiters.ts';
import { SlotTable } from './slots.ts';
import type { CompletionHandler } from './slots.ts';
import { QueueCounters } from './statistics.ts';
import type { QueueStatistics } from './statistics.ts';
import { resultOf } from './thread-io.ts';
import { WaitingRing } from './waiting-ring.ts';

const { EAGAIN, ECANCELED } = constants.errno;
/** With fewer in flight, the queue looks for completions instead of sleeping. */
const SPIN_BELOW = 9;
/** After looking in vain, it sleeps at once so many times before it looks again. */
const SPINS_SKIPPED = 15;
/** How long a synchronous caller waits at a time before it submits what has gathered. */
const SYNC_WAIT_MS = 1000;

let queues = 0;

export class Pipeline {
  readonly engine: Engine;
  /** Names the queue in messages. */
  readonly number = ++queues;
  readonly #options: ResolvedQueueOptions;
  readonly #slots: SlotTable;
  readonly #counters: QueueCounters;
  readonly #fallback: ThreadFallback | null;
  readonly #waiting: WaitingRing;
  readonly #slotWaiters = new SlotWaiters();
  #inFlight = 0;
  /** By slot: 1 for a flush, and for a write that is one, too. */
  readonly #isFlush: Uint8Array;
  /** Of these, how many are accepted and not settled. */
  #flushes = 0;
  #onThreads = 0;
  readonly #polls = new Set<number>();
  readonly #completions: Completions;
  /** For synchronous reads, which a handler may call while `#completions` is walked (PIPE-5). Made by the first of them. */
  #aside: Completions | null = null;
  /** Results to be told later: of refused requests, and those that a synchronous read reaped for others. */
  readonly #early = new Fifo<{ readonly slot: number; readonly result: number }>();
  /** Reaped, or taken from `#early`, and not told yet. */
  #untold = 0;
  #flushScheduled = false;
  #immediateScheduled = false;
  #spinsLeft = 0;
  #spinsSkipped = 0;
  #isTelling = false;
  /** Subscribers of diagnostics that are being told, one inside another. */
  #subscribersTold = 0;
  /** Woken by `#afterDispatch` when nothing is on its way any more; `close` alone waits here. */
  readonly #drained = new Waiters();

  constructor(platform: Platform, options: ResolvedQueueOptions) {
    const { depth, maxWaiting, policy, neverBlock, engine, ownContext, uring } = options;
    const slots = depth + maxWaiting;
    this.#options = options;
    this.#slots = new SlotTable(slots);
    this.#isFlush = new Uint8Array(slots);
    this.#counters = new QueueCounters(slots);
    this.#waiting = new WaitingRing(slots);
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

  /** Free slots: how many requests `accept` takes now. */
  get room(): number {
    return this.#slots.freeCount;
  }

  /** Requests accepted and not settled. */
  get pending(): number {
    return this.#inFlight + this.#waiting.count + this.#early.length + this.#untold + this.#onThreads;
  }

  /** Whether requests of the promise form wait for a slot. */
  get hasSlotWaiters(): boolean {
    return !this.#slotWaiters.isEmpty;
  }

  get #isIdle(): boolean {
    return this.pending === 0 && this.#slotWaiters.isEmpty && !this.#isTelling;
  }

  statistics(): QueueStatistics {
    return this.#counters.snapshot(this.#inFlight, this.#waiting.count);
  }

  /** Accepts a transfer or a flush; returns its slot, or -1 when none is free. */
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
    if (buffer === null || (flags & RequestFlag.dsync) !== 0) this.#noteFlush(slot);
    let allFlags = flags;
    if (this.#fallback !== null && buffer !== null && (flags & RequestFlag.nowait) === 0) {
      this.#fallback.note(slot, opcode, file, buffer, bufferOffset, lengthBytes, fileOffset, flags);
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
    if ((flags & RequestFlag.dsync) !== 0) this.#noteFlush(slot);
    let allFlags = flags;
    if (this.#fallback !== null && (flags & RequestFlag.nowait) === 0) {
      const lengthBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
      this.#fallback.note(slot, opcode, file, buffers, 0, lengthBytes, fileOffset, flags);
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

  /** Starts a request now, or behind those that wait for a slot already; returns whether it was started. */
  startInOrder(waiter: SlotWaiter): boolean {
    const isNow = this.#slots.freeCount > 0 && this.#slotWaiters.isEmpty;
    if (isNow) waiter.start();
    else this.#slotWaiters.push(waiter);
    return isNow;
  }

  /** A request that waits for a slot has ended. */
  noteEnded(): void {
    this.#slotWaiters.noteEnded();
  }

  /** Takes back a request that was not submitted yet; it is never settled. False when it is too late. */
  withdraw(slot: number): boolean {
    if (!this.#waiting.remove(slot)) return false;
    this.#slots.release(slot);
    this.#forgetFlush(slot);
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
   * Reads while the thread waits; null when no slot is free. Other completions are told in the next turn of the loop.
   */
  readSync(
    file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): number | null {
    if (this.#slots.freeCount === 0) return null;
    const own = new SynchronousRead();
    const slot = this.#slots.take(own, 0, buffer);
    this.engine.prepare(slot, Opcode.read, file.handle, buffer, bufferOffset, lengthBytes, fileOffset);
    if (this.engine.perform !== null) {
      own.result = this.engine.perform(slot);
      this.#slots.release(slot);
      this.#counters.accepted++;
      this.#counters.completed++;
    } else {
      this.#enqueue(slot);
      this.#waitFor(own, slot);
    }
    this.#afterDispatch();
    return own.result;
  }

  #waitFor(own: SynchronousRead, slot: number): void {
    for (let refusedSinceMs = -1; own.result === null;) {
      this.flush();
      if (this.#inFlight > 0) {
        refusedSinceMs = -1;
        this.engine.wait(SYNC_WAIT_MS);
      }
      this.#reapAside();
      if (own.result !== null || this.#inFlight > 0) continue;
      // Nothing of ours is in flight whose completion could help, so it gives up after a while.
      if (refusedSinceMs < 0) refusedSinceMs = nowMs();
      if (nowMs() - refusedSinceMs > SYNC_WAIT_MS && this.#waiting.remove(slot)) {
        this.#settle(slot, -EAGAIN);
      }
    }
  }

  /**
   * Tells the handlers of `min` to `max` completions, waiting for `min` of them for as long as `timeoutMs`. Returns
   * how many were told; fewer than `min` when the time was up, or when nothing more is in flight.
   */
  getEvents(min: number, max: number, timeoutMs: number): number {
    if (this.#isTelling || this.#subscribersTold > 0) {
      throw new AiokvError(
        'ERR_AIOKV_UNSUPPORTED',
        'getEvents cannot be called by a handler or a subscriber: return, and call it then',
      );
    }
    const untilMs = nowMs() + timeoutMs;
    for (let told = 0; ;) {
      this.flush();
      const room = Math.min(max - told, this.#options.depth);
      told += this.#tell(room === this.#completions.capacity ? this.#completions : new Completions(room), room);
      if (told > 0) this.#afterDispatch();
      if (told >= Math.min(min, max) || this.#inFlight === 0) return told;
      const leftMs = untilMs - nowMs();
      if (leftMs <= 0) return told;
      this.engine.wait(leftMs, Math.min(min - told, this.#inFlight));
    }
  }

  /** Submits what waits, as far as the depth allows. */
  flush(): void {
    const { depth } = this.#options;
    const ring = this.#waiting;
    for (let goesOn = true; goesOn && ring.count > 0 && this.#inFlight < depth;) {
      ring.closeHoles();
      goesOn = this.#submit(Math.min(ring.run, depth - this.#inFlight));
    }
    this.#spin();
  }

  /** Submits the first `count` that wait, in one call; returns whether another call makes sense. */
  #submit(count: number): boolean {
    const ring = this.#waiting;
    const { head } = ring;
    const isWatched = channels.submit.hasSubscribers;
    const startMs = isWatched ? nowMs() : 0;
    const result = this.engine.submit(ring.entries, head, count);
    const durationMs = isWatched ? nowMs() - startMs : 0;
    this.#counters.submitCalls++;
    assert(result <= count, 'an engine accepts no more than it was given');
    const isAgain = result === -EAGAIN || result === 0;
    if (result > 0) {
      this.#counters.noteSubmitted(ring.entries, head, result, this.#inFlight);
      ring.drop(result);
      this.#inFlight += result;
    } else if (isAgain) {
      this.#counters.retries++;
      // A completion makes room. If none is to come, the next turn asks again.
      if (this.#inFlight === 0) this.#scheduleImmediate();
    } else {
      const slot = ring.entries[head] as number;
      ring.drop(1);
      this.#settleLater(slot, result);
    }
    if (isWatched) this.#publish(channels.submit, { queue: this.number, count, result, durationMs });
    return !isAgain;
  }

  /**
   * With few in flight, looks for completions for some turns instead of sleeping, since a wake-up takes longer than a
   * fast device needs. If that was in vain, the device is slow, and looking is not tried again for a while.
   *
   * Not while a flush is under way: the kernel has a worker do it, on the processor of this thread, and a thread that
   * looks keeps the worker waiting. 4 KiB and a flush took 213 us with looking and 161 us without.
   */
  #spin(): void {
    if (this.#flushes > 0) this.#spinsLeft = 0;
    if (this.#inFlight === 0 || this.#inFlight >= SPIN_BELOW || this.#options.spinTurns === 0) return;
    if (this.#flushes > 0) return;
    if (this.#spinsSkipped > 0) this.#spinsSkipped--;
    else {
      this.#spinsLeft = this.#options.spinTurns;
      this.#scheduleImmediate();
    }
  }

  /** Settles what was accepted or waits for a slot, then closes the engine. The caller accepts nothing any more. */
  async close(): Promise<void> {
    for (const slot of this.#polls) if (!this.withdraw(slot)) this.engine.cancel(slot);
    while (!this.#isIdle) await this.#drained.wait();
    await this.engine.close();
  }

  /** Subscribers may call anything, so the state must have changed before (PIPE-5). */
  #publish(channel: Channel, message: SubmitMessage | CompleteMessage | FallbackMessage): void {
    this.#subscribersTold++;
    channel.publish(message);
    this.#subscribersTold--;
  }

  #noteFlush(slot: number): void {
    this.#isFlush[slot] = 1;
    this.#flushes++;
  }

  #forgetFlush(slot: number): void {
    this.#flushes -= this.#isFlush[slot] as number;
    this.#isFlush[slot] = 0;
  }

  #enqueue(slot: number): number {
    this.#noteAccepted();
    this.#waiting.push(slot);
    const { count } = this.#waiting;
    if (count >= this.#options.batchMin && count * 3 >= this.#inFlight) this.flush();
    this.#scheduleFlush();
    return slot;
  }

  #noteAccepted(): void {
    this.#counters.accepted++;
    if (this.pending === 0) this.engine.setActive(true);
  }

  #scheduleFlush(): void {
    if (this.#waiting.count === 0 || this.#flushScheduled) return;
    this.#flushScheduled = true;
    nextTick(this.#flushEndOfTurn);
  }

  /** Runs after the microtasks of the turn. */
  readonly #flushEndOfTurn = (): void => {
    this.#flushScheduled = false;
    this.flush();
  };

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
    if (this.#waiting.count > 0 && this.#inFlight === 0) this.flush();
    if (settled === 0 && this.#inFlight > 0 && this.#inFlight < SPIN_BELOW && this.#spinsLeft > 0) {
      this.#spinsLeft--;
      if (this.#spinsLeft > 0) this.#scheduleImmediate();
      else this.#spinsSkipped = SPINS_SKIPPED;
    }
  };

  /** Tells the callers of one batch of completions, so that timers run in between; returns how many. */
  #dispatch(): number {
    if (this.#isTelling) return 0;
    const completions = this.#completions;
    const told = this.#tell(completions, Infinity);
    if (completions.count === completions.capacity) this.#scheduleImmediate();
    if (told > 0) this.#afterDispatch();
    return told;
  }

  /** Tells at most `max` callers, with one reap at most. */
  #tell(completions: Completions, max: number): number {
    let told = Math.min(this.#early.length, max);
    completions.count = 0;
    this.#untold += told;
    this.#isTelling = true;
    try {
      for (let left = told; left > 0; left--) {
        const { slot, result } = this.#early.shift() as { slot: number; result: number };
        this.#untold--;
        this.#settle(slot, result);
      }
      if (this.#inFlight > 0 && max - told >= completions.capacity) {
        const count = this.#reap(completions);
        told += count;
        this.#untold += count;
        for (let i = 0; i < count; i++) {
          this.#untold--;
          this.#settle(completions.slots[i] as number, completions.results[i] as number);
        }
      }
    } finally {
      this.#isTelling = false;
    }
    if (told > 0 && channels.complete.hasSubscribers) {
      this.#publish(channels.complete, { queue: this.number, count: told });
    }
    return told;
  }

  #reap(completions: Completions): number {
    const count = this.engine.reap(completions);
    assert(count <= this.#inFlight, 'no more completions than requests in flight');
    if (count > 0) this.#counters.noteReaped(completions.slots, count, this.#inFlight);
    this.#inFlight -= count;
    return count;
  }

  /** After anything that may free slots or be the last: starts those who wait, flushes, wakes `close`. */
  #afterDispatch(): void {
    while (this.#slots.freeCount > 0) {
      const waiter = this.#slotWaiters.shift();
      if (waiter === undefined) break;
      waiter.start();
    }
    this.#scheduleFlush();
    if (this.pending === 0) this.engine.setActive(false);
    if (this.#isIdle) this.#drained.wakeAll();
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
    this.#forgetFlush(slot);
    this.#counters.completed++;
    try {
      handler.complete(token, told);
    } catch (error) {
      // It becomes an uncaught exception, after the others were told (PIPE-4).
      nextTick(() => {
        throw error;
      });
    }
  }

  /** For a transfer of which the kernel need not be asked. */
  #startOnThread(slot: number): number {
    this.#noteAccepted();
    this.#goOnOnThread(slot, 0);
    return slot;
  }

  #goOnOnThread(slot: number, result: number): void {
    const fallback = this.#fallback;
    assert(fallback !== null, 'only a queue that never blocks has threads');
    const path = fallback.pathOf(slot);
    this.#counters.fallbacks++;
    this.#onThreads++;
    const settle = (whole: number): void => {
      this.#onThreads--;
      this.#isTelling = true;
      this.#settle(slot, whole);
      this.#isTelling = false;
      this.#afterDispatch();
    };
    void fallback.goOn(slot, result).then(settle, (error: unknown) => settle(resultOf(error as Error, 0)));
    if (channels.fallback.hasSubscribers) {
      this.#publish(channels.fallback, { queue: this.number, path, result });
    }
  }

  /** The caller is told in a later turn. */
  #settleLater(slot: number, result: number): void {
    // A synchronous read waits for just this, and runs no code of the caller.
    if (this.#slots.handlerOf(slot) instanceof SynchronousRead) this.#settle(slot, result);
    else {
      this.#early.push({ slot, result });
      this.#scheduleImmediate();
    }
  }

  /** Reaps for a synchronous caller: its own result comes at once, the others are told later (PIPE-5). */
  #reapAside(): void {
    if (this.#inFlight === 0) return;
    const aside = (this.#aside ??= new Completions(this.#completions.capacity));
    const count = this.#reap(aside);
    for (let i = 0; i < count; i++) this.#settleLater(aside.slots[i] as number, aside.results[i] as number);
  }
}

/** The caller that waits in `readSync`. */
class SynchronousRead implements CompletionHandler {
  result: number | null = null;

  complete(_token: number, result: number): void {
    this.result = result;
  }
}
