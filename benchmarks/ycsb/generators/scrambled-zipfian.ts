/**
 * Zipfian popularity with the popular numbers scattered over the range: a rank is drawn out of ten thousand
 * million, hashed, and taken modulo the number of items. Because the ranks are always as many, the zeta of
 * their number is a constant of the reference, and the skew does not depend on the number of items.
 */
import type { Random } from '@aiokv/core';
import { KeyHash } from '../key-hash.ts';
import type { NumberGenerator } from './number-generator.ts';
import { Zipfian } from './zipfian.ts';

const RANK_MAX = 10_000_000_000;
const ZETA_OF_RANKS = 26.46902820178302;

export class ScrambledZipfian implements NumberGenerator {
  readonly #ranks: Zipfian;
  readonly #hash = new KeyHash();
  readonly #min: number;
  readonly #count: number;

  constructor(random: Random, min: number, max: number) {
    this.#ranks = new Zipfian(random, 0, RANK_MAX, ZETA_OF_RANKS);
    this.#min = min;
    this.#count = max - min + 1;
  }

  next(): number {
    return this.#min + this.#hash.of(this.#ranks.next()).modulo(this.#count);
  }
}
