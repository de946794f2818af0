/** A process that loses iterators and snapshots, and says what is left of them after collections. Needs `--expose-gc`. */
import { setTimeout } from 'node:timers/promises';
import { KIB, ManualClock, nextTurn } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Snapshot, Store, StoreIterator } from '@aiokv/kv';

const collect = (globalThis as { gc?: () => void }).gc as () => void;
const MOST_ROUNDS = 200;

const clock = new ManualClock();
const store = await open('/store', { platform: new SimulatedDisk({ seed: 1 }), segmentBytes: 64 * KIB, clock });
const filled: Promise<void>[] = [];
for (const key of ['a', 'b', 'c']) filled.push(store.put(key, key.repeat(1000), { durability: 'written' }));
await Promise.all(filled);

interface Kept {
  readonly iterator: StoreIterator;
  readonly snapshot: Snapshot;
}

/** In a function of its own, so that no frame refers to what is lost. */
async function lose(from: Store): Promise<Kept> {
  const { signal } = new AbortController();
  for (let n = 0; n < 29; n++) {
    from.snapshot();
    const iterator = from.iterator({ signal });
    if (n % 2 === 0) await iterator.next();
    if (n % 3 === 0) from.keys();
    else from.snapshot().release();
  }
  for (let n = 0; n < 20; n++) from.values({ stayOpen: true });
  return { iterator: from.iterator(), snapshot: from.snapshot() };
}

function openOnes(): { iterators: number; snapshots: number } {
  const { iterators, snapshots } = store.statistics();
  return { iterators, snapshots: snapshots.open };
}

const kept = await lose(store);
const begun = openOnes();
// Calls that are pending when their iterator is lost are answered.
let answered = 0;
for (let n = 0; n < 20; n++) {
  void store
    .snapshot()
    .iterator()
    .next()
    .then(() => answered++);
  void store
    .iterator()
    .nextMany(2)
    .then(() => answered++);
}
clock.advance(1000);
for (let round = 0; round < MOST_ROUNDS && openOnes().iterators + openOnes().snapshots > 2; round++) {
  collect();
  await nextTurn();
  await setTimeout(1);
}
const left = openOnes();
const seen: string[] = [];
for (let n = 0; n < 2; n++) seen.push(String((await kept.iterator.next()).value?.[0]));
kept.snapshot.getSync('a');
process.stdout.write(JSON.stringify({ begun, left, answered, kept: seen }));
await store.close();
