/**
 * Estimates which part of the writes that are not merged yet adds keys and replaces nothing: so much of the log is no
 * garbage and will not become any by the next merge. It looks up the key at hand each time some more bytes were written,
 * so that long records count for more than short ones. It never waits: a key whose leaf is not in memory counts as
 * replaced.
 */
import { KIB } from '@aiokv/core';

/** A lookup for so many bytes: one for some 30 records of 1 KiB, and less than a percent of the time of a put. */
const BYTES_PER_SAMPLE = 32 * KIB;
/** Of fewer lookups the part says nothing. */
const SAMPLES_LEAST = 16;

export class NewKeys {
  #bytesLeft = BYTES_PER_SAMPLE;
  #samples = 0;
  #added = 0;
  /** Of these, those of the memtable that is merged. */
  #frozenSamples = 0;
  #frozenAdded = 0;

  /** From 0 to 1; 0 while not enough is known. */
  get part(): number {
    return this.#samples < SAMPLES_LEAST ? 0 : this.#added / this.#samples;
  }

  /** Counts a record of so many bytes. Returns whether to look up its key, before it is entered, and call `note`. */
  isSample(recordBytes: number): boolean {
    this.#bytesLeft -= recordBytes;
    if (this.#bytesLeft > 0) return false;
    this.#bytesLeft = BYTES_PER_SAMPLE;
    return true;
  }

  note(isAdded: boolean): void {
    this.#samples++;
    if (isAdded) this.#added++;
  }

  /** Everything before is about to be merged. */
  freeze(): void {
    this.#frozenSamples = this.#samples;
    this.#frozenAdded = this.#added;
  }

  /** What was frozen is merged. */
  forgetFrozen(): void {
    this.#samples -= this.#frozenSamples;
    this.#added -= this.#frozenAdded;
    this.#frozenSamples = 0;
    this.#frozenAdded = 0;
  }
}
