/** Nodes as they are on the device: packed and read back, how long they are, and what is made of bytes that are none. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { EXTRA_WORDS_MAX, Entry, NodeMemory, Probe, Tree, node } from '../../packages/kv/src/tree/index.ts';
import { pack, unpack } from '../../packages/kv/src/tree/packed-node.ts';
import { seedOf } from '../helpers/seed.ts';
import { keyFamilies } from './tree-model.ts';

const SEED = seedOf('AIOKV_TREE_SEED');
/** In memory that a test gives to `unpack`, in front of the node and behind it. */
const GUARD = 0xabab_abab;

interface Node {
  readonly words: Uint32Array;
  readonly base: number;
  readonly capacityWords: number;
}

function nodesOf(memory: NodeMemory): Node[] {
  const nodes: Node[] = [];
  for (let id = 1; id < memory.idLimit; id++) {
    if (memory.units(id) === 0) continue;
    const capacityWords = memory.units(id) * memory.unitWords;
    nodes.push({ words: memory.words(id), base: memory.base(id), capacityWords });
  }
  return nodes;
}

const isLeaf = ({ words, base }: Node): boolean => node.level(words, base) === 0;
const count = ({ words, base }: Node): number => node.count(words, base);

function packed({ words, base, capacityWords }: Node): Uint32Array<ArrayBuffer> {
  const into = new Uint32Array(capacityWords + 600);
  return into.slice(0, pack(words, base, into) / 4);
}

/** The node that is made of these words, or null. Fails when anything outside of it is written. */
function unpacked(from: Uint32Array<ArrayBuffer>, level: number, entries: number, capacityWords: number): Node | null {
  const words = new Uint32Array(capacityWords + 16).fill(GUARD);
  const isOne = unpack(from, level, entries, words, 8, capacityWords);
  if (!words.subarray(0, 8).every((word) => word === GUARD)) throw new Error('written in front of the node');
  if (!words.subarray(8 + capacityWords).every((word) => word === GUARD)) throw new Error('written behind the node');
  return isOne ? { words, base: 8, capacityWords } : null;
}

/** A key and what follows it, in hexadecimal. */
function row({ words, base }: Node, index: number): string {
  const key = new Probe();
  node.loadKey(words, base, index, key);
  const bytes = Buffer.alloc(key.length);
  key.copyTo(bytes);
  if (node.level(words, base) > 0) return `${bytes.toString('hex')} ${node.childAt(words, base, index + 1)}`;
  const entry = new Entry();
  node.loadEntry(words, base, index, entry);
  const { word0, word1, extra, extraWords } = entry;
  return `${bytes.toString('hex')} ${[word0, word1, ...extra.subarray(0, extraWords)].join(' ')}`;
}

/** NODE-1 to NODE-4, and that each key is found. */
function requireNode(one: Node): void {
  const { words, base, capacityWords } = one;
  const n = count(one);
  const prefix = node.prefixBytes(words, base);
  const payload = node.payloadWords(node.level(words, base));
  const key = new Probe();
  const before = new Probe();
  let used = 0;
  for (let index = 0; index < n; index++) {
    node.loadKey(words, base, index, key);
    if (index > 0 && key.compare(before) <= 0) throw new Error(`key ${index} is not above the one before`);
    if (node.search(words, base, key) !== index) throw new Error(`key ${index} is not found`);
    if (node.comparePrefix(words, base, prefix, key) !== 0) throw new Error(`key ${index} has another prefix`);
    used += payload + node.extraWords(words, base, index) + node.tailWords(key.length, prefix);
    before.copy(key);
  }
  const low = node.heapLow(words, base);
  if (low + used !== capacityWords || node.garbageWords(words, base) !== 0) throw new Error('the heap does not add up');
  if (node.lowWords(words, base) > low) throw new Error('slots end behind the heap');
}

function requireSame(one: Node, other: Node | null): void {
  if (other === null) throw new Error('it is not read back');
  if (count(other) !== count(one)) throw new Error(`${count(other)} entries of ${count(one)}`);
  const [level, otherLevel] = [one, other].map(({ words, base }) => node.level(words, base));
  if (level !== otherLevel) throw new Error(`level ${otherLevel}`);
  for (let index = 0; index < count(one); index++) {
    if (row(one, index) !== row(other, index)) throw new Error(`${row(other, index)} instead of ${row(one, index)}`);
  }
  if (!isLeaf(one) && node.childAt(one.words, one.base, 0) !== node.childAt(other.words, other.base, 0)) {
    throw new Error('another first child');
  }
  if (node.birth(other.words, other.base) !== 0) throw new Error('it is born');
  const [used, otherUsed] = [one, other].map((each) => node.usedWords(each.words, each.base, each.capacityWords));
  if (used !== otherUsed) throw new Error(`${otherUsed} words instead of ${used}`);
  requireNode(other);
}

/** A tree with entries of all kinds, some of which were removed. */
function randomTree(random: Random, family: string, nodeBytes: number, steps: number): NodeMemory {
  const memory = new NodeMemory({ nodeBytes });
  const tree = new Tree(memory);
  const extra = new Uint32Array(EXTRA_WORDS_MAX);
  const wide = random.chance(0.5);
  const keys: Buffer[] = [];
  for (let step = 0; step < steps; step++) {
    const key = keyFamilies[family]?.(random) as Buffer;
    keys.push(key);
    const extraWords = random.chance(0.2) ? random.below(EXTRA_WORDS_MAX + 1) : 0;
    for (let word = 0; word < extraWords; word++) extra[word] = random.uint32();
    const word0 = wide ? random.uint32() : random.below(1000);
    const word1 = wide && random.chance(0.3) ? random.uint32() : 148;
    tree.set(key, key.length, word0, word1, extra, extraWords);
    const gone = keys[random.below(keys.length)] as Buffer;
    if (random.chance(0.3)) tree.delete(gone, gone.length);
  }
  return memory;
}

for (const family of Object.keys(keyFamilies)) {
  test(`nodes of ${family} keys are read back as they were (PNODE-1)`, (t) => {
    const isHeavy = ['long', 'longest', 'burst', 'mixed'].includes(family);
    for (const nodeBytes of [512, 4096, 65_536]) {
      const random = new Random(SEED + nodeBytes);
      for (const one of nodesOf(randomTree(random, family, nodeBytes, isHeavy ? 1500 : 6000))) {
        if (isLeaf(one) && count(one) === 0) continue;
        const words = packed(one);
        t.notThrows(
          () => requireSame(one, unpacked(words, node.level(one.words, one.base), count(one), one.capacityWords)),
          `AIOKV_TREE_SEED=${SEED}, ${nodeBytes}`,
        );
        // Two bits an entry more than in memory at most.
        const { words: w, base, capacityWords } = one;
        const most = 4 * node.usedWords(w, base, capacityWords) + count(one) / 4 + 16;
        t.true(words.byteLength <= most, `${words.byteLength} bytes`);
      }
    }
  });
}

/** Leaves of 4 KiB with keys that are put in this order. */
function leavesOf(keys: number, keyOf: (number: number) => Buffer, addressOf: (number: number) => number): Node[] {
  const memory = new NodeMemory({ nodeBytes: 4096 });
  const tree = new Tree(memory);
  for (let number = 0; number < keys; number++) {
    const key = keyOf(number);
    tree.set(key, key.length, addressOf(number), 24 + key.length + 100);
  }
  return nodesOf(memory).filter(isLeaf);
}

const bytesPerKey = (leaves: readonly Node[]): number =>
  leaves.reduce((sum, one) => sum + 32 + packed(one).byteLength, 0) / leaves.reduce((sum, one) => sum + count(one), 0);

const random = new Random(SEED);
const digits = (most: number, length: number): string => String(random.below(most)).padStart(length, '0');
const anywhere = (): number => random.below(50_000_000);
const sizes: readonly (readonly [string, number, (number: number) => Buffer, (number: number) => number])[] = [
  ['24 bytes, decimal, in random order', 13, () => Buffer.from(`user${digits(4e9, 10)}${digits(4e9, 10)}`), anywhere],
  ['the same, loaded in order', 2.5, (n) => Buffer.from(`user${String(n).padStart(20, '0')}`), (n) => 19 * n],
  ['the same, overwritten in random order', 5, (n) => Buffer.from(`user${String(n).padStart(20, '0')}`), anywhere],
  [
    '32 hexadecimal digits',
    20,
    () => Buffer.from(Buffer.from(random.fill(new Uint8Array(16))).toString('hex')),
    anywhere,
  ],
  ['24 random bytes', 27, () => Buffer.from(random.fill(new Uint8Array(24))), anywhere],
];

for (const [name, most, keyOf, addressOf] of sizes) {
  test(`a key takes at most ${most} bytes on the device: ${name}`, (t) => {
    const bytes = bytesPerKey(leavesOf(60_000, keyOf, addressOf));
    t.log(`${bytes.toFixed(1)} bytes`);
    t.true(bytes <= most, `${bytes}`);
  });
}

test('the image of a node does not depend on what was packed before it', (t) => {
  const random = new Random(SEED);
  const families = ['user', 'bytes', 'streams', 'tiny'];
  const nodes = families.flatMap((family) =>
    nodesOf(randomTree(random, family, 4096, 3000)).filter((one) => count(one) > 0),
  );
  const [first] = nodes as [Node];
  const inOrder = nodes.map((one) => packed(one));
  for (const [i, one] of nodes.entries()) {
    packed(nodes[random.below(nodes.length)] as Node);
    t.deepEqual(packed(one), inOrder[i]);
    packed(first);
    t.deepEqual(packed(one), inOrder[i]);
  }
});

test('one odd entry makes a page longer by an eighth of its memory at most (PNODE-3)', (t) => {
  const odd = [
    { name: 'a value in the leaf', key: null, word0: 0xffff_ffff, word1: 0xd000_0000, extraWords: 6 },
    { name: 'a record far away', key: null, word0: 0xffff_ffff, word1: 0x3fff_ffff, extraWords: 0 },
    { name: 'a longer key', key: Buffer.alloc(200, 0xff), word0: 1, word1: 1, extraWords: 0 },
    {
      name: 'a key of other bytes',
      key: Buffer.from([0xf0, 0x9f, 0x92, 0xbe, 0, 1, 2]),
      word0: 9,
      word1: 9,
      extraWords: 0,
    },
  ];
  for (const [name, , keyOf, addressOf] of sizes) {
    for (const { name: what, key: end, word0, word1, extraWords } of odd) {
      const [leaf] = leavesOf(20_000, keyOf, addressOf) as [Node];
      const before = packed(leaf).byteLength;
      const memory = new NodeMemory({ nodeBytes: 16_384 });
      const tree = new Tree(memory);
      const probe = new Probe();
      const put = (index: number, isOdd: boolean): void => {
        node.loadKey(leaf.words, leaf.base, index, probe);
        let key = Buffer.alloc(probe.length);
        probe.copyTo(key);
        const entry = new Entry();
        node.loadEntry(leaf.words, leaf.base, index, entry);
        if (isOdd && end !== null) key = Buffer.concat([key, end]);
        if (isOdd) tree.set(key, key.length, word0, word1, new Uint32Array(15).fill(0xdead_beef), extraWords);
        else tree.set(key, key.length, entry.word0, entry.word1);
      };
      for (let index = 0; index < count(leaf); index++) put(index, false);
      put(count(leaf) >>> 1, true);
      const [root] = nodesOf(memory) as [Node];
      const grown = packed(root).byteLength - before;
      const own = 48 + 4 * extraWords + (end?.length ?? 0);
      t.true(grown <= own + 4096 / 8, `${name}, ${what}: ${grown} bytes longer`);
    }
  }
});

test('bytes that are no node are refused, or are made a node; nothing else is written (PNODE-2)', (t) => {
  const tally = { refused: 0, nodes: 0 };
  for (const family of Object.keys(keyFamilies)) {
    const source = new Random(SEED + 7);
    const nodes = nodesOf(randomTree(source, family, 512, 400)).filter((one) => count(one) > 0);
    for (let round = 0; round < 600; round++) {
      const one = nodes[source.below(nodes.length)] as Node;
      let words = packed(one);
      let level = node.level(one.words, one.base);
      let entries = count(one);
      const kind = source.below(6);
      if (kind === 0) words = words.slice(0, source.below(words.length));
      else if (kind === 1) source.fill(new Uint8Array(words.buffer));
      else if (kind === 2) entries = source.below(65_536);
      else if (kind === 3) level = level === 0 ? 1 + source.below(255) : 0;
      else if (kind === 4) words.fill(0xffff_ffff, source.below(words.length));
      for (let flips = kind === 5 ? 1 + source.below(3) : 0; flips > 0; flips--) {
        const bit = source.below(32 * words.length);
        words[bit >>> 5] = (words[bit >>> 5] as number) ^ (1 << (bit & 31));
      }
      const made = unpacked(words, level, entries, one.capacityWords);
      if (made === null) tally.refused++;
      else {
        tally.nodes++;
        t.notThrows(() => requireNode(made), `AIOKV_TREE_SEED=${SEED}, ${family}, round ${round}`);
      }
    }
  }
  t.log(`${tally.refused} refused, ${tally.nodes} nodes`);
  t.true(tally.refused > 1000 && tally.nodes > 100);
});
