/**
 * Requests that may end early: by an `AbortSignal` or a deadline.
 *
 * ```
 *                          abort ─► withdrawn: rejected at once, nothing was transferred
 *   waiting ─► in flight ─► abort ─► … until the kernel lets go of the buffer ─► rejected, with its result
 *                 └──────────────────────────────────────────────────────────► resolved
 * ```
 *
 * The kernel cannot be made to leave a transfer: until it completes, the buffer is not the caller's again.
 */
import { AiokvError, AiokvRangeError, SystemCallError } from '@aiokv/core';
import { constants } from 'node:os';
import type { Opcode } from './engine.ts';
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

/** A request that was aborted, or over its deadline; its buffer is the caller's again. */
export class AbortedError extends AiokvError {
  override readonly name = 'AbortedError';
  /** `'withdrawn'`: it was never submitted, and nothing was transferred. `'completed'`: the kernel had it already. */
  readonly outcome: 'withdrawn' | 'completed';
  /** Of a completed one: bytes transferred, or a negative error number; null of a withdrawn one. */
  readonly result: number | null;

  constructor(why: keyof typeof CODES, syscall: string, result: number | null, cause: unknown) {
    const what = why === 'aborted' ? 'was aborted' : 'was over its deadline';
    const end =
      result === null
        ? 'before it was submitted: nothing was transferred'
        : `while it was in flight, and has completed since with ${result}`;
    super(CODES[why], `the ${syscall} ${what} ${end}`, { cause });
    this.outcome = result === null ? 'withdrawn' : 'completed';
    this.result = result;
  }
}

/** What a watched request needs of the queue that has it. */
export interface Withdrawal {
  withdraw(slot: number): boolean;
  cancelPoll(slot: number): void;
}

export const SYSCALL_NAMES = {
  0: 'read',
  1: 'write',
  2: 'fsync',
  3: 'fdatasync',
  5: 'poll',
  7: 'readv',
  8: 'writev',
} as const;

/** @throws AiokvRangeError ERR_AIOKV_INVALID_ARGUMENT */
export function checkEarlyEnd({ deadlineMs }: EarlyEnd): void {
  if (deadlineMs === undefined || deadlineMs >= 0) return;
  throw new AiokvRangeError('ERR_AIOKV_INVALID_ARGUMENT', `deadlineMs is a number of milliseconds, not ${deadlineMs}`);
}

/** One request with a signal or a deadline, and its promise. */
export class WatchedRequest implements CompletionHandler {
  readonly promise: Promise<number>;
  readonly #queue: Withdrawal;
  readonly #syscall: string;
  readonly #signal: AbortSignal | undefined;
  #timer: NodeJS.Timeout | undefined;
  #resolve!: (result: number) => void;
  #reject!: (error: Error) => void;
  /** Where it is in the queue; -1 as long as it has no slot. */
  #slot = -1;
  #isSettled = false;
  /** Why it is to be rejected when it completes. */
  #late: { readonly why: keyof typeof CODES; readonly cause: unknown } | null = null;

  constructor(queue: Withdrawal, opcode: Opcode, { signal, deadlineMs }: EarlyEnd) {
    this.#queue = queue;
    this.#syscall = SYSCALL_NAMES[opcode];
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal = signal;
    if (signal?.aborted === true) {
      this.#onAbort();
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (deadlineMs !== undefined && deadlineMs < 2 ** 31) {
      this.#timer = setTimeout(() => this.#end('deadline', undefined), deadlineMs);
    }
  }

  /** Whether it came to an end before it had a slot. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  accepted(slot: number): void {
    this.#slot = slot;
  }

  /** Fails it from outside, for it was never accepted. */
  fail(error: Error): void {
    this.#settle(() => this.#reject(error));
  }

  complete(_token: number, result: number): void {
    const late = this.#late;
    if (late !== null) {
      // A poll that was cancelled has found nothing: it counts as withdrawn.
      const told = result === -ECANCELED ? null : result;
      this.#settle(() => this.#reject(new AbortedError(late.why, this.#syscall, told, late.cause)));
    } else if (result < 0) this.fail(new SystemCallError(this.#syscall, result));
    else this.#settle(() => this.#resolve(result));
  }

  readonly #onAbort = (): void => {
    this.#end('aborted', this.#signal?.reason);
  };

  #end(why: keyof typeof CODES, cause: unknown): void {
    if (this.#isSettled || this.#late !== null) return;
    if (this.#slot < 0 || this.#queue.withdraw(this.#slot)) {
      this.fail(new AbortedError(why, this.#syscall, null, cause));
      return;
    }
    this.#late = { why, cause };
    this.#queue.cancelPoll(this.#slot);
  }

  #settle(tell: () => void): void {
    this.#isSettled = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    tell();
  }
}
