/** What many snapshots of a tree cost: a store has some for each open iterator. */
import test from 'ava';
import { NodeMemory, Tree } from '../../packages/kv/src/tree/index.ts';

/** The time of `count` releases, oldest first, of snapshots between which the tree has changed now and then. */
function releaseMs(count: number): number {
  const tree = new Tree(new NodeMemory());
  const key = Buffer.alloc(4);
  const set = (n: number): void => {
    key.writeUInt32BE(Math.imul(n % 1000, 0x9e3779b1) >>> 0);
    tree.set(key, key.length, n, 0);
  };
  for (let n = 0; n < 1000; n++) set(n);
  const snapshots = Array.from({ length: count }, (_, n) => {
    if (n % 10 === 0) set(n);
    return tree.snapshot();
  });
  const startMs = performance.now();
  for (const snapshot of snapshots) snapshot.release();
  return performance.now() - startMs;
}

test('a snapshot is released in the same time, however many are newer', (t) => {
  releaseMs(2000);
  const few = Math.min(...[1, 2, 3].map(() => releaseMs(2000)));
  const many = Math.min(...[1, 2, 3].map(() => releaseMs(32_000)));
  t.log(`2,000: ${few.toFixed(1)} ms, 32,000: ${many.toFixed(1)} ms`);
  // 16 times as many, and what caches no longer hold; it was 13 s.
  t.true(many < 16 * 40 * Math.max(few, 0.5));
});
