/**
 * One kernel context of Linux AIO and the engines of this thread that share it. A context needs a mapping, counts against
 * `fs.aio-max-nr` and takes some 30 ms to destroy. So the queues of a thread share one, unless they ask for their own.
 *
 * ```
 *   kernel ─► ring ─────────────┐   by the tag of the request
 *               └─ io_getevents ┴──────────────► inbox of each member ─► reap of its engine
 * ```
 *
 * Only this file reaps the ring, and a member that looks collects for all. Each member has its own eventfd, so the right
 * one is woken, even if another has collected its events.
 *
 * CONTEXT-1. Members together have at most as many requests in flight as the context was made for, so their
 *     inboxes, and the ring, have room for every event.
 * CONTEXT-2. A context is destroyed when it has had no member for a while; its ring is about to be unmapped then, so
 *     the view of it is dropped first, and no call reaches the context any more.
 * CONTEXT-3. The end of a worker destroys its contexts before its memory is freed (raw/teardown.ts).
 */
import { SystemCallError, assert, clearTimeout, nowMs, setTimeout } from '@aiokv/core';
import { constants } from 'node:os';
import { Completions } from '../engine.ts';
import type { AioCalls } from '../raw/libaio.ts';
import { EventArray } from '../raw/iocb.ts';
import { libcOf } from '../raw/libc.ts';
import { CompletionRing } from '../raw/ring.ts';
import { setupHooked } from '../raw/teardown.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { ReadyRing } from './ready-ring.ts';

const { EINTR } = constants.errno;
/** Requests in flight of a shared context: 8 queues of the default depth. */
const SHARED_CAPACITY = 1024;
/** How long a shared context without members waits for another. */
const IDLE_MS = 250;
/** Some 68 years, and a timeout of Infinity. */
const MAX_WAIT_SECONDS = 0x7fff_ffff;
/** Events that are taken out of the ring at a time. */
const BATCH = 256;

/** Completions of a member that its engine has not reaped yet. */
export class Inbox extends ReadyRing {
  /** The member's place in the context, which comes back with each of its events. */
  readonly tag: number;
  readonly depth: number;

  constructor(tag: number, depth: number) {
    super(depth);
    this.tag = tag;
    this.depth = depth;
  }
}

export class AioContext {
  /** Its handle, and the address of its ring. */
  readonly handle: number;
  readonly #calls: AioCalls;
  readonly #capacity: number;
  readonly #isShared: boolean;
  #reserved = 0;
  readonly #members: (Inbox | null)[] = [];
  readonly #batch = new Completions(BATCH);
  readonly #tags = new Uint32Array(BATCH);
  readonly #events: EventArray;
  /** `struct timespec`: seconds, then nanoseconds, each 64 bits of which the lower half is used. */
  readonly #timeout = new Int32Array(4);
  readonly #timeoutAddress: number;
  #ring: CompletionRing | null;
  readonly #forget: () => void;
  #idleTimer: NodeJS.Timeout | null = null;
  #isDestroyed = false;

  /** @throws AiokvError ERR_AIOKV_NO_CONTEXT; SystemCallError */
  constructor(ffi: ForeignInterface, calls: AioCalls, capacity: number, isShared: boolean, readsRing: boolean) {
    this.#calls = calls;
    this.#capacity = capacity;
    this.#isShared = isShared;
    this.#events = new EventArray(ffi, BATCH);
    this.#timeoutAddress = ffi.addressOf(this.#timeout.buffer);
    const { handle, forget } = setupHooked(libcOf(ffi), calls, capacity);
    this.handle = handle;
    this.#forget = forget;
    this.#ring = readsRing ? CompletionRing.at(this.handle, (address, bytes) => ffi.viewOf(address, bytes)) : null;
  }

  get isDestroyed(): boolean {
    return this.#isDestroyed;
  }

  hasRoomFor(depth: number): boolean {
    return !this.#isDestroyed && this.#reserved + depth <= this.#capacity;
  }

  /** Requires `hasRoomFor(depth)` (CONTEXT-1). */
  join(depth: number): Inbox {
    assert(this.hasRoomFor(depth), 'a context takes no more members than it has room for');
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
    const vacant = this.#members.indexOf(null);
    const inbox = new Inbox(vacant < 0 ? this.#members.length : vacant, depth);
    this.#members[inbox.tag] = inbox;
    this.#reserved += depth;
    return inbox;
  }

  /** Requires that the member has nothing in flight. Settles when a context of its own is destroyed. */
  async leave(inbox: Inbox): Promise<void> {
    assert(this.#members[inbox.tag] === inbox, 'a member leaves once');
    this.#members[inbox.tag] = null;
    this.#reserved -= inbox.depth;
    if (this.#reserved > 0) return;
    if (!this.#isShared) await this.#destroy();
    else {
      this.#idleTimer = setTimeout(() => void this.#destroy(), IDLE_MS);
      this.#idleTimer.unref();
    }
  }

  submit(count: number, pointersAddress: number): number {
    return this.#calls.ioSubmit(this.handle, count, pointersAddress);
  }

  cancel(iocbAddress: number): void {
    // The event comes through the ring. If the kernel refuses, the request goes on.
    this.#calls.ioCancel(this.handle, iocbAddress, this.#events.address);
  }

  /** Whether an event may wait. */
  get mayHaveEvents(): boolean {
    return this.#ring === null || !this.#ring.isEmpty;
  }

  /** Moves every event that is there into the inboxes, without waiting. */
  collect(): void {
    if (this.#isDestroyed) return;
    while (this.#ring !== null) {
      const batch = this.#batch;
      batch.count = 0;
      if (!this.#ring.reap(batch, this.#tags)) {
        // The ring makes no sense, so events come through the kernel from now on.
        this.#ring.drop();
        this.#ring = null;
        break;
      }
      for (let i = 0; i < batch.count; i++) {
        this.#deliver(this.#tags[i] as number, batch.slots[i] as number, batch.results[i] as number);
      }
      if (batch.count < BATCH) return;
    }
    while (this.#getevents(0, 0) === BATCH);
  }

  /** Blocks until the inbox holds `min` events or the time is up. Other members find theirs in their inboxes. */
  wait(inbox: Inbox, min: number, timeoutMs: number): void {
    const untilMs = nowMs() + timeoutMs;
    this.collect();
    while (inbox.count < min && !this.#isDestroyed) {
      const leftMs = untilMs - nowMs();
      this.#getevents(Math.min(min - inbox.count, BATCH), Math.max(0, leftMs));
      if (leftMs <= 0) return;
    }
  }

  #deliver(tag: number, slot: number, result: number): void {
    const inbox = this.#members[tag];
    assert(inbox !== null && inbox !== undefined, 'an event belongs to a member');
    inbox.put(slot, result);
  }

  /** Takes events out through the kernel; returns how many. */
  #getevents(min: number, timeoutMs: number): number {
    const seconds = Math.min(Math.floor(timeoutMs / 1000), MAX_WAIT_SECONDS);
    this.#timeout[0] = seconds;
    this.#timeout[2] = Math.min(Math.floor((timeoutMs - seconds * 1000) * 1e6), 999_999_999);
    const events = this.#events;
    const count = this.#calls.ioGetevents(this.handle, min, BATCH, events.address, this.#timeoutAddress);
    if (count === -EINTR) return 0;
    if (count < 0) throw new SystemCallError('io_getevents', count);
    for (let i = 0; i < count; i++) this.#deliver(events.tag(i), events.data(i), events.result(i));
    return count;
  }

  /** CONTEXT-2, off the event loop. */
  async #destroy(): Promise<void> {
    this.#isDestroyed = true;
    this.#ring?.drop();
    this.#ring = null;
    this.#forget();
    await this.#calls.ioDestroy(this.handle);
  }
}

/** The shared contexts of this thread, by how they reach the kernel. `contextFor` alone uses it. */
const shared = { ring: new Map<AioCalls, AioContext[]>(), kernel: new Map<AioCalls, AioContext[]>() };

export interface ContextOptions {
  readonly ffi: ForeignInterface;
  readonly calls: AioCalls;
  readonly depth: number;
  /** A context for one member. */
  readonly isOwn: boolean;
  /** Whether completions are read from the ring in place. */
  readonly readsRing: boolean;
}

/**
 * A context with room for a member of this depth.
 *
 * @throws AiokvError ERR_AIOKV_NO_CONTEXT when the system's limit is reached; SystemCallError
 */
export function contextFor({ ffi, calls, depth, isOwn, readsRing }: ContextOptions): AioContext {
  if (isOwn) return new AioContext(ffi, calls, depth, false, readsRing);
  const all = readsRing ? shared.ring : shared.kernel;
  const living = (all.get(calls) ?? []).filter((context) => !context.isDestroyed);
  all.set(calls, living);
  const found = living.find((context) => context.hasRoomFor(depth));
  if (found !== undefined) return found;
  let context: AioContext;
  try {
    context = new AioContext(ffi, calls, Math.max(depth, SHARED_CAPACITY), true, readsRing);
  } catch (error) {
    if (depth >= SHARED_CAPACITY) throw error;
    // The system is short of them, so take no more than needed.
    context = new AioContext(ffi, calls, depth, true, readsRing);
  }
  living.push(context);
  return context;
}
