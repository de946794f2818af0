/**
 * Several queues, each with a kernel context of its own, and the rule that picks one for a request, so that requests do
 * not all share one lock and one ring. It helps little within one thread, which is a single submitter.
 */
import { AiokvRangeError, integer, oneOf, resolveOptions } from '@aiokv/core';
import type { DirectFile, Platform } from './platform.ts';
import { Queue } from './queue.ts';
import { resolveQueueOptions } from './queue-options.ts';
import type { QueueOptions } from './queue-options.ts';

export interface ShardOptions {
  /** Number of queues, each with its own context; 1 to 256, default 4. */
  contexts: number;
  /** `'range'`: by file and range of offsets, the default. `'file'`: all requests of a file take the same queue. */
  by: 'range' | 'file';
  /** Length of a range, in bytes; 4096 to 2^40, default 1 MiB. */
  rangeBytes: number;
}

const shape = {
  contexts: integer(1, 256, 4),
  by: oneOf(['range', 'file'], 'range'),
  rangeBytes: integer(4096, 2 ** 40, 1024 * 1024),
};

export class Shards {
  readonly queues: readonly Queue[];
  readonly #by: ShardOptions['by'];
  readonly #rangeBytes: number;

  /** @throws as the constructor of `Queue`; queues that were opened before the failure are closed */
  constructor(platform: Platform, options?: Partial<ShardOptions>, queueOptions?: Partial<QueueOptions>) {
    const { contexts, by, rangeBytes } = resolveOptions<ShardOptions>('shards', shape, options);
    // Whatever is wrong with them is found before a queue is opened.
    resolveQueueOptions(queueOptions);
    this.#by = by;
    this.#rangeBytes = rangeBytes;
    const queues: Queue[] = [];
    this.queues = queues;
    try {
      for (let i = 0; i < contexts; i++) queues.push(new Queue(platform, { ...queueOptions, ownContext: true }));
    } catch (error) {
      for (const queue of queues) void queue.close();
      throw error;
    }
  }

  /** The queue for a request that begins at `fileOffset`: always the same one, as long as the file is open. */
  queueFor(file: DirectFile, fileOffset: number): Queue {
    if (!(fileOffset >= 0)) {
      throw new AiokvRangeError('ERR_AIOKV_INVALID_ARGUMENT', `a file offset is a number from 0, not ${fileOffset}`);
    }
    const range = this.#by === 'file' ? 0 : Math.floor(fileOffset / this.#rangeBytes);
    // Fibonacci hashing: neighbouring ranges, and files with neighbouring handles, take different queues.
    const hash = Math.imul((file.handle * 31 + range) | 0, 0x9e3779b1) >>> 0;
    return this.queues[Math.floor((hash / 2 ** 32) * this.queues.length)] as Queue;
  }

  /** Closes all queues. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.queues.map((queue) => queue.close()));
  }
}
