/** Which superblock counts: copies that cannot be read, that stand at another's place, or that are of another history. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Queue, SimulatedDisk } from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { FailureGate } from '../../packages/kv/src/failure/failure-gate.ts';
import { Flusher } from '../../packages/kv/src/file/flusher.ts';
import { loadSuperblock, saveSuperblock } from '../../packages/kv/src/file/superblocks.ts';
import type { Superblock } from '../../packages/kv/src/format/superblock.ts';
import { readSuperblock } from '../../packages/kv/src/format/superblock.ts';

const PATH = '/store/data.aiokv';
const DISTANCE = 64 * 1024;
const OPENING = { segmentBytes: 64 * 1024, queueDepth: 16 };
const COPIES = [0, 1, 2, 3];

const openOn = (platform: SimulatedDisk): Promise<Store> => open('/store', { ...OPENING, platform });
const copyAt = (disk: SimulatedDisk, copy: number): Uint8Array =>
  disk.bytesOf(PATH).slice(copy * DISTANCE, copy * DISTANCE + 4096);

async function makeDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 4 });
  const store = await openOn(disk);
  await store.put('key', 'value');
  await store.close();
  return disk;
}

function superblockOf(bytes: Uint8Array): Superblock {
  const memory = bytes.slice();
  const superblock = readSuperblock({ bytes: memory, view: new DataView(memory.buffer) });
  if (superblock === null) throw new Error('there is no superblock');
  return superblock;
}

/** The copies that stand in the file, as bits. */
function unreadable(disk: SimulatedDisk, copies: number): () => void {
  const at = ({ kind, offset }: { kind: string; offset: number }): boolean =>
    kind === 'read' && offset % DISTANCE === 0 && offset < 4 * DISTANCE && (copies & (1 << (offset / DISTANCE))) !== 0;
  return disk.inject({ at, kind: 'EIO', sticky: true });
}

async function requireValue(t: ExecutionContext, store: Store): Promise<void> {
  t.is((await store.get('key'))?.toString(), 'value');
  await store.put('key', 'value');
  await store.close();
}

test('COPIES-1: up to two copies that cannot be read are survived, and written again', async (t) => {
  for (let copies = 1; copies < 16; copies++) {
    const disk = await makeDisk();
    const heal = unreadable(disk, copies);
    if (COPIES.filter((copy) => (copies & (1 << copy)) !== 0).length <= 2) {
      await requireValue(t, await openOn(disk));
    } else {
      const error = await t.throwsAsync(openOn(disk), { code: 'ERR_AIOKV_IO', message: /cannot be read.*check the/u });
      t.like(error?.cause, { code: 'EIO' });
    }
    heal();
    await requireValue(t, await openOn(disk));
    const hashes = COPIES.map((copy) => Buffer.from(copyAt(disk, copy).subarray(0, 512)).toString('hex'));
    t.is(new Set(hashes).size, 1, 'all copies are the same');
  }
});

test('COPIES-1: a file whose copies cannot be read is not called one of another kind', async (t) => {
  const disk = await makeDisk();
  unreadable(disk, 15);
  const error = await t.throwsAsync(openOn(disk), { code: 'ERR_AIOKV_IO', message: /^4 of 4 superblocks/u });
  t.notRegex(error?.message ?? '', /backup/u);
});

test('COPIES-2: a copy that is read from the place of another does not count twice', async (t) => {
  const disk = await makeDisk();
  const older = copyAt(disk, 0);
  await requireValue(t, await openOn(disk));
  const newer = copyAt(disk, 0);
  t.true(superblockOf(newer).sequence > superblockOf(older).sequence);
  // One newer copy, twice; the older one, of which each copy stands where it belongs, is what counts.
  const file = await disk.open(PATH);
  const queue = new Queue(disk, { depth: 4 });
  const flusher = new Flusher(queue, file, new FailureGate());
  const old = superblockOf(older);
  await saveSuperblock(queue, file, old, flusher);
  disk.writeRaw(PATH, 0, newer);
  disk.writeRaw(PATH, DISTANCE, newer);
  t.is((await loadSuperblock(queue, file)).superblock.sequence, old.sequence);
  // At its own place it counts.
  await saveSuperblock(queue, file, { ...superblockOf(newer), sequence: old.sequence + 5 }, flusher);
  t.is((await loadSuperblock(queue, file)).superblock.sequence, old.sequence + 5);
  disk.writeRaw(PATH, 0, copyAt(disk, 3));
  disk.writeRaw(PATH, DISTANCE, copyAt(disk, 3));
  disk.writeRaw(PATH, 2 * DISTANCE, copyAt(disk, 3));
  await t.throwsAsync(loadSuperblock(queue, file), { code: 'ERR_AIOKV_CORRUPT' });
  await queue.close();
  await file.close();
});

/** Writes superblocks to pairs of copies, as histories leave them, and reads what counts. */
async function withPairs(
  use: (
    write: (pair: 'first' | 'second', changes: Partial<Superblock>) => Promise<bigint>,
    read: () => Promise<number>,
  ) => Promise<void>,
): Promise<void> {
  const disk = await makeDisk();
  const file: DirectFile = await disk.open(PATH);
  const queue = new Queue(disk, { depth: 4 });
  const flusher = new Flusher(queue, file, new FailureGate());
  const { superblock } = await loadSuperblock(queue, file);
  await use(
    async (pair, changes) => {
      const others = COPIES.filter((copy) => copy >= 2 === (pair === 'first'));
      const kept = others.map((copy) => [copy, copyAt(disk, copy)] as const);
      const hash = await saveSuperblock(queue, file, { ...superblock, ...changes }, flusher);
      for (const [copy, bytes] of kept) disk.writeRaw(PATH, copy * DISTANCE, bytes);
      return hash;
    },
    async () => (await loadSuperblock(queue, file)).superblock.sequence,
  );
  await queue.close();
  await file.close();
}

test('COPIES-3: the pair before must be the one that is named', (t) =>
  withPairs(async (write, read) => {
    await write('first', { sequence: 50 });
    const hash = await write('second', { sequence: 50 });
    await write('first', { sequence: 51, previousHash: hash });
    t.is(await read(), 51, 'a save that was cut off');
    await write('first', { sequence: 51, previousHash: hash ^ 1n });
    await t.throwsAsync(read(), { code: 'ERR_AIOKV_CORRUPT', message: /two histories/u });
    await write('first', { sequence: 50, previousHash: hash });
    await t.throwsAsync(read(), { code: 'ERR_AIOKV_CORRUPT', message: /two histories/u });
    await write('first', { sequence: 52 });
    t.is(await read(), 52, 'nothing is known of one that is older still');
  }));

test('a store of version 0.1 is opened, and its copies are numbered by what is written next', async (t) => {
  const disk = new SimulatedDisk({ seed: 1 });
  disk.placeRaw(PATH, gunzipSync(readFileSync(new URL('golden/store-0.1.aiokv.gz', import.meta.url))));
  t.is(superblockOf(copyAt(disk, 0)).incompatibleFeatures, 0n);
  for (let round = 0; round < 2; round++) {
    const store = await openOn(disk);
    for (let n = 0; n < 20; n++) {
      const value = n === 7 ? undefined : `value ${n}`;
      t.is((await store.get(`key${n}`))?.toString(), value);
    }
    await store.put('new', 'value');
    await store.close();
    for (const copy of COPIES) {
      const bytes = copyAt(disk, copy);
      t.is(superblockOf(bytes).incompatibleFeatures & 4n, 4n);
      t.is(bytes[512], copy);
    }
  }
});

test('a lost write of a copy is survived', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const disk = new SimulatedDisk({ seed });
    const store = await openOn(disk);
    await store.put('key', 'value');
    const at = ({ kind, offset }: { kind: string; offset: number }): boolean => kind === 'write' && offset === 0;
    disk.inject({ at, kind: 'lost-write' });
    await store.close();
    await requireValue(t, await openOn(disk));
  }
});
