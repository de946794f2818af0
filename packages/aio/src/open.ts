/**
 * Opens files and queues on this machine: on the Linux platform where it works.
 *
 * Where it does not work (no foreign-function interface, another system), files with `direct: 'never'` or `'prefer'` and
 * queues with the engine `'threads'` or `'auto'` use the portable platform. Everything else is refused with the reason.
 */
import { AiokvError, resolvePath } from '@aiokv/core';
import { linuxPlatform } from './linux.ts';
import { resolveOpenOptions } from './open-options.ts';
import type { DirectFile, OpenFileOptions, Platform } from './platform.ts';
import { portablePlatform } from './portable.ts';
import { Queue } from './queue.ts';
import type { QueueOptions } from './queue-options.ts';
import { Shards } from './shards.ts';
import type { ShardOptions } from './shards.ts';

let shared: Platform | undefined;
let portable: Platform | undefined;

/**
 * The Linux platform where it works, the portable platform elsewhere: without a foreign-function interface, or on another
 * system.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION when AIOKV_FFI names no interface
 */
export function localPlatform(): Platform {
  return defaultPlatform(true);
}

/** @param isPortable whether the portable platform may stand in for the Linux platform */
function defaultPlatform(isPortable: boolean): Platform {
  if (shared !== undefined) return shared;
  try {
    return (shared = linuxPlatform());
  } catch (error) {
    if (!isPortable || !isUnavailable(error)) throw error;
    return (portable ??= portablePlatform());
  }
}

function isUnavailable(error: unknown): boolean {
  return (
    error instanceof AiokvError &&
    (error.code === 'ERR_AIOKV_FFI_UNAVAILABLE' || error.code === 'ERR_AIOKV_ENGINE_UNAVAILABLE')
  );
}

function takesAnyEngine(options: Partial<QueueOptions> | undefined): boolean {
  return options?.engine === 'threads' || options?.engine === 'auto';
}

/**
 * Opens a file for direct I/O, unless the options ask for less.
 *
 * @param path relative ones are resolved at once, by the working directory of this moment
 * @throws SystemCallError or Node's own error when the file cannot be opened
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION, ERR_AIOKV_INVALID_ARGUMENT
 * @throws AiokvError ERR_AIOKV_NO_DIRECT_IO when its file system has no O_DIRECT,
 *   ERR_AIOKV_FFI_UNAVAILABLE when no foreign-function interface could be loaded
 */
export async function openFile(path: string | URL, options?: OpenFileOptions): Promise<DirectFile> {
  const { direct = 'require' } = resolveOpenOptions('openFile', options);
  const absolute = resolvePath('openFile: the path', path);
  return defaultPlatform(direct !== 'require').open(absolute, options);
}

/** Opens a queue; see `QueueOptions` for what can be set. Throws as the `Queue` constructor does. */
export function openQueue(options?: Partial<QueueOptions>): Queue {
  return new Queue(defaultPlatform(takesAnyEngine(options)), options);
}

/** Opens several queues, each with a context of its own; see `Shards`. */
export function openShards(options?: Partial<ShardOptions>, queueOptions?: Partial<QueueOptions>): Shards {
  return new Shards(defaultPlatform(takesAnyEngine(queueOptions)), options, queueOptions);
}
