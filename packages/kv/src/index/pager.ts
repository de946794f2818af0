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
 *
 * The pager never writes, and does not know keys. The eviction is that of Corbató, "A Paging Experiment with the
 * Multics System" (1968).
 */
import { Fifo, KIB, Waiters, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { SectorRead, transferError } from '../file/sector-read.ts';
import { decodePage, pageFault } from '../format/page.ts';
import { MARK_RETIRED, MARK_STORED, MARK_USED, node } from '../tree/index.ts';
import type { NodeMemory, Tree } from '../tree/index.ts';
import type { Mapping } from './mapping.ts';

/** Waits for a page. One of the two is called, once. */
export interface PageWaiter {
  /** The leaf begins at `words[base]`, and may be read only during the call. */
  pageLoaded(words: Uint32Array, base: number): void;
  pageFailed(error: Error): void;
}

export interface PagerOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly memory: NodeMemory;
  readonly tree: Tree;
  readonly mapping: Mapping;
  /** Leaves are evicted while nodes take more than this many bytes. */
  readonly limitBytes: number;
  readonly planted: Planted;
}

/** Most page reads in flight, besides reads of records. */
const READS_AT_ONCE = 64;
/** Most ids that one sweep visits. */
const SWEEP_IDS = 2048;
/** `keepWithin` sweeps when nodes have grown by so many bytes since its last sweep. */
const GROWTH_BYTES = 64 * KIB;

/** A page that is being read, or waits for a free read. */
interface Load {
  readonly pageId: number;
  readonly waiters: PageWaiter[];
}

/**
 * One page read, reused. Keeps what the mapping says of the page at the start: the mapping may be replaced meanwhile.
 */
class PageRead extends SectorRead {
  readonly own: AlignedBuffer;
  load: Load | null = null;
  pageId = 0;
  units = 0;
  tag = 0;

  constructor(bytes: number) {
    const own = allocateAligned(bytes);
    super(own);
    this.own = own;
  }

  aimAt(file: DirectFile, pageId: number, mapping: Mapping): void {
    assert(mapping.has(pageId), 'an absent page is in the checkpoint');
    this.aim(file, mapping.fileOffsetOf(pageId), mapping.imageBytesOf(pageId));
    this.pageId = pageId;
    this.units = mapping.unitsOf(pageId);
    this.tag = mapping.tagOf(pageId);
    this.current = this.spanBytes <= this.own.byteLength ? this.own : allocateAligned(this.spanBytes);
  }
}

export class Pager implements CompletionHandler {
  /** Pages read since the opening. */
  pageReads = 0;
  readonly #options: PagerOptions;
  readonly #loads = new Map<number, Load>();
  /** Loads that wait for a free read. */
  readonly #waiting = new Fifo<Load>();
  readonly #slots: PageRead[] = [];
  readonly #free: number[] = [];
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
    return (READS_AT_ONCE + 1) * readBytes(file, nodeBytes);
  }

  /** Memory of the buffers for reads, in bytes. */
  get bufferBytes(): number {
    const { file, memory } = this.#options;
    const reads = this.#slots.length + (this.#syncRead === null ? 0 : 1);
    return reads * readBytes(file, memory.nodeBytes) + (this.#scratch?.byteLength ?? 0);
  }

  get limitBytes(): number {
    return this.#options.limitBytes;
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
      load.waiters.push(waiter);
      return;
    }
    const begun: Load = { pageId, waiters: [waiter] };
    this.#loads.set(pageId, begun);
    if (!this.#start(begun)) this.#waiting.push(begun);
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
   * Reads an absent page and blocks the thread meanwhile. The words are valid until the next call.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  loadSync(pageId: number): { readonly words: Uint32Array; readonly base: number } {
    const { queue, file, memory } = this.#options;
    const read = (this.#syncRead ??= this.#newRead());
    read.aimAt(file, pageId, this.#options.mapping);
    for (;;) {
      const transferred = read.transferSync(queue, file);
      const wrong = this.#wrongPage(read, transferred);
      if (read.isThere(transferred) && wrong === null) break;
      if (!read.mayRetry(file, transferred)) throw this.#failureOf(read, transferred, wrong);
    }
    this.pageReads++;
    // PAGER-3: a page with a load under way must enter memory in that load's completion.
    if (this.#loads.has(pageId)) {
      const capacity = memory.units(pageId) * memory.unitWords;
      if (this.#scratch === null || this.#scratch.length < capacity) this.#scratch = new Uint32Array(capacity);
      this.#decode(read, this.#scratch, 0);
      return { words: this.#scratch, base: 0 };
    }
    this.#install(read);
    this.makeRoom(pageId);
    return { words: memory.words(pageId), base: memory.base(pageId) };
  }

  /** `makeRoom`, if nodes have grown since the last call. Cheap enough for every write. */
  keepWithin(): void {
    const { memory, limitBytes } = this.#options;
    if (memory.bytesUsed <= Math.max(limitBytes, this.#sweptBytes + GROWTH_BYTES)) return;
    this.makeRoom();
    this.#sweptBytes = memory.bytesUsed;
  }

  /** Evicts leaves, except page `except`, until the nodes are within the limit or one sweep is over. */
  makeRoom(except = 0): void {
    const { memory, limitBytes } = this.#options;
    for (let looks = SWEEP_IDS; looks > 0 && memory.bytesUsed > limitBytes; looks--) {
      const id = this.#hand < memory.idLimit ? this.#hand : 1;
      this.#hand = id + 1;
      if (id === except || id >= memory.idLimit || memory.units(id) === 0 || !memory.isResident(id)) continue;
      const marks = memory.marks(id);
      if ((marks & MARK_STORED) === 0) continue;
      if ((marks & (MARK_USED | MARK_RETIRED)) === MARK_USED) memory.unmark(id, MARK_USED);
      else if (this.#isEvictable(id)) memory.evict(id);
    }
  }

  /** @internal A read has completed. */
  complete(index: number, transferred: number): void {
    const { queue, file } = this.#options;
    const read = this.#slots[index] as PageRead;
    const wrong = this.#wrongPage(read, transferred);
    const isGood = wrong === null && read.isThere(transferred);
    if (!isGood && read.mayRetry(file, transferred)) {
      read.submit(queue, file, this, index);
      return;
    }
    const { load } = read;
    assert(load !== null, 'a read in flight has a load');
    this.#loads.delete(load.pageId);
    this.pageReads++;
    if (isGood) this.#tellLoaded(load, read);
    else {
      const failure = this.#failureOf(read, transferred, wrong);
      for (const waiter of load.waiters) waiter.pageFailed(failure);
    }
    read.load = null;
    read.current = read.own;
    this.#free.push(index);
    const next = this.#waiting.shift();
    if (next !== undefined) this.#start(next);
    if (this.#loads.size === 0) this.#idleWaiters.wakeAll();
  }

  /** PAGER-3. */
  #tellLoaded(load: Load, read: PageRead): void {
    const { memory } = this.#options;
    this.#install(read);
    const words = memory.words(load.pageId);
    const base = memory.base(load.pageId);
    for (const waiter of load.waiters) waiter.pageLoaded(words, base);
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

  #newRead(): PageRead {
    const { file, memory } = this.#options;
    return new PageRead(readBytes(file, memory.nodeBytes));
  }

  /** Returns false if all reads are in use. */
  #start(load: Load): boolean {
    const { queue, file } = this.#options;
    if (this.#free.length === 0 && this.#slots.length < READS_AT_ONCE) {
      this.#free.push(this.#slots.push(this.#newRead()) - 1);
    }
    const index = this.#free.pop();
    if (index === undefined) return false;
    const read = this.#slots[index] as PageRead;
    read.load = load;
    read.aimAt(file, load.pageId, this.#options.mapping);
    read.submit(queue, file, this, index);
    return true;
  }

  /** PAGER-4. What is wrong with the image; null if nothing is, or if the transfer failed or was short. */
  #wrongPage(read: PageRead, transferred: number): string | null {
    if (!read.isThere(transferred)) return null;
    const fault = pageFault(read.current, read.at, read.lengthBytes, read);
    return fault === 'tag' && this.#options.planted.uncheckedTag === true ? null : fault;
  }

  /** @param wrong from `#wrongPage` */
  #failureOf(read: PageRead, transferred: number, wrong: string | null): Error {
    const where = `the index page at byte ${read.fileOffset} of ${this.#options.file.path}`;
    return wrong === null ? transferError(where, transferred) : corrupt(`${where} is damaged (${wrong})`);
  }

  #install(read: PageRead): void {
    const { memory } = this.#options;
    memory.admit(read.pageId);
    this.#decode(read, memory.words(read.pageId), memory.base(read.pageId));
    memory.mark(read.pageId, MARK_USED);
  }

  #decode(read: PageRead, words: Uint32Array, base: number): void {
    const { memory } = this.#options;
    const capacity = memory.units(read.pageId) * memory.unitWords;
    const fits = decodePage(read.current, read.at, words, base, capacity);
    assert(fits && node.level(words, base) === 0, 'the image of a leaf holds a leaf');
    node.setBirth(words, base, 0);
  }
}

/** Fits the image of a page of one unit, at any offset. */
function readBytes({ alignment }: DirectFile, nodeBytes: number): number {
  return alignUp(nodeBytes + 64, alignment.offset) + alignment.offset;
}

function ended(load: Load): Promise<void> {
  return new Promise((resolve, reject) => load.waiters.push({ pageLoaded: () => resolve(), pageFailed: reject }));
}
