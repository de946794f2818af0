/** Which way of flushing a lone frame the log takes: packages/kv/src/log/flush-choice.ts. */
import test from 'ava';
import { ManualClock, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import { FlushChoice } from '../../packages/kv/src/log/flush-choice.ts';

/** Flushes so many frames; returns how many were written with RWF_DSYNC. */
function flush(choice: FlushChoice, frames: number, throughMs: () => number, apartMs: () => number): number {
  let through = 0;
  for (let n = 0; n < frames; n++) {
    const { isThrough } = choice;
    if (isThrough) through++;
    choice.note(isThrough, isThrough ? throughMs() : apartMs());
  }
  return through;
}

const takes = (ms: number) => (): number => ms;

test('both ways are tried in turns, then the faster one is held, then both are tried again', (t) => {
  const choice = new FlushChoice(true);
  t.is(flush(choice, 32, takes(0.2), takes(0.1)), 16);
  t.is(flush(choice, 4096, takes(0.2), takes(0.1)), 0);
  // The device has changed.
  t.is(flush(choice, 32, takes(0.1), takes(0.2)), 16);
  t.is(flush(choice, 4096, takes(0.1), takes(0.2)), 4096);
  t.is(flush(choice, 32, takes(0.1), takes(0.2)), 16);
});

test('one request instead of two may take a little longer, and single delays do not count', (t) => {
  const nearly = new FlushChoice(true);
  flush(nearly, 32, takes(0.105), takes(0.1));
  t.true(nearly.isThrough);
  const disturbed = new FlushChoice(true);
  const random = new Random(1);
  const delayed = (ms: number) => (): number => (random.chance(0.25) ? 50 : ms);
  flush(disturbed, 32, delayed(0.1), delayed(0.2));
  t.true(disturbed.isThrough);
});

test('an engine without RWF_DSYNC has one way', (t) => {
  t.is(flush(new FlushChoice(false), 5000, takes(0), takes(1)), 0);
});

test('a flushed put of one writer is one request to the device', async (t) => {
  const disk = new SimulatedDisk({ seed: 1 });
  // No way takes longer than the other while time stands still.
  const store = await open('/store', { platform: disk, clock: new ManualClock() });
  for (let n = 0; n < 100; n++) await store.put(`key${n}`, 'value');
  const before = store.statistics().queue.accepted;
  for (let n = 0; n < 100; n++) await store.put(`key${n}`, 'other');
  t.is(store.statistics().queue.accepted - before, 100);
  const kept = await open('/store', { platform: disk.powerCut('none', new Random(1)) });
  t.is((await kept.get('key99'))?.toString(), 'other');
  await kept.close();
  await store.close();
});
