/**
 * A walk over a snapshot, made when it is needed: the snapshot may have ended, or be one of another database, and
 * abstract-level takes an error from a read but none from the making of an iterator. Nothing is missed by then, for the moment is that of the snapshot.
 */
import { nextEntries } from './walk.ts';
import type { Entry, Walk } from './walk.ts';

export class LateWalk implements Walk {
  readonly #make: () => Walk;
  #walk: Walk | null = null;

  constructor(make: () => Walk) {
    this.#make = make;
  }

  async next(): Promise<IteratorResult<Entry>> {
    return this.#made.next();
  }

  async nextMany(count: number): Promise<Entry[]> {
    return nextEntries(this.#made, count);
  }

  seek(key: Buffer): void {
    this.#made.seek(key);
  }

  async return(): Promise<void> {
    await this.#walk?.return();
  }

  get #made(): Walk {
    this.#walk ??= this.#make();
    return this.#walk;
  }
}
