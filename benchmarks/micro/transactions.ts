/**
 * What a small transaction costs: two accounts are read and written, buffered, with all values in memory. Beside it the same two gets
 * and a batch without a transaction, in turns; and a batch with a transaction open elsewhere, for which its keys are noted.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/transactions.ts [rounds] [accounts]
 *
 * Default: 5 rounds of 50,000 of each, 100,000 accounts with values of 100 bytes. Medians.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';

const [rounds = 5, accounts = 100_000] = process.argv.slice(2).map(Number);
const COUNT = 50_000;
const AT_ONCE = 64;
const value = Buffer.alloc(100, 'v');
const random = new Random(7);

function account(): string {
  return `account${String(random.below(accounts)).padStart(12, '0')}`;
}

async function transfer(store: Store): Promise<void> {
  const [from, to] = [account(), account()];
  await store.transaction(async (tx) => {
    await tx.get(from);
    await tx.get(to);
    tx.put(from, value);
    tx.put(to, value);
  });
}

async function plain(store: Store): Promise<void> {
  const [from, to] = [account(), account()];
  await store.get(from);
  await store.get(to);
  await store.batch([
    { type: 'put', key: from, value },
    { type: 'put', key: to, value },
  ]);
}

async function besideOpen(store: Store): Promise<void> {
  const tx = store.begin();
  for (let n = 0; n < COUNT; n++) await plain(store);
  tx.rollback();
}

async function atOnce(store: Store, one: (store: Store) => Promise<void>): Promise<void> {
  let left = COUNT;
  const caller = async (): Promise<void> => {
    while (left-- > 0) await one(store);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
}

async function oneByOne(store: Store, one: (store: Store) => Promise<void>): Promise<void> {
  for (let n = 0; n < COUNT; n++) await one(store);
}

const kinds: Record<string, (store: Store) => Promise<void>> = {
  'two gets and a batch': (store) => oneByOne(store, plain),
  transaction: (store) => oneByOne(store, transfer),
  'two gets and a batch, 64 at once': (store) => atOnce(store, plain),
  'transaction, 64 at once': (store) => atOnce(store, transfer),
  'two gets and a batch, a transaction open elsewhere': besideOpen,
};

const directory = await mkdtemp(resolve('.tmp-transactions-'));
try {
  const store = await open(directory, { durability: 'buffered' });
  for (let n = 0; n < accounts; n++) {
    await store.put(`account${String(n).padStart(12, '0')}`, value);
    if (n % 10_000 === 0) await store.flush();
  }
  for (let n = 0; n < accounts; n++) await store.get(`account${String(n).padStart(12, '0')}`);
  const found = new Map<string, { perSecond: number; cpuUs: number }[]>();
  for (let round = 0; round <= rounds; round++) {
    for (const [name, run] of Object.entries(kinds)) {
      const [beganMs, began] = [performance.now(), process.cpuUsage()];
      await run(store);
      const { user, system } = process.cpuUsage(began);
      const perSecond = (COUNT / (performance.now() - beganMs)) * 1000;
      // The first round makes everything warm.
      if (round > 0) found.set(name, [...(found.get(name) ?? []), { perSecond, cpuUs: (user + system) / COUNT }]);
    }
  }
  for (const [name, all] of found) {
    const median = (of: (one: { perSecond: number; cpuUs: number }) => number): number =>
      all.map(of).sort((a, b) => a - b)[Math.floor(all.length / 2)] as number;
    const [perSecond, cpuUs] = [median((one) => one.perSecond), median((one) => one.cpuUs)];
    console.log(`${name.padEnd(52)} ${perSecond.toFixed(0).padStart(8)}/s ${cpuUs.toFixed(1).padStart(6)} us of CPU`);
  }
  const { conflicts } = store.statistics().transactions;
  console.log(`${conflicts} conflicts; cache ${JSON.stringify(store.statistics().cache)}`);
  await store.close();
} finally {
  await rm(directory, { recursive: true });
}
