/** Images of the simulated disk share their pages with it: one costs far less than a copy. */
import test from 'ava';
import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import { Random } from '@aiokv/core';

const BLOCK = 4096;
const BLOCKS = 2048;
const IMAGES = 500;

test('an image costs a small part of a copy of the disk', async (t) => {
  const disk = new SimulatedDisk({ seed: 16 });
  const file = await disk.open('/data', { create: true });
  await file.preallocate(0, BLOCKS * BLOCK);
  const queue = new Queue(disk, { depth: 64 });
  const random = new Random(16);
  const buffer = allocateAligned(BLOCK);
  random.fill(buffer.bytes);
  for (let block = 0; block < BLOCKS; block++) await queue.write(file, buffer, { offset: block * BLOCK });
  await queue.fdatasync(file);
  await Promise.all(Array.from({ length: 32 }, (_, i) => queue.write(file, buffer, { offset: 8 * i * BLOCK })));
  const msOf = (work: () => unknown): number => {
    const startMs = performance.now();
    for (let i = 0; i < IMAGES; i++) work();
    return performance.now() - startMs;
  };
  const whole = new Uint8Array(BLOCKS * BLOCK);
  const [imagesMs, copiesMs] = [msOf(() => disk.powerCut('torn', random)), msOf(() => whole.slice())];
  t.log(`${imagesMs} ms beside ${copiesMs} ms`);
  t.true(imagesMs < copiesMs, `${imagesMs} ms for ${IMAGES} images, ${copiesMs} ms for as many copies`);
  await queue.close();
});
