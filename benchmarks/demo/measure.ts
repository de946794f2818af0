/**
 * Closed-loop measurement: `depth` readers, each with one read in flight, for some seconds. The first
 * tenth is warm-up and does not count.
 */
import { Random } from '@aiokv/core';
import { allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { Store } from '@aiokv/kv';
import { checkValue, keyOf } from './records.ts';

export interface Measured {
  readonly readsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const BLOCK_BYTES = 4096;

export function measureStore(store: Store, depth: number, seconds: number, records: number): Promise<Measured> {
  return closedLoop(depth, seconds, async (random) => {
    const n = random.below(records);
    checkValue(n, await store.get(keyOf(n)));
  });
}

/**
 * Random aligned reads of 4 KiB through the queue alone, within the first bytes of the same file. What lies behind
 * them may be allocated and never written, and the kernel answers reads of that without the device.
 */
export async function measureBareQueue(
  path: string,
  writtenBytes: number,
  depth: number,
  seconds: number,
): Promise<Measured> {
  const file = await openFile(path, { readOnly: true });
  const queue = openQueue({ depth });
  try {
    const blocks = Math.floor(writtenBytes / BLOCK_BYTES);
    const buffers = Array.from({ length: depth }, () => allocateAligned(BLOCK_BYTES));
    return await closedLoop(depth, seconds, async (random, reader) => {
      const offset = random.below(blocks) * BLOCK_BYTES;
      const bytesRead = await queue.read(file, buffers[reader] as (typeof buffers)[0], { offset });
      if (bytesRead !== BLOCK_BYTES) throw new Error(`a read at ${offset} returned ${bytesRead} bytes`);
    });
  } finally {
    await queue.close();
    await file.close();
  }
}

/** `depth` readers, each with one read in flight; `read` is told which reader asks. */
async function closedLoop(
  depth: number,
  seconds: number,
  read: (random: Random, reader: number) => Promise<void>,
): Promise<Measured> {
  const startMs = performance.now();
  const countFromMs = startMs + seconds * 100;
  const endMs = startMs + seconds * 1000;
  const latencies = new Latencies();
  const reader = async (index: number): Promise<void> => {
    const random = new Random(index + 1);
    for (;;) {
      const fromMs = performance.now();
      if (fromMs >= endMs) return;
      await read(random, index);
      const toMs = performance.now();
      if (fromMs >= countFromMs && toMs <= endMs) latencies.add((toMs - fromMs) * 1000);
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, index) => reader(index)));
  const countedSeconds = (endMs - countFromMs) / 1000;
  return {
    readsPerSecond: latencies.count / countedSeconds,
    p50Us: latencies.percentile(0.5),
    p99Us: latencies.percentile(0.99),
  };
}

/** Counts by microsecond, up to 100 ms. */
class Latencies {
  count = 0;
  readonly #counts = new Uint32Array(100_000);

  add(us: number): void {
    const at = Math.min(this.#counts.length - 1, Math.floor(us));
    this.#counts[at] = (this.#counts[at] as number) + 1;
    this.count++;
  }

  percentile(part: number): number {
    let seen = 0;
    for (let us = 0; us < this.#counts.length; us++) {
      seen += this.#counts[us] as number;
      if (seen >= this.count * part) return us;
    }
    return this.#counts.length;
  }
}
