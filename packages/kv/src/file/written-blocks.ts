/**
 * How far the blocks of each slot have been written to since the file system allocated them.
 *
 * ```
 *   slot │ written │ written │ written │ never written │ never written │
 *                                      └─ endOf
 * ```
 *
 * A file system allocates blocks as "never written", and the first write to one changes that. The change is metadata, so the
 * next flush has to write the journal, too: it takes half as long again. A block that was written before takes a write and
 * the flush of the device's cache, and nothing else.
 *
 * This is a guess that costs time when it is wrong, and nothing else. An opening knows nothing of any slot. It never says
 * what the blocks contain.
 */
export class WrittenBlocks {
  /** By slot, in bytes from the beginning of the slot. */
  #ends = new Uint32Array(16);

  /** The blocks of the slot up to here have been written to. */
  endOf(slot: number): number {
    return this.#ends[slot] ?? 0;
  }

  /** The blocks of the slot are written, or about to be, up to here without a gap. */
  wrote(slot: number, endBytes: number): void {
    if (slot >= this.#ends.length) this.#grow(slot);
    if (endBytes > (this.#ends[slot] as number)) this.#ends[slot] = endBytes;
  }

  /** The slot gets other blocks, or none. */
  forget(slot: number): void {
    if (slot < this.#ends.length) this.#ends[slot] = 0;
  }

  #grow(slot: number): void {
    const longer = new Uint32Array(Math.max(slot + 1, 2 * this.#ends.length));
    longer.set(this.#ends);
    this.#ends = longer;
  }
}
