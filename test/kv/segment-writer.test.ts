/** The writer of segments on fakes of the queue and of the slots: SEGW-2 of packages/kv/src/checkpoint/segment-writer.ts. */
import test from 'ava';
import { SegmentWriter } from '../../packages/kv/src/checkpoint/segment-writer.ts';
import type { SegmentWriterOptions } from '../../packages/kv/src/checkpoint/segment-writer.ts';
import { SegmentKind } from '../../packages/kv/src/format/segment.ts';
import { outcomes, turns } from './settling.ts';

const SEGMENT_BYTES = 64 * 1024;
const IMAGE_BYTES = 40 * 1024;

test('SEGW-2: a slot that somebody else takes while a buffer is in flight is not taken a second time', async (t) => {
  let free = 3;
  let taken = 0;
  let prepared = 0;
  const finishes: (() => void)[] = [];
  const slots = {
    blocks: { wrote: () => undefined },
    availableFor: () => free,
    prepare: () => {
      prepared++;
      return Promise.reject(Object.assign(new Error('full'), { code: 'ERR_AIOKV_NO_SPACE' }));
    },
    take: () => {
      t.true(free > 0, 'a slot is taken only when one is free');
      free--;
      return taken++;
    },
  };
  const writer = new SegmentWriter({
    queue: {
      write: (_file: unknown, _buffer: unknown, { length }: { length: number }) =>
        new Promise((resolve) => finishes.push(() => resolve(length))),
    },
    file: { path: '/store' },
    slots,
    segments: { begin: () => undefined, wrote: () => undefined },
    geometry: { segmentBytes: SEGMENT_BYTES, writeAlignment: 4096, headerBytes: 0 },
    uuid: new Uint8Array(16),
    epoch: 1,
    kind: SegmentKind.index,
    use: 'checkpoint',
    sequence: 1,
  } as unknown as SegmentWriterOptions);
  await writer.place(IMAGE_BYTES);
  await writer.place(IMAGE_BYTES);
  // Both buffers are in use now: the third segment waits for the first write.
  const third = writer.place(IMAGE_BYTES);
  await turns(5);
  t.is(taken, 2);
  free = 0;
  finishes[0]?.();
  t.deepEqual(await outcomes([third]), ['ERR_AIOKV_NO_SPACE']);
  t.deepEqual([taken, prepared], [2, 1]);
  free = 1;
  t.deepEqual(await outcomes([writer.place(IMAGE_BYTES)]), ['ok'], 'the call can be made again');
  t.is(taken, 3);
});
