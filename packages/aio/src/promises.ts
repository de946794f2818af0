/**
 * The promises of requests without a signal or a deadline. Their functions stand in arrays, by slot, so that nothing but
 * the promise is allocated for a request. abort.ts has the requests that may end early.
 */
import { assert } from '@aiokv/core';
import type { Opcode } from './engine.ts';
import type { DirectFile } from './platform.ts';
import { SYSCALL_NAMES, requestError } from './request-error.ts';
import type { CompletionHandler } from './slots.ts';

/** Settles the promises of the promise form; its token is the slot. */
export class PromiseSettler implements CompletionHandler {
  readonly #resolve: (((value: number) => void) | null)[];
  readonly #reject: (((reason: Error) => void) | null)[];
  readonly #opcode: Uint8Array;
  readonly #files: (DirectFile | null)[];
  /** The slot whose promise is being made. */
  #slot = 0;

  constructor(slots: number) {
    this.#resolve = new Array<((value: number) => void) | null>(slots).fill(null);
    this.#reject = new Array<((reason: Error) => void) | null>(slots).fill(null);
    this.#opcode = new Uint8Array(slots);
    this.#files = new Array<DirectFile | null>(slots).fill(null);
  }

  promiseOf(slot: number, opcode: Opcode, file: DirectFile | null): Promise<number> {
    this.#slot = slot;
    this.#opcode[slot] = opcode;
    this.#files[slot] = file;
    return new Promise(this.#capture);
  }

  expect(
    slot: number,
    opcode: Opcode,
    file: DirectFile | null,
    resolve: (value: number) => void,
    reject: (reason: Error) => void,
  ): void {
    this.#resolve[slot] = resolve;
    this.#reject[slot] = reject;
    this.#opcode[slot] = opcode;
    this.#files[slot] = file;
  }

  /** One executor for all promises. A closure for each would cost more than the rest of the request. */
  readonly #capture = (resolve: (value: number) => void, reject: (reason: Error) => void): void => {
    this.#resolve[this.#slot] = resolve;
    this.#reject[this.#slot] = reject;
  };

  complete(slot: number, result: number): void {
    const resolve = this.#resolve[slot];
    const reject = this.#reject[slot];
    assert(typeof resolve === 'function' && typeof reject === 'function', 'a promise waits for this slot');
    this.#resolve[slot] = null;
    this.#reject[slot] = null;
    const file = this.#files[slot] ?? null;
    this.#files[slot] = null;
    if (result >= 0) resolve(result);
    else reject(requestError(SYSCALL_NAMES[this.#opcode[slot] as Opcode], result, file));
  }
}
