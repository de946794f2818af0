/**
 * Gets of random keys, 128 at a time, with too little memory for the leaves of the index: reads of the device a get, second by
 * second, while addresses are learned.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/cold-get.ts [records] [memoryMiB] [seconds] [directory]
 *
 * Default: 2,000,000 records of 1,000 bytes and 39 MiB, 20 seconds, a temporary directory under the working directory. That leaves 12
 * bytes of memory for the index of each key. A budget of 256 MiB leaves 14 for each of 16 million keys.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { fillStore, keyOf } from './filled-store.ts';

const [records = '2000000', memoryMiB = '39', seconds = '20', parent = '.'] = process.argv.slice(2);
const [recordCount, measuredSeconds] = [Number(records), Number(seconds)];
const AT_ONCE = 128;
const SHOWN_MS = 2000;

async function read(store: Store): Promise<void> {
  const random = new Random(1);
  const began = performance.now();
  let [gets, shown, pages, cpu, shownMs] = [0, 0, 0, process.cpuUsage(), began];
  const show = (): void => {
    const { pageReads, addresses, memory } = store.statistics();
    const [now, used] = [performance.now(), process.cpuUsage(cpu)];
    const some = gets - shown;
    const line = [
      `${((now - began) / 1000).toFixed(0)} s: ${((some / (now - shownMs)) * 1000).toFixed(0)} gets/s`,
      `${(1 + (pageReads - pages) / some).toFixed(3)} reads a get`,
      `${((used.user + used.system) / some).toFixed(1)} us of processor time`,
      `${addresses.hits} hits, ${addresses.misses} misses, ${addresses.wrong} wrong`,
      `${(memory.addressBytes / MIB).toFixed(1)} MiB of addresses, ${(memory.pageBytes / MIB).toFixed(1)} of pages`,
    ];
    console.log(line.join('; '));
    [shown, pages, cpu, shownMs] = [gets, pageReads, process.cpuUsage(), now];
  };
  const client = async (): Promise<void> => {
    while (performance.now() < began + measuredSeconds * 1000) {
      const value = await store.get(keyOf(random.below(recordCount)));
      if (value?.length !== 1000) throw new Error('a record is missing');
      gets++;
    }
  };
  const timer = setInterval(show, SHOWN_MS);
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  clearInterval(timer);
}

const root = await mkdtemp(join(resolve(parent), '.tmp-cold-get-'));
try {
  await fillStore(join(root, 'store'), recordCount, 256 * MIB);
  const store = await open(join(root, 'store'), { memoryBytes: Number(memoryMiB) * MIB });
  await read(store);
  await store.close();
} finally {
  await rm(root, { recursive: true, force: true });
}
