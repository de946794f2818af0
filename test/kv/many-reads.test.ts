/**
 * Reads that are called without waiting for those before: what waits is kept in little memory and let go of at once,
 * and whoever called them does not stall the loop for long.
 */
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import type { Sequence } from '@aiokv/core';
import { GetResult } from '../../packages/kv/src/read/results.ts';
import { WaitingReads } from '../../packages/kv/src/read/waiting-reads.ts';

const KEYS = 500;

function keyOf(number: number): string {
  return `user${String(number % KEYS).padStart(20, '0')}`;
}

async function filled(queueDepth: number): Promise<Store> {
  const store = await open('/store', {
    platform: new SimulatedDisk({ seed: 3 }),
    queueDepth,
    segmentBytes: 256 * 1024,
  });
  await store.batch(
    Array.from({ length: KEYS }, (_, i) => ({ type: 'put' as const, key: keyOf(i), value: `value ${i}` })),
  );
  await store.flush();
  return store;
}

/** Bytes that are in use after all garbage is gone. */
function usedBytes(): number {
  (globalThis.gc as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test.serial('reads that wait are handed over in their order, with keys of any length', (t) => {
  const waiting = new WaitingReads();
  const result = new GetResult(0 as Sequence, () => undefined);
  const keys = Array.from({ length: 2000 }, (_, i) => {
    const bytes = [0, 1, 24, 255, 4096][i % 5] as number;
    return new Uint8Array(bytes).fill(i);
  });
  let pushed = 0;
  let taken = 0;
  const taker = {
    takeWaiting: (
      fileOffset: number,
      lengthBytes: number,
      all: Uint8Array,
      keyAt: number,
      keyBytes: number,
      _result: unknown,
      token: number,
      epoch: number,
    ) => {
      const key = keys[taken] as Uint8Array;
      const isRight =
        fileOffset === taken * 2 ** 33 &&
        lengthBytes === taken + 1 &&
        token === -taken &&
        epoch === taken * 1_000_000 &&
        keyBytes === key.length &&
        Buffer.compare(all.subarray(keyAt, keyAt + keyBytes), key) === 0;
      if (!isRight) t.fail(`read ${taken} is another`);
      taken++;
    },
  };
  const push = () => {
    const key = keys[pushed] as Uint8Array;
    const padded = new Uint8Array(5000);
    padded.set(key);
    waiting.push(pushed * 2 ** 33, pushed + 1, padded, key.length, result, -pushed, pushed * 1_000_000);
    pushed++;
  };
  // Grows, shrinks to little, grows again, and runs empty in the end.
  for (const [pushes, takes] of [
    [700, 650],
    [300, 349],
    [1000, 1001],
  ] as const) {
    for (let i = 0; i < pushes; i++) push();
    for (let i = 0; i < takes; i++) waiting.handOver(taker);
    t.is(waiting.length, pushed - taken);
  }
  t.is(taken, 2000);
});

test.serial('callers that never stop leave no memory behind, although somebody always waits', async (t) => {
  const store = await filled(8);
  let calls = 0;
  let mostCalls = 20_000;
  const caller = async (): Promise<void> => {
    while (calls < mostCalls) await store.get(keyOf(calls++));
  };
  const pass = async (until: number): Promise<number> => {
    while (calls < until) await turn();
    return usedBytes();
  };
  mostCalls = Infinity;
  const callers = Array.from({ length: 300 }, caller);
  const before = await pass(10_000);
  const after = await pass(110_000);
  mostCalls = 0;
  await Promise.all(callers);
  t.true(after - before < 4_000_000, `${after - before} bytes more after 100,000 reads, while callers wait`);
  await store.close();
});

test.serial('a get that waits costs few bytes, and its key no scratch of its own', async (t) => {
  const store = await filled(8);
  const count = 50_000;
  const promises: Promise<unknown>[] = [];
  const before = usedBytes();
  for (let i = 0; i < count; i++) promises.push(store.get(keyOf(i)));
  const each = (usedBytes() - before) / count;
  t.true(each < 400, `${each.toFixed(0)} bytes for each get that waits, its promise counted`);
  const values = await Promise.all(promises);
  t.is(values.filter((value, i) => (value as Buffer).toString() === `value ${i % KEYS}`).length, count);
  await store.close();
});

test.serial('a get whose leaf is not in memory costs few bytes while it waits', async (t) => {
  const platform = new SimulatedDisk({ seed: 12 });
  const store = await open('/store', { platform, segmentBytes: 256 * 1024, memoryBytes: 64 * 1024 });
  const keys = 10_000;
  const longKeyOf = (n: number): string => `user${String(n).padStart(20, '0')}`;
  for (let n = 0; n < keys; n++) await store.put(longKeyOf(n), 'x'.repeat(40), { durability: 'buffered' });
  await store.checkpoint();
  const count = 50_000;
  const before = usedBytes();
  const gets = Array.from({ length: count }, (_, i) => store.get(longKeyOf((i * 7919) % keys)));
  const each = (usedBytes() - before) / count;
  t.log(`${each.toFixed(0)} bytes, ${store.statistics().pageReads} pages read`);
  t.true(each < 480, `${each.toFixed(0)} bytes for each get`);
  await Promise.all(gets);
  await store.close();
});

for (const [what, key] of [
  ['the device', keyOf],
  ['the index alone, for nothing is there', (i: number) => `none ${i}`],
] as const) {
  test.serial(`a hundred thousand gets in one turn are answered from ${what} some at a time`, async (t) => {
    const store = await filled(64);
    const count = 100_000;
    let settled = 0;
    const gets = Array.from({ length: count }, (_, i) => store.get(key(i)).then(() => settled++));
    const atCall = settled;
    let most = 0;
    // What was within the budget of the calls' own turn is settled in it.
    await new Promise((resolve) => process.nextTick(resolve));
    for (let before = settled; settled < count; before = settled) {
      await turn();
      most = Math.max(most, settled - before);
    }
    await Promise.all(gets);
    t.is(atCall, 0);
    t.true(most <= 1024, `${most} were settled in one turn`);
    await store.close();
  });
}
