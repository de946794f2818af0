/**
 * The log writer on fakes of the floor below: when there is room, what a write without room waits for, and who wakes it.
 * LOG-1 to LOG-8 are those of packages/kv/src/log/writer.ts, FLUSH-1 to FLUSH-3 those of file/flusher.ts.
 */
import test from 'ava';
import { KIB, ManualClock } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { RequestFlag } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { FailureGate } from '../../packages/kv/src/failure/failure-gate.ts';
import { NONE_PLANTED } from '../../packages/kv/src/failure/planted.ts';
import { Flusher } from '../../packages/kv/src/file/flusher.ts';
import { SegmentTable } from '../../packages/kv/src/file/segment-table.ts';
import type { SlotUse, Slots } from '../../packages/kv/src/file/slots.ts';
import { RecordKind } from '../../packages/kv/src/format/record.ts';
import { NO_PREDECESSOR } from '../../packages/kv/src/format/segment.ts';
import { WrittenBlocks } from '../../packages/kv/src/file/written-blocks.ts';
import { LogWriter } from '../../packages/kv/src/log/writer.ts';
import { outcomes, turns } from './settling.ts';

const GEOMETRY = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 64 * KIB, headerBytes: 256 * KIB };
/** The least write buffer: four frames. */
const WRITE_BUFFER_BYTES = 1024 * KIB;
const EIO = -5;

interface Request {
  readonly kind: 'write' | 'fdatasync';
  /** What a write writes. */
  readonly bytes: Uint8Array;
  readonly lengthBytes: number;
  readonly fileOffset: number;
  /** A write with RWF_DSYNC. */
  readonly isThrough: boolean;
  complete(result?: number): void;
}

class FakeQueue {
  readonly requests: Request[] = [];
  /** Writes with RWF_DSYNC are supported. */
  hasDsync = false;

  supports(flags: number): boolean {
    return flags === 0 || this.hasDsync;
  }

  submitWrite(
    _file: unknown,
    buffer: AlignedBuffer,
    from: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags = 0,
  ): boolean {
    this.#add('write', buffer.bytes.slice(from, from + lengthBytes), fileOffset, handler, token, flags);
    return true;
  }

  submitFdatasync(_file: unknown, handler: CompletionHandler, token: number): boolean {
    this.#add('fdatasync', new Uint8Array(0), 0, handler, token);
    return true;
  }

  /** Completes the oldest request. */
  completeNext(result?: number): void {
    this.requests.shift()?.complete(result);
  }

  #add(
    kind: Request['kind'],
    bytes: Uint8Array,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
    flags = 0,
  ): void {
    const lengthBytes = bytes.length;
    this.requests.push({
      kind,
      bytes,
      lengthBytes,
      fileOffset,
      isThrough: flags === RequestFlag.dsync,
      complete: (result = lengthBytes) => handler.complete(token, result),
    });
  }
}

/** Slots that a test gives out; `prepare` waits until it does. */
class FakeSlots {
  readonly blocks = new WrittenBlocks();
  ready: number[];
  growths = 0;
  isReserveInUse = false;
  readonly #waiting: { resolve(): void; reject(error: Error): void }[] = [];

  constructor(count: number) {
    this.ready = Array.from({ length: count }, (_, slot) => slot);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  availableFor(_use: SlotUse): number {
    return this.ready.length;
  }

  take(): number {
    const [slot] = this.ready.splice(0, 1);
    if (slot === undefined) throw new Error('a slot is taken that is not ready');
    return slot;
  }

  giveBack(slots: readonly number[]): void {
    this.ready = [...slots, ...this.ready];
  }

  prepare(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  grow(count: number): void {
    this.growths++;
    for (let n = 0; n < count; n++) this.ready.push(100 * this.growths + n);
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
  }

  refuse(error: Error): void {
    this.growths++;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }
}

interface Bench {
  readonly queue: FakeQueue;
  readonly slots: FakeSlots;
  readonly segments: SegmentTable;
  readonly gate: FailureGate;
  readonly log: LogWriter;
  readonly clock: ManualClock;
}

function makeBench(slotCount: number, hasDsync = false): Bench {
  const queue = new FakeQueue();
  queue.hasDsync = hasDsync;
  const slots = new FakeSlots(slotCount);
  const gate = new FailureGate();
  const clock = new ManualClock();
  const file = { path: '/store/data.aiokv', isDirect: true } as DirectFile;
  const segments = new SegmentTable(GEOMETRY);
  const log = new LogWriter({
    queue: queue as unknown as Queue,
    file,
    flusher: new Flusher(queue as unknown as Queue, file, gate),
    gate,
    slots: slots as unknown as Slots,
    segments,
    geometry: GEOMETRY,
    uuid: new Uint8Array(16),
    epoch: 7,
    position: {
      link: NO_PREDECESSOR,
      lastSequence: 0 as Sequence,
      segment: null,
      nextSegmentSequence: 1,
      segments: [{ segmentSequence: 1, slot: 0, lastSequenceBefore: 0 as Sequence }],
    },
    writeBufferBytes: WRITE_BUFFER_BYTES,
    flushIntervalMs: 1000,
    clock,
    planted: NONE_PLANTED,
  });
  return { queue, slots, segments, gate, log, clock };
}

const KEY = Buffer.from('key');
/** One of them fills more than half of a frame of a segment. */
const VALUE = new Uint8Array(40 * KIB);
const PADDED = 24 + 40 * KIB + 8;

function append({ log }: Bench, value = VALUE): void {
  log.append(RecordKind.put, 0, KEY, KEY.length, value);
}

test('room is a free frame and, where a segment ends, a slot', (t) => {
  for (const { slotCount, appended, hasRoom } of [
    { slotCount: 0, appended: 0, hasRoom: false },
    { slotCount: 1, appended: 0, hasRoom: true },
    { slotCount: 1, appended: 1, hasRoom: false },
    { slotCount: 2, appended: 1, hasRoom: true },
    { slotCount: 9, appended: 3, hasRoom: true },
    // Four frames are in use, however many slots there are.
    { slotCount: 9, appended: 4, hasRoom: false },
  ]) {
    const bench = makeBench(slotCount);
    for (let n = 0; n < appended; n++) append(bench);
    t.is(bench.log.hasRoomFor(PADDED, 'put'), hasRoom, `${slotCount} slots, ${appended} appended`);
    t.is(bench.log.hasRoom([PADDED], 'put'), hasRoom);
    t.false(bench.log.hasRoom(new Array<number>(5).fill(PADDED), 'put'), 'never more than there are frames');
  }
});

test('a write without room waits for one thing, and for nothing once the log has failed', async (t) => {
  const slotless = makeBench(0);
  const forSlots = slotless.log.whenRoom([PADDED], 'put', 0);
  t.is(slotless.slots.waiting, 1);
  slotless.slots.grow(1);
  await forSlots;
  t.true(slotless.log.hasRoom([PADDED], 'put'));

  const refused = makeBench(0);
  const forNothing = refused.log.whenRoom([PADDED], 'put', 0);
  refused.slots.refuse(new Error('no space'));
  await t.throwsAsync(forNothing, { message: 'no space' });

  const frameless = makeBench(9);
  for (let n = 0; n < 4; n++) append(frameless);
  const forFrame = frameless.log.whenRoom([PADDED], 'put', 0);
  t.is(frameless.slots.waiting, 0);
  await turns(1);
  frameless.queue.completeNext();
  await forFrame;
  t.true(frameless.log.hasRoom([PADDED], 'put'));

  const failing = makeBench(9);
  for (let n = 0; n < 4; n++) append(failing);
  const forFailure = failing.log.whenRoom([PADDED], 'put', 0);
  failing.queue.completeNext(EIO);
  await t.throwsAsync(forFailure, { code: 'ERR_AIOKV_LATCHED' });
  await t.throwsAsync(failing.log.whenRoom([PADDED], 'put', 0), { code: 'ERR_AIOKV_LATCHED' });

  // Both are missing, and the log fails while the file grows: the end of the growth is told, and then the failure.
  const both = makeBench(4);
  for (let n = 0; n < 4; n++) append(both);
  const forBoth = both.log.whenRoom([PADDED], 'put', 0);
  both.queue.completeNext(EIO);
  both.slots.grow(3);
  await forBoth;
  t.false(both.log.hasRoom([PADDED], 'put'));
  await t.throwsAsync(both.log.whenRoom([PADDED], 'put', 0), { code: 'ERR_AIOKV_LATCHED' });
});

test('LOG-2, LOG-3: written in order, and flushed is what was written when the flush began', async (t) => {
  const bench = makeBench(9);
  const { log, queue } = bench;
  append(bench);
  const flushed = log.durable('flushed');
  await turns(1);
  append(bench);
  append(bench);
  const written = log.durable('written');
  const [first, second, third] = queue.requests;
  t.deepEqual(
    queue.requests.map(({ kind }) => kind),
    ['write', 'write'],
  );
  t.is(third, undefined);
  second?.complete();
  await turns(1);
  t.is(Number(log.flushedThrough), 0);
  first?.complete();
  await turns(1);
  // The third frame goes on its way beside the flush, which does not cover it.
  t.deepEqual(
    queue.requests.map(({ kind }) => kind),
    ['write', 'write', 'write', 'fdatasync'],
  );
  queue.requests[2]?.complete();
  await written;
  queue.requests[3]?.complete(0);
  await flushed;
  t.is(Number(log.flushedThrough), 2);
});

test('LOG-4: after a failure everybody is told, and nothing more goes to the device', async (t) => {
  for (const kind of ['write', 'fdatasync']) {
    const bench = makeBench(9);
    const { log, queue, gate } = bench;
    append(bench);
    const calls = [log.durable('flushed'), log.durable('written')];
    await turns(1);
    if (kind === 'fdatasync') queue.completeNext();
    await turns(1);
    append(bench);
    calls.push(log.durable('flushed'), log.durable('written'));
    const requests = queue.requests.length;
    queue.completeNext(EIO);
    calls.push(log.durable('flushed'));
    const found = await outcomes(calls, 50);
    t.false(found.includes('pending'), kind);
    t.is(found.filter((outcome) => outcome === 'ERR_AIOKV_LATCHED').length, kind === 'write' ? 5 : 4, kind);
    await turns(3);
    t.is(queue.requests.length, requests - 1, 'nothing is submitted any more');
    t.is(gate.log?.code, 'ERR_AIOKV_LATCHED');
    t.deepEqual(await outcomes([log.close()], 50), ['ok']);
  }
});

/** One writer that awaits each flushed put of a frame of 4 KiB. Returns how long each write was. */
async function commit(bench: Bench, puts: number): Promise<number[]> {
  const lengths: number[] = [];
  for (let n = 0; n < puts; n++) {
    append(bench, new Uint8Array(200));
    const flushed = bench.log.durable('flushed');
    await turns(1);
    lengths.push((bench.queue.requests[0]?.lengthBytes ?? 0) / (4 * KIB));
    bench.queue.completeNext();
    await turns(1);
    if (bench.queue.requests.length > 0) bench.queue.completeNext(0);
    await flushed;
  }
  return lengths;
}

test('LOG-7: zeros are written behind small frames that someone waits for, ahead of the next ones', async (t) => {
  const bench = makeBench(9);
  // In blocks of 4 KiB: the header of the segment, the frame, and as many zeros as frames had blocks before.
  t.deepEqual(await commit(bench, 15), [2, 2, 1, 4, 1, 1, 1, 8, 1, 1, 1, 1, 1, 1, 1]);
  // In a new segment its end is the limit.
  t.deepEqual(await commit(bench, 15), [16, ...new Array<number>(14).fill(1)]);
  // 1, 3, 7 and 14 blocks of zeros.
  t.is(bench.segments.writtenBytesOfKind(1), (2 * 15 + 25) * 4 * KIB);
  // The first slot is used again: its blocks were written to.
  bench.segments.drop(0);
  bench.slots.giveBack([0]);
  t.deepEqual(await commit(bench, 15), [2, ...new Array<number>(14).fill(1)]);

  // Nobody waits for a flush; a frame that is not small.
  const buffered = makeBench(9);
  await commit(buffered, 3);
  append(buffered, new Uint8Array(200));
  void buffered.log.durable('written');
  await turns(1);
  t.is(buffered.queue.requests[0]?.lengthBytes, 4 * KIB);
  buffered.queue.completeNext();
  await turns(1);
  append(buffered, new Uint8Array(20 * KIB));
  void buffered.log.durable('flushed');
  await turns(1);
  t.is(buffered.queue.requests[0]?.lengthBytes, 24 * KIB);
});

test('LOG-7: no frame is submitted beside zeros that would overwrite it', async (t) => {
  const bench = makeBench(9);
  const { log, queue } = bench;
  await commit(bench, 1);
  append(bench, new Uint8Array(200));
  const first = log.durable('flushed');
  await turns(1);
  const [zeros] = queue.requests;
  t.is(zeros?.lengthBytes, 8 * KIB);
  t.true(zeros?.bytes.subarray(4 * KIB).every((byte) => byte === 0));
  // The next frame fills and is sealed: it lies where the zeros are.
  append(bench);
  append(bench);
  await turns(2);
  t.is(queue.requests.length, 1);
  queue.completeNext();
  await turns(1);
  t.deepEqual(
    queue.requests.map(({ kind }) => kind),
    ['write', 'fdatasync'],
  );
  t.is(queue.requests[0]?.fileOffset, (zeros?.fileOffset ?? 0) + 4 * KIB);
  queue.requests[1]?.complete(0);
  await first;
  t.is(Number(log.flushedThrough), 2);

  // The write with the zeros fails: what is behind it is told, and never written.
  const failing = makeBench(9);
  await commit(failing, 1);
  append(failing, new Uint8Array(200));
  const calls = [failing.log.durable('flushed')];
  await turns(1);
  append(failing);
  append(failing);
  calls.push(failing.log.durable('flushed'));
  failing.queue.completeNext(EIO);
  t.deepEqual(await outcomes(calls, 50), ['ERR_AIOKV_LATCHED', 'ERR_AIOKV_LATCHED']);
  t.is(failing.queue.requests.length, 0);
  t.deepEqual(await outcomes([failing.log.close()], 50), ['ok']);
});

test('LOG-8: a frame before which all is flushed may be flushed by its own write', async (t) => {
  const bench = makeBench(9, true);
  const { log, queue, clock } = bench;
  const put = async (throughMs: number, apartMs: number): Promise<boolean> => {
    append(bench, new Uint8Array(200));
    let isFlushed = false;
    const flushed = log.durable('flushed').then(() => {
      isFlushed = true;
    });
    await turns(1);
    t.is(queue.requests.length, 1);
    const isThrough = queue.requests[0]?.isThrough === true;
    clock.advance(isThrough ? throughMs : apartMs);
    queue.completeNext();
    await turns(1);
    t.is(isFlushed, isThrough);
    t.is(queue.requests.length, isThrough ? 0 : 1);
    if (!isThrough) queue.completeNext(0);
    await flushed;
    t.is(log.flushedThrough, log.appendedThrough);
    return isThrough;
  };
  // A frame that begins a segment has an fdatasync. Then both ways are tried, and the faster one is taken.
  t.false(await put(1, 2));
  const tried: boolean[] = [];
  for (let n = 0; n < 50; n++) tried.push(await put(2, 1));
  t.true(tried.slice(0, 20).includes(true) && tried.slice(0, 20).includes(false));
  for (let n = 0; n < 40; n++) t.false(await put(2, 1));

  const other = makeBench(9, true);
  await commit(other, 3);
  // Something before the frame is not flushed: its write would not cover that.
  append(other, new Uint8Array(200));
  const written = other.log.durable('written');
  await turns(1);
  other.queue.completeNext();
  await written;
  append(other, new Uint8Array(200));
  const flushed = other.log.durable('flushed');
  await turns(1);
  t.false(other.queue.requests[0]?.isThrough);
  other.queue.completeNext();
  await turns(1);
  t.is(other.queue.requests[0]?.kind, 'fdatasync');
  other.queue.completeNext(0);
  await flushed;
  // Nobody waits for a flush.
  append(other, new Uint8Array(200));
  void other.log.durable('written');
  await turns(1);
  t.false(other.queue.requests[0]?.isThrough);
});

test('LOG-8: a write that fails to be flushed fails the log', async (t) => {
  const bench = makeBench(9, true);
  await commit(bench, 1);
  append(bench, new Uint8Array(200));
  const flushed = bench.log.durable('flushed');
  await turns(1);
  t.true(bench.queue.requests[0]?.isThrough);
  bench.queue.completeNext(EIO);
  await t.throwsAsync(flushed, { code: 'ERR_AIOKV_LATCHED' });
  t.is(Number(bench.log.flushedThrough), 1);
});

test('what is buffered is flushed when the interval is over', async (t) => {
  const bench = makeBench(9);
  append(bench);
  await turns(2);
  t.is(bench.queue.requests.length, 0);
  bench.clock.advance(1000);
  await turns(1);
  t.is(bench.queue.requests.length, 1);
  bench.queue.completeNext();
  await turns(1);
  t.is(bench.queue.requests[0]?.kind, 'fdatasync');
  bench.queue.completeNext(0);
  t.is(Number(bench.log.flushedThrough), 1);
});

test('FLUSH-1: one flush at a time, whoever asks; who asks meanwhile has the next', async (t) => {
  const queue = new FakeQueue();
  const flusher = new Flusher(queue as unknown as Queue, { path: 'file' } as DirectFile, new FailureGate());
  const told: string[] = [];
  const note =
    (name: string): ((outcome: unknown) => void) =>
    (outcome) => {
      told.push(`${name} ${outcome instanceof Error ? 'failed' : 'done'}`);
    };
  void flusher.flush().then(note('first'), note('first'));
  void flusher.flush().then(note('second'), note('second'));
  void flusher.flush().then(note('third'), note('third'));
  t.is(queue.requests.length, 1);
  queue.completeNext(0);
  await turns(1);
  t.deepEqual(told, ['first done']);
  t.is(queue.requests.length, 1);
  void flusher.flush().then(note('fourth'), note('fourth'));
  queue.completeNext(EIO);
  await turns(1);
  t.deepEqual(told, ['first done', 'second failed', 'third failed', 'fourth failed']);
  // FLUSH-3.
  await t.throwsAsync(flusher.flush(), { code: 'EIO' });
  t.is(queue.requests.length, 0);
  t.false(flusher.isFlushing);
});

test('FLUSH-3: no flush begins after the log has failed', async (t) => {
  const queue = new FakeQueue();
  const gate = new FailureGate();
  const flusher = new Flusher(queue as unknown as Queue, { path: 'file' } as DirectFile, gate);
  gate.failLog(new Error('a write failed'));
  await t.throwsAsync(flusher.flush(), { code: 'ERR_AIOKV_LATCHED' });
  t.is(queue.requests.length, 0);
});
