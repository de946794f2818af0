/**
 * The bare queue against fio on the same file: random 4 KiB reads, interleaved, medians, with every
 * foreign-function interface that is installed. Needs fio on the PATH; the exact command is printed.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/queue-vs-fio.ts [rounds] [seconds] [directory]
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { closedLoop } from '../demo/measure.ts';

const [rounds = '5', seconds = '2', parent = '.'] = process.argv.slice(2);
const BLOCK = 4096;
const SIZE = 1024 ** 3;
const DEPTHS = [1, 8, 32, 128];

function fioCommand(path: string, depth: number): string[] {
  const batches = ['--iodepth_batch_submit=16', '--iodepth_batch_complete_min=1', '--iodepth_batch_complete_max=64'];
  const file = `--name=r --filename=${path} --size=${SIZE} --rw=randread --bs=4k --direct=1`;
  const load = `--ioengine=libaio --iodepth=${depth} --norandommap --time_based --runtime=${seconds}`;
  return [...file.split(' '), ...load.split(' '), ...(depth === 1 ? [] : batches)];
}

function fio(path: string, depth: number): number {
  const { stdout } = spawnSync('fio', [...fioCommand(path, depth), '--output-format=json'], { encoding: 'utf8' });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: [{ read: { iops: number } }] };
  return report.jobs[0].read.iops;
}

async function queue(platform: Platform, path: string, depth: number): Promise<number> {
  const file = await platform.open(path, { readOnly: true });
  const reader = new Queue(platform, { depth });
  const buffers = Array.from({ length: depth }, () => allocateAligned(BLOCK));
  const { readsPerSecond } = await closedLoop(depth, Number(seconds), async (random, index) => {
    const offset = random.below(SIZE / BLOCK) * BLOCK;
    await reader.read(file, buffers[index] as (typeof buffers)[0], { offset });
  });
  await reader.close();
  await file.close();
  return readsPerSecond;
}

/** A file every block of which has been written: the kernel answers reads of others without the device. */
async function makeFile(platform: Platform, path: string): Promise<void> {
  const file = await platform.open(path, { create: true });
  await file.preallocate(0, SIZE);
  const writer = new Queue(platform, { depth: 8 });
  const chunk = allocateAligned(1024 * 1024);
  for (let i = 0; i < chunk.byteLength; i++) chunk.bytes[i] = i * 31;
  await Promise.all(
    Array.from({ length: SIZE / chunk.byteLength }, (_, i) =>
      writer.write(file, chunk, { offset: i * chunk.byteLength }),
    ),
  );
  await writer.fdatasync(file);
  await writer.close();
  await file.close();
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
const directory = await mkdtemp(join(resolve(parent), '.tmp-fio-'));
try {
  const path = join(directory, 'data');
  const platforms = (['ffi-napi', 'koffi'] as const).flatMap((ffi) => {
    try {
      return [[ffi, linuxPlatform({ ffi })] as const];
    } catch {
      return [];
    }
  });
  await makeFile((platforms[0] as (typeof platforms)[0])[1], path);
  console.log(`fio ${fioCommand('FILE', 32).join(' ')}`);
  for (const depth of DEPTHS) {
    const results: Record<string, number[]> = { fio: [], 'ffi-napi': [], koffi: [] };
    for (let round = 0; round < Number(rounds); round++) {
      results['fio']?.push(fio(path, depth));
      for (const [name, platform] of platforms) results[name]?.push(await queue(platform, path, depth));
    }
    const base = median(results['fio'] as number[]);
    const ours = platforms.map(([name]) => {
      const iops = median(results[name] as number[]);
      return `${name} ${Math.round(iops)} (${(iops / base).toFixed(2)})`;
    });
    console.log(`depth ${depth}: fio ${Math.round(base)}, ${ours.join(', ')}`);
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
