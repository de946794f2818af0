/**
 * Keys that were deleted one by one and follow one another: passed where they lie, leaf beside leaf, without being copied. It
 * looks at the leaves in which the layers of a walk are, and never goes to others.
 *
 * ```
 *   memtable    leaf │ b† c† d† e† f† │ …              † a deletion
 *   tree        leaf │ b     d  e  f  g │ …            passed: b to f, up to the end of the leaf of the memtable
 * ```
 *
 * RUN-1. A key is passed only if the newest layer that has it says, to the reader, that it is deleted. So at a key that is to
 *     be seen the run ends, and at an entry that is newer than the reader.
 *
 * A key takes some 25 ns, and 120 ns if the walk moves over it: `benchmarks/micro/delete-range.ts`.
 */
import { isDeletion, sequenceOfWords } from '../format/index-entry.ts';
import { LeafPlace } from '../tree/index.ts';

/** A layer that is at a key, newest first. */
export interface RunLayer {
  readonly keys: {
    /** The sequence up to which it shows entries; undefined: it shows all. */
    readonly through?: number;
    placeInto(place: LeafPlace): boolean;
  };
}

/** Where the layers are. Valid within one step. */
const places: LeafPlace[] = [];

/** Where layer `i` has come to in the last run. */
export function placeOfRun(i: number): LeafPlace {
  return places[i] as LeafPlace;
}

/** Passes deleted keys, until one of the layers comes to the end of its leaf. Returns how many: 0 if there is no run. */
export function passDeleted(layers: readonly RunLayer[], reverse: boolean): number {
  const count = layers.length;
  let shared = 0;
  for (let i = 0; i < count; i++) {
    const place = (places[i] ??= new LeafPlace());
    if (!(layers[i] as RunLayer).keys.placeInto(place)) return 0;
    const common = place.sharedWords(places[0] as LeafPlace);
    if (i === 0 || common < shared) shared = common;
  }
  const step = reverse ? -1 : 1;
  for (let passed = 1; ; passed++) {
    let nearest = places[0] as LeafPlace;
    let at = 0;
    /** Older layers with the same key, a bit for each. */
    let same = 0;
    for (let i = 1; i < count; i++) {
      const place = places[i] as LeafPlace;
      const order = place.compare(nearest, shared);
      if (order === 0) same |= 1 << i;
      else if (order < 0 !== reverse) {
        nearest = place;
        at = i;
        same = 0;
      }
    }
    // RUN-1.
    const { through } = (layers[at] as RunLayer).keys;
    if (!isDeletion(nearest) || (through !== undefined && sequenceOfWords(nearest) > through)) return passed - 1;
    let isInside = nearest.goTo(nearest.index + step);
    for (let i = at + 1; same >>> i > 0; i++) {
      const place = places[i] as LeafPlace;
      if (((same >>> i) & 1) === 1 && !place.goTo(place.index + step)) isInside = false;
    }
    if (!isInside) return passed;
  }
}
