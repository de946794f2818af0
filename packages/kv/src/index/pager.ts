/**
 * Keeps the index within its memory: evicts leaves that are unchanged on the device, and reads them back when needed.
 *
 * ```
 *                    pin, whenLoaded                image whole, tag right
 *   absent ─────────────────────────────► loading ─────────────────────────► resident
 *      ▲                                                                     │
 *      └────── a sweep over all ids, like the hand of a clock: stored, ◄─────┘
 *              not used since the last sweep, not pinned
 * ```
 *
 * PAGER-1. Only leaves whose image is on the device are evicted. An image never changes (SNAP-5), so it does not matter
 *     which versions need the leaf.
 * PAGER-2. The root of the tree, and that of each version that is read, stays in memory: the height is read from it.
 * PAGER-3. The waiters of a page are told in the step in which it comes into memory, in call order, before it can
 *     change: a lookup is answered with the state at the time when it began to wait.
 * PAGER-4. A page is accepted only if its image is whole and is the one that the mapping names.
 * PAGER-5. Slots are reused only when the loads that began before they became free have ended.
 * PAGER-6. Every load ends, and tells all its waiters, in the completion of its last transfer. The queue completes
 *     every transfer that it accepts, and every completion starts the next waiting load.
 * PAGER-7. Pages that are read ahead, and lie close together, come in one long read. A page that does not come with it
 *     is read by itself.
 * PAGER-8. A page that only older versions needed may be freed while it is read, and its id given to another page. What was
 *     read is then dropped: the load begins again for the page that has the id now, or fails if none is absent.
 *
 * The pager never writes, and does not know keys. The eviction is that of Corbató, "A Paging Experiment with the
 * Multics System" (1968).
 */
import { AiokvError, Fifo, KIB, Waiters, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import type { AddressCache } from '../cache/address-cache.ts';
import type { ValueCache } from '../cache/value-cache.ts';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { SectorRead, transferError } from '../file/sector-read.ts';
import { pageFault } from '../format/page.ts';
import { MARK_RETIRED, MARK_STORED, MARK_USED, decodeImage, node } from '../tree/index.ts';
import type { NodeMemory, Tree } from '../tree/index.ts';
import type { Mapping } from './mapping.ts';

/** Waits for a page. One of the two is called, once. */
export interface PageWaiter {
  /** The leaf begins at `words[base]`, and may be read only during the call. */
  pageLoaded(words: Uint32Array, base: number, pageId: number): void;
  pageFailed(error: Error): void;
}

export interface PagerOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly memory: NodeMemory;
  readonly tree: Tree;
  readonly mapping: Mapping;
  /** Leaves are evicted while nodes, cached values and addresses take more than this many bytes. */
  readonly limitBytes: number;
  readonly values: ValueCache;
  readonly addresses: AddressCache;
  readonly planted: Planted;
}

/** Most page reads in flight, besides reads of records. */
const READS_AT_ONCE = 64;
/** Most long reads in flight, ... */
const LONG_READS_AT_ONCE = 8;
/** ... what one reads at most, ... */
const LONG_READ_BYTES = 128 * KIB;
/** ... how many pages at most: they are unpacked in one step, with some 10 us each, ... */
const LONG_READ_PAGES = 32;
/** ... and what may lie between two pages of it: reading so much costs less than another read. */
const GAP_BYTES = 8 * KIB;
/** The part of the nodes' memory that walks may pin to read far ahead. */
const PINNED_PART = 16;
/** What is wrong with an image that is whole and holds no leaf. */
const NO_LEAF = 'contents';
/** Most ids that one sweep visits. */
const SWEEP_IDS = 2048;
/** Cached values give up their share, too, when nodes are so far above their limit. */
const EXCESS_BYTES = 256 * KIB;
/** `keepWithin` sweeps when nodes have grown by so many bytes since its last sweep. */
const GROWTH_BYTES = 64 * KIB;

/** A page that is being read, or waits for a free read. A hundred thousand may wait, nearly each with one waiter. */
class Load {
  readonly pageId: number;
  #first: PageWaiter | null = null;
  /** In call order. None until a second one comes: an empty list makes room for 17 when it gets its first. */
  #others: PageWaiter[] | null = null;
  /** What the mapping says of the page when its read begins: the mapping may be replaced meanwhile. */
  fileOffset = 0;
  imageBytes = 0;
  units = 0;
  tag = 0;

  constructor(pageId: number) {
    this.pageId = pageId;
  }

  add(waiter: PageWaiter): void {
    if (this.#first === null) this.#first = waiter;
    else if (this.#others === null) this.#others = [waiter];
    else this.#others.push(waiter);
  }

  loaded(words: Uint32Array, base: number): void {
    this.#first?.pageLoaded(words, base, this.pageId);
    if (this.#others !== null) for (const waiter of this.#others) waiter.pageLoaded(words, base, this.pageId);
  }

  failed(error: Error): void {
    this.#first?.pageFailed(error);
    if (this.#others !== null) for (const waiter of this.#others) waiter.pageFailed(error);
  }

  note(mapping: Mapping): void {
    const { pageId } = this;
    assert(mapping.has(pageId), 'an absent page is in the checkpoint');
    this.fileOffset = mapping.fileOffsetOf(pageId);
    this.imageBytes = mapping.imageBytesOf(pageId);
    this.units = mapping.unitsOf(pageId);
    this.tag = mapping.tagOf(pageId);
  }
}

/** One read of a page, or a long one of several, reused. */
class PageRead extends SectorRead {
  readonly isLong: boolean;
  /** In the order of their places. */
  loads: readonly Load[] = [];
  readonly #own: AlignedBuffer;

  constructor(bytes: number, isLong: boolean) {
    const own = allocateAligned(bytes);
    super(own);
    this.#own = own;
    this.isLong = isLong;
  }

  /** Where the image of the page is in the buffer. */
  placeOf(load: Load): number {
    return this.at + load.fileOffset - this.fileOffset;
  }

  aimAt(file: DirectFile, loads: readonly Load[]): void {
    const first = loads[0] as Load;
    const last = loads[loads.length - 1] as Load;
    this.loads = loads;
    this.aim(file, first.fileOffset, last.fileOffset + last.imageBytes - first.fileOffset);
    this.current = this.spanBytes <= this.#own.byteLength ? this.#own : allocateAligned(this.spanBytes);
  }

  end(): void {
    this.loads = [];
    this.current = this.#own;
  }
}

export class Pager implements CompletionHandler {
  /** Pages read since the opening. */
  pageReads = 0;
  /** Memory of the index beside nodes: these have the less. */
  besideBytes = 0;
  readonly #options: PagerOptions;
  readonly #loads = new Map<number, Load>();
  /** Loads that wait for a free read. */
  readonly #waiting = new Fifo<Load>();
  readonly #reads: PageRead[] = [];
  /** Of `#reads`, those that are not in use. */
  readonly #free: number[] = [];
  readonly #freeLong: number[] = [];
  #shortReads = 0;
  /** Pin count of each pinned page. A pinned page is not evicted. */
  readonly #pins = new Map<number, number>();
  readonly #idleWaiters = new Waiters();
  #hand = 1;
  /** Bytes of nodes after the last sweep of `keepWithin`. */
  #sweptBytes = 0;
  /** Takes the page of `loadSync` if a load of the same page is under way. Valid until the next call. */
  #scratch: Uint32Array | null = null;
  #syncRead: PageRead | null = null;

  constructor(options: PagerOptions) {
    this.#options = options;
  }

  /** Most memory that the buffers for reads take, in bytes, when pages have one unit. */
  static mostBufferBytes(file: DirectFile, nodeBytes: number): number {
    return (READS_AT_ONCE + 1) * readBytes(file, nodeBytes) + LONG_READS_AT_ONCE * longReadBytes(file);
  }

  /** Memory of the buffers for reads, in bytes. */
  get bufferBytes(): number {
    const { file, memory } = this.#options;
    const reads = this.#shortReads + (this.#syncRead === null ? 0 : 1);
    const longReads = this.#reads.length - this.#shortReads;
    const scratchBytes = this.#scratch?.byteLength ?? 0;
    return reads * readBytes(file, memory.nodeBytes) + longReads * longReadBytes(file) + scratchBytes;
  }

  get limitBytes(): number {
    return this.#options.limitBytes;
  }

  /** How many more pages may be pinned by walks that read far ahead. */
  get pinsLeft(): number {
    const { limitBytes, memory } = this.#options;
    return Math.max(0, Math.floor(limitBytes / memory.nodeBytes / PINNED_PART) - this.#pins.size);
  }

  /** PAGER-5. Settles when the loads now under way have ended, successfully or not. */
  async loadsDone(): Promise<void> {
    await Promise.all([...this.#loads.values()].map((load) => ended(load).catch(() => undefined)));
  }

  /** Settles when no load is under way. Then the queue may be closed. */
  async quiet(): Promise<void> {
    while (this.#loads.size > 0) await this.#idleWaiters.wait();
  }

  /** PAGER-3. Loads an absent page and tells the waiter, in a later turn. */
  whenLoaded(pageId: number, waiter: PageWaiter): void {
    const { memory } = this.#options;
    assert(memory.units(pageId) !== 0 && !memory.isResident(pageId), 'only an absent page is loaded');
    const load = this.#loads.get(pageId);
    if (load !== undefined) {
      load.add(waiter);
      return;
    }
    const begun = new Load(pageId);
    begun.add(waiter);
    this.#loads.set(pageId, begun);
    this.#begin(begun);
  }

  /**
   * Holds pages, and begins to read those that are absent. A page that cannot be read stays absent. Each is to be let go.
   */
  holdAhead(pageIds: readonly number[]): void {
    const { memory, mapping } = this.#options;
    const begun: Load[] = [];
    for (const pageId of pageIds) {
      this.#pins.set(pageId, (this.#pins.get(pageId) ?? 0) + 1);
      if (memory.isResident(pageId) || this.#loads.has(pageId)) continue;
      const load = new Load(pageId);
      load.note(mapping);
      this.#loads.set(pageId, load);
      begun.push(load);
    }
    begun.sort((a, b) => a.fileOffset - b.fileOffset);
    for (let first = 0; first < begun.length;) {
      const end = endOfSpan(begun, first);
      this.#beginLong(begun.slice(first, end));
      first = end;
    }
  }

  /**
   * Loads pages into memory, where they stay until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO; then none of them is pinned
   */
  async pin(pageIds: readonly number[]): Promise<void> {
    for (const id of pageIds) this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
    const { memory } = this.#options;
    const absent = pageIds.filter((id) => !memory.isResident(id));
    const results = await Promise.allSettled(absent.map((id) => this.#load(id)));
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      this.unpin(pageIds);
      throw result.reason;
    }
  }

  /**
   * PAGER-2. Brings the root of the tree into memory: where leaves were removed, the only one that is left may be absent.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  async loadRoot(): Promise<void> {
    const { root } = this.#options.tree;
    if (root === 0 || !this.#isAbsent(root)) return;
    await this.pin([root]);
    this.unpin([root]);
  }

  /** Keeps a page that is in memory there until `unpin`. */
  hold(pageId: number): void {
    assert(this.#options.memory.isResident(pageId), 'a page is held that is in memory');
    this.#pins.set(pageId, (this.#pins.get(pageId) ?? 0) + 1);
  }

  unpin(pageIds: readonly number[]): void {
    for (const id of pageIds) this.letGo(id);
  }

  /** As `unpin`, for one page. */
  letGo(pageId: number): void {
    const pins = this.#pins.get(pageId) ?? 0;
    assert(pins > 0, 'only a pinned page is unpinned');
    if (pins === 1) this.#pins.delete(pageId);
    else this.#pins.set(pageId, pins - 1);
  }

  /**
   * As `pin`, but blocks the thread. `unpinSync` must follow in the same step.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  pinSync(pageId: number): void {
    this.#readSync(pageId, true);
    this.hold(pageId);
  }

  /** PAGER-3: a page whose load is under way is absent again. */
  unpinSync(pageId: number): void {
    this.letGo(pageId);
    if (this.#loads.has(pageId)) this.#options.memory.evict(pageId);
  }

  /**
   * Reads an absent page and blocks the thread meanwhile. The words are valid until the next call.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  loadSync(pageId: number): { readonly words: Uint32Array; readonly base: number } {
    return this.#readSync(pageId, false);
  }

  /** @param isPinned whether the page leaves memory in this step, if PAGER-3 needs that */
  #readSync(pageId: number, isPinned: boolean): { readonly words: Uint32Array; readonly base: number } {
    const { queue, file, memory } = this.#options;
    const read = (this.#syncRead ??= new PageRead(readBytes(file, memory.nodeBytes), false));
    const load = new Load(pageId);
    load.note(this.#options.mapping);
    read.aimAt(file, [load]);
    let transferred = 0;
    for (;;) {
      transferred = read.transferSync(queue, file);
      const wrong = this.#wrongPage(read, load, transferred);
      if (read.isThere(transferred) && wrong === null) break;
      if (!read.mayRetry(file, transferred)) throw this.#failureOf(load, transferred, wrong);
    }
    this.pageReads++;
    // PAGER-3: a page with a load under way must enter memory in that load's completion.
    if (this.#loads.has(pageId) && !isPinned) {
      const capacity = memory.units(pageId) * memory.unitWords;
      if (this.#scratch === null || this.#scratch.length < capacity) this.#scratch = new Uint32Array(capacity);
      if (!this.#decode(read, load, this.#scratch, 0)) throw this.#failureOf(load, transferred, NO_LEAF);
      return { words: this.#scratch, base: 0 };
    }
    if (!this.#install(read, load)) throw this.#failureOf(load, transferred, NO_LEAF);
    this.makeRoom(pageId);
    return { words: memory.words(pageId), base: memory.base(pageId) };
  }

  /** What nodes, cached values and addresses may take now. */
  get #roomBytes(): number {
    const { limitBytes, values } = this.#options;
    return limitBytes - this.besideBytes - values.besideBytes;
  }

  /** Whether these are within their limit, as far as `keepWithin` sees to it. */
  get isWithin(): boolean {
    return this.#options.memory.bytesUsed <= this.#roomBytes + GROWTH_BYTES;
  }

  /** `makeRoom`, if nodes have grown since the last call. Cheap enough for every write and every value that is cached. */
  keepWithin(): void {
    const { memory } = this.#options;
    const limitBytes = this.#roomBytes;
    if (memory.bytesUsed <= Math.max(limitBytes, this.#sweptBytes + GROWTH_BYTES)) return;
    this.makeRoom();
    this.#sweptBytes = memory.bytesUsed;
  }

  /** CACHE-3, ADDRESS-3. Evicts leaves, except page `except`, until the nodes are within the limit or one sweep is over. */
  makeRoom(except = 0): void {
    const { memory, values, addresses } = this.#options;
    const limitBytes = this.#roomBytes;
    if (memory.bytesUsed > limitBytes) values.giveBack(memory.bytesUsed - limitBytes);
    for (let looks = SWEEP_IDS; looks > 0 && memory.bytesUsed > limitBytes; looks--) {
      const id = this.#hand < memory.idLimit ? this.#hand : 1;
      this.#hand = id + 1;
      if (id === except || id >= memory.idLimit || memory.units(id) === 0 || !memory.isResident(id)) continue;
      const marks = memory.marks(id);
      if ((marks & MARK_STORED) === 0) continue;
      if ((marks & (MARK_USED | MARK_RETIRED)) === MARK_USED) memory.unmark(id, MARK_USED);
      else if (this.#isEvictable(id)) memory.evict(id);
    }
    if (memory.bytesUsed > limitBytes + EXCESS_BYTES) addresses.giveBack(memory.bytesUsed - limitBytes);
    if (memory.bytesUsed > limitBytes + EXCESS_BYTES) values.giveUp(memory.bytesUsed - limitBytes);
  }

  /** @internal A read has completed. */
  complete(index: number, transferred: number): void {
    const read = this.#reads[index] as PageRead;
    if (read.isLong) this.#completeLong(read, index, transferred);
    else this.#completeShort(read, index, transferred);
    if (this.#loads.size === 0) this.#idleWaiters.wakeAll();
  }

  #completeShort(read: PageRead, index: number, transferred: number): void {
    const { queue, file } = this.#options;
    const load = read.loads[0] as Load;
    const wrong = this.#wrongPage(read, load, transferred);
    const isGood = wrong === null && read.isThere(transferred);
    if (!isGood && read.mayRetry(file, transferred)) {
      read.submit(queue, file, this, index);
      return;
    }
    if (isGood) this.#tellLoaded(load, read, transferred);
    else {
      this.pageReads++;
      this.#fail(load, this.#failureOf(load, transferred, wrong));
    }
    read.end();
    this.#free.push(index);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (this.#isAbsent(next.pageId)) {
        this.#start(next);
        break;
      }
      this.#drop(next);
    }
  }

  /** PAGER-7. */
  #completeLong(read: PageRead, index: number, transferred: number): void {
    const others: Load[] = [];
    for (const load of read.loads) {
      const isGood = read.isThere(transferred) && this.#wrongPage(read, load, transferred) === null;
      if (isGood) this.#tellLoaded(load, read, transferred);
      else others.push(load);
    }
    read.end();
    this.#freeLong.push(index);
    for (const load of others) this.#begin(load);
  }

  /** PAGER-3. */
  #tellLoaded(load: Load, read: PageRead, transferred: number): void {
    const { memory, mapping } = this.#options;
    this.pageReads++;
    // PAGER-8.
    if (!this.#isAbsent(load.pageId) || mapping.tagOf(load.pageId) !== load.tag) {
      this.#begin(load);
      return;
    }
    if (!this.#install(read, load)) {
      this.#fail(load, this.#failureOf(load, transferred, NO_LEAF));
      return;
    }
    this.#loads.delete(load.pageId);
    const words = memory.words(load.pageId);
    const base = memory.base(load.pageId);
    load.loaded(words, base);
    this.makeRoom(load.pageId);
  }

  /** PAGER-1, PAGER-2. */
  #isEvictable(id: number): boolean {
    const { memory, tree } = this.#options;
    return node.level(memory.words(id), memory.base(id)) === 0 && id !== tree.root && !this.#pins.has(id);
  }

  /** Settles with the load of a page. Starts it if none is under way. */
  #load(pageId: number): Promise<void> {
    const load = this.#loads.get(pageId);
    if (load !== undefined) return ended(load);
    return new Promise((resolve, reject) => {
      this.whenLoaded(pageId, { pageLoaded: () => resolve(), pageFailed: reject });
    });
  }

  /** Starts to read a page by itself, or leaves it waiting until a read is free. */
  #begin(load: Load): void {
    const { file, memory } = this.#options;
    if (!this.#isAbsent(load.pageId)) {
      this.#drop(load);
      return;
    }
    if (this.#free.length === 0 && this.#shortReads < READS_AT_ONCE) {
      this.#shortReads++;
      this.#free.push(this.#reads.push(new PageRead(readBytes(file, memory.nodeBytes), false)) - 1);
    }
    if (this.#free.length > 0) this.#start(load);
    else this.#waiting.push(load);
  }

  /** Requires a free read, and a page that is absent. */
  #start(load: Load): void {
    load.note(this.#options.mapping);
    this.#submit([load], this.#free.pop() as number);
  }

  #isAbsent(pageId: number): boolean {
    const { memory } = this.#options;
    return memory.units(pageId) !== 0 && !memory.isResident(pageId);
  }

  /** PAGER-8. Fails a load whose page is gone. Nobody needs the page: who reads a version keeps its pages. */
  #drop(load: Load): void {
    this.#fail(load, new AiokvError('ERR_AIOKV_INTERNAL', `page ${load.pageId} was freed while it was read`));
  }

  #fail(load: Load, error: Error): void {
    this.#loads.delete(load.pageId);
    load.failed(error);
  }

  /** Starts one long read of pages that lie close together. Without one that is free, they are read one by one. */
  #beginLong(loads: readonly Load[]): void {
    const longReads = this.#reads.length - this.#shortReads;
    if (loads.length > 1 && this.#freeLong.length === 0 && longReads < LONG_READS_AT_ONCE) {
      this.#freeLong.push(this.#reads.push(new PageRead(longReadBytes(this.#options.file), true)) - 1);
    }
    const index = loads.length === 1 ? undefined : this.#freeLong.pop();
    if (index !== undefined) this.#submit(loads, index);
    else for (const load of loads) this.#begin(load);
  }

  #submit(loads: readonly Load[], index: number): void {
    const { queue, file } = this.#options;
    const read = this.#reads[index] as PageRead;
    read.aimAt(file, loads);
    read.submit(queue, file, this, index);
  }

  /** PAGER-4. What is wrong with the image; null if nothing is, or if the transfer failed or was short. */
  #wrongPage(read: PageRead, load: Load, transferred: number): string | null {
    if (!read.isThere(transferred)) return null;
    const fault = pageFault(read.current, read.placeOf(load), load.imageBytes, load);
    return fault === 'tag' && this.#options.planted.uncheckedTag === true ? null : fault;
  }

  /** @param wrong from `#wrongPage` */
  #failureOf(load: Load, transferred: number, wrong: string | null): Error {
    const where = `the index page at byte ${load.fileOffset} of ${this.#options.file.path}`;
    return wrong === null ? transferError(where, transferred) : corrupt(`${where} is damaged (${wrong})`);
  }

  /** Brings a page into memory. Returns false, and it stays absent, if its image holds no leaf. */
  #install(read: PageRead, load: Load): boolean {
    const { memory } = this.#options;
    memory.admit(load.pageId);
    const isLeaf = this.#decode(read, load, memory.words(load.pageId), memory.base(load.pageId));
    if (isLeaf) memory.mark(load.pageId, MARK_USED);
    else memory.evict(load.pageId);
    return isLeaf;
  }

  #decode(read: PageRead, load: Load, words: Uint32Array, base: number): boolean {
    const { memory } = this.#options;
    const capacity = memory.units(load.pageId) * memory.unitWords;
    return decodeImage(read.current, read.placeOf(load), words, base, capacity) && node.level(words, base) === 0;
  }
}

/** Fits the image of a page of one unit, at any offset. */
function readBytes({ alignment }: DirectFile, nodeBytes: number): number {
  return alignUp(nodeBytes + 64, alignment.offset) + alignment.offset;
}

function longReadBytes({ alignment }: DirectFile): number {
  return LONG_READ_BYTES + 2 * alignment.offset;
}

/** Behind the last page that a long read from `first` on takes. */
function endOfSpan(loads: readonly Load[], first: number): number {
  const { fileOffset } = loads[first] as Load;
  let end = first;
  for (let from = fileOffset; end < loads.length && end < first + LONG_READ_PAGES; end++) {
    const load = loads[end] as Load;
    const to = load.fileOffset + load.imageBytes;
    if (end > first && (load.fileOffset - from > GAP_BYTES || to - fileOffset > LONG_READ_BYTES)) break;
    from = to;
  }
  return end;
}

function ended(load: Load): Promise<void> {
  return new Promise((resolve, reject) => load.add({ pageLoaded: () => resolve(), pageFailed: reject }));
}
