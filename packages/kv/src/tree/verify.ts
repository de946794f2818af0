/**
 * Checks a whole tree against the invariants of node.ts, tree.ts and snapshot.ts. It is slow and changes nothing: for
 * tests, never for a hot path.
 */
import { assert } from '@aiokv/core';
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';
import { Probe } from './probe.ts';

/** The part of a snapshot that the check needs. snapshot.ts imports this file, so it cannot be imported here. */
interface Viewer {
  readonly generation: number;
  readonly older: Viewer | null;
}

interface Live {
  readonly newestSnapshot: Viewer | null;
}

/**
 * Verifies the tree below `root` and adds its nodes to `reachable`. Absent leaves are not checked.
 *
 * @param live the lifetimes of the tree if this is the live tree
 * @param birthMax the last generation that the snapshot sees
 * @returns the number of entries, or null if leaves are absent
 */
export function verifyTree(
  memory: NodeMemory,
  root: number,
  reachable: Set<number>,
  live: Live | null,
  birthMax = Infinity,
): number | null {
  const visited = new Set<number>();
  const level = node.level(memory.words(root), memory.base(root));
  const walk = new Walk(memory, visited, live, birthMax);
  const entries = walk.visit(root, level, null, null, Infinity);
  for (const id of visited) reachable.add(id);
  return walk.absentLeaves === 0 ? entries : null;
}

class Walk {
  readonly #memory: NodeMemory;
  readonly #visited: Set<number>;
  readonly #live: Live | null;
  readonly #birthMax: number;
  absentLeaves = 0;

  constructor(memory: NodeMemory, visited: Set<number>, live: Live | null, birthMax: number) {
    this.#memory = memory;
    this.#visited = visited;
    this.#live = live;
    this.#birthMax = birthMax;
  }

  visit(id: number, level: number, low: Probe | null, high: Probe | null, parentBirth: number): number {
    assert(!this.#visited.has(id), `node ${id} is in its tree once`);
    this.#visited.add(id);
    if (!this.#memory.isResident(id)) {
      assert(level === 0, `inner node ${id} is in memory`);
      this.absentLeaves++;
      return 0;
    }
    const words = this.#memory.words(id);
    const base = this.#memory.base(id);
    const birth = node.birth(words, base);
    assert(this.#memory.units(id) > 0, `node ${id} is in use`);
    assert(node.level(words, base) === level, `node ${id} is on level ${level}`);
    assert(birth <= this.#birthMax, `node ${id} was born before its snapshot`);
    this.#checkBirth(birth, parentBirth);
    this.#checkHeap(id);
    const n = node.count(words, base);
    assert(level > 0 || n > 0, `leaf ${id} is not empty`);
    let previous = low;
    let entries = level === 0 ? n : 0;
    for (let index = 0; index < n; index++) {
      const key = new Probe(node.keyLength(words, base, index));
      node.loadKey(words, base, index, key);
      this.#checkEntry(id, index, key, previous, high, level > 0);
      if (level > 0) entries += this.visit(node.childAt(words, base, index), level - 1, previous, key, birth);
      previous = key;
    }
    if (level > 0) entries += this.visit(node.childAt(words, base, n), level - 1, previous, high, birth);
    return entries;
  }

  /** SNAP-4. */
  #checkBirth(birth: number, parentBirth: number): void {
    let snapshot: Viewer | null = this.#live?.newestSnapshot ?? null;
    for (; snapshot !== null; snapshot = snapshot.older) {
      assert(
        birth <= snapshot.generation || parentBirth > snapshot.generation,
        'a writable node has a writable parent',
      );
    }
  }

  #checkEntry(id: number, index: number, key: Probe, previous: Probe | null, high: Probe | null, inner: boolean): void {
    const words = this.#memory.words(id);
    const base = this.#memory.base(id);
    // The first key of a leaf may equal the separator before it. Separators, and keys within a node, strictly ascend.
    const equalAllowed = !inner && index === 0;
    const order = previous === null ? 1 : key.compare(previous);
    assert(equalAllowed ? order >= 0 : order > 0, `node ${id}: key ${index} comes after what precedes it`);
    assert(high === null || key.compare(high) < 0, `node ${id}: key ${index} is below the next separator`);
    assert(node.search(words, base, key) === index, `node ${id}: key ${index} is found`);
    for (let word = (key.length + 3) >>> 2; word < ((key.length + 3) >>> 2) + 2; word++) {
      assert(key.words[word] === 0, `node ${id}: key ${index} is padded with zeros`);
    }
    const heads = node.headsAt(words, base);
    const ascend = index === 0 || (words[heads + index - 1] as number) <= (words[heads + index] as number);
    assert(ascend, `node ${id}: head ${index} is not below the one before`);
    assert(node.comparePrefix(words, base, node.prefixBytes(words, base), key) === 0, 'keys share the prefix');
  }

  /** NODE-3, and that entries do not overlap. */
  #checkHeap(id: number): void {
    const words = this.#memory.words(id);
    const base = this.#memory.base(id);
    const capacity = this.#memory.units(id) * this.#memory.unitWords;
    const n = node.count(words, base);
    const low = node.heapLow(words, base);
    const payload = node.payloadWords(node.level(words, base));
    const extents: [number, number][] = [];
    let used = 0;
    for (let index = 0; index < n; index++) {
      const tail = node.tailWords(node.keyLength(words, base, index), node.prefixBytes(words, base));
      const extra = node.extraWords(words, base, index);
      assert(extra === 0 || node.level(words, base) === 0, `node ${id}: only leaves have extra words`);
      const size = payload + extra + tail;
      const start = node.payloadAt(words, base, index) - base;
      extents.push([start, start + size]);
      used += size;
    }
    extents.sort((a, b) => a[0] - b[0]);
    let end = low;
    for (const [start, stop] of extents) {
      assert(start >= end, `node ${id}: entries do not overlap`);
      end = stop;
    }
    assert(end <= capacity, `node ${id}: entries end within it`);
    assert(node.headsAt(words, base) - base + 2 * n <= low, `node ${id}: slots end before the heap`);
    assert(low + used + node.garbageWords(words, base) === capacity, `node ${id}: the heap adds up`);
  }
}
