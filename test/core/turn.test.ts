/** How long a turn of the event loop may be busy with the store. */
import test from 'ava';
import { ManualClock } from '@aiokv/core';
import { TurnBudget, nextTurn } from '@aiokv/core';

test('a turn is spent after its time, and the next begins anew', async (t) => {
  const clock = new ManualClock();
  const budget = new TurnBudget(clock);
  t.false(budget.isSpent(100));
  clock.advance(1.5);
  t.true(budget.isSpent(100));
  t.true(budget.isSpent(), 'until it ends');
  await nextTurn();
  t.false(budget.isSpent(100));
});

test('work in the background takes a quarter of what others take of a turn, within limits', async (t) => {
  const clock = new ManualClock();
  const budget = TurnBudget.ofBackground(clock);
  for (const [turnMs, sliceMs] of [
    [0.5, 0.25],
    [4.25, 1],
    [100, 2],
    [0, 0.25],
  ] as const) {
    budget.begin();
    clock.advance(turnMs);
    await nextTurn();
    t.false(budget.isSpent(100));
    clock.advance(sliceMs);
    t.false(budget.isSpent(100), `${sliceMs} ms after a turn of ${turnMs} ms`);
    clock.advance(1 / 64);
    t.true(budget.isSpent(100));
    await nextTurn();
    budget.begin();
    await nextTurn();
  }
});

test('the clock is asked once in sixteen operations, however many there are to a question', (t) => {
  const clock = new ManualClock();
  const one = new TurnBudget(clock);
  one.begin();
  const many = new TurnBudget(clock);
  many.begin();
  clock.advance(4);
  t.true(many.isSpent(1000), 'a batch of a thousand is enough to look');
  let questions = 1;
  while (!one.isSpent()) questions++;
  t.is(questions, 16);
});

test('the time from begin counts', (t) => {
  const clock = new ManualClock();
  const budget = new TurnBudget(clock);
  budget.begin();
  clock.advance(4);
  t.true(budget.isSpent(1000));
});
