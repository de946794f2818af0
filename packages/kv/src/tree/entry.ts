/**
 * The value of a key in the index: two unsigned words and up to 15 more, which the tree does not interpret. The caller
 * owns and reuses it.
 */

/** Most words of an entry behind its first two: a slot counts them in four bits. */
export const EXTRA_WORDS_MAX = 15;

export class Entry {
  word0 = 0;
  word1 = 0;
  extraWords = 0;
  /** The first `extraWords` count. */
  readonly extra = new Uint32Array(EXTRA_WORDS_MAX);
}

/** For an entry of two words. */
export const NO_WORDS = new Uint32Array(0);
