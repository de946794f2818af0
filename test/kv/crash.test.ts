/**
 * Power cuts at every I/O of random histories over the simulated disk. AIOKV_CRASH_IMAGES says how many
 * images to look at, AIOKV_CRASH_SEED where to begin; a failure names the seed that shows it again.
 */
import test from 'ava';
import { explore } from './crash/explorer.ts';

const IMAGES = Number(process.env['AIOKV_CRASH_IMAGES'] ?? 20_000);
const SEED = Number(process.env['AIOKV_CRASH_SEED'] ?? 1);

test('a power cut at any I/O loses nothing that was acknowledged as flushed', async (t) => {
  t.timeout(540_000);
  const { images, histories, violation } = await explore(SEED, IMAGES);
  t.is(violation, null);
  t.true(images >= IMAGES);
  t.log(`${images} images of ${histories} histories from seed ${SEED}`);
});

test('an acknowledgement before the flush is found', async (t) => {
  t.timeout(540_000);
  const { violation, images } = await explore(SEED, IMAGES, { earlyAcknowledgement: true });
  t.regex(violation ?? '', /were acknowledged as flushed/);
  t.log(`found after ${images} images: ${violation}`);
});

test('slots that are used again before the checkpoint is durable are found', async (t) => {
  t.timeout(540_000);
  const { violation, images } = await explore(SEED, 2 * IMAGES, { earlyReuse: true });
  t.regex(violation ?? '', /opening or reading failed|no prefix/);
  t.log(`found after ${images} images: ${violation}`);
});

test('a replay that starts behind the checkpoint, inside a batch perhaps, is found', async (t) => {
  t.timeout(540_000);
  const { violation, images } = await explore(SEED, 2 * IMAGES, { lateStart: true });
  t.regex(violation ?? '', /opening or reading failed|no prefix|were acknowledged as flushed/);
  t.log(`found after ${images} images: ${violation}`);
});
