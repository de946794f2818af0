/** The faults that can be planted in a simulated disk: what each does, and when it strikes. */
import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import test from 'ava';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { filled, isFilled } from './engine-driver.ts';

const BLOCK = 4096;
const PATH = '/data';

interface Machine {
  readonly disk: SimulatedDisk;
  readonly file: DirectFile;
  readonly queue: Queue;
  readonly random: Random;
}

/** A disk with a flushed file of 16 blocks, block i full of i + 1. */
async function boot(seed: number): Promise<Machine> {
  const disk = new SimulatedDisk({ seed });
  const file = await disk.open(PATH, { create: true });
  const queue = new Queue(disk, { depth: 16 });
  for (let i = 0; i < 16; i++) await queue.write(file, filled(BLOCK, i + 1), { offset: i * BLOCK });
  await queue.fdatasync(file);
  return { disk, file, queue, random: new Random(seed) };
}

function block(disk: SimulatedDisk, index: number): Uint8Array {
  return disk.bytesOf(PATH).subarray(index * BLOCK, (index + 1) * BLOCK);
}

test('a fault strikes the request with its index, once', async (t) => {
  const { disk, file, queue } = await boot(1);
  disk.inject({ at: disk.operations + 1, kind: 'EIO' });
  const read = (): Promise<number> => queue.read(file, allocateAligned(BLOCK), { offset: 0 });
  t.is(await read(), BLOCK);
  await t.throwsAsync(read(), { code: 'EIO' });
  t.is(await read(), BLOCK);
  t.is(disk.faultsStruck, 1);
  await queue.close();
});

test('a sticky fault strikes from its index on, until it is taken out', async (t) => {
  const { disk, file, queue } = await boot(2);
  const heal = disk.inject({ at: disk.operations + 1, kind: 'EIO', sticky: true });
  const read = (): Promise<number> => queue.read(file, allocateAligned(BLOCK), { offset: 0 });
  t.is(await read(), BLOCK);
  for (let i = 0; i < 3; i++) await t.throwsAsync(read(), { code: 'EIO' });
  heal();
  t.is(await read(), BLOCK);
  await queue.close();
});

test('a fault may ask each request whether it strikes', async (t) => {
  const { disk, file, queue } = await boot(3);
  disk.inject({
    at: ({ kind, path, offset }) => kind === 'read' && path === PATH && offset === BLOCK,
    kind: 'EIO',
    sticky: true,
  });
  const read = (at: number): Promise<number> => queue.read(file, allocateAligned(BLOCK), { offset: at * BLOCK });
  t.is(await read(0), BLOCK);
  await t.throwsAsync(read(1), { code: 'EIO' });
  await t.throwsAsync(read(1), { code: 'EIO' });
  t.is(await queue.write(file, filled(BLOCK, 1), { offset: BLOCK }), BLOCK);
  await queue.close();
});

test('a fault passes over requests that cannot have it', async (t) => {
  const { disk, file, queue } = await boot(4);
  disk.inject({ at: () => true, kind: 'bit-flip' });
  t.is(await queue.write(file, filled(BLOCK, 9), { offset: 0 }), BLOCK);
  t.true(isFilled(block(disk, 0), 9));
  const target = allocateAligned(BLOCK);
  await queue.read(file, target, { offset: 0 });
  t.false(isFilled(target.bytes, 9));
  await queue.close();
});

test('a flipped bit is one bit, and the stored bytes stay right', async (t) => {
  const { disk, file, queue } = await boot(5);
  const target = allocateAligned(BLOCK);
  const places = new Set<number>();
  disk.inject({ at: disk.operations, kind: 'bit-flip', sticky: true });
  for (let i = 0; i < 20; i++) {
    t.is(await queue.read(file, target, { offset: 0 }), BLOCK);
    const wrong = [...target.bytes.entries()].filter(([, byte]) => byte !== 1);
    t.is(wrong.length, 1);
    const [at, byte] = wrong[0] as [number, number];
    t.true(Number.isInteger(Math.log2(byte ^ 1)));
    places.add(at);
  }
  t.true(places.size > 10);
  t.true(isFilled(block(disk, 0), 1));
  await queue.close();
});

test('a failed write may have written any of its sectors, and nothing else', async (t) => {
  const { disk, file, queue } = await boot(6);
  disk.inject({ at: disk.operations, kind: 'EIO', sticky: true });
  const shapes = new Set<string>();
  for (let i = 0; i < 15; i++) {
    await t.throwsAsync(queue.write(file, filled(BLOCK, 99), { offset: i * BLOCK }), { code: 'EIO' });
    const found = block(disk, i);
    const shape = Array.from({ length: 8 }, (_, sector) => {
      const bytes = found.subarray(sector * 512, (sector + 1) * 512);
      return isFilled(bytes, 99) ? 'n' : isFilled(bytes, i + 1) ? 'o' : '?';
    }).join('');
    t.false(shape.includes('?'));
    shapes.add(shape);
  }
  t.true(shapes.size > 5);
  t.true(isFilled(block(disk, 15), 16));
  await queue.close();
});

test('no space: nothing was written', async (t) => {
  const { disk, file, queue } = await boot(7);
  disk.inject({ at: disk.operations, kind: 'ENOSPC' });
  await t.throwsAsync(queue.write(file, filled(BLOCK, 99), { offset: 0 }), { code: 'ENOSPC' });
  t.true(isFilled(block(disk, 0), 1));
  disk.inject({ at: ({ kind }) => kind === 'preallocate', kind: 'ENOSPC' });
  await t.throwsAsync(file.preallocate(0, 32 * BLOCK), { code: 'ENOSPC' });
  t.is(await file.sizeBytes(), 16 * BLOCK);
  await file.preallocate(0, 32 * BLOCK);
  t.is(await file.sizeBytes(), 32 * BLOCK);
  await queue.close();
});

test('a short transfer says how much it did, in whole sectors', async (t) => {
  const { disk, file, queue, random } = await boot(8);
  disk.inject({ at: disk.operations, kind: 'short', sticky: true });
  for (let i = 0; i < 15; i++) {
    const target = filled(BLOCK, 0xee);
    const got = await queue.read(file, target, { offset: i * BLOCK });
    t.true(got < BLOCK && got % 512 === 0);
    t.true(isFilled(target.bytes.subarray(0, got), i + 1) && isFilled(target.bytes.subarray(got), 0xee));
    const put = await queue.write(file, filled(BLOCK, 99), { offset: i * BLOCK });
    t.true(put < BLOCK && put % 512 === 0);
    t.true(isFilled(block(disk, i).subarray(0, put), 99) && isFilled(block(disk, i).subarray(put), i + 1));
  }
  const before = disk.bytesOf(PATH);
  await queue.fdatasync(file);
  t.deepEqual(disk.powerCut('none', random).bytesOf(PATH), before, 'what was written is flushed like anything else');
  await queue.close();
});

test('a lost write reports success', async (t) => {
  const { disk, file, queue, random } = await boot(9);
  disk.inject({ at: disk.operations, kind: 'lost-write' });
  t.is(await queue.write(file, filled(BLOCK, 99), { offset: 0 }), BLOCK);
  await queue.fdatasync(file);
  t.true(isFilled(block(disk, 0), 1));
  t.true(isFilled(block(disk.powerCut('all', random), 0), 1));
  await queue.close();
});

test('a misdirected write lands elsewhere and stays there', async (t) => {
  const { disk, file, queue, random } = await boot(10);
  disk.inject({ at: disk.operations, kind: 'misdirected-write' });
  t.is(await queue.write(file, filled(BLOCK, 99), { offset: 3 * BLOCK }), BLOCK);
  await queue.fdatasync(file);
  const image = disk.powerCut('none', random);
  const struck = Array.from({ length: 16 }, (_, i) => i).filter((i) => isFilled(block(image, i), 99));
  t.is(struck.length, 1);
  t.not(struck[0], 3);
  await queue.close();
});

test('a stale read returns what was there before', async (t) => {
  const { disk, file, queue } = await boot(11);
  await queue.write(file, filled(BLOCK, 50), { offset: 0 });
  await queue.write(file, filled(BLOCK, 51), { offset: 0 });
  disk.inject({ at: disk.operations, kind: 'stale-read' });
  const target = allocateAligned(BLOCK);
  await queue.read(file, target, { offset: 0 });
  t.true(isFilled(target.bytes, 50));
  await queue.read(file, target, { offset: 0 });
  t.true(isFilled(target.bytes, 51));
  await queue.close();
});

test('after a failed flush, a later one that succeeds saves nothing of what the first was to cover', async (t) => {
  const fates = new Set<string>();
  for (let seed = 0; seed < 60; seed++) {
    const { disk, file, queue, random } = await boot(seed);
    await queue.write(file, filled(BLOCK, 99), { offset: 0 });
    disk.inject({ at: ({ kind }) => kind === 'fdatasync', kind: 'flush-failure' });
    await t.throwsAsync(queue.fdatasync(file), { code: 'EIO' });
    const describe = (bytes: Uint8Array): string =>
      isFilled(bytes, 99)
        ? 'new'
        : isFilled(bytes, 1)
          ? 'old'
          : bytes.every((byte) => byte === 1 || byte === 99)
            ? 'mixed'
            : 'wrong';
    await queue.write(file, filled(BLOCK, 77), { offset: BLOCK });
    await queue.fdatasync(file);
    const image = disk.powerCut('all', random);
    t.true(isFilled(block(image, 1), 77), 'the later write is safe');
    fates.add(`${describe(block(disk, 0))} to readers, ${describe(block(image, 0))} after a power cut`);
    await queue.close();
  }
  t.true(fates.has('new to readers, old after a power cut'));
  t.true(fates.has('old to readers, old after a power cut'));
  t.true(fates.has('new to readers, new after a power cut'));
  t.true(fates.has('new to readers, mixed after a power cut'));
  t.false([...fates].some((fate) => fate.includes('wrong')));
});

test('an EIO on a flush is a failed flush; a sync of a file can fail, too', async (t) => {
  const { disk, file, queue } = await boot(12);
  disk.inject({ at: disk.operations, kind: 'EIO' });
  await t.throwsAsync(queue.fdatasync(file), { code: 'EIO', message: /fdatasync/u });
  disk.inject({ at: disk.operations, kind: 'flush-failure' });
  await t.throwsAsync(file.sync(), { code: 'EIO', message: /fsync/u });
  await file.sync();
  await queue.close();
});

test('a request that never completes holds up no other, and may or may not survive', async (t) => {
  const { disk, file, queue, random } = await boot(13);
  disk.inject({ at: disk.operations, kind: 'never-completes' });
  let settled = false;
  void queue.write(file, filled(BLOCK, 99), { offset: 0 }).finally(() => (settled = true));
  for (let i = 0; i < 20; i++) t.is(await queue.read(file, allocateAligned(BLOCK), { offset: BLOCK }), BLOCK);
  await queue.fdatasync(file);
  for (let turn = 0; turn < 50; turn++) await nextTurn();
  t.false(settled);
  t.true(isFilled(block(disk, 0), 1));
  t.true(isFilled(block(disk.powerCut('none', random), 0), 1), 'no flush covers it');
  t.true(isFilled(block(disk.powerCut('all', random), 0), 99));
  disk.stop();
});
