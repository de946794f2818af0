/**
 * The seam between the queue and whatever carries requests to a disk.
 *
 * An engine knows nothing of promises, batches or back-pressure. Requests stand in numbered slots. The engine submits the
 * slots it is given and reports completions by slot number. It never calls the queue from inside `submit`, `reap` or
 * `wait`.
 *
 * ```
 *            prepare(slot, …)        submit(slots)             reap(completions)
 *   free ──────────────────► prepared ───────────► in flight ───────────────────► free
 *                                     ◄─ refused ─┘
 * ```
 *
 * Invariants that every engine keeps and the conformance suite checks:
 * ENGINE-1. A slot that `submit` accepted is reported by `reap` exactly once; others never.
 * ENGINE-2. The memory of a request is not touched after its completion was reported, nor after `close`.
 * ENGINE-3. `submit` accepts a prefix of what it was given. Nothing behind the first refused slot was sent.
 * ENGINE-4. Requests in flight have no order, not even those of one `submit`.
 *     A flush covers exactly the writes whose completion was reported before it was submitted.
 * ENGINE-5. `close` settles only when no request is in flight any more.
 */
import type { AlignedBuffer } from './buffers.ts';

export type EngineName = 'libaio' | 'io_uring' | 'posix' | 'threads' | 'simulated';

/** What a request does; the numbers are those of the Linux ABI (`IOCB_CMD_*`). */
export const Opcode = { read: 0, write: 1, fsync: 2, fdatasync: 3, poll: 5, readv: 7, writev: 8 } as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

/** Hints of a request, as bits; the numbers are those of the Linux ABI (`RWF_*`). */
export const RequestFlag = {
  /** A write that is durable when it completes. It covers itself alone, and no write before it. */
  dsync: 0x2,
  /** Completes with -EAGAIN instead of blocking the submitting call. */
  nowait: 0x8,
} as const;

/** What an engine can do beyond read, write, readv, writev and flushes. */
export interface EngineFeatures {
  /** Bits of `RequestFlag` that it honours. */
  readonly flags: number;
  /** Whether it passes I/O priorities on. */
  readonly priority: boolean;
  readonly poll: boolean;
}

/** Completions that `reap` copied out: the first `count` entries of two parallel arrays. */
export class Completions {
  count = 0;
  readonly slots: Uint32Array;
  /** Bytes transferred, or a negative error number. */
  readonly results: Int32Array;

  constructor(capacity: number) {
    this.slots = new Uint32Array(capacity);
    this.results = new Int32Array(capacity);
  }

  get capacity(): number {
    return this.slots.length;
  }
}

/** How `io_uring` is set up; other engines ignore it. */
export interface UringOptions {
  /** A kernel thread polls for submissions, so that none needs a system call; default false. */
  readonly sqpoll?: boolean;
  /** With `sqpoll`: how long that thread polls in vain before it sleeps, in milliseconds; default 100. */
  readonly sqpollIdleMs?: number;
  /** The device is polled for completions, which needs poll queues; reads and writes only; default false. */
  readonly iopoll?: boolean;
  /** Buffers whose memory is mapped into the kernel once, not for each request. One buffer of a pool stands for the pool. */
  readonly buffers?: readonly AlignedBuffer[];
  /** `handle`s of files that the kernel looks up once, not for each request. They must outlive the engine. */
  readonly handles?: readonly number[];
}

export interface EngineOptions {
  /** Slots are numbered 0 to `slots - 1`. */
  readonly slots: number;
  /** The most requests that will be in flight at once; at most `slots`. */
  readonly depth: number;
  /** Which engine, where the platform has several: `'auto'` is the first that works. Default: the platform's own. */
  readonly engine?: EngineName | 'auto';
  /** A kernel context for this engine alone instead of the one that the engines of a thread share; default false. */
  readonly ownContext?: boolean;
  readonly uring?: UringOptions;
}

export interface Engine {
  readonly name: EngineName;
  /** Why this engine was chosen, in a sentence. */
  readonly reason: string;
  readonly features: EngineFeatures;

  /**
   * Describes a request in a free slot. Nothing is sent yet.
   *
   * @param opcode a read, a write or a flush
   * @param handle the `handle` of an open file of the same platform
   * @param buffer memory to read into or write from; null for a flush
   */
  prepare(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): void;

  /** Describes a `readv` or `writev`: the buffers, whole and in order, beginning at `fileOffset`. */
  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void;

  /**
   * Describes a `poll` of any descriptor, which completes once with the events of `mask` (`POLLIN` is 1) that
   * are there. Requires `features.poll`.
   */
  preparePoll(slot: number, descriptor: number, mask: number): void;

  /**
   * Adds to what was prepared, before it is submitted. Requires `features` to have it.
   *
   * @param flags bits of `RequestFlag`
   * @param priority as `ioprio_set` has it: class in bits 13 to 15, level in bits 0 to 2; 0 is none
   */
  setHints(slot: number, flags: number, priority: number): void;

  /**
   * Sends `slots[start]` to `slots[start + count - 1]`, in one system call where the engine has them.
   *
   * @returns how many were accepted, from the front; when not even the first was, its negative error
   *   number: -EAGAIN says "again after something was reaped", anything else is that request's own failure
   */
  submit(slots: Uint32Array, start: number, count: number): number;

  /** Copies the completions that are there, up to `completions.capacity`, without waiting. Returns their count. */
  reap(completions: Completions): number;

  /**
   * Blocks the thread until `min` (1) completions can be reaped or `timeoutMs` has passed; for synchronous callers only.
   * Requires that so many are in flight, and an engine without `perform`.
   */
  wait(timeoutMs: number, min?: number): void;

  /**
   * For engines whose thread cannot wait: carries a prepared request out on this thread and returns its result, without
   * `submit` and without a completion. Null where `wait` works.
   */
  readonly perform: ((slot: number) => number) | null;

  /**
   * Asks for the early end of a `poll` in flight, which then completes with 0, -ECANCELED or what it found.
   * It has no effect on other requests.
   */
  cancel(slot: number): void;

  /**
   * Says whether `onCompletion` may be called: true while something is in flight, which also keeps the
   * process alive. The engine starts out false.
   */
  setActive(active: boolean): void;

  /** Called from the event loop, never from inside another engine method, when `reap` may find something. */
  onCompletion: (() => void) | null;

  /** Waits for what is in flight, then gives everything back. Idempotent. */
  close(): Promise<void>;
}
