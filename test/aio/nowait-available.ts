/** Whether the file system of the working directory knows NOWAIT: whether a transfer may refuse rather than block. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';

export async function knowsNowait(): Promise<boolean> {
  const directory = await mkdtemp(resolve('.tmp-nowait-'));
  const platform = linuxPlatform();
  const queue = new Queue(platform, { engine: 'libaio' });
  try {
    const file = await platform.open(join(directory, 'data'), { create: true });
    const buffer = allocateAligned(4096);
    await queue.write(file, buffer, { offset: 0 });
    const isKnown = await queue.write(file, buffer, { offset: 0, nowait: true }).then(
      () => true,
      (error: NodeJS.ErrnoException) => error.code !== 'EOPNOTSUPP',
    );
    await file.close();
    return isKnown;
  } finally {
    await queue.close();
    await rm(directory, { recursive: true, force: true });
  }
}
