/**
 * Chooses the foreign-function interface of this thread, once: `ffi-napi` where it loads and nobody else in this process
 * has it, `koffi` otherwise. The environment variable AIOKV_FFI decides for the process; `none` means that there is none. A
 * caller that names one decides for itself, and for later callers that name none.
 *
 * A worker always takes `koffi`. `ffi-napi` crashes the process when the thread that loaded it first is a worker that
 * ends, and a worker cannot know whether the main thread was first. So AIOKV_FFI=ffi-napi affects the main thread only.
 */
import { AiokvError, AiokvTypeError } from '@aiokv/core';
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { loadFfiNapi } from './ffi-napi.ts';
import { loadKoffi } from './koffi.ts';
import type { ForeignInterface, ForeignInterfaceName } from './port.ts';

const loaders: Readonly<Record<ForeignInterfaceName, () => ForeignInterface>> = {
  'ffi-napi': loadFfiNapi,
  koffi: loadKoffi,
};

/** What AIOKV_FFI says for a process that is to do without. */
const NONE = 'none';

const loaded = new Map<ForeignInterfaceName, ForeignInterface>();
const failures = new Map<ForeignInterfaceName, unknown>();

/** The first that was loaded, for callers that name none. */
let standing: ForeignInterface | undefined;

/**
 * The interface, or undefined when none can be loaded.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION when AIOKV_FFI names no interface
 */
export function foreignInterface(preferred?: ForeignInterfaceName): ForeignInterface | undefined {
  if (preferred === undefined && standing !== undefined) return standing;
  for (const name of candidates(preferred)) {
    const found = tryLoad(name);
    if (found !== undefined) {
      standing ??= found;
      return found;
    }
  }
  return undefined;
}

/** @throws AiokvError ERR_AIOKV_FFI_UNAVAILABLE when none can be loaded; AiokvTypeError as `foreignInterface` */
export function requireForeignInterface(preferred?: ForeignInterfaceName): ForeignInterface {
  const found = foreignInterface(preferred);
  if (found !== undefined) return found;
  const without = "or do without: files with direct: 'prefer' or 'never', queues with engine: 'threads'";
  if (isUnwanted()) {
    const told = 'no foreign-function interface is loaded, because the environment variable AIOKV_FFI is none';
    throw new AiokvError('ERR_AIOKV_FFI_UNAVAILABLE', `${told}: unset it, ${without}`);
  }
  const names = candidates(preferred);
  const reasons = names.map((name) => failures.get(name));
  const cause = reasons.length === 1 ? reasons[0] : new AggregateError(reasons, 'every one of them failed');
  throw new AiokvError(
    'ERR_AIOKV_FFI_UNAVAILABLE',
    areAddonsDisabled()
      ? 'no foreign-function interface can be loaded, because native addons are disabled in this process: start Node ' +
          `without --no-addons, and with --allow-addons where --permission is set, ${without}`
      : 'no foreign-function interface could be loaded ' +
          `(${names.map((name, i) => `${name}: ${messageOf(reasons[i])}`).join('; ')}): run "npm install koffi", ${without}`,
    { cause },
  );
}

/** Asks Node to load an addon; the packages hide Node's answer behind messages of their own. */
function areAddonsDisabled(): boolean {
  try {
    process.dlopen({ exports: {} }, '/nonexistent/addon.node');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_DLOPEN_DISABLED';
  }
}

/**
 * Whether someone else in this process has loaded `ffi-napi`: another copy of this package, another realm, such as the
 * test file before in the same process, or the program itself. The addon has one state for a process, and who loads it
 * again takes it away from the first; koffi can be loaded any number of times.
 */
function isFfiNapiTaken(): boolean {
  try {
    return /\/ffi_bindings\.node$|\/ffi-napi\/.*\.node$/m.test(readFileSync('/proc/self/maps', 'utf8'));
  } catch {
    return false;
  }
}

/** Also for a caller that names one, so that a process shows how it would be on a machine without. */
function isUnwanted(): boolean {
  return process.env['AIOKV_FFI'] === NONE;
}

function candidates(preferred: ForeignInterfaceName | undefined): ForeignInterfaceName[] {
  if (isUnwanted()) return [];
  if (preferred !== undefined) return [preferred];
  const asked = process.env['AIOKV_FFI'] ?? '';
  if (asked === '') return isFfiNapiTaken() ? ['koffi', 'ffi-napi'] : ['ffi-napi', 'koffi'];
  if (!Object.hasOwn(loaders, asked)) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `the environment variable AIOKV_FFI must be one of ${[...Object.keys(loaders), NONE].join(', ')}, not '${asked}'`,
    );
  }
  return isMainThread ? [asked as ForeignInterfaceName] : ['koffi'];
}

function tryLoad(name: ForeignInterfaceName): ForeignInterface | undefined {
  const known = loaded.get(name);
  if (known !== undefined || failures.has(name)) return known;
  try {
    if (name === 'ffi-napi' && !isMainThread) {
      throw new Error('not in a worker, whose end would crash the process');
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
