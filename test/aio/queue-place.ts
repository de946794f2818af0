/** Where the tests of queues run: a file of 64 blocks, block n full of n + 1, on the simulated disk and on the real one. */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Queue, SimulatedDisk, linuxPlatform } from '@aiokv/aio';
import type { DirectFile, Platform, QueueOptions } from '@aiokv/aio';
import { filled } from './engine-driver.ts';

export const BLOCK = 4096;
export const BLOCKS = 64;

interface Place {
  readonly platform: Platform;
  readonly file: DirectFile;
  /** A queue that is closed after the test. */
  readonly open: (options?: Partial<QueueOptions>) => Queue;
}

type UsePlace = (place: Place) => Promise<void>;

async function withPlace(platform: Platform, directory: string, use: UsePlace): Promise<void> {
  const file = await platform.open(`${directory}/data`, { create: true });
  await file.preallocate(0, BLOCKS * BLOCK);
  const queues: Queue[] = [];
  const open = (options?: Partial<QueueOptions>): Queue => {
    const queue = new Queue(platform, options);
    queues.push(queue);
    return queue;
  };
  const queue = open();
  const blocks = Array.from({ length: BLOCKS }, (_, n) => n);
  await Promise.all(blocks.map((n) => queue.write(file, filled(BLOCK, n + 1), { offset: n * BLOCK })));
  await queue.fdatasync(file);
  try {
    await use({ platform, file, open });
  } finally {
    await Promise.all(queues.map((one) => one.close()));
    await file.close();
  }
}

export async function onLinux(use: UsePlace): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-queue-'));
  try {
    await withPlace(linuxPlatform(), directory, use);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export function onSimulated(use: UsePlace): Promise<void> {
  return withPlace(new SimulatedDisk({ seed: 2 }), '/', use);
}

export const places = { simulated: onSimulated, linux: onLinux };
