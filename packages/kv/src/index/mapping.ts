/**
 * Where the image of each page of a checkpoint is, by page id: some 20 bytes of memory for a page of 4 KiB.
 * A mapping is filled once and does not change; the next checkpoint makes another.
 */
import type { MappingEntry } from '../format/checkpoint.ts';

export class Mapping {
  #offsets = new Float64Array(1024);
  /** Image bytes, 24 bits, and units, 8 bits; 0 where there is no page. */
  #sizes = new Uint32Array(1024);
  #tags = new Uint16Array(1024);
  #count = 0;
  #bytes = 0;

  /** Bytes of all images. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many pages it has. */
  get count(): number {
    return this.#count;
  }

  /** Ids of pages from `from` on, ascending, at most `most`. */
  idsFrom(from: number, most: number): number[] {
    const ids: number[] = [];
    for (let id = from; id < this.#sizes.length && ids.length < most; id++) if (this.#sizes[id] !== 0) ids.push(id);
    return ids;
  }

  has(pageId: number): boolean {
    return (this.#sizes[pageId] ?? 0) !== 0;
  }

  fileOffsetOf(pageId: number): number {
    return this.#offsets[pageId] as number;
  }

  imageBytesOf(pageId: number): number {
    return ((this.#sizes[pageId] as number) & 0xff_ffff) * 8;
  }

  unitsOf(pageId: number): number {
    return (this.#sizes[pageId] as number) >>> 24;
  }

  tagOf(pageId: number): number {
    return this.#tags[pageId] as number;
  }

  set({ pageId, fileOffset, imageBytes, units, tag }: MappingEntry): void {
    if (pageId >= this.#sizes.length) this.#grow(pageId);
    this.#offsets[pageId] = fileOffset;
    this.#sizes[pageId] = imageBytes / 8 + units * 2 ** 24;
    this.#tags[pageId] = tag;
    this.#count++;
    this.#bytes += imageBytes;
  }

  entryOf(pageId: number): MappingEntry {
    return {
      pageId,
      fileOffset: this.fileOffsetOf(pageId),
      imageBytes: this.imageBytesOf(pageId),
      units: this.unitsOf(pageId),
      tag: this.tagOf(pageId),
    };
  }

  #grow(pageId: number): void {
    const length = Math.max(pageId + 1, this.#sizes.length * 2);
    const [offsets, sizes, tags] = [new Float64Array(length), new Uint32Array(length), new Uint16Array(length)];
    offsets.set(this.#offsets);
    sizes.set(this.#sizes);
    tags.set(this.#tags);
    [this.#offsets, this.#sizes, this.#tags] = [offsets, sizes, tags];
  }
}
