/**
 * Memory for the nodes of the index: node id -> frame -> words. It allocates, frees, evicts and counts; it never
 * looks into a node, knows nothing of keys, levels or snapshots, and decides nothing: which nodes may be
 * evicted, and where their content is then, the pager knows (pages/pager.ts).
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
 *               ▲        free            │  ▲            │
 *               └────────────────────────┘  └── admit ───┘
 *
 * The frame of a node costs one more load for each level of a descent; the table is 4 bytes a node, so that
 * of all but huge indexes it stays in the processor's caches. In return a node keeps its id wherever it
 * is, and nothing that leads to it (parents, snapshots, the mapping of a checkpoint) hears of an eviction.
 *
 * Arenas are few and large because every arena is one more cache line that a lookup needs, and off
 * the heap because the garbage collector need not look at them. A fresh ArrayBuffer is zero pages
 * of the kernel's: it costs RAM only where it was written, and time where it is written first. So whoever
 * adds many nodes at once may have it touched elsewhere (`untouchedAhead`).
 *
 * Many nodes at once (a tree that was cleared, what a snapshot had kept) are not freed at once:
 * whoever gives them up leaves a `Backlog` here, which is worked off in slices: by `reclaimSome`,
 * and a little with every allocation, so that it shrinks even if nobody thinks of it.
 *
 * Invariants:
 *  1. Id 0 names no node, and frame 0 no frame. Both stay below 2^31, so that V8 keeps them as small integers.
 *  2. `units` of a node is above 0 from its allocation until it is freed, and 0 otherwise; so a
 *     node freed twice is noticed at once.
 *  3. A free run of n units stands in free list n, exactly once. Runs are split, never joined.
 *  4. Only a resident node has words. Nobody asks for those of another, and only resident nodes are freed.
 */
import { assert, KIB, MIB, powerOfTwo, resolveOptions } from '@aiokv/core';
import type { OptionShape } from '@aiokv/core';

export interface NodeMemoryOptions {
  /** Bytes of the unit in which nodes are allocated, a power of two from 512 to 65536. Default 4096. */
  readonly nodeBytes: number;
  /** Bytes of a large arena, a power of two from 256 KiB to 1 GiB. Default 64 MiB. */
  readonly arenaBytes: number;
}

/** Nodes that are to be freed bit by bit. */
export interface Backlog {
  /** Frees up to `maxNodes` nodes; returns how many of that number were left over, above 0 only when it is done. */
  reclaim(maxNodes: number): number;
  /** Names all nodes that are still to be freed. */
  verify(reachable: Set<number>): void;
}

const OPTIONS: OptionShape<NodeMemoryOptions> = {
  nodeBytes: powerOfTwo(512, 64 * KIB, 4 * KIB),
  arenaBytes: powerOfTwo(256 * KIB, 1024 * MIB, 64 * MIB),
};

/** The most units that one node may have. */
const NODE_UNITS_MAX = 255;
/** What `mark` may say of a node: it was used lately. */
export const MARK_USED = 1;
/** ... only snapshots need it any more. */
export const MARK_RETIRED = 2;
/** Small: most overlays and many stores are. */
const FIRST_ARENA_UNITS = 16;
/** The parts in which `untouchedAhead` tells, one of them ahead. */
const SOON_BYTES = 2 * MIB;
const FIRST_IDS = 1024;
const ID_BITS = 31;
/** Nodes of the backlog that are freed with every new node. */
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
  /** By id: the frame, 0 when there is none. */
  #frames = new Int32Array(FIRST_IDS);
  /** By id: units, 0 when the id is free. */
  #units = new Uint8Array(FIRST_IDS);
  /** By id: marks that the pager and the snapshots leave. */
  #marks = new Uint8Array(FIRST_IDS);
  #nextId = 1;
  readonly #freeIds: number[] = [];
  readonly #freeFrames: number[][] = [];
  readonly #backlogs: Backlog[] = [];
  #nextUnit = 0;
  #endUnit = 0;
  /** So far into the newest arena `untouchedAhead` has told. */
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
   * The next part of the newest arena that will be written soon and was not asked for before, or null. Whoever adds many
   * nodes at once asks after each, and may have the part touched by a thread.
   */
  untouchedAhead(): { readonly arena: ArrayBuffer; readonly fromByte: number; readonly lengthBytes: number } | null {
    if (this.#soonUnit >= this.#endUnit || this.#soonUnit >= this.#nextUnit + this.#soonUnits) return null;
    const { buffer } = this.#arenas.at(-1) as Uint32Array<ArrayBuffer>;
    const units = Math.min(this.#soonUnits, this.#endUnit - this.#soonUnit);
    const fromByte = (this.#soonUnit & this.#unitMask) * this.nodeBytes;
    this.#soonUnit += units;
    return { arena: buffer, fromByte, lengthBytes: units * this.nodeBytes };
  }

  /** Bytes of all resident nodes. */
  get bytesUsed(): number {
    return this.#unitsUsed * this.nodeBytes;
  }

  /** Bytes of all arenas, touched or not. */
  get bytesReserved(): number {
    return this.#bytesReserved;
  }

  /** Nodes there are, resident or not. */
  get nodesUsed(): number {
    return this.#nodesUsed;
  }

  /** Ids stay below this until the next allocation. */
  get idLimit(): number {
    return this.#nextId;
  }

  /** The array in which the words of a resident node stand, from `base(id)` on. It stays valid while the node does. */
  words(id: number): Uint32Array {
    return this.#arenas[(this.#frames[id] as number) >>> this.#unitBits] as Uint32Array;
  }

  base(id: number): number {
    return ((this.#frames[id] as number) & this.#unitMask) << this.#wordBits;
  }

  /** How many units the node has; 0 when there is no such node. */
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
    // Nearly always there is nothing to write, and the write makes V8 allocate now and then.
    if ((before & marks) !== marks) all[id] = before | marks;
  }

  unmark(id: number, marks: number): void {
    this.#marks[id] = (this.#marks[id] as number) & ~marks;
  }

  /** A resident node of so many contiguous units, without marks. Its words are what they were before. */
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
    this.evict(id);
    this.#units[id] = 0;
    this.#freeIds.push(id);
    this.#nodesUsed--;
  }

  /** Takes the words of a resident node away; it stays a node. */
  evict(id: number): void {
    const units = this.units(id);
    assert(this.isResident(id), 'a node is evicted once');
    (this.#freeFrames[units] as number[]).push(this.#frames[id] as number);
    this.#frames[id] = 0;
    this.#unitsUsed -= units;
  }

  /** Makes an absent node resident. Its words are to be filled in. */
  admit(id: number): void {
    assert(this.units(id) !== 0 && !this.isResident(id), 'a node that is absent is admitted');
    this.#frames[id] = this.#takeFrame(this.units(id));
  }

  /**
   * Makes the nodes of an empty memory be those that are named, by ascending ids, all of them absent.
   *
   * @param units of each of them
   */
  restore(ids: ArrayLike<number>, units: ArrayLike<number>): void {
    assert(this.#nextId === 1, 'a memory is restored before it is used');
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      const count = units[i] as number;
      assert(id >= this.#nextId && id < 2 ** ID_BITS, 'restored nodes ascend');
      assert(count > 0 && count <= NODE_UNITS_MAX, 'a node has 1 to 255 units');
      while (this.#nextId < id) this.#freeIds.push(this.#freshId());
      // It may put a longer table in the place of this one.
      this.#freshId();
      this.#units[id] = count;
      this.#nodesUsed++;
    }
  }

  /** Leaves nodes to be freed by and by. */
  defer(backlog: Backlog): void {
    this.#backlogs.push(backlog);
  }

  /** Frees up to `maxNodes` nodes of the backlogs; whether none is left. */
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
   * Throws unless the nodes in use are exactly those in the backlogs and those in `reachable`, which
   * the `verify` of every tree on this memory has added to.
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
    // The first arenas may be smaller than a large node.
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
    this.#arenas.push(new Uint32Array(bytes / 4));
    this.#bytesReserved += bytes;
    const first = index * 2 ** this.#unitBits;
    this.#nextUnit = index === 0 ? 1 : first;
    this.#soonUnit = first;
    this.#endUnit = first + bytes / this.nodeBytes;
  }
}
