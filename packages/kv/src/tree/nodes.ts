/**
 * Memory for the nodes of the index: node id -> frame -> words. It allocates, frees, evicts and counts nodes. It never
 * reads a node and knows nothing about keys, levels or snapshots. The pager (index/pager.ts) decides which nodes to
 * evict and knows where their content is on the device.
 *
 *   id ─► frame ─► arena 0 (16 units)         arena 1 (64 units)            arena 5, 6, ... (arenaBytes)
 *                  +----+----+---------+----+ +----+----+-----
 *                  |none| 1  | 2  3  4 | 5  | | 0  | 1  | ...               one unit = nodeBytes
 *                  +----+----+---------+----+ +----+----+-----
 *                             a frame of three units, named by its first
 *
 *   frame = arena number << unitBits | unit within the arena
 *
 *   state of an id      allocate               evict
 *            (free) ───────────────► resident ───────► absent
 *               ▲        free            │  ▲            │ │
 *               ├────────────────────────┘  └── admit ───┘ │
 *               └──────────────────────────── free ────────┘
 *
 * The table of frames costs one more load per level of a descent. It has 4 bytes per node, so it stays in the CPU
 * caches for all but huge indexes. In return a node keeps its id wherever it is: an eviction changes nothing in its
 * parents, in snapshots or in the mapping of a checkpoint.
 *
 * Arenas are few and large because a lookup needs one more cache line for every arena. They are off-heap so that the
 * garbage collector does not scan them. The kernel backs a new ArrayBuffer with memory only on the first write to
 * each page, and that write is slow. Code that adds many nodes at once can have another thread touch the memory
 * first (`untouchedAhead`).
 *
 * A large set of nodes (a cleared tree, nodes that only a released snapshot needed) is not freed in one step. It is
 * left here as a `Backlog` and freed in slices: by `reclaimSome`, and a few nodes with every allocation, so that a
 * backlog always shrinks.
 *
 * NODES-1. Id 0 is not a node, and frame 0 is not a frame. Both stay below 2^31, so that V8 keeps them as small
 *     integers.
 * NODES-2. `units` of a node is above 0 from its allocation until it is freed, and 0 otherwise. A node that is freed
 *     twice is therefore noticed at once.
 * NODES-3. A free run of n units is in free list n, exactly once. Runs are split, never joined.
 * NODES-4. Only a resident node has words. Nobody asks for the words of an absent node.
 */
import { assert, KIB, MIB, powerOfTwo, resolveOptions } from '@aiokv/core';
import type { OptionShape } from '@aiokv/core';

export interface NodeMemoryOptions {
  /** Bytes of a unit, in multiples of which nodes are allocated: a power of two from 512 to 65536. Default 4096. */
  readonly nodeBytes: number;
  /** Bytes of a large arena: a power of two from 256 KiB to 1 GiB. Default 64 MiB. */
  readonly arenaBytes: number;
}

/** Nodes that are freed in slices. */
export interface Backlog {
  /** Frees up to `maxNodes` nodes. Returns how many fewer it freed: above 0 only when the backlog is empty. */
  reclaim(maxNodes: number): number;
  /** Adds all nodes that are still to be freed to `reachable`. */
  verify(reachable: Set<number>): void;
}

const OPTIONS: OptionShape<NodeMemoryOptions> = {
  nodeBytes: powerOfTwo(512, 64 * KIB, 4 * KIB),
  arenaBytes: powerOfTwo(256 * KIB, 1024 * MIB, 64 * MIB),
};

/** The most units that one node may have. */
const NODE_UNITS_MAX = 255;
/** Marks of a node: it was used recently, */
export const MARK_USED = 1;
/** only snapshots still need it, */
export const MARK_RETIRED = 2;
/** its tree has to save it, */
export const MARK_FRESH = 4;
/** its image was made: it never changes again, */
export const MARK_SEALED = 8;
/** its image is on the device: it may be evicted. */
export const MARK_STORED = 16;
/** The first arena is small because most memtables and many stores are. */
const FIRST_ARENA_UNITS = 16;
/** `untouchedAhead` hands out parts of this size, one part ahead of the allocations. */
const SOON_BYTES = 2 * MIB;
const FIRST_IDS = 1024;
const ID_BITS = 31;
/** Nodes of the backlogs that every allocation frees. */
const RECLAIM_PER_NODE = 4;

export class NodeMemory {
  readonly nodeBytes: number;
  /** Words of 32 bits in a unit. */
  readonly unitWords: number;
  readonly #arenaBytes: number;
  readonly #unitBits: number;
  readonly #unitMask: number;
  readonly #wordBits: number;
  readonly #arenas: Uint32Array[] = [];
  /** The same memory, for those who do not have nodes in it. */
  readonly #arenaBytesOf: Uint8Array[] = [];
  /** By id: the frame, or 0 if the node is not resident. */
  #frames = new Int32Array(FIRST_IDS);
  /** By id: units, or 0 if the id is free. */
  #units = new Uint8Array(FIRST_IDS);
  /** By id: the marks that the tree, the pager and the snapshots set. */
  #marks = new Uint8Array(FIRST_IDS);
  #nextId = 1;
  readonly #freeIds: number[] = [];
  readonly #freeFrames: number[][] = [];
  readonly #backlogs: Backlog[] = [];
  #nextUnit = 0;
  #endUnit = 0;
  /** `untouchedAhead` has handed out the units of the newest arena up to this one. */
  #soonUnit = 0;
  readonly #soonUnits: number;
  #unitsUsed = 0;
  #nodesUsed = 0;
  #bytesReserved = 0;

  constructor(options?: Partial<NodeMemoryOptions>) {
    const { nodeBytes, arenaBytes } = resolveOptions('NodeMemory', OPTIONS, options);
    this.nodeBytes = nodeBytes;
    this.unitWords = nodeBytes / 4;
    this.#arenaBytes = arenaBytes;
    this.#unitBits = Math.log2(arenaBytes / nodeBytes);
    this.#unitMask = arenaBytes / nodeBytes - 1;
    this.#wordBits = Math.log2(this.unitWords);
    this.#soonUnits = SOON_BYTES / nodeBytes;
    for (let units = 0; units <= NODE_UNITS_MAX; units++) this.#freeFrames.push([]);
  }

  /**
   * The next part of the newest arena that will be written soon, once each; null if there is none. Code that adds many
   * nodes at once calls this after each and may have a thread touch the part.
   */
  untouchedAhead(): { readonly arena: ArrayBuffer; readonly fromByte: number; readonly lengthBytes: number } | null {
    if (this.#soonUnit >= this.#endUnit || this.#soonUnit >= this.#nextUnit + this.#soonUnits) return null;
    const { buffer } = this.#arenas.at(-1) as Uint32Array<ArrayBuffer>;
    const units = Math.min(this.#soonUnits, this.#endUnit - this.#soonUnit);
    const fromByte = (this.#soonUnit & this.#unitMask) * this.nodeBytes;
    this.#soonUnit += units;
    return { arena: buffer, fromByte, lengthBytes: units * this.nodeBytes };
  }

  /** Bytes of all resident nodes, and of units that are no nodes. */
  get bytesUsed(): number {
    return this.#unitsUsed * this.nodeBytes;
  }

  /** Bytes of all arenas, touched or not. */
  get bytesReserved(): number {
    return this.#bytesReserved;
  }

  /** Number of nodes, resident or not. */
  get nodesUsed(): number {
    return this.#nodesUsed;
  }

  /** All ids are below this until the next allocation. */
  get idLimit(): number {
    return this.#nextId;
  }

  /**
   * The array that holds the words of a resident node, from `base(id)` on. Valid as long as the node stays resident.
   */
  words(id: number): Uint32Array {
    return this.#arenas[(this.#frames[id] as number) >>> this.#unitBits] as Uint32Array;
  }

  base(id: number): number {
    return ((this.#frames[id] as number) & this.#unitMask) << this.#wordBits;
  }

  /** Units of the node; 0 if there is no such node. */
  units(id: number): number {
    return this.#units[id] as number;
  }

  isResident(id: number): boolean {
    return this.#frames[id] !== 0;
  }

  marks(id: number): number {
    return this.#marks[id] as number;
  }

  mark(id: number, marks: number): void {
    const all = this.#marks;
    const before = all[id] as number;
    // There is nearly always nothing to write, and the write makes V8 allocate now and then.
    if ((before & marks) !== marks) all[id] = before | marks;
  }

  unmark(id: number, marks: number): void {
    this.#marks[id] = (this.#marks[id] as number) & ~marks;
  }

  /** Allocates a resident node of so many contiguous units, without marks. Its words are not cleared. */
  allocate(units: number): number {
    if (this.#backlogs.length > 0) this.reclaimSome(RECLAIM_PER_NODE);
    const id = this.#freeIds.pop() ?? this.#freshId();
    this.#units[id] = units;
    this.#marks[id] = 0;
    this.#nodesUsed++;
    this.#frames[id] = this.#takeFrame(units);
    return id;
  }

  free(id: number): void {
    const units = this.units(id);
    assert(units !== 0, 'a node is freed once');
    if (this.isResident(id)) this.evict(id);
    this.#units[id] = 0;
    this.#freeIds.push(id);
    this.#nodesUsed--;
  }

  /** Releases the memory of a resident node, which becomes absent. */
  evict(id: number): void {
    const units = this.units(id);
    assert(this.isResident(id), 'a node is evicted once');
    (this.#freeFrames[units] as number[]).push(this.#frames[id] as number);
    this.#frames[id] = 0;
    this.#unitsUsed -= units;
  }

  /** Makes an absent node resident. The caller must fill in its words. */
  admit(id: number): void {
    assert(this.units(id) !== 0 && !this.isResident(id), 'a node that is absent is admitted');
    this.#frames[id] = this.#takeFrame(this.units(id));
  }

  /**
   * Fills an empty memory with absent nodes, whose images are on the device.
   *
   * @param ids of the nodes, ascending
   * @param units of each node, in the same order
   */
  restore(ids: ArrayLike<number>, units: ArrayLike<number>): void {
    assert(this.#nextId === 1, 'a memory is restored before it is used');
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      const count = units[i] as number;
      assert(id >= this.#nextId && id < 2 ** ID_BITS, 'restored nodes ascend');
      assert(count > 0 && count <= NODE_UNITS_MAX, 'a node has 1 to 255 units');
      while (this.#nextId < id) this.#freeIds.push(this.#freshId());
      // This may replace the tables by longer ones.
      this.#freshId();
      this.#units[id] = count;
      this.#marks[id] = MARK_SEALED | MARK_STORED;
      this.#nodesUsed++;
    }
  }

  /**
   * Takes a unit that is no node, for `freeUnit`. It counts as used. Returns its frame. Who has it may keep anything there:
   * see `arenaOf`, `bytesOf`, `unitIn`.
   */
  takeUnit(): number {
    return this.#takeFrame(1);
  }

  freeUnit(frame: number): void {
    (this.#freeFrames[1] as number[]).push(frame);
    this.#unitsUsed--;
  }

  /** The words of the arena of a unit, ... */
  arenaOf(frame: number): Uint32Array {
    return this.#arenas[frame >>> this.#unitBits] as Uint32Array;
  }

  /** ... its bytes, ... */
  bytesOf(frame: number): Uint8Array {
    return this.#arenaBytesOf[frame >>> this.#unitBits] as Uint8Array;
  }

  /** ... and which of its units it is. */
  unitIn(frame: number): number {
    return frame & this.#unitMask;
  }

  /** Takes over nodes to be freed in slices. */
  defer(backlog: Backlog): void {
    this.#backlogs.push(backlog);
  }

  /** Frees up to `maxNodes` nodes of the backlogs. Returns whether none is left. */
  reclaimSome(maxNodes: number): boolean {
    let left = maxNodes;
    for (;;) {
      const backlog = this.#backlogs.at(-1);
      if (backlog === undefined) return true;
      left = backlog.reclaim(left);
      if (left === 0) return false;
      this.#backlogs.pop();
    }
  }

  /**
   * Throws unless the nodes in use are exactly those in the backlogs and in `reachable`. Call `verify` of
   * every tree on this memory first, to fill `reachable`.
   */
  verify(reachable: Set<number>): void {
    for (const backlog of this.#backlogs) backlog.verify(reachable);
    for (const id of reachable) assert(this.units(id) !== 0, `node ${id} is reachable and free`);
    assert(reachable.size === this.#nodesUsed, `${this.#nodesUsed} nodes in use, ${reachable.size} reachable`);
  }

  #freshId(): number {
    const id = this.#nextId++;
    assert(id < 2 ** ID_BITS, 'node ids stay below 2^31');
    if (id === this.#frames.length) {
      const length = 2 * id;
      const [frames, units, marks] = [new Int32Array(length), new Uint8Array(length), new Uint8Array(length)];
      frames.set(this.#frames);
      units.set(this.#units);
      marks.set(this.#marks);
      [this.#frames, this.#units, this.#marks] = [frames, units, marks];
    }
    return id;
  }

  #takeFrame(units: number): number {
    assert(units > 0 && units <= NODE_UNITS_MAX, 'a node has 1 to 255 units');
    this.#unitsUsed += units;
    return (this.#freeFrames[units] as number[]).pop() ?? this.#takeFromLarger(units) ?? this.#takeFresh(units);
  }

  #takeFromLarger(units: number): number | undefined {
    for (let larger = units + 1; larger <= NODE_UNITS_MAX; larger++) {
      const frame = (this.#freeFrames[larger] as number[]).pop();
      if (frame === undefined) continue;
      (this.#freeFrames[larger - units] as number[]).push(frame + units);
      return frame;
    }
    return undefined;
  }

  #takeFresh(units: number): number {
    // A loop, because the first arenas may be smaller than a large node.
    while (this.#nextUnit + units > this.#endUnit) this.#addArena();
    const frame = this.#nextUnit;
    this.#nextUnit += units;
    return frame;
  }

  #addArena(): void {
    const rest = this.#endUnit - this.#nextUnit;
    if (rest > 0) (this.#freeFrames[rest] as number[]).push(this.#nextUnit);
    const index = this.#arenas.length;
    assert(index < 2 ** (ID_BITS - this.#unitBits), 'frames stay below 2^31');
    const bytes = Math.min(this.#arenaBytes, FIRST_ARENA_UNITS * this.nodeBytes * 4 ** Math.min(index, 8));
    const arena = new Uint32Array(bytes / 4);
    this.#arenas.push(arena);
    this.#arenaBytesOf.push(new Uint8Array(arena.buffer));
    this.#bytesReserved += bytes;
    const first = index * 2 ** this.#unitBits;
    this.#nextUnit = index === 0 ? 1 : first;
    this.#soonUnit = first;
    this.#endUnit = first + bytes / this.nodeBytes;
  }
}
