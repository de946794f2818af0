/**
 * The value of a key in the index: two unsigned words that the tree does not interpret. The caller owns and reuses it.
 */
export class Entry {
  word0 = 0;
  word1 = 0;
}
