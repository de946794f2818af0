/**
 * Where the image of each page of a checkpoint is, by page id. Takes some 20 bytes of memory for each page of 4 KiB. A
 * mapping is filled once and then does not change; the next checkpoint has its own.
 */
import type { MappingEntry } from '../format/checkpoint.ts';

export class Mapping {
  #offsets = new Float64Array(1024);
  /** Low 24 bits: image bytes / 8. High 8 bits: units. 0: no such page. */
  #sizes = new Uint32Array(1024);
  #tags = new Uint16Array(1024);
  #count = 0;
  #bytes = 0;

  /** Total bytes of all images. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of pages. */
  get count(): number {
    return this.#count;
  }

  /** Page ids from `from` on, ascending, at most `most` of them. */
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
