/**
 * Keeps the index within its memory: evicts leaves that are on the device as they are, and reads them back
 * through the queue when somebody needs them.
 *
 * ```
 *                    pin, whenLoaded                image whole, tag right
 *   absent ─────────────────────────────► loading ─────────────────────────► resident
 *      ▲                                                                     │
 *      └────── a sweep over all ids, like the hand of a clock: clean, ◄──────┘
 *              not used since the hand came by, pinned by nobody
 * ```
 *
 * PAGER-1. Only leaves below the root that are clean, that is, as the standing checkpoint has them, are evicted. What
 *     changed after the cut of a checkpoint is not clean when that checkpoint becomes the standing one.
 * PAGER-2. What only snapshots need any more stays in memory: no later checkpoint would hold it.
 * PAGER-3. Whoever waits for a page hears of it in the step in which it comes into memory, in the order in which they
 *     came, before anything can change it: a lookup is answered as of the moment at which it began to wait.
 * PAGER-4. A page is taken only if its image is whole, and is the one that the mapping means.
 * PAGER-5. Slots that the checkpoint before led to are used again only when the loads that began under it are done.
 * PAGER-6. Every load ends, and tells all its waiters: in the completion of its last transfer. The queue completes each
 *     transfer that it accepted, and each completion starts the next load that waits.
 *
 * It never writes, and does not know keys. Clock eviction after Corbató, "A Paging Experiment with the Multics
 * System" (1968).
 */
import { Fifo, Waiters, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { SectorRead, transferError } from '../file/sector-read.ts';
import { decodePage, pageFault } from '../format/page.ts';
import { MARK_RETIRED, MARK_USED, node } from '../tree/index.ts';
import type { NodeMemory, Tree } from '../tree/index.ts';
import { Mapping } from './mapping.ts';

/** Told of a page, once. */
export interface PageWaiter {
  /** The words of the leaf begin at `base`; they may be read during the call. */
  pageLoaded(words: Uint32Array, base: number): void;
  pageFailed(error: Error): void;
}

export interface PagerOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly memory: NodeMemory;
  readonly tree: Tree;
  /** Bytes of nodes in memory beyond which leaves are evicted. */
  readonly limitBytes: number;
  readonly planted: Planted;
}

/** Reads under way at once, beside those of records. */
const READS_AT_ONCE = 64;
/** Memory is scarce when nodes take this part of the limit, and what changed since the last cut takes that part. */
const CROWDED_PART = 0.75;
const CHANGED_PART = 0.25;
/** Ids that one sweep looks at, at most. */
const SWEEP_IDS = 2048;

/** A page that is being read, or is to be. */
interface Load {
  readonly pageId: number;
  readonly waiters: PageWaiter[];
}

/** One read of a page, used again. What the page must be is kept as the mapping has it when the read begins. */
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
    assert(mapping.has(pageId), 'a page that is absent is in the checkpoint');
    this.aim(file, mapping.fileOffsetOf(pageId), mapping.imageBytesOf(pageId));
    this.pageId = pageId;
    this.units = mapping.unitsOf(pageId);
    this.tag = mapping.tagOf(pageId);
    this.current = this.spanBytes <= this.own.byteLength ? this.own : allocateAligned(this.spanBytes);
  }
}

export class Pager implements CompletionHandler {
  /** Pages that were read since the store was opened. */
  pageReads = 0;
  readonly #options: PagerOptions;
  /** Where the pages of the standing checkpoint are. */
  #mapping = new Mapping();
  readonly #loads = new Map<number, Load>();
  /** Loads that wait until another is done. */
  readonly #waiting = new Fifo<Load>();
  readonly #slots: PageRead[] = [];
  readonly #free: number[] = [];
  /** How many times each page is pinned; a pinned page is not evicted. */
  readonly #pins = new Map<number, number>();
  /** Woken by the completion that ends the last load. */
  readonly #idleWaiters = new Waiters();
  #hand = 1;
  /** For the page that the thread waits for, if it is on its way already; valid until the next such call. */
  #scratch: Uint32Array | null = null;
  #syncRead: PageRead | null = null;

  constructor(options: PagerOptions) {
    this.#options = options;
  }

  get limitBytes(): number {
    return this.#options.limitBytes;
  }

  /** Bytes of nodes that changed since the last cut. */
  get changedBytes(): number {
    return this.#options.tree.changedBytes;
  }

  /** Whether memory gets scarce because of nodes that changed since the last cut: only a checkpoint makes them clean. */
  get needsCheckpoint(): boolean {
    const { memory, tree, limitBytes } = this.#options;
    return memory.bytesUsed >= limitBytes * CROWDED_PART && tree.changedBytes >= limitBytes * CHANGED_PART;
  }

  /** A checkpoint stands: from now on pages come from where it has them. */
  use(mapping: Mapping): void {
    this.#mapping = mapping;
  }

  /** Settles when the loads that are under way now are done, whatever comes of them (PAGER-5). */
  async loadsDone(): Promise<void> {
    await Promise.all([...this.#loads.values()].map((load) => ended(load).catch(() => undefined)));
  }

  /** Settles when nothing is being read; the queue may be closed then. */
  async quiet(): Promise<void> {
    while (this.#loads.size > 0) await this.#idleWaiters.wait();
  }

  /** Tells the waiter when an absent page is in memory, in a later turn (PAGER-3). */
  whenLoaded(pageId: number, waiter: PageWaiter): void {
    const { memory } = this.#options;
    assert(memory.units(pageId) !== 0 && !memory.isResident(pageId), 'what is waited for is absent');
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
   * Brings pages into memory, where they stay until `unpin`.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO; none of them is pinned then
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

  unpin(pageIds: readonly number[]): void {
    for (const id of pageIds) {
      const pins = this.#pins.get(id) ?? 0;
      assert(pins > 0, 'what is unpinned was pinned');
      if (pins === 1) this.#pins.delete(id);
      else this.#pins.set(id, pins - 1);
    }
  }

  /**
   * Reads an absent page while the thread waits. The words are valid until the next call.
   *
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
   */
  loadSync(pageId: number): { readonly words: Uint32Array; readonly base: number } {
    const { queue, file, memory } = this.#options;
    const read = (this.#syncRead ??= this.#newRead());
    read.aimAt(file, pageId, this.#mapping);
    for (;;) {
      const transferred = read.transferSync(queue, file);
      const wrong = this.#wrongPage(read, transferred);
      if (read.isThere(transferred) && wrong === null) break;
      if (!read.mayRetry(file, transferred)) throw this.#failureOf(read, transferred, wrong);
    }
    this.pageReads++;
    // One that is on its way already is left to those who wait for it.
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

  /** Evicts leaves while the nodes in memory are above the limit, as far as one sweep comes. */
  makeRoom(except = 0): void {
    const { memory, limitBytes } = this.#options;
    for (let looks = SWEEP_IDS; looks > 0 && memory.bytesUsed > limitBytes; looks--) {
      const id = this.#hand < memory.idLimit ? this.#hand : 1;
      this.#hand = id + 1;
      if (id === except || id >= memory.idLimit || memory.units(id) === 0 || !memory.isResident(id)) continue;
      if ((memory.marks(id) & MARK_USED) !== 0) memory.unmark(id, MARK_USED);
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
    assert(load !== null, 'a read in flight is of a page');
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

  /** Tells all of them, before anything else happens (PAGER-3). */
  #tellLoaded(load: Load, read: PageRead): void {
    const { memory } = this.#options;
    this.#install(read);
    const words = memory.words(load.pageId);
    const base = memory.base(load.pageId);
    for (const waiter of load.waiters) waiter.pageLoaded(words, base);
    this.makeRoom(load.pageId);
  }

  /** Whether it may be evicted (PAGER-1, PAGER-2). */
  #isEvictable(id: number): boolean {
    const { memory, tree } = this.#options;
    if (node.level(memory.words(id), memory.base(id)) !== 0 || tree.isRoot(id)) return false;
    return this.#mapping.has(id) && !tree.isDirty(id) && (memory.marks(id) & MARK_RETIRED) === 0 && !this.#pins.has(id);
  }

  /** Settles with the load of a page, which begins if it is not under way. */
  #load(pageId: number): Promise<void> {
    const load = this.#loads.get(pageId);
    if (load !== undefined) return ended(load);
    return new Promise((resolve, reject) => {
      this.whenLoaded(pageId, { pageLoaded: () => resolve(), pageFailed: reject });
    });
  }

  #newRead(): PageRead {
    const { file, memory } = this.#options;
    // A page of one unit and what its image adds, not aligned.
    return new PageRead(alignUp(memory.nodeBytes + 64, file.alignment.offset) + file.alignment.offset);
  }

  /** False when as many reads as may be are under way. */
  #start(load: Load): boolean {
    const { queue, file } = this.#options;
    if (this.#free.length === 0 && this.#slots.length < READS_AT_ONCE) {
      this.#free.push(this.#slots.push(this.#newRead()) - 1);
    }
    const index = this.#free.pop();
    if (index === undefined) return false;
    const read = this.#slots[index] as PageRead;
    read.load = load;
    read.aimAt(file, load.pageId, this.#mapping);
    read.submit(queue, file, this, index);
    return true;
  }

  /** What is wrong with the image that was read, or null; also null when not all of it is there (PAGER-4). */
  #wrongPage(read: PageRead, transferred: number): string | null {
    if (!read.isThere(transferred)) return null;
    const fault = pageFault(read.current, read.at, read.lengthBytes, read);
    return fault === 'tag' && this.#options.planted.uncheckedTag === true ? null : fault;
  }

  /** @param wrong what `#wrongPage` said */
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
    assert(fits && node.level(words, base) === 0, 'a whole image of a leaf is one');
    node.setBirth(words, base, 0);
  }
}

/** Settles with the load. */
function ended(load: Load): Promise<void> {
  return new Promise((resolve, reject) => load.waiters.push({ pageLoaded: () => resolve(), pageFailed: reject }));
}
