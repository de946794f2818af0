/**
 * Estimates which part of the writes that are not merged yet adds keys and replaces nothing: so much of the log is no
 * garbage and will not become any by the next merge. It looks up the key at hand each time some more bytes were written,
 * so that long records count for more than short ones. It never waits: of a key whose leaf is not in memory it is not
 * known whether it is new.
 */
import { KIB } from '@aiokv/core';

/** A lookup for so many bytes: one for some 30 records of 1 KiB, and less than a percent of the time of a put. */
const BYTES_PER_SAMPLE = 32 * KIB;
/** Of fewer lookups the part says nothing. */
const SAMPLES_LEAST = 16;

interface Samples {
  all: number;
  added: number;
  /** Not known whether they are. */
  unknown: number;
}

export class NewKeys {
  #bytesLeft = BYTES_PER_SAMPLE;
  readonly #samples: Samples = { all: 0, added: 0, unknown: 0 };
  /** Of these, those of the memtable that is merged. */
  #frozen: Samples = { all: 0, added: 0, unknown: 0 };

  /** From 0 to 1, as far as is known; 0 while not enough is known. */
  get part(): number {
    const { all, added } = this.#samples;
    return all < SAMPLES_LEAST ? 0 : added / all;
  }

  /** As `part`, if all that is not known were new. */
  get mostPart(): number {
    const { all, added, unknown } = this.#samples;
    return all < SAMPLES_LEAST ? 1 : (added + unknown) / all;
  }

  /** Counts a record of so many bytes. Returns whether to look up its key, before it is entered, and call `note`. */
  isSample(recordBytes: number): boolean {
    this.#bytesLeft -= recordBytes;
    if (this.#bytesLeft > 0) return false;
    this.#bytesLeft = BYTES_PER_SAMPLE;
    return true;
  }

  /** @param isAdded null: not known */
  note(isAdded: boolean | null): void {
    const samples = this.#samples;
    samples.all++;
    if (isAdded === null) samples.unknown++;
    else if (isAdded) samples.added++;
  }

  /** Everything before is about to be merged. */
  freeze(): void {
    this.#frozen = { ...this.#samples };
  }

  /** What was frozen is merged. */
  forgetFrozen(): void {
    const { all, added, unknown } = this.#frozen;
    this.#samples.all -= all;
    this.#samples.added -= added;
    this.#samples.unknown -= unknown;
    this.#frozen = { all: 0, added: 0, unknown: 0 };
  }
}
