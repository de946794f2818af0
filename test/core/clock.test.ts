/** The clock of the system, and the one that a test moves by hand. */
import { ManualClock, systemClock } from '@aiokv/core';
import test from 'ava';

test('the system clock goes forward and calls back', async (t) => {
  const before = systemClock.nowMs();
  await new Promise<void>((resolve) => {
    systemClock.after(5, resolve);
  });
  t.true(systemClock.nowMs() - before >= 4);
});

test('a cancelled timer of the system clock stays silent', async (t) => {
  let called = false;
  systemClock.after(1, () => (called = true))();
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.false(called);
});

test('a manual clock stands still until it is moved', (t) => {
  const clock = new ManualClock();
  let calls = 0;
  clock.after(10, () => calls++);
  t.is(clock.nowMs(), 0);
  clock.advance(9.5);
  t.deepEqual([clock.nowMs(), calls], [9.5, 0]);
  clock.advance(0.5);
  t.deepEqual([clock.nowMs(), calls], [10, 1]);
  clock.advance(100);
  t.is(calls, 1);
});

test('what is due is called in order, each at its time, those of one time in order of their making', (t) => {
  const clock = new ManualClock();
  const calls: string[] = [];
  for (const [name, delayMs] of [
    ['c', 30],
    ['a', 10],
    ['b1', 20],
    ['b2', 20],
  ] as const) {
    clock.after(delayMs, () => calls.push(`${name}@${clock.nowMs()}`));
  }
  clock.advance(25);
  t.deepEqual(calls, ['a@10', 'b1@20', 'b2@20']);
  clock.advance(25);
  t.deepEqual(calls.at(-1), 'c@30');
  t.is(clock.nowMs(), 50);
});

test('a callback may ask for another, which is called in the same move if due', (t) => {
  const clock = new ManualClock();
  const calls: number[] = [];
  const again = (): void => {
    calls.push(clock.nowMs());
    clock.after(10, again);
  };
  clock.after(10, again);
  clock.advance(35);
  t.deepEqual(calls, [10, 20, 30]);
});

test('a cancelled timer of a manual clock stays silent, also when another cancels it', (t) => {
  const clock = new ManualClock();
  const calls: string[] = [];
  const cancel = clock.after(20, () => calls.push('late'));
  clock.after(10, () => cancel());
  clock.advance(30);
  t.deepEqual(calls, []);
  cancel();
});
