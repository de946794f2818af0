/**
 * Leaves steps out of a history as long as something is still wrong with it, so that what is printed
 * is short. Works on numbers of steps: a case that was shrunk is run again from its seed and these numbers.
 */

/** What was found, with whatever is needed to see it again. */
export type Attempt<Found> = (kept: readonly number[]) => Promise<Found | null>;

export interface Shrunk<Found> {
  readonly kept: readonly number[];
  readonly found: Found;
}

/**
 * @param count of steps; all of them show the violation `found`
 * @param attempt runs the steps with these numbers, in their order
 * @param mostAttempts ends the search
 */
export async function shrink<Found>(
  count: number,
  found: Found,
  attempt: Attempt<Found>,
  mostAttempts = 400,
): Promise<Shrunk<Found>> {
  let best: Shrunk<Found> = { kept: Array.from({ length: count }, (_, i) => i), found };
  let attempts = 0;
  // Halves first, then quarters, then one by one; from the end, where steps depend on nothing later.
  for (let width = Math.ceil(count / 2); width >= 1; width = width === 1 ? 0 : Math.ceil(width / 2)) {
    for (let end = best.kept.length; end > 0 && attempts < mostAttempts; end -= width) {
      const start = Math.max(0, end - width);
      const kept = [...best.kept.slice(0, start), ...best.kept.slice(end)];
      attempts++;
      const next = await attempt(kept);
      if (next !== null) best = { kept, found: next };
    }
  }
  return best;
}

/** The numbers in a list such as `0,3,4`, or all of `count` if there is none. */
export function parseKept(list: string | undefined, count: number): number[] {
  if (list === undefined) return Array.from({ length: count }, (_, i) => i);
  return list
    .split(',')
    .filter((part) => part !== '')
    .map(Number);
}
