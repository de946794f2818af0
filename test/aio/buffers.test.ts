/** Aligned memory: BUF-1 and BUF-2 of buffers.ts. */
import { AlignedBuffer, BufferPool, DEFAULT_ALIGNMENT, allocateAligned } from '@aiokv/aio';
import test from 'ava';

test('a buffer is zeroed, as long as asked for, and aligned', (t) => {
  for (const lengthBytes of [1, 511, 512, 4096, 5000, 1024 * 1024]) {
    for (const alignmentBytes of [1, 8, 512, 4096, 65_536]) {
      const buffer = allocateAligned(lengthBytes, alignmentBytes);
      t.is(buffer.byteLength, lengthBytes);
      t.is(buffer.bytes.length, lengthBytes);
      t.is(buffer.view.byteLength, lengthBytes);
      t.is(buffer.address % alignmentBytes, 0);
      t.true(buffer.bytes.every((byte) => byte === 0));
    }
  }
  t.is(DEFAULT_ALIGNMENT, 4096);
});

test('bytes and view are one memory', (t) => {
  const buffer = allocateAligned(64);
  buffer.view.setUint32(4, 0x01020304, true);
  t.deepEqual([...buffer.bytes.subarray(3, 9)], [0, 4, 3, 2, 1, 0]);
  const window = new AlignedBuffer(buffer.bytes.subarray(4, 8), 0);
  t.is(window.view.getUint32(0, true), 0x01020304);
});

test('lengths and alignments that make no sense are refused', (t) => {
  for (const lengthBytes of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '4096' as never]) {
    t.throws(
      () => allocateAligned(lengthBytes),
      { code: 'ERR_AIOKV_INVALID_ARGUMENT', name: 'AiokvRangeError' },
      String(lengthBytes),
    );
  }
  for (const alignmentBytes of [0, -4096, 3, 4097, 0.5, Number.NaN]) {
    t.throws(
      () => allocateAligned(4096, alignmentBytes),
      { code: 'ERR_AIOKV_INVALID_ARGUMENT' },
      String(alignmentBytes),
    );
  }
});

test('counts that make no sense are refused', (t) => {
  for (const count of [-1, 1.5, Number.NaN]) {
    t.throws(() => new BufferPool(4096, count), { code: 'ERR_AIOKV_INVALID_ARGUMENT' }, String(count));
  }
  t.is(new BufferPool(4096, 0).lease(), undefined);
});

test('the buffers of a pool are aligned and do not overlap', (t) => {
  const pool = new BufferPool(5000, 8, 512);
  const buffers = Array.from({ length: 8 }, () => pool.lease());
  for (const [i, buffer] of buffers.entries()) {
    t.is((buffer as AlignedBuffer).address % 512, 0);
    t.is((buffer as AlignedBuffer).byteLength, 5000);
    buffer?.bytes.fill(i + 1);
  }
  t.true(buffers.every((buffer, i) => buffer?.bytes.every((byte) => byte === i + 1)));
});

test('a pool lends each buffer to one at a time and then has none', (t) => {
  const pool = new BufferPool(512, 3);
  t.is(pool.bufferBytes, 512);
  t.is(pool.count, 3);
  const leased = [pool.lease(), pool.lease(), pool.lease()];
  t.is(new Set(leased).size, 3);
  t.is(pool.available, 0);
  t.is(pool.lease(), undefined);
  pool.release(leased[1] as AlignedBuffer);
  t.is(pool.available, 1);
  t.is(pool.lease(), leased[1], 'B2: the same memory again');
});

test('a buffer with requests in flight is not released (BUF-1)', (t) => {
  const pool = new BufferPool(512, 1);
  const buffer = pool.lease() as AlignedBuffer;
  buffer.pins = 2;
  t.throws(() => pool.release(buffer), { code: 'ERR_AIOKV_BUFFER_BUSY', message: /2 requests/u });
  t.is(pool.lease(), undefined);
  buffer.pins = 0;
  pool.release(buffer);
  t.is(pool.lease(), buffer);
});

test('a buffer is released once, and only where it was leased', (t) => {
  const pool = new BufferPool(512, 2);
  const buffer = pool.lease() as AlignedBuffer;
  pool.release(buffer);
  t.throws(() => pool.release(buffer), { code: 'ERR_AIOKV_BUFFER_BUSY' });
  t.throws(() => pool.release(allocateAligned(512)), { code: 'ERR_AIOKV_BUFFER_BUSY' });
  t.is(pool.available, 2);
});
