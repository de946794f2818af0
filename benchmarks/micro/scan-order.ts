/**
 * What order on demand does for scans, and what it costs: a store is loaded in random order, and short scans at random places go
 * on and on; then some scans of everything. With `orderForScans` and without, on copies of one store.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/scan-order.ts [records] [entries] [seconds] [memoryMiB] [directory]
 *
 * Default: 400,000 records of 1,000 bytes, scans of 50, four at a time, for 40 seconds, 256 MiB, a temporary directory under the
 * working directory. A request is any read or write of the store, those of order and cleaning, too. Values are not cached, so that
 * each scan shows what lies where. The file counts with what it has free.
 */
import { copyFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { fillStore, keyOf } from './filled-store.ts';

const [records = '400000', inScan = '50', lasting = '40', memoryMiB = '256', parent = '.'] = process.argv.slice(2);
const [recordCount, entries, seconds] = [Number(records), Number(inScan), Number(lasting)];
const memoryBytes = Number(memoryMiB) * MIB;
const AT_ONCE = 4;
const FULL_SCANS = 3;
const SHOWN_SECONDS = new Set([1, 2, 3, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100]);

const requestsOf = (store: Store): number => store.statistics().queue.accepted;

async function scan(store: Store, from: string, most: number): Promise<number> {
  const iterator = store.iterator({ gte: from, limit: most });
  let count = 0;
  for (let rows = await iterator.nextMany(1024); rows.length > 0; rows = await iterator.nextMany(1024))
    count += rows.length;
  return count;
}

function moved(store: Store): string {
  const { order, written, space } = store.statistics();
  return (
    `${order.records} records moved, ${(written.movedBytes / MIB).toFixed(0)} MiB with cleaning; ` +
    `file ${(space.fileBytes / MIB).toFixed(0)} MiB, ${((space.liveBytes + space.deadBytes) / space.liveBytes).toFixed(2)} x`
  );
}

/** Short scans, and what each took, second by second. */
async function scanOnAndOn(store: Store): Promise<void> {
  const random = new Random(1);
  const began = performance.now();
  const end = began + seconds * 1000;
  let [scans, shownScans, shownRequests, shown] = [0, 0, requestsOf(store), 0];
  const work = async (): Promise<void> => {
    while (performance.now() < end) {
      await scan(store, keyOf(random.below(recordCount)), entries);
      scans++;
      const second = Math.floor((performance.now() - began) / 1000);
      if (second === shown) continue;
      const requests = requestsOf(store);
      if (SHOWN_SECONDS.has(second)) {
        const each = ((requests - shownRequests) / (scans - shownScans)).toFixed(1);
        console.log(`  ${second} s: ${scans - shownScans} scans/s, ${each} requests each; ${moved(store)}`);
      }
      [shownScans, shownRequests, shown] = [scans, requests, second];
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function run(directory: string, orderForScans: boolean): Promise<void> {
  const store = await open(directory, { memoryBytes, orderForScans, valueCachePart: 0 });
  console.log(`orderForScans: ${orderForScans}, scans of ${entries}`);
  const cpu = process.cpuUsage();
  await scanOnAndOn(store);
  const used = process.cpuUsage(cpu);
  console.log(`  ${((used.user + used.system) / 10_000 / seconds).toFixed(0)} % of a processor; ${moved(store)}`);
  for (let i = 0; i < FULL_SCANS; i++) {
    const [began, before] = [performance.now(), requestsOf(store)];
    const count = await scan(store, '', Infinity);
    if (count !== recordCount) throw new Error(`${count} records of ${recordCount}`);
    const perSecond = (count / (performance.now() - began)) * 1000;
    console.log(`  all: ${perSecond.toFixed(0)} records/s, ${requestsOf(store) - before} requests; ${moved(store)}`);
  }
  await store.close();
}

const root = await mkdtemp(join(resolve(parent), '.tmp-scan-order-'));
try {
  const [loaded, copy] = [join(root, 'loaded'), join(root, 'copy')];
  await fillStore(loaded, recordCount, memoryBytes);
  console.log(`${recordCount} records, ${((await stat(join(loaded, 'data.aiokv'))).size / MIB).toFixed(0)} MiB`);
  for (const orderForScans of [true, false]) {
    await mkdir(copy, { recursive: true });
    await copyFile(join(loaded, 'data.aiokv'), join(copy, 'data.aiokv'));
    await run(copy, orderForScans);
    await rm(copy, { recursive: true });
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
