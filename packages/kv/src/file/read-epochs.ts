/**
 * Says when all reads that are under way have ended. Slots that no lookup finds any more can be written again then.
 *
 * A read goes by the place that its lookup found, and may wait before it asks the device. If the slot were written
 * meanwhile, the read could find another record of the same key there, whole and with the right checksum, and answer
 * with it.
 *
 * ```
 *            olderEnded   olderEnded
 *                │            │
 *        ┌───┐   │   ┌───┐    │   ┌────┐
 *   leave│ 3 │   │   │ 0 │    │   │ 17 │◄─ enter      reads in each epoch
 *        └───┘   │   └───┘    │   └────┘
 *          0     │     1      │     2               when epoch 0 is empty, both calls settle
 *       oldest                   current
 * ```
 *
 * EPOCH-1. A read enters in the step of its lookup. It leaves once, when it has nothing more to ask of the device and
 *     nothing of it is under way there: also when it fails, and when nobody wants its answer any more.
 * EPOCH-2. Each call of `olderEnded` begins an epoch, and settles when all epochs before it are empty. So calls settle
 *     in their order, and a read that enters later prolongs none of them.
 * EPOCH-3. A slot is used again only after an `olderEnded` that was called when no lookup found the slot any more. So
 *     a place that was looked up holds the same record as long as `current` is the same.
 * EPOCH-4. A read waits for the device only, and for nothing that waits for `olderEnded`.
 *
 * What a blocking read looked up cannot be written before it has returned, so it does not enter. This file knows
 * neither reads nor slots.
 */
import { Waiters, assert } from '@aiokv/core';

/** A power of two. There are as many epochs at once as calls that wait, and one. */
const FIRST_EPOCHS = 8;

export class ReadEpochs {
  /** Reads in each epoch, from `#oldest` to `#current`: a ring, of a power of two. */
  #reads = new Int32Array(FIRST_EPOCHS);
  #oldest = 0;
  /** One a second would exceed an Int32 after 68 years. */
  #current = 0;
  /** EPOCH-2. One waiter for each epoch but the current one. Woken by the last `leave` of its epoch, or of one before. */
  readonly #waiters = new Waiters();

  /** The epoch that reads enter now. */
  get current(): number {
    return this.#current;
  }

  /** Returns the epoch, for `leave`. Every read from the device calls both: each costs a load, an addition, a store. */
  enter(): number {
    const epoch = this.#current;
    const at = epoch & (this.#reads.length - 1);
    this.#reads[at] = (this.#reads[at] as number) + 1;
    return epoch;
  }

  leave(epoch: number): void {
    const at = epoch & (this.#reads.length - 1);
    const left = (this.#reads[at] as number) - 1;
    const isUnderWay = epoch >= this.#oldest && epoch <= this.#current && left >= 0;
    assert(isUnderWay, 'EPOCH-1: a read leaves the epoch that it entered, once');
    this.#reads[at] = left;
    if (left === 0 && epoch === this.#oldest) this.#endEmpty();
  }

  /** EPOCH-2. Settles when all reads that entered before have left. Never rejects. */
  olderEnded(): Promise<void> {
    const ended = this.#waiters.wait();
    this.#current++;
    if (this.#current - this.#oldest === this.#reads.length) this.#grow();
    this.#endEmpty();
    return ended;
  }

  /** Ends the oldest epochs that are empty, except the current one. */
  #endEmpty(): void {
    const reads = this.#reads;
    for (; this.#oldest < this.#current && reads[this.#oldest & (reads.length - 1)] === 0; this.#oldest++) {
      this.#waiters.wakeOne();
    }
    const { length } = this.#waiters;
    assert(length === this.#current - this.#oldest, 'EPOCH-2: each epoch but the current one is waited for');
  }

  /** Makes room for the current epoch, which is not in the ring yet. */
  #grow(): void {
    const { length } = this.#reads;
    const grown = new Int32Array(2 * length);
    for (let epoch = this.#oldest; epoch < this.#current; epoch++) {
      grown[epoch & (2 * length - 1)] = this.#reads[epoch & (length - 1)] as number;
    }
    this.#reads = grown;
  }
}
