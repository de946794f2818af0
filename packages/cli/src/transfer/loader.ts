/**
 * Puts many entries into a store: in batches that go in one step, a few of them under way, flushed once at the end.
 *
 * BATCHES-1. `end` settles when everything survives power loss. What was put before a failure stays in the store.
 */
import { KIB } from '@aiokv/core';
import type { BatchOperation, Store } from '@aiokv/kv';

/** A batch of more is admitted in slices. */
const OPERATIONS = 256;
const BATCH_BYTES = 512 * KIB;
const UNDER_WAY = 4;

export class Loader {
  readonly #store: Store;
  #batch: BatchOperation[] = [];
  #batchBytes = 0;
  #underWay = 0;
  #error: unknown = null;
  #hasFailed = false;
  #wake: (() => void) | null = null;
  #entries = 0;
  #bytes = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  get entries(): number {
    return this.#entries;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes an entry, whose memory must not change until the promise settles. @returns a promise to wait for, or null */
  put(key: Buffer, value: Uint8Array): Promise<void> | null {
    this.#entries++;
    this.#bytes += key.length + value.length;
    this.#batch.push({ type: 'put', key, value });
    this.#batchBytes += key.length + value.length;
    return this.#batch.length >= OPERATIONS || this.#batchBytes >= BATCH_BYTES ? this.#send() : null;
  }

  async end(): Promise<void> {
    if (this.#batch.length > 0) await this.#send();
    while (this.#underWay > 0) await this.#oneDone();
    this.#check();
    // BATCHES-1.
    await this.#store.flush();
  }

  async #send(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    while (this.#underWay >= UNDER_WAY) await this.#oneDone();
    this.#check();
    this.#underWay++;
    this.#store.batch(batch, { durability: 'buffered' }).then(this.#done, this.#failed);
  }

  #oneDone(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #check(): void {
    if (this.#hasFailed) throw this.#error;
  }

  readonly #done = (): void => {
    this.#underWay--;
    this.#wake?.();
  };

  readonly #failed = (error: unknown): void => {
    this.#error ??= error;
    this.#hasFailed = true;
    this.#done();
  };
}
