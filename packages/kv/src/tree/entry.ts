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

  copy({ word0, word1, extraWords, extra }: Entry): void {
    this.word0 = word0;
    this.word1 = word1;
    this.extraWords = extraWords;
    for (let word = 0; word < extraWords; word++) this.extra[word] = extra[word] as number;
  }
}

/** For an entry of two words. */
export const NO_WORDS = new Uint32Array(0);
