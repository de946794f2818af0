/**
 * Where the image of each page is, by page id: for the pages of the tree, and for those that only older versions still
 * need. Takes 14 bytes of memory for each page. An id that was freed keeps its entry until it is used again.
 */
import type { MappingEntry } from '../format/checkpoint.ts';

export class Mapping {
  #offsets = new Float64Array(1024);
  /** Low 24 bits: image bytes / 8. High 8 bits: units. 0: no image was made under this id. */
  #sizes = new Uint32Array(1024);
  #tags = new Uint16Array(1024);

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

  /** Notes a new image, or a new place of the same image. */
  set({ pageId, fileOffset, imageBytes, units, tag }: MappingEntry): void {
    if (pageId >= this.#sizes.length) this.#grow(pageId);
    this.#offsets[pageId] = fileOffset;
    this.#sizes[pageId] = imageBytes / 8 + units * 2 ** 24;
    this.#tags[pageId] = tag;
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
