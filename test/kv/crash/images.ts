/**
 * What cuts have left of one disk, in the order of the cuts. Most cuts leave the bytes of one before: a read changes
 * nothing, and a write changes nothing that is durable. Such an image names the first with its bytes. Whoever opens that one
 * knows what this one holds.
 *
 * Images are compared when they are taken: an opening writes to them.
 */
import type { SimulatedDisk } from '@aiokv/aio';

export interface Image {
  readonly disk: SimulatedDisk;
  readonly what: string;
  /** It must hold so many groups, and can hold so many. */
  readonly from: number;
  readonly to: number;
  /** The first image with the same bytes; null if this is it. */
  readonly first: Image | null;
  /** What it was found to hold; null until it was opened. */
  found: string | null;
}

export class Images {
  readonly #all: Image[] = [];
  readonly #distinct: Image[] = [];

  get all(): readonly Image[] {
    return this.#all;
  }

  take(disk: SimulatedDisk, what: string, from: number, to: number): void {
    const first = this.#distinct.findLast((image) => image.disk.holdsSame(disk)) ?? null;
    const image = { disk, what, from, to, first, found: null };
    this.#all.push(image);
    if (first === null) this.#distinct.push(image);
  }
}
