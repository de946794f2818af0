/** The reader of the completion ring, over a ring that this test writes as the kernel would. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { Completions } from '@aiokv/aio';
import { CompletionRing } from '../../packages/aio/src/raw/ring.ts';
import { seedOf } from '../helpers/seed.ts';

const HEADER_WORDS = 8;

/** A ring in ordinary memory, and the kernel's part of its life. */
class FakeRing {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly nr: number;

  constructor(nr: number, header: Partial<Record<'magic' | 'incompat' | 'headerBytes', number>> = {}) {
    const memory = new ArrayBuffer(32 + nr * 32);
    this.bytes = new Uint8Array(memory);
    this.words = new Int32Array(memory);
    this.nr = nr;
    const { magic = 0xa10a10a1, incompat = 0, headerBytes = 32 } = header;
    this.words.set([7, nr, 0, 0, magic, 1, incompat, headerBytes]);
  }

  readonly viewOf = (_: number, byteLength: number): Uint8Array => this.bytes.subarray(0, byteLength);

  get isFull(): boolean {
    return ((this.words[3] as number) + 1) % this.nr === this.words[2];
  }

  push(slot: number, result: number): void {
    const tail = this.words[3] as number;
    const at = HEADER_WORDS + tail * 8;
    this.words.set([slot, 0, 0, 0, result, result < 0 ? -1 : 0, 0, 0], at);
    this.words[3] = (tail + 1) % this.nr;
  }
}

function reapAll(ring: CompletionRing, room: number): { slots: number[]; results: number[]; sane: boolean } {
  const completions = new Completions(room);
  const sane = ring.reap(completions);
  return {
    slots: [...completions.slots.subarray(0, completions.count)],
    results: [...completions.results.subarray(0, completions.count)],
    sane,
  };
}

test('events come out once, in order, around the end of a ring of odd size', (t) => {
  const seed = seedOf('AIOKV_RING_SEED');
  const random = new Random(seed);
  const fake = new FakeRing(37);
  const ring = CompletionRing.at(0, fake.viewOf);
  if (ring === null) throw new Error('this is a ring');
  const expected: [number, number][] = [];
  let pushed = 0;
  for (let round = 0; round < 5000; round++) {
    while (!fake.isFull && random.chance(0.8)) {
      const event: [number, number] = [pushed++, random.chance(0.2) ? -1 - random.below(129) : random.below(1 << 30)];
      fake.push(...event);
      expected.push(event);
    }
    const { slots, results } = reapAll(ring, 1 + random.below(50));
    slots.forEach((slot, i) => t.deepEqual([slot, results[i]], expected.shift(), `AIOKV_RING_SEED=${seed}`));
    t.is(ring.isEmpty, expected.length === 0, `AIOKV_RING_SEED=${seed}`);
  }
  t.true(pushed > 10_000);
});

test('room behind what was collected already is used', (t) => {
  const fake = new FakeRing(5);
  const ring = CompletionRing.at(0, fake.viewOf) as CompletionRing;
  for (const slot of [1, 2, 3]) fake.push(slot, slot * 10);
  const completions = new Completions(4);
  completions.count = 2;
  t.true(ring.reap(completions));
  t.is(completions.count, 4);
  t.deepEqual([...completions.slots.subarray(2)], [1, 2]);
  t.false(ring.isEmpty);
});

test('a ring that cannot be read in place is refused', (t) => {
  t.is(CompletionRing.at(0, new FakeRing(8, { magic: 1 }).viewOf), null);
  t.is(CompletionRing.at(0, new FakeRing(8, { incompat: 1 }).viewOf), null);
  t.is(CompletionRing.at(0, new FakeRing(8, { headerBytes: 64 }).viewOf), null);
  t.is(CompletionRing.at(0, new FakeRing(0).viewOf), null);
  t.is(
    CompletionRing.at(0, () => undefined),
    null,
  );
});

test('a head or tail out of range is reported and nothing is read', (t) => {
  for (const [place, value] of [
    [2, 8],
    [2, -1],
    [3, 8],
    [3, -5],
  ] as const) {
    const fake = new FakeRing(8);
    const ring = CompletionRing.at(0, fake.viewOf) as CompletionRing;
    fake.push(1, 1);
    fake.words[place] = value;
    t.deepEqual(reapAll(ring, 8), { slots: [], results: [], sane: false });
  }
});

test('a dropped ring is empty and not touched', (t) => {
  const fake = new FakeRing(8);
  const ring = CompletionRing.at(0, fake.viewOf) as CompletionRing;
  fake.push(1, 1);
  ring.drop();
  t.true(ring.isEmpty);
  t.deepEqual(reapAll(ring, 8), { slots: [], results: [], sane: true });
  t.is(fake.words[2], 0);
});
