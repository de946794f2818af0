/**
 * The slots that can be taken, lowest first, so that the file fills from the front. A binary heap:
 *
 * ```
 *          2               to take the lowest slot, or to add one, takes about 18 steps with 200,000 slots
 *        ┌─┴─┐
 *        3   9
 *       ┌┴┐ ┌┴
 *       7 4 12
 * ```
 *
 * READY-1. A slot is in the heap at most once.
 */
import { assert } from '@aiokv/core';

export class ReadySlots {
  readonly #heap: number[] = [];
  /** 1 for slots that are in the heap. */
  #isReady: Uint8Array;

  /** @param slotCount slots of the file; all that are not in `usedSlots` are ready */
  constructor(slotCount: number, usedSlots: ReadonlySet<number>) {
    this.#isReady = new Uint8Array(slotCount);
    // Ascending order is a valid heap.
    for (let slot = 0; slot < slotCount; slot++) {
      if (usedSlots.has(slot)) continue;
      this.#heap.push(slot);
      this.#isReady[slot] = 1;
    }
  }

  get count(): number {
    return this.#heap.length;
  }

  /** Takes the lowest slot; undefined if none is ready. */
  take(): number | undefined {
    const heap = this.#heap;
    const [lowest] = heap;
    const last = heap.pop();
    if (lowest === undefined || last === undefined) return undefined;
    this.#isReady[lowest] = 0;
    if (heap.length > 0) this.#sink(last);
    return lowest;
  }

  has(slot: number): boolean {
    return this.#isReady[slot] === 1;
  }

  /** Takes all from this slot on. Returns them, ascending. */
  takeFrom(first: number): number[] {
    return this.takeAbove(this.#heap.filter((slot) => slot < first).length);
  }

  /** Takes all but the lowest `keep` slots. Returns them, ascending. */
  takeAbove(keep: number): number[] {
    const slots = this.#heap.splice(0).sort((a, b) => a - b);
    const taken = slots.splice(keep);
    for (const slot of taken) this.#isReady[slot] = 0;
    // Ascending order is a valid heap.
    for (const slot of slots) this.#heap.push(slot);
    return taken;
  }

  add(slot: number): void {
    // READY-1.
    assert(this.#isReady[slot] !== 1, 'a slot is given back once');
    if (slot >= this.#isReady.length) this.#grow(slot);
    this.#isReady[slot] = 1;
    const heap = this.#heap;
    let at = heap.push(slot) - 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent] as number;
      if (above < slot) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = slot;
  }

  /** Puts a slot at the root, which is free, and moves it down. */
  #sink(slot: number): void {
    const heap = this.#heap;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) > slot) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = slot;
  }

  #grow(slot: number): void {
    const longer = new Uint8Array(Math.max(slot + 1, 2 * this.#isReady.length));
    longer.set(this.#isReady);
    this.#isReady = longer;
  }
}
