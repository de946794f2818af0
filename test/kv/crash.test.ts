/**
 * Power cuts at every I/O of random histories over the simulated disk. AIOKV_CRASH_IMAGES says how many
 * images to look at, AIOKV_CRASH_SEED where to begin. A failure is shrunk and names the command that
 * shows it again, with AIOKV_CRASH_STEPS, AIOKV_CRASH_CUTS, and AIOKV_CRASH_PLANTED where a defect was planted.
 */
import test from 'ava';
import { seedOf } from '../helpers/seed.ts';
import { beginExploration, explore, exploreCase } from './crash/explorer.ts';
import type { Exploration } from './crash/explorer.ts';
import { parseKept } from './crash/shrink.ts';

const IMAGES = Number(process.env['AIOKV_CRASH_IMAGES'] ?? 20_000);
const FEW_HISTORIES = 25;
const SEED = seedOf('AIOKV_CRASH_SEED');
const STEPS = process.env['AIOKV_CRASH_STEPS'];
const CUTS = Number(process.env['AIOKV_CRASH_CUTS'] ?? 0);

const PLANTED = process.env['AIOKV_CRASH_PLANTED'] ?? '';

/** Of a single case, the one test that it belongs to is run. */
const testOf = (planted: string): typeof test | typeof test.skip =>
  STEPS === undefined || PLANTED === planted ? test : test.skip;

type Planted = Parameters<typeof explore>[2];

/** Long runs tell how far they are. */
const IMAGES_PER_LINE = 100_000;

async function exploreAloud(
  images: number,
  planted: Planted,
  mostAttempts: number,
  skipped: number,
): Promise<Exploration> {
  const all = beginExploration();
  while (all.images < images && all.violation === null) {
    const most = Math.min(IMAGES_PER_LINE, images - all.images);
    const found = await explore(SEED + skipped + all.seeds, most, planted, mostAttempts);
    all.images += found.images;
    all.distinctImages += found.distinctImages;
    all.recoveryImages += found.recoveryImages;
    all.histories += found.histories;
    all.cleanedHistories += found.cleanedHistories;
    all.movedRecords += found.movedRecords;
    all.movedPieces += found.movedPieces;
    all.orderedRecords += found.orderedRecords;
    all.seeds += found.seeds;
    all.violation = found.violation;
    if (images > IMAGES_PER_LINE) console.error(`${all.images} images of seeds ${SEED} to ${SEED + all.seeds - 1}`);
  }
  return all;
}

/**
 * Shrinks what is not expected; what is planted is only shrunk where that is quick.
 *
 * @param skipped so many seeds, whose histories the defect is known to do no harm in. It is a matter of time only: where the
 *     next ones do not show it any more, later ones are looked at.
 */
async function look(images: number, planted: Planted = {}, mostAttempts = 60, skipped = 0): Promise<Exploration> {
  if (STEPS === undefined) return exploreAloud(images, planted, mostAttempts, skipped);
  const result = beginExploration();
  const found = { seed: SEED, cuts: CUTS, kept: parseKept(STEPS, 0) };
  result.violation = await exploreCase(found, planted, result);
  return result;
}

testOf('')('a power cut at any I/O loses nothing that was acknowledged as flushed', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const found = await look(IMAGES);
  const { images, distinctImages, recoveryImages, histories } = found;
  const { cleanedHistories, movedRecords, movedPieces, orderedRecords, violation } = found;
  if (violation !== null) t.log(violation);
  t.is(violation, null);
  t.log(`${images} images of ${histories} histories from seed ${SEED}, ${distinctImages} of them distinct`);
  t.log(`${recoveryImages} images of cuts in recoveries`);
  t.log(
    `cleanings of ${cleanedHistories} histories have moved ${movedRecords} records, and ${movedPieces} fragments were moved`,
  );
  t.log(`scans have had ${orderedRecords} records moved`);
  if (STEPS !== undefined) return;
  t.true(images >= IMAGES);
  // A few histories say little.
  if (histories < FEW_HISTORIES) return;
  t.true(recoveryImages > images / 200);
  t.true(cleanedHistories >= histories / 2);
  t.true(movedPieces > 0);
  t.true(orderedRecords > histories);
});

testOf('earlyAcknowledgement')('an acknowledgement before the flush is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(IMAGES, { earlyAcknowledgement: true });
  t.regex(violation ?? '', /were acknowledged as flushed/);
  if (STEPS === undefined)
    t.regex(violation ?? '', /\n {4}(put|del|batch) [^\n]*\n {2}again: \S+ AIOKV_CRASH_SEED/, 'shrunk to one write');
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('coveringDsync')('a write that is taken for a flush of those before it is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(IMAGES, { coveringDsync: true }, 0, 6);
  t.regex(violation ?? '', /were acknowledged as flushed/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('earlyReuse')('slots of the index that are used again before the checkpoint is durable are found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(2 * IMAGES, { earlyReuse: true }, 0, 3);
  t.regex(violation ?? '', /opening or reading failed|no prefix/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('earlyRecordReuse')('so is it of segments with records in which nothing lives any more', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(2 * IMAGES, { earlyRecordReuse: true }, 0);
  t.regex(violation ?? '', /opening or reading failed|no prefix/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('uncomparedMoves')('a cleaning that moves records to which the tree does not lead is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(2 * IMAGES, { uncomparedMoves: true }, 0);
  t.regex(violation ?? '', /failed|no prefix/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('earlyForgottenRanges')(
  'deleted ranges that are forgotten before the tree lacks what they delete are found',
  async (t) => {
    t.timeout(540_000 + 10 * IMAGES);
    const { violation, images } = await look(2 * IMAGES, { earlyForgottenRanges: true }, 0);
    t.regex(violation ?? '', /no prefix|were acknowledged as flushed/);
    t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
  },
);

testOf('swallowedPuts')('a range that swallows later puts is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(2 * IMAGES, { swallowedPuts: true }, 0);
  t.regex(violation ?? '', /no prefix|were acknowledged as flushed/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('miscounted')('live bytes that are miscounted are found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(IMAGES, { miscounted: true }, 0);
  t.regex(violation ?? '', /slot \d+ has \d+ live bytes, not \d+/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('unflushedPages')(
  'a superblock that is saved before the pages of its checkpoint are flushed is found',
  async (t) => {
    t.timeout(540_000 + 10 * IMAGES);
    const { violation, images } = await look(IMAGES, { unflushedPages: true }, 0);
    t.regex(violation ?? '', /failed|no prefix|were acknowledged as flushed/);
    t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
  },
);

testOf('tornBatches')('a recovery that ignores where a batch ends is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(IMAGES, { tornBatches: true }, 0);
  t.regex(violation ?? '', /no prefix/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});

testOf('lateStart')('a replay that starts behind the checkpoint, inside a batch perhaps, is found', async (t) => {
  t.timeout(540_000 + 10 * IMAGES);
  const { violation, images } = await look(2 * IMAGES, { lateStart: true }, 0);
  t.regex(violation ?? '', /failed|no prefix|were acknowledged as flushed/);
  t.log(`found after ${images} images: ${violation?.split('\n')[0]}`);
});
