/**
 * The classic sample of Linux AIO on this package: writes the integers from 0 on, one to a block of 4 KiB, reads
 * them back and adds them up, with completions reaped by `getEvents`, as `io_getevents` would.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/sum.ts [--path /tmp/testfile] [--file_size 1000]
 *       [--concurrent_requests 100] [--min_nr 1] [--max_nr 1]
 *
 * `--file_size` is in blocks, `--concurrent_requests` the depth of the queue; a reaping waits for `--min_nr`
 * completions and takes at most `--max_nr`. The file stays.
 */
import { parseArgs } from 'node:util';
import { BufferPool, openFile, openQueue } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';

const BLOCK_BYTES = 4096;
const TIMEOUT_MS = 100;

function check(condition: boolean, message: string): asserts condition {
  if (condition) return;
  console.error(message);
  process.exit(2);
}

const flag = { type: 'string' } as const;
const { values } = parseArgs({
  options: { path: flag, file_size: flag, concurrent_requests: flag, min_nr: flag, max_nr: flag },
});

function numberOf(name: 'file_size' | 'concurrent_requests' | 'min_nr' | 'max_nr', fallback: number): number {
  const value = Number(values[name] ?? fallback);
  check(Number.isSafeInteger(value) && value >= 1, `--${name} is a whole number from 1, not '${values[name]}'`);
  return value;
}

const fileSize = numberOf('file_size', 1000);
const depth = numberOf('concurrent_requests', 100);
const minNr = numberOf('min_nr', 1);
const maxNr = numberOf('max_nr', 1);
check(minNr <= maxNr, `--min_nr ${minNr} is more than --max_nr ${maxNr}: a reaping would wait for more than it takes`);
check(minNr <= depth, `--min_nr ${minNr} is more than --concurrent_requests ${depth}: so many are never in flight`);

/** Makes a request of block `value`; `complete` is told its result by `getEvents`. */
type Submit = (value: number, buffer: AlignedBuffer, complete: (result: number) => void) => boolean;

/** One request for each block, with at most `depth` of them in flight. */
function eachBlock(queue: Queue, submit: Submit, onCompletion: (buffer: AlignedBuffer) => void): void {
  const buffers = new BufferPool(BLOCK_BYTES, depth);
  let submitted = 0;
  let reaped = 0;
  let failure: Error | null = null;
  const reap = (min: number): void => {
    reaped += queue.getEvents({ min, max: maxNr, timeoutMs: TIMEOUT_MS });
    if (failure !== null) throw failure;
  };
  while (submitted < fileSize) {
    const value = submitted;
    const buffer = buffers.lease();
    if (buffer === undefined) {
      // As many are in flight as may be: one has to come back first.
      reap(1);
      continue;
    }
    const isAccepted = submit(value, buffer, (result) => {
      if (result === BLOCK_BYTES) onCompletion(buffer);
      else failure ??= new Error(`the request of block ${value} was incomplete or failed: ${result}`);
      buffers.release(buffer);
    });
    if (!isAccepted) throw new Error('a queue has room for as many requests as its depth');
    submitted++;
    if (submitted > minNr) reap(minNr);
  }
  while (reaped < fileSize) reap(1);
}

function sum(queue: Queue, file: DirectFile): number {
  const write: Submit = (value, buffer, complete) => {
    buffer.view.setInt32(0, value, true);
    const handler = { complete: (_token: number, result: number) => complete(result) };
    return queue.submitWrite(file, buffer, 0, BLOCK_BYTES, value * BLOCK_BYTES, handler, value);
  };
  const read: Submit = (value, buffer, complete) => {
    const handler = { complete: (_token: number, result: number) => complete(result) };
    return queue.submitRead(file, buffer, 0, BLOCK_BYTES, value * BLOCK_BYTES, handler, value);
  };
  let total = 0;
  eachBlock(queue, write, () => undefined);
  eachBlock(queue, read, (buffer) => (total += buffer.view.getInt32(0, true)));
  return total;
}

const queue = openQueue({ depth });
const file = await openFile(values.path ?? '/tmp/testfile', { create: true });
try {
  await file.preallocate(0, fileSize * BLOCK_BYTES);
  const total = sum(queue, file);
  const expected = (fileSize * (fileSize - 1)) / 2;
  if (total !== expected) throw new Error(`expected ${expected}, got ${total}`);
  console.log(`Successfully calculated that the sum of integers from 0 to ${fileSize - 1} is ${total}`);
} finally {
  await queue.close();
  await file.close();
}
