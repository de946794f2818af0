/**
 * Chooses the foreign-function interface of this thread, once: `ffi-napi` where it loads, `koffi`
 * otherwise, or the one that is asked for. The environment variable AIOKV_FFI decides for the process.
 *
 * In a worker it is `koffi`, whatever loads: `ffi-napi` takes the process down when the environment that
 * loaded it first is a worker that ends, and a worker cannot know whether the main thread was first.
 */
import { AiokvError } from '@aiokv/core';
import { isMainThread } from 'node:worker_threads';
import { loadFfiNapi } from './ffi-napi.ts';
import { loadKoffi } from './koffi.ts';
import type { ForeignInterface, ForeignInterfaceName } from './port.ts';

const loaders: Readonly<Record<ForeignInterfaceName, () => ForeignInterface>> = {
  'ffi-napi': loadFfiNapi,
  koffi: loadKoffi,
};

const loaded = new Map<ForeignInterfaceName, ForeignInterface>();
const failures = new Map<ForeignInterfaceName, unknown>();

/** The interface, or undefined when none can be loaded. */
export function foreignInterface(preferred?: ForeignInterfaceName): ForeignInterface | undefined {
  for (const name of candidates(preferred)) {
    const found = tryLoad(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** @throws AiokvError ERR_AIOKV_FFI_UNAVAILABLE when none can be loaded */
export function requireForeignInterface(preferred?: ForeignInterfaceName): ForeignInterface {
  const found = foreignInterface(preferred);
  if (found !== undefined) return found;
  const reasons = candidates(preferred).map((name) => `${name}: ${messageOf(failures.get(name))}`);
  throw new AiokvError(
    'ERR_AIOKV_FFI_UNAVAILABLE',
    `no foreign-function interface could be loaded (${reasons.join('; ')}): run "npm install koffi"`,
    { cause: failures.get(candidates(preferred)[0] as ForeignInterfaceName) },
  );
}

function candidates(preferred: ForeignInterfaceName | undefined): ForeignInterfaceName[] {
  if (preferred !== undefined) return [preferred];
  const asked = process.env['AIOKV_FFI'];
  if (asked === 'koffi' || asked === 'ffi-napi') return [asked];
  return ['ffi-napi', 'koffi'];
}

function tryLoad(name: ForeignInterfaceName): ForeignInterface | undefined {
  const known = loaded.get(name);
  if (known !== undefined || failures.has(name)) return known;
  try {
    if (name === 'ffi-napi' && !isMainThread) {
      throw new Error('not in a worker, whose end would take the process down');
    }
    const found = loaders[name]();
    loaded.set(name, found);
    return found;
  } catch (error) {
    failures.set(name, error);
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] as string) : String(error);
}
