/**
 * Places of a store that cannot be read when it is opened: where nothing is lost the store opens, where something that was
 * acknowledged may be lost it does not, and says which byte. SCAN-3 and HOLE-1 of packages/kv/src/recovery.
 *
 * ```
 *   262144: slot 0 │ header │ frame │ frame │ … │          blocks of 4 KiB, segments of 64 KiB
 * ```
 */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { FRAME_HEADER_BYTES, frameHash, readFrame, windowOf } from '../../packages/kv/src/format/frame.ts';
import { encodeSegmentHeader, readSegmentHeader } from '../../packages/kv/src/format/segment.ts';
import { GEOMETRY } from './crash/explorer.ts';

const PATH = '/store/data.aiokv';
const HEADER_BYTES = 262144;
const BLOCK = 4096;
const { segmentBytes } = GEOMETRY;

const openOn = (disk: SimulatedDisk): Promise<Store> => open('/store', { ...GEOMETRY, platform: disk });

function slotAt(slot: number): number {
  return HEADER_BYTES + slot * segmentBytes;
}

/** Reads of these bytes fail until they are written, as with a bad sector; the function that is returned mends them. */
function harm(disk: SimulatedDisk, offset: number, lengthBytes: number): () => void {
  let isWritten = false;
  const at = (request: { kind: string; offset: number; lengthBytes: number }): boolean => {
    const isThere = request.offset < offset + lengthBytes && request.offset + request.lengthBytes > offset;
    if (isThere && request.kind === 'write') isWritten = true;
    return isThere && request.kind === 'read' && !isWritten;
  };
  return disk.inject({ at, kind: 'EIO', sticky: true });
}

interface Specimen {
  readonly disk: SimulatedDisk;
  readonly keys: number;
  /** Slots by what they hold: the log's in the order of their sequences, and others. */
  readonly log: readonly number[];
  readonly index: readonly number[];
  readonly free: readonly number[];
}

/** A store with a log of several segments, and the checkpoint before it if that is wanted, after a power cut or a close. */
async function specimen(hasCheckpoint: boolean, isClosed: boolean): Promise<Specimen> {
  const disk = new SimulatedDisk({ seed: 4 });
  const store = await openOn(disk);
  let keys = 0;
  const put = async (count: number): Promise<void> => {
    for (; count > 0; count--) await store.put(`key${keys++}`, 'x'.repeat(6000));
  };
  await put(30);
  if (hasCheckpoint) await store.checkpoint();
  await put(25);
  if (isClosed) await store.close();
  else disk.stop();
  const image = disk.powerCut('none', new Random(1));
  const bytes = image.bytesOf(PATH);
  const log: { slot: number; sequence: number }[] = [];
  const index: number[] = [];
  const free: number[] = [];
  for (let slot = 0; slotAt(slot) + segmentBytes <= bytes.length; slot++) {
    const block = bytes.slice(slotAt(slot), slotAt(slot) + BLOCK);
    const header = readSegmentHeader({ bytes: block, view: new DataView(block.buffer) });
    if (header === null) free.push(slot);
    else if (header.kind === 1) log.push({ slot, sequence: header.sequence });
    else index.push(slot);
  }
  log.sort((a, b) => a.sequence - b.sequence);
  return { disk: image, keys, log: log.map(({ slot }) => slot), index, free };
}

/** It opens, has all of its keys, takes writes, and opens again with and without the harm. */
async function requireWhole(t: ExecutionContext, { disk, keys }: Specimen, mend: () => void): Promise<void> {
  let store = await openOn(disk);
  const expected = [...Array(keys).keys()].map((n) => `key${n}`);
  const check = async (): Promise<void> => {
    const found: string[] = [];
    for await (const [key] of store.iterator()) found.push(key.toString());
    t.deepEqual(found, [...expected].sort());
  };
  for (let round = 0; round < 3; round++) {
    await check();
    for (let n = 0; n < 12; n++) {
      await store.put(`more${round}.${n}`, 'y'.repeat(7000));
      expected.push(`more${round}.${n}`);
    }
    if (round === 1) mend();
    await store.close();
    store = await openOn(disk);
  }
  await check();
  for (let n = 0; n < keys; n++) t.is((await store.get(`key${n}`))?.length, 6000);
  await store.close();
}

function requireRefused(t: ExecutionContext, { disk }: Specimen, fileOffset: number): Promise<unknown> {
  return t.throwsAsync(openOn(disk), {
    code: 'ERR_AIOKV_IO',
    message: new RegExp(`^${PATH} cannot be read at byte ${fileOffset} \\(EIO.*check the device`),
  });
}

for (const isClosed of [false, true]) {
  const when = isClosed ? 'after a close' : 'after a power cut';

  test(`${when}: the header of a free slot`, async (t) => {
    const found = await specimen(false, isClosed);
    await requireWhole(t, found, harm(found.disk, slotAt(found.free[0] as number), BLOCK));
  });

  test(`${when}: any other block of a free slot`, async (t) => {
    for (const block of [1, 2, 15]) {
      const found = await specimen(false, isClosed);
      await requireWhole(t, found, harm(found.disk, slotAt(found.free[0] as number) + block * BLOCK, BLOCK));
    }
  });

  test(`${when}: the header of an index segment that is needed`, async (t) => {
    const found = await specimen(true, isClosed);
    t.true(found.index.length > 0);
    await requireWhole(t, found, harm(found.disk, slotAt(found.index[0] as number), BLOCK));
  });

  test(`${when}: the header of a segment from before the start of the log`, async (t) => {
    const found = await specimen(true, isClosed);
    await requireWhole(t, found, harm(found.disk, slotAt(found.log[0] as number), BLOCK));
  });

  test(`${when}: a block behind the end of the log, in its last segment`, async (t) => {
    const found = await specimen(false, isClosed);
    await requireWhole(t, found, harm(found.disk, slotAt(found.log.at(-1) as number) + segmentBytes - BLOCK, BLOCK));
  });

  test(`${when}: the header of each segment of the log is told by its byte`, async (t) => {
    const { log } = await specimen(false, isClosed);
    t.true(log.length > 3);
    for (const slot of log) {
      const found = await specimen(false, isClosed);
      harm(found.disk, slotAt(slot), BLOCK);
      await requireRefused(t, found, slotAt(slot));
    }
  });

  test(`${when}: a block of any frame of the log is told by its byte`, async (t) => {
    const { log, disk } = await specimen(false, isClosed);
    const bytes = disk.bytesOf(PATH);
    let tried = 0;
    for (const slot of [log[0], log[1], log.at(-1)] as number[]) {
      for (let at = slotAt(slot) + BLOCK; at < slotAt(slot) + segmentBytes; at += BLOCK) {
        // Blocks of the log are not of zeros.
        if (bytes.subarray(at, at + BLOCK).every((byte) => byte === 0)) continue;
        const found = await specimen(false, isClosed);
        const mend = harm(found.disk, at + 512, 512);
        await requireRefused(t, found, at);
        mend();
        await (await openOn(found.disk)).close();
        tried++;
      }
    }
    t.true(tried > 15, `${tried} blocks`);
  });
}

test('the place at which the next frame would be may hold one', async (t) => {
  const found = await specimen(false, false);
  const last = slotAt(found.log.at(-1) as number);
  const bytes = found.disk.bytesOf(PATH);
  let end = last + segmentBytes;
  while (bytes.subarray(end - BLOCK, end).every((byte) => byte === 0)) end -= BLOCK;
  t.true(end < last + segmentBytes);
  harm(found.disk, end, 512);
  await requireRefused(t, found, end);
});

test('a slot of which neither header nor first frame can be read may be what the log goes on in', async (t) => {
  const found = await specimen(false, false);
  const slot = found.free[0] as number;
  harm(found.disk, slotAt(slot), 2 * BLOCK);
  await requireRefused(t, found, slotAt(slot));
});

test('a header that cannot be read today, and can tomorrow, does not take the place of what was written meanwhile', async (t) => {
  const found = await specimen(false, false);
  const { disk, log, free } = found;
  const bytes = disk.bytesOf(PATH);
  const last = log.at(-1) as number;
  const segment = bytes.slice(slotAt(last), slotAt(last) + segmentBytes);
  const block = { bytes: segment, view: new DataView(segment.buffer) };
  const header = readSegmentHeader(block);
  if (header === null) throw new Error('the specimen has a log');
  let link = { segmentSequence: header.sequence, frameNumber: 0, hash: 0n };
  for (let at = BLOCK; at < segmentBytes;) {
    const frame = windowOf(block, at);
    const read = readFrame(frame);
    if (read === null) break;
    link = { ...link, frameNumber: read.frameNumber, hash: frameHash(frame) };
    at += Math.ceil((FRAME_HEADER_BYTES + read.payloadBytes) / BLOCK) * BLOCK;
  }
  // The machine stopped amid the first write of a segment: its header is there, its frame is not.
  const slot = free[0] as number;
  const begun = new Uint8Array(BLOCK);
  const { uuid } = header;
  const next = { kind: 1, uuid, sequence: header.sequence + 1, epoch: 5, slot, predecessor: link };
  encodeSegmentHeader({ bytes: begun, view: new DataView(begun.buffer) }, next);
  disk.writeRaw(PATH, slotAt(slot), begun);
  const mend = harm(disk, slotAt(slot), BLOCK);
  let store = await openOn(disk);
  await store.put('meanwhile', 'acknowledged');
  disk.stop();
  mend();
  const image = disk.powerCut('none', new Random(2));
  store = await openOn(image);
  t.is((await store.get('meanwhile'))?.toString(), 'acknowledged');
  await store.close();
});

test('one bad read is tried again, wherever it strikes', async (t) => {
  const { disk } = await specimen(true, false);
  const before = disk.operations;
  await (await openOn(disk)).close();
  const reads = disk.operations - before;
  for (let n = 0; n < reads; n++) {
    const found = await specimen(true, false);
    let count = 0;
    const from = found.disk.faultsStruck;
    found.disk.inject({
      at: ({ kind, offset }) => kind === 'read' && offset >= HEADER_BYTES && count++ === n,
      kind: 'EIO',
    });
    const store = await openOn(found.disk);
    t.is((await store.get('key54'))?.length, 6000);
    await store.close();
    if (found.disk.faultsStruck === from) break;
  }
});

test('between the images of a checkpoint nothing needs to be readable', async (t) => {
  const disk = new SimulatedDisk({ seed: 4 });
  let store = await open('/store', { ...GEOMETRY, platform: disk, segmentBytes: 1024 * 1024 });
  for (let n = 0; n < 3000; n++) await store.put(`key${n}`, 'x', { durability: 'buffered' });
  await store.checkpoint();
  // Some pages change and are written elsewhere: their first images are garbage between others.
  for (let n = 0; n < 3000; n += 400) await store.put(`key${n}`, 'y');
  await store.checkpoint();
  await store.close();
  const image = disk.powerCut('none', new Random(1));
  let opened = 0;
  let needed = 0;
  const bytes = image.bytesOf(PATH);
  for (let at = HEADER_BYTES; at < bytes.length; at += BLOCK) {
    if (bytes.subarray(at, at + BLOCK).every((byte) => byte === 0)) continue;
    const mend = harm(image, at, 512);
    try {
      store = await open('/store', { ...GEOMETRY, platform: image, segmentBytes: 1024 * 1024 });
      await store.close();
      opened++;
    } catch (error) {
      t.like(error, { code: 'ERR_AIOKV_IO' });
      t.regex((error as Error).message, /cannot be read at byte \d+/);
      needed++;
    }
    mend();
  }
  t.log(`${opened} blocks that are not needed, ${needed} that are`);
  t.true(opened > 0 && needed > 0);
});
