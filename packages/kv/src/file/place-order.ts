/**
 * Sorts places in the file by the block in which they lie. A radix sort, since comparing hundreds of thousands of places
 * would hold the event loop: it takes some 10 ns a place and pass, and stops whenever the time of a turn is used up.
 *
 * ```
 *   block number      │ digit 2 │ digit 1 │ digit 0 │        11 bits each; a pass for each digit, the lowest first
 * ```
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';

const DIGIT_BITS = 11;
const DIGITS = 2 ** DIGIT_BITS;
/** Places between two questions about the time. */
const PLACES_PER_QUESTION = 4096;

/**
 * Returns the indices of the first `count` places, ordered by block. Places in one block keep their order.
 *
 * @param places bytes from the start of the file
 */
export async function sortByBlock(
  places: Float64Array,
  count: number,
  blockBytes: number,
  budget: TurnBudget,
): Promise<Uint32Array> {
  let from = new Uint32Array(count);
  let to = new Uint32Array(count);
  let last = 0;
  for (let i = 0; i < count; i++) {
    from[i] = i;
    last = Math.max(last, places[i] as number);
    if (i % PLACES_PER_QUESTION === 0 && budget.isSpent(PLACES_PER_QUESTION)) await nextTurn();
  }
  const starts = new Uint32Array(DIGITS);
  for (let unit = blockBytes; unit <= last; unit *= DIGITS) {
    const digitOf = (i: number): number => Math.floor((places[i] as number) / unit) % DIGITS;
    starts.fill(0);
    for (let i = 0; i < count; i++) {
      (starts[digitOf(i)] as number)++;
      if (i % PLACES_PER_QUESTION === 0 && budget.isSpent(PLACES_PER_QUESTION)) await nextTurn();
    }
    let start = 0;
    for (let digit = 0; digit < DIGITS; digit++) {
      const places = starts[digit] as number;
      starts[digit] = start;
      start += places;
    }
    for (let i = 0; i < count; i++) {
      const index = from[i] as number;
      const digit = digitOf(index);
      to[starts[digit] as number] = index;
      (starts[digit] as number)++;
      if (i % PLACES_PER_QUESTION === 0 && budget.isSpent(PLACES_PER_QUESTION)) await nextTurn();
    }
    [from, to] = [to, from];
  }
  return from;
}
