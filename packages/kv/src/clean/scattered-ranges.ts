/**
 * Ranges of keys that scans have found scattered over the file, and how much their reads have cost too much. A table of a few
 * ranges, whatever the store holds: where scans are many it is fine, elsewhere it is coarse.
 *
 * ```
 *   keys     ├──────────────────────────────────────────────────────────────────────┤
 *   ranges     ▂▂▂▂      ▂▂▂▂▂▂▂▂▂▂▂▂▂▂  ▂▂  ▂▂       ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂
 *   weight      3               2        90  85                 4
 *                        └────── the lightest two neighbours become one ─┘   when there is one too many
 * ```
 *
 * SCATTERED-1. Ranges do not overlap, and lie in the order of their keys. Those that a new one overlaps become one with it.
 *
 * It knows neither records nor places. What is scattered, and what is done about it, is scan-order.ts.
 */
import { compareKeys } from '../format/keys.ts';

export interface ScatteredRange {
  /** The first key and the last one. */
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  /** Bytes that scans have read there in vain, fewer the longer ago. */
  readonly weight: number;
}

/** Most ranges. */
const MOST_RANGES = 64;
/** When so many were added all weights are halved, ... */
const ADDED_PER_HALVING = 1024;
/** ... and what weighs less than this is forgotten. */
const LEAST_WEIGHT = 1024;

const isBefore = (a: Uint8Array, b: Uint8Array): boolean => compareKeys(a, a.length, b, b.length) < 0;
const union = (a: ScatteredRange, b: ScatteredRange): ScatteredRange => ({
  from: isBefore(b.from, a.from) ? b.from : a.from,
  to: isBefore(a.to, b.to) ? b.to : a.to,
  weight: a.weight + b.weight,
});

export class ScatteredRanges {
  /** SCATTERED-1. */
  #ranges: ScatteredRange[] = [];
  #added = 0;

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** In the order of their keys. */
  get all(): readonly ScatteredRange[] {
    return this.#ranges;
  }

  /** Keeps the keys. */
  add(range: ScatteredRange): void {
    let all = range;
    const before: ScatteredRange[] = [];
    const behind: ScatteredRange[] = [];
    for (const one of this.#ranges) {
      if (isBefore(one.to, all.from)) before.push(one);
      else if (isBefore(all.to, one.from)) behind.push(one);
      else all = union(all, one);
    }
    this.#ranges = [...before, all, ...behind];
    if (this.#ranges.length > MOST_RANGES) this.#uniteLightest();
    if (++this.#added % ADDED_PER_HALVING === 0) this.#fade();
  }

  /** Removes the range that weighs most, and returns it. Null if there is none. */
  take(): ScatteredRange | null {
    let heaviest: ScatteredRange | null = null;
    for (const one of this.#ranges) if (heaviest === null || one.weight > heaviest.weight) heaviest = one;
    this.#ranges = this.#ranges.filter((one) => one !== heaviest);
    return heaviest;
  }

  clear(): void {
    this.#ranges = [];
  }

  #uniteLightest(): void {
    let at = 0;
    let least = Infinity;
    for (let i = 0; i + 1 < this.#ranges.length; i++) {
      const weight = (this.#ranges[i] as ScatteredRange).weight + (this.#ranges[i + 1] as ScatteredRange).weight;
      if (weight >= least) continue;
      least = weight;
      at = i;
    }
    const [one, other] = this.#ranges.slice(at, at + 2);
    this.#ranges.splice(at, 2, union(one as ScatteredRange, other as ScatteredRange));
  }

  #fade(): void {
    this.#ranges = this.#ranges
      .map(({ from, to, weight }) => ({ from, to, weight: weight / 2 }))
      .filter(({ weight }) => weight >= LEAST_WEIGHT);
  }
}
