/** The slots of the data file over a file that is none: SLOTS-1 to SLOTS-6 of packages/kv/src/file/slots.ts, and READY-1. */
import test from 'ava';
import { MIB, ManualClock, Random, SystemCallError } from '@aiokv/core';
import type { DirectFile } from '@aiokv/aio';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { ReadySlots } from '../../packages/kv/src/file/ready-slots.ts';
import { Slots } from '../../packages/kv/src/file/slots.ts';
import type { CheckpointNeeds, SlotUse } from '../../packages/kv/src/file/slots.ts';
import { mostImageBytes } from '../../packages/kv/src/format/checkpoint.ts';
import { likelyIndexBytes, mostIndexBytes, mostMappedBytes } from '../../packages/kv/src/checkpoint/standing.ts';
import { mostIndexSlots, mostParts, partsOf, rootBytes } from '../../packages/kv/src/format/checkpoint-root.ts';
import { MOST_FILE_BYTES } from '../../packages/kv/src/format/index-entry.ts';
import type { Geometry } from '../../packages/kv/src/format/superblock.ts';

const GEOMETRY: Geometry = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 65536, headerBytes: 262144 };
/** Bytes of pages for which an index segment of this geometry certainly has room. */
const SLOT_PAGES = GEOMETRY.segmentBytes - 2 * 4096;
const { ENOSPC, EIO } = constants.errno;

/** A file that grows when it is let. */
class FakeFile {
  readonly path = '/fake/data.aiokv';
  /** How many slots each attempt was for. */
  readonly attempts: number[] = [];
  /** Answers attempts; `null` lets the file grow. */
  answer: (slots: number) => number | null = () => null;
  /** Settles attempts, if they are to wait. */
  gate: Promise<void> = Promise.resolve();

  async preallocate(_offset: number, lengthBytes: number): Promise<void> {
    const slots = lengthBytes / GEOMETRY.segmentBytes;
    this.attempts.push(slots);
    await this.gate;
    const errno = this.answer(slots);
    if (errno !== null) throw new SystemCallError('fallocate', errno);
  }

  /** Slots whose blocks were given back, in that order. */
  readonly punched: number[] = [];
  /** Answers attempts to give blocks back. */
  punchAnswer: (slot: number) => number | null = () => null;

  async punchHole(offset: number, lengthBytes: number): Promise<void> {
    const slot = (offset - GEOMETRY.headerBytes) / GEOMETRY.segmentBytes;
    await this.gate;
    const errno = lengthBytes === GEOMETRY.segmentBytes ? this.punchAnswer(slot) : EIO;
    if (errno !== null) throw new SystemCallError('fallocate', errno);
    this.punched.push(slot);
  }

  /** Lengths that it was cut to, in slots. */
  readonly cuts: number[] = [];
  cutAnswer: () => number | null = () => null;

  async truncate(sizeBytes: number): Promise<void> {
    await this.gate;
    const errno = this.cutAnswer();
    if (errno !== null) throw new SystemCallError('ftruncate', errno);
    this.cuts.push((sizeBytes - GEOMETRY.headerBytes) / GEOMETRY.segmentBytes);
  }

  slots(slotCount: number, needs: Partial<CheckpointNeeds> = {}): Slots {
    const slots = new Slots(this as unknown as DirectFile, GEOMETRY, slotCount, new Set());
    const likelyBytes = needs.nextBytes ?? 0;
    slots.expectCheckpoints({ indexBytes: 0, nextBytes: 0, likelyBytes, replacedBytes: Infinity, ...needs });
    return slots;
  }
}

/** A compaction leaves as much as a put. */
const USES: readonly SlotUse[] = ['put', 'delete', 'clean', 'checkpoint'];

/** What is available for each use in a file of so many slots that are all ready. */
const RESERVES: readonly (readonly [slotCount: number, needs: Partial<CheckpointNeeds>, available: number[]])[] = [
  [1, {}, [1, 1, 1, 1]],
  [2, {}, [1, 2, 2, 2]],
  [3, {}, [2, 3, 3, 3]],
  [4, {}, [2, 3, 3, 4]],
  [6, {}, [3, 4, 5, 6]],
  [100, {}, [94, 96, 99, 100]],
  // 2 % of all.
  [1000, {}, [980, 996, 999, 1000]],
  // What a checkpoint needs, one to three for a cleaning, and two for deletions.
  [16, { nextBytes: 2 * SLOT_PAGES }, [10, 12, 14, 16]],
  [100, { nextBytes: 10 * SLOT_PAGES }, [85, 87, 90, 100]],
  [100, { nextBytes: 10 * SLOT_PAGES, replacedBytes: 5 * SLOT_PAGES }, [80, 87, 90, 100]],
  // Half of all at most, of which the last is for deletions.
  [20, { nextBytes: 30 * SLOT_PAGES }, [10, 11, 11, 20]],
];

for (const [slotCount, needs, available] of RESERVES) {
  test(`SLOTS-1, SLOTS-2: ${slotCount} slots, ${JSON.stringify(needs)}`, (t) => {
    const slots = new FakeFile().slots(slotCount, needs);
    t.deepEqual(
      USES.map((use) => slots.availableFor(use)),
      available,
    );
  });
}

test('SLOTS-1: while the file can grow, what a checkpoint likely needs is enough', async (t) => {
  const file = new FakeFile();
  const needs = { nextBytes: 12 * SLOT_PAGES, likelyBytes: 4 * SLOT_PAGES };
  const slots = file.slots(64, needs);
  t.is(slots.availableFor('put'), 64 - 4 - 5);
  t.is(slots.availableFor('put', true), 64 - 4 - 3, 'while victims are cleaned');
  file.answer = () => ENOSPC;
  await t.throwsAsync(slots.prepare(61, 'put'), { code: 'ERR_AIOKV_NO_SPACE' });
  t.is(slots.availableFor('put'), 64 - 12 - 5, 'the most that it may need');
  t.is(slots.availableFor('put', true), 64 - 12 - 5);
  t.is(slots.availableFor('compact'), 64 - 12 - 5);
  t.is(slots.availableFor('delete'), 64 - 4 - 3);
  t.is(new FakeFile().slots(63, needs).availableFor('put'), 63 - 12 - 5, 'of few slots that most always');
});

test('SLOTS-1, SLOTS-2: each use ends where its reserve begins, when the file cannot grow', async (t) => {
  const file = new FakeFile();
  file.answer = () => ENOSPC;
  const slots = file.slots(40, { nextBytes: 4 * SLOT_PAGES });
  const taken: Record<SlotUse, number> = { put: 0, compact: 0, delete: 0, clean: 0, checkpoint: 0 };
  for (const use of USES) {
    for (;;) {
      try {
        await slots.prepare(1, use);
      } catch (error) {
        t.like(error, { code: 'ERR_AIOKV_NO_SPACE', cause: { code: 'ENOSPC' } });
        break;
      }
      slots.take();
      taken[use]++;
      t.is(slots.isReserveInUse, slots.availableFor('put') < 0);
    }
  }
  t.deepEqual(taken, { put: 31, compact: 0, delete: 2, clean: 3, checkpoint: 4 });
  slots.giveBack([3, 5]);
  t.is(slots.availableFor('checkpoint'), 2);
  t.is(slots.take(), 3);
  t.throws(() => slots.giveBack([5]), { code: 'ERR_AIOKV_INTERNAL', message: /given back once/ });
});

test('SLOTS-3: a failed growth answers who asked before it began, and nobody who asks later', async (t) => {
  const file = new FakeFile();
  file.answer = () => EIO;
  const slots = file.slots(1);
  slots.take();
  await slots.settle();
  const before = file.attempts.length;
  const since = slots.growths;
  const waiting = [slots.prepare(1, 'put', since), slots.prepare(1, 'put', since), slots.prepare(2, 'delete', since)];
  for (const { status } of await Promise.allSettled(waiting)) t.is(status, 'rejected');
  t.is(file.attempts.length, before + 1, 'one attempt for all');
  await t.throwsAsync(slots.prepare(1, 'put'), { code: 'ERR_AIOKV_IO' });
  t.is(file.attempts.length, before + 2);
  // Who called before an attempt that has failed meanwhile does not ask again.
  await t.throwsAsync(slots.prepare(1, 'put', slots.growths - 1), { code: 'ERR_AIOKV_IO' });
  t.is(file.attempts.length, before + 2);
  file.answer = () => null;
  await slots.prepare(1, 'put');
  t.true(slots.availableFor('put') >= 1);
});

test('growth: halves what is refused for want of space, at once what is refused otherwise', async (t) => {
  const file = new FakeFile();
  file.answer = (count) => (count > 3 ? ENOSPC : null);
  const slots = file.slots(64);
  for (let n = 0; n < 64; n++) slots.take();
  await slots.settle();
  t.deepEqual(file.attempts.slice(0, 2), [4, 2]);
  file.attempts.length = 0;
  file.answer = () => EIO;
  await t.throwsAsync(slots.prepare(8, 'put'), { code: 'ERR_AIOKV_IO' });
  t.is(file.attempts.length, 1);
});

test('growth begins ahead of need, once, and `settle` waits for it', async (t) => {
  const file = new FakeFile();
  let open: () => void = () => undefined;
  file.gate = new Promise((resolve) => (open = resolve));
  const slots = file.slots(100);
  for (let n = 0; n < 96; n++) slots.take();
  t.is(file.attempts.length, 1);
  t.is(slots.availableFor('checkpoint'), 4);
  const settled = slots.settle();
  open();
  await settled;
  t.is(slots.availableFor('checkpoint'), 10);
  t.is(slots.take(), 96, 'the lowest first');
});

test('SLOTS-5: at its ceiling the file grows by a slot, after a wait, or not if slots are given back', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(40);
  const clock = new ManualClock();
  slots.expectSpace({ ceilingBytes: 20 * GEOMETRY.segmentBytes, isCleaning: false }, clock);
  for (let n = 0; n < 34; n++) slots.take();
  t.is(slots.availableFor('put'), 0);
  t.deepEqual(file.attempts, [], 'nothing ahead of need');
  let isReady = false;
  const first = slots.prepare(1, 'put').then(() => (isReady = true));
  await new Promise((resolve) => setImmediate(resolve));
  t.false(isReady);
  clock.advance(1000);
  await first;
  t.deepEqual(file.attempts, [1]);
  slots.take();
  const second = slots.prepare(1, 'put');
  slots.giveBack([7]);
  await second;
  t.deepEqual(file.attempts, [1], 'what is given back ends the wait');
  // A deletion makes room, so it does not wait.
  for (let n = 0; n < 2; n++) slots.take();
  await slots.prepare(2, 'delete');
  t.true(file.attempts.length > 1);
});

test('CHECK-6: a file is stuck while its last growth has failed, and not at its ceiling', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(40);
  slots.expectSpace({ ceilingBytes: GEOMETRY.segmentBytes, isCleaning: false }, new ManualClock());
  while (slots.availableFor('put') > 0) slots.take();
  t.false(slots.isStuck, 'at the ceiling');
  file.answer = () => ENOSPC;
  await t.throwsAsync(slots.prepare(slots.availableFor('clean') + 1, 'clean'));
  t.true(slots.isStuck);
  file.answer = () => null;
  await slots.prepare(slots.availableFor('clean') + 1, 'clean');
  t.false(slots.isStuck, 'there is room again');
});

test('SLOTS-1: while victims are cleaned the reserve is what a checkpoint needs, and three, unless the file is stuck', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(100, { nextBytes: 4 * SLOT_PAGES });
  const usual = slots.availableFor('put');
  t.is(slots.availableFor('put', true), 93);
  t.true(usual < 93);
  t.is(slots.availableFor('delete', true), slots.availableFor('delete'));
  file.answer = () => ENOSPC;
  await t.throwsAsync(slots.prepare(200, 'put'));
  t.is(slots.availableFor('put', true), usual);
});

for (const survivors of [0, 1, 2, 3]) {
  for (const areFirst of [true, false]) {
    const order = areFirst ? 'before' : 'behind';
    test(`SLOTS-7: ${survivors} slots of survivors ${order} the last put of a device that is full: deletions go on`, async (t) => {
      const file = new FakeFile();
      const slots = file.slots(100, { nextBytes: 4 * SLOT_PAGES });
      const space = { ceilingBytes: Infinity, isCleaning: true };
      slots.expectSpace(space, new ManualClock());
      file.answer = () => ENOSPC;
      const taken: number[] = [];
      const clean = async (): Promise<void> => {
        for (let n = 0; n < survivors; n++) {
          await slots.prepare(1, 'clean');
          slots.take();
        }
      };
      if (areFirst) await clean();
      while (slots.availableFor('put') > 0) taken.push(slots.take());
      await t.throwsAsync(slots.prepare(1, 'put'), { code: 'ERR_AIOKV_NO_SPACE' });
      t.true(slots.isStuck);
      if (!areFirst) await clean();
      for (let n = 0; n < 4; n++) {
        await slots.prepare(1, 'checkpoint');
        slots.take();
      }
      // What the checkpoint replaces, and one more than the survivors have taken.
      slots.giveBack(taken.splice(0, 4 + survivors + 1));
      space.isCleaning = false;
      t.true(slots.availableFor('delete') > 0);
      t.true(slots.availableFor('clean') > 0);
    });
  }
}

test('a file above its ceiling gives back what was left all the time', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(100);
  slots.expectSpace({ ceilingBytes: 50 * GEOMETRY.segmentBytes, isCleaning: false }, new ManualClock());
  for (let n = 0; n < 80; n++) slots.take();
  await slots.punchExcess(false);
  t.is(file.punched.length, 4, 'some at a time');
  for (let n = slots.availableFor('put'); n > 1; n--) slots.take();
  slots.giveBack(Array.from({ length: 9 }, (_, i) => i));
  file.punched.length = 0;
  await slots.punchExcess(false);
  t.deepEqual(file.punched, [], 'all but one were needed in the meantime');
});

test('SLOTS-6: blocks of free slots are given back from the end, and allocated again when they are needed', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(100);
  for (let n = 0; n < 90; n++) slots.take();
  await slots.settle();
  file.attempts.length = 0;
  const before = slots.count;
  slots.giveBack(Array.from({ length: 60 }, (_, i) => 30 + i));
  await slots.punchExcess(true);
  t.is(slots.count, before - file.punched.length);
  t.true(file.punched.length > 40);
  t.deepEqual(
    file.punched,
    [...file.punched].sort((a, b) => a - b),
  );
  t.true(Math.min(...file.punched) > 30, 'the lowest stay');
  t.true(slots.availableFor('put') > 0);
  const punched = file.punched.length;
  await slots.punchExcess(true);
  t.is(file.punched.length, punched, 'no more of them');
  const needed = slots.availableFor('put') + 5;
  await slots.prepare(needed, 'put');
  t.true(slots.availableFor('put') >= needed);
  t.true(slots.count <= before, 'holes are filled before the file becomes longer');
});

test('SLOTS-6: what an idle store keeps is a part of what the file takes then', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(2000);
  for (let n = 0; n < 1990; n++) slots.take();
  await slots.settle();
  slots.giveBack(Array.from({ length: 1980 }, (_, i) => 10 + i));
  await slots.punchExcess(true);
  t.log(`${slots.count} slots are kept for 10 that are in use`);
  t.true(slots.count < 64);
  t.true(slots.availableFor('put') > 0);
});

test('SLOTS-6: a slot is not ready while its blocks are given back, nor when that fails', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(64);
  let open: () => void = () => undefined;
  file.gate = new Promise((resolve) => (open = resolve));
  file.punchAnswer = (slot) => (slot === 40 ? EIO : null);
  const punching = slots.punchExcess(true);
  const ready = slots.availableFor('checkpoint');
  t.true(ready < 30);
  const taken = new Set(Array.from({ length: ready }, () => slots.take()));
  open();
  await punching;
  for (const slot of file.punched) t.false(taken.has(slot), `${slot}`);
  t.false(file.punched.includes(40));
  t.true(Math.max(...file.punched) < 40, 'a file system that cannot do it is not asked again');
  // 40 may have lost its blocks; those behind it have theirs.
  await slots.settle();
  t.true(slots.availableFor('checkpoint') >= 64 - 41);
});

test('SLOTS-6: `shrink` cuts the file off behind the last slot in use, and gives all other blocks back', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(64);
  for (let n = 0; n < 30; n++) slots.take();
  await slots.settle();
  slots.giveBack([3, 4, 20, 29]);
  await slots.shrink();
  t.deepEqual(file.cuts, [29]);
  t.deepEqual(file.punched, [3, 4, 20]);
  t.is(slots.count, 26);
  t.is(slots.availableFor('checkpoint'), 0);
  // It grows again: first where it has holes.
  await slots.prepare(1, 'checkpoint');
  t.is(slots.take(), 3);
  await slots.prepare(slots.availableFor('checkpoint') + 20, 'checkpoint');
  const taken = Array.from({ length: slots.availableFor('checkpoint') }, () => slots.take());
  t.deepEqual(taken.slice(0, 4), [4, 20, 29, 30]);
});

test('SLOTS-6: nothing grows while the file is cut off, and what is refused stays as it was', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(64);
  for (let n = 0; n < 10; n++) slots.take();
  await slots.settle();
  let open: () => void = () => undefined;
  file.gate = new Promise((resolve) => (open = resolve));
  const shrinking = slots.shrink();
  const prepared = slots.prepare(5, 'checkpoint');
  for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate);
  t.is(file.attempts.length, 0);
  open();
  await Promise.all([shrinking, prepared]);
  t.deepEqual(file.cuts, [10]);
  t.is(slots.take(), 10);
  const refusing = new FakeFile();
  refusing.cutAnswer = () => EIO;
  const whole = refusing.slots(64);
  for (let n = 0; n < 10; n++) whole.take();
  await whole.settle();
  await whole.shrink();
  t.is(refusing.punched.length, 54, 'their blocks are given back one by one');
});

test('SLOTS-6: a long end is cut off piece by piece, and what is refused amid that stays', async (t) => {
  const most = (64 * MIB) / GEOMETRY.segmentBytes;
  const count = 3 * most + 10;
  for (const refusedAt of [Infinity, 2]) {
    const file = new FakeFile();
    file.cutAnswer = () => (file.cuts.length === refusedAt ? EIO : null);
    const slots = file.slots(count);
    for (let n = 0; n < 10; n++) slots.take();
    await slots.settle();
    await slots.shrink();
    const lengths = [count - most, count - 2 * most, 10];
    t.deepEqual(file.cuts, lengths.slice(0, refusedAt));
    t.is(slots.count, 10);
    t.is(file.punched.length, refusedAt === Infinity ? 0 : most);
    t.is(slots.freeCount, 0);
    // It grows again from where it ends.
    await slots.prepare(1, 'checkpoint');
    t.is(slots.take(), 10);
  }
});

test('SLOTS-6: after an opening free slots get their blocks again, as many as are wanted', async (t) => {
  const file = new FakeFile();
  const slots = file.slots(64);
  await slots.distrustFree();
  t.true(slots.availableFor('put') > 0 && slots.availableFor('checkpoint') < 20);
  t.deepEqual(file.attempts.length, 1, 'neighbours at once');
  t.is(slots.take(), 0);
  // None can have blocks: the store opens all the same.
  const full = new FakeFile();
  full.answer = () => ENOSPC;
  const none = full.slots(64);
  await none.distrustFree();
  t.is(none.availableFor('checkpoint'), 0);
  await t.throwsAsync(none.prepare(1, 'put'), { code: 'ERR_AIOKV_NO_SPACE' });
});

test('SLOTS-4: near the most that a root can lead to puts end, deletions and checkpoints go on', async (t) => {
  const file = new FakeFile();
  const most = mostIndexSlots(GEOMETRY);
  const needs = { indexBytes: 0.85 * most * SLOT_PAGES, nextBytes: 0, likelyBytes: 0, replacedBytes: 0 };
  const slots = file.slots(1000);
  slots.expectCheckpoints(needs);
  await slots.prepare(1, 'put');
  slots.take();
  t.false(slots.isReserveInUse);
  needs.indexBytes = 0.95 * most * SLOT_PAGES;
  const attempts = file.attempts.length;
  slots.take();
  t.true(slots.isReserveInUse, 'every put asks now');
  for (const count of [0, 1]) {
    await t.throwsAsync(slots.prepare(count, 'put'), {
      code: 'ERR_AIOKV_STORE_TOO_LARGE',
      message: /segments of 65536 bytes allow. Delete keys, or copy the store/,
    });
  }
  await slots.prepare(1, 'delete');
  await slots.prepare(1, 'checkpoint');
  t.is(file.attempts.length, attempts, 'the file does not grow for it');
  needs.indexBytes = 0.5 * most * SLOT_PAGES;
  slots.giveBack([slots.take()]);
  t.false(slots.isReserveInUse);
  await slots.prepare(1, 'put');
});

test('SLOTS-4: segments of the log take their share of the root', async (t) => {
  // Without an index, so many segments fill the parts of the table.
  const most = mostParts(GEOMETRY) / partsOf(GEOMETRY, 0, 1);
  const used = { has: () => true } as unknown as ReadonlySet<number>;
  const slotsWith = (share: number, indexSlots: number): Slots => {
    const slots = new Slots(new FakeFile() as unknown as DirectFile, GEOMETRY, Math.floor(share * most), used);
    slots.expectCheckpoints({ indexBytes: indexSlots * SLOT_PAGES, nextBytes: 0, likelyBytes: 0, replacedBytes: 0 });
    return slots;
  };
  await slotsWith(0.89, 0).prepare(1, 'put');
  const full = slotsWith(0.91, 0);
  await t.throwsAsync(full.prepare(1, 'put'), {
    code: 'ERR_AIOKV_STORE_TOO_LARGE',
    message: /segments of 65536 bytes/,
  });
  await full.prepare(1, 'delete');
  // Half for each.
  const half = mostParts(GEOMETRY) / (2 * partsOf(GEOMETRY, 1, 0));
  await slotsWith(0.39, half).prepare(1, 'put');
  await t.throwsAsync(slotsWith(0.41, half).prepare(1, 'put'), { code: 'ERR_AIOKV_STORE_TOO_LARGE' });
});

test('SLOTS-4: the file never grows beyond what an index entry can lead to', async (t) => {
  const file = new FakeFile();
  const geometry = { ...GEOMETRY, segmentBytes: 32 * 1024 * 1024 };
  const slotCount = Slots.slotCountOf(geometry, MOST_FILE_BYTES) - 1;
  const used = { has: () => true } as unknown as ReadonlySet<number>;
  const slots = new Slots(file as unknown as DirectFile, geometry, slotCount, used);
  await slots.prepare(1, 'checkpoint');
  const last = slots.take();
  t.is(last, slotCount);
  t.true(Slots.offsetOf(geometry, last + 1) <= MOST_FILE_BYTES);
  await slots.settle();
  for (const use of USES) {
    await t.throwsAsync(slots.prepare(1, use), { code: 'ERR_AIOKV_STORE_TOO_LARGE', message: /128 TiB/ });
  }
});

test('a root with so many index segments, and images of 1 KiB, fits into one image', (t) => {
  for (let segmentBytes = 65536; segmentBytes <= 32 * 1024 * 1024; segmentBytes *= 2) {
    for (const writeAlignment of [4096, 16384]) {
      const geometry = { ...GEOMETRY, segmentBytes, writeAlignment };
      const most = mostIndexSlots(geometry);
      const largest = mostImageBytes(geometry);
      const pages = most * (segmentBytes / 1024);
      const mappingParts = Math.ceil(pages / Math.min(4096, Math.floor((largest - 24) / 16)));
      const tableParts = Math.ceil(most / Math.floor((Math.min(65536, largest) - 24) / 72));
      const bytes = rootBytes(mappingParts, tableParts);
      t.true(bytes <= largest, `${segmentBytes}`);
      t.true(bytes > 0.99 * largest, `${segmentBytes}: no more is given away than must be`);
    }
  }
});

test('short pages count as 1 KiB for the root, and may grow by an eighth of a page', (t) => {
  const standing = {
    slots: new Set<number>(),
    isCounted: true,
    pages: 1000,
    imagesBytes: 300_000,
    mappingBytes: 16_024,
  };
  t.is(mostMappedBytes(standing, 5000), 1000 * 1024 + 5000);
  t.is(mostIndexBytes(standing, 0, 4096), 316_024);
  t.is(mostIndexBytes(standing, 200, 4096), 316_224 + 10 * 512, 'ten entries change ten pages');
  t.is(mostIndexBytes(standing, 1_000_000, 4096), 1_316_024 + 1000 * 512, 'no more pages than there are');
  t.is(likelyIndexBytes(standing, 1_000_000, 4096, 1), 1_316_024 + 1000 * 512);
  t.is(likelyIndexBytes(standing, 1_000_000, 4096, 0), 441_024 + 1000 * 512, 'entries that replace others take little');
});

test('the table of docs/format.md says what the code does', (t) => {
  const text = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| (\d+) ([KM])iB(?: \(default\))? \| ([\d,]+) \|/gm)];
  t.is(rows.length, 6);
  for (const [, size, unit, most] of rows) {
    const segmentBytes = Number(size) * (unit === 'K' ? 1024 : 1024 * 1024);
    t.is(mostIndexSlots({ ...GEOMETRY, segmentBytes }), Number(most?.replaceAll(',', '')), `${size} ${unit}iB`);
  }
});

test('READY-1: the lowest slot first, whatever was given back when', (t) => {
  const random = new Random(7);
  const used = new Set([0, 5, 6]);
  const ready = new ReadySlots(40, used);
  const model = new Set([...Array(40).keys()].filter((slot) => !used.has(slot)));
  for (let n = 0; n < 20_000; n++) {
    const slot = random.below(200);
    if (random.below(2) === 0) {
      if (model.has(slot)) t.throws(() => ready.add(slot), { message: /given back once/ });
      else {
        ready.add(slot);
        model.add(slot);
      }
    } else {
      const lowest = model.size === 0 ? undefined : Math.min(...model);
      if (ready.take() !== lowest) t.fail(`step ${n}: not ${lowest}`);
      if (lowest !== undefined) model.delete(lowest);
    }
    if (ready.count !== model.size) t.fail(`step ${n}: ${ready.count}`);
  }
  t.true(model.size > 0);
});
