/**
 * Memory for the nodes of the index: node id -> words. It allocates, frees and counts; it never
 * looks into a node, knows nothing of keys, levels or snapshots, and never moves what it gave out.
 * This is the seam at which nodes will become evictable pages: the trees above hold ids only and
 * ask here for the words each time.
 *
 *   arena 0 (256 KiB)          arena 1 (1 MiB)               arena 4, 5, ... (arenaBytes)
 *   +----+----+---------+----+ +----+----+-----
 *   |none| 1  | 2  3  4 | 5  | | 0  | 1  | ...               one unit = nodeBytes
 *   +----+----+---------+----+ +----+----+-----
 *              a node of three units, named by its first
 *
 *   id = arena number << unitBits | unit within the arena
 *
 * Arenas are few and large because every arena is one more cache line that a lookup needs, and off
 * the heap because the garbage collector need not look at them. A fresh ArrayBuffer is zero pages
 * of the kernel's: it costs RAM only where it was written.
 *
 * Many nodes at once (a tree that was cleared, what a snapshot had kept) are not freed at once:
 * whoever gives them up leaves a `Backlog` here, which is worked off in slices: by `reclaimSome`,
 * and a little with every allocation, so that it shrinks even if nobody thinks of it.
 *
 * Invariants:
 *  1. Id 0 names no node. Ids stay below 2^31, so that V8 keeps them as small integers.
 *  2. `units` of a node is above 0 from its allocation until it is freed, and 0 otherwise; so a
 *     node freed twice is noticed at once.
 *  3. A free run of n units stands in free list n, exactly once. Runs are split, never joined.
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
const FIRST_ARENA_BYTES = 256 * KIB;
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
  readonly #unitsOf: Uint8Array[] = [];
  readonly #free: number[][] = [];
  readonly #backlogs: Backlog[] = [];
  #nextUnit = 0;
  #endUnit = 0;
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
    for (let units = 0; units <= NODE_UNITS_MAX; units++) this.#free.push([]);
  }

  /** Bytes of all nodes in use. */
  get bytesUsed(): number {
    return this.#unitsUsed * this.nodeBytes;
  }

  /** Bytes of all arenas, touched or not. */
  get bytesReserved(): number {
    return this.#bytesReserved;
  }

  /** Nodes in use, whatever their size. */
  get nodesUsed(): number {
    return this.#nodesUsed;
  }

  /** The array in which the node's words stand, from `base(id)` on. It stays valid while the node does. */
  words(id: number): Uint32Array {
    return this.#arenas[id >>> this.#unitBits] as Uint32Array;
  }

  base(id: number): number {
    return (id & this.#unitMask) << this.#wordBits;
  }

  /** How many units the node has; 0 when there is no such node. */
  units(id: number): number {
    return (this.#unitsOf[id >>> this.#unitBits] as Uint8Array)[id & this.#unitMask] as number;
  }

  /** A node of so many contiguous units. Its words are what they were before. */
  allocate(units: number): number {
    assert(units > 0 && units <= NODE_UNITS_MAX, 'a node has 1 to 255 units');
    if (this.#backlogs.length > 0) this.reclaimSome(RECLAIM_PER_NODE);
    const id = (this.#free[units] as number[]).pop() ?? this.#takeFromLarger(units) ?? this.#takeFresh(units);
    (this.#unitsOf[id >>> this.#unitBits] as Uint8Array)[id & this.#unitMask] = units;
    this.#unitsUsed += units;
    this.#nodesUsed++;
    return id;
  }

  free(id: number): void {
    const units = this.units(id);
    assert(units !== 0, 'a node is freed once');
    (this.#unitsOf[id >>> this.#unitBits] as Uint8Array)[id & this.#unitMask] = 0;
    (this.#free[units] as number[]).push(id);
    this.#unitsUsed -= units;
    this.#nodesUsed--;
  }

  /**
   * Makes the nodes of an empty memory be those that are named, by ascending ids; what lies between them is free. Their
   * words are to be filled in.
   *
   * @param units of each of them
   */
  restore(ids: ArrayLike<number>, units: ArrayLike<number>): void {
    assert(this.#arenas.length === 0, 'a memory is restored before it is used');
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      const count = units[i] as number;
      while (this.#arenas.length <= id >>> this.#unitBits) {
        this.#freeUpTo(this.#endUnit);
        this.#addArena();
      }
      assert(id >= this.#nextUnit && id + count <= this.#endUnit, 'restored nodes ascend and do not overlap');
      assert(count > 0 && count <= NODE_UNITS_MAX, 'a node has 1 to 255 units');
      this.#freeUpTo(id);
      this.#nextUnit = id + count;
      (this.#unitsOf[id >>> this.#unitBits] as Uint8Array)[id & this.#unitMask] = count;
      this.#unitsUsed += count;
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

  /** Makes free runs of the fresh units before `end`. */
  #freeUpTo(end: number): void {
    while (this.#nextUnit < end) {
      const units = Math.min(NODE_UNITS_MAX, end - this.#nextUnit);
      (this.#free[units] as number[]).push(this.#nextUnit);
      this.#nextUnit += units;
    }
  }

  #takeFromLarger(units: number): number | undefined {
    for (let larger = units + 1; larger <= NODE_UNITS_MAX; larger++) {
      const id = (this.#free[larger] as number[]).pop();
      if (id === undefined) continue;
      (this.#free[larger - units] as number[]).push(id + units);
      return id;
    }
    return undefined;
  }

  #takeFresh(units: number): number {
    if (this.#nextUnit + units > this.#endUnit) this.#addArena();
    const id = this.#nextUnit;
    this.#nextUnit += units;
    return id;
  }

  #addArena(): void {
    const rest = this.#endUnit - this.#nextUnit;
    if (rest > 0) (this.#free[rest] as number[]).push(this.#nextUnit);
    const index = this.#arenas.length;
    assert(index < 2 ** (ID_BITS - this.#unitBits), 'node ids stay below 2^31');
    const bytes = Math.min(this.#arenaBytes, FIRST_ARENA_BYTES * 4 ** Math.min(index, 8));
    this.#arenas.push(new Uint32Array(bytes / 4));
    this.#unitsOf.push(new Uint8Array(bytes / this.nodeBytes));
    this.#bytesReserved += bytes;
    const first = index * 2 ** this.#unitBits;
    this.#nextUnit = index === 0 ? 1 : first;
    this.#endUnit = first + bytes / this.nodeBytes;
  }
}
