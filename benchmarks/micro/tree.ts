/**
 * What the index costs, alone: nanoseconds per operation and bytes of node memory per key.
 *
 *   node --expose-gc --import=tsx --conditions=@aiokv/source benchmarks/micro/tree.ts [keys] [nodeBytes]
 *
 * The defaults are 1,000,000 keys and 4096 bytes. Keys are YCSB's, "user" and up to 20 digits. Every figure is the median of the rounds named beside
 * it, each on the state that the line says; on a machine that does other things read ratios, not digits.
 */
import { parseArgs } from 'node:util';
import { Random } from '@aiokv/core';
import { Entry, FOUND, NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';

const { positionals } = parseArgs({ allowPositionals: true });
const keyCount = Number(positionals[0] ?? 1_000_000);
const nodeBytes = Number(positionals[1] ?? 4096);
const HOT_KEYS = 1000;
const STRIDE = 24;

/** Keys side by side, so that making them costs nothing while the clock runs. */
class Keys {
  readonly bytes: Buffer;
  readonly lengths: Uint8Array;

  constructor(count: number, nameOf: (index: number) => string) {
    this.bytes = Buffer.alloc(count * STRIDE);
    this.lengths = new Uint8Array(count);
    for (let index = 0; index < count; index++) {
      this.lengths[index] = this.bytes.write(nameOf(index), index * STRIDE, STRIDE, 'latin1');
    }
  }

  /** Copies a key to the scratch and returns its length. */
  load(index: number, scratch: Uint8Array): number {
    const length = this.lengths[index] as number;
    const from = index * STRIDE;
    for (let at = 0; at < length; at++) scratch[at] = this.bytes[from + at] as number;
    return length;
  }
}

const random = new Random(42);
const digits = (): string => `${random.below(9e9) + 1e9}${random.below(9e8) + 1e8}`;
/** The same keys in random and in ascending order. No string is kept: a large heap would be measured too. */
function makeKeys(): readonly [Keys, Keys] {
  const names = Array.from({ length: keyCount }, () => `user${digits()}`);
  const shuffled = new Keys(keyCount, (index) => names[index] as string);
  names.sort();
  return [shuffled, new Keys(keyCount, (index) => names[index] as string)];
}
const [keys, sorted] = makeKeys();
const absent = new Keys(Math.min(keyCount, 200_000), () => `user${digits()}`);
const order = Uint32Array.from(random.shuffle(Array.from({ length: keyCount }, (_, index) => index)));
globalThis.gc?.();
const scratch = new Uint8Array(4096);
const entry = new Entry();

interface Line {
  readonly what: string;
  readonly ns: number[];
  note: string;
}
const lines: Line[] = [];

function record(what: string, ns: number, note = ''): void {
  const line = lines.find((other) => other.what === what);
  if (line === undefined) {
    lines.push({ what, ns: [ns], note });
  } else {
    line.ns.push(ns);
    line.note = note;
  }
}

/** Runs the operation `count` times and records nanoseconds per one; `note` is asked afterwards. */
function measure(what: string, count: number, operation: (index: number) => void, note: () => string = () => ''): void {
  const started = process.hrtime.bigint();
  for (let index = 0; index < count; index++) operation(index);
  record(what, Number(process.hrtime.bigint() - started) / count, note());
}

const bytesPerKey = (memory: NodeMemory, tree: Tree): string =>
  `${(memory.bytesUsed / tree.size).toFixed(1)} B per key`;

function measureSorted(): void {
  const memory = new NodeMemory({ nodeBytes });
  const tree = new Tree(memory);
  const insert = (index: number): void => {
    tree.set(scratch, sorted.load(index, scratch), index, index);
  };
  measure('insert, ascending', keyCount, insert, () => bytesPerKey(memory, tree));
  measureDrop(memory, tree);
}

function measureDrop(memory: NodeMemory, tree: Tree): void {
  const used = memory.nodesUsed;
  let longestMs = 0;
  let totalMs = 0;
  tree.clear();
  for (let done = false; !done;) {
    const started = performance.now();
    done = memory.reclaimSome(1000);
    const ms = performance.now() - started;
    totalMs += ms;
    longestMs = Math.max(longestMs, ms);
  }
  record(
    'drop, per node',
    (totalMs * 1e6) / used,
    `${used} nodes in slices of 1000, the longest ${longestMs.toFixed(2)} ms`,
  );
}

function measureScan(memory: NodeMemory, tree: Tree): void {
  const snapshot = tree.snapshot();
  const cursor = snapshot.cursor();
  let more = cursor.first();
  measure('scan step, forward', keyCount - 1, () => {
    more = cursor.next();
  });
  if (!more) throw new Error('the scan ended early');
  more = cursor.last();
  measure('scan step, backward', keyCount - 1, () => {
    more = cursor.previous();
  });
  measure('seek, random', Math.min(keyCount, 200_000), (index) => {
    cursor.seek(scratch, keys.load(order[index] as number, scratch), '>=');
  });
  const few = Math.min(keyCount, 50_000);
  const before = memory.nodesUsed;
  const update = (index: number): void => {
    tree.set(scratch, keys.load(order[index] as number, scratch), index, 1);
  };
  measure('update under a snapshot', few, update, () => `${memory.nodesUsed - before} nodes copied by ${few} updates`);
  snapshot.release();
  while (!memory.reclaimSome(1000));
}

function measureRandom(): void {
  const memory = new NodeMemory({ nodeBytes });
  const tree = new Tree(memory);
  const insert = (index: number): void => {
    tree.set(scratch, keys.load(index, scratch), index, index);
  };
  measure('insert, random', keyCount, insert, () => bytesPerKey(memory, tree));
  let hits = 0;
  measure('get, hit', keyCount, (index) => {
    hits += +(tree.get(scratch, keys.load(order[index] as number, scratch), entry) === FOUND);
  });
  measure(`get, hit, ${HOT_KEYS} hot keys`, keyCount, (index) => {
    hits += +(tree.get(scratch, keys.load(index % HOT_KEYS, scratch), entry) === FOUND);
  });
  if (hits !== 2 * keyCount) throw new Error('a key was not found');
  measure('get, miss', absent.lengths.length, (index) => {
    hits += +(tree.get(scratch, absent.load(index, scratch), entry) === FOUND);
  });
  measure('update', keyCount, (index) => {
    tree.set(scratch, keys.load(order[index] as number, scratch), index, 1);
  });
  measureScan(memory, tree);
  measure('delete', keyCount, (index) => {
    tree.delete(scratch, keys.load(order[index] as number, scratch));
  });
  if (memory.nodesUsed !== 0) throw new Error('nodes are left');
}

measure('(copying a key to the scratch, in all lines below)', keyCount, (index) => {
  keys.load(order[index] as number, scratch);
});
for (let round = 0; round < 3; round++) {
  measureSorted();
  measureRandom();
  globalThis.gc?.();
}

console.log(`${keyCount} keys, nodes of ${nodeBytes} bytes, Node ${process.version}; median and least of 3 rounds\n`);
console.log(`${'ns per operation'.padEnd(52)}${'median'.padStart(8)}${'least'.padStart(8)}`);
for (const { what, ns, note: text } of lines) {
  const ascending = [...ns].sort((a, b) => a - b);
  const median = ascending[ascending.length >>> 1] as number;
  const least = ascending[0] as number;
  console.log(`${what.padEnd(52)}${median.toFixed(0).padStart(8)}${least.toFixed(0).padStart(8)}   ${text}`);
}
