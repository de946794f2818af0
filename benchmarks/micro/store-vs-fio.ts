/**
 * How much more a store reads with 128 in flight than with one, against how much more fio does on the same
 * file: interleaved, medians. Needs fio on the PATH.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/store-vs-fio.ts [rounds] [seconds] [directory]
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { open } from '@aiokv/kv';
import { measureStore } from '../demo/measure.ts';
import { VALUE_BYTES, loadRecords } from '../demo/records.ts';

const [rounds = '5', seconds = '2', parent = '.'] = process.argv.slice(2);
const RECORDS = 200_000;

function fio(path: string, depth: number): number {
  const batches = '--iodepth_batch_submit=16 --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=64';
  // Only what has been written: the kernel answers reads of the rest without the device.
  const file = `--name=r --filename=${path} --size=${RECORDS * VALUE_BYTES} --rw=randread --bs=4k --direct=1 --readonly`;
  const load = `--ioengine=libaio --iodepth=${depth} --norandommap --time_based --runtime=${seconds} --output-format=json`;
  const command = `${file} ${load}${depth === 1 ? '' : ` ${batches}`}`;
  const { stdout } = spawnSync('fio', command.split(' '), { encoding: 'utf8' });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: [{ read: { iops: number } }] };
  return report.jobs[0].read.iops;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
const directory = await mkdtemp(join(resolve(parent), '.tmp-fio-'));
try {
  const path = join(directory, 'data.aiokv');
  const loader = await open(directory);
  await loadRecords(loader, RECORDS, () => undefined);
  await loader.close();
  const results = { fio1: [] as number[], store1: [] as number[], fio128: [] as number[], store128: [] as number[] };
  const read = async (depth: number): Promise<number> => {
    const store = await open(directory, { valueCachePart: 0 });
    const { readsPerSecond } = await measureStore(store, depth, Number(seconds), RECORDS);
    await store.close();
    return readsPerSecond;
  };
  for (let round = 0; round < Number(rounds); round++) {
    results.fio1.push(fio(path, 1));
    results.store1.push(await read(1));
    results.fio128.push(fio(path, 128));
    results.store128.push(await read(128));
  }
  const [fio1, store1, fio128, store128] = Object.values(results).map(median) as [number, number, number, number];
  const round = Math.round;
  console.log(`fio   ${round(fio1)} -> ${round(fio128)}: x ${(fio128 / fio1).toFixed(2)}`);
  console.log(`store ${round(store1)} -> ${round(store128)}: x ${(store128 / store1).toFixed(2)}`);
  console.log(`store / fio: ${(store128 / store1 / (fio128 / fio1)).toFixed(2)}`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
