/**
 * The two calls of someone who wants a file and a queue and no more: both stand on the Linux platform
 * of this process.
 */
import { linuxPlatform } from './linux.ts';
import type { DirectFile, OpenFileOptions, Platform } from './platform.ts';
import { Queue } from './queue.ts';
import type { QueueOptions } from './queue-options.ts';
import { Shards } from './shards.ts';
import type { ShardOptions } from './shards.ts';

let shared: Platform | undefined;

function defaultPlatform(): Platform {
  return (shared ??= linuxPlatform());
}

/**
 * Opens a file for direct I/O.
 *
 * @throws SystemCallError or Node's own error when the file cannot be opened
 * @throws AiokvError ERR_AIOKV_NO_DIRECT_IO when its file system has no O_DIRECT,
 *   ERR_AIOKV_FFI_UNAVAILABLE when no foreign-function interface could be loaded
 */
export function openFile(path: string, options?: OpenFileOptions): Promise<DirectFile> {
  return defaultPlatform().open(path, options);
}

/** Opens a queue of its own; see `QueueOptions` for what can be set. Throws as the `Queue` constructor does. */
export function openQueue(options?: Partial<QueueOptions>): Queue {
  return new Queue(defaultPlatform(), options);
}

/** Opens several queues, each with a context of its own; see `Shards`. */
export function openShards(options?: Partial<ShardOptions>, queueOptions?: Partial<QueueOptions>): Shards {
  return new Shards(defaultPlatform(), options, queueOptions);
}
