/** The walk over the layers of an index against a sorted map, and the ranges that layers delete. AIOKV_CURSOR_SEED says which runs. */
import test from 'ava';
import { ManualClock, Random, TurnBudget } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { DeletedRanges, RangeCursor } from '../../packages/kv/src/index/deleted-ranges.ts';
import { IndexCursor } from '../../packages/kv/src/index/index-cursor.ts';
import type { IndexLayer } from '../../packages/kv/src/index/index-cursor.ts';
import type { KeyIndex } from '../../packages/kv/src/index/key-index.ts';
import type { Pager } from '../../packages/kv/src/index/pager.ts';
import { Memtable } from '../../packages/kv/src/index/memtable.ts';
import { MemtableReader } from '../../packages/kv/src/index/memtable-reader.ts';
import { walkTree } from '../../packages/kv/src/index/tree-walk.ts';
import { NodeMemory, Tree, node } from '../../packages/kv/src/tree/index.ts';
import { seedOf } from '../helpers/seed.ts';

const SEED = seedOf('AIOKV_CURSOR_SEED');
/** Word 1 of a deletion. */
const DELETED = 0x8000_0000;
const noPager = {} as unknown as Pager;

const keyOf = (number: number): Buffer => Buffer.from(String(number).padStart(4, '0'));
const KEYS = 600;

/** Puts, deletions and deleted ranges, oldest layer first, and what they leave behind. */
function randomLayers(random: Random): { layers: IndexLayer[]; model: Map<number, number> } {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const model = new Map<number, number>();
  const layers: IndexLayer[] = [];
  let sequence = 0;
  for (let count = 1 + random.below(4); count > 0; count--) {
    const keys = new Tree(memory);
    const ranges = new DeletedRanges(memory);
    for (let writes = random.below(500); writes > 0; writes--) {
      sequence++;
      const number = random.below(KEYS);
      const key = keyOf(number);
      if (layers.length > 0 && random.chance(0.02)) {
        const end = random.chance(0.1) ? null : number + 1 + random.below(random.chance(0.2) ? KEYS : 20);
        const to = end === null ? null : keyOf(end);
        keys.deleteRange(key, key.length, to, to?.length ?? 0);
        ranges.add(key, key.length, to, to?.length ?? 0, 1);
        for (const [other] of model) if (other >= number && other < (end ?? Infinity)) model.delete(other);
      } else if (layers.length > 0 && random.chance(0.3)) {
        keys.set(key, key.length, 0, DELETED);
        model.delete(number);
      } else {
        keys.set(key, key.length, sequence, 1);
        model.set(number, sequence);
      }
    }
    layers.unshift({ keys: keys.snapshot(), ranges: ranges.isEmpty ? null : ranges.snapshot() });
  }
  return { layers, model };
}

/** The walk from a start to its end. */
async function walk(cursor: IndexCursor, from: Uint8Array | null): Promise<[string, number][]> {
  const rows: [string, number][] = [];
  for (let isThere = cursor.start(from); ;) {
    if (cursor.isBlocked && !isThere) {
      await cursor.unblock(1);
      isThere = cursor.resume();
      continue;
    }
    if (!isThere) return rows;
    rows.push([Buffer.from(cursor.key.subarray(0, cursor.keyLength)).toString(), cursor.entry.word0]);
    isThere = cursor.next();
  }
}

test('a walk over layers meets what the newest of them say, forward and backward', async (t) => {
  for (let seed = SEED; seed < SEED + 300; seed++) {
    const random = new Random(seed);
    const { layers, model } = randomLayers(random);
    const start = random.chance(0.3) ? null : random.below(KEYS + 10);
    const rows = [...model].sort(([a], [b]) => a - b).map(([number, word]) => [keyOf(number).toString(), word]);
    const from = start === null ? null : keyOf(start);
    const isAbove = ([key]: (string | number)[]): boolean => start === null || (key as string) >= String(from);
    const isBelow = ([key]: (string | number)[]): boolean => start === null || (key as string) < String(from);
    const forward = await walk(new IndexCursor(layers, false, noPager), from);
    t.deepEqual(forward, rows.filter(isAbove) as [string, number][], `AIOKV_CURSOR_SEED=${seed}`);
    const backward = await walk(new IndexCursor(layers, true, noPager), from);
    t.deepEqual(backward, rows.filter(isBelow).reverse() as [string, number][], `AIOKV_CURSOR_SEED=${seed}`);
  }
});

/** More than a short walk needs. */
const MOST_LOADS = 100;

/** Keeps no leaf in memory that is not pinned. */
class StrictPager {
  readonly #memory: NodeMemory;
  readonly #images = new Map<number, Uint32Array>();
  readonly #pins = new Map<number, number>();
  loads = 0;
  readonly mostLoads: number;
  mostAtOnce = 0;

  constructor(memory: NodeMemory, isKept: (id: number) => boolean, mostLoads = MOST_LOADS) {
    this.#memory = memory;
    this.mostLoads = mostLoads;
    for (let id = 1; id < memory.idLimit; id++) {
      if (memory.units(id) === 0 || isKept(id)) continue;
      const base = memory.base(id);
      this.#images.set(id, memory.words(id).slice(base, base + memory.unitWords));
      memory.evict(id);
    }
  }

  /** Of pages that are held. */
  get pins(): number {
    return [...this.#pins.values()].reduce((sum, pins) => sum + pins, 0);
  }

  get pinsLeft(): number {
    return Infinity;
  }

  pin(ids: readonly number[]): Promise<void> {
    this.holdAhead(ids);
    return Promise.resolve();
  }

  holdAhead(ids: readonly number[]): void {
    this.mostAtOnce = Math.max(this.mostAtOnce, ids.length);
    for (const id of ids) {
      this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
      if (this.#memory.isResident(id)) continue;
      if (++this.loads > this.mostLoads) throw new Error('the walk does not end');
      this.#memory.admit(id);
      this.#memory.words(id).set(this.#images.get(id) as Uint32Array, this.#memory.base(id));
    }
  }

  letGo(id: number): void {
    const pins = (this.#pins.get(id) as number) - 1;
    if (pins < 0) throw new Error('a page is let go that is not held');
    this.#pins.set(id, pins);
    if (pins === 0) this.#memory.evict(id);
  }
}

test('a walk ends though no leaf stays in memory that is not pinned', async (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  for (let i = 0; i < KEYS; i++) tree.set(keyOf(i), 4, i, 1);
  // Leaves lose their last keys, so that a seek finds nothing in the leaf that it comes to.
  const left = new Set<number>();
  for (let i = 0; i < KEYS; i++) {
    if (i % 7 < 3) left.add(i);
    else tree.delete(keyOf(i), 4);
  }
  const pager = new StrictPager(memory, (id) => node.level(memory.words(id), memory.base(id)) > 0);
  const layers = [{ keys: tree.snapshot(), ranges: null }];
  for (const reverse of [false, true]) {
    for (let from = 0; from < KEYS; from++) {
      const cursor = new IndexCursor(layers, reverse, pager as unknown as Pager);
      pager.loads = 0;
      let isThere = cursor.start(keyOf(from));
      while (!isThere && cursor.isBlocked && pager.loads < 5) {
        await cursor.unblock(1);
        isThere = cursor.resume();
      }
      const wanted = [...left].filter((i) => (reverse ? i < from : i >= from));
      const first = reverse ? wanted.at(-1) : wanted[0];
      t.is(isThere ? cursor.entry.word0 : undefined, first, `from ${from}, ${reverse ? 'backward' : 'forward'}`);
      cursor.unpin();
    }
  }
});

test('so does a walk over the tree alone, from any key (LEAVES-1)', async (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  for (let i = 0; i < KEYS; i++) tree.set(keyOf(i), 4, i, 1);
  for (let i = 0; i < KEYS; i++) if (i % 7 >= 3) tree.delete(keyOf(i), 4);
  const isInner = (id: number): boolean => node.level(memory.words(id), memory.base(id)) > 0;
  const pager = new StrictPager(memory, isInner);
  const version = { tree: tree.snapshot(), retain: () => version, release: () => undefined };
  const index = { version, pager } as unknown as KeyIndex;
  const budget = new TurnBudget(new ManualClock(), 1);
  for (let from = 0; from < KEYS; from++) {
    const found: number[] = [];
    pager.loads = 0;
    await walkTree(index, keyOf(from), budget, ({ entry }) => {
      found.push(entry.word0);
      return false;
    });
    const first = from % 7 < 3 ? from : from + 7 - (from % 7);
    t.deepEqual(found, first < KEYS ? [first] : [], `from ${from}`);
  }
});

test('DELETED-1: ranges that meet or overlap become one', (t) => {
  for (let seed = SEED; seed < SEED + 100; seed++) {
    const random = new Random(seed);
    const ranges = new DeletedRanges(new NodeMemory({ nodeBytes: 512 }));
    /** The age of the range that deletes the key, or 0. */
    const model = Array.from({ length: 2 * KEYS }, () => 0);
    const hasAges = random.chance(0.5);
    t.true(ranges.isEmpty);
    for (let added = 0; added < 60; added++) {
      const low = random.below(KEYS);
      const high = random.chance(0.01) ? null : low + 1 + random.below(random.chance(0.02) ? KEYS : 10);
      const to = high === null ? null : keyOf(high);
      const age = hasAges ? added + 1 : 1;
      ranges.add(keyOf(low), 4, to, 4, age);
      model.fill(age, low, high ?? model.length);
    }
    t.false(ranges.areAll);
    const snapshot = ranges.snapshot();
    const cursor = new RangeCursor(snapshot);
    for (let number = 0; number < KEYS; number++) {
      const message = `AIOKV_CURSOR_SEED=${seed}`;
      const age = model[number] as number;
      t.is(ranges.ageAt(keyOf(number), 4), age, message);
      t.is(ranges.has(keyOf(number), 4), age > 0, message);
      cursor.seek(keyOf(number), 4);
      t.is(cursor.age, age, message);
      cursor.seekBelow(keyOf(number), 4);
      t.is(cursor.isDeleted, number > 0 && (model[number - 1] as number) > 0, message);
    }
    const changes = model.filter((age, i) => age !== (i > 0 ? model[i - 1] : 0));
    t.is(snapshot.size, changes.length);
    cursor.seek(new Uint8Array(0), 0);
    for (const age of [0, ...changes]) {
      t.is(cursor.age, age);
      if (cursor.high !== null) cursor.next();
    }
    t.is(cursor.high, null);
    ranges.add(new Uint8Array(0), 0, null, 0, 100);
    t.true(ranges.areAll);
    t.true(ranges.has(keyOf(5), 4));
  }
});

test('WALK-2: a move over many deleted keys stops now and then', async (t) => {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const deletions = new Tree(memory);
  const keys = new Tree(memory);
  for (let number = 0; number < 100_000; number++) {
    const key = Buffer.from(String(number).padStart(6, '0'));
    keys.set(key, key.length, 1, 1);
    if (number < 99_999) deletions.set(key, key.length, 0, DELETED);
  }
  const layers = [
    { keys: deletions.snapshot(), ranges: null },
    { keys: keys.snapshot(), ranges: null },
  ];
  const cursor = new IndexCursor(layers, false, noPager);
  t.false(cursor.start(null));
  t.true(cursor.isBlocked);
  let stops = 1;
  for (; ; stops++) {
    await cursor.unblock(1);
    if (cursor.resume()) break;
    t.true(cursor.isBlocked);
  }
  t.true(stops >= 9 && stops <= 20, `${stops} stops`);
  t.is(Buffer.from(cursor.key.subarray(0, cursor.keyLength)).toString(), '099999');
});

/** Keys of many lengths with long common prefixes, so that leaves differ in theirs. */
function keyOfRun(number: number): Buffer {
  const tail = number % 5 === 0 ? 'x'.repeat(number % 11) : number % 7 === 0 ? '\0' : '';
  return Buffer.from(`user${'0'.repeat((number >> 6) % 3)}${String(number).padStart(4, '0')}${tail}`);
}

test('RUN-1: a run of deleted keys ends where a reader sees a key, while memtables change', async (t) => {
  for (let seed = SEED; seed < SEED + 60; seed++) {
    const random = new Random(seed);
    const memory = new NodeMemory({ nodeBytes: 512 });
    const tree = new Tree(memory);
    const seen = new Map<string, number>();
    let sequence = 0;
    for (let number = 0; number < KEYS; number++) {
      if (random.chance(0.2)) continue;
      const key = keyOfRun(number);
      tree.set(key, key.length, ++sequence, 1);
      seen.set(key.toString('latin1'), sequence);
    }
    const readers: MemtableReader[] = [];
    const memtables: Memtable[] = [];
    const write = (memtable: Memtable, number: number, isDeleted: boolean): void => {
      const key = keyOfRun(number);
      sequence++;
      if (isDeleted) memtable.delete(key, key.length, sequence);
      else memtable.putRecord(key, key.length, sequence * 8, 100, sequence);
    };
    /** Most keys from here to there are deleted. */
    const deleteRun = (memtable: Memtable, isNoted: boolean): void => {
      const [from, to] = [random.below(KEYS), random.below(KEYS)];
      for (let number = from; number < to; number++) {
        if (random.chance(0.1)) continue;
        const isDeleted = random.chance(0.97);
        write(memtable, number, isDeleted);
        if (!isNoted) continue;
        const name = keyOfRun(number).toString('latin1');
        if (isDeleted) seen.delete(name);
        else seen.set(name, sequence);
      }
    };
    for (let count = 1 + random.below(3); count > 0; count--) {
      const memtable = new Memtable(memory, sequence as Sequence);
      for (let runs = 1 + random.below(4); runs > 0; runs--) deleteRun(memtable, true);
      memtables.unshift(memtable);
      readers.unshift(new MemtableReader(memtable, sequence as Sequence));
    }
    deleteRun(memtables[0] as Memtable, false);
    const layers: IndexLayer[] = readers.map((reader) => ({ keys: reader, ranges: null }));
    layers.push({ keys: tree.snapshot(), ranges: null });
    const names = [...seen.keys()].sort();
    for (const reverse of [false, true]) {
      const found: string[] = [];
      const cursor = new IndexCursor(layers, reverse, noPager);
      for (let isThere = cursor.start(null); isThere; isThere = cursor.next()) {
        found.push(Buffer.from(cursor.key.subarray(0, cursor.keyLength)).toString('latin1'));
        if (random.chance(0.05)) deleteRun(memtables[0] as Memtable, false);
      }
      t.deepEqual(found, reverse ? names.toReversed() : names, `AIOKV_CURSOR_SEED=${seed}`);
    }
    for (const reader of readers) reader.release();
  }
});

test('LEAVES-2: a walk that finds nothing reads twice as many leaves with each read, and holds none in the end', async (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const [tree, deletions] = [new Tree(memory), new Tree(memory)];
  for (let number = 0; number < 20_000; number++) {
    const key = Buffer.from(String(number).padStart(6, '0'));
    tree.set(key, key.length, 1, 1);
    if (number < 19_000) deletions.set(key, key.length, 0, DELETED);
  }
  const isInTree = new Set<number>();
  const snapshot = tree.snapshot();
  for (let number = 0; number < 20_000; number++) {
    const key = Buffer.from(String(number).padStart(6, '0'));
    isInTree.add(tree.leafOf(key, key.length));
  }
  const pager = new StrictPager(memory, (id) => !isInTree.has(id), Infinity);
  const layers = [
    { keys: deletions.snapshot(), ranges: null },
    { keys: snapshot, ranges: null },
  ];
  for (const reverse of [false, true]) {
    const cursor = new IndexCursor(layers, reverse, pager as unknown as Pager);
    pager.loads = 0;
    pager.mostAtOnce = 0;
    let reads = 0;
    for (let isThere = cursor.start(reverse ? Buffer.from('019000') : null); !isThere && cursor.isBlocked;) {
      reads++;
      await cursor.unblock(2);
      t.true(pager.pins <= 66, `${pager.pins} pages held`);
      isThere = cursor.resume();
    }
    t.is(cursor.isBlocked, false);
    t.true(pager.mostAtOnce > 8, `${pager.mostAtOnce} at once`);
    // No leaf is read twice.
    t.true(pager.loads <= isInTree.size, `${pager.loads} reads of ${isInTree.size} leaves in ${reads} steps`);
    cursor.unpin();
    t.is(pager.pins, 0);
  }
});

test('WALK-2: a move over many keys that are newer than the reader stops now and then', async (t) => {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const memtable = new Memtable(memory, 0 as Sequence);
  const put = (number: number, sequence: number): void => {
    const key = Buffer.from(String(number).padStart(6, '0'));
    memtable.putRecord(key, key.length, 8, 100, sequence);
  };
  put(20_000, 1);
  const reader = new MemtableReader(memtable, 1 as Sequence);
  for (let number = 0; number < 40_000; number++) put(number, 2 + number);
  for (const reverse of [false, true]) {
    const cursor = new IndexCursor([{ keys: reader, ranges: null }], reverse, noPager);
    let stops = 0;
    let isThere = cursor.start(null);
    while (!isThere && cursor.isBlocked) {
      await cursor.unblock(1);
      isThere = cursor.resume();
      stops++;
    }
    t.true(isThere && stops > 10 && stops < 100, `${stops} stops`);
    t.is(Buffer.from(cursor.key.subarray(0, cursor.keyLength)).toString(), '020000');
  }
  reader.release();
});

test('a leap over a deleted range takes no longer than its end is far in the tree', (t) => {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const ranges = new DeletedRanges(memory);
  const keys = new Tree(memory);
  for (let number = 0; number < 100_000; number++) {
    const key = Buffer.from(String(number).padStart(6, '0'));
    keys.set(key, key.length, 1, 1);
  }
  ranges.add(Buffer.from('000010'), 6, Buffer.from('099990'), 6, 1);
  const layers = [
    { keys: new Tree(memory).snapshot(), ranges: ranges.snapshot() },
    { keys: keys.snapshot(), ranges: null },
  ];
  const cursor = new IndexCursor(layers, false, noPager);
  let seen = 0;
  // Without a leap it would be blocked after some thousand keys.
  for (let isThere = cursor.start(null); isThere; isThere = cursor.next()) seen++;
  t.false(cursor.isBlocked);
  t.is(seen, 20);
});
