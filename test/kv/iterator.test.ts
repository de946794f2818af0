/** An iterator on fakes of the index and of the reads. ITERATOR-4 is that of packages/kv/src/read/range-walk.ts. */
import test from 'ava';
import { TurnBudget, systemClock } from '@aiokv/core';
import type { IndexSnapshot } from '../../packages/kv/src/index/index-snapshot.ts';
import { StoreIterator } from '../../packages/kv/src/read/iterator.ts';
import { RangeWalk } from '../../packages/kv/src/read/range-walk.ts';
import type { RowShape, WalkHost } from '../../packages/kv/src/read/range-walk.ts';
import { Window } from '../../packages/kv/src/read/window.ts';
import { Slabs } from '../../packages/kv/src/read/slabs.ts';
import type { WindowRead } from '../../packages/kv/src/read/window-reader.ts';
import { encodeRange } from '../../packages/kv/src/read/range.ts';
import { turns } from './settling.ts';

/** An iterator over one key, whose value arrives with `answer`. */
function iteratorOnFakes(): {
  iterator: StoreIterator;
  walk: RangeWalk<[Buffer, Buffer]>;
  answer: (value: Buffer | Error) => void;
  released: () => number;
} {
  let released = 0;
  let answer!: (value: Buffer | Error) => void;
  const arrives = new Promise<Buffer | Error>((resolve) => (answer = resolve));
  const cursor = {
    key: Buffer.from('k'),
    keyLength: 1,
    entry: { word0: 0, word1: 0 },
    isBlocked: false,
    endAt: () => undefined,
    start: () => true,
    next: () => false,
    unpin: () => undefined,
  };
  const snapshot = { cursor: () => cursor, release: () => released++ } as unknown as IndexSnapshot;
  const window = new Window(new Slabs(), 16);
  const read = {
    window,
    scatter: 1,
    meet: () => window.add(Buffer.from('k'), 1, 0),
    finish: async () => {
      const value = await arrives;
      if (value instanceof Error) window.fail(0, value);
      else window.takeValue(0, value);
    },
  } as unknown as WindowRead;
  const empty = {
    window: new Window(new Slabs(), 16),
    scatter: 1,
    finish: async () => undefined,
  } as unknown as WindowRead;
  let windows = 0;
  const budget = new TurnBudget(systemClock);
  const host: WalkHost = {
    budget,
    beginWindow: () => (windows++ === 0 ? read : empty),
    scanned: () => undefined,
    forget: () => undefined,
    released: () => undefined,
    beginWideWindow: () => empty,
    mayLendTo: () => false,
    lendTo: () => 0,
    takeBack: () => undefined,
    aheadBytes: 0,
    lentBytes: 0,
    mayReadAhead: () => true,
  };
  const shape: RowShape<[Buffer, Buffer]> = {
    needsValues: true,
    rowOf: (from, index, isShared) => [from.keyOf(index, isShared), from.valueOf(index, isShared)],
  };
  const walk = new RangeWalk(host, snapshot, encodeRange({}), shape);
  return { iterator: new StoreIterator(walk), walk, answer, released: () => released };
}

test('ITERATOR-4: the snapshot is released, once, when no read of the iterator is in flight', async (t) => {
  const ends: Record<string, (iterator: StoreIterator, walk: RangeWalk<[Buffer, Buffer]>) => unknown> = {
    return: (iterator) => iterator.return(),
    throw: (iterator) => iterator.throw(new Error('thrown')).catch(() => undefined),
    close: (_iterator, walk) => walk.close(new Error('closed')),
    'return twice': (iterator) => Promise.all([iterator.return(), iterator.return()]),
  };
  for (const [name, end] of Object.entries(ends)) {
    for (const value of [Buffer.from('v'), new Error('cannot be read')]) {
      const { iterator, walk, answer, released } = iteratorOnFakes();
      const next = iterator.next().catch(() => undefined);
      await turns(1);
      const ended = end(iterator, walk);
      await turns(3);
      t.is(released(), 0, name);
      answer(value);
      await Promise.all([ended, next]);
      await turns(1);
      t.is(released(), 1, name);
    }
    const unread = iteratorOnFakes();
    await end(unread.iterator, unread.walk);
    t.is(unread.released(), 1, `${name}, before the first read`);
  }
  const walked = iteratorOnFakes();
  walked.answer(Buffer.from('v'));
  for await (const [key] of walked.iterator) t.is(key.toString(), 'k');
  t.is(walked.released(), 1);
  const failed = iteratorOnFakes();
  failed.answer(new Error('cannot be read'));
  await t.throwsAsync(failed.iterator.next());
  t.is(failed.released(), 1);
});

test('a walk whose iterator was lost answers the calls that are pending, and ends behind them', async (t) => {
  const { iterator, walk, answer, released } = iteratorOnFakes();
  const [first, second] = [iterator.next(), iterator.next()];
  await turns(1);
  t.true(walk.abandon());
  await turns(2);
  t.is(released(), 0);
  answer(Buffer.from('v'));
  t.is((await first).value?.[0].toString(), 'k');
  t.true((await second).done);
  await turns(1);
  t.is(released(), 1);
  t.false(walk.abandon());
  const taken = iteratorOnFakes();
  const only = taken.iterator.next();
  await turns(1);
  t.true(taken.walk.abandon());
  taken.answer(Buffer.from('v'));
  t.is((await only).value?.[1].toString(), 'v');
  await turns(1);
  t.is(taken.released(), 1);
  const idle = iteratorOnFakes();
  t.true(idle.walk.abandon());
  t.is(idle.released(), 1);
});
