/** What a key leads to: two unsigned words that the index does not interpret. Scratch of the caller's. */
export class Entry {
  word0 = 0;
  word1 = 0;
}
