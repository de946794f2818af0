/**
 * Requests that an `AbortSignal` or a deadline may end early.
 *
 * ```
 *                          abort ─► withdrawn: rejected at once, nothing was transferred
 *   waiting ─► in flight ─► abort ─► … until the kernel lets go of the buffer ─► rejected, with its result
 *                 └──────────────────────────────────────────────────────────► resolved
 * ```
 *
 * A transfer in flight cannot be cancelled. Its buffer goes back to the caller when it completes.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, assert, clearTimeout, setTimeout } from '@aiokv/core';
import { constants } from 'node:os';
import type { AlignedBuffer } from './buffers.ts';
import { checkMemory, describe } from './checks.ts';
import type { Opcode } from './engine.ts';
import type { DirectFile } from './platform.ts';
import { SYSCALL_NAMES, requestError } from './request-error.ts';
import type { SlotWaiter } from './slot-waiters.ts';
import type { CompletionHandler } from './slots.ts';

/** What may end a request early. */
export interface EarlyEnd {
  /** Aborting rejects the request with ERR_AIOKV_ABORTED. */
  readonly signal?: AbortSignal;
  /** Milliseconds from the call, after which the request is rejected with ERR_AIOKV_DEADLINE. */
  readonly deadlineMs?: number;
}

const CODES = { aborted: 'ERR_AIOKV_ABORTED', deadline: 'ERR_AIOKV_DEADLINE' } as const;
const { ECANCELED } = constants.errno;

/** A request was aborted, or was past its deadline. The caller has the buffer back. */
export class AbortedError extends AiokvError {
  override readonly name = 'AbortedError';
  /** `'withdrawn'`: never submitted, nothing was transferred. `'completed'`: the kernel had it already. */
  readonly outcome: 'withdrawn' | 'completed';
  /** What the kernel returned: bytes transferred, or a negative error number. Null for a withdrawn request. */
  readonly result: number | null;

  constructor(why: keyof typeof CODES, syscall: string, result: number | null, cause: unknown) {
    const what = why === 'aborted' ? 'was aborted' : 'was past its deadline';
    const end =
      result === null
        ? 'before it was submitted: nothing was transferred'
        : `while it was in flight; it has completed with ${result}`;
    super(CODES[why], `the ${syscall} ${what} ${end}`, { cause });
    this.outcome = result === null ? 'withdrawn' : 'completed';
    this.result = result;
  }
}

/** What a watched request needs of the queue that has it. */
export interface Withdrawal {
  startInOrder(waiter: SlotWaiter): boolean;
  noteEnded(): void;
  withdraw(slot: number): boolean;
  cancelPoll(slot: number): void;
}

/** @throws AiokvRangeError, AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT */
export function checkEarlyEnd({ signal, deadlineMs }: EarlyEnd): void {
  if (deadlineMs !== undefined && !(typeof deadlineMs === 'number' && deadlineMs >= 0)) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `deadlineMs is a number of milliseconds, not ${String(deadlineMs)}`,
    );
  }
  if (signal !== undefined && !isSignal(signal)) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', `signal is an AbortSignal, not ${describe(signal)}`);
  }
}

/** By what it can do: the signal of another realm is no instance of this realm's class. */
function isSignal(signal: AbortSignal): boolean {
  return (
    typeof signal === 'object' &&
    signal !== null &&
    typeof signal.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function'
  );
}

/**
 * The requests that one signal may end, behind a single listener. With a listener each, adding or removing one would
 * search through all the others.
 */
class SignalWatch {
  readonly #signal: AbortSignal;
  readonly #requests = new Set<WatchedRequest>();

  /** The watch of each signal that has requests; `add` and `remove` alone know it. */
  static readonly #watches = new WeakMap<AbortSignal, SignalWatch>();

  private constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  static add(signal: AbortSignal, request: WatchedRequest): void {
    let watch = SignalWatch.#watches.get(signal);
    if (watch === undefined) {
      watch = new SignalWatch(signal);
      SignalWatch.#watches.set(signal, watch);
      signal.addEventListener('abort', watch.#onAbort, { once: true });
    }
    watch.#requests.add(request);
  }

  static remove(signal: AbortSignal, request: WatchedRequest): void {
    const watch = SignalWatch.#watches.get(signal);
    if (watch === undefined || !watch.#requests.delete(request) || watch.#requests.size > 0) return;
    SignalWatch.#watches.delete(signal);
    signal.removeEventListener('abort', watch.#onAbort);
  }

  readonly #onAbort = (): void => {
    for (const request of this.#requests) request.abort(this.#signal.reason);
  };
}

/** What a watched request is about. */
export interface WatchedTransfer {
  readonly opcode: Opcode;
  readonly file: DirectFile | null;
  readonly buffers: AlignedBuffer | readonly AlignedBuffer[] | null;
}

/** One request with a signal or a deadline, and its promise. */
export class WatchedRequest implements CompletionHandler, SlotWaiter {
  readonly promise: Promise<number>;
  readonly #queue: Withdrawal;
  readonly #asked: WatchedTransfer;
  readonly #signal: AbortSignal | undefined;
  #accept: ((handler: CompletionHandler) => number) | null;
  #timer: NodeJS.Timeout | undefined;
  #resolve!: (result: number) => void;
  #reject!: (error: Error) => void;
  /** Its slot in the queue, or -1. */
  #slot = -1;
  #isWaiting = false;
  /** Inside the call that accepts it. Subscribers may abort it there already. */
  #isStarting = false;
  #isSettled = false;
  /** Set while in flight: why it will be rejected when it completes. */
  #late: { readonly why: keyof typeof CODES; readonly cause: unknown } | null = null;

  /** @param accept hands it to the queue and returns the slot */
  constructor(
    queue: Withdrawal,
    asked: WatchedTransfer,
    { signal, deadlineMs }: EarlyEnd,
    accept: (handler: CompletionHandler) => number,
  ) {
    this.#queue = queue;
    this.#asked = asked;
    this.#accept = accept;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal = signal;
    if (signal?.aborted === true) {
      this.abort(signal.reason);
      return;
    }
    if (signal !== undefined) SignalWatch.add(signal, this);
    if (deadlineMs !== undefined && deadlineMs < 2 ** 31) {
      this.#timer = setTimeout(onDeadline, deadlineMs, this);
    }
  }

  /** Whether it has ended. A request that ended while it waited needs no slot. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Asks the queue to start it in turn. */
  begin(): void {
    if (!this.#isSettled) this.#isWaiting = !this.#queue.startInOrder(this);
  }

  start(): void {
    this.#isWaiting = false;
    const accept = this.#accept;
    this.#accept = null;
    assert(accept !== null, 'a request is started once');
    try {
      checkMemory(this.#asked.buffers);
    } catch (error) {
      this.#fail(error as Error);
      return;
    }
    this.#isStarting = true;
    this.#slot = accept(this);
    this.#isStarting = false;
    const late = this.#late;
    if (late !== null) this.#endInQueue(late.why, late.cause);
  }

  complete(_token: number, result: number): void {
    const { opcode, file } = this.#asked;
    const late = this.#late;
    if (late !== null) {
      // A cancelled poll has found nothing, so it counts as withdrawn.
      const told = result === -ECANCELED ? null : result;
      this.#fail(new AbortedError(late.why, SYSCALL_NAMES[opcode], told, late.cause));
    } else if (result < 0) this.#fail(requestError(SYSCALL_NAMES[opcode], result, file));
    else {
      this.#end();
      this.#resolve(result);
    }
  }

  abort(cause: unknown): void {
    this.#endEarly('aborted', cause);
  }

  /** @internal */
  onDeadline(): void {
    this.#endEarly('deadline', undefined);
  }

  #endEarly(why: keyof typeof CODES, cause: unknown): void {
    if (this.#isSettled || this.#late !== null) return;
    if (this.#isStarting) this.#late = { why, cause };
    else if (this.#slot >= 0) this.#endInQueue(why, cause);
    else {
      const wasWaiting = this.#isWaiting;
      this.#fail(new AbortedError(why, SYSCALL_NAMES[this.#asked.opcode], null, cause));
      if (wasWaiting) this.#queue.noteEnded();
    }
  }

  #endInQueue(why: keyof typeof CODES, cause: unknown): void {
    if (this.#queue.withdraw(this.#slot)) {
      this.#fail(new AbortedError(why, SYSCALL_NAMES[this.#asked.opcode], null, cause));
      return;
    }
    this.#late = { why, cause };
    this.#queue.cancelPoll(this.#slot);
  }

  #fail(error: Error): void {
    this.#end();
    this.#reject(error);
  }

  /** Releases the timer, the signal and the waiting place. */
  #end(): void {
    this.#isSettled = true;
    this.#isWaiting = false;
    this.#accept = null;
    clearTimeout(this.#timer);
    if (this.#signal !== undefined) SignalWatch.remove(this.#signal, this);
  }
}

function onDeadline(request: WatchedRequest): void {
  request.onDeadline();
}
