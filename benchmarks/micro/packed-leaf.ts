/**
 * What it takes to pack leaves as they are written, and to unpack them as they are read.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/packed-leaf.ts [keys]
 *
 * Keys of 24 bytes with places of records, inserted in random order, leaves of 4 KiB.
 */
import { NodeMemory, Tree, node } from '../../packages/kv/src/tree/index.ts';
import { pack, unpack } from '../../packages/kv/src/tree/packed-node.ts';

const keys = Number(process.argv[2] ?? '60000');
const NODE_WORDS = 1024;
const IMAGE_WORDS = 2 * NODE_WORDS;
/** Leaves are unpacked to so many places in turns. */
const TARGETS = 64;
const REPEATS = 8;
const ROUNDS = 5;
const RECORD_BYTES = 148;
/** Coprime with any count of keys that is no multiple of it. */
const STRIDE = 1_000_003;

interface Packed {
  readonly words: Uint32Array;
  readonly base: number;
  readonly image: Uint32Array<ArrayBuffer>;
  readonly entries: number;
}

function leavesOf(memory: NodeMemory): Packed[] {
  const leaves: Packed[] = [];
  for (let id = 1; id < memory.idLimit; id++) {
    if (memory.units(id) === 0) continue;
    const [words, base] = [memory.words(id), memory.base(id)];
    if (node.level(words, base) !== 0) continue;
    const into = new Uint32Array(IMAGE_WORDS);
    const image = into.slice(0, pack(words, base, into) / 4);
    leaves.push({ words, base, image, entries: node.count(words, base) });
  }
  return leaves;
}

function nanosecondsOf(work: () => void): number {
  const before = process.cpuUsage();
  for (let repeat = 0; repeat < REPEATS; repeat++) work();
  return (process.cpuUsage(before).user * 1000) / REPEATS / keys;
}

const memory = new NodeMemory({ nodeBytes: 4 * NODE_WORDS });
const tree = new Tree(memory);
const key = Buffer.alloc(24);
for (let n = 0; n < keys; n++) {
  key.write(`user${String((n * STRIDE) % keys).padStart(20, '0')}`);
  tree.set(key, key.length, Math.imul(n, 2_654_435_761) >>> 7, RECORD_BYTES);
}
const leaves = leavesOf(memory);
const imageBytes = leaves.reduce((sum, { image }) => sum + image.byteLength, 0);
console.log(
  `${leaves.length} leaves of ${(keys / leaves.length).toFixed(0)} keys, packed ${(imageBytes / keys).toFixed(1)} bytes a key`,
);
const into = new Uint32Array(IMAGE_WORDS);
const target = new Uint32Array(TARGETS * NODE_WORDS);
for (let round = 0; round < ROUNDS; round++) {
  const packing = nanosecondsOf(() => {
    for (const { words, base, image } of leaves) {
      into.fill(0, 0, image.length + 1);
      pack(words, base, into);
    }
  });
  const unpacking = nanosecondsOf(() => {
    for (const [n, { image, entries }] of leaves.entries()) {
      const isOne = unpack(image, 0, entries, target, (n % TARGETS) * NODE_WORDS, NODE_WORDS);
      if (!isOne) throw new Error('a leaf that was packed is none');
    }
  });
  const perLeaf = keys / leaves.length / 1000;
  console.log(
    `pack ${packing.toFixed(0)} ns a key, ${(packing * perLeaf).toFixed(1)} us a leaf; ` +
      `unpack ${unpacking.toFixed(0)} ns a key, ${(unpacking * perLeaf).toFixed(1)} us a leaf`,
  );
}
