/** The simulated disk: the suite of all engines, and what only it can do. */
import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';
import { Random } from '@aiokv/core';
import test from 'ava';
import { spawnSync } from 'node:child_process';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { engineConformance } from './engine-conformance.ts';
import { filled, isFilled } from './engine-driver.ts';

const BLOCK = 4096;
const SECTOR = 512;
const PATH = '/data';

engineConformance(test, 'simulated', async () => {
  const platform = new SimulatedDisk({ seed: 3 });
  await platform.makeDirectory('/conformance');
  return { platform, directory: '/conformance', cleanup: async () => platform.stop() };
});

engineConformance(test, 'simulated with a latency of 50 turns', async () => {
  const platform = new SimulatedDisk({ seed: 4, latencyTurns: 50 });
  await platform.makeDirectory('/conformance');
  return { platform, directory: '/conformance', cleanup: async () => platform.stop() };
});

interface Machine {
  readonly disk: SimulatedDisk;
  readonly file: DirectFile;
  readonly queue: Queue;
  readonly random: Random;
}

/** A disk with a flushed file of 64 blocks of zeros. */
async function boot(seed: number, latencyTurns = 4): Promise<Machine> {
  const disk = new SimulatedDisk({ seed, latencyTurns });
  const file = await disk.open(PATH, { create: true });
  await file.preallocate(0, 64 * BLOCK);
  await file.sync();
  return { disk, file, queue: new Queue(disk, { depth: 64 }), random: new Random(seed) };
}

/** The byte that fills sector `sector` of block `block`, or -1 when it is not filled by one. */
function sectorOf(disk: SimulatedDisk, block: number, sector: number): number {
  const at = block * BLOCK + sector * SECTOR;
  const bytes = disk.bytesOf(PATH).subarray(at, at + SECTOR);
  return isFilled(bytes, bytes[0] as number) ? (bytes[0] as number) : -1;
}

const ascending = (a: number, b: number): number => a - b;
const sectors = [0, 1, 2, 3, 4, 5, 6, 7];

/** Asks many images of the same moment what they hold. */
function images<T>(machine: Machine, mode: 'subset' | 'torn', look: (image: SimulatedDisk) => T): Set<T> {
  return new Set(Array.from({ length: 300 }, () => look(machine.disk.powerCut(mode, machine.random))));
}

test('a completed write is read back at once and survives a power cut only when flushed', async (t) => {
  const machine = await boot(1);
  const { disk, file, queue, random } = machine;
  await queue.write(file, filled(BLOCK, 1), { offset: 0 });
  t.is(disk.bytesOf(PATH)[0], 1);
  t.is(sectorOf(disk.powerCut('none', random), 0, 0), 0);
  t.is(sectorOf(disk.powerCut('all', random), 0, 0), 1);
  t.deepEqual([...images(machine, 'subset', (image) => sectorOf(image, 0, 0))].sort(ascending), [0, 1]);
  await queue.fdatasync(file);
  t.is(sectorOf(disk.powerCut('none', random), 0, 0), 1);
  await queue.close();
});

test('images hold the same when they have the same files with the same bytes', async (t) => {
  const { disk, file, queue, random } = await boot(2);
  const cut = (mode: 'none' | 'all'): SimulatedDisk => disk.powerCut(mode, random);
  const before = cut('none');
  t.true(before.holdsSame(cut('all')));
  await queue.write(file, filled(BLOCK, 1), { offset: 3 * BLOCK });
  t.true(before.holdsSame(cut('none')));
  const written = cut('all');
  t.false(before.holdsSame(written));
  t.false(disk.holdsSame(written), 'what is not flushed may be lost yet');
  await queue.fdatasync(file);
  const flushed = cut('none');
  t.true(written.holdsSame(flushed));
  t.true(disk.holdsSame(written));
  await queue.write(file, filled(BLOCK, 0), { offset: 3 * BLOCK });
  t.true(cut('all').holdsSame(before), 'zeros that were written, and those that were never');
  flushed.writeRaw(PATH, 64 * BLOCK - 1, Uint8Array.of(1));
  t.false(written.holdsSame(flushed));
  await file.preallocate(64 * BLOCK, BLOCK);
  t.false(cut('all').holdsSame(before), 'one is longer');
  const more = cut('none');
  more.placeRaw('/more', filled(BLOCK, 1).bytes);
  t.false(before.holdsSame(more));
  t.false(more.holdsSame(before));
  await queue.close();
});

test('an image boots, is independent of its origin, and can be cut again', async (t) => {
  const { disk, file, queue, random } = await boot(2);
  await queue.write(file, filled(BLOCK, 1), { offset: 0 });
  await queue.fdatasync(file);
  const image = disk.powerCut('none', random);
  disk.stop();
  const again = await image.open(PATH);
  const queueAgain = new Queue(image, { depth: 4 });
  t.is(await again.lock(), undefined, 'no lock survives');
  await queueAgain.write(again, filled(BLOCK, 2), { offset: BLOCK });
  t.is(sectorOf(disk, 1, 0), 0);
  t.is(sectorOf(image, 1, 0), 2);
  await queueAgain.fdatasync(again);
  const second = image.powerCut('none', random);
  t.deepEqual(
    [0, 1, 2].map((block) => sectorOf(second, block, 0)),
    [1, 2, 0],
  );
  await queueAgain.close();
});

test('a flush covers what was reported before it was submitted, and nothing else (ENGINE-4)', async (t) => {
  const { disk, file, queue, random } = await boot(3);
  let uncovered = 0;
  for (let round = 1; round <= 40; round++) {
    await queue.write(file, filled(BLOCK, round), { offset: 0 });
    const flush = queue.fdatasync(file);
    const write = queue.write(file, filled(BLOCK, round), { offset: BLOCK });
    await flush;
    t.is(sectorOf(disk.powerCut('none', random), 0, 0), round);
    if (sectorOf(disk.powerCut('none', random), 1, 0) !== round) uncovered++;
    await write;
  }
  t.is(uncovered, 40, 'a write in flight beside a flush is never certain to be there');
  await queue.close();
});

test('a write with RWF_DSYNC is durable when it completes, and makes nothing else durable (DEVICE-5)', async (t) => {
  const machine = await boot(13);
  const { disk, file, queue, random } = machine;
  await queue.write(file, filled(BLOCK, 1), { offset: 0 });
  await queue.write(file, filled(2 * BLOCK, 2), { offset: BLOCK });
  await queue.write(file, filled(BLOCK, 3), { offset: BLOCK, dsync: true });
  const blocks = (image: SimulatedDisk): number[] => [0, 1, 2].map((block) => sectorOf(image, block, 0));
  t.deepEqual(blocks(disk.powerCut('none', random)), [0, 3, 0]);
  t.deepEqual(blocks(disk.powerCut('all', random)), [1, 3, 2]);
  // MEDIUM-6. What was written there before does not come back.
  t.deepEqual([...images(machine, 'subset', (image) => sectorOf(image, 1, 0))], [3]);
  t.deepEqual([...images(machine, 'subset', (image) => sectorOf(image, 2, 0))].sort(ascending), [0, 2]);
  await queue.write(file, filled(BLOCK, 4), { offset: BLOCK });
  t.deepEqual([...images(machine, 'subset', (image) => sectorOf(image, 1, 0))].sort(ascending), [3, 4]);
  await queue.fdatasync(file);
  t.deepEqual(blocks(disk.powerCut('none', random)), [1, 4, 2]);
  // Its flush fails: it may be there or not, and no later flush saves it. Another write cannot have this fault.
  const kept = new Set<number>();
  for (let round = 0; round < 40; round++) {
    const heal = disk.inject({ at: () => true, kind: 'flush-failure' });
    await queue.write(file, filled(BLOCK, 5), { offset: 0 });
    await queue.write(file, filled(BLOCK, 6), { offset: BLOCK });
    await t.throwsAsync(queue.write(file, filled(BLOCK, 7), { offset: BLOCK, dsync: true }), { code: 'EIO' });
    heal();
    await queue.fdatasync(file);
    const image = disk.powerCut('none', random);
    t.is(sectorOf(image, 0, 0), 5);
    kept.add(sectorOf(image, 1, 0));
  }
  t.deepEqual([...kept].sort(ascending), [6, 7]);
  await queue.close();
});

test('a torn write ends at a sector boundary; other writes are whole or absent', async (t) => {
  const machine = await boot(4);
  const { file, queue } = machine;
  await Promise.all([0, 1].map((block) => queue.write(file, filled(BLOCK, 9), { offset: block * BLOCK })));
  const shapes = images(machine, 'torn', (image) =>
    [0, 1].map((block) => sectors.map((sector) => sectorOf(image, block, sector)).join('')).join(' '),
  );
  t.true(shapes.size > 20, `${shapes.size} different images`);
  t.true(
    [...shapes].every((shape) => !shape.includes('-')),
    'no sector is half written',
  );
  t.true([...shapes].every((shape) => shape.split(' ').some((block) => /^(0+|9+)$/u.test(block))));
  t.true(
    [...shapes].some((shape) => shape.startsWith('90')),
    'cut off after the first sector',
  );
  await queue.close();
});

test('of a write in flight any sectors may be there', async (t) => {
  const machine = await boot(5, 1000);
  const { disk, file, queue, random } = machine;
  const write = queue.write(file, filled(BLOCK, 9), { offset: 0 });
  await nextTurn();
  t.is(sectorOf(disk, 0, 0), 0, 'it is not visible yet');
  t.is(sectorOf(disk.powerCut('none', random), 0, 0), 0);
  t.is(sectorOf(disk.powerCut('all', random), 0, 0), 9);
  const shapes = images(machine, 'subset', (image) => sectors.map((sector) => sectorOf(image, 0, sector)).join(''));
  t.true(shapes.has('00000000') && shapes.has('99999999') && shapes.size > 20);
  await write;
  await queue.close();
});

test('of two unflushed writes to one place the later one wins, unless both were in flight together', async (t) => {
  const machine = await boot(6);
  const { file, queue } = machine;
  await queue.write(file, filled(BLOCK, 1), { offset: 0 });
  await queue.write(file, filled(BLOCK, 2), { offset: 0 });
  const outcomes = images(machine, 'subset', (image) => sectors.map((sector) => sectorOf(image, 0, sector)).join(''));
  t.deepEqual([...outcomes].sort(), ['00000000', '11111111', '22222222']);
  const image = machine.disk.powerCut('all', machine.random);
  t.is(sectorOf(image, 0, 0), 2);
  await Promise.all([3, 4].map((byte) => queue.write(file, filled(BLOCK, byte), { offset: 0 })));
  const visible = sectorOf(machine.disk, 0, 0);
  t.is(sectorOf(machine.disk.powerCut('all', machine.random), 0, 0), visible);
  await queue.fdatasync(file);
  t.is(sectorOf(machine.disk.powerCut('none', machine.random), 0, 0), visible);
  await queue.close();
});

test('where two unflushed writes overlap, both orders are possible only if they were in flight together', async (t) => {
  const overlaps = async (machine: Machine, isTogether: boolean): Promise<Set<string>> => {
    const { file, queue } = machine;
    const first = queue.write(file, filled(2 * BLOCK, 1), { offset: 0 });
    if (!isTogether) await first;
    await Promise.all([first, queue.write(file, filled(2 * BLOCK, 2), { offset: BLOCK })]);
    await queue.close();
    return images(machine, 'subset', (image) => [0, 1, 2].map((block) => sectorOf(image, block, 0)).join(''));
  };
  t.deepEqual([...(await overlaps(await boot(17), false))].sort(), ['000', '022', '110', '122']);
  t.deepEqual([...(await overlaps(await boot(17), true))].sort(), ['000', '022', '110', '112', '122']);
});

test('a growth of the file may be forgotten until it was flushed', async (t) => {
  const disk = new SimulatedDisk({ seed: 7 });
  const random = new Random(7);
  const file = await disk.open(PATH, { create: true });
  await file.preallocate(0, 8 * BLOCK);
  const sizes = new Set(Array.from({ length: 100 }, () => disk.powerCut('subset', random).bytesOf(PATH).length));
  t.deepEqual([...sizes].sort(ascending), [0, 8 * BLOCK]);
  await file.sync();
  t.is(disk.powerCut('none', random).bytesOf(PATH).length, 8 * BLOCK);
  await file.close();
});

test('the bytes of a write are taken at some moment while it is in flight', async (t) => {
  const { disk, file, queue } = await boot(8, 8);
  const buffer = allocateAligned(BLOCK);
  const taken = new Set<number>();
  for (let round = 0; round < 100; round++) {
    buffer.bytes.fill(1);
    const write = queue.write(file, buffer, { offset: 0 });
    await nextTurn();
    buffer.bytes.fill(2);
    await write;
    taken.add(sectorOf(disk, 0, 0));
  }
  t.deepEqual([...taken].sort(ascending), [1, 2], 'who changes a buffer too early is found out');
  await queue.close();
});

test('the same seed gives the same order of completions, another seed another', async (t) => {
  const run = async (seed: number): Promise<string> => {
    const { disk, file, queue } = await boot(seed);
    const events: string[] = [];
    disk.onOperation = (index, phase, { kind }) => events.push(`${phase} ${kind} ${index}`);
    const reads = Array.from({ length: 40 }, (_, i) => queue.read(file, allocateAligned(BLOCK), { offset: i * BLOCK }));
    await Promise.all(reads);
    await queue.close();
    return events.join('\n');
  };
  const first = await run(9);
  t.is(await run(9), first);
  t.not(await run(10), first);
  t.is(first.split('\n').length, 80);
});

test('after stop nothing completes and nothing keeps the process alive', (t) => {
  const source = `
    import { Queue, SimulatedDisk, allocateAligned } from '@aiokv/aio';
    const disk = new SimulatedDisk({ seed: 1 });
    const file = await disk.open('/f', { create: true });
    const queue = new Queue(disk, { depth: 4 });
    process.on('exit', () => console.log('gone'));
    disk.onOperation = () => disk.stop();
    void queue.write(file, allocateAligned(4096), { offset: 0 }).then(() => console.log('completed'));
    void file.sync().then(() => console.log('completed'));`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [...process.execArgv, '--input-type=module', '--eval', source],
    { encoding: 'utf8', cwd: import.meta.dirname, timeout: 60_000 },
  );
  t.is(stdout, 'gone\n', stderr);
});

test('one dead machine does not hold up another', async (t) => {
  const { disk, file, queue } = await boot(11);
  const dead = disk.powerCut('none', new Random(1));
  dead.stop();
  let settled = false;
  void dead.open(PATH).then(() => (settled = true));
  await queue.write(file, filled(BLOCK, 1), { offset: 0 });
  await queue.close();
  t.false(settled);
});

test('names that were made and removed are durable at once', async (t) => {
  const { disk, random, queue } = await boot(12);
  await disk.makeDirectory('/a/b');
  await (await disk.open('/a/b/file', { create: true })).close();
  await disk.rename('/a/b/file', '/a/file');
  await disk.remove(PATH);
  const image = disk.powerCut('none', random);
  t.deepEqual(await image.list('/'), ['a']);
  t.deepEqual(await image.list('/a'), ['b', 'file']);
  await queue.close();
});

test('bytes can be changed behind the back of everyone', async (t) => {
  const { disk, file, queue, random } = await boot(13);
  disk.writeRaw(PATH, 4095, Uint8Array.of(1, 2, 3));
  const target = allocateAligned(2 * BLOCK);
  await queue.read(file, target, { offset: 0 });
  t.deepEqual([...target.bytes.subarray(4094, 4099)], [0, 1, 2, 3, 0]);
  t.is(disk.powerCut('none', random).bytesOf(PATH)[4096], 2);
  t.throws(() => disk.writeRaw('/nowhere', 0, Uint8Array.of(1)), { code: 'ENOENT' });
  await queue.close();
});

test('refusals with EAGAIN come only while something is in flight, and everything goes through', async (t) => {
  const disk = new SimulatedDisk({ seed: 14, refusalChance: 0.5 });
  const file = await disk.open(PATH, { create: true });
  const queue = new Queue(disk, { depth: 16 });
  const writes = Array.from({ length: 200 }, (_, i) => queue.write(file, filled(BLOCK, i), { offset: i * BLOCK }));
  t.true((await Promise.all(writes)).every((count) => count === BLOCK));
  const bytes = disk.bytesOf(PATH);
  t.true(Array.from({ length: 200 }, (_, i) => isFilled(bytes.subarray(i * BLOCK, (i + 1) * BLOCK), i)).every(Boolean));
  await queue.close();
});

test('a disk that is full says so', async (t) => {
  const disk = new SimulatedDisk({ seed: 15, capacityBytes: 8 * BLOCK });
  const file = await disk.open(PATH, { create: true });
  const queue = new Queue(disk, { depth: 4 });
  await file.preallocate(0, 4 * BLOCK);
  await t.throwsAsync(file.preallocate(0, 9 * BLOCK), { code: 'ENOSPC' });
  await t.throwsAsync(queue.write(file, filled(BLOCK, 1), { offset: 8 * BLOCK }), { code: 'ENOSPC' });
  t.is(await queue.write(file, filled(BLOCK, 1), { offset: 7 * BLOCK }), BLOCK);
  await queue.close();
});

test('misspelt options are refused', (t) => {
  t.throws(() => new SimulatedDisk({ sead: 1 } as never), { code: 'ERR_AIOKV_INVALID_OPTION' });
  t.throws(() => new SimulatedDisk({ latencyTurns: 0 }), { code: 'ERR_AIOKV_INVALID_OPTION' });
});
