/**
 * What every generator of numbers is: an endless sequence. A generator draws from the random source that it
 * was given and from nothing else, so that a run can be repeated from its seed.
 */
export interface NumberGenerator {
  next(): number;
}
