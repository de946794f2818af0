/**
 * The slots that wait to be submitted, in order. A withdrawn slot leaves a hole, so that a withdrawal costs the same
 * however many wait. All holes are closed at once before the next batch is submitted.
 *
 * ```
 *                 head                                   head + length
 *   │ . . . . . . │ slot 7 │ (hole) │ slot 2 │ slot 9 │ . . . . . . │      wraps at twice the number of slots
 * ```
 *
 * RING-1. Each slot is here at most once, so half of the places are enough, and the other half is for holes.
 */
import { assert } from '@aiokv/core';

const HOLE = 0xffff_ffff;

export class WaitingRing {
  /** What `engine.submit` is given, with `head` and `run`. */
  readonly entries: Uint32Array;
  /** Slots that wait. */
  count = 0;
  /** The place of the oldest entry. */
  head = 0;
  /** Entries, holes among them. */
  #length = 0;
  /** Where each waiting slot stands. */
  readonly #places: Uint32Array;

  constructor(slots: number) {
    this.entries = new Uint32Array(2 * slots);
    this.#places = new Uint32Array(slots);
  }

  push(slot: number): void {
    if (this.#length === this.entries.length) this.closeHoles();
    this.#put(this.#length++, slot);
    this.count++;
  }

  /** Takes a slot out; false when it does not wait here. */
  remove(slot: number): boolean {
    const place = this.#places[slot] as number;
    let at = place - this.head;
    if (at < 0) at += this.entries.length;
    if (at >= this.#length || this.entries[place] !== slot) return false;
    this.entries[place] = HOLE;
    this.count--;
    return true;
  }

  /** Moves the waiting slots together. To be called before `run` is asked; free when there are no holes. */
  closeHoles(): void {
    if (this.count === this.#length) return;
    const capacity = this.entries.length;
    let kept = 0;
    for (let i = 0; i < this.#length; i++) {
      const slot = this.entries[(this.head + i) % capacity] as number;
      if (slot !== HOLE) this.#put(kept++, slot);
    }
    this.#length = kept;
    assert(kept === this.count, 'RING-1: what is no hole waits');
  }

  /** How many waiting slots follow the head without a wrap. Requires that there are no holes. */
  get run(): number {
    return Math.min(this.count, this.entries.length - this.head);
  }

  /** Takes the first `count` slots out. Requires that there are no holes. */
  drop(count: number): void {
    this.head += count;
    if (this.head >= this.entries.length) this.head -= this.entries.length;
    this.#length -= count;
    this.count -= count;
  }

  #put(at: number, slot: number): void {
    let place = this.head + at;
    if (place >= this.entries.length) place -= this.entries.length;
    this.entries[place] = slot;
    this.#places[slot] = place;
  }
}
