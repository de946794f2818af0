/**
 * Takes the lock of a file so many times, and kills itself the last time. While it has the lock it makes a file that must not be
 * there yet: somebody else who has it as well has made it.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { localPlatform } from '@aiokv/aio';

const [path, times] = process.argv.slice(2) as [string, string];
const platform = localPlatform();
const inside = join(dirname(path), 'inside');
const nap = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

for (let left = Number(times); left > 0;) {
  const file = await platform.open(path);
  if ((await file.lock()) === undefined) {
    writeFileSync(inside, String(process.pid), { flag: 'wx' });
    await nap(5);
    rmSync(inside);
    process.stdout.write('taken\n');
    left--;
    if (left === 0) process.kill(process.pid, 'SIGKILL');
  }
  await file.close();
  await nap(left % 3);
}
