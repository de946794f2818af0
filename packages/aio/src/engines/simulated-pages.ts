/**
 * The bytes of one simulated file: a sparse array of pages of 4 KiB. A page in the array never changes; a write replaces
 * pages. So any number of crash images share pages with the disk they were taken from. A clone costs one array, and only
 * when one of the two is written to.
 *
 * It knows nothing of durability, alignment or requests: see simulated-medium.ts.
 */
const PAGE_BYTES = 4096;
const ZEROS = new Uint8Array(PAGE_BYTES);

export class Pages {
  /** A missing page reads as zeros. */
  #pages: (Uint8Array | undefined)[] = [];
  /** Whether the array (not only its pages) belongs to a clone as well. */
  #shared = false;
  #sizeBytes = 0;
  /** Pages that were replaced, by index, or null when they are not kept. */
  readonly #replaced: Map<number, Uint8Array | undefined> | null;

  /** @param keepsReplaced whether `readReplaced` will be asked */
  constructor(keepsReplaced = false) {
    this.#replaced = keepsReplaced ? new Map() : null;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The same content. What was replaced in this one stays behind. */
  clone(keepsReplaced = false): Pages {
    const copy = new Pages(keepsReplaced);
    copy.#pages = this.#pages;
    copy.#sizeBytes = this.#sizeBytes;
    copy.#shared = true;
    this.#shared = true;
    return copy;
  }

  /** Whether both have the same bytes, and as many. Pages that they share cost nothing. */
  equals(other: Pages): boolean {
    if (this.#sizeBytes !== other.#sizeBytes) return false;
    if (this.#pages === other.#pages) return true;
    for (let index = Math.max(this.#pages.length, other.#pages.length) - 1; index >= 0; index--) {
      const [page, theirs] = [this.#pages[index], other.#pages[index]];
      if (page !== theirs && Buffer.compare(page ?? ZEROS, theirs ?? ZEROS) !== 0) return false;
    }
    return true;
  }

  /** Copies what the file has at `offset` into `target`; returns how many bytes it had. */
  read(offset: number, target: Uint8Array): number {
    return this.#read(offset, target, null);
  }

  /** As `read`, of each page as it was before it was written to for the last time. */
  readReplaced(offset: number, target: Uint8Array): number {
    return this.#read(offset, target, this.#replaced);
  }

  #read(offset: number, target: Uint8Array, replaced: Map<number, Uint8Array | undefined> | null): number {
    const count = Math.min(target.length, Math.max(0, this.#sizeBytes - offset));
    for (let at = 0; at < count;) {
      const within = (offset + at) % PAGE_BYTES;
      const step = Math.min(PAGE_BYTES - within, count - at);
      const index = Math.floor((offset + at) / PAGE_BYTES);
      const page = replaced?.has(index) === true ? replaced.get(index) : this.#pages[index];
      if (page === undefined) target.fill(0, at, at + step);
      else target.set(step === PAGE_BYTES ? page : page.subarray(within, within + step), at);
      at += step;
    }
    return count;
  }

  /** Puts `bytes` at `offset`, growing the file as needed. Keeps `bytes`: they must never change again. */
  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#own();
    for (let at = 0; at < bytes.length;) {
      const index = Math.floor((offset + at) / PAGE_BYTES);
      const within = (offset + at) % PAGE_BYTES;
      const step = Math.min(PAGE_BYTES - within, bytes.length - at);
      const piece = bytes.subarray(at, at + step);
      this.#replaced?.set(index, this.#pages[index]);
      if (step < PAGE_BYTES) {
        const page = this.#pages[index]?.slice() ?? new Uint8Array(PAGE_BYTES);
        page.set(piece, within);
        this.#pages[index] = page;
      } else this.#pages[index] = piece;
      at += step;
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, offset + bytes.length);
  }

  /** Grows the file to `sizeBytes`, with zeros; never shrinks it. */
  grow(sizeBytes: number): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
  }

  /** Cuts off what is behind `sizeBytes`, a multiple of the bytes of a page. */
  truncate(sizeBytes: number): void {
    if (sizeBytes >= this.#sizeBytes) return;
    this.#own();
    const count = Math.ceil(sizeBytes / PAGE_BYTES);
    this.#pages.length = Math.min(this.#pages.length, count);
    for (const index of this.#replaced?.keys() ?? []) if (index >= count) this.#replaced?.delete(index);
    this.#sizeBytes = sizeBytes;
  }

  #own(): void {
    if (!this.#shared) return;
    this.#pages = this.#pages.slice();
    this.#shared = false;
  }
}
