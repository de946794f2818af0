/**
 * The seam between the queue and whatever carries requests to a disk.
 *
 * An engine knows nothing of promises, batching policy or back-pressure: it takes requests that
 * stand in numbered slots, submits those it is told to, and reports completions by slot number. It
 * never calls the queue from inside `submit`, `reap` or `wait`.
 *
 * ```
 *            prepare(slot, …)        submit(slots)             reap(completions)
 *   free ──────────────────► prepared ───────────► in flight ───────────────────► free
 *                                     ◄─ refused ─┘
 * ```
 *
 * Invariants that every engine keeps and the conformance suite checks:
 * E1. A slot that `submit` accepted is reported by `reap` exactly once; others never.
 * E2. The memory of a request is not touched after its completion was reported, nor after `close`.
 * E3. `submit` accepts a prefix of what it was given. Nothing behind the first refused slot was sent.
 * E4. Requests in flight are not ordered against one another, not even those of one `submit`.
 *     A flush covers exactly the writes whose completion was reported before it was submitted.
 * E5. `close` settles only when no request is in flight any more.
 */
import type { AlignedBuffer } from './buffers.ts';

export type EngineName = 'libaio' | 'simulated';

/** What a request does; the numbers are those of the Linux ABI (`IOCB_CMD_*`). */
export const Opcode = { read: 0, write: 1, fsync: 2, fdatasync: 3 } as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

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

export interface EngineOptions {
  /** Slots are numbered 0 to `slots - 1`. */
  readonly slots: number;
  /** The most requests that will be in flight at once; at most `slots`. */
  readonly depth: number;
}

export interface Engine {
  readonly name: EngineName;

  /**
   * Describes a request in a free slot. Nothing is sent yet.
   *
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

  /**
   * Sends `slots[start]` to `slots[start + count - 1]`, in one system call where the engine has them.
   *
   * @returns how many were accepted, from the front; when not even the first was, its negative error
   *   number: -EAGAIN says "again after something was reaped", anything else is that request's own failure
   */
  submit(slots: Uint32Array, start: number, count: number): number;

  /** Copies completions that are there already, up to `completions.capacity`. Never waits. Returns their count. */
  reap(completions: Completions): number;

  /**
   * Blocks the thread until something can be reaped or `timeoutMs` has passed; for synchronous callers only.
   * Requires that something is in flight.
   */
  wait(timeoutMs: number): void;

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
