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
 * Z1. Only leaves below the root that are clean, that is, as the standing checkpoint has them, are evicted. What
 *     changed after the cut of a checkpoint is not clean when that checkpoint becomes the standing one.
 * Z2. What only snapshots need any more stays in memory: no later checkpoint would pin it.
 * Z3. Whoever waits for a page hears of it in the step in which it comes into memory, before anything can change
 *     it: a lookup is answered as of the moment at which it began to wait.
 * Z4. A page is taken only if its image is whole, and is the one that the mapping means.
 * Z5. Slots that the checkpoint before led to are used again only when the loads that began under it are done.
 *
 * It never writes, and does not know keys. Clock eviction after Corbató, "A Paging Experiment with the Multics
 * System" (1968).
 */
import { AiokvError, SystemCallError, alignDown, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
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

class Slot {
  readonly buffer: AlignedBuffer;
  /** The buffer in use: the slot's own, or a longer one. */
  current: AlignedBuffer;
  load: Load | null = null;
  /** The mapping under which it began: the place of the page that it reads. */
  mapping: Mapping | null = null;
  retried = false;

  constructor(bytes: number) {
    this.buffer = allocateAligned(bytes);
    this.current = this.buffer;
  }
}

export class Pager implements CompletionHandler {
  /** Pages that were read since the store was opened. */
  pageReads = 0;
  readonly #options: PagerOptions;
  /** Where the pages of the standing checkpoint are. */
  #mapping = new Mapping();
  readonly #loads = new Map<number, Load>();
  readonly #waiting: Load[] = [];
  readonly #slots: Slot[] = [];
  readonly #free: number[] = [];
  /** How many times each page is pinned; a pinned page is not evicted. */
  readonly #pins = new Map<number, number>();
  readonly #idleWaiters: (() => void)[] = [];
  #hand = 1;
  #scratch: Uint32Array | null = null;

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

  /** Settles when the loads that are under way now are done. */
  async loadsDone(): Promise<void> {
    await Promise.all([...this.#loads.values()].map((load) => settled(load)));
  }

  /** Settles when nothing is being read; the queue may be closed then. */
  async quiet(): Promise<void> {
    while (this.#loads.size > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Z3. Tells the waiter when an absent page is in memory, in a later turn. */
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
    const mapping = this.#mapping;
    const { start, lengthBytes } = this.#spanOf(pageId, mapping);
    const buffer = allocateAligned(lengthBytes);
    for (let attempt = 0; ; attempt++) {
      const result = transferSync(queue, file, buffer, start, lengthBytes);
      const fault = this.#faultOf(pageId, mapping, buffer, result);
      if (fault === null) break;
      if (attempt === 1) throw fault;
    }
    this.pageReads++;
    // One that is on its way already is left to those who wait for it.
    if (this.#loads.has(pageId)) {
      const capacity = memory.units(pageId) * memory.unitWords;
      if (this.#scratch === null || this.#scratch.length < capacity) this.#scratch = new Uint32Array(capacity);
      this.#decode(pageId, mapping, buffer, this.#scratch, 0);
      return { words: this.#scratch, base: 0 };
    }
    this.#install(pageId, mapping, buffer);
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
  complete(index: number, result: number): void {
    const slot = this.#slots[index] as Slot;
    const { load, mapping, current } = slot;
    assert(load !== null && mapping !== null, 'a read in flight is of a page');
    const fault = this.#faultOf(load.pageId, mapping, current, result);
    if (fault !== null && !slot.retried) {
      slot.retried = true;
      this.#submit(index, slot);
      return;
    }
    slot.load = null;
    slot.mapping = null;
    slot.current = slot.buffer;
    this.#free.push(index);
    this.#loads.delete(load.pageId);
    this.pageReads++;
    if (fault !== null) {
      for (const waiter of load.waiters) waiter.pageFailed(fault);
    } else {
      const { memory } = this.#options;
      this.#install(load.pageId, mapping, current);
      const words = memory.words(load.pageId);
      const base = memory.base(load.pageId);
      for (const waiter of load.waiters) waiter.pageLoaded(words, base);
      this.makeRoom(load.pageId);
    }
    const next = this.#waiting.shift();
    if (next !== undefined) this.#start(next);
    if (this.#loads.size === 0) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Z1, Z2. */
  #isEvictable(id: number): boolean {
    const { memory, tree } = this.#options;
    if (node.level(memory.words(id), memory.base(id)) !== 0 || tree.isRoot(id)) return false;
    return this.#mapping.has(id) && !tree.isDirty(id) && (memory.marks(id) & MARK_RETIRED) === 0 && !this.#pins.has(id);
  }

  async #load(pageId: number): Promise<void> {
    const load = this.#loads.get(pageId);
    if (load !== undefined) return settledWell(load);
    await new Promise<void>((resolve, reject) => {
      this.whenLoaded(pageId, { pageLoaded: () => resolve(), pageFailed: reject });
    });
  }

  /** False when as many reads as may be are under way. */
  #start(load: Load): boolean {
    const { file, memory } = this.#options;
    if (this.#free.length === 0 && this.#slots.length < READS_AT_ONCE) {
      // A page of one unit and what its image adds, not aligned.
      const bytes = alignUp(memory.nodeBytes + 64, file.alignment.offset) + file.alignment.offset;
      this.#free.push(this.#slots.push(new Slot(bytes)) - 1);
    }
    const index = this.#free.pop();
    if (index === undefined) return false;
    const slot = this.#slots[index] as Slot;
    const { lengthBytes } = this.#spanOf(load.pageId, this.#mapping);
    slot.load = load;
    slot.mapping = this.#mapping;
    slot.retried = false;
    slot.current = lengthBytes <= slot.buffer.byteLength ? slot.buffer : allocateAligned(lengthBytes);
    this.#submit(index, slot);
    return true;
  }

  #submit(index: number, slot: Slot): void {
    const { queue, file } = this.#options;
    assert(slot.load !== null && slot.mapping !== null, 'a page is read from where a mapping has it');
    const { start, lengthBytes } = this.#spanOf(slot.load.pageId, slot.mapping);
    const accepted = queue.submitRead(file, slot.current, 0, lengthBytes, start, this, index);
    assert(accepted, 'the queue has room for the reads of pages');
  }

  /** The bytes of the file that cover the image. */
  #spanOf(pageId: number, mapping: Mapping): { start: number; lengthBytes: number } {
    assert(mapping.has(pageId), 'a page that is absent is in the checkpoint');
    const { offset: unit } = this.#options.file.alignment;
    const fileOffset = mapping.fileOffsetOf(pageId);
    const start = alignDown(fileOffset, unit);
    return { start, lengthBytes: alignUp(fileOffset + mapping.imageBytesOf(pageId), unit) - start };
  }

  /** Z4. */
  #faultOf(pageId: number, mapping: Mapping, buffer: AlignedBuffer, result: number): Error | null {
    const { file, planted } = this.#options;
    const entry = mapping.entryOf(pageId);
    const where = `the index page at byte ${entry.fileOffset} of ${file.path}`;
    if (result < 0) {
      const cause = new SystemCallError('read', result, where);
      return new AiokvError('ERR_AIOKV_IO', `${where} cannot be read: ${cause.message}`, { cause });
    }
    const at = entry.fileOffset % file.alignment.offset;
    if (result < at + entry.imageBytes) return corrupt(`${where} lies behind the end of the file`);
    const fault = pageFault(buffer, at, entry.imageBytes, entry);
    if (fault === null || (fault === 'tag' && planted.uncheckedTag === true)) return null;
    return corrupt(`${where} is damaged (${fault})`);
  }

  #install(pageId: number, mapping: Mapping, buffer: AlignedBuffer): void {
    const { memory } = this.#options;
    memory.admit(pageId);
    this.#decode(pageId, mapping, buffer, memory.words(pageId), memory.base(pageId));
    memory.mark(pageId, MARK_USED);
  }

  #decode(pageId: number, mapping: Mapping, buffer: AlignedBuffer, words: Uint32Array, base: number): void {
    const { memory, file } = this.#options;
    const capacity = memory.units(pageId) * memory.unitWords;
    const at = mapping.fileOffsetOf(pageId) % file.alignment.offset;
    const fits = decodePage(buffer, at, words, base, capacity);
    assert(fits && node.level(words, base) === 0, 'a whole image of a leaf is one');
    node.setBirth(words, base, 0);
  }
}

/** Settles with the load, whatever comes of it. */
function settled(load: Load): Promise<void> {
  return new Promise((resolve) => load.waiters.push({ pageLoaded: () => resolve(), pageFailed: () => resolve() }));
}

function settledWell(load: Load): Promise<void> {
  return new Promise((resolve, reject) => load.waiters.push({ pageLoaded: () => resolve(), pageFailed: reject }));
}

/** Bytes read, or a negative error number, as `complete` gets it. */
function transferSync(queue: Queue, file: DirectFile, buffer: AlignedBuffer, offset: number, length: number): number {
  try {
    return queue.readSync(file, buffer, { offset, length });
  } catch (error) {
    if (error instanceof SystemCallError) return error.errno;
    throw error;
  }
}
