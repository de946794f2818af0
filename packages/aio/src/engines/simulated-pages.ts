/**
 * The bytes of one simulated file: a sparse array of pages of 4 KiB. A page in the array never changes; a write replaces
 * pages. So any number of crash images share pages with the disk they were taken from. A clone costs one array, and only
 * when one of the two is written to.
 *
 * It knows nothing of durability, alignment or requests: see simulated-medium.ts.
 */
const PAGE_BYTES = 4096;
const ZEROS = new Uint8Array(PAGE_BYTES);
/** Prime to the sizes of sectors, records and their words. */
const SIGN_STEP_BYTES = 59;

export class Pages {
  /** A missing page reads as zeros. */
  #pages: (Uint8Array | undefined)[] = [];
  /** Whether the array (not only its pages) belongs to a clone as well. */
  #shared = false;
  #sizeBytes = 0;
  /** The sum of what `signOf` says of the pages: where it differs, so does a byte. */
  #sign = 0;
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
    copy.#sign = this.#sign;
    copy.#shared = true;
    this.#shared = true;
    return copy;
  }

  /** Whether both have the same bytes, and as many. Pages that they share cost next to nothing. */
  equals(other: Pages): boolean {
    if (this.#sizeBytes !== other.#sizeBytes || this.#sign !== other.#sign) return false;
    if (this.#pages === other.#pages) return true;
    for (let index = Math.max(this.#pages.length, other.#pages.length) - 1; index >= 0; index--) {
      const page = this.#pages[index] ?? ZEROS;
      const theirs = other.#pages[index] ?? ZEROS;
      if (!isSameMemory(page, theirs) && Buffer.compare(page, theirs) !== 0) return false;
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
      const old = this.#pages[index];
      this.#replaced?.set(index, old);
      let page = piece;
      if (step < PAGE_BYTES) {
        page = old?.slice() ?? new Uint8Array(PAGE_BYTES);
        page.set(piece, within);
      }
      this.#pages[index] = page;
      this.#sign = (this.#sign + signOf(page, index) - signOf(old, index)) | 0;
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
    for (let index = count; index < this.#pages.length; index++) {
      this.#sign = (this.#sign - signOf(this.#pages[index], index)) | 0;
    }
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

/** Writes hand on the memory that they were given. */
function isSameMemory(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || (a.buffer === b.buffer && a.byteOffset === b.byteOffset);
}

/** A number from some bytes of each sector of a page, and from its place; 0 of zeros, as of a page that is missing. */
function signOf(page: Uint8Array | undefined, index: number): number {
  if (page === undefined) return 0;
  let sum = 0;
  for (let at = 0; at < PAGE_BYTES; at += SIGN_STEP_BYTES) sum = Math.imul(sum, 31) + (page[at] as number);
  return Math.imul(sum, 2 * index + 0x9e3779b1);
}
