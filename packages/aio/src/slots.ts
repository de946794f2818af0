/**
 * The fixed table of requests that a queue has accepted and not yet settled.
 *
 * ```
 *          take()              release()
 *   free ─────────► occupied ────────────► free        occupied = waiting to be submitted, or in flight
 * ```
 *
 * TABLE-1. An occupied slot holds its buffer strongly and counts in the buffer's `pins`: the kernel may
 *     write there until the completion was reaped.
 * TABLE-2. Taking and releasing allocate nothing.
 */
import { assert } from '@aiokv/core';
import type { AlignedBuffer } from './buffers.ts';

/** Is told of completions. One object serves any number of requests. */
export interface CompletionHandler {
  /**
   * @param token what came with the request
   * @param result bytes transferred, or a negative error number
   */
  complete(token: number, result: number): void;
}

export class SlotTable {
  readonly capacity: number;
  readonly #free: Uint32Array;
  #freeCount: number;
  readonly #handlers: (CompletionHandler | null)[];
  readonly #tokens: Int32Array;
  readonly #buffers: (AlignedBuffer | readonly AlignedBuffer[] | null)[];

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#free = Uint32Array.from({ length: capacity }, (_, i) => capacity - 1 - i);
    this.#freeCount = capacity;
    this.#handlers = new Array<CompletionHandler | null>(capacity).fill(null);
    this.#tokens = new Int32Array(capacity);
    this.#buffers = new Array<AlignedBuffer | readonly AlignedBuffer[] | null>(capacity).fill(null);
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  /** Occupies a free slot; requires that there is one. */
  take(handler: CompletionHandler, token: number, buffer: AlignedBuffer | readonly AlignedBuffer[] | null): number {
    assert(this.#freeCount > 0, 'a slot is taken only when one is free');
    const slot = this.#free[--this.#freeCount] as number;
    this.#handlers[slot] = handler;
    this.#tokens[slot] = token;
    this.#buffers[slot] = buffer;
    if (buffer !== null) pin(buffer, 1);
    return slot;
  }

  /** Changes the token of an occupied slot, for handlers whose token is the slot number. */
  retoken(slot: number, token: number): void {
    this.#tokens[slot] = token;
  }

  tokenOf(slot: number): number {
    return this.#tokens[slot] as number;
  }

  handlerOf(slot: number): CompletionHandler | null {
    return this.#handlers[slot] ?? null;
  }

  /** Frees an occupied slot and returns its handler. */
  release(slot: number): CompletionHandler {
    const handler = this.#handlers[slot];
    assert(handler !== null && handler !== undefined, 'a completion belongs to an occupied slot');
    const buffer = this.#buffers[slot];
    if (buffer !== null && buffer !== undefined) pin(buffer, -1);
    this.#handlers[slot] = null;
    this.#buffers[slot] = null;
    this.#free[this.#freeCount++] = slot;
    return handler;
  }
}

function pin(buffer: AlignedBuffer | readonly AlignedBuffer[], change: number): void {
  if (!Array.isArray(buffer)) (buffer as AlignedBuffer).pins += change;
  else for (const one of buffer as readonly AlignedBuffer[]) one.pins += change;
}
