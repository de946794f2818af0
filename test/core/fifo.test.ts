import test from 'ava';
import { Fifo, Random, Waiters } from '@aiokv/core';

test('a queue gives its entries in the order in which they came, whatever its length', (t) => {
  const random = new Random(7);
  const fifo = new Fifo<number>();
  const model: number[] = [];
  let next = 0;
  for (let round = 0; round < 2000; round++) {
    for (let n = random.below(round % 2 === 0 ? 60 : 20); n > 0; n--) {
      fifo.push(next);
      model.push(next++);
    }
    for (let n = random.below(round % 3 === 0 ? 60 : 20); n > 0; n--) {
      if (fifo.peek() !== model[0]) t.fail(`peek differs in round ${round}`);
      if (fifo.shift() !== model.shift()) t.fail(`shift differs in round ${round}`);
    }
    if (fifo.length !== model.length) t.fail(`length differs in round ${round}`);
  }
  t.true(model.length > 512);
  t.deepEqual([...fifo], model);
  t.deepEqual([...fifo.drain()], model);
  t.true(fifo.isEmpty);
  t.is(fifo.shift(), undefined);
});

test('entries that were taken are let go of, though the queue never runs empty', async (t) => {
  const { gc } = globalThis;
  t.truthy(gc);
  const fifo = new Fifo<object>();
  const refs: WeakRef<object>[] = [];
  const add = (): void => {
    const entry = {};
    refs.push(new WeakRef(entry));
    fifo.push(entry);
  };
  add();
  for (let i = 0; i < 5000; i++) {
    add();
    fifo.shift();
  }
  await new Promise((resolve) => setImmediate(resolve));
  gc?.();
  t.is(fifo.length, 1);
  t.true(refs.filter((ref) => ref.deref() !== undefined).length < 600);
});

test('draining leaves what is added meanwhile', (t) => {
  const fifo = new Fifo<number>();
  fifo.push(1);
  fifo.push(2);
  const seen: number[] = [];
  for (const entry of fifo.drain()) {
    seen.push(entry);
    fifo.push(entry + 10);
  }
  t.deepEqual(seen, [1, 2]);
  t.deepEqual([...fifo], [11, 12]);
});

test('waiters are woken once, in order, and those of later wait on', async (t) => {
  const waiters = new Waiters();
  const seen: string[] = [];
  const first = waiters.wait().then(() => seen.push('first'));
  const second = waiters.wait().then(() => seen.push('second'));
  t.true(waiters.wakeOne());
  await first;
  t.deepEqual(seen, ['first']);
  waiters.wakeAll();
  await second;
  const third = waiters.wait();
  waiters.failAll(new Error('the end'));
  await t.throwsAsync(third, { message: 'the end' });
  t.true(waiters.isEmpty);
  t.false(waiters.wakeOne());
});
