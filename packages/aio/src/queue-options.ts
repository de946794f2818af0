/**
 * The options of a queue, with their units and defaults, and their checks.
 */
import { boolean, instance, integer, oneOf, refuseUnknown, resolveOptions } from '@aiokv/core';
import type { OptionRule, OptionShape } from '@aiokv/core';
import type { EngineName, UringOptions } from './engine.ts';

/**
 * When completions are handed out, in terms of `io_getevents`; docs/performance.md has the effect, measured.
 *
 * `'latency'`: as soon as there is one, which is `{ minComplete: 1, maxComplete: 128, timeoutMs: 0 }`.
 * `'throughput'`: several at a time, which saves wake-ups and calls and costs latency:
 * `{ minComplete: 16, maxComplete: 128, timeoutMs: 0.2 }`.
 */
export type QueuePolicy = 'latency' | 'throughput' | CompletionPolicy;

export interface CompletionPolicy {
  /** `min_nr`: once a completion has woken the loop, it waits for so many. */
  readonly minComplete: number;
  /** `nr`: so many are handed out in one turn of the loop, before timers run. */
  readonly maxComplete: number;
  /** The longest wait for them, in milliseconds, 0 to 2. It blocks the event loop. */
  readonly timeoutMs: number;
}

export interface QueueOptions {
  /** Most requests in flight at once; 1 to 4096, default 128. */
  depth: number;
  /** Most requests accepted beyond those in flight; then callers wait. 0 to 2^20, default 1024. */
  maxWaiting: number;
  /** Fewest requests worth a system call before the end of the turn; 1 to 4096, default 6. */
  batchMin: number;
  /**
   * With 8 requests in flight or fewer, how many turns of the event loop look for a completion before
   * sleeping until the kernel wakes the loop; default 160, some 100 to 200 us. 0 never spins.
   */
  spinTurns: number;
  /** What carries the requests; default: the platform's own, on Linux `'libaio'`. `'auto'`: the first that works. */
  engine: EngineName | 'auto' | undefined;
  /** A kernel context for this queue alone, instead of the one that the queues of a thread share; default false. */
  ownContext: boolean;
  /**
   * A thread carries out transfers that would block the event loop; default false. Each asks the kernel with RWF_NOWAIT
   * first.
   */
  neverBlock: boolean;
  /** When completions are handed out; default `'latency'`. */
  policy: QueuePolicy;
  /** How the engine `'io_uring'` is set up. */
  uring: UringOptions | undefined;
}

export interface ResolvedQueueOptions extends Omit<QueueOptions, 'policy'> {
  readonly policy: CompletionPolicy;
}

const POLICIES = {
  latency: { minComplete: 1, maxComplete: 128, timeoutMs: 0 },
  throughput: { minComplete: 16, maxComplete: 128, timeoutMs: 0.2 },
} as const;
/** No policy may block the event loop for longer. */
const LONGEST_WAIT_MS = 2;

const shape = {
  depth: integer(1, 4096, 128),
  maxWaiting: integer(0, 1 << 20, 1024),
  batchMin: integer(1, 4096, 6),
  spinTurns: integer(0, 10_000, 160),
  engine: {
    ...oneOf(['libaio', 'io_uring', 'posix', 'threads', 'simulated', 'auto'], 'auto'),
    fallback: undefined as QueueOptions['engine'],
  },
  ownContext: boolean(false),
  neverBlock: boolean(false),
  policy: instance<QueuePolicy>(
    `'latency', 'throughput' or { minComplete: 1 to 4096, maxComplete: 1 to 4096, timeoutMs: 0 to ${LONGEST_WAIT_MS} }`,
    'latency',
    isPolicy,
  ),
  uring: instance<UringOptions | undefined>(
    'an object',
    undefined,
    (value) => typeof value === 'object' && value !== null,
  ),
};

type ResolvedUringOptions = { [Name in keyof UringOptions]-?: UringOptions[Name] | undefined };

const list = (expected: string): OptionRule<undefined> =>
  instance(`an array of ${expected}`, undefined, (value) => Array.isArray(value));

/** An option that is left out has the engine's own default. */
const uringShape = {
  sqpoll: { ...boolean(false), fallback: undefined },
  sqpollIdleMs: { ...integer(0, 0x7fff_ffff, 0), fallback: undefined },
  iopoll: { ...boolean(false), fallback: undefined },
  buffers: list('buffers'),
  handles: list('handles'),
} as OptionShape<ResolvedUringOptions>;

/** @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION */
export function resolveQueueOptions(given: Partial<QueueOptions> | undefined): ResolvedQueueOptions {
  const options = resolveOptions<QueueOptions>('queue', shape, given);
  const { policy, uring } = options;
  if (typeof policy === 'object') refuseUnknown("queue: option 'policy'", POLICIES.latency, policy);
  if (uring !== undefined) resolveOptions<ResolvedUringOptions>("queue: option 'uring'", uringShape, uring);
  return { ...options, policy: typeof policy === 'string' ? POLICIES[policy] : policy };
}

function isPolicy(value: unknown): boolean {
  if (typeof value === 'string') return Object.hasOwn(POLICIES, value);
  if (typeof value !== 'object' || value === null) return false;
  const { minComplete, maxComplete, timeoutMs } = value as Partial<CompletionPolicy>;
  return (
    isCount(minComplete) &&
    isCount(maxComplete) &&
    typeof timeoutMs === 'number' &&
    timeoutMs >= 0 &&
    timeoutMs <= LONGEST_WAIT_MS
  );
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 4096;
}
