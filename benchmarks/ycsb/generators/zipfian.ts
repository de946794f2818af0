/**
 * Whole numbers from `min` to `max`, both included, of which the k-th is drawn in proportion to
 * 1 / k^theta, theta 0.99: the lowest number is the most popular. The method is that of Gray et al.,
 * "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994; it needs
 *
 * ```
 *   zeta(n) = sum of 1 / k^theta, k = 1 … n          alpha = 1 / (1 - theta)
 *   eta     = (1 - (2/n)^(1-theta)) / (1 - zeta(2) / zeta(n))
 * ```
 *
 * zeta(n) is a sum over all items, computed once; when the items become more it is carried on from where it
 * was, never begun anew. As in the reference, the n of (2/n) in eta stays that of the construction.
 */
import type { Random } from '@aiokv/core';
import type { NumberGenerator } from './number-generator.ts';

const ZIPFIAN_THETA = 0.99;
const ALPHA = 1 / (1 - ZIPFIAN_THETA);
const SECOND_TERM = 0.5 ** ZIPFIAN_THETA;
const ZETA_OF_2 = 1 + SECOND_TERM;

/** zeta(`to`), given that `sum` is zeta(`from`). */
export function zeta(to: number, from = 0, sum = 0): number {
  let total = sum;
  for (let k = from + 1; k <= to; k++) total += 1 / k ** ZIPFIAN_THETA;
  return total;
}

export class Zipfian implements NumberGenerator {
  readonly #random: Random;
  readonly #min: number;
  readonly #initialCount: number;
  /** The number of items that `#zeta` and `#eta` are for. */
  #count: number;
  #zeta: number;
  #eta: number;

  /** @param zetaOfCount zeta of the number of items, where it is known */
  constructor(random: Random, min: number, max: number, zetaOfCount?: number) {
    this.#random = random;
    this.#min = min;
    this.#initialCount = max - min + 1;
    this.#count = this.#initialCount;
    this.#zeta = zetaOfCount ?? zeta(this.#count);
    this.#eta = this.#etaNow();
  }

  next(): number {
    return this.nextOf(this.#initialCount);
  }

  /** Draws from the lowest `count` numbers; a count that has become less leaves the probabilities as they are. */
  nextOf(count: number): number {
    if (count > this.#count) this.#growTo(count);
    const u = this.#random.float();
    const scaled = u * this.#zeta;
    if (scaled < 1) return this.#min;
    if (scaled < ZETA_OF_2) return this.#min + 1;
    const rank = Math.floor(count * (this.#eta * u - this.#eta + 1) ** ALPHA);
    // Where u is next to 1, or three items have grown out of one, the formula steps over the end.
    return this.#min + Math.min(rank, count - 1);
  }

  #growTo(count: number): void {
    this.#zeta = zeta(count, this.#count, this.#zeta);
    this.#count = count;
    this.#eta = this.#etaNow();
  }

  #etaNow(): number {
    return (1 - (2 / this.#initialCount) ** (1 - ZIPFIAN_THETA)) / (1 - ZETA_OF_2 / this.#zeta);
  }
}
