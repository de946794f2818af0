/**
 * Stores that are not what was written: every byte flipped, the file cut off, sectors garbled, parts of it exchanged. The
 * answer is right, or an error with a code, in bounded time and memory.
 *
 * Of the bytes that are flipped one at a time, nearly all are in sectors that are read when the store is opened and all of it
 * is read: without the others everything happens as it does with them. AIOKV_GARBAGE=all flips those and filler, too, and
 * each byte in several ways.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { GEOMETRY } from './crash/explorer.ts';
import { PATH, SLOTS_AT, judge, judgeDisk, makeSpecimen } from './garbage/specimen.ts';
import type { Contents, Specimen, Tally } from './garbage/specimen.ts';

const ALL = process.env['AIOKV_GARBAGE'] === 'all';
const SECTOR = 512;
const SUPERBLOCK_DISTANCE = SLOTS_AT / 4;
const { segmentBytes } = GEOMETRY;
/** Runs of bytes in which nothing but one value occurs are filler. */
const RUN_BYTES = 16;
const FILLER_CHANCE = 0.002;
const UNREAD_CHANCE = 1 / 16;

/** What may be found when so many bytes from `from` on are not what was written. */
function allowedBy({ contents, last }: Specimen, from: number, length: number): Contents[] {
  return last !== null && from < last.to && from + length > last.from
    ? [contents, ...last.before.slice(-1)]
    : [contents];
}

function changed(bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy.set(piece, at);
  return copy;
}

const begin = (): Tally => ({ cases: 0, refused: 0, right: 0 });

function report(t: ExecutionContext, tally: Tally): void {
  t.log(`${tally.cases} cases: ${tally.refused} with an error, ${tally.right} right`);
}

/** The numbers of the sectors that are read when a store is judged. Nothing but the bytes decides which. */
async function sectorsRead(sound: SimulatedDisk, { contents }: Specimen): Promise<ReadonlySet<number>> {
  const disk = sound.powerCut('all', new Random(1));
  const sectors = new Set<number>();
  disk.onOperation = (_, phase, { kind, offset, lengthBytes }) => {
    if (kind !== 'read' || phase !== 'submitted') return;
    for (let at = offset; at < offset + lengthBytes; at += SECTOR) sectors.add(at / SECTOR);
  };
  await judgeDisk(disk, [contents], begin());
  return sectors;
}

function* meaningfulBytes(bytes: Uint8Array, read: ReadonlySet<number>, random: Random): Generator<number> {
  for (let run = 0; run < bytes.length; run += RUN_BYTES) {
    const first = bytes[run];
    const isFiller = bytes.subarray(run, run + RUN_BYTES).every((byte) => byte === first);
    const chance = (isFiller ? FILLER_CHANCE : 1) * (read.has(Math.floor(run / SECTOR)) ? 1 : UNREAD_CHANCE);
    for (let at = run; at < run + RUN_BYTES; at++) if (ALL || random.chance(chance)) yield at;
  }
}

// One after the other: a case is judged by the processor time of the process.
for (const isClosed of [true, false]) {
  const which = isClosed ? 'a closed store' : 'a store after a power cut';

  test.serial(`${which}: any byte flipped`, async (t) => {
    t.timeout(3_600_000);
    const specimen = await makeSpecimen({ isClosed });
    const sound = new SimulatedDisk({ seed: 2 });
    sound.placeRaw(PATH, specimen.bytes);
    const random = new Random(9);
    const tally = begin();
    t.is(await judge(specimen.bytes, [specimen.contents], tally, { writes: true }), null);
    t.is(tally.refused, 0);
    const read = await sectorsRead(sound, specimen);
    t.true(read.size > 200);
    for (const at of meaningfulBytes(specimen.bytes, read, random)) {
      for (const mask of ALL ? [1 << random.below(8), 0xff, specimen.bytes[at] as number] : [1 << random.below(8)]) {
        if (mask === 0) continue;
        const damaged = sound.powerCut('all', random);
        damaged.writeRaw(PATH, at, Uint8Array.of((specimen.bytes[at] as number) ^ mask));
        const fault = await judgeDisk(damaged, allowedBy(specimen, at, 1), tally);
        if (fault !== null) t.fail(`byte ${at} ^ ${mask}: ${fault}`);
      }
    }
    report(t, tally);
    t.true(tally.cases > 4000 && tally.refused > tally.cases / 4 && tally.right > 100);
  });

  test.serial(`${which}: sectors zeroed, garbled, or older`, async (t) => {
    t.timeout(540_000);
    const specimen = await makeSpecimen({ isClosed });
    const { bytes } = specimen;
    const random = new Random(11);
    const tally = begin();
    for (let at = 0; at < bytes.length; at += SECTOR) {
      const sector = bytes.subarray(at, at + SECTOR);
      const isFiller = sector.every((byte) => byte === sector[0]);
      if (isFiller && !random.chance(0.01)) continue;
      const other = SLOTS_AT + SECTOR * random.below((bytes.length - SLOTS_AT) / SECTOR);
      const replacements = [
        new Uint8Array(SECTOR),
        random.fill(new Uint8Array(SECTOR)),
        bytes.slice(other, other + SECTOR),
      ];
      for (const [n, replacement] of replacements.entries()) {
        const damaged = changed(bytes, at, replacement);
        const fault = await judge(damaged, allowedBy(specimen, at, SECTOR), tally, { writes: true });
        if (fault !== null) t.fail(`sector at ${at}, ${['zeroed', 'garbled', `as at ${other}`][n]}: ${fault}`);
      }
    }
    report(t, tally);
    t.true(tally.refused > 60 && tally.right > 30);
  });

  test.serial(`${which}: cut off at any sector, lengthened, emptied`, async (t) => {
    t.timeout(540_000);
    const specimen = await makeSpecimen({ isClosed });
    const { bytes } = specimen;
    const random = new Random(12);
    const tally = begin();
    const used = bytes.findLastIndex((byte) => byte !== 0);
    for (let length = 0; length <= bytes.length; length += SECTOR) {
      const allowed = allowedBy(specimen, length, bytes.length);
      // With the slot that is cut off all frames of the last segment may be lost, and what proves them.
      if (specimen.last !== null && length < specimen.last.to) allowed.push(...specimen.last.before);
      const fault = await judge(bytes.slice(0, length), allowed, tally, { writes: length % 4096 === 0 });
      if (fault !== null) t.fail(`cut off at ${length} of ${bytes.length}, of which ${used} are in use: ${fault}`);
    }
    for (const more of [1, SECTOR, 4096, segmentBytes - 1, segmentBytes, 5 * segmentBytes + SECTOR]) {
      for (const filler of [new Uint8Array(more), random.fill(new Uint8Array(more))]) {
        const longer = new Uint8Array(bytes.length + more);
        longer.set(bytes);
        longer.set(filler, bytes.length);
        const fault = await judge(longer, [specimen.contents], tally, { writes: true });
        if (fault !== null) t.fail(`${more} bytes longer: ${fault}`);
      }
    }
    report(t, tally);
    t.true(tally.refused > 100 && tally.right > 5);
  });

  test.serial(`${which}: slots exchanged, doubled, or those of another store`, async (t) => {
    t.timeout(540_000);
    const specimen = await makeSpecimen({ isClosed });
    const { bytes } = specimen;
    const other = await makeSpecimen({ isClosed, seed: 4 });
    const slots = Array.from(
      { length: (bytes.length - SLOTS_AT) / segmentBytes },
      (_, n) => SLOTS_AT + n * segmentBytes,
    );
    const tally = begin();
    for (const a of slots) {
      const theirs = changed(bytes, a, other.bytes.subarray(a, a + segmentBytes));
      const fault = await judge(theirs, allowedBy(specimen, a, segmentBytes), tally, { writes: true });
      if (fault !== null) t.fail(`the slot at ${a} of another store: ${fault}`);
      for (const b of slots) {
        if (a === b) continue;
        const doubled = changed(bytes, b, bytes.subarray(a, a + segmentBytes));
        for (const damaged of [doubled, changed(doubled, a, bytes.subarray(b, b + segmentBytes))]) {
          // Without the whole segment nothing tells of any of its frames.
          const isLastThere = [a, b].every((at) => allowedBy(specimen, at, segmentBytes).length === 1);
          const allowed = isLastThere ? [specimen.contents] : [specimen.contents, ...(specimen.last?.before ?? [])];
          const fault = await judge(damaged, allowed, tally, { writes: true });
          if (fault !== null) t.fail(`slots at ${a} and ${b} exchanged or doubled: ${fault}`);
        }
      }
    }
    report(t, tally);
    t.true(tally.refused > 10 && tally.right > 0);
  });

  test.serial(`${which}: superblocks of another time or another store`, async (t) => {
    const specimen = await makeSpecimen({ isClosed });
    const others = [await makeSpecimen({ isClosed, seed: 4 }), await makeSpecimen({ isClosed: true, seed: 5 })];
    const tally = begin();
    const sources = [...specimen.superblocks, ...others.flatMap(({ bytes, superblocks }) => [bytes, ...superblocks])];
    for (const [n, source] of sources.entries()) {
      // Bit n: copy n is the other one.
      for (let copies = 1; copies < 16; copies++) {
        const damaged = specimen.bytes.slice();
        for (let copy = 0; copy < 4; copy++) {
          const at = copy * SUPERBLOCK_DISTANCE;
          if ((copies & (1 << copy)) !== 0) damaged.set(source.subarray(at, at + 4096), at);
        }
        const fault = await judge(damaged, allowedBy(specimen, 0, 0), tally, { writes: true });
        if (fault !== null) t.fail(`superblock ${n} in copies ${copies.toString(2)}: ${fault}`);
      }
    }
    report(t, tally);
    t.true(tally.refused > 10 && tally.right > 10);
  });
}

test.serial('bytes by chance are no store', async (t) => {
  const random = new Random(13);
  const tally = begin();
  for (const length of [1, 7, 511, 512, 4095, 4096, 65_536, 65_537, SLOTS_AT, SLOTS_AT + segmentBytes, 1_000_003]) {
    for (const bytes of [
      random.fill(new Uint8Array(length)),
      new Uint8Array(length),
      new Uint8Array(length).fill(0xff),
    ]) {
      t.is(await judge(bytes, [], tally), null, `${length} bytes`);
    }
  }
  t.is(tally.refused, tally.cases);
});

test('a directory, or a file, where another is expected', async (t) => {
  const place = await mkdtemp(resolve('.tmp-garbage-'));
  const codeOf = async (directory: string): Promise<string> => {
    const error = await t.throwsAsync(open(directory));
    return (error as unknown as { code: string }).code;
  };
  try {
    await mkdir(join(place, 'a', 'data.aiokv'), { recursive: true });
    t.is(await codeOf(join(place, 'a')), 'ERR_AIOKV_NOT_A_STORE');
    await writeFile(join(place, 'file'), 'no directory');
    t.is(await codeOf(join(place, 'file')), 'ERR_AIOKV_NOT_A_STORE');
    await mkdir(join(place, 'b'));
    for (const length of [0, 1, 4096, 300_000]) {
      await writeFile(join(place, 'b', 'data.aiokv'), new Uint8Array(length).fill(7));
      t.is(await codeOf(join(place, 'b')), 'ERR_AIOKV_NOT_A_STORE', `${length} bytes`);
    }
    await mkdir(join(place, 'c', 'data.aiokv.new'), { recursive: true });
    t.is(await codeOf(join(place, 'c')), 'ERR_AIOKV_NOT_A_STORE');
  } finally {
    await rm(place, { recursive: true, force: true });
  }
});
