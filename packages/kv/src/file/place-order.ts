/**
 * Sorts places in the file by the block in which they lie. A radix sort, since comparing hundreds of thousands of places
 * would hold the event loop: it takes some 10 ns a place and pass, and stops whenever the time of a turn is used up. Places
 * that are in order already, or in the opposite one, as those of a scan often are, take one look each. A few are sorted by
 * insertion: the tables of a pass cost more than that.
 *
 * ```
 *   block number      │ digit 2 │ digit 1 │ digit 0 │        11 bits each; a pass for each digit, the lowest first
 * ```
 */
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';

const DIGIT_BITS = 11;
const DIGITS = 2 ** DIGIT_BITS;
const DIGIT_MASK = DIGITS - 1;
/** Places between two questions about the time. */
const PLACES_PER_QUESTION = 4096;
/** Up to so many places are sorted by insertion. */
const FEW_PLACES = 64;

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
  let last = 0;
  let before = -1;
  let ascents = 0;
  let descents = 0;
  for (let i = 0; i < count; i++) {
    from[i] = i;
    const place = places[i] as number;
    last = Math.max(last, place);
    const block = Math.floor(place / blockBytes);
    if (block > before) ascents++;
    else if (block < before) descents++;
    before = block;
    if (i % PLACES_PER_QUESTION === 0 && budget.isSpent(PLACES_PER_QUESTION)) await nextTurn();
  }
  if (descents === 0) return from;
  // The first place counts as an ascent.
  if (ascents === 1) return reversedByBlock(from, places, blockBytes);
  if (count <= FEW_PLACES) return sortFew(from, places, blockBytes);
  let to = new Uint32Array(count);
  const starts = new Uint32Array(DIGITS);
  for (let unit = blockBytes; unit <= last; unit *= DIGITS) {
    // A number modulo a power of two is faster by its lowest bits.
    const digitOf = (i: number): number => (Math.floor((places[i] as number) / unit) >>> 0) & DIGIT_MASK;
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

/** Of places that only descend: the order of their blocks, with those in a block as they are. */
function reversedByBlock(order: Uint32Array, places: Float64Array, blockBytes: number): Uint32Array {
  order.reverse();
  const blockAt = (at: number): number => Math.floor((places[order[at] as number] as number) / blockBytes);
  for (let first = 0; first < order.length;) {
    let end = first + 1;
    while (end < order.length && blockAt(end) === blockAt(first)) end++;
    if (end - first > 1) order.subarray(first, end).reverse();
    first = end;
  }
  return order;
}

function sortFew(order: Uint32Array, places: Float64Array, blockBytes: number): Uint32Array {
  for (let i = 1; i < order.length; i++) {
    const block = Math.floor((places[i] as number) / blockBytes);
    let at = i;
    for (; at > 0; at--) {
      const before = order[at - 1] as number;
      if (Math.floor((places[before] as number) / blockBytes) <= block) break;
      order[at] = before;
    }
    order[at] = i;
  }
  return order;
}
