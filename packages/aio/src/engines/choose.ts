/**
 * Chooses the engine of a queue: the one that was asked for, or the first that works here. An engine is probed by making
 * it, not by the kernel version, because containers often forbid what the kernel supports.
 */
import { AiokvError, AiokvTypeError } from '@aiokv/core';
import type { Engine, EngineName, EngineOptions } from '../engine.ts';
import type { ForeignInterface } from '../ffi/port.ts';
import { UringEngine } from './io-uring.ts';
import { LibaioEngine } from './libaio.ts';
import { PosixEngine } from './posix.ts';
import { ThreadsEngine } from './threads.ts';

/** How the engines of this platform reach the kernel. */
export interface Ways {
  readonly ffi: ForeignInterface;
  /** Linux AIO: reap with `io_getevents` instead of reading the ring. */
  readonly forceSyscalls: boolean;
  /** Linux AIO: go through libaio where it is installed. */
  readonly useLibaio: boolean;
}

type Maker = (ways: Ways, options: EngineOptions, reason: string) => Engine;

const makers: Partial<Record<EngineName, Maker>> = {
  libaio: (ways, options, reason) => new LibaioEngine({ ...options, ...ways, reason }),
  io_uring: ({ ffi }, options, reason) => new UringEngine({ ...options, ffi, reason }),
  posix: ({ ffi }, options, reason) => new PosixEngine({ ...options, ffi, reason }),
  threads: (_, options, reason) => new ThreadsEngine({ ...options, reason }),
};

/** In the order in which `'auto'` tries them. POSIX AIO is left out, since threads do the same better. */
const CANDIDATES: readonly EngineName[] = ['libaio', 'io_uring', 'threads'];

/**
 * @throws AiokvError ERR_AIOKV_ENGINE_UNAVAILABLE, ERR_AIOKV_NO_CONTEXT; AiokvTypeError ERR_AIOKV_INVALID_OPTION
 *   for an engine that Linux does not have
 */
export function createLinuxEngine(ways: Ways, options: EngineOptions): Engine {
  const { engine } = options;
  if (engine === undefined) return make('libaio', ways, options, 'it is the default');
  if (engine !== 'auto') return make(engine, ways, options, 'it was asked for');
  const failures: unknown[] = [];
  for (const name of CANDIDATES) {
    try {
      return make(name, ways, options, reasonOf(failures));
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AiokvError('ERR_AIOKV_ENGINE_UNAVAILABLE', `no engine works here: ${failures.map(messageOf).join('; ')}`, {
    cause: new AggregateError(failures, 'each of them failed'),
  });
}

function make(name: EngineName, ways: Ways, options: EngineOptions, reason: string): Engine {
  const maker = makers[name];
  if (maker === undefined) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `there is no engine '${name}' on Linux; there are ${Object.keys(makers).join(', ')} and auto`,
    );
  }
  return maker(ways, options, reason);
}

function reasonOf(failures: readonly unknown[]): string {
  if (failures.length === 0) return 'auto: it is the first choice, and works here';
  return `auto: it is the first that works here (${failures.map(messageOf).join('; ')})`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
