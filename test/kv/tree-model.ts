/**
 * What the tree tests share: a sorted array that behaves as a tree should, families of awkward
 * keys, and a run of random operations on a tree and the model side by side.
 */
import { Random } from '@aiokv/core';
import { EXTRA_WORDS_MAX, Entry, FOUND, LeafWalk, NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';
import type { Cursor, SeekMode, TreeSnapshot } from '../../packages/kv/src/tree/index.ts';

export interface Row {
  readonly key: Buffer;
  /** Two, and up to 15 extra words. */
  readonly words: readonly number[];
}

const EXTRA = new Uint32Array(EXTRA_WORDS_MAX);

/** Whether the entry has just these words. */
function hasWords({ word0, word1, extraWords, extra }: Entry, words: readonly number[]): boolean {
  if (word0 !== words[0] || word1 !== words[1] || extraWords !== words.length - 2) return false;
  return words.slice(2).every((word, i) => extra[i] === word);
}

/** The first row that is not below the key. */
function lowerBound(rows: readonly Row[], key: Uint8Array): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare((rows[middle] as Row).key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where a seek in the model ends; -1 or `rows.length` when nowhere. */
function seekModel(rows: readonly Row[], key: Uint8Array, mode: SeekMode): number {
  const at = lowerBound(rows, key);
  const here = at < rows.length && Buffer.compare((rows[at] as Row).key, key) === 0;
  if (mode === '>=') return at;
  if (mode === '>') return here ? at + 1 : at;
  if (mode === '<=') return here ? at : at - 1;
  return at - 1;
}

export type KeyFamily = (random: Random) => Buffer;

/** How far each of the streams is that draw from this generator. */
const streams = new WeakMap<Random, number[]>();

function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)] as T;
}

function bytesOf(random: Random, length: number, alphabet: readonly number[]): Buffer {
  return Buffer.from(Array.from({ length }, () => pick(random, alphabet)));
}

const LONG = Buffer.alloc(4096, 'long key ');

export const keyFamilies: Readonly<Record<string, KeyFamily>> = {
  /** Prefixes of one another, padding that looks like content, the empty key. */
  tiny: (random) => bytesOf(random, random.below(9), [0, 0, 1, 0xff]),
  bytes: (random) => random.fill(Buffer.alloc(random.below(24))) as Buffer,
  user: (random) => Buffer.from(`user${String(random.below(3000) * 7919 + 1e15)}`),
  /** Six streams, of which two descend, and some keys anywhere between them. */
  streams: (random) => {
    const counts = streams.get(random) ?? Array.from({ length: 6 }, () => 50_000);
    streams.set(random, counts);
    const stream = random.below(6);
    if (random.chance(0.1)) return Buffer.from(`s${stream}:${random.below(100_000)}`);
    const count = (counts[stream] as number) + (stream < 2 ? -1 : 1);
    counts[stream] = count;
    return Buffer.from(`s${stream}:${String(count).padStart(6, '0')}`);
  },
  /** Heads are equal over and over: what differs comes late. */
  equalHeads: (random) =>
    Buffer.concat([
      Buffer.alloc(random.below(3) * 5, 'x'),
      bytesOf(random, 4, [7, 9]),
      Buffer.alloc(6, 0),
      bytesOf(random, 4, [0, 1, 2]),
    ]),
  long: (random) =>
    Buffer.concat([LONG.subarray(0, random.below(4090)), bytesOf(random, random.below(6), [0, 0x41, 0xff])]),
  /** Long common prefixes with a few keys outside of them, so that nodes would burst. */
  burst: (random) =>
    random.chance(0.05)
      ? bytesOf(random, random.below(30), [0, 0x6c, 0xff])
      : Buffer.concat([LONG.subarray(0, pick(random, [300, 300, 1200])), bytesOf(random, 4, [1, 2, 3, 4])]),
  longest: (random) => Buffer.concat([LONG.subarray(0, 4090), bytesOf(random, 6, [0, 1, 0xff])]),
  mixed: (random) =>
    pick(
      random,
      ['tiny', 'bytes', 'user', 'equalHeads', 'tiny', 'user', 'long', 'burst'].map(
        (name) => keyFamilies[name] as KeyFamily,
      ),
    )(random),
};

interface Frozen {
  readonly snapshot: TreeSnapshot;
  readonly rows: readonly Row[];
  readonly cursor: Cursor;
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

function checkAt(cursor: Cursor, rows: readonly Row[], at: number): void {
  const row = rows[at];
  check(
    cursor.valid === (row !== undefined),
    `the cursor is ${cursor.valid ? '' : 'not '}valid at row ${at} of ${rows.length}`,
  );
  if (row === undefined) return;
  const key = cursor.keyBytes.subarray(0, cursor.keyLength);
  check(
    Buffer.compare(row.key, key) === 0,
    `row ${at} has the key ${row.key.toString('hex')}, not ${Buffer.from(key).toString('hex')}`,
  );
  check(hasWords(cursor.entry, row.words), `row ${at} has its words`);
}

/** A tree and its model, on which the same things are done. */
export class TreeAndModel {
  readonly memory: NodeMemory;
  readonly tree: Tree;
  rows: Row[] = [];
  readonly frozen: Frozen[] = [];
  readonly #entry = new Entry();
  readonly #scratch = Buffer.alloc(4096 + 16, 0xa5);

  constructor(memory: NodeMemory) {
    this.memory = memory;
    this.tree = new Tree(memory);
  }

  /** The key in scratch whose other bytes mean nothing. */
  #load(key: Buffer): Buffer {
    this.#scratch.set(key);
    this.#scratch.fill(0x5a, key.length, key.length + 8);
    return this.#scratch;
  }

  #find(key: Buffer): [number, boolean] {
    const at = lowerBound(this.rows, key);
    const row = this.rows[at];
    return [at, row !== undefined && Buffer.compare(row.key, key) === 0];
  }

  set(key: Buffer, words: readonly number[]): void {
    const [at, here] = this.#find(key);
    const [word0 = 0, word1 = 0, ...extra] = words;
    EXTRA.set(extra);
    const isNew = this.tree.set(this.#load(key), key.length, word0, word1, EXTRA, extra.length);
    EXTRA.fill(0xdead);
    check(isNew !== here, `set says whether ${key.toString('hex')} is new`);
    this.rows.splice(at, here ? 1 : 0, { key, words });
  }

  delete(key: Buffer): void {
    const [at, here] = this.#find(key);
    check(
      this.tree.delete(this.#load(key), key.length) === here,
      `delete says whether ${key.toString('hex')} was here`,
    );
    if (here) this.rows.splice(at, 1);
  }

  /** Sets and deletes keys in ascending order, as a merge does. */
  merge(keys: readonly Buffer[], deletions: number, makeWords: () => number[], random: Random): void {
    const { tree } = this;
    const sorted = keys.toSorted((a, b) => Buffer.compare(a, b));
    const leaves = new LeafWalk(tree);
    for (const key of sorted) {
      const leaf = leaves.leafOf(this.#load(key), key.length);
      check(leaf === new LeafWalk(tree).leafOf(this.#load(key), key.length), 'a walk finds the leaf of each key');
    }
    for (const [i, key] of sorted.entries()) {
      const [at, here] = this.#find(key);
      const scratch = this.#load(key);
      const absent = i === 0 ? tree.goTo(scratch, key.length) : tree.goOn(scratch, key.length);
      check(absent === 0, 'all leaves are in memory');
      check(tree.entryHere(this.#entry) === here, `goOn finds ${key.toString('hex')}: ${here}`);
      if (random.chance(deletions)) {
        check(tree.deleteHere() === here, 'a deletion says whether the key was here');
        if (here) this.rows.splice(at, 1);
        continue;
      }
      const words = makeWords();
      const [word0 = 0, word1 = 0, ...extra] = words;
      EXTRA.set(extra);
      check(tree.setHere(word0, word1, EXTRA, extra.length) !== here, 'setHere says whether the key is new');
      this.rows.splice(at, here ? 1 : 0, { key, words });
    }
  }

  get(key: Buffer): void {
    const [at, here] = this.#find(key);
    const entry = this.#entry;
    check(
      (this.tree.get(this.#load(key), key.length, entry) === FOUND) === here,
      `get finds ${key.toString('hex')}: ${here}`,
    );
    if (!here) return;
    const { words } = this.rows[at] as Row;
    check(hasWords(entry, words), 'get fills in the words');
  }

  /** @param to null: to the last key */
  deleteRange(from: Buffer, to: Buffer | null): void {
    const first = this.#find(from)[0];
    const end = to === null ? this.rows.length : this.#find(to)[0];
    const upper = to === null ? null : Buffer.concat([to, Buffer.alloc(8, 0x5a)]);
    this.tree.deleteRange(this.#load(from), from.length, upper, to?.length ?? 0);
    if (end > first) this.rows.splice(first, end - first);
  }

  clear(): void {
    this.tree.clear();
    this.rows = [];
  }

  freeze(): void {
    const snapshot = this.tree.snapshot();
    const { size, isCounted } = snapshot;
    check(isCounted ? size === this.rows.length : size >= this.rows.length, 'a snapshot has its size');
    this.frozen.push({ snapshot, rows: [...this.rows], cursor: snapshot.cursor() });
  }

  release(index: number): void {
    const [frozen] = this.frozen.splice(index, 1);
    frozen?.snapshot.release();
  }

  /** A seek and some steps in both directions over one of the snapshots. */
  travel(random: Random, key: Buffer): void {
    const frozen = this.frozen[random.below(this.frozen.length)];
    if (frozen === undefined) return;
    const { rows, cursor } = frozen;
    const mode = pick(random, ['>=', '>', '<=', '<'] as const);
    let at = seekModel(rows, key, mode);
    const found = cursor.seek(this.#load(key), key.length, mode);
    check(found === cursor.valid, 'seek says whether it found');
    checkAt(cursor, rows, at);
    for (let steps = random.below(8); steps > 0 && cursor.valid; steps--) {
      const forward = random.chance(0.5);
      at += forward ? 1 : -1;
      check((forward ? cursor.next() : cursor.previous()) === cursor.valid, 'a step says whether it found');
      checkAt(cursor, rows, at);
    }
  }

  /** Every row of every snapshot, forward or backward. */
  checkSnapshots(random: Random): void {
    for (const { cursor, rows } of this.frozen) {
      if (random.chance(0.5)) {
        let at = 0;
        for (let more = cursor.first(); more; more = cursor.next()) checkAt(cursor, rows, at++);
        check(at === rows.length, 'forward, the cursor saw all rows');
      } else {
        let at = rows.length;
        for (let more = cursor.last(); more; more = cursor.previous()) checkAt(cursor, rows, --at);
        check(at === 0, 'backward, the cursor saw all rows');
      }
    }
  }

  checkLive(random: Random): void {
    const { size, isCounted } = this.tree;
    check(isCounted ? size === this.rows.length : size >= this.rows.length, 'the tree has its size');
    this.freeze();
    const last = this.frozen.length - 1;
    const others = this.frozen.splice(0, last);
    this.checkSnapshots(random);
    this.frozen.unshift(...others);
    this.release(last);
  }
}

export interface Run {
  readonly seed: number;
  readonly steps: number;
  readonly family: string;
  readonly nodeBytes: number;
  /** Snapshots are kept up to this number. */
  readonly snapshots: number;
  /** Most extra words of an entry. */
  readonly extraWords: number;
}

/** Two trees on one memory, changed at random, checked as they go and emptied in the end. */
export function randomRun({ seed, steps, family, nodeBytes, snapshots, extraWords }: Run): void {
  const random = new Random(seed);
  const makeKey = keyFamilies[family] as KeyFamily;
  const memory = new NodeMemory({ nodeBytes });
  const pairs = [new TreeAndModel(memory), new TreeAndModel(memory)] as const;
  const word = (): number => random.uint32();
  const words = (): number[] => Array.from({ length: 2 + random.below(extraWords + 1) }, word);
  let growth = 0.6;
  for (let step = 0; step < steps; step++) {
    const pair = random.chance(0.8) ? pairs[0] : pairs[1];
    if (step % 500 === 0) growth = pick(random, [0.9, 0.6, 0.5, 0.3]);
    const dice = random.float();
    const known = pair.rows[random.below(pair.rows.length)]?.key;
    const key = known !== undefined && random.chance(0.4) ? known : makeKey(random);
    if (dice < 0.6) {
      if (random.chance(growth)) pair.set(makeKey(random), words());
      else pair.delete(key);
    } else if (dice < 0.605) {
      const count = pick(random, [10, 1000, 10_000]);
      const start = random.below(pair.rows.length);
      const some = pair.rows.slice(start, start + random.below(count)).map(({ key }) => key);
      const keys = random.chance(0.5)
        ? some
        : Array.from({ length: random.below(Math.min(count, 1000)) }, () => makeKey(random));
      pair.merge(keys, pick(random, [0.3, 0.9, 1]), words, random);
    } else if (dice < 0.7) pair.set(key, words());
    else if (dice < 0.85) pair.get(key);
    else if (dice < 0.97) pair.travel(random, key);
    else if (dice < 0.972) {
      const to = random.chance(0.1) ? null : random.chance(0.5) ? makeKey(random) : key;
      const from = random.chance(0.05) ? Buffer.alloc(0) : makeKey(random);
      if (to === null || random.chance(0.1) || nearby(pair.rows, from, to)) pair.deleteRange(from, to);
    } else if (dice < 0.985) {
      if (pair.frozen.length < snapshots) pair.freeze();
    } else if (dice < 0.998) {
      if (pair.frozen.length > 0) pair.release(random.below(pair.frozen.length));
    } else if (dice < 0.9985) pair.clear();
    else memory.reclaimSome(random.below(20));
    if (step % 1000 === 999) verifyAll(memory, pairs, random);
  }
  verifyAll(memory, pairs, random);
  for (const pair of pairs) {
    while (pair.frozen.length > 0) pair.release(random.below(pair.frozen.length));
    if (random.chance(0.5)) pair.clear();
    else for (const { key } of random.shuffle([...pair.rows])) pair.delete(key);
    while (!memory.reclaimSome(7));
  }
  check(memory.nodesUsed === 0 && memory.bytesUsed === 0, 'no node is left when all is gone');
}

/** Most ranges are short: the trees would stay small. */
function nearby(rows: readonly Row[], from: Buffer, to: Buffer): boolean {
  return lowerBound(rows, to) - lowerBound(rows, from) < 200;
}

export function verifyAll(memory: NodeMemory, pairs: readonly TreeAndModel[], random: Random): void {
  const reachable = new Set<number>();
  for (const pair of pairs) {
    pair.checkLive(random);
    pair.checkSnapshots(random);
    pair.tree.verify(reachable);
  }
  memory.verify(reachable);
}
