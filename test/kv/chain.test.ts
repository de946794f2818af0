/**
 * The chain of the log over slots that are none: where frames go, how they name each other, where a replay has to start.
 */
import test from 'ava';
import { KIB } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { WrittenBlocks } from '../../packages/kv/src/file/written-blocks.ts';
import { SegmentTable } from '../../packages/kv/src/file/segment-table.ts';
import type { SlotUse, Slots } from '../../packages/kv/src/file/slots.ts';
import { FRAME_HEADER_BYTES, frameHash, readFrame } from '../../packages/kv/src/format/frame.ts';
import { NO_PREDECESSOR, SegmentKind, readSegmentHeader, segmentHash } from '../../packages/kv/src/format/segment.ts';
import type { LogStart } from '../../packages/kv/src/format/superblock.ts';
import { Chain } from '../../packages/kv/src/log/chain.ts';
import { Frame } from '../../packages/kv/src/log/frame-buffer.ts';

const BLOCK = 4096;
const GEOMETRY = { pageBytes: BLOCK, writeAlignment: BLOCK, segmentBytes: 64 * KIB, headerBytes: 256 * KIB };

class FakeSlots {
  readonly blocks = new WrittenBlocks();
  ready = [3, 8, 5, 9];

  take(): number {
    const [slot] = this.ready.splice(0, 1);
    if (slot === undefined) throw new Error('no slot is ready');
    return slot;
  }

  availableFor(_use: SlotUse): number {
    return this.ready.length;
  }

  giveBack(slots: Iterable<number>): void {
    for (const slot of slots) this.ready.push(slot);
  }
}

function sequence(value: number): Sequence {
  return value as Sequence;
}

function makeChain(slots: FakeSlots, segment: { slot: number; nextOffset: number } | null = null): Chain {
  const segments = new SegmentTable(GEOMETRY);
  if (segment !== null) segments.begin(segment.slot, SegmentKind.log, 1, 0);
  return new Chain({
    slots: slots as unknown as Slots,
    segments,
    geometry: GEOMETRY,
    uuid: new Uint8Array(16).fill(7),
    epoch: 11,
    position: {
      link: NO_PREDECESSOR,
      lastSequence: sequence(0),
      segment,
      nextSegmentSequence: 1,
      segments: [{ segmentSequence: 1, slot: segment?.slot ?? 3, lastSequenceBefore: sequence(0) }],
    },
  });
}

/** Places and seals a frame with one record of so many bytes. */
function add(chain: Chain, number: number, recordBytes: number): Frame {
  const frame = new Frame(BLOCK);
  chain.place(frame, recordBytes, sequence(number - 1));
  frame.usedBytes = FRAME_HEADER_BYTES + recordBytes;
  frame.recordCount = 1;
  frame.firstSequence = sequence(number);
  chain.seal(frame, sequence(0), 0);
  return frame;
}

test('a frame goes behind the one before, or into a new segment if its first record would not fit', (t) => {
  const slots = new FakeSlots();
  const chain = makeChain(slots);
  const at = (slot: number, offset: number): number => GEOMETRY.headerBytes + slot * GEOMETRY.segmentBytes + offset;
  const rows: readonly [number, number, boolean][] = [
    [100, at(3, BLOCK), true],
    [BLOCK, at(3, 2 * BLOCK), false],
    [40 * KIB, at(3, 4 * BLOCK), false],
    [20 * KIB, at(8, BLOCK), true],
    [55 * KIB, at(5, BLOCK), true],
    [10, at(5, 15 * BLOCK), false],
  ];
  for (const [i, [recordBytes, fileOffset, startsSegment]] of rows.entries()) {
    const frame = add(chain, i + 1, recordBytes);
    t.is(frame.fileOffset, fileOffset, `frame ${i + 1}`);
    t.is(frame.startsSegment, startsSegment, `frame ${i + 1}`);
    t.true(frame.usedBytes <= frame.capacityBytes);
  }
});

test('each frame names the one before it, and the first of a segment its header', (t) => {
  const chain = makeChain(new FakeSlots());
  let previous: bigint | null = null;
  let segmentSequence = 0;
  let number = 0;
  for (let n = 1; n <= 6; n++) {
    const frame = add(chain, n, 25 * KIB);
    const header = readFrame(frame.block);
    t.truthy(header);
    if (frame.startsSegment) {
      const segment = readSegmentHeader(frame.header);
      segmentSequence++;
      number = 0;
      t.is(segment?.sequence, segmentSequence);
      if (previous !== null) t.is(segment?.predecessor.hash, previous);
      t.is(header?.previousHash, segmentHash(frame.header));
    } else t.is(header?.previousHash, previous as bigint);
    t.is(header?.segmentSequence, segmentSequence);
    t.is(header?.frameNumber, ++number);
    previous = frameHash(frame.block);
    t.deepEqual(chain.link, { segmentSequence, frameNumber: number, hash: previous });
  }
  t.is(segmentSequence, 3);
});

test('a replay starts at the newest segment that has what it must meet, and is flushed', (t) => {
  const chain = makeChain(new FakeSlots());
  // One frame a segment: the segments begin behind 0, 1, 2 and 3.
  for (let n = 1; n <= 4; n++) add(chain, n, 55 * KIB);
  const start = (through: number, flushed: number): LogStart => chain.startAfter(sequence(through), sequence(flushed));
  t.is(start(0, 4).segmentSequence, 1);
  t.is(start(1, 4).segmentSequence, 2);
  // The segment behind 3 may not be there after a crash: its first frame is not flushed.
  t.is(start(3, 3).segmentSequence, 3);
  t.is(start(3, 4).segmentSequence, 4);
  t.is(start(4, 4).lastSequenceBefore, sequence(3));
});

test('slots that were reserved come first, and those that are left go back', (t) => {
  const slots = new FakeSlots();
  const chain = makeChain(slots);
  t.true(chain.hasSlots(4, 'put'));
  t.false(chain.hasSlots(5, 'put'));
  chain.reserveSlots(3);
  t.deepEqual([chain.reservedSlots, slots.ready.length], [3, 1]);
  t.true(chain.hasSlots(4, 'put'));
  const frame = add(chain, 1, 55 * KIB);
  t.is(frame.fileOffset, GEOMETRY.headerBytes + 3 * GEOMETRY.segmentBytes + BLOCK);
  t.is(chain.reservedSlots, 2);
  chain.returnSlots();
  t.is(chain.reservedSlots, 0);
  t.deepEqual(
    slots.ready.toSorted((a, b) => a - b),
    [5, 8, 9],
  );
});

test('after a clean close the log goes on in its segment', (t) => {
  const chain = makeChain(new FakeSlots(), { slot: 2, nextOffset: 5 * BLOCK });
  const frame = add(chain, 1, 100);
  t.false(frame.startsSegment);
  t.is(frame.fileOffset, GEOMETRY.headerBytes + 2 * GEOMETRY.segmentBytes + 5 * BLOCK);
  t.is(chain.nextOffset, 6 * BLOCK);
});
