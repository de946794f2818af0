/**
 * Slots in the order of their worth, the best first, without sorting all of them: a binary heap. A store of a terabyte has
 * 260,000 segments, of which a cleaning takes some hundred: to sort them in one step would hold the event loop for 0.3 s.
 *
 * ```
 *   worth      9 │ 7  8 │ 3  6  1  4 │ …       the parent of i is at (i - 1) / 2, and none is worth less than its children
 * ```
 */
const FIRST_COUNT = 64;

export class BestFirst {
  #count = 0;
  #worths = new Float64Array(FIRST_COUNT);
  #slots = new Uint32Array(FIRST_COUNT);

  get count(): number {
    return this.#count;
  }

  add(slot: number, worth: number): void {
    if (this.#count === this.#slots.length) this.#grow();
    let at = this.#count++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if ((this.#worths[parent] as number) >= worth) break;
      this.#put(at, this.#slots[parent] as number, this.#worths[parent] as number);
      at = parent;
    }
    this.#put(at, slot, worth);
  }

  /** Takes the best of those that are left; -1: there is none. */
  take(): number {
    if (this.#count === 0) return -1;
    const best = this.#slots[0] as number;
    const last = --this.#count;
    const slot = this.#slots[last] as number;
    const worth = this.#worths[last] as number;
    let at = 0;
    for (let child = 1; child < last; child = 2 * at + 1) {
      if (child + 1 < last && (this.#worths[child + 1] as number) > (this.#worths[child] as number)) child++;
      if ((this.#worths[child] as number) <= worth) break;
      this.#put(at, this.#slots[child] as number, this.#worths[child] as number);
      at = child;
    }
    this.#put(at, slot, worth);
    return best;
  }

  #put(at: number, slot: number, worth: number): void {
    this.#slots[at] = slot;
    this.#worths[at] = worth;
  }

  #grow(): void {
    const worths = new Float64Array(2 * this.#count);
    worths.set(this.#worths);
    this.#worths = worths;
    const slots = new Uint32Array(2 * this.#count);
    slots.set(this.#slots);
    this.#slots = slots;
  }
}
