/**
 * Hashes of records that have left the cache, so that one that is asked for again soon is known. The newest of those that share a
 * place is known: so about as many are as there are places.
 */
const FIRST_PLACES = 1024;

export class Ghosts {
  #hashes = new Int32Array(FIRST_PLACES);

  get bytes(): number {
    return this.#hashes.byteLength;
  }

  /** @param records as many as there are in the cache: about so many ghosts are kept */
  add(hash: number, records: number): void {
    // The old ones are lost, which happens once for each doubling.
    if (records > 2 * this.#hashes.length) this.#hashes = new Int32Array(2 * this.#hashes.length);
    this.#hashes[hash & (this.#hashes.length - 1)] = hash;
  }

  /** Returns whether it was one. It is none any more. */
  take(hash: number): boolean {
    const place = hash & (this.#hashes.length - 1);
    if (this.#hashes[place] !== hash) return false;
    this.#hashes[place] = 0;
    return true;
  }
}
