/** `readLatencyTargetMs`: packages/kv/src/file/read-pace.ts, and PACE-1 there. */
import { systemClock } from '@aiokv/core';
import type { Clock } from '@aiokv/core';
import test from 'ava';
import { ReadPace } from '../../packages/kv/src/file/read-pace.ts';

test('late reads halve the pace, reads in time raise it by a step', (t) => {
  const pace = new ReadPace(systemClock, 5);
  const before = pace.depth;
  for (let n = 0; n < 300; n++) pace.took(n % 100 === 0 ? 50 : 1);
  t.is(pace.depth, before + 3, 'one in a hundred may be late');
  pace.took(6);
  pace.took(6);
  t.is(pace.depth, Math.floor((before + 3) / 2));
  for (let n = 0; n < 10_000; n++) pace.took(5);
  t.deepEqual([pace.depth, pace.turns], [16, 1]);
});

test('the cleaning has an eighth of short turns at least, and comes back', (t) => {
  const pace = new ReadPace(systemClock, 5);
  const seen: number[] = [];
  for (let n = 0; n < 40; n++) {
    pace.took(6);
    seen.push(pace.turns);
  }
  t.deepEqual([pace.depth, pace.turns], [1, 8]);
  t.deepEqual([...new Set(seen)], [1, 2, 4, 8]);
  for (let n = 0; n < 300; n++) pace.took(1);
  t.deepEqual([pace.depth, pace.turns], [1, 1]);
});

/** Its time goes on by so much with each look: one look a turn. */
function clockOfTurns(turnMs: number): Clock & { looks: number } {
  return {
    looks: 0,
    nowMs() {
      return this.looks++ * turnMs;
    },
    after: () => () => {},
  };
}

test('PACE-1: the cleaning has an eighth of the time, however long turns are', async (t) => {
  for (const [turnMs, rests] of [
    [0.01, 8],
    [0.5, 4],
    [1.25, 2],
    [20, 1],
  ] as const) {
    const clock = clockOfTurns(turnMs);
    const pace = new ReadPace(clock, 5);
    for (let n = 0; n < 40; n++) pace.took(6);
    await pace.rest();
    t.is(clock.looks - 1, rests, `turns of ${turnMs} ms`);
  }
});
